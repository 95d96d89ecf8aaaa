# What "postbackd send" makes of a server's answers: endless, slow, cut short, none at all; Retry-After, 410, five days of failures; and
# two senders at once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use IO::Socket::INET;
use JSON::PP ();
use Test::More;

# Answers by path, in ways that no server should; each connection in a process of its own. An endless answer ends when nobody reads it;
# what was sent until then is written down.
my $server_source = <<'SERVER';
use strict;
use warnings;
use IO::Socket::INET;
use POSIX ();
$| = 1;
$SIG{CHLD} = 'IGNORE';
my $server = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 0) or die;
my $parent = $$;
print 'listening on ', $server->sockport, "\n";
my $ok = "HTTP/1.1 200 OK\r\n";
my $chunk = "4000\r\n" . 'x' x 0x4000 . "\r\n";
sub date { POSIX::strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime time + $_[0]) }
my %answer = (
	'endless' => sub { ($ok . "Transfer-Encoding: chunked\r\n\r\n", sub { $chunk }) },
	'endless-500' => sub { ("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", sub { $chunk }) },
	'endless-header' => sub { ($ok, sub { 'X-Header: ' . 'y' x 1000 . "\r\n" }) },
	'endless-line' => sub { ("${ok}X-Header: ", sub { 'y' x 1000 }) },
	'endless-continue' => sub { ('', sub { "HTTP/1.1 100 Continue\r\nX: " . 'z' x 1000 . "\r\n\r\n" }) },
	'drip' => sub { ($ok . "Content-Length: 1000\r\n\r\n", sub { sleep 1; '.' }) },
	'characters' => sub { my $body = 'a' . "\xf0\x9f\x92\xb6" x 1000; $ok . 'Content-Length: ' . length($body) . "\r\n\r\n$body" },
	'bytes' => sub { $ok . "Content-Length: 4\r\n\r\n\x00\xff\xc3A" },
	'until-close' => sub { $ok . "\r\nyes" },
	'continue' => sub { "HTTP/1.1 100 Continue\r\n\r\n${ok}Content-Length: 0\r\n\r\n" },
	'cut' => sub { $ok . "Content-Length: 100\r\n\r\nshort" },
	'no-http' => sub { "SSH-2.0-OpenSSH_9.2\r\n" },
	'nothing' => sub { '' },
	'odd-status' => sub { "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n" },
	'gone' => sub { "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n" },
	'500' => sub { "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" },
	'later' => sub { my $when = $_[0] =~ /^date(-?\d+)$/ ? date($1) : $_[0]; "HTTP/1.1 503 Later\r\nRetry-After: $when\r\nContent-Length: 0\r\n\r\n" });
while (1)
{
	my $client = $server->accept or next;
	next if fork;
	$SIG{PIPE} = 'IGNORE';
	my $request = '';
	1 while $request !~ /\r\n\r\n/ && sysread $client, $request, 65536, length $request;
	my ($name, $argument) = $request =~ m{^\S+ /([\w-]+)/?(\S*) };
	my ($start, $more) = $answer{$name}->($argument);
	my ($sent, $count) = (length $start, syswrite $client, $start);
	while ($more && getppid == $parent)
	{
		$count = syswrite($client, $more->()) // last;
		$sent += $count;
	}
	print "sent $sent bytes of $name\n";
	POSIX::_exit(0);
}
SERVER

my $t = PostbackTest->new;
my %p = $t->programme;
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");
my $server = $t->_start('server', {}, $^X, '-e', $server_source);
my $port;
$t->wait_until('the server listens', sub { -e $server->{log} && $t->log($server) =~ /^listening on (\d+)$/m && ($port = $1) });

# A server that is there and takes no connection: its queue is full.
my $deaf = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die;
my @fill = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $deaf->sockport, Blocking => 0) } 1 .. 8;

my %callback;

