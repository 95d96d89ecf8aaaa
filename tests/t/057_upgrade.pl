# Every release can be updated: the library of today refuses the SQL of then with the next step, ALTER EXTENSION UPDATE keeps the
# rows and makes what a fresh install makes, and everything works on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PostbackTest->new(extension => 0);
my $house = "$FindBin::Bin/../house";
$t->sql('CREATE EXTENSION pg_cron');

# A catalogue in a file.
sub catalogue
{
	my ($database) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/catalogue_$database";
	my ($out, $error) = run_command([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $t->node->connstr($database), '-f', "$house/catalogue.sql", '-o', $file ]);
	die $error if $error ne '';
	return $file;
}

sub in
{
	my ($database, $sql) = @_;
	return $t->node->safe_psql($database, $sql);
}

$t->sql('CREATE DATABASE fresh');
in('fresh', 'CREATE EXTENSION postback; SELECT postback.keep_policies(); SELECT count(*) FROM postback.keep_partitions()');
my $fresh = catalogue('fresh');
my $now = in('fresh', q{SELECT extversion FROM pg_extension WHERE extname = 'postback'});
my @released = split /\n/, $t->sql("SELECT DISTINCT source FROM pg_extension_update_paths('postback') WHERE source <> '$now' ORDER BY source");
ok(scalar(@released), "there are releases before $now: @released");

for my $version (@released)
{
	my $database = 'from_' . $version =~ tr/./_/r;
	$t->sql("CREATE DATABASE $database");
	in($database, "CREATE EXTENSION postback VERSION '$version'; SELECT postback.keep_policies(); SELECT count(*) FROM postback.keep_partitions()");
	in($database, 'ALTER EXTENSION postback UPDATE');
	my ($differences) = run_command([ $^X, "$house/catalogue-difference", catalogue($database), $fresh ]);
	is($differences, '', "an updated $version is like a fresh $now (what differs belongs into extension/upgrade: make upgrade-script)");
}

# One that is in use: the first release, with the programme set up and rows in the tables that the script changes.
my $first = $released[0];
$t->sql("CREATE EXTENSION postback VERSION '$first'");
$t->make_roles;
my $publisher = $t->receiver;
my %p = $t->programme(receiver => $publisher, statuses => '{any}');
my $click = $t->sql(qq{INSERT INTO postback.click (brand_id, offer_id, publisher_id, address_hash, agent_hash)
	SELECT '$p{brand}', '$p{offer}', '$p{publisher}', n, 1 FROM generate_series(1, 3) n RETURNING id});
($click) = split /\n/, $click;
$t->sql(qq{SELECT pg_sleep(1.1)}); # roll_up() leaves out the last second
$t->sql('SELECT postback.roll_up()');
my $url = $publisher->url;
for my $case ([ 'due', 'now()', 'NULL' ], [ 'later', q{now() + interval '8 seconds'}, 'NULL' ], [ 'claimed', q{now() + interval '5 seconds'}, 'postback.new_ulid()' ])
{
	$t->sql(qq{WITH d AS (INSERT INTO postback.delivery (brand_id, callback_id, click_id, method, url, due_at)
			VALUES ('$p{brand}', '$p{callback}', '$click', 'GET', '$url/$case->[0]', $case->[1]) RETURNING id, callback_id, due_at)
		INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at, attempt_id, leased_until, sender)
		SELECT id, callback_id, 1, postback.endpoint_of('$url'), due_at, $case->[2], CASE WHEN $case->[2] IS NOT NULL THEN due_at END, 'gone' FROM d});
}
$t->sql("SELECT postback.top_up(brand => '$p{brand}', amount => 1000)");
my $other = $t->sql("SELECT postback.create_brand('Another', 'EUR')");
$t->sql("INSERT INTO postback.callback (name, url, brand_id, offer_id) VALUES ('stray', '$url/stray', '$other', '$p{offer}')");
my @tables = split /\n/, $t->sql(q{SELECT relname FROM pg_class WHERE relnamespace = 'postback'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1});
sub rows_of { return join "\n", map { "$_ " . $t->sql("SELECT count(*) FROM postback.$_") } @tables }
my $before = rows_of();

