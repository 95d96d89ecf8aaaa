# What comes over the wire is read strictly, since libmicrohttpd is lenient and every leniency is a way to smuggle a
# request past a proxy. A malformed request is answered with an error, its connection ends, and neither it nor anything
# that follows it on that connection is run: no receipt is written. What is well-formed works however it is cut into
# pieces. Slow clients are cut off, and connections are capped.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::INET;
use PostbackTest;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;
use Time::HiRes qw(sleep time);

my $t = PostbackTest->new;
my %p = $t->programme;
my $serve = $t->serve(flags => [ '--request-timeout', 2, '--max-connections-per-address', 50 ]);
my $path = "/p/$p{token}";
my $good_orders = 0;

# ---- talking to it in raw bytes ----

sub dial
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $serve->{port}, Timeout => 5)
	  or die "connect: $!";
	setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
	return $socket;
}

# Reads until the other side closes, or for so many seconds; (bytes, "closed" or "open").
sub hear
{
	my ($socket, $seconds) = @_;
	my ($select, $until, $heard) = (IO::Select->new($socket), time + $seconds, '');
	while ((my $left = $until - time) > 0)
	{
		next unless $select->can_read($left);
		my $count = sysread $socket, $heard, 65536, length $heard;
		return ($heard, 'closed') if !$count;
	}
	return ($heard, 'open');
}

