# The rate limit of a token: what is over it is answered 429 by the daemon, reaches no database and leaves no receipt.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Time::HiRes qw(sleep time);
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;
my $limited = $t->sql("SELECT token FROM postback.issue_token('$p{brand}', 'limited', rate_limit => 5)");
my $always = $t->sql("SELECT token FROM postback.issue_token('$p{brand}', 'always', rate_limit => 1, reply_style => 'always200')");
my $serve = $t->serve;

sub calls
{
	my ($token, $count) = @_;
	return map { $t->postback($token, order => 'R-' . rand, value => 100) } 1 .. $count;
}
# Calls until one is refused, however slow the machine is: a hundred at most.
sub until_refused
{
	my ($call) = @_;
	my $reply;
	for (1 .. 100) { $reply = $call->(); last if $reply->{status} == 429 }
	return $reply;
}
sub receipts { return $t->sql('SELECT count(*) FROM postback.receipt') }

# In SQL the limit is told, not kept: keeping it is the daemon's part.
is($t->sql("SELECT rate_limit FROM postback.receive('$limited', 'order=S&value=1')"), '5', 'the database tells the limit');
is($t->sql("SELECT rate_limit IS NULL FROM postback.receive('$p{token}', 'order=T&value=1')"), 't', 'and that there is none');

# As many at once as a second has; each refused one is refused without a trace.
my $before = receipts();
my $start = time;
my @replies = calls($limited, 20);
my $seconds = time - $start;
my $taken = grep { $_->{status} == 200 } @replies;
my @refused = grep { $_->{status} == 429 } @replies;
is($taken + @refused, 20, 'each call is taken or refused');
cmp_ok($taken, '>=', 5, 'what one second has is taken at once');
cmp_ok($taken, '<=', 5 + int(5 * $seconds) + 1, sprintf 'and not more (%d of 20 in %.2f s)', $taken, $seconds);
is("$refused[0]{json}{ok} $refused[0]{json}{code} $refused[0]{headers}{'retry-after'} $refused[0]{headers}{'content-type'}",
	'0 rate_limited 1 application/json', 'a refused one is told when to come again');
is(receipts() - $before, $taken, 'it leaves no receipt');
my $gif = until_refused(sub { $t->request('GET', "/p/$limited.gif?order=X&value=1") });
is("$gif->{status} $gif->{headers}{'content-type'} $gif->{headers}{'x-postback-code'}", '429 image/gif rate_limited', 'pixels count too, and stay pixels');
is($t->request('POST', "/p/$limited", headers => { 'Content-Type' => 'text/html' }, body => 'x')->{status}, 415, 'what is wrong anyway is told first');

# After the time that Retry-After names there is room again.
sleep 1.05;
is((calls($limited, 1))[0]{status}, 200, 'a second later there is room again');

# A limit is the token's own: others are not touched.
is(join(' ', map { $_->{status} } calls($p{token}, 20)), join(' ', (200) x 20), 'a token without a limit has none');
is(until_refused(sub { (calls($always, 1))[0] })->{status}, 429, '429 stays itself for senders that want 200 always');

# It can be raised and taken away; the daemon learns it with the next answer.
$t->sql("UPDATE postback.token SET rate_limit = NULL WHERE label = 'limited'");
sleep 1.05;
is(join(' ', map { $_->{status} } calls($limited, 20)), join(' ', (200) x 20), 'a limit that was taken away is gone with the next answer');
$t->sql("UPDATE postback.token SET rate_limit = 2 WHERE label = 'limited'");
cmp_ok(scalar(grep { $_->{status} == 429 } calls($limited, 20)), '>', 0, 'one that was set holds from the next answer');

my $metrics = $t->request('GET', '/metrics', port => $serve->{metrics})->{body};
like($metrics, qr/^postbackd_requests_total\{route="postback",outcome="rate_limited"\} [1-9]/m, 'the metrics count refused calls');
like($metrics, qr/^postbackd_limited_tokens 2$/m, 'and the tokens that have a limit');
unlike($t->log($serve), qr/\Q@{[ $limited =~ m{_(.+)$} ]}\E/, 'the log does not tell a token');

is($t->stop($serve), 0, 'serve ends with 0 when told to');
$t->audit_ok;
$t->finish;