# A callback of the programme for each path, told of pending orders.
sub callback
{
	my ($path, $more) = @_;
	my $url = $path =~ /^http/ ? $path : "http://127.0.0.1:$port/$path";
	$callback{$path} = $t->sql("SELECT postback.create_callback(name => '$path', url => '$url', brand => '$p{brand}', statuses => '{pending}'" . ($more // '') . ')');
	return $callback{$path};
}

sub sale
{
	my ($order) = @_;
	return $t->sql("SELECT conversion_id FROM postback.receive('$p{token}', 'order=$order&value=1000&click_id=$click')");
}

my $silent = 'http://127.0.0.1:' . $deaf->sockport . '/';
callback($_) for qw(endless endless-500 endless-header endless-line endless-continue drip characters bytes until-close continue cut no-http nothing odd-status), $silent;

sale('ANSWERS');
my $send = $t->send(flags => [ '--concurrency', '64' ]);
my $all = keys %callback;
$t->wait_until('each was tried', "SELECT count(DISTINCT callback_id) = $all FROM postback.attempt", 90);
my %got = map { $_->{callback} => $_ } $t->rows(<<'SQL');
SELECT a.callback, d.state, a.outcome, a.http_code, a.error, a.milliseconds, octet_length(a.response) AS length, encode(convert_to(left(a.response, 10), 'UTF8'), 'escape') AS response
FROM postback.attempts a JOIN postback.deliveries d ON d.id = a.delivery_id WHERE a.number = 1
SQL

sub got { my ($name, @columns) = @_; return join ' ', map { $got{$name}{$_} // '-' } @columns }

# 64 KB of an answer are read, 2 KB are kept.
is(got('endless', qw(state http_code length)), 'delivered 200 2048', 'an endless answer is one, with its first 2 KB');
is(got('endless-500', qw(state http_code length)), 'queued 500 2048', 'also where it is none of success');
$t->wait_until('its connection is closed', sub { 3 <= (() = $t->log($server) =~ /^sent \d+ bytes of endless(?:-500|-header)?$/mg) });
# What the server could send beside it has gone into the buffers of the two sockets.
my ($sent) = $t->log($server) =~ /^sent (\d+) bytes of endless$/m;
cmp_ok($sent, '<', 16 * 1024 * 1024, 'not much more was let in');
is(got('characters', qw(state http_code)), 'delivered 200', 'an answer of long characters');
is($got{characters}{length}, 1 + 4 * 511, 'is not cut within one');
is(got('bytes', qw(state http_code response)), "delivered 200 \\357\\277\\275\\357\\277\\275\\357\\277\\275A", 'bytes that are no text are kept as such');
like(got('endless-header', qw(state outcome http_code error)), qr/^queued error - the response's header is longer than 64 KB$/, 'an endless header is an error');
like(got('endless-line', qw(state outcome http_code error)), qr/^queued error - a line of the response's header is too long/, 'and so is an endless line of it');
like(got('endless-continue', qw(state outcome http_code)), qr/^queued error -$/, 'and so is an endless beginning');

# 3 s to connect, 10 s in all.
is(got('drip', qw(state outcome)), 'queued error', 'an answer in drops');
cmp_ok($got{drip}{milliseconds}, '>=', 9000, 'has its 10 s');
cmp_ok($got{drip}{milliseconds}, '<', 20000, 'and no more');
is(got($silent, qw(state outcome)), 'queued error', 'a server that takes no connection');
cmp_ok($got{$silent}{milliseconds}, '>=', 2500, 'has 3 s');
cmp_ok($got{$silent}{milliseconds}, '<', 8500, 'not 10');

# Whole answers and others.
is(got('until-close', qw(state http_code response)), 'delivered 200 yes', 'an answer that ends with its connection');
is(got('continue', qw(state http_code)), 'delivered 200', 'one that begins twice');
is(got('cut', qw(state outcome)), 'queued error', 'one that is cut short is an error');
is(got('no-http', qw(state outcome http_code)), 'queued error -', 'what is no HTTP is an error');
is(got('nothing', qw(state outcome http_code)), 'queued error -', 'and nothing at all');
like(got('odd-status', qw(state)), qr/^queued$/, 'a status that there is not is no success');

# Retry-After: seconds or a date, if that is later than our own pause; at most a day.
$t->sql('DELETE FROM postback.callback');
my @later = ('3600', 'date7200', 'date-7200', '999999999', '1', 'soon', '-5');
callback("later/$_") for @later;
sale('LATER');
$t->wait_until('each was tried', 'SELECT count(*) = ' . @later . " FROM postback.attempt a JOIN postback.callback c ON c.id = a.callback_id WHERE a.number = 1");
# From the end of the first attempt to the second one, if that was made already, or to when it will be.
my %wait = map { $_->{name} =~ s{later/}{}r => $_->{wait} } $t->rows(<<'SQL');
SELECT c.name, extract(epoch FROM coalesce(postback.ulid_time((SELECT b.id FROM postback.attempt b WHERE b.delivery_id = d.id AND b.number = 2)),
                                           (SELECT q.due_at FROM postback.delivery_due q WHERE q.delivery_id = d.id AND q.leased_until IS NULL))
                             - postback.ulid_time(a.id) - a.milliseconds * interval '1 ms')::float8 AS wait
FROM postback.attempt a JOIN postback.delivery d ON d.id = a.delivery_id JOIN postback.callback c ON c.id = a.callback_id WHERE a.number = 1
SQL
ok($wait{3600} >= 3590 && $wait{3600} < 3700, "Retry-After in seconds: $wait{3600}");
ok($wait{date7200} >= 7100 && $wait{date7200} < 7300, "a date: $wait{date7200}");
ok($wait{999999999} >= 86390 && $wait{999999999} < 86500, "at most a day: $wait{999999999}");
for ('date-7200', '1', 'soon', '-5')
{
	ok($wait{$_} >= 3.9 && $wait{$_} <= 30, "our own pause where it is past, shorter or no time: $_: $wait{$_}");
}

# The pause is 5 s, give or take a fifth.
$t->sql('DELETE FROM postback.callback');
callback('500');
$t->sql("SELECT count(*) FROM generate_series(1, 60) n CROSS JOIN LATERAL postback.receive('$p{token}', format('order=J-%s&value=1000&click_id=$click', n)) r");
$t->wait_until('60 failures', "SELECT count(*) = 60 FROM postback.attempt WHERE callback_id = '$callback{500}' AND number = 1");
my @waits = sort { $a <=> $b } map { $_->{wait} }
  $t->rows("SELECT extract(epoch FROM q.due_at - a.sent)::float8 AS wait FROM postback.delivery_due q JOIN (SELECT d.id, d.sent_at AS sent FROM postback.delivery d) a ON a.id = q.delivery_id WHERE q.callback_id = '$callback{500}' AND q.attempts = 1 AND q.leased_until IS NULL");
cmp_ok(scalar @waits, '>', 40, 'most wait for their second attempt');
ok($waits[0] >= 3.99 && $waits[-1] <= 6.01, "from 4 to 6 s: $waits[0] to $waits[-1]");
ok($waits[0] < 4.7 && $waits[-1] > 5.3, 'not all at once');
$t->sql("DELETE FROM postback.callback WHERE id = '$callback{500}'");

# 410: nobody wants to be told any more.
callback('gone', q{, delay => '2 minutes'});
my $gone = callback('gone/now');
my $conversion = sale('GONE-1');
$t->wait_until('410 disables the callback', "SELECT NOT enabled FROM postback.callback WHERE id = '$gone'");
is($t->sql("SELECT disabled_reason, disabled_at IS NOT NULL FROM postback.callbacks WHERE id = '$gone'"), "127.0.0.1:$port answered 410 Gone|t", 'visibly');
is($t->sql("SELECT state, http_code FROM postback.delivery WHERE callback_id = '$gone'"), 'failed|410', 'its delivery has failed');
sale('GONE-2');
is($t->sql("SELECT count(*) FROM postback.delivery WHERE callback_id = '$gone'"), '1', 'nothing more is made for it');
like($t->sql("SELECT found FROM postback.why_not((SELECT id FROM postback.conversion WHERE order_ref = 'GONE-2'), '$gone') WHERE NOT ok AND \"check\" = 'enabled'"),
	qr/disabled, since .*, 127\.0\.0\.1:$port answered 410 Gone/, 'which why_not says');
is($t->sql("SELECT enabled FROM postback.callback WHERE id = '$callback{gone}'"), 't', 'the other callback, whose delay is not over, was not asked');
$t->sql("UPDATE postback.callback SET url = 'http://127.0.0.1:$port/continue' WHERE id = '$gone'; SELECT postback.enable_callback('$gone')");
is($t->sql("SELECT enabled, disabled_reason IS NULL, failing_since IS NULL FROM postback.callback WHERE id = '$gone'"), 't|t|t', 'it can be enabled again');
sale('GONE-3');
$t->wait_until('and is told', "SELECT count(*) = 1 FROM postback.delivery d JOIN postback.conversion c ON c.id = d.conversion_id WHERE d.callback_id = '$gone' AND c.order_ref = 'GONE-3' AND d.state = 'delivered'");
$t->sql('DELETE FROM postback.callback');

# Five days of failures; less is not enough, and a success in between begins anew.
my $failing = callback('500');
sale('FIVE-1');
$t->wait_until('a failure is noted', "SELECT failing_since IS NOT NULL FROM postback.callback WHERE id = '$failing'");
$t->sql("UPDATE postback.callback SET failing_since = now() - interval '4 days 23 hours' WHERE id = '$failing'");
my $attempts = $t->sql("SELECT count(*) FROM postback.attempt WHERE callback_id = '$failing'");
sale('FIVE-2');
$t->wait_until('another', "SELECT count(*) > $attempts FROM postback.attempt WHERE callback_id = '$failing'");
is($t->sql("SELECT enabled FROM postback.callback WHERE id = '$failing'"), 't', 'after less than five days it is still enabled');
$t->sql("UPDATE postback.callback SET failing_since = now() - interval '5 days 1 minute' WHERE id = '$failing'");
sale('FIVE-3');
$t->wait_until('after five days it is disabled', "SELECT NOT enabled FROM postback.callback WHERE id = '$failing'");
like($t->sql("SELECT disabled_reason FROM postback.callbacks WHERE id = '$failing'"), qr/^no success since \d{4}-\d\d-\d\d \d\d:\d\d UTC$/, 'visibly');
is($t->sql("SELECT count(*) FROM postback.deliveries WHERE callback_id = '$failing' AND state = 'queued'"), '3', 'what is queued waits');
$t->sql("UPDATE postback.callback SET url = 'http://127.0.0.1:$port/continue' WHERE id = '$failing'");
$t->sql("SELECT postback.enable_callback('$failing')");
is($t->sql("SELECT count(*) FROM postback.delivery_due WHERE callback_id = '$failing' AND due_at < 'infinity'"), '3', 'for its being enabled');
$t->sql('DELETE FROM postback.callback');
is($t->stop($send), 0, 'the sender is well');

# A delivery that failed for good is sent again under its id, as a further attempt.
my $publisher = $t->receiver('500');
callback($publisher->url . '/again');
$conversion = sale('RESEND');
$send = $t->send;
$t->wait_until('a failure', "SELECT attempts = 1 FROM postback.delivery WHERE conversion_id = '$conversion'");
$t->sql("UPDATE postback.delivery_due SET attempts = 7, due_at = now() WHERE conversion_id = '$conversion'");
$t->wait_until('the eighth is the last', "SELECT state = 'failed' AND attempts = 8 FROM postback.delivery WHERE conversion_id = '$conversion'");
$publisher->behave('200');
$t->sql("SELECT postback.resend(id) FROM postback.delivery WHERE conversion_id = '$conversion'");
$t->wait_until('resent it is delivered', "SELECT state = 'delivered' AND attempts = 9 FROM postback.delivery WHERE conversion_id = '$conversion'");
my @received = $publisher->received;
is(scalar @received, 3, 'the publisher got it three times');
is(scalar(keys %{ { map { $_->{headers}{'webhook-id'} => 1 } @received } }), 1, 'under one id');

# Two senders, one queue: each delivery is sent once.
$t->sql('DELETE FROM postback.callback');
callback($publisher->url . '/two?order={order_id}');
my $other = $t->send(flags => [ '--sender', 'other' ]);
for my $batch (1 .. 10)
{
	$t->sql("SELECT count(*) FROM generate_series(1, 40) n CROSS JOIN LATERAL postback.receive('$p{token}', format('order=T-$batch-%s&value=1000&click_id=$click', n)) r");
}
$t->wait_until('400 are delivered', "SELECT count(*) = 400 FROM postback.delivery d JOIN postback.callback c ON c.id = d.callback_id WHERE d.state = 'delivered'");
my %count;
$count{ $_->{query}{order} }++ for grep { $_->{target} =~ m{^/two} } $publisher->received;
is(scalar(keys %count), 400, 'each came');
is(join(' ', grep { $count{$_} != 1 } sort keys %count), '', 'once');
is($t->sql("SELECT count(DISTINCT sender) FROM postback.attempt a JOIN postback.callback c ON c.id = a.callback_id"), '2', 'by both senders');
is($t->stop($_), 0, 'the sender is well') for $send, $other;

$t->audit_ok;
$t->finish;
