# Every answer over HTTP: each error code with its status, the parameter that is to blame, a next step in its message and, where it
# reaches the database, a receipt; in every reply style; each result and each warning. The words are those of the code's own tables,
# of which none may be left out.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

# The names in a table of the manual, as make docs has them.
my (%words, $table);
for (split /\n/, `'$ENV{POSTBACK_PROGRAMS}/tables'`)
{
	$table = $1 if /^table (\w+)$/;
	my ($names) = $table eq 'codes' ? /^\| \d+ \| ([^|]*) \|/ : /^\| (`\w+`[^|]*) \|/;
	$words{$table}{$_} = 1 for grep { !/^`(?:result|warning)`$/ } ($names // '') =~ /(`\w+`)/g;
}
cmp_ok(scalar keys %{ $words{codes} }, '>=', 30, 'the tables were read');
sub left_out
{
	my ($name, %met) = @_;
	return join ' ', sort grep { !$met{s/`//gr} } keys %{ $words{$name} };
}

my $t = PostbackTest->new;
my %p = $t->programme;
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");
$t->sql("SELECT postback.create_goal(offer => '$p{offer}', name => '$_')") for qw(Lead Sale);
sub token { return $t->sql("SELECT token FROM postback.issue_token(brand => '$p{brand}', label => '$_[0]'" . ($_[1] // '') . ')') }
my $revoked = token('revoked');
$t->sql("SELECT postback.revoke_token(brand => '$p{brand}', label => 'revoked')");
my $guarded = token('guarded', ", allow_ips => '{192.0.2.0/24}'");
my $signed = token('signed', q{, hmac_secret => 'sesame-open'});
my $limited = token('limited', ', rate_limit => 1');
my %style = (text => token('text', q{, reply_style => 'text'}), always200 => token('always', q{, reply_style => 'always200'}));
$t->serve;

my %met;

# ---- what is done ----

# In this order: what is sent, the result and the warning.
for my $call (
	[ "order=PENDING&value=1000&click_id=$click", 'created' ],
	[ "order=PENDING&value=1000", 'duplicate' ],
	[ "order=PENDING&value=999", 'duplicate', 'value_differs' ],
	[ "order=PENDING&value=900&status=partial", 'adjusted' ],
	[ "order=APPROVED&value=1000&click_id=$click", 'created' ],
	[ "order=APPROVED&status=approved", 'approved' ],
	[ "order=TEST-1&value=1000&click_id=$click", 'created' ],
	[ "order=TEST-1&status=rejected", 'reversed' ],
	[ "order=TEST-1&value=1000", 'reopened' ],
	[ 'event=install&order=E-1', 'event' ],
	[ 'event=install&order=E-1', 'duplicate' ],
	[ "order=GOALS&value=1&goal=Lead&click_id=$click", 'created' ],
	[ "order=GOALS&value=1&goal=Sale&click_id=$click", 'created' ],
	[ "order=UPSELL&value=1&goal=Upsell&click_id=$click", 'created', 'unknown_goal' ],
	[ "order=UNPRICED&value=1000&currency=PYG&click_id=$click", 'created', 'unpriced' ],
	[ 'order=W-1&value=1&click_id=clk_what', 'created', 'bad_click_id' ],
	[ 'order=W-2&value=1&click_id=00000000000000000000000001', 'created', 'unknown_click_id' ],
	[ 'order=W-3&value=1&click_id=' . old_click(), 'created', 'outside_window' ])
{
	my ($query, $result, $warning) = @$call;
	my $reply = $t->request('GET', "/p/$p{token}?$query");
	is_deeply([ $reply->{status}, @{ $reply->{json} }{qw(ok result warning)} ], [ 200, JSON::PP::true(), $result, $warning ],
		join ' ', $query, '->', $result, $warning // ());
	@met{ $result, $warning // () } = (1, 1);
	my $receipt = $reply->{json}{receipt};
	is($t->sql("SELECT concat_ws(' ', http_status, result, warning) FROM postback.receipt WHERE id = '$receipt'"),
		join(' ', 200, $result, $warning // ()), 'its receipt says so too');
}
is(left_out('results', %met), '', 'each result was met');
is(left_out('warnings', %met), '', 'each warning was met');

sub old_click
{
	return $t->sql(<<~SQL);
		INSERT INTO postback.click (id, brand_id, offer_id, publisher_id)
		VALUES (postback.ulid_floor(now() - interval '31 days'), '$p{brand}', '$p{offer}', '$p{publisher}') RETURNING id
		SQL
}

# ---- what is refused ----

my $form = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my $json = { 'Content-Type' => 'application/json' };
my $long = 'x' x 256;

# Code, status, parameter, next step; then the query of a call with an ordinary token, or a whole request.
my @refusals = (
	[ 'missing_parameter', 400, 'order', qr/send your own reference/, 'value=1000' ],
	[ 'missing_parameter', 400, 'value', qr/send the order value/, 'order=R-1' ],
	[ 'missing_parameter', 400, 'value', qr/send the order value/, 'order=PENDING&status=partial' ],
	[ 'bad_value', 400, 'value', qr/must be digits in the smallest unit/, 'order=R-1&value=49.99' ],
	[ 'bad_value', 400, 'amount', qr/must be digits with at most one period/, 'order=R-1&amount=49.999' ],
	[ 'bad_value', 400, 'amount', qr/has 0 decimals/, 'order=UNPRICED&status=partial&amount=1.5' ],
	[ 'bad_currency', 400, 'currency', qr/send one such as EUR/, 'order=R-1&value=1&currency=ZZZ' ],
	[ 'bad_status', 400, 'status', qr/new, approved, reversed, partial/, 'order=R-1&value=1&status=what' ],
	[ 'bad_value_format', 400, 'value_format', qr/send currency, or leave it out/, 'order=R-1&value=1&value_format=cents' ],
	[ 'bad_encoding', 400, 'order', qr/send it in UTF-8/, 'order=%FF&value=1' ],
	[ 'too_long', 400, 'order', qr/shorten it/, "order=$long&value=1" ],
	[ 'ambiguous_parameter', 400, 'order', qr/send one of them/, 'order=R-1&txid=R-2&value=1' ],
	[ 'ambiguous_parameter', 400, 'amount', qr/send one of them/, 'order=R-1&value=1&amount=1.00' ],
	[ 'bad_json', 400, undef, qr/must be one flat JSON object/, [ 'POST', "/p/$p{token}", headers => $json, body => '[1]' ] ],
	[ 'bad_json', 400, 'order', qr/must be a string or a number/, [ 'POST', "/p/$p{token}", headers => $json, body => '{"order":{"id":1}}' ] ],
	[ 'bad_request', 400, undef, qr/Host is missing/, undef ],
	[ 'bad_signature', 401, 'sig', qr/must be the last parameter/, [ 'GET', "/p/$signed?order=R-1&value=1" ] ],
	[ 'bad_signature', 401, 'sig', qr/X-Postback-Signature/, [ 'POST', "/p/$signed", headers => $form, body => 'order=R-1&value=1' ] ],
	[ 'ip_not_allowed', 403, undef, qr/from 127\.0\.0\.1; call from another server/, [ 'GET', "/p/$guarded?order=R-1&value=1" ] ],
	[ 'token_revoked', 403, undef, qr/ask for a new one/, [ 'GET', "/p/$revoked?order=R-1&value=1" ] ],
	[ 'unknown_token', 404, undef, qr/check the postback URL/, [ 'GET', '/p/aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb?order=R-1&value=1' ] ],
	[ 'unknown_order', 404, 'order', qr/kept for 24 hours.*send the order as new/, 'order=UNKNOWN&status=reversed' ],
	[ 'unknown_order', 404, 'order', qr/order "PENDING" with goal "Upsell" is not known yet; kept for 24 hours/, 'order=PENDING&status=reversed&goal=Upsell' ],
	[ 'unknown_link', 404, undef, qr/check the tracking URL/, [ 'GET', '/c/aaaaaaaa-nothing' ] ],
	[ 'not_found', 404, undef, qr{postbacks go to /p/TOKEN}, [ 'GET', '/nothing' ] ],
	[ 'method_not_allowed', 405, undef, qr/Allow says which/, [ 'DELETE', "/p/$p{token}?order=R-1&value=1" ] ],
	[ 'locked', 409, 'status', qr/is approved and its status locked; only the network can change it: ask there/, 'order=APPROVED&status=reversed' ],
	[ 'ambiguous_order', 409, 'goal', qr/name one in goal/, 'order=GOALS&status=approved' ],
	[ 'unpriced', 409, undef, qr/kept and applied when it has: nothing more to send/, 'order=UNPRICED&status=approved' ],
	[ 'payload_too_large', 413, undef, qr/body is too large/, [ 'POST', "/p/$p{token}", headers => $form, body => 'order=' . 'x' x 65536 ] ],
	[ 'uri_too_long', 414, undef, qr/target is too long/, [ 'GET', "/p/$p{token}?order=" . 'x' x 8192 ] ],
	[ 'unsupported_media_type', 415, undef, qr/must be .*json/, [ 'POST', "/p/$p{token}", headers => { 'Content-Type' => 'text/xml' }, body => '<o/>' ] ],
	[ 'value_above_current', 422, 'value', qr/which is 900; ask the network to raise it/, 'order=PENDING&status=partial&value=901' ],
	[ 'value_mismatch', 422, 'value', qr/carry the current value, 900, or none/, 'order=PENDING&status=approved&value=901' ],
	[ 'currency_mismatch', 422, 'currency', qr/currency is EUR; send that, or none/, 'order=PENDING&status=approved&currency=USD' ],
	[ 'rate_limited', 429, undef, qr/send it again/, [ 'GET', "/p/$limited?order=LIMITED&value=1" ] ],
	[ 'headers_too_large', 431, undef, qr/too many|too large/, [ 'GET', '/nothing', headers => { map { ("X-$_" => 'x') } 1 .. 70 } ] ],
	[ 'unavailable', 503, undef, qr/send it again/, [ 'GET', "/p/$p{token}?order=R-1&value=1" ] ],
);
my %no_receipt = map { $_ => 1 }
  qw(bad_request unknown_token unknown_link not_found method_not_allowed payload_too_large uri_too_long unsupported_media_type
  rate_limited headers_too_large unavailable);

sub refused
{
	my ($code, $status, $parameter, $step, $request) = @_;
	my $reply =
	    !defined $request ? $t->raw("GET /p/$p{token}?order=R-1&value=1 HTTP/1.1\r\n\r\n")
	  : ref $request ? $t->request(@$request)
	  : $t->request('GET', "/p/$p{token}?$request");
	my $json = $reply->{json} // {};
	my $message = $json->{message} // '';
	my $name = join ' ', $code, $parameter // (), ref $request || !defined $request ? () : "($request)";
	$met{$code} = 1;
	is_deeply([ $reply->{status}, $reply->{headers}{'content-type'}, @$json{qw(ok code parameter)} ],
		[ $status, 'application/json', JSON::PP::false(), $code, $parameter ], $name) or diag explain $reply;
	like($message, $step, '... with the next step');
	like($message, qr/\b\Q$parameter\E\b/, '... and the parameter named') if defined $parameter;
	is($reply->{headers}{'retry-after'}, $code =~ /^(?:rate_limited|unavailable)$/ ? 1 : undef, '... and Retry-After where it is to be sent again');
	like($reply->{headers}{allow}, qr/GET.*POST/, '... and what is allowed') if $status == 405;
	if ($no_receipt{$code})
	{
		is($json->{receipt}, undef, '... without a receipt');
		return if $code !~ /^(?:method_not_allowed|payload_too_large|uri_too_long|unsupported_media_type)$/;
		my @always = map { ref || !defined ? $_ : s/\Q$p{token}\E/$style{always200}/r } @$request;
		is_deeply($t->request(@always)->{json}, $json, '... of a token with always200 too: it is not looked at');
		is($t->request(@always)->{status}, $status, '... and itself');
		return;
	}
	is($t->sql("SELECT concat_ws(' ', http_status, code, parameter) FROM postback.receipt WHERE id = '$json->{receipt}'"),
		join(' ', $status, $code, $parameter // ()), '... and a receipt that says so');

	# The other styles, where nothing but the token differs.
	return if ref $request;
	my $text = $t->request('GET', "/p/$style{text}?$request");
	is_deeply([ @$text{qw(status body)}, $text->{headers}{'content-type'} ], [ $status, "ERROR $code", 'text/plain' ], '... as text');
	my $always = $t->request('GET', "/p/$style{always200}?$request");
	is_deeply([ $always->{status}, @{ $always->{json} }{qw(ok code parameter)} ], [ 200, JSON::PP::false(), $code, $parameter ], '... as always200');
	my $gif = $t->request('GET', "/p/$p{token}.gif?$request");
	is_deeply([ $gif->{status}, substr($gif->{body}, 0, 6), @{ $gif->{headers} }{qw(content-type x-postback-code)} ],
		[ $status, 'GIF89a', 'image/gif', $code ], '... as a pixel');
}

for my $refusal (@refusals)
{
	my ($code) = @$refusal;
	if ($code eq 'rate_limited')
	{
		# One a second: the first takes it.
		my $taken = 0;
		$taken++ while $taken < 50 && $t->postback($limited, order => "L-$taken", value => 1)->{status} == 200;
		cmp_ok($taken, '<', 50, 'a limit is reached');
	}
	$t->node->stop('immediate') if $code eq 'unavailable';
	refused(@$refusal);
}
is(left_out('codes', %met), '', 'each code was met');

# Nothing refused has left an order, and what was not acknowledged is not there.
$t->node->start;
is($t->sql("SELECT count(*) FROM postback.conversion WHERE order_ref LIKE 'R-%' OR order_ref IN ('UNKNOWN', 'LIMITED')"), 0, 'what is refused creates nothing');
# The ninth follow-up of an order is not kept, and says so.
$t->wait_until('the daemon is back', sub { ($t->request('GET', '/healthz')->{status} // 0) == 200 });
$t->postback($p{token}, order => 'NINE', status => 'partial', value => 100 - $_) for 1 .. 8;
like($t->postback($p{token}, order => 'NINE', status => 'reversed')->{json}{message}, qr/enough is kept for it.*then this again/,
	'a follow-up that is not kept is told so');
$t->audit_ok;
$t->finish;