# Its SQL with the library of today.
sub refusal
{
	my ($sql) = @_;
	my (undef, undef, $error) = $t->node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return join ' | ', $error =~ /^(?:psql:\S+ )?(?:ERROR|HINT):\s+(.*)$/mg;
}
my $expected = "55000: the extension postback is of version $first, its library of version $now | ALTER EXTENSION postback UPDATE;";
is(refusal("SELECT * FROM postback.receive('$p{token}', 'order=A-1&value=1000')"), $expected, "receive() of $first says what to do");
is(refusal("SELECT * FROM postback.click('$p{link}')"), $expected, 'so does click()');
is(refusal("SELECT * FROM postback.why_not('$click', '$p{callback}')"), $expected, 'and the rest');
is($t->sql('SELECT count(*) FROM postback.conversion'), '0', 'nothing was written');
my $serve = $t->serve;
my $session = $t->node->background_psql('postgres', on_error_stop => 0);
$session->query("SELECT * FROM postback.receive('$p{token}', 'order=A-1&value=1000')");
my $reply = $t->postback($p{token}, order => 'A-1', value => 1000);
is("$reply->{status} $reply->{json}{code}", '503 unavailable', 'a brand is asked to come again');
like($t->log($serve), qr/the extension postback is of version \Q$first\E/, 'and the log says why');
my $send = $t->send(no_wait => 1);
$t->wait_until('the sender does not start, or waits', sub { -e $send->{log} && (defined $t->ended($send) || $t->log($send) =~ /postback is of version/) });
like($t->log($send), qr/ALTER EXTENSION postback UPDATE|postback is of version/, 'and says what to do');
$t->stop($send);

# Updated under the running daemon.
$t->sql('ALTER EXTENSION postback UPDATE');
is($t->sql(q{SELECT extversion FROM pg_extension WHERE extname = 'postback'}), $now, 'updated');
is(rows_of(), $before, 'all rows are there');
is($t->sql("SELECT enabled, disabled_reason FROM postback.callback WHERE name = 'stray'"), q{f|the offer is another brand's than the callback was},
	'a callback that could not fire is told of');
my ($differences) = run_command([ $^X, "$house/catalogue-difference", catalogue('postgres'), $fresh ]);
is($differences, '', 'and a used one is like a fresh one too');
like($session->query("SELECT outcome FROM postback.receive('$p{token}', 'order=A-2&value=1000&click_id=$click')"), qr/created/, 'a session that was refused goes on');
$session->quit;
$t->wait_until('serve works without being started again', sub { $t->postback($p{token}, order => 'A-1', value => 1000, click_id => $click)->{status} == 200 });
like($t->click($p{link})->{headers}{location}, qr/click_id=clk_/, 'clicks too');
is($t->sql("SELECT count(*) > 0, sum(clicks) FROM postback.daily_brand"), $t->sql("SELECT true, sum(clicks) FROM postback.daily"),
	'what was rolled up of a brand is added up');
is($t->sql("SELECT sum(unique_clicks) FROM postback.daily_now WHERE brand_id = '$p{brand}'"), '4', 'visitors that were counted are not counted again');
$t->sql(qq{INSERT INTO postback.click (brand_id, offer_id, publisher_id, address_hash, agent_hash) SELECT '$p{brand}', '$p{offer}', '$p{publisher}', n, 1 FROM generate_series(1, 4) n});
is($t->sql("SELECT sum(unique_clicks) FROM postback.daily_now WHERE brand_id = '$p{brand}'"), '5', 'but the new one');
$t->send(flags => [ '--lease', '20' ]);
$t->wait_until('the sender sends what was due, what falls due, and what was claimed by one that is gone',
	sub { my %seen = map { $_->{target} =~ m{^/(\w+)} ? ($1 => 1) : () } $publisher->received; $seen{due} && $seen{later} && $seen{claimed} });
$t->wait_until('and what is new', sub { scalar(grep { $_->{target} =~ /A-2/ } $publisher->received) });
$t->audit_ok;
$t->finish;
