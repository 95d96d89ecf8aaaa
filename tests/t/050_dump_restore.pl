# pg_dump of a used database, restored into another cluster by the README's steps, gives back the same rows and nothing more, with
# partitions, rights, policies and, after schedule_jobs(), jobs; and works on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = PostbackTest->new(name => 'old');
my $publisher = $old->receiver;
my %p = $old->programme(receiver => $publisher, statuses => '{pending,approved,rejected}');
my %other = $old->programme(name => 'Second', hold => '1 day');
my $send = $old->send;

# A bit of everything: each state, a parked call, a refused one, a brand with money, a queue half sent.
my $click = $old->sql("SELECT click_id FROM postback.click('$p{link}', 'sub_id=a%20b')");
my $n = 0;
my %orders = (
	pending => [ 'order=PENDING&value=1000' ],
	approved => [ 'order=APPROVED&value=2000', 'order=APPROVED&status=approved' ],
	reversed => [ 'order=REVERSED&value=3000', 'order=REVERSED&status=cancelled' ],
	partial => [ 'order=PARTIAL&value=4000', 'order=PARTIAL&status=partial&value=3500' ]);
for my $order (sort keys %orders)
{
	$old->sql("SELECT postback.receive('$p{token}', '$_&click_id=$click')") for @{ $orders{$order} };
}
$old->sql("SELECT postback.receive('$p{token}', 'order=EARLY&status=approved')");
$old->sql("SELECT postback.receive('$p{token}', 'order=BAD&value=x')");
$old->sql("SELECT postback.receive('$other{token}', 'order=PENDING&value=77')");
$old->sql("SELECT postback.top_up(brand => '$p{brand}', amount => 100000, currency => 'EUR', reference => 'invoice 1')");
$old->sql('SELECT postback.schedule_jobs()');
$old->wait_until('some deliveries are done', "SELECT count(*) >= 4 FROM postback.delivery WHERE state = 'delivered'");
$old->stop($send);
$old->sql("SELECT postback.receive('$p{token}', 'order=QUEUED&value=900&click_id=$click')");
# A callback from before there was a rule against it.
$old->sql(q{SET session_replication_role = replica; INSERT INTO postback.callback (name, url, brand_id, headers, auth, created)
	SELECT 'from before', 'https://p.example/', b.id, '{"Authorization": "x"}', '{"type":"bearer","token":"t"}', now() - interval '1 hour'
	FROM postback.brand b WHERE b.name = 'Second'});
$old->audit_ok('the audit finds no difference before');

# Every table of the schema with the number of its rows and a digest of them.
sub contents
{
	my ($t) = @_;
	my @tables = split /\n/, $t->sql(q{
		SELECT quote_ident(relname) FROM pg_class
		WHERE relnamespace = 'postback'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1});
	return join "\n",
	  map { "$_ " . $t->sql("SELECT count(*), md5(string_agg(r::text, E'\\n' ORDER BY r::text)) FROM postback.$_ r") } @tables;
}

# Everything that the schema is made of, in a file: partitions, indexes, rights, policies, comments ...
sub catalogue
{
	my ($t) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/" . $t->node->name . '_catalogue';
	$t->node->command_ok([ 'psql', '-XAtq', '-d', 'postgres', '-f', "$FindBin::Bin/../house/catalogue.sql", '-o', $file ], 'catalogue of ' . $t->node->name);
	return $file;
}

sub jobs { return $_[0]->sql('SELECT jobname, schedule, command, database, active FROM cron.job ORDER BY jobname') }

# What a reader of the second brand sees.
sub read_as
{
	my ($t) = @_;
	return $t->sql('SET ROLE shop; SELECT string_agg(DISTINCT brand, $$,$$), count(*) FROM postback.conversions');
}

$old->sql("CREATE ROLE shop IN ROLE postback_reader; INSERT INTO postback.reader_scope (role, brand_id) VALUES ('shop', '$other{brand}')");
is(read_as($old), 'Second|1', 'a reader sees its brand');
my $jobs = jobs($old);
like($jobs, qr/^postback_approve_due\|/m, 'there are jobs');
$old->sql('UPDATE cron.job SET active = false');
my $dump = $PostgreSQL::Test::Utils::tmp_check . '/dump';
my $before = contents($old);
my $objects = catalogue($old);
$old->node->command_ok([ 'pg_dump', '-Fc', '-e', 'postback', '-f', $dump, 'postgres' ], 'pg_dump');
is(contents($old), $before, 'a dump changes nothing');
like($before, qr/^ledger [1-9]\d*\|/m, 'there is money in it');

my $new = PostbackTest->new(name => 'new', extension => 0);
$new->node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'postgres', $dump ], 'pg_restore into a new cluster');
is(contents($new), $before, 'gives the same rows in every table');
is($new->sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'postback'::regnamespace AND relkind = 'S'"), '0', 'there are no sequences that could start anew');
$new->sql('CREATE EXTENSION pg_cron; SELECT postback.schedule_jobs()');
is(jobs($new), $jobs, 'schedule_jobs() brings back the jobs');
my ($differences) = run_command([ $^X, "$FindBin::Bin/../house/catalogue-difference", catalogue($new), $objects ]);
is($differences, '', 'and with the policies all is the same: tables, partitions, indexes, rights and policies');
$new->sql('CREATE ROLE shop IN ROLE postback_reader');
is(read_as($new), 'Second|1', 'a reader whose role is made again sees its brand again');
$new->audit_ok('the audit finds no difference after');

# It works on: the token, the old conversions, new ones, the queue.
$new->make_roles;
$new->serve;
my $reply = $new->postback($p{token}, order => 'PENDING', value => 1000);
is("$reply->{status} $reply->{json}{result}", '200 duplicate', 'an old order is known');
$reply = $new->postback($p{token}, order => 'PENDING', status => 'approved');
is("$reply->{status} $reply->{json}{result}", '200 approved', 'and can be approved');
$reply = $new->postback($p{token}, order => 'EARLY', value => 500, click_id => "clk_$click");
is("$reply->{status} $reply->{json}{status}", '200 approved', 'a parked approval meets its order');
$reply = $new->postback($p{token}, order => 'NEW', value => 1, click_id => "clk_$click");
is("$reply->{status} $reply->{json}{result}", '200 created', 'a new order is taken');
$send = $new->send;
$new->wait_until('what was queued is sent from here',
	q{SELECT state = 'delivered' FROM postback.delivery d JOIN postback.conversion c ON c.id = d.conversion_id WHERE c.order_ref = 'QUEUED'});
$new->audit_ok('the audit finds no difference at the end');

$old->node->stop;
$new->finish;