# Sends the pieces, waiting so long between them; returns the statuses answered, in order, and whether it then closed.
sub converse
{
	my ($pieces, %options) = @_;
	my $socket = dial();
	local $SIG{PIPE} = 'IGNORE';
	for my $piece (@$pieces)
	{
		syswrite $socket, $piece or last;
		sleep $options{pause} if $options{pause};
	}
	my ($heard, $state) = hear($socket, $options{seconds} // 5);
	return (join(' ', $heard =~ m{HTTP/1\.1 (\d{3}) }g), $state, $heard);
}

# How many calls were run for orders that begin so.
sub receipts
{
	my ($prefix) = @_;
	return $t->sql("SELECT count(*) FROM postback.receipt WHERE order_ref LIKE '$prefix%'");
}

sub order { return 'GOOD-' . ++$good_orders }

# A request line that is fine, with more in its query.
sub good_line
{
	my ($more, $version) = @_;
	return sprintf "GET %s?order=%s&value=1%s HTTP/%s\r\n", $path, order(), $more // '', $version // '1.1';
}

sub good_get { return good_line() . "Host: shop\r\n\r\n" }

# A whole request that must never be run.
my $hidden = "GET $path?order=HIDDEN-behind&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n";

# As in a smuggling attack: a body that is itself a request.
my $hidden_length = length $hidden;
my $get = "GET $path?order=HIDDEN&value=1 HTTP/1.1\r\n";
my $post = "POST $path?order=HIDDEN&value=1 HTTP/1.1\r\nHost: shop\r\nContent-Type: application/x-www-form-urlencoded\r\n";

my @refused = (
	# name => bytes, status if it is not 400
	[ 'Content-Length beside Transfer-Encoding', "${post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" ],
	[ 'Transfer-Encoding beside Content-Length', "${post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" ],
	[ 'two different lengths', "${post}Content-Length: 0\r\nContent-Length: $hidden_length\r\n\r\n" ],
	[ 'the same length twice', "${post}Content-Length: 0\r\nContent-Length: 0\r\n\r\n" ],
	[ 'a list of lengths', "${post}Content-Length: 0, 0\r\n\r\n" ],
	[ 'a length with a sign', "${post}Content-Length: +0\r\n\r\n" ],
	[ 'a negative length', "${post}Content-Length: -1\r\n\r\n" ],
	[ 'a hexadecimal length', "${post}Content-Length: 0x10\r\n\r\n" ],
	[ 'a length with a point', "${post}Content-Length: 1.0\r\n\r\n" ],
	[ 'an empty length', "${post}Content-Length:\r\n\r\n" ],
	[ 'a length in two words', "${post}Content-Length: 1 0\r\n\r\n" ],
	[ 'a length with white space behind', "${post}Content-Length: 0 \r\n\r\n" ],
	[ 'a length beyond 64 bits', "${post}Content-Length: 18446744073709551617\r\n\r\n" ],
	[ 'a length that is too large', "${post}Content-Length: 65537\r\n\r\n", 413 ],
	[ 'two Transfer-Encodings', "${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" ],
	[ 'chunked, then identity', "${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" ],
	[ 'a list of encodings', "${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" ],
	[ 'identity', "${post}Transfer-Encoding: identity\r\n\r\n" ],
	[ 'an encoding that only begins with chunked', "${post}Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n" ],
	[ 'an encoding that only ends with chunked', "${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" ],
	[ 'a quoted encoding', "${post}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" ],
	[ 'an encoding with a vertical tab', "${post}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" ],
	[ 'an encoding with white space behind', "${post}Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n" ],
	[ 'white space before the colon', "${post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" ],
	[ 'white space before the colon of a length', "${post}Content-Length : 5\r\n\r\n" ],
	[ 'a folded length', "${post}Content-Length:\r\n 5\r\n\r\n" ],
	[ 'a folded encoding', "${post}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" ],
	[ 'chunked in HTTP/1.0', "POST $path?order=HIDDEN&value=1 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" ],
	[ 'no Host', "$get\r\n" ],
	[ 'two Hosts', "${get}Host: shop\r\nHost: shop\r\n\r\n" ],
	[ 'an empty Host', "${get}Host:\r\n\r\n" ],
	[ 'a Host with a path', "${get}Host: shop/x\r\n\r\n" ],
	[ 'a Host with a user', "${get}Host: a\@shop\r\n\r\n" ],
	[ 'a Host of two words', "${get}Host: shop shop\r\n\r\n" ],
	[ 'a folded header', "${get}Host: shop\r\nX-A: b\r\n c\r\n\r\n" ],
	[ 'a folded header by tab', "${get}Host: shop\r\nX-A: b\r\n\tc\r\n\r\n" ],
	[ 'white space before the first header', "$get Host: shop\r\n\r\n" ],
	[ 'a header without a colon', "${get}Host: shop\r\nX-A\r\n\r\n" ],
	[ 'a header without a name', "${get}Host: shop\r\n: b\r\n\r\n" ],
	[ 'a header name with a space in it', "${get}Host: shop\r\nX A: b\r\n\r\n" ],
	[ 'a header name with a byte above ASCII', "${get}Host: shop\r\nX-\xe9: b\r\n\r\n" ],
	[ 'a bare LF after the request line', "GET $path?order=HIDDEN&value=1 HTTP/1.1\nHost: shop\r\n\r\n" ],
	[ 'a bare LF after a header', "${get}Host: shop\nX-A: b\r\n\r\n" ],
	[ 'a bare LF at the end', "${get}Host: shop\r\n\n" ],
	[ 'bare LFs only', "GET $path?order=HIDDEN&value=1 HTTP/1.1\nHost: shop\n\n" ],
	[ 'a bare CR in a header', "${get}Host: shop\r\nX-A: b\rX-B: c\r\n\r\n" ],
	[ 'CR CR LF', "${get}Host: shop\r\r\n\r\n" ],
	[ 'a NUL in a header', "${get}Host: shop\r\nX-A: b\0c\r\n\r\n" ],
	[ 'a NUL in a header name', "${get}Host: shop\r\nX\0A: b\r\n\r\n" ],
	[ 'a control byte in a header', "${get}Host: shop\r\nX-A: b\x01c\r\n\r\n" ],
	[ 'a DEL in a header', "${get}Host: shop\r\nX-A: b\x7fc\r\n\r\n" ],
	[ 'a NUL in the target', "GET $path?order=HIDDEN\0&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a control byte in the target', "GET $path?order=HIDDEN\x01&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a DEL in the target', "GET $path?order=HIDDEN\x7f&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a tab in the target', "GET $path?order=HIDDEN\t&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a space in the target', "GET $path?order=HIDDEN &value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a bare CR in the target', "GET $path?order=HIDDEN\r&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'an absolute target', "GET http://shop$path?order=HIDDEN&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a target without a slash', "GET p/$p{token}?order=HIDDEN&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'no target', "GET HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'two spaces before the target', "GET  $path?order=HIDDEN&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'two spaces before the version', "GET $path?order=HIDDEN&value=1  HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a space after the version', "GET $path?order=HIDDEN&value=1 HTTP/1.1 \r\nHost: shop\r\n\r\n" ],
	[ 'a tab for a space', "GET\t$path?order=HIDDEN&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'no version (HTTP/0.9)', "GET $path?order=HIDDEN&value=1\r\n" ],
	[ 'HTTP/2.0', "GET $path?order=HIDDEN&value=1 HTTP/2.0\r\nHost: shop\r\n\r\n" ],
	[ 'HTTP/1.2', "GET $path?order=HIDDEN&value=1 HTTP/1.2\r\nHost: shop\r\n\r\n" ],
	[ 'HTTP/1.11', "GET $path?order=HIDDEN&value=1 HTTP/1.11\r\nHost: shop\r\n\r\n" ],
	[ 'HTTP/01.1', "GET $path?order=HIDDEN&value=1 HTTP/01.1\r\nHost: shop\r\n\r\n" ],
	[ 'a version in lower case', "GET $path?order=HIDDEN&value=1 http/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'the preface of HTTP/2', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" ],
	[ 'the beginning of TLS', "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" ],
	[ 'two empty lines first', "\r\n\r\n${get}Host: shop\r\n\r\n" ],
	[ 'a bare LF first', "\n${get}Host: shop\r\n\r\n" ],
	[ 'a space first', " ${get}Host: shop\r\n\r\n" ],
	[ 'a method with a byte of no token', "G(T $path?order=HIDDEN&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a method without an end', 'A' x 100 ],
	[ 'CONNECT', "CONNECT shop:443 HTTP/1.1\r\nHost: shop\r\n\r\n" ],
	[ 'a GET with a length', "${get}Host: shop\r\nContent-Length: $hidden_length\r\n\r\n" ],
	[ 'a GET with chunks', "${get}Host: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" ],
	[ 'a HEAD with a length', "HEAD /c/$p{link} HTTP/1.1\r\nHost: shop\r\nContent-Length: $hidden_length\r\n\r\n" ],
	[ 'two Content-Types', "${post}Content-Type: application/json\r\nContent-Length: 0\r\n\r\n" ],
	[ 'a chunk size that is no number', "${post}Transfer-Encoding: chunked\r\n\r\nx\r\n" ],
	[ 'an empty chunk size', "${post}Transfer-Encoding: chunked\r\n\r\n\r\n\r\n" ],
	[ 'a negative chunk size', "${post}Transfer-Encoding: chunked\r\n\r\n-1\r\n" ],
	[ 'a chunk size with 0x', "${post}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n" ],
	[ 'a chunk size of too many digits', "${post}Transfer-Encoding: chunked\r\n\r\n000000001\r\na\r\n0\r\n\r\n" ],
	[ 'a chunk size that overflows', "${post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n", 413 ],
	[ 'a chunk that is too large', "${post}Transfer-Encoding: chunked\r\n\r\n10001\r\n", 413 ],
	[ 'a chunk extension', "${post}Transfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n0\r\n\r\n" ],
	[ 'white space after a chunk size', "${post}Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n" ],
	[ 'a bare LF after a chunk size', "${post}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n" ],
	[ 'a bare LF after a chunk', "${post}Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n" ],
	[ 'a chunk longer than it says', "${post}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" ],
	[ 'a trailer', "${post}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n\r\n" ],
	[ 'a bare LF after the last chunk', "${post}Transfer-Encoding: chunked\r\n\r\n0\r\n\n" ],
	[ 'a target that is too long', "GET $path?order=HIDDEN&value=1&x=" . 'x' x 8192 . " HTTP/1.1\r\nHost: shop\r\n\r\n", 414 ],
	[ 'too many headers', "${get}Host: shop\r\n" . "X-A: b\r\n" x 64 . "\r\n", 431 ],
	[ 'a header that is too long', "${get}Host: shop\r\nX-A: " . 'x' x 15000 . "\r\n\r\n", 431 ],
	[ 'headers without an end', "${get}Host: shop\r\n" . 'X-' . 'a' x 20000, 431 ],
);

# ---- what is malformed ----

for my $case (@refused)
{
	my ($name, $bytes, $status) = @$case;
	$status //= 400;

	my ($statuses, $state, $heard) = converse([ $bytes . $hidden ], seconds => 8);
	is("$statuses $state", "$status closed", "$name: $status and the end") or diag explain $heard;

	my @bytes = length $bytes < 2000 ? split(//, $bytes) : unpack '(a500)*', $bytes;
	($statuses, $state) = converse([ @bytes, $hidden ], seconds => 8);
	is("$statuses $state", "$status closed", "$name: byte by byte");

	($statuses, $state) = converse([ good_get() . good_get() . $bytes . $hidden ], seconds => 8);
	is("$statuses $state", "200 200 $status closed", "$name: after two good requests in one packet");
}

my ($statuses, $state, $heard) = converse([ "${get}Host: shop\r\nHost: shop\r\n\r\n" ]);
like($heard, qr/^Connection: close\r$/m, 'a refusal says Connection: close');
like($heard, qr/^Content-Type: application\/json\r$/m, 'a refusal is JSON');
like($heard, qr/\r\n\r\n\{"ok":false,"code":"bad_request","message":"[^"]+"\}\z/, 'of the shape of every error');

is(receipts('HIDDEN'), 0, 'nothing malformed, and nothing behind it, was run');
is(receipts('GOOD'), $good_orders, 'everything before it was run');

# ---- what is well-formed, in any pieces ----

my $form = 'Content-Type: application/x-www-form-urlencoded';

sub good_chunked
{
	my ($one, $two) = ('order=' . order(), '&value=1');
	return sprintf "POST %s HTTP/1.1\r\nHost: shop\r\n%s\r\nTransfer-Encoding: Chunked\r\n\r\n%x\r\n%s\r\n%04X\r\n%s\r\n0\r\n\r\n",
	  $path, $form, length $one, $one, length $two, $two;
}

sub good_post
{
	my $body = 'order=' . order() . '&value=1';
	return "POST $path HTTP/1.1\r\nHost: shop:8080\r\n$form; charset=utf-8\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}

($statuses, $state) = converse([ join '', map { (good_get(), good_post(), good_chunked()) } 1 .. 10 ], seconds => 1.5);
is($statuses, join(' ', ('200') x 30), 'thirty requests in one packet are answered in order');
is($state, 'open', 'and the connection stays open');

($statuses) = converse([ split //, good_get() . good_post() . good_chunked() ], seconds => 1.5);
is($statuses, '200 200 200', 'requests that come byte by byte');

for my $make (\&good_get, \&good_post, \&good_chunked)
{
	my $length = length $make->();
	$good_orders--;
	my $answered = 0;
	for my $cut (map { $_ * 7 % $length || 1 } 1 .. 20)
	{
		my $bytes = $make->() . $make->();
		my $socket = dial();
		syswrite $socket, substr $bytes, 0, $cut;
		sleep 0.002;
		syswrite $socket, substr $bytes, $cut;
		my ($got) = hear($socket, 0.15);
		my @ok = $got =~ m{HTTP/1\.1 200 }g;
		$answered += @ok;
	}
	is($answered, 40, 'pairs of requests cut in two, in twenty places');
}

($statuses) = converse([ "\r\n" . good_get() ], seconds => 1);
is($statuses, '200', 'one empty line before a request is skipped');
($statuses, $state) = converse([ good_post() . "\r\n" . good_get() ], seconds => 1);
is("$statuses $state", '200 200 open', 'also one after a body, as old clients send it');
($statuses, $state) = converse([ good_line('', '1.0') . "\r\n$hidden" ]);
is("$statuses $state", '200 closed', 'HTTP/1.0 needs no Host and ends after its answer');
($statuses, $state) = converse([ good_line() . "Host: shop\r\nConnection: close\r\n\r\n$hidden" ]);
is("$statuses $state", '200 closed', 'Connection: close ends after its answer');
($statuses) = converse([ good_line() . "hOST:shop\r\nX-Empty:\r\nX-A: \xe9\t b \r\n\r\n" ], seconds => 1);
is($statuses, '200', 'odd but legal headers are accepted');
($statuses) = converse([ good_line('&x=' . 'x' x (8192 - 60 - length $path)) . "Host: shop\r\n\r\n" ], seconds => 1);
is($statuses, '200', 'a target of almost 8 KiB is accepted');
($statuses) = converse([ good_line('&a' x 4000) . "Host: shop\r\n\r\n" ], seconds => 1);
is($statuses, '200', 'and one of four thousand parameters');
my $headers = "Host: shop\r\n" . "X-A: b\r\n" x 62 . 'Cookie: ' . 'a=b; ' x 2500 . "c=d\r\n";
($statuses) = converse([ good_line() . "$headers\r\n" ], seconds => 1);
is($statuses, '200', 'and headers of almost 14 KiB');
my $body = 'order=' . order() . '&value=1&x=';
$body .= 'x' x (65536 - length $body);
($statuses) = converse([ "POST $path HTTP/1.1\r\nHost: shop\r\n$form\r\nContent-Length: 65536\r\n\r\n$body" ], seconds => 1);
is($statuses, '200', 'and a body of 64 KiB');

is(receipts('GOOD'), $good_orders, 'each was run once');
is(receipts('HIDDEN'), 0, 'and nothing else');

# ---- what is well-formed but not for us ----

for my $case (
	[ 'PUT', $path, 405, 'GET, POST' ],
	[ 'DELETE', $path, 405, 'GET, POST' ],
	[ 'OPTIONS', "$path.gif", 405, 'GET, POST' ],
	[ 'POST', "/c/$p{link}", 405, 'GET, HEAD' ],
	[ 'POST', '/healthz', 405, 'GET, HEAD' ],
	[ 'GET', '/', 404 ],
	[ 'GET', '/p/', 404 ],
	[ 'GET', "$path/more", 404 ],
	[ 'GET', '/p/' . 'x' x 256, 404 ],
	[ 'GET', '/healthz/', 404 ],
	[ 'GET', '//healthz', 404 ],
	[ 'GET', '/%70/' . $p{token}, 404 ])
{
	my ($method, $target, $status, $allow) = @$case;
	my $reply = $t->request($method, $target);
	is($reply->{status}, $status, "$method " . substr($target, 0, 20) . ": $status");
	is($reply->{headers}{allow}, $allow, 'with what it takes in Allow') if $allow;
}
$heard = (converse([ "HEAD $path HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n" ]))[2];
like($heard, qr{\AHTTP/1\.1 405 .*\r\n\r\n\z}s, 'HEAD of a postback: 405');
for my $type ('text/plain', 'application/jsonx', 'application/x-www-form-urlencoded2', '', 'text/plain; application/json')
{
	my $reply = $t->request('POST', $path, headers => { 'Content-Type' => $type }, body => 'order=HIDDEN&value=1');
	is($reply->{status}, 415, "a body of type \"$type\": 415");
	is($reply->{json}{code}, 'unsupported_media_type', 'its code');
}
is($t->request('POST', $path, body => 'order=HIDDEN&value=1')->{status}, 415, 'a body of no type: 415');
is(receipts('HIDDEN'), 0, 'none of these was run');

# ---- slow clients ----

sub lasts
{
	my ($name, $feed, $low, $high) = @_;
	my ($socket, $begin) = (dial(), time);
	local $SIG{PIPE} = 'IGNORE';
	my $seen = 'open';
	for (my $i = 0; $seen eq 'open' && time - $begin < $high + 3; $i++)
	{
		my $bytes = $feed->($i);
		syswrite $socket, $bytes if length $bytes;
		(undef, $seen) = hear($socket, 0.1);
	}
	my $took = time - $begin;
	ok($seen eq 'closed' && $took >= $low && $took <= $high, sprintf '%s (after %.1f s)', $name, $took);
	return;
}

lasts('who says nothing is cut off after the time for a request', sub { '' }, 1.5, 4);
lasts('slow headers are cut off, however lively', sub { $_[0] == 0 ? $get : "X-$_[0]: y\r\n" }, 1.5, 4);
lasts('so is a slow body', sub { $_[0] == 0 ? "${post}Content-Length: 1000\r\n\r\n" : 'x' }, 1.5, 4);
lasts('and slow chunks', sub { $_[0] == 0 ? "${post}Transfer-Encoding: chunked\r\n\r\n" : "1\r\nx\r\n" }, 1.5, 4);

# Someone who sends requests and never reads the answers: cut off once nothing moves any more.
{
	my $socket = dial();
	$socket->blocking(0);
	local $SIG{PIPE} = 'IGNORE';
	my $begin = time;
	my $request = "GET /nothing HTTP/1.1\r\nHost: shop\r\n\r\n" x 100;
	my $ended = 0;
	while (!$ended && time - $begin < 30)
	{
		my $count = syswrite $socket, $request;
		$ended = 1 if !defined $count && !$!{EAGAIN} && !$!{EWOULDBLOCK};
		sleep 0.01 unless $count;
	}
	ok($ended, sprintf 'who does not read the answers is cut off (after %.1f s)', time - $begin);
}

is($t->request('GET', '/healthz')->{status}, 200, 'others are served all the same');

# ---- caps ----

{
	my @sockets = map { dial() } 1 .. 50;
	sleep 0.3;
	my ($heard_51, $state_51) = hear(dial(), 1);
	is("$heard_51$state_51", 'closed', 'the 51st connection of one address is closed');
	syswrite $sockets[0], good_get();
	my ($served) = hear($sockets[0], 0.5);
	like($served, qr{^HTTP/1\.1 200 }, 'those before it are served');
	close $_ for @sockets;
	sleep 0.5;
	is($t->request('GET', '/healthz')->{status}, 200, 'room again when they have gone');
}

is($t->ended($serve), undef, 'the daemon has survived all this');
my $log = $t->log($serve);
unlike($log, qr/\Q$p{token}\E/, 'and has not logged the token');
is($t->stop($serve), 0, 'it drains and ends with 0');
$t->finish;
