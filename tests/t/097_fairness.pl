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

# The same in the sender's metrics: each scrape has what the one before it asked for.

# Values of a metric by the name of the callback.
sub shown
{
	my ($process, $metric) = @_;
	my $text = $t->request('GET', '/metrics', port => $process->{metrics})->{body} // '';
	return map { /^postback_callback_\Q$metric\E\{callback="[0-9A-Z]{26}",name="((?:[^"\\]|\\.)*)"[^}]*\} (\S+)$/ ? ($1 => $2) : () } split /\n/, $text;
}

$t->sql(q{UPDATE postback.callback SET name = E'healthy \\\\ "x"\\n' WHERE name = 'healthy'});
my $odd = q{healthy \\\\ \\"x\\"\\n};
my %ratio;
$t->wait_until('metrics show callbacks by name', sub { %ratio = shown($send, 'success_ratio'); exists $ratio{$odd} });
is($ratio{$odd}, '1.0000', 'the healthy one succeeds');
is($ratio{failing}, '0.0000', 'the failing one does not');
my %streak = shown($send, 'streak');
cmp_ok($streak{failing}, '>', 0, 'for some attempts in a row');
is($streak{$odd}, 0, 'the healthy one has no such streak');
my %age = shown($send, 'failing_seconds');
ok(exists $age{failing} && !exists $age{$odd}, 'and only one of them is failing for some time');
my %queued = shown($send, 'queued');
is($queued{$odd}, 0, 'nothing is left of the healthy one');
cmp_ok($queued{failing}, '>', 0, 'unlike of the failing one');
like($t->request('GET', '/metrics', port => $send->{metrics})->{body}, qr/^postback_callbacks\{state="failing"\} 2$/m, 'two are failing in all');
is($t->stop($send), 0, 'the sender is well');

$send = $t->send(flags => [ '--metrics-callbacks', '1' ]);
$t->wait_until('with room for one', sub { %queued = shown($send, 'queued'); %queued });
is(scalar keys %queued, 1, 'one is shown');
ok(!exists $queued{$odd}, 'and not the one that is well');
is($t->stop($send), 0, 'the sender is well');
$t->finish;
