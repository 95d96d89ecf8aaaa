# Standard Webhooks: what "postbackd send" signs is checked by an implementation of the specification
# (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md) that shares nothing with it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64 decode_base64);
use Test::More;

# The signature that a secret gives: of id, timestamp and content, joined by periods.
sub signature
{
	my ($secret, $id, $timestamp, $content) = @_;
	my ($key) = $secret =~ /^whsec_(.*)$/ or die "no secret: $secret\n";
	return 'v1,' . encode_base64(hmac_sha256("$id.$timestamp.$content", decode_base64($key)), '');
}

# The example of the specification's own libraries.
is( signature('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'msg_p5jXN8AQM9LWM0D4loKWxJek', '1614265330', '{"test": 2432232314}'),
	'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=', 'the checker is right');

my $t = PostbackTest->new;
my %p = $t->programme;
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");
my $publisher = $t->receiver;
my $send = $t->send;

my %secret;
my %callback;
for my $method (qw(GET POST_FORM POST_JSON))
{
	my $url = $publisher->url . "/$method/{order_id}?status={status}&again={seq}";
	$callback{$method} = $t->sql("SELECT postback.create_callback(name => '$method', url => '$url', brand => '$p{brand}', method => '$method', "
		  . q{statuses => '{any}', every_status => true, params => '{"order": "{order_id}", "sum": "{payout}", "notice": "{notice}"}')});
	$secret{$method} = [ $t->sql("SELECT postback.rotate_secret('$callback{$method}')") ];
}

sub sale
{
	my ($order) = @_;
	return $t->sql("SELECT conversion_id FROM postback.receive('$p{token}', 'order=$order&value=1000&notice=%22a%26b%22+%C3%A9%F0%9F%92%B6&click_id=$click')");
}

# Requests of a method that tell of an order, waiting until there are so many.
sub requests
{
	my ($method, $order, $count) = @_;
	my @found;
	$t->wait_until("$method: $count came", sub { (@found = grep { $_->{target} =~ m{^/$method/$order\?} } $publisher->received) >= $count });
	return @found;
}

# What is signed of a request: the target of a GET, the body of a POST.
sub content
{
	my ($request) = @_;
	return $request->{method} eq 'GET' ? $request->{target} : $request->{body};
}

sub check
{
	my ($name, $request, @secrets) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $headers = $request->{headers};
	my ($id, $timestamp) = @{$headers}{qw(webhook-id webhook-timestamp)};
	like($timestamp, qr/^\d+$/, "$name: the timestamp is unix seconds");
	cmp_ok(abs($timestamp - $request->{time}), '<=', 60, "$name: of now");
	my @want = sort map { signature($_, $id, $timestamp, content($request)) } @secrets;
	is_deeply([ sort split / /, $headers->{'webhook-signature'} // '' ], \@want, "$name: signed with each live secret");
	isnt(signature($secrets[0], $id, $timestamp, content($request) . ' '), $want[0], "$name: other content has another signature");
	return;
}

sale('ONE');
for my $method (sort keys %callback)
{
	my ($request) = requests($method, 'ONE', 1);
	check($method, $request, @{ $secret{$method} });
	is($request->{headers}{'webhook-id'}, $t->sql("SELECT id FROM postback.delivery WHERE callback_id = '$callback{$method}'"),
		"$method: the id is the delivery's");
}

# While a secret is rotated there are two, and a receiver may know either.
for my $method (sort keys %callback)
{
	push @{ $secret{$method} }, $t->sql("SELECT postback.rotate_secret('$callback{$method}')");
	isnt($secret{$method}[0], $secret{$method}[1], "$method: a new secret");
}
sale('TWO');
for my $method (sort keys %callback)
{
	my ($request) = requests($method, 'TWO', 1);
	is(scalar(split / /, $request->{headers}{'webhook-signature'}), 2, "$method: two signatures");
	check("$method rotated", $request, @{ $secret{$method} });
}

# The former one ends after its day.
$t->sql("UPDATE postback.callback_secret SET valid_to = now() WHERE valid_to < 'infinity'");
sale('THREE');
for my $method (sort keys %callback)
{
	my ($request) = requests($method, 'THREE', 1);
	check("$method afterwards", $request, $secret{$method}[1]);
}

# A further attempt has the same id, and a timestamp and signature of its own.
$t->sql("DELETE FROM postback.callback WHERE id <> '$callback{POST_JSON}'");
$publisher->behave('500', '200');
sale('AGAIN');
my ($first, $second) = requests('POST_JSON', 'AGAIN', 2);
is($first->{headers}{'webhook-id'}, $second->{headers}{'webhook-id'}, 'the same id');
cmp_ok($second->{headers}{'webhook-timestamp'}, '>', $first->{headers}{'webhook-timestamp'}, 'a later timestamp');
is($first->{body}, $second->{body}, 'the same body');
check('the second attempt', $second, $secret{POST_JSON}[1]);

# Rotated often within a day: it is sent all the same, signed with the newest ones.
my @often = map { $t->sql("SELECT postback.rotate_secret('$callback{POST_JSON}')") } 1 .. 6;
sale('OFTEN');
my ($often) = requests('POST_JSON', 'OFTEN', 1);
my @signatures = split / /, $often->{headers}{'webhook-signature'};
is(scalar @signatures, 2, 'two signatures at most');
check('rotated often', $often, @often[ -2, -1 ]);

# Without a secret there is no signature, but an id and a timestamp.
$t->sql('DELETE FROM postback.callback_secret');
sale('NONE');
my ($unsigned) = requests('POST_JSON', 'NONE', 1);
ok(!exists $unsigned->{headers}{'webhook-signature'}, 'no secret, no signature');
like($unsigned->{headers}{'webhook-id'}, qr/^[0-9A-Z]{26}$/, 'but an id');
like($unsigned->{headers}{'webhook-timestamp'}, qr/^\d+$/, 'and a timestamp');

is($t->stop($send), 0, 'the sender is well');
$t->finish;
