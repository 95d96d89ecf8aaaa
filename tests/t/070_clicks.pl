# Clicks over HTTP: what is a visit and what is not, the cookie, and where the visitor goes when the database is away.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Time::HiRes qw(time);
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;
my %paused = $t->programme(name => 'Paused');
my %unseen = $t->programme(name => 'Unseen');
$t->sql("UPDATE postback.brand SET paused = true, fallback_url = 'http://elsewhere.example/' WHERE id = '$paused{brand}'");
my $placed = $t->sql("SELECT k.code FROM postback.create_offer('$p{brand}', 'Placed', 'http://shop.example/{click_id}/x?b=c#d') o (id) "
	  . "CROSS JOIN LATERAL postback.create_link(o.id, '$p{publisher}') k");
my $serve = $t->serve(flags => [ '--trust-proxy', '127.0.0.1/32' ]);

sub clicks { return $t->sql('SELECT count(*) FROM postback.click') }

# One request with these headers; the seconds that it took are in the reply.
sub visit
{
	my ($link, %headers) = @_;
	my $start = time;
	my $reply = $t->request('GET', "/c/$link?sub_id=s", headers => \%headers);
	$reply->{seconds} = time - $start;
	return $reply;
}

# The value of a metric of serve.
sub metric
{
	my ($name) = @_;
	my ($value) = $t->request('GET', '/metrics', port => $serve->{metrics})->{body} =~ /^\Q$name\E (\S+)$/m;
	return $value // 'none';
}

# The cookie: as long as the attribution window, Secure only behind TLS.

