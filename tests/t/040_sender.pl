# postbackd send: a publisher that fails first, a sender that is killed in the middle, one that is told to stop.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new;
my $publisher = $t->receiver;
my %p = $t->programme(receiver => $publisher);
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");

# A new order that is approved at once, so that its delivery falls due; the conversion's id.
sub sale
{
	my ($order) = @_;
	my $conversion = $t->sql("SELECT conversion_id FROM postback.receive('$p{token}', 'order=$order&value=1000&click_id=$click')");
	$t->sql("UPDATE postback.conversion SET status = 'approved' WHERE id = '$conversion'");
	return $conversion;
}

sub delivery
{
	my ($conversion) = @_;
	return $t->sql("SELECT state, attempts, http_code FROM postback.delivery WHERE conversion_id = '$conversion'");
}

sub received
{
	my ($order) = @_;
	return grep { $_->{query}{order} eq $order } $publisher->received;
}

my $send = $t->send(flags => [ '--sender', 'first', '--lease', '20' ]);

# 500, then 200: tried again after 5 seconds, give or take a fifth.

$publisher->behave('500', '200');
my $conversion = sale('RETRY-1');
$t->wait_until('a 500 is tried again', sub { received('RETRY-1') == 2 }, 30);
$t->wait_until('the delivery is settled', sub { delivery($conversion) eq 'delivered|2|200' });
my ($first, $second) = received('RETRY-1');
my $pause = $second->{time} - $first->{time};
cmp_ok($pause, '>=', 4, "not before 5 s - 20 % ($pause s)");
cmp_ok($pause, '<=', 10, "and soon after 5 s + 20 % ($pause s)");
is($first->{target}, $second->{target}, 'with the same request');
is( $t->sql("SELECT a.number, a.outcome, a.http_code FROM postback.attempt a JOIN postback.delivery d ON d.id = a.delivery_id WHERE d.conversion_id = '$conversion' ORDER BY a.number"),
	"1|failure|500\n2|success|200",
	'both attempts are kept');

# A reset connection is an error, and tried again too.

$publisher->behave('reset', '204');
$conversion = sale('RESET-1');
$t->wait_until('a reset connection is tried again', sub { delivery($conversion) eq 'delivered|2|204' }, 30);
is( $t->sql("SELECT a.outcome, a.error <> '' FROM postback.attempt a JOIN postback.delivery d ON d.id = a.delivery_id WHERE d.conversion_id = '$conversion' AND a.number = 1"),
	'error|t',
	'its attempt says what went wrong');

# A sender that is killed while the publisher does not answer: another one takes over, when the lease has ended.

$publisher->behave('hang', '200');
$conversion = sale('KILLED-1');
$t->wait_until('the first sender is at work', sub { received('KILLED-1') == 1 }, 30);
is($t->stop($send, 'KILL'), 137, 'it is killed');
is($t->sql("SELECT sender FROM postback.delivery_due WHERE conversion_id = '$conversion'"), 'first', 'the delivery is still its own');
$send = $t->send(flags => [ '--sender', 'second', '--lease', '20' ]);
my $other = sale('OTHER-1');
$t->wait_until('the second sender sends what is free at once', sub { delivery($other) eq 'delivered|1|200' }, 15);
$t->wait_until('and what the killed one had', sub { delivery($conversion) =~ /^delivered/ }, 60);
($first, $second) = received('KILLED-1');
$pause = $second->{time} - $first->{time};
cmp_ok($pause, '>=', 18, "not before the lease of 20 s has ended ($pause s)");
is(scalar received('KILLED-1'), 2, 'and once only');
is($t->sql('SELECT count(*) FROM postback.delivery_due'), '0', 'nothing is left to be sent');

# SIGTERM: what is on its way is settled first.

$publisher->behave('delay=1.5 200');
$conversion = sale('DRAIN-1');
$t->wait_until('a slow request is on its way', sub { received('DRAIN-1') == 1 }, 30);
is($t->stop($send), 0, 'a sender that is told to stop ends with 0');
is(delivery($conversion), 'delivered|1|200', 'and has settled what it had begun');

# A dead server's deliveries wait; they are no failure of the rest.

$publisher->stop;
$send = $t->send;
$conversion = sale('DEAD-1');
$t->wait_until('an attempt at a dead server is recorded', sub { delivery($conversion) =~ /^queued\|[1-9]/ }, 30);
is($t->stop($send), 0, 'the sender is well');

# The egress guard: without --allow-egress nothing goes to a special-purpose address.

$publisher = $t->receiver;
$t->sql("UPDATE postback.callback SET url = '" . $publisher->url . "/postback?order={order_id}'");
$send = $t->send(guarded => 1);
$conversion = sale('GUARD-1');
$t->wait_until('a delivery to loopback is blocked', sub { delivery($conversion) =~ /^blocked/ }, 30);
is(scalar received('GUARD-1'), 0, 'and nothing was sent');

$t->audit_ok;
$t->finish;
