# Few open files: the sender makes do with fewer connections. Its own want of descriptors is no failure of a server.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

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
local $ENV{POSTBACKD} = $wrapper;

my $send = $t->send(flags => [ '--concurrency', '256', '--per-host', '256' ]);
$t->wait_until('each was tried', "SELECT count(*) = $orders FROM postback.delivery WHERE state = 'delivered' OR error IS NOT NULL");
is($t->sql("SELECT count(*), count(DISTINCT delivery_id), count(*) FILTER (WHERE http_code = 200) FROM postback.attempt"),
	"$orders|$orders|$orders", 'each is delivered by its first attempt');
like($t->log($send), qr/level=warning msg="fewer connections than asked for.*asked=2048 open_files=100/, 'the log says what it lacks');
is($t->stop($send), 0, 'the sender is well');

$t->finish;
