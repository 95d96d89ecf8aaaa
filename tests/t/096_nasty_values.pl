# Whatever stands in a click or a postback, the publisher's server gets the request that the callback describes: the same host, path,
# parameters, JSON members and headers, and in them the values byte for byte. Values are random, of bytes that mean something somewhere;
# POSTBACK_SEED=N replays a run, ROUNDS=N makes it longer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use JSON::PP ();
use Test::More;

my $seed = $ENV{POSTBACK_SEED} // int(rand(2**31));
my $rounds = $ENV{ROUNDS} // 12;
diag "POSTBACK_SEED=$seed";
srand $seed;

my $t = PostbackTest->new;
my %p = $t->programme;
my $publisher = $t->receiver;
$t->serve;
my $send = $t->send;

# What the templates below use: macro to the parameter that brings it, and its limit in bytes.
my %of_click = map { $_ => 1024 } qw(sub_id external_transaction_id), map { "sub$_" } 1 .. 10;
my %of_postback = (order_id => 255, notice => 1024, goal => 64, promo_code => 128);
my @macros = sort keys(%of_click), keys %of_postback;

my $fields = join ', ', map { qq("$_": "{$_}") } @macros;
my $params = qq({$fields, "fixed": "a&b=c {sub_id|none} \\\\ \\"", "n[]": 5, "nested": {"a": [1, "x"]}});
my $headers = '{' . join(', ', map { qq("X-$_": "{$_}") } @macros) . ', "X-Fixed": "before {notice} after"}';
my %path = (
	GET => '/get/{sub1}/x{sub2:raw}/{order_id}/end?first={sub3:raw}&{sub4}={sub5}',
	POST_FORM => '/form/{sub1:raw}.{notice:raw}/{sub6}?q={goal:raw}',
	POST_JSON => '/json/{notice}/..{sub7}/end?q={sub8}&r={sub9:raw}&s={status:pending=a&b#c}');
for my $method (sort keys %path)
{
	my $url = $publisher->url . $path{$method};
	$t->sql("SELECT postback.create_callback(name => '$method', url => '$url', brand => '$p{brand}', method => '$method', statuses => '{pending}', "
		  . "params => \$json\$$params\$json\$, headers => \$json\$$headers\$json\$)");
}

my @pieces = (
	'&', '=', '/', '?', '#', '%', '.', '..', '../', '/../', ';', ':', '@', '+', ' ', "\r", "\n", "\r\n", "\r\nX-Injected: yes\r\n", "\r\n\r\nGET /injected HTTP/1.1\r\n", "\t", '"', "'", '\\', '\\"',
	'"}', '","x":"y', '<', '>', '{', '}', '{payout}', '{sub1', '|', '[', ']', '^', '`', '%2F', '%2e%2e', '%00', '%0d%0a', '%', '%2', '&injected=1', '&amp;', '$json$', '${x}', "\x01", "\x1b[31m", "\x7f",
	"\x{80}", "\x{85}", "\x{a0}", "\x{e9}", "\x{2028}", "\x{202e}", "\x{feff}", "\x{fffd}", "\x{ffff}", "\x{10ffff}", "\x{1f4b6}", "e\x{301}", 'a', 'b', 'z', '0', '9', '-', '_', '~', '*', '!', '(', ')', ',', '$');

# A value of UTF-8 bytes, at most so many, not empty and without spaces at its ends (reading takes those away).
sub random_value
{
	my ($limit, $whole) = @_;
	my ($value, $length) = ('', $whole ? $limit : 1 + int rand($limit < 60 ? $limit : 60));
	return (('.', '..', '%2e', '/', '0')[ int rand 5 ]) if !$whole && rand() < 0.1;
	while (1)
	{
		my $piece = $pieces[ int rand @pieces ];
		$piece = $pieces[ int rand @pieces ] x (1 + int rand 40) if $whole;
		utf8::encode($piece);
		last if length($value) + length($piece) > $length;
		$value .= $piece;
	}
	$value =~ s/\A[ \t\r\n]+|[ \t\r\n]+\z//g;
	return length $value ? $value : 'x';
}

sub decoded { return $_[0] =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ger }

# Name and value pairs of a query or form, as a receiver reads them.
sub pairs { return map { [ map { decoded(s/\+/ /gr) } split /=/, $_, 2 ] } split /&/, $_[0], -1 }

# As a header shows a value: without what cannot stand there, and (as every reader has it) without blanks at its ends.
sub in_header { return $_[0] =~ s/[\x00-\x08\x0a-\x1f\x7f]//gr =~ s/\A[ \t]+|[ \t]+\z//gr }

# What is raw is encoded only where it would change the URL's shape, so that a literal %2F in it stays one.
sub check_shape
{
	my ($name, $request, $segments, @names) = @_;
	my ($path, $query) = $request->{target} =~ m{\A(/[^?#]*)\?([^#]*)\z} or return fail("$name: a path and a query");
	my @segments = split m{/}, $path, -1;
	is(scalar @segments, $segments, "$name: the path has as many segments as its template");
	is(scalar(grep { /\A(?:\.|%2e)\.?\z/i && !/%2e/i } @segments), 0, "$name: none of them means another folder");
	like($request->{target}, qr/\A[\x21-\x7e]+\z/, "$name: nothing but visible ASCII");
	my @pairs = split /&/, $query, -1;
	is(scalar @pairs, scalar @names, "$name: as many parameters");
	for my $i (0 .. $#names)
	{
		next if !defined $names[$i];
		is(decoded((split /=/, $pairs[$i], 2)[0]), $names[$i], "$name: $names[$i] is the parameter there");
	}
	return (\@segments, \@pairs);
}

sub check_pairs
{
	my ($name, $pairs, $value) = @_;
	my %want = (%$value, fixed => "a&b=c $value->{sub_id} \\ \"", 'n[]' => '5', nested => undef);
	is(join(' ', sort map { $_->[0] } @$pairs), join(' ', sort keys %want), "$name: the names");
	my @wrong = grep { defined $want{ $_->[0] } && $want{ $_->[0] } ne $_->[1] } @$pairs;
	is(join(' ', map { $_->[0] } @wrong), '', "$name: the values, byte for byte");
	is_deeply(JSON::PP->new->decode((map { $_->[1] } grep { $_->[0] eq 'nested' } @$pairs)[0]), { a => [ 1, 'x' ] }, "$name: what is no text");
}

sub check_headers
{
	my ($name, $request, $value, @more) = @_;
	my @ours = qw(host user-agent accept webhook-id webhook-timestamp);
	is(join(' ', sort keys %{ $request->{headers} }), join(' ', sort @ours, @more, 'x-fixed', map { lc "x-$_" } @macros), "$name: these headers and no other");
	my @wrong = grep { in_header($request->{headers}{ lc "x-$_" }) ne in_header($value->{$_}) } @macros;
	is(join(' ', @wrong), '', "$name: with their values, on one line each");
	diag sprintf '%s: "%s", not "%s"', $_, map { s/([^ -~])/sprintf '\\x%02x', ord $1/ger } $request->{headers}{ lc "x-$_" }, in_header($value->{$_}) for @wrong;
	is(in_header($request->{headers}{'x-fixed'}), in_header("before $value->{notice} after"), "$name: also within a text");
	is(join('', map { $request->{headers}{ lc "x-$_" } } @macros) =~ tr/\x00-\x08\x0a-\x1f\x7f//, 0, "$name: without controls");
	is($request->{headers}{host}, "127.0.0.1:$publisher->{port}", "$name: for the host of the callback");
}

for my $round (1 .. $rounds)
{
	# Two are as long as may be: more would make the click's own URL too long.
	my %whole = map { $_ => 1 } $macros[ int rand @macros ], 'notice';
	my %value = map { $_ => random_value($of_click{$_} // $of_postback{$_}, $whole{$_}) } @macros;
	$value{order_id} = substr("N$round-$value{order_id}", 0, 255);
	$value{order_id} =~ s/[\x80-\xff \t\r\n]+\z//;
	my $click = $t->click($p{link}, map { $_ => $value{$_} } sort keys %of_click);
	my ($id) = ($click->{headers}{location} // '') =~ /click_id=(clk_\w+)/ or fail("round $round: a click"), next;
	my $reply = $t->postback($p{token}, order => $value{order_id}, value => 1000, click_id => $id, map { $_ => $value{$_} } qw(notice goal promo_code));
	is($reply->{json}{result}, 'created', "round $round: the order is taken") or diag($reply->{body});
	my %request;
	$t->wait_until("round $round: three requests come",
		sub { %request = map { $_->{target} =~ m{^/(\w+)/} ? ($1 => $_) : () } grep { in_header($_->{headers}{'x-order_id'}) eq in_header($value{order_id}) } $publisher->received; keys %request == 3 }, 30)
	  or last;

	my ($segments, $pairs) = check_shape("round $round, GET", $request{get}, 6, 'first', $value{sub4}, (undef) x (@macros + 3));
	is(decoded($segments->[2]), $value{sub1}, "round $round, GET: a segment is the value");
	is(decoded($segments->[4]), $value{order_id}, "round $round, GET: and another");
	check_pairs("round $round, GET", [ pairs(join '&', @$pairs[ 2 .. $#$pairs ]) ], \%value);
	is($request{get}{body}, '', "round $round, GET: no body");
	check_headers("round $round, GET", $request{get}, \%value);

	check_shape("round $round, form", $request{form}, 4, 'q');
	check_pairs("round $round, form", [ pairs($request{form}{body}) ], \%value);
	check_headers("round $round, form", $request{form}, \%value, 'content-type', 'content-length');

	($segments) = check_shape("round $round, JSON", $request{json}, 5, 'q', 'r', 's');
	is(decoded($segments->[2]), $value{notice}, "round $round, JSON: a segment is the value");
	my $json = eval { JSON::PP->new->utf8->decode($request{json}{body}) };
	my %want = (%value, fixed => "a&b=c $value{sub_id} \\ \"");
	utf8::decode($_) for values %want;
	is_deeply($json, { %want, 'n[]' => 5, nested => { a => [ 1, 'x' ] } }, "round $round, JSON: the object");
	check_headers("round $round, JSON", $request{json}, \%value, 'content-type', 'content-length');
}

# Bytes that are no text, or a NUL: whatever is kept of them, the request has its shape.
my $click = $t->request('GET', "/c/$p{link}?sub_id=a%00b%ff%c0%af%0d%0aX-Injected:%20yes&sub1=%fe%00&sub2=%ed%a0%80..&external_transaction_id=%00");
my ($id) = $click->{headers}{location} =~ /click_id=(clk_\w+)/;
$t->postback($p{token}, order => 'BYTES', value => 1000, click_id => $id, notice => 'n', goal => 'g');
my %request;
$t->wait_until('bytes that are no text: three requests come',
	sub { %request = map { $_->{target} =~ m{^/(\w+)/} ? ($1 => $_) : () } grep { $_->{headers}{'x-order_id'} eq 'BYTES' } $publisher->received; keys %request == 3 });
check_shape('bytes, GET', $request{get}, 6, 'first', undef, (undef) x (@macros + 3));
check_shape('bytes, form', $request{form}, 4, 'q');
is(join(' ', sort keys %{ JSON::PP->new->utf8->decode($request{json}{body}) }), join(' ', sort @macros, 'fixed', 'n[]', 'nested'), 'bytes, JSON: the names');
ok(!exists $_->{headers}{'x-injected'}, 'no header more') for values %request;

is(scalar(grep { $_->{target} =~ /injected HTTP/ || $_->{method} !~ /^(GET|POST)$/ } $publisher->received), 0, 'no request was made of another');
is($t->sql("SELECT count(*) FROM postback.attempt WHERE outcome <> 'success'"), '0', 'all were delivered at once');
is($t->stop($send), 0, 'the sender is well');
$t->audit_ok;
$t->finish;
