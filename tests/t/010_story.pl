# One click, one postback, one payment, one delivery: the whole path with both roles of the daemon and real HTTP.
# 49.99 EUR at 8 percent are 4.00 EUR of commission (399.92 cents, rounded half away from zero); the fee is 35 percent
# of that, 1.40 EUR.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new;
my $publisher = $t->receiver;
my %p = $t->programme(receiver => $publisher);
my $serve = $t->serve;
my $send = $t->send;
my $base = "http://127.0.0.1:$serve->{port}";

# A visitor follows the publisher's link.

my $reply = $t->click($p{link}, sub_id => 'newsletter & more', external_transaction_id => 'ext-7');
is($reply->{status}, 302, 'a click is answered with a redirect');
like(
	$reply->{headers}{location},
	qr{^http://shop\.example/landing\?from=us&click_id=clk_[0-9A-HJKMNP-TV-Z]{26}$},
	'to the landing page, with the click id appended');
like($reply->{headers}{'set-cookie'} // '', qr/clk_[0-9A-HJKMNP-TV-Z]{26}/, 'and a cookie that holds it');
my ($click) = ($reply->{headers}{location} // '') =~ /click_id=clk_(\w+)/;
is( $t->sql("SELECT sub_id, external_transaction_id, offer_id = '$p{offer}', publisher_id = '$p{publisher}' FROM postback.click WHERE id = '$click'"),
	'newsletter & more|ext-7|t|t',
	'the click is recorded with the tracking values');

# The brand reports the order.

$reply = $t->postback($p{token}, order => 'ORDER-1', value => 4999, click_id => "clk_$click");
is($reply->{status}, 200, 'a new order is taken');
my %json = %{ $reply->{json} // {} };
is_deeply(
	{ map { $_ => $json{$_} } qw(ok result order goal status value currency commission fee attribution) },
	{   ok => JSON::PP::true, result => 'created', order => 'ORDER-1', goal => '', status => 'pending', value => 4999,
		currency => 'EUR', commission => 400, fee => 140, attribution => 'click' },
	'and its answer says what became of it');
like($json{hold_until}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'with the end of the hold');
my $conversion = $json{conversion_id};
is($t->sql("SELECT status, hold_until - created_at BETWEEN '13 days 23 hours' AND '14 days 1 hour', click_id = '$click' FROM postback.conversion WHERE id = '$conversion'"),
	'pending|t|t', 'the conversion waits for 14 days');

sub transfers
{
	return $t->sql("SELECT from_account, to_account, amount, currency, kind FROM postback.ledger WHERE conversion_id = '$conversion' ORDER BY id");
}
is(transfers(), "available|held|400|EUR|commission_held\navailable|held|140|EUR|fee_held", 'commission and fee are held');
$t->audit_ok('the audit finds no difference with money held');

$reply = $t->postback($p{token}, order => 'ORDER-1', value => 4999, click_id => "clk_$click");
is("$reply->{status} $reply->{json}{result}", '200 duplicate', 'the same postback again is a duplicate');
is($reply->{json}{conversion_id}, $conversion, 'of the same conversion');
is($t->sql('SELECT count(*) FROM postback.delivery'), '0', 'nobody has been told of anything yet');

# The brand approves it, by curl as in the manual; the publisher is told.

is($t->curl('-o', '/dev/null', '-w', '%{http_code}', "$base/p/$p{token}?order=ORDER-1&status=approved"),
	'200', 'the approval is taken');
is($t->sql("SELECT status FROM postback.conversion WHERE id = '$conversion'"), 'approved', 'the conversion is approved');
is( transfers(),
	"available|held|400|EUR|commission_held\navailable|held|140|EUR|fee_held\n"
	  . "held|payable|400|EUR|commission_approved\nheld|fees|140|EUR|fee_approved",
	'the commission is the publisher\'s, the fee the network\'s');

$t->wait_until('the publisher\'s server is told', sub { scalar $publisher->received }, 30);
my @received = $publisher->received;
is("$received[0]{method} " . ($received[0]{target} =~ s/\?.*//r), 'GET /postback', 'at the callback\'s URL');
is_deeply(
	$received[0]{query},
	{ click_id => "clk_$click", payout => '4.00', currency => 'EUR', status => 'approved', order => 'ORDER-1' },
	'with its macros filled in');
$t->wait_until('the delivery is settled', "SELECT state = 'delivered' AND attempts = 1 AND http_code = 200 FROM postback.delivery");
is($t->sql("SELECT number, outcome, http_code, address FROM postback.attempt"), '1|success|200|127.0.0.1', 'its attempt is kept');

# Approved is locked; the history and the receipts tell it all.

$reply = $t->postback($p{token}, order => 'ORDER-1', status => 'reversed');
is("$reply->{status} $reply->{json}{code}", '409 locked', 'an approved order cannot be reversed by postback');
is($t->sql("SELECT coalesce(from_status, ''), to_status, actor FROM postback.history WHERE conversion_id = '$conversion' ORDER BY id"),
	"|pending|receipt\npending|approved|receipt", 'the history has both changes');
is($t->sql("SELECT http_status, coalesce(result, code) FROM postback.receipt ORDER BY id"),
	"200|created\n200|duplicate\n200|approved\n409|locked", 'every call has left a receipt');

# What else a brand may do by HTTP.

$reply = $t->request('POST', "/p/$p{token}", headers => { 'Content-Type' => 'application/x-www-form-urlencoded' },
	body => PostbackTest::query(order => 'ORDER-2', amount => '10.00', status => 'approved'));
is("$reply->{status} $reply->{json}{result}", '200 approved', 'a form creates and approves in one call');
is($reply->{json}{created}, JSON::PP::true, 'and says so');
is($reply->{json}{attribution}, 'last_click', 'it goes to the last click');
$reply = $t->request('POST', "/p/$p{token}", headers => { 'Content-Type' => 'application/json' },
	body => '{"order":"ORDER-4","value":"30.00","value_format":"currency","test":true}');
is("$reply->{status} $reply->{json}{result} $reply->{json}{value}", '200 created 3000', 'a JSON object is read too');
$reply = $t->postback($p{token}, order => 'ORDER-3', value => '25.00', value_format => 'currency', currency => 'eur');
is("$reply->{status} $reply->{json}{result} $reply->{json}{value}", '200 created 2500', 'a value may come in full units');
$reply = $t->postback($p{token}, order => 'ORDER-3', status => 'cancelled');
is("$reply->{status} $reply->{json}{result}", '200 reversed', 'a pending order can be cancelled');

# What it may not.

my $unknown = $p{token} =~ s/.$/substr($p{token}, -1) eq 'a' ? 'b' : 'a'/er;
for my $case (
	[ 'unknown token', 'GET', "/p/$unknown?order=1&value=1", 404, 'unknown_token' ],
	[ 'no order', 'GET', "/p/$p{token}?value=1", 400, 'missing_parameter' ],
	[ 'a value that is no number', 'GET', "/p/$p{token}?order=9&value=1e3", 400, 'bad_value' ],
	[ 'another method', 'DELETE', "/p/$p{token}?order=9&value=1", 405, 'method_not_allowed' ])
{
	my ($what, $method, $target, $status, $code) = @$case;
	$reply = $t->request($method, $target);
	is(($reply->{status} // $reply->{error}) . ' ' . ($reply->{json}{code} // ''), "$status $code", "$what is refused");
}
is($t->click('aaaaaaaa-nothing')->{status}, 404, 'an unknown link leads nowhere');

like($t->request('GET', '/metrics', port => $serve->{metrics})->{body} // '', qr/^\w+(\{[^}]*\})? [\d.e+-]+$/m, 'serve has metrics');
like($t->request('GET', '/metrics', port => $send->{metrics})->{body} // '', qr/^\w+(\{[^}]*\})? [\d.e+-]+$/m, 'send has metrics');
my ($secret) = $p{token} =~ /_(.+)$/;
unlike($t->log($serve), qr/\Q$secret\E/, 'the log does not tell a token');

is($t->stop($serve), 0, 'serve ends with 0 when told to');
is($t->stop($send), 0, 'send too');
$t->audit_ok('the audit finds no difference at the end');
$t->finish;
