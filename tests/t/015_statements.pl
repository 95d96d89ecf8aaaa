# A batch costs a constant number of SQL statements, however many postbacks, clicks or changed rows it has. What the functions
# execute inside is counted by pg_stat_statements, as everything that no client sent itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PostbackTest->new(
	settings => qq{shared_preload_libraries = 'pg_cron,pg_stat_statements'
pg_stat_statements.track = all
pg_stat_statements.max = 10000
pg_stat_statements.track_utility = off
});
$t->sql('CREATE EXTENSION pg_stat_statements');
my %p = $t->programme;
my $callback = $t->sql(
	"SELECT postback.create_callback(name => 'tell', url => 'https://p.example/?c={click_id}&ip={ip}', brand => '$p{brand}', statuses => '{any}', on_adjust => true)");
$t->sql("UPDATE postback.brand SET keep_click_details = true WHERE id = '$p{brand}'");

# Runs SQL in a session in which something like it has run before, so that all plans are made; returns how many statements it took inside.
sub inner_statements
{
	my ($warm, $sql) = @_;
	my @lines = split /\n/, $t->sql("$warm; SELECT pg_stat_statements_reset() IS NULL; $sql; "
		  . "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE NOT toplevel");
	return $lines[-1];
}

# One batch of $orders orders with $each queries per order (%s is the order's number).
sub receive_batch
{
	my ($prefix, $orders, @each) = @_;
	my $queries = join ' UNION ALL ', map { "SELECT $_ AS step, n, format('order=$prefix-%s&$each[$_]', n) AS query FROM generate_series(1, $orders) n" } 0 .. $#each;
	return "SELECT count(*), count(*) FILTER (WHERE r.ok) FROM (SELECT array_agg((row_number)::int ORDER BY row_number) AS items, "
	  . "array_agg('$p{token}'::text) AS tokens, array_agg('GET'::text) AS methods, array_agg(query ORDER BY row_number) AS queries, array_agg(NULL::text) AS none, "
	  . "array_agg(NULL::inet) AS remotes FROM (SELECT query, row_number() OVER (ORDER BY step, n) FROM ($queries) q) k) k "
	  . "CROSS JOIN LATERAL postback.receive_batch(items, tokens, methods, queries, none, none, remotes) r";
}

sub click_batch
{
	my ($count) = @_;
	return "SELECT count(*) FROM (SELECT array_agg(n) AS items, array_agg('$p{link}'::text) AS links, array_agg('sub_id=' || n) AS queries, "
	  . "array_agg(inet '192.0.2.1' + n) AS remotes FROM generate_series(1, $count) n) k CROSS JOIN LATERAL postback.click_batch(items, links, queries, remotes) r";
}

$t->sql(click_batch(1));

# What is there before, and what each order of the batch sends.
my $run = 0;
for my $case (
	[ 'new orders', undef, 'value=4999' ],
	[ 'new orders with many parameters', undef, "value=4999&currency=USD&goal=Sale&promo_code=X&publisher_id=$p{publisher}&ip=192.0.2.2" ],
	[ 'orders that are created, lowered, approved and sent again', undef, 'value=4999', 'status=partial&value=4000', 'status=approved', 'value=4999' ],
	[ 'follow-ups that overtake their orders', undef, 'status=reversed', 'value=4999' ],
	[ 'approvals of stored orders', 'value=4999', 'status=approved' ],
	[ 'reversals of stored orders', 'value=4999', 'status=reversed' ],
	[ 'partials of stored orders', 'value=4999', 'status=partial&value=4000' ],
	[ 'duplicates of stored orders', 'value=4999', 'value=4999' ],
	[ 'unknown orders', undef, 'status=approved' ],
	[ 'refused ones', undef, 'value=x' ],
	[ 'events', undef, 'event=install' ],
	[ 'events sent again', 'event=install', 'event=install' ])
{
	my ($what, $before, @each) = @$case;
	my %statements;
	for my $size (1, 2, 64, 256)
	{
		my ($warm, $measured) = map { $_ . ++$run } 'warm', 'measured';
		$t->sql(receive_batch($warm, 2, $before) . '; ' . receive_batch($measured, $size, $before)) if defined $before;
		$statements{$size} = inner_statements(receive_batch($warm, 2, @each), receive_batch($measured, $size, @each));
	}
	cmp_ok($statements{1}, '>', 0, "$what: statements are counted");
	is($statements{256}, $statements{2}, "$what: 256 orders take as many statements as 2");
	is($statements{64}, $statements{2}, "$what: 64 too");
	is($statements{2}, $statements{1}, "$what: 2 as many as 1");
	cmp_ok($statements{256}, '<=', 30, "$what: they are few ($statements{256})");
}

is(inner_statements(click_batch(2), click_batch(256)), inner_statements(click_batch(2), click_batch(2)), '256 clicks take as many statements as 2');

# Changes by plain SQL: a constant number for each chunk of 1,024 rows, and none per row.
sub approve
{
	my ($prefix) = @_;
	return "UPDATE postback.conversion SET status = 'approved' WHERE brand_id = '$p{brand}' AND order_ref LIKE '$prefix-%'";
}
my %updates;
for my $size (2, 1000)
{
	$t->sql(receive_batch("uw$size", 2, 'value=4999'));
	$t->sql(receive_batch("u$size", $size, 'value=4999'));
	$updates{$size} = inner_statements(approve("uw$size"), approve("u$size"));
}
cmp_ok($updates{2}, '>', 0, 'an UPDATE of conversions runs statements for its effects');
is($updates{1000}, $updates{2}, '1,000 conversions approved by one UPDATE take as many statements as 2');
is($t->sql("SELECT count(*) FROM postback.conversion WHERE brand_id = '$p{brand}' AND status = 'approved' AND order_ref LIKE 'u1000-%'"),
	'1000', 'and all of them are approved');

$t->audit_ok;
$t->finish;