$t->sql("UPDATE postback.offer SET attribution_window = '7 days' WHERE id = '$p{offer}'");
my $reply = visit($p{link});
my ($id) = $reply->{headers}{location} =~ /(clk_\w{26})$/;
is($reply->{headers}{location}, "http://shop.example/landing?from=us&click_id=$id", 'the landing URL keeps its own parameters');
is($reply->{headers}{'set-cookie'}, "postback_click_" . substr($p{link}, 0, 8) . "=$id; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax", 'the cookie lives as long as the window of the offer');
is($reply->{headers}{'cache-control'}, 'no-store', 'no redirect is cached');
like(visit($p{link}, 'X-Forwarded-Proto' => 'https')->{headers}{'set-cookie'}, qr/; SameSite=Lax; Secure$/, 'behind TLS it is Secure');
like(visit($placed)->{headers}{location}, qr{^http://shop\.example/clk_\w{26}/x\?b=c#d$}, 'the click id stands where the URL has {click_id}');

# All tracking values are kept whole up to 1,024 bytes each, together too; a longer one is cut, and the click no less one.

my @names = (qw(sub_id external_transaction_id), map { "sub$_" } 1 .. 10);
$reply = $t->request('GET', "/c/$p{link}?" . join '&', map { "$_=" . substr("$_.", 0, 1) x 1024 } @names);
is($reply->{status}, 302, 'twelve tracking values of 1,024 bytes are a click');
is($t->sql('SELECT octet_length(sub_id), octet_length(external_transaction_id), (SELECT string_agg(DISTINCT octet_length(s)::text, \',\') FROM unnest(subs) s), '
	  . 'cardinality(subs), truncated FROM postback.click ORDER BY id DESC LIMIT 1'), '1024|1024|1024|10|f', 'and kept whole');
$reply = $t->request('GET', "/c/$p{link}?sub_id=" . 'x' x 13000);
is("$reply->{status} " . $t->sql('SELECT octet_length(sub_id), truncated FROM postback.click ORDER BY id DESC LIMIT 1'), '302 1024|t', 'one of 13,000 is cut and marked');

# Who is not a trusted proxy may say what he likes.

my $untrusting = $t->serve;
$reply = visit($p{link}, 'X-Forwarded-Proto' => 'https', 'X-Forwarded-For' => '192.0.2.99', 'User-Agent' => 'untrusted');
unlike($reply->{headers}{'set-cookie'}, qr/Secure/, 'of an untrusted peer the cookie is not Secure');
visit($p{link}, 'X-Forwarded-For' => '192.0.2.98', 'User-Agent' => 'untrusted');
is($t->sql("SELECT count(*), count(DISTINCT visitor_hash) FROM (SELECT * FROM postback.click ORDER BY id DESC LIMIT 2) c"), '2|1', 'and its address is its own');
$t->stop($untrusting);
$t->{port} = $serve->{port};

# Not a visit.

my $before = clicks();
for my $case (
	[ 'Sec-Purpose', 'prefetch' ], [ 'Sec-Purpose', 'prefetch;prerender' ], [ 'Purpose', 'prefetch' ], [ 'Sec-Purpose', 'prefetch; anonymous-client-ip' ],
	[ 'X-Moz', 'Prefetch' ], [ 'X-Purpose', 'preview' ])
{
	$reply = visit($p{link}, @$case);
	is("$reply->{status} $reply->{headers}{location} " . ($reply->{headers}{'set-cookie'} // ''),
		'302 http://shop.example/landing?from=us ', "$case->[0]: $case->[1] is sent to the landing page without a click id");
}
$reply = $t->request('HEAD', "/c/$p{link}");
is("$reply->{status} $reply->{headers}{location}", '302 http://shop.example/landing?from=us', 'HEAD too');
is(clicks(), $before, 'none of them is recorded');
visit($p{link}, 'Sec-Purpose' => 'prefetching', 'Purpose' => '');
is(clicks(), $before + 1, 'another purpose is a visit');
is(metric('postbackd_requests_total{route="click",outcome="not_counted"}'), 7, 'the metrics tell them apart');

# Unique by the address that the proxy tells, and the agent.

sub uniques
{
	my ($address, $agent) = @_;
	my $n = $t->sql('SELECT count(*) FROM postback.click WHERE is_unique');
	visit($p{link}, 'X-Forwarded-For' => $address, 'User-Agent' => $agent);
	return $t->sql('SELECT count(*) FROM postback.click WHERE is_unique') - $n;
}
is(join(' ', uniques('192.0.2.7', 'A'), uniques('192.0.2.7', 'A'), uniques('192.0.2.7', 'B'), uniques('192.0.2.8', 'A')), '1 0 1 1', 'a visitor is unique once');

# The database is stopped: those whose link was used lately still reach the landing page.

is(visit($paused{link})->{headers}{location}, 'http://elsewhere.example/', 'a paused brand\'s visitors go to its fallback URL');
my $count = clicks();
$t->node->stop('immediate');
my @replies = map { visit($p{link}) } 1 .. 5;
is(join(' ', map { "$_->{status} $_->{headers}{location}" } @replies), join(' ', ('302 http://shop.example/landing?from=us') x 5),
	'without a database the visitor reaches the landing page');
my ($slowest) = sort { $b <=> $a } map { $_->{seconds} } @replies;
cmp_ok($slowest, '<', 1, sprintf 'and does not wait for the database (%.0f ms; the limit is 200)', 1000 * $slowest);
is(join(' ', map { $_->{headers}{'set-cookie'} // 'none' } @replies), 'none none none none none', 'without a cookie: there is no click');
is(visit($placed)->{headers}{location}, 'http://shop.example//x?b=c#d', 'without a click id in the address');
is(visit($paused{link})->{headers}{location}, 'http://elsewhere.example/', 'a paused link does not lead to the landing page');
visit($p{link}, Purpose => 'prefetch');
$reply = visit($unseen{link});
is("$reply->{status} $reply->{json}{code} $reply->{headers}{'retry-after'}", '503 unavailable 1', 'a link that was not used before is answered 503');
is(metric('postbackd_clicks_unrecorded_total{answer="landing"}'), 7, 'the metrics count the clicks that could not be recorded');
is(metric('postbackd_clicks_unrecorded_total{answer="unavailable"}'), 1, 'and those that had nowhere to go');
is($t->postback($p{token}, order => 'A', value => 1)->{status}, 503, 'a postback is never taken from memory');

$t->node->start;
$t->wait_until('clicks are recorded again when it is back', sub { (visit($p{link})->{headers}{location} // '') =~ /click_id=clk_/ }, 30);
cmp_ok(clicks(), '>', $count, 'as rows');

# A landing URL that is long enough for anybody fits beside the largest head of a request; one that does not fit is told of.

my ($old, $long) = ($t->sql("SELECT landing_url FROM postback.offer WHERE id = '$p{offer}'"), 'http://shop.example/?p=' . 'x' x 1500);
my %much = (map { ("X-Header-Number-$_" => 'y' x 205) } 1 .. 60);
$t->sql("UPDATE postback.offer SET landing_url = '$long' WHERE id = '$p{offer}'");
$reply = $t->request('GET', "/c/$p{link}", headers => \%much);
like($reply->{headers}{location} // '', qr/^\Q$long\E&click_id=clk_/, sprintf 'a landing URL of 1.5 KB beside %d bytes of header fields', length join '  ', %much);
$t->sql("UPDATE postback.offer SET landing_url = landing_url || repeat('x', 30000) WHERE id = '$p{offer}'");
is($t->request('GET', "/c/$p{link}")->{status}, undef, 'one of 30 KB cannot be sent');
like($t->log($serve), qr/level=error msg="an answer was too long to be sent/, 'and the log says so');
$t->sql("UPDATE postback.offer SET landing_url = '$old' WHERE id = '$p{offer}'");
$t->wait_until('the old one is known again', sub { (visit($p{link})->{headers}{location} // '') =~ /^\Q$old\E&click_id=clk_/ });

# It is there but does nothing: a lock that nobody gives up. The visitor does not wait for it.

my $locker = $t->node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE postback.click_default IN ACCESS EXCLUSIVE MODE');
$reply = visit($p{link});
is("$reply->{status} $reply->{headers}{location}", '302 http://shop.example/landing?from=us', 'a database that waits for a lock is away too');
cmp_ok($reply->{seconds}, '<', 1, sprintf 'and does not wait for the database (%.0f ms; the limit is 200)', 1000 * $reply->{seconds});
$locker->query_safe('COMMIT');
$locker->quit;
$t->wait_until('clicks are recorded again when it is given up', sub { (visit($p{link})->{headers}{location} // '') =~ /click_id=clk_/ }, 30);

# A server that hangs.

$t->wait_until('serve has its two connections again', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE usename = 'test_serve'}, 30);
my @backends = split /\n/, $t->sql(q{SELECT pid FROM pg_stat_activity WHERE usename = 'test_serve'});
kill 'STOP', @backends;
@replies = map { visit($p{link}) } 1 .. 4;
kill 'CONT', @backends;
is(join(' ', map { "$_->{status} $_->{headers}{location}" } @replies), join(' ', ('302 http://shop.example/landing?from=us') x 4), 'a database that hangs is away');
($slowest) = sort { $b <=> $a } map { $_->{seconds} } @replies;
cmp_ok($slowest, '<', 1, sprintf 'and does not wait for the database (%.0f ms; the limit is 200)', 1000 * $slowest);

is($t->stop($serve), 0, 'serve ends with 0 when told to');
$t->audit_ok;
$t->finish;
