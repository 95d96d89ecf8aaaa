# What a token carries, over HTTP: the brand's own names and words, who may call from where, signatures, test orders, an end;
# rotation and revocation while the daemon runs. Then what is left of calls: receipts to search, to explain and to make again.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");

sub token
{
	my ($label, %settings) = @_;
	my $settings = join '', map { ", $_ => $settings{$_}" } sort keys %settings;
	return $t->sql("SELECT token FROM postback.issue_token(brand => '$p{brand}', label => '$label'$settings)");
}

# HTTP status, and result or code.
sub outcome
{
	my ($reply) = @_;
	return join ' ', $reply->{status} // $reply->{error}, $reply->{json}{result} // $reply->{json}{code} // '';
}
sub answers
{
	my ($token, $query, $want, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(outcome($t->request('GET', "/p/$token?$query")), $want, $name);
}
my $form = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my $serve = $t->serve;

# The brand's own names and words come before ours.
my $mapped = token('mapped', param_map => q('{"transaction_id": "click_id", "Ref": "order", "sum": "amount"}'),
	status_map => q('{"paid": "approved", "approved": "reversed"}'));
my $reply = $t->postback($mapped, REF => 'M-1', sum => '49.99', transaction_id => "clk_$click");
is_deeply([ @{ $reply->{json} }{qw(result order value commission attribution)} ], [ 'created', 'M-1', 4999, 400, 'click' ], 'names are translated');
answers($mapped, 'ref=M-1&status=Paid', '200 approved', 'words are translated');
$t->postback($mapped, ref => 'M-2', sum => '1');
answers($mapped, 'order=M-2&status=approved', '200 reversed', 'also those that we have ourselves; our own names still work');
answers($mapped, 'transaction_id=M-3&sum=1', '400 missing_parameter', 'a name that was given away means nothing else');
is(outcome($t->request('POST', "/p/$mapped", headers => { 'Content-Type' => 'application/json' }, body => '{"ref":"M-4","sum":12.5}')),
	'200 created', 'in JSON too');

# Where from. Behind a proxy that is trusted, the sender is the one it names.
my $near = token('near', allow_ips => q('{192.0.2.0/24,127.0.0.0/8}'));
my $far = token('far', allow_ips => q('{192.0.2.0/24,2001:db8::/32}'));
answers($near, 'order=A-1&value=1', '200 created', 'from an allowed address');
answers($far, 'order=A-2&value=1', '403 ip_not_allowed', 'not from another');
is(outcome($t->request('GET', "/p/$far?order=A-2&value=1", headers => { 'X-Forwarded-For' => '192.0.2.9' })), '403 ip_not_allowed',
	'whatever X-Forwarded-For says');
my $proxied = $t->serve(flags => [ '--trust-proxy', '127.0.0.1/32' ]);
for my $case ([ '192.0.2.9', '200 created' ], [ '192.0.3.9', '403 ip_not_allowed' ], [ '192.0.2.9, 198.51.100.1', '403 ip_not_allowed' ],
	[ '2001:db8::7', '200 duplicate' ])
{
	is(outcome($t->request('GET', "/p/$far?order=A-3&value=1", headers => { 'X-Forwarded-For' => $case->[0] })), $case->[1],
		"through a trusted proxy from $case->[0]");
}
is($t->sql("SELECT string_agg(host(remote) || ' ' || coalesce(result, code), ', ' ORDER BY id) FROM postback.receipt WHERE order_ref IN ('A-1', 'A-2', 'A-3')"),
	'127.0.0.1 created, 127.0.0.1 ip_not_allowed, 127.0.0.1 ip_not_allowed, 192.0.2.9 created, 192.0.3.9 ip_not_allowed,'
	  . ' 198.51.100.1 ip_not_allowed, 2001:db8::7 duplicate', 'receipts have the sender');
$t->stop($proxied);
$t->{port} = $serve->{port};

# Signatures, made by another implementation.
my $secret = 'sesame öffne dich';
my $signed = token('signed', hmac_secret => "'$secret'");
sub sig { return hmac_sha256_hex($_[0], $secret) }
for my $query ('order=S-1&value=4999', 'value=4999&order=S%2D1', 'order=S-1&value=4999&notice=%C3%A9+%26+more&')
{
	my $want = $query =~ /^order=S-1&value=4999$/ ? '200 created' : '200 duplicate';
	answers($signed, "$query&sig=" . sig($query), $want, "signed as it is sent: $query");
}
answers($signed, 'order=S-1&value=4999&sig=' . uc sig('order=S-1&value=4999'), '200 duplicate', 'in capitals');
answers($signed, 'order=S-2&value=1&sig=' . sig('value=1&order=S-2'), '401 bad_signature', 'signed in another order of the parameters');
answers($signed, 'order=S-2&value=2&sig=' . sig('order=S-2&value=1'), '401 bad_signature', 'changed after it was signed');
answers($signed, 'order=S-2&value=1&sig=' . sig('order=S-2&value=1') . '&status=approved', '401 bad_signature', 'something after the signature');
answers($signed, 'sig=' . sig('order=S-2&value=1') . '&order=S-2&value=1', '401 bad_signature', 'the signature first');
answers($signed, 'order=S-2&value=1', '401 bad_signature', 'no signature');
my $body = 'order=S-3&value=1';
my $sig = sig($body);
for my $case (
	[ "?sig=$sig", {}, '200 created', 'a body, signed in the query' ],
	[ '', { 'X-Postback-Signature' => $sig }, '200 duplicate', 'or in the header' ],
	[ '', { 'X-Postback-Signature' => sig('order=S-3&value=2') }, '401 bad_signature', 'the signature of another body' ],
	[ "?status=approved&sig=$sig", {}, '401 bad_signature', 'something else in the query' ],
	[ '?status=approved', { 'X-Postback-Signature' => $sig }, '401 bad_signature', 'and with the header' ],
	[ '', {}, '401 bad_signature', 'a body that is not signed' ])
{
	my ($query, $headers, $want, $name) = @$case;
	is(outcome($t->request('POST', "/p/$signed$query", headers => { %$form, %$headers }, body => $body)), $want, $name);
}
is(outcome($t->request('GET', "/p/$signed.gif?order=S-4&value=1&sig=" . sig('order=S-4&value=1'))), '200 ', 'a pixel is signed likewise');
is($t->sql("SELECT string_agg(order_ref, ' ' ORDER BY order_ref) FROM postback.conversion WHERE order_ref LIKE 'S-%'"), 'S-1 S-3 S-4', 'nothing came in by another way');

# A token for tests: no order of it costs anything, whatever its name.
my $testing = token('testing', test => 'true');
ok($t->postback($testing, order => 'X-1', value => 1000, click_id => $click)->{json}{test}, 'an order of a test token is a test order');
answers($testing, 'order=X-1&status=approved', '200 approved', 'and can be approved');
is($t->sql("SELECT c.commission || ' ' || count(l.id) FROM postback.conversion c LEFT JOIN postback.ledger l ON l.conversion_id = c.id WHERE c.order_ref = 'X-1' GROUP BY c.id"),
	'80 0', 'it shows a commission that the ledger never sees');

# An end that was set before.
my $short = token('short', expires_at => "now() + interval '1 hour'");
answers($short, 'order=E-1&value=1', '200 created', 'a token before its end');
$t->sql("UPDATE postback.token SET expires_at = now() + interval '1 second' WHERE label = 'short'");
$t->wait_until('and after it', sub { outcome($t->postback($short, order => 'E-1', value => 1)) eq '403 token_revoked' });

# Rotation: two live tokens reach the same orders; the old one ends with its revocation, for the daemon that runs as well.
my $old = token('2025');
my $new = token('2026');
answers($old, 'order=T-1&value=1', '200 created', 'the old token');
answers($new, 'order=T-1&value=1', '200 duplicate', 'the new one beside it means the same brand');
answers($old, 'order=T-1&value=1', '200 duplicate', 'both live');
$t->sql("SELECT postback.revoke_token(brand => '$p{brand}', label => '2025')");
answers($old, 'order=T-2&value=1', '403 token_revoked', 'the first call after the revocation is refused');
answers($new, 'order=T-2&value=1', '200 created', 'the new one goes on');
$t->sql("SELECT postback.revoke_token(token => '/p/$new')");
answers($new, 'order=T-3&value=1', '403 token_revoked', 'revoked by its own text');
answers($p{token}, 'order=T-3&value=1', '200 created', 'others are not touched');

# Receipts are found by order, code, token and time.
my $between = $t->sql('SELECT clock_timestamp()');
answers($p{token}, 'order=R-1&value=1', '200 created', 'an order');
answers($p{token}, 'order=R-1&status=partial&value=2', '422 value_above_current', 'and what is refused');
answers($mapped, 'ref=R-2&sum=1,50', '400 bad_value', 'and by another token');
sub found
{
	my ($where, $want, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($t->sql("SELECT string_agg(query, ' ' ORDER BY id) FROM postback.receipt r WHERE brand_id = '$p{brand}' AND $where"), $want, $name);
}
found("order_ref = 'R-1'", 'order=R-1&value=1 order=R-1&status=partial&value=2', 'receipts by order');
is($t->sql("SELECT count(*) FROM postback.receipt WHERE order_ref = 'S-2' AND code = 'bad_signature'"), 5, 'also of calls that were not let in');
found("code = 'value_above_current'", 'order=R-1&status=partial&value=2', 'by code');
found("token_id = (SELECT id FROM postback.token WHERE label = 'mapped') AND id >= postback.ulid_floor('$between')", 'ref=R-2&sum=1,50', 'by token and time');
found("id >= postback.ulid_floor('$between')", 'order=R-1&value=1 order=R-1&status=partial&value=2 ref=R-2&sum=1,50', 'by time');
is($t->sql("SELECT bool_and(postback.ulid_time(id) BETWEEN '$between'::timestamptz - interval '1 ms' AND clock_timestamp()) FROM postback.receipt WHERE order_ref = 'R-1'"),
	't', 'and they tell it');

# They are kept for as long as the policy says.
is($t->sql("SELECT retention FROM postback.partition_policy WHERE table_name = 'receipt'"), '400 days', 'receipts are kept for 400 days');
$t->sql(<<~SQL);
	INSERT INTO postback.receipt (id, brand_id, token_id, method, query, http_status, order_ref, milliseconds)
	SELECT postback.ulid_floor(now() - age), '$p{brand}', id, 'GET', label, 200, 'OLD', 1
	FROM postback.token, unnest(ARRAY[interval '399 days', '401 days', '420 days']) age WHERE label = 'mapped';
	SELECT postback.keep_partitions();
	SQL
is($t->sql("SELECT string_agg((now()::date - postback.ulid_time(id)::date)::text, ' ') FROM postback.receipt WHERE order_ref = 'OLD'"), '399', 'and no longer');

# Why, over HTTP's own receipt; what would be; and once more after a mend.
my $refused = $t->postback($mapped, number => 'W-1', sum => '10.00', transaction_id => $click)->{json};
is("$refused->{code} $refused->{parameter}", 'missing_parameter order', 'a brand uses a name that nobody has told us');
my $why = $t->sql("SELECT string_agg(concat_ws(' ', step, detail, outcome), E'\\n') FROM postback.explain('$refused->{receipt}')");
like($why, qr/number/, 'explain shows what was sent');
like($why, qr/missing_parameter/, 'and why it was refused');
$t->sql(q{UPDATE postback.token SET param_map = param_map || '{"number": "order"}' WHERE label = 'mapped'});
like($t->sql("SELECT string_agg(concat_ws(' ', step, detail, outcome), E'\\n') FROM postback.simulate('$mapped', 'number=W-1&sum=10.00&transaction_id=$click')"),
	qr/HTTP 200, created/, 'simulate tells that it would be taken now');
is($t->sql("SELECT count(*) FROM postback.conversion WHERE order_ref = 'W-1'"), 0, 'and leaves nothing');
my $again = $t->sql("SELECT string_agg(concat_ws(' ', step, detail, outcome), E'\\n') FROM postback.replay('$refused->{receipt}')");
like($again, qr/a replay of receipt $refused->{receipt}.*number=W-1 order = W-1.*HTTP 200, created/s, 'replay makes the call again and explains it');
is($t->sql("SELECT concat_ws(' ', status, value, commission, attribution) FROM postback.conversion WHERE order_ref = 'W-1'"), 'pending 1000 80 click',
	'the order is there');
like($t->sql("SELECT outcome FROM postback.replay('$refused->{receipt}') WHERE step = 'answer'"), qr/duplicate/, 'and again changes nothing');
answers($mapped, "number=W-1&sum=10.00&transaction_id=$click", '200 duplicate', 'nor does the brand when it sends it again');

unlike($t->log($serve), qr/\Q$_\E/, 'the log does not tell a token') for map { (split /_/, $_)[1] } $mapped, $signed, $old;
$t->audit_ok;
$t->finish;
