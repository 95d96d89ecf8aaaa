# Faults: what a fault of the database does to who sends postbacks and to visitors, said once for all faults: every
# postback is answered in time, 200 only if it is there and 503 otherwise, visitors reach the landing page, and all is well
# again soon after the fault has ended.
#
# Waiting for an answer, a redirect and recovery is limited generously here; with STRICT=1 the limits are the promised ones.
package Faults;

use strict;
use warnings;

use Conversations;
use Exporter 'import';
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(suffer);

my $strict = $ENV{STRICT};
my $answer_limit = $strict ? 2 : 15;
my $landing_limit = $strict ? 0.2 : 5;
my $recovery_limit = $strict ? 5 : 60;

my $fault_number = 0;

# So many new orders at once, each on a connection of its own.
sub _orders
{
	my ($t, $token, $prefix, $count) = @_;
	my @orders = map {
		my $order = "$prefix-$_";
		{   order => $order,
			port => $t->{port},
			answers => 1,
			pieces => ["GET /p/$token?order=$order&value=1000 HTTP/1.1\r\nHost: shop\r\n\r\n"] }
	} 1 .. $count;
	converse_all(\@orders, concurrency => $count, seconds => 30);
	($_->{status}) = $_->{heard} =~ m{\AHTTP/1\.1 (\d{3}) } for @orders;
	$_->{status} //= 'none' for @orders;
	return @orders;
}

sub _clicks
{
	my ($t, $link, $count) = @_;
	my @clicks = map { { port => $t->{port}, answers => 1, pieces => ["GET /c/$link HTTP/1.1\r\nHost: shop\r\n\r\n"] } } 1 .. $count;
	converse_all(\@clicks, concurrency => $count, seconds => 30);
	return @clicks;
}

sub _slowest
{
	my ($slowest) = sort { $b <=> $a } map { $_->{seconds} } @_;
	return $slowest;
}

# The orders, of those given, that are there; as a hash.
sub _recorded
{
	my ($t, @orders) = @_;
	my $list = join ',', map { "'$_->{order}'" } @orders;
	return map { ($_ => 1) } split /\n/, $t->sql("SELECT order_ref FROM postback.conversion WHERE order_ref IN ($list)");
}

=head2 suffer(test, programme, name => ..., begin => sub, end => sub, ...)

One fault from beginning to end. C<lets>: a pattern of the statuses that a postback may get meanwhile (503); C<doubt>: a
commit may have been under way when the server broke, so that what was answered 503 may be there; C<health>: of /healthz (200|503);
C<rounds> of 32 orders and 4 clicks (2); C<load>, options of a load that is answered 503 throughout, over which serve
does not grow; C<settled>, a condition that holds when it may end; C<over>, one that holds when nothing of its calls is under way any
more.

=cut

sub suffer
{
	my ($t, $p, %fault) = @_;
	my $name = $fault{name};
	my $prefix = 'FAULT' . ++$fault_number;
	my $serve = $fault{serve};
	my $lets = $fault{lets} // '503';

	my @before = _orders($t, $p->{token}, "$prefix-BEFORE", 16);
	is(join(' ', map { $_->{status} } @before), join(' ', (200) x 16), "$name: all is well before");
	like($t->click($p->{link})->{headers}{location}, qr/click_id=clk_/, "$name: clicks are recorded before");
	my $memory = $t->memory($serve->{pid})->{now};

	$fault{begin}->();
	my (@orders, @clicks);
	for my $round (1 .. $fault{rounds} // 2)
	{
		push @orders, _orders($t, $p->{token}, "$prefix-$round", 32);
		push @clicks, _clicks($t, $p->{link}, 4);
	}
	my $health = $t->request('GET', '/healthz')->{status};
	if ($fault{load})
	{
		my $result = $t->load(path => "/p/$p->{token}?order=$prefix-LOAD-{n}&value=1000", expect => 503, %{ $fault{load} });
		is($result->{error}, undef, "$name: $fault{load}{requests} more are answered 503");
		cmp_ok($result->{max_us}, '<=', $answer_limit * 1e6, "$name: in time") unless $result->{error};
	}
	$t->wait_until("$name: serve has given up", $fault{settled}) if $fault{settled};
	$fault{end}->();
	my $ended = time;

	# Before anything is tried again.
	my $recovered = sub { ($t->postback($p->{token}, order => "$prefix-AFTER", value => 1000)->{status} // 0) == 200 };
	$t->wait_until("$name: orders are taken again", $recovered, 60);
	my $took = time - $ended;
	cmp_ok($took, '<=', $recovery_limit, sprintf "$name: within %.2f s of its end", $took);
	$t->wait_until("$name: its calls are over", $fault{over}) if $fault{over};
	my %recorded = _recorded($t, @orders);

	my %seen;
	$seen{ $_->{status} }++ for @orders;
	is(join(' ', grep { !/^(?:$lets)$/ } sort keys %seen), '', "$name: every order is answered, with " . join ', ', map { "$_: $seen{$_}" } sort keys %seen);
	cmp_ok($seen{503} // 0, '>=', $fault{at_least} // 1, "$name: it is felt");
	my @refused = grep { $_->{status} eq '503' } @orders;
	is(scalar(grep { $_->{heard} !~ /^Retry-After: \d+\r$/m || $_->{heard} !~ /"code":"unavailable"/ } @refused), 0,
		"$name: each 503 is \"unavailable\" and has Retry-After");
	my $slowest = _slowest(@orders);
	cmp_ok($slowest, '<=', $answer_limit, sprintf "$name: the slowest answer after %.0f ms", 1000 * $slowest);
	is(join(' ', map { $_->{order} } grep { $_->{status} eq '200' && !$recorded{ $_->{order} } } @orders), '', "$name: what was answered 200 is there");
	my @unacknowledged = grep { $recorded{ $_->{order} } } @refused;
	is(scalar @unacknowledged, 0, "$name: what was answered 503 is not there") unless $fault{doubt};
	note "$name: answered 503 and there all the same: " . @unacknowledged if $fault{doubt};
	like($health // 'none', qr/^(?:$fault{health})$/, "$name: /healthz says $health");

	my @astray = grep { $_->{heard} !~ m{\AHTTP/1\.1 302 .*^Location: http://shop\.example/landing\?from=us(?:&click_id=clk_\w{26})?\r$}ms } @clicks;
	is(scalar @astray, 0, "$name: every visitor reaches the landing page");
	$slowest = _slowest(@clicks);
	cmp_ok($slowest, '<=', $landing_limit, sprintf "$name: the slowest after %.0f ms", 1000 * $slowest);

	# As senders do with what was answered 503.
	my @again = map { $t->postback($p->{token}, order => $_->{order}, value => 1000) } @refused;
	is(scalar(grep { ($_->{status} // 0) != 200 } @again), 0, "$name: sent again, each is taken");
	my ($conversions) = $t->sql("SELECT count(*) FROM postback.conversion WHERE order_ref LIKE '$prefix-%' AND order_ref NOT LIKE '$prefix-LOAD%'");
	is($conversions, 16 + @orders + 1, "$name: and is there once");
	$t->wait_until("$name: clicks are recorded again", sub { ($t->click($p->{link})->{headers}{location} // '') =~ /click_id=clk_/ });
	is($t->request('GET', '/healthz')->{status}, 200, "$name: healthy again");
	my $grown = $t->memory($serve->{pid})->{now} - $memory;
	cmp_ok($grown, '<', 1024, "$name: serve has not grown ($memory KiB, then $grown more)");
	return;
}

1;
