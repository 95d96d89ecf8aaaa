# Pixels: /p/TOKEN.gif in a visitor's browser. Every answer is an image, the cookie of the click is the click, and what the call
# came to stands in X-Postback-Code.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;
my %other = $t->programme(name => 'Other');
my $styled = $t->sql("SELECT token FROM postback.issue_token('$p{brand}', 'styled', reply_style => 'always200')");
my $limited = $t->sql("SELECT token FROM postback.issue_token('$p{brand}', 'limited', rate_limit => 1)");
my $serve = $t->serve;

# One pixel, as a browser asks for it; the answer as "status code".
my $reply;
sub pixel
{
	my ($token, $query, %options) = @_;
	$reply = $t->request($options{method} // 'GET', "/p/$token.gif" . (defined $query ? "?$query" : ''),
		headers => { %{ $options{headers} // {} }, Accept => 'image/*', defined $options{cookie} ? (Cookie => $options{cookie}) : () }, body => $options{body});
	return join ' ', $reply->{status}, $reply->{headers}{'x-postback-code'} // 'none';
}

# Is the answer an image of one transparent point that no cache keeps?
sub is_image
{
	my ($name) = @_;
	my ($magic, $width, $height) = unpack 'a6 v v', $reply->{body};
	return is(join(' ', $reply->{headers}{'content-type'}, $magic, $width, $height, substr($reply->{body}, -1) eq ';' ? 'whole' : 'cut', $reply->{headers}{'cache-control'} // ''),
		'image/gif GIF89a 1 1 whole no-store', $name);
}

sub attribution
{
	my ($order) = @_;
	return $t->sql("SELECT concat_ws(' ', c.attribution, c.click_id) FROM postback.conversion c WHERE c.order_ref = '$order'");
}

my $both = 0;

# The browser follows the link, keeps the cookie for the whole host, and sends it with the pixel.
my $cookie = $t->click($p{link}, sub_id => 'a')->{headers}{'set-cookie'};
my $key = substr $p{token}, 0, 8;
my ($id) = $cookie =~ /^postback_click_$key=clk_(\w{26});/;
like($cookie, qr{; Path=/(;|$)}, 'the cookie is for all paths of the host: links are under /c/, pixels under /p/');
($cookie) = split /;/, $cookie;
is(pixel($p{token}, 'order=P-1&value=1000', cookie => $cookie), '200 created', 'a sale');
is_image('is answered by an image');
is(attribution('P-1'), "click $id", 'the click is that of the cookie');
is($t->sql("SELECT cookie FROM postback.receipt WHERE order_ref = 'P-1'"), "clk_$id", 'which the receipt keeps');
is(pixel($p{token}, 'order=P-1&value=1000', cookie => $cookie), '200 duplicate', 'loaded again');
is_image('an image too');
is(pixel($p{token}, 'order=P-2&value=1000', cookie => "a=b; x_postback_click_$key=no; postback_click_${key}s=clk_0; postback_clic=no; $cookie; postback_click_=no"), '200 created', 'among other cookies');
is(attribution('P-2'), "click $id", 'it is found');
my $second = ($t->click($p{link})->{headers}{location} =~ /click_id=clk_(\w{26})/)[0];
is(pixel($p{token}, "order=P-3&value=1000&click_id=clk_$second", cookie => $cookie), '200 created', 'with a click id of its own');
is(attribution('P-3'), "click $second", 'the cookie does not count');
is(pixel($p{token}, "order=P-4&value=1000&click_id=", cookie => $cookie), '200 created', 'with an empty one');
is(attribution('P-4'), "click $id", 'it does');
is($t->request('GET', "/p/$p{token}?order=S-1&value=1000", headers => { Cookie => $cookie })->{json}{result}, 'created', 'a server\'s call with a cookie');
is(attribution('S-1'), "last_click $second", 'has no cookie');

# A visitor of two brands has a cookie of each, and the sale of each its own.
my ($others) = $t->click($other{link})->{headers}{'set-cookie'} =~ /^([^;]+)/;
for my $cookies ("$cookie; $others", "$others; $cookie")
{
	my $order = 'B-' . ++$both;

	is(pixel($p{token}, "order=$order&value=1000", cookie => $cookies), '200 created', 'with a cookie of another brand');
	is(attribution($order), "click $id", 'the click is that of its own');
}
is(pixel($p{token}, 'order=B-3&value=1000', cookie => $others), '200 created', 'with the other brand\'s only');
is(attribution('B-3'), "last_click $second", 'it has none');
is(pixel($p{token}, 'order=B-4&value=1000', cookie => "postback_click=clk_$id"), '200 created', 'with the cookie that 0.1.0 set');
is(attribution('B-4'), "click $id", 'that counts');

# Cookies that are no click of the brand: kept, unattributed, no guess.
for my $case ([ 'P-5', "postback_click_$key=nonsense", 'bad_click_id' ], [ 'P-6', "postback_click_$key=clk_01ARZ3NDEKTSV4RRFFQ69G5FAV", 'unknown_click_id' ],
	[ 'P-7', "postback_click_$key=" . ($others =~ s/.*=//r), 'unknown_click_id' ])
{
	is(pixel($p{token}, "order=$case->[0]&value=1000", cookie => $case->[1]), '200 created', "a cookie that is no click of the brand: $case->[2]");
	is(attribution($case->[0]), 'none', 'nobody earns it');
	is($t->sql("SELECT warning FROM postback.receipt WHERE order_ref = '$case->[0]'"), $case->[2], 'the receipt says why');
	is($t->sql("SELECT count(*) FROM postback.receipt r CROSS JOIN LATERAL postback.explain(r.id) x WHERE r.order_ref = '$case->[0]' AND x.step = 'click' AND x.outcome LIKE 'passed over: %'"),
		'1', 'and explain');
}
is(pixel($p{token}, 'order=P-8&value=1000'), '200 created', 'without a cookie');
is(attribution('P-8'), "last_click $second", 'the last click');

# Every answer is an image, whatever it says.
for my $case (
	[ [ $p{token}, 'order=P-9' ], '400 missing_parameter', 'no value' ],
	[ [ $p{token}, 'order=P-9&value=x' ], '400 bad_value', 'a bad value' ],
	[ [ $p{token}, undef ], '400 missing_parameter', 'nothing' ],
	[ [ $p{token}, 'order=NONE&status=approved' ], '404 unknown_order', 'an order that is not known' ],
	[ [ "$p{token}x", 'order=P-9&value=1' ], '404 unknown_token', 'a token that is not known' ],
	[ [ 'x' x 255, 'order=P-9&value=1' ], '404 unknown_token', 'one of 255 bytes' ],
	[ [ 'x' x 256, 'order=P-9&value=1' ], '404 not_found', 'a path that is too long for a token' ],
	[ [ $p{token}, 'event=signup&order=E-1', cookie => $cookie ], '200 event', 'an event' ],
	[ [ $p{token}, 'event=Signup&order=E-1', cookie => $cookie ], '200 duplicate', 'the event again: once per event and order' ],
	[ [ $p{token}, 'event=signup', cookie => $cookie ], '200 event', 'an event without an order' ],
	[ [ $p{token}, 'event=signup', cookie => $cookie ], '200 event', 'counts each time' ],
	[ [ $p{token}, 'order=P-1&status=approved' ], '200 approved', 'an approval' ],
	[ [ $p{token}, 'order=P-1&status=reversed' ], '409 locked', 'what is locked' ],
	[ [ $styled, 'order=P-1&status=reversed' ], '200 locked', 'of a token that is always answered 200' ],
	[ [ $p{token}, undef, method => 'POST', body => '{"order":"P-10","value":5}' ], '415 unsupported_media_type', 'a body of no type' ],
	[ [ $p{token}, 'order=P-1', method => 'DELETE' ], '405 method_not_allowed', 'another method' ],
	[ [ $p{token}, 'order=P-1&x=' . 'x' x 8192 ], '414 uri_too_long', 'a query that is too long' ],
	[ [ $p{token}, undef, method => 'POST', body => 'x' x 65537 ], '413 payload_too_large', 'a body that is too large' ],
	[ [ $p{token}, 'order=P-1', headers => { map { ("X-$_" => 'x') } 1 .. 70 } ], '431 headers_too_large', 'too many headers' ],
	[ [ $p{token}, 'order=P-1', body => 'x' ], '400 bad_request', 'a GET with a body' ])
{
	is(pixel(@{ $case->[0] }), $case->[1], "pixel: $case->[2]");
	is_image("$case->[2]: an image");
}
for my $path ("/p/$p{token}", "/p/$p{token}.gi", "/p/$p{token}.gif/x", "/p/$p{token}?x=.gif")
{
	my $other = $t->request('POST', $path, body => 'x' x 65537);
	is("$other->{status} $other->{headers}{'content-type'}", '413 application/json', "$path is no pixel");
}
pixel($p{token}, 'order=P-1', method => 'DELETE');
is($reply->{headers}{allow}, 'GET, POST', 'what is not allowed says what is');
is($t->sql("SELECT count(*), count(*) FILTER (WHERE attribution = 'click' AND click_id = '$id') FROM postback.event"), '3|3', 'events by pixels have the click of the cookie');

# What the daemon answers by itself says when to come again.
my $count = 0;
while (pixel($limited, 'order=L-1&value=1') !~ /^429/ && ++$count < 100) { }
is("$reply->{status} $reply->{headers}{'x-postback-code'} $reply->{headers}{'retry-after'}", '429 rate_limited 1', 'too many calls for the token');
is_image('an image as well');
like($t->request('GET', '/metrics', port => $serve->{metrics})->{body}, qr/^postbackd_requests_total\{route="pixel",outcome="created"\} [1-9]/m, 'the metrics count pixels apart');

# Of the large bodies that come in slowly, the oldest gives way when there are too many at once; here it is that of a pixel.
sub slow_body
{
	my ($path) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $serve->{port}) or die "connect: $!";
	syswrite $socket, "POST $path HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	  . "Content-Length: 65536\r\n\r\n" . 'x' x 61440;
	return $socket;
}

# Has the daemon read all that was sent to it?
sub all_is_read
{
	my $port = sprintf '%04X', $serve->{port};
	return !grep { /^ *\d+: \w+:$port \w+:\w+ 01 \w+:(\w+)/ && hex $1 } split /\n/, slurp_file('/proc/net/tcp');
}
my $oldest = slow_body("/p/$p{token}.gif");
$t->wait_until('the first is read', \&all_is_read);
my @others = map { slow_body("/p/$p{token}") } 1 .. 16 * 1024 / 60 + 1;
$t->wait_until('the others are read', \&all_is_read);
syswrite $oldest, 'x' x 4096;
my ($head, $body) = split /\r\n\r\n/, join('', <$oldest>), 2;
$reply = { status => (split / /, $head)[1], body => $body, headers => { map { /^([^:]+): (.*)/ ? (lc $1 => $2) : () } split /\r\n/, $head } };
is("$reply->{status} " . ($reply->{headers}{'x-postback-code'} // 'none'), '503 unavailable', 'too many large bodies at once');
is($reply->{headers}{'retry-after'}, 1, 'to be sent again');
is_image('an image too');
close $_ for $oldest, @others;

$t->node->stop('immediate');
is(pixel($p{token}, 'order=P-11&value=1'), '503 unavailable', 'without a database');
is($reply->{headers}{'retry-after'}, 1, 'to be sent again');
is_image('an image too');
$t->node->start;
$t->audit_ok;
$t->finish;
