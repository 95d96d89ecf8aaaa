# What a publisher's server gets to see: order, superseding, adjustments, delays, tests and deliveries of a time past.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");
my $publisher = $t->receiver;
my $send = $t->send;

# A callback of the programme that tells the publisher's server under a path of its own.
sub callback
{
	my ($name, $more) = @_;
	my $url = $publisher->url . "/$name?order={order_id}&status={status}&seq={seq}&payout={payout}&delta={delta_payout}&test={test}";
	return $t->sql("SELECT postback.create_callback(name => '$name', url => '$url', brand => '$p{brand}', $more)");
}

sub sale
{
	my ($order, $more) = @_;
	return $t->sql("SELECT conversion_id FROM postback.receive('$p{token}', 'order=$order&value=1000&click_id=$click" . ($more // '') . "')");
}

sub approve
{
	my ($conversion) = @_;
	$t->sql("SELECT postback.approve('$conversion')");
}

# What came under a path, as "status seq".
sub told
{
	my ($name) = @_;
	return join ', ', map { "$_->{query}{status} $_->{query}{seq}" } grep { $_->{target} =~ m{^/$name\?} } $publisher->received;
}

sub states
{
	my ($callback) = @_;
	return $t->sql("SELECT string_agg(d.state, ' ' ORDER BY d.seq) FROM postback.delivery d WHERE d.callback_id = '$callback'");
}

# A newer one does not wait for the older one's next attempt, and its success ends the older one.

my $callback = callback('superseded', q{statuses => '{any}'});
$publisher->behave('500', '200');
my $conversion = sale('S-1');
$t->wait_until('the first attempt fails', "SELECT count(*) = 1 FROM postback.attempt WHERE callback_id = '$callback'");
approve($conversion);
$t->wait_until('the newer one is delivered', sub { states($callback) eq 'superseded delivered' });
is(told('superseded'), 'pending 1, approved 2', 'the older one was tried once, and never again');
is($t->sql('SELECT count(*) FROM postback.delivery_due'), '0', 'it is out of the queue');
$t->sql("DELETE FROM postback.callback WHERE id = '$callback'");

# With every_status each is tried to its end.

$callback = callback('every', q{statuses => '{any}', every_status => true});
$publisher->behave('500', '200');
$conversion = sale('E-1');
$t->wait_until('the first attempt fails', "SELECT count(*) = 1 FROM postback.attempt WHERE callback_id = '$callback'");
approve($conversion);
$t->wait_until('both are delivered', sub { states($callback) eq 'delivered delivered' }, 30);
is(told('every'), 'pending 1, approved 2, pending 1', 'the older one after its pause');
$t->sql("DELETE FROM postback.callback WHERE id = '$callback'");

# Of one callback and conversion one is in flight, in order; others go on meanwhile.

$callback = callback('order', q{statuses => '{any}'});
$publisher->behave('delay=2 200', '200');
$conversion = sale('O-1');
$t->wait_until('the first is in flight', sub { told('order') eq 'pending 1' });
approve($conversion);
$t->sql("SELECT postback.reverse('$conversion')");
sale('O-2');
$t->wait_until('all are delivered', sub { states($callback) =~ /^(delivered ){3}delivered$/ });
my @order = grep { $_->{target} =~ m{^/order\?} } $publisher->received;
is(join(' ', map { $_->{query}{status} } grep { $_->{query}{order} eq 'O-1' } @order), 'pending approved rejected', 'in order');
is($order[1]{query}{order}, 'O-2', 'another order was told meanwhile');
cmp_ok($order[2]{time} - $order[0]{time}, '>=', 2, 'the next of the same order came after the first was answered');
$t->sql("DELETE FROM postback.callback WHERE id = '$callback'");

# Adjustments, where they are asked for.

$callback = callback('adjust', q{statuses => '{pending}', on_adjust => true});
my $deaf = callback('deaf', q{statuses => '{pending}'});
$publisher->behave('200');
$conversion = sale('A-1');
$t->sql("SELECT postback.receive('$p{token}', 'order=A-1&status=partial&value=500')");
$t->wait_until('both are told', sub { states($callback) eq 'delivered delivered' });
is( join(', ', map { "$_->{query}{payout} $_->{query}{delta}" } grep { $_->{target} =~ m{^/adjust\?} } $publisher->received),
	'0.80 0.80, 0.40 -0.40',
	'the lower payout, and by how much');
is(told('deaf'), 'pending 1', 'another callback is told of the order only');
$t->sql("DELETE FROM postback.callback WHERE id IN ('$callback', '$deaf')");

# A delay: not before it is over, and only what is still true then.

$callback = callback('delay', q{statuses => '{pending}', delay => '2 minutes'});
my $still = sale('D-1', '&goal=Sale');
my $approved = sale('D-2', '&goal=Sale');
my $elsewhere = sale('D-3', '&goal=Lead');
approve($approved);
$t->sql("UPDATE postback.callback SET goal = 'sale' WHERE id = '$callback'");
is($t->sql("SELECT string_agg(DISTINCT state, ' ') FROM postback.delivery WHERE callback_id = '$callback'"), 'waiting', 'all wait');
is( $t->sql("SELECT bool_and(due_at > now() + interval '100 seconds') FROM postback.delivery_due WHERE callback_id = '$callback'"),
	't', 'two minutes');
$t->sql("UPDATE postback.delivery_due SET due_at = now() WHERE callback_id = '$callback'");
$t->wait_until('when it is over none is left', "SELECT count(*) = 0 FROM postback.delivery_due WHERE callback_id = '$callback'");
is(told('delay'), 'pending 1', 'one is told');
is( $t->sql("SELECT state, error FROM postback.delivery WHERE callback_id = '$callback' AND conversion_id = '$approved'"),
	'skipped|when the delay was over: status: approved, wanted: pending', 'not of what is approved meanwhile');
is( $t->sql("SELECT state, error FROM postback.delivery WHERE callback_id = '$callback' AND conversion_id = '$elsewhere'"),
	'skipped|when the delay was over: goal: Lead, wanted: sale', 'nor of what the callback wants no more');
$t->sql("DELETE FROM postback.callback WHERE id = '$callback'");

# A test goes to the real URL, and into the log.

$callback = callback('test', q{statuses => '{approved}', delay => '1 hour'});
my $test = $t->sql("SELECT postback.send_test('$callback')");
$t->wait_until('a test is delivered', "SELECT state = 'delivered' FROM postback.deliveries WHERE id = '$test'");
my ($seen) = grep { $_->{target} =~ m{^/test\?} } $publisher->received;
is($seen->{query}{test}, '1', 'marked as one');
is($seen->{query}{order}, 'D-2', 'with the newest conversion that fits');
is($seen->{headers}{'webhook-id'}, $test, 'under the id that was returned');
is( $t->sql("SELECT test, http_code, conversion_id IS NULL FROM postback.deliveries WHERE id = '$test'"),
	't|200|t', 'the log shows it');
is( $t->sql("SELECT attempts, success_rate, streak FROM postback.callback_health WHERE id = '$callback'"),
	'1|1.0000|0', 'and so does the health of the callback');
$t->sql("DELETE FROM postback.callback WHERE id = '$callback'");

# Deliveries of a time past: counted first, then sent once.

$callback = callback('backfill', q{statuses => '{approved,rejected}'});
is($t->sql("SELECT postback.backfill('$callback', now() - interval '1 hour', preview => true)"), '4', 'a preview counts');
is($t->sql("SELECT count(*) FROM postback.delivery WHERE callback_id = '$callback'"), '0', 'and writes nothing');
is($t->sql("SELECT postback.backfill('$callback', now() - interval '1 hour')"), '4', 'then they are written');
$t->wait_until('and delivered', sub { (states($callback) // '') eq 'delivered delivered delivered delivered' });
is( join(' ', sort map { "$_->{query}{order}=$_->{query}{status}" } grep { $_->{target} =~ m{^/backfill\?} } $publisher->received),
	'D-2=approved E-1=approved O-1=rejected S-1=approved', 'each as it is now');
is($t->sql("SELECT postback.backfill('$callback', now() - interval '1 hour')"), '0', 'none a second time');

is($t->stop($send), 0, 'the sender is well');
$t->audit_ok;
$t->finish;
