# Few open files: the sender makes do with fewer connections. Its own want of descriptors is no failure of a server.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;
use Time::HiRes qw(time);

my $orders = 300;

my $t = PostbackTest->new;
my %p = $t->programme;
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");

# Slow enough for the sender to have as many under way as it may.
my $server = $t->receiver('delay=0.2 200');
$t->sql(sprintf "SELECT postback.create_callback(name => 'slow', url => '%s/', brand => '$p{brand}', statuses => '{pending}')", $server->url);
is( $t->sql("SELECT count(*) FROM generate_series(1, $orders) n CROSS JOIN LATERAL postback.receive('$p{token}', format('order=F-%s&value=1000&click_id=$click', n)) r WHERE r.outcome = 'created'"),
	$orders, 'orders are in store before anything is sent');

my $wrapper = $t->_file('few_files');
open my $handle, '>', $wrapper or die "$wrapper: $!";
print $handle "#!/bin/sh\nulimit -n 100\nexec '$ENV{POSTBACKD}' \"\$@\"\n";
close $handle;
chmod 0755, $wrapper;
my $send = do
{
	local $ENV{POSTBACKD} = $wrapper;
	$t->send(flags => [ '--concurrency', '256', '--per-host', '256' ]);
};
$t->wait_until('each was tried', "SELECT count(*) = $orders FROM postback.delivery WHERE state = 'delivered' OR error IS NOT NULL");
is($t->sql("SELECT count(*), count(DISTINCT delivery_id), count(*) FILTER (WHERE http_code = 200) FROM postback.attempt"),
	"$orders|$orders|$orders", 'each is delivered by its first attempt');
like($t->log($send), qr/level=warning msg="fewer connections than asked for.*asked=2048 open_files=100/, 'the log says what it lacks');
is($t->stop($send), 0, 'the sender is well');

# None at all, neither for a connection nor to ask for a name: the deliveries are given back, not counted, and tried again at
# intervals until there are some.
my $names = $t->nameserver('shop.example 127.0.0.1');
$server->behave('200');
$t->sql(sprintf "SELECT postback.create_callback(name => 'named', url => 'http://shop.example:%d/', brand => '$p{brand}', statuses => '{pending}')", $server->{port});
$send = $t->send(flags => [ '--dns-server', $names->address, '--log-level', 'debug' ]);
sub limit_files { system('prlimit', '--pid', $send->{pid}, "--nofile=$_[0]:") == 0 or die 'prlimit' }
sub given_back { return scalar grep { /msg="attempt ended".* endpoint=$_[0]:\d+ .*outcome=released/ } split /\n/, $t->log($send) }
limit_files(3);
my $begin = time;
is($t->sql("SELECT outcome FROM postback.receive('$p{token}', 'order=NONE&value=1000&click_id=$click')"), 'created', 'an order');
for my $host ('127.0.0.1', 'shop.example')
{
	$t->wait_until("what is for $host is given back, again and again", sub { given_back($host) >= 5 });
	cmp_ok(time - $begin, '>=', 2, 'with half a second in between');
}
my $sent = sub {
	return $t->sql("SELECT string_agg(d.state || ' ' || d.attempts || coalesce(' ' || d.http_code, ''), ', ') FROM postback.delivery d"
		  . " JOIN postback.conversion c ON c.id = d.conversion_id WHERE c.order_ref = 'NONE'");
};
is($sent->(), 'queued 0, queued 0', 'neither was tried');
unlike($t->log($send), qr/endpoints that cannot be reached/, 'and no endpoint is thought to be away');
like($t->log($send), qr/level=warning msg="a delivery could not be begun and is given back" error="[^"]+ open file/, 'the log says what is lacking');
limit_files(1024);
$t->wait_until('with open files they are sent', sub { $sent->() eq 'delivered 1 200, delivered 1 200' });
is($t->stop($send), 0, 'the sender is well');

$t->finish;
