# The look-ups of attribution as they are executed, whatever the statistics say: a click id is looked for in the one partition
# that its time names, the last click by index from the newest on, not past the window, the last from an address among those from
# there. What a session's plans did is told by auto_explain.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use JSON::PP ();
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;
my %other = $t->programme(name => 'Other');
$t->sql("UPDATE postback.brand SET attribution_window = '20 days'");

# A publisher whose only click, of 19 days ago, has hundreds of others' before it, and one that never had any.
my ($rare, $none) = map { $t->sql("SELECT postback.create_publisher('$_')") } qw(Rare None);
$t->sql("SELECT postback.create_link('$p{offer}', '$_')") for $rare, $none;

# Clicks of ten weeks, in a partition for each: 70 a week of the brand, 700 of the other.
my $weeks = 10;
$t->sql("SELECT postback.keep_partitions(now() - interval '7 days' * n) FROM generate_series($weeks, 0, -1) n");
$t->sql("UPDATE postback.partition_policy SET retention = NULL");
$t->sql(qq{INSERT INTO postback.click (id, brand_id, offer_id, publisher_id, address_hash, visitor_hash)
	SELECT postback.ulid_floor(now() - interval '2.4 hours' * n + interval '1 ms' * k), CASE k WHEN 0 THEN '$p{brand}' ELSE '$other{brand}' END::postback.ulid,
	       CASE k WHEN 0 THEN '$p{offer}' ELSE '$other{offer}' END::postback.ulid, '$p{publisher}', n::bigint << 32 | 1, n::bigint << 32 | 2
	FROM generate_series(1, 70 * $weeks) n, generate_series(0, 10) k});
$t->sql(qq{INSERT INTO postback.click (id, brand_id, offer_id, publisher_id)
	SELECT postback.ulid_floor(now() - interval '3 hours' - interval '1 minute' * n), '$p{brand}', '$p{offer}', '$p{publisher}' FROM generate_series(1, 600) n
	UNION ALL SELECT postback.ulid_floor(now() - interval '19 days' + interval '7 ms'), '$p{brand}', '$p{offer}', '$rare'});
cmp_ok($t->sql('SELECT count(DISTINCT tableoid) FROM postback.click'), '>=', $weeks, 'the clicks are in many partitions');
is($t->sql('SELECT count(*) FROM postback.click_default'), '0', 'and none in the default one');

my $auto_explain = q{LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET auto_explain.log_analyze = on;
	SET auto_explain.log_timing = off; SET auto_explain.log_format = json; SET auto_explain.log_level = notice; SET client_min_messages = notice;};

# The plans of all statements inside of a postback, as auto_explain shows them.
sub plans
{
	my ($query) = @_;
	my ($status, $out, $error) = $t->node->psql('postgres', "$auto_explain SELECT r.warning, r.attribution FROM postback.receive('$p{token}', '$query') r");
	die $error if $status || $error =~ m{ERROR:};
	my @plans = map { JSON::PP->new->decode($_) } $error =~ /plan:\n(\{.*?^\})/smg;
	return ($out, @plans);
}

