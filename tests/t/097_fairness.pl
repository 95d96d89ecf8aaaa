# Fair share: a server that never answers and one that always fails do not delay one that works.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $orders = 60;

my $t = PostbackTest->new;
my %p = $t->programme;
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");
my %server = (hanging => $t->receiver('hang'), failing => $t->receiver('500'), healthy => $t->receiver('200'));
my %callback;

# The sick ones first, so that theirs are the oldest in the queue.
for my $name (qw(hanging failing healthy))
{
	my $url = $server{$name}->url . '/?order={order_id}';
	$callback{$name} =
	  $t->sql("SELECT postback.create_callback(name => '$name', url => '$url', brand => '$p{brand}', statuses => '{pending}')");
}
is( $t->sql("SELECT count(*) FROM generate_series(1, $orders) n CROSS JOIN LATERAL postback.receive('$p{token}', format('order=F-%s&value=1000&click_id=$click', n)) r WHERE r.outcome = 'created'"),
	$orders,
	'orders are in store before anything is sent');

# Little room in all: the hanging server's share of it must not be all.
my $send = $t->send(flags => [ '--concurrency', '24', '--per-host', '8' ]);
$t->wait_until('the healthy server gets all of its own',
	"SELECT count(*) = $orders FROM postback.delivery WHERE callback_id = '$callback{healthy}' AND state = 'delivered'");
is( $t->sql("SELECT count(*) FROM postback.attempt WHERE callback_id = '$callback{hanging}'"),
	'0', 'while the hanging one has not ended one');
cmp_ok($t->sql("SELECT count(*) FROM postback.delivery_due WHERE callback_id = '$callback{hanging}' AND leased_until > now()"),
	'>', 0, 'it has some in flight');
cmp_ok(scalar $server{hanging}->received, '<=', 8, 'at most 8 of them at once');
cmp_ok(scalar $server{failing}->received, '>', 0, 'and the failing one was tried');

$t->wait_until('every attempt at the hanging one ends', "SELECT count(*) > 0 FROM postback.attempt WHERE callback_id = '$callback{hanging}' AND outcome = 'error'");
is( $t->sql("SELECT success_rate, p99_ms < 10000 FROM postback.callback_health WHERE id = '$callback{healthy}'"),
	'1.0000|t', 'the health view tells them apart');
is($t->sql("SELECT success_rate, streak > 0, last_error FROM postback.callback_health WHERE id = '$callback{failing}'"),
	'0.0000|t|HTTP 500', 'as it should');
is($t->stop($send), 0, 'the sender is well');
$t->finish;