# Scans of partitions of clicks that were executed, of the plans that look for clicks so: node, partition, rows looked at.
sub scans
{
	my ($node) = @_;
	my @found;
	if (($node->{'Relation Name'} // '') =~ /^click_/ && $node->{'Actual Loops'} > 0)
	{
		push @found, { type => $node->{'Node Type'}, partition => $node->{'Relation Name'}, index => $node->{'Index Name'} // '',
			direction => $node->{'Scan Direction'} // '', condition => $node->{'Index Cond'} // '',
			rows => $node->{'Actual Loops'} * ($node->{'Actual Rows'} + ($node->{'Rows Removed by Filter'} // 0)) };
	}
	return @found, map { scans($_) } @{ $node->{Plans} // [] };
}

sub lookups
{
	my ($like, @plans) = @_;
	return map { scans($_->{Plan}) } grep { $_->{'Query Text'} =~ $like } @plans;
}
my $by_id = qr/FROM postback\.click x\s+WHERE x\.id = k\.id AND x\.id >= /;
my $last = qr/WHERE k\.address_hash IS NULL/;

# How many partitions these plans open, also those that they then do not look into.
sub opened
{
	my ($like, @plans) = @_;
	my @nodes = map { $_->{Plan} } grep { $_->{'Query Text'} =~ $like } @plans;
	my %opened;
	while (my $node = shift @nodes)
	{
		$opened{ $node->{'Relation Name'} } = 1 if ($node->{'Relation Name'} // '') =~ /^click_/;
		push @nodes, @{ $node->{Plans} // [] };
	}
	return scalar keys %opened;
}

# Those by the index of a brand's clicks, and others.
sub by_brand { return grep { $_->{index} =~ /_brand_id_id_idx$/ } @_ }
sub by_other { return grep { $_->{index} !~ /_brand_id_id_idx$/ } @_ }

# Run with statistics and without: a fresh database has none.
for my $analyzed (0, 1)
{
	$t->sql('ANALYZE postback.click') if $analyzed;
	my $statistics = $analyzed ? 'with statistics' : 'without statistics';

	my $click = $t->sql("SELECT max(id) FROM postback.click WHERE brand_id = '$p{brand}' AND id < postback.ulid_floor(now() - interval '15 days')");
	my ($answer, @plans) = plans("order=ID-$analyzed&value=1&click_id=clk_$click");
	is("$answer " . $t->sql("SELECT click_id FROM postback.conversion WHERE order_ref = 'ID-$analyzed'"), "|click $click", 'attributed by click id');
	my @scans = lookups($by_id, @plans);
	is(scalar(@scans), 1, "$statistics one partition is looked at for a click id");
	is(opened($by_id, @plans), 1, "$statistics no other is opened");
	is($scans[0]{partition}, $t->sql("SELECT c.relname FROM postback.click k JOIN pg_class c ON c.oid = k.tableoid WHERE k.id = '$click'"), 'the one that it is in');
	like("$scans[0]{type} $scans[0]{index} $scans[0]{condition}", qr/^Index Scan \Q$scans[0]{partition}\E_pkey .*\(id = k\.id\)/, 'by its primary key');
	is($scans[0]{rows}, 1, 'where it is the only row read');
	is(scalar(lookups($last, @plans)), 0, 'and no last click is looked for');

	# older than any partition, and later than any: nothing but the default partition can have it
	for my $case ([ 'older', '2001-01-01' ], [ 'later', '2101-01-01' ])
	{
		($answer, @plans) = plans("order=$case->[0]-$analyzed&value=1&click_id=" . $t->sql("SELECT postback.ulid_floor('$case->[1]')"));
		is($answer, 'unknown_click_id|none', "an id $case->[0] than all partitions is unknown");
		is(join(' ', map { "$_->{partition} $_->{rows}" } lookups($by_id, @plans)), 'click_default 0', 'of which only the default partition is asked');
	}

	# The newest click of the brand is two hours old: the first row that the scan meets.
	($answer, @plans) = plans("order=LAST-$analyzed&value=1");
	is($answer, '|last_click', 'attributed to the last click');
	@scans = lookups($last, @plans);
	cmp_ok(scalar(by_brand(@scans)), '>=', 1, "$statistics the last click");
	cmp_ok(opened($last, @plans), '<=', 5, 'of 20 days: no more partitions than those, and the default one, are opened');
	for my $scan (by_brand(@scans))
	{
		like("$scan->{type} $scan->{direction} $scan->{index}", qr/^Index Scan Backward \Q$scan->{partition}\E_brand_id_id_idx$/, 'is looked for by the index, from the newest on');
		like($scan->{condition}, qr/^\(\(ROW\(brand_id, id\) >= .*\(ROW\(brand_id, id\) < .*\(id >= .*\(id < /, 'between the bounds of the window');
	}
	my $rows = 0;
	$rows += $_->{rows} for @scans;
	cmp_ok($rows, '<=', 4, 'and of each of its partitions at most one row is read');

	# Narrowed to a publisher: the newest clicks of the brand, and then those of its link only, by index.
	for my $case ([ $rare, '|last_click', 1 ], [ $none, '|none', 0 ])
	{
		($answer, @plans) = plans("order=NARROW-$analyzed-$case->[0]&value=1&publisher_id=$case->[0]");
		is($answer, $case->[1], 'narrowed to a publisher with ' . ($case->[2] ? 'an old click' : 'none'));
		@scans = lookups($last, @plans);
		my @by_link = grep { $_->{index} =~ /_offer_id_publisher_id_id_idx$/ } @scans;
		cmp_ok(scalar(@by_link), '>=', 1, "$statistics its link");
		$rows = 0;
		$rows += $_->{rows} for @by_link;
		is($rows, $case->[2], 'is looked for by the index of offers and publishers, where nothing else is read');
		is(join(' ', grep { $_ !~ /_(?:brand_id_id_idx|pkey)$/ } map { $_->{index} } grep { $_->{rows} > 0 && $_->{index} !~ /_offer_id_publisher_id_id_idx$/ } @scans),
			'', 'beside the clicks of the brand and the one by its key');
		$rows = 0;
		$rows += $_->{rows} for by_brand(@scans);
		cmp_ok($rows, '<=', 2 * 256 + 10, 'of which no more than so many are read, one or two for each partition included');
	}

	# Narrowed to an address that nobody has: what the index has of that address is read, which is nothing.
	($answer, @plans) = plans("order=NONE-$analyzed&value=1&ip=192.0.2.77");
	is($answer, '|none', 'no click of that address');
	@scans = lookups($last, @plans);
	cmp_ok(scalar(by_other(@scans)), '>=', 1, "$statistics a look-up in vain");
	is(join(' ', grep { $_ !~ /_visitor_hash_is_unique_id_idx$/ } map { $_->{index} } by_other(@scans)), '', 'is by the index of addresses');
	$rows = 0;
	$rows += $_->{rows} for @scans;
	is($rows, 0, 'and reads no click');
}

$t->audit_ok;
$t->finish;
