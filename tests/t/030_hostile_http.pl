# What comes over the wire is read strictly, since libmicrohttpd is lenient and every leniency is a way to smuggle a
# request past a proxy. A malformed request is answered with an error, its connection ends, and neither it nor anything
# that follows it on that connection is run: no receipt is written. What is well-formed works however it is cut into
# pieces. Slow clients are cut off, and connections are capped.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use Conversations;
use HostileRequests;
use POSIX ();
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = PostbackTest->new;
my %p = $t->programme;
my $serve = $t->serve(flags => [ '--request-timeout', 2, '--max-connections-per-address', 100 ]);
my $path = "/p/$p{token}";
my $good_orders = 0;

# ---- talking to it in raw bytes ----

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

# One conversation: the statuses answered, in order, how it ended, and what was heard.
sub converse
{
	my ($pieces, %options) = @_;
	my $c = { port => $serve->{port}, pieces => $pieces, answers => $options{answers} };
	converse_all([$c], seconds => $options{seconds} // 10);
	return (statuses($c), $c->{state}, $c->{heard});
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

# What slow clients and the content of a body are tried with below.
my $get = "GET $path?order=NEVER&value=1 HTTP/1.1\r\n";
my $post = "POST $path?order=NEVER&value=1 HTTP/1.1\r\nHost: shop\r\nContent-Type: application/x-www-form-urlencoded\r\n";
my $hidden = "GET $path?order=NEVER-behind&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n";

# ---- the corpus: whole, behind a good request, in pieces, and through nginx ----

my @corpus = hostile_requests($path, "/c/$p{link}");
my @held;

# One conversation about a case: the bytes before, the case and a good request behind, with orders of its own.
sub conversation
{
	my ($case, $port, $before, $cut) = @_;
	my $number = sprintf '%06d', scalar @held;
	my $bytes = $case->{bytes} =~ s/(ORDER|HIDDEN)-0{6}/$1-$number/gr;
	my $first = $before ? "GET $path?order=BEFORE-$number&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n" : '';
	my $last = "GET $path?order=BEHIND-$number&value=1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
	my $all = $first . $bytes . ($case->{verdict} eq 'silent' ? '' : $last);
	my $conversation = { case => $case, port => $port, before => $before, number => $number, pieces => [ $cut ? $cut->($all) : $all ] };
	push @held, $conversation;
	return $conversation;
}

# Statuses that the specification lets serve answer.
sub expected
{
	my ($c) = @_;
	my $case = $c->{case};
	my @statuses = $case->{verdict} eq 'taken' ? ($case->{status}, 200) : ($case->{status});
	unshift @statuses, 200 if $c->{before};
	@statuses = grep { length } @statuses;
	return join ' ', map { "(?:$_)" } @statuses;
}

# Good requests over one connection, one after the other, from another process until it is told to stop: each must be
# answered, and with its own answer.
sub good_traffic
{
	my ($prefix, $port) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$prefix";
	my $pid = fork // die "fork: $!";
	return { pid => $pid, file => $file } if $pid;

	my ($stop, $good, $bad, $slowest, $socket) = (0, 0, 0, 0);
	local $SIG{TERM} = sub { $stop = 1 };
	for (my $i = 1; !$stop; $i++)
	{
		my $begin = time;
		$socket = dial($port) if ($i - 1) % 50 == 0;
		my $order = "$prefix-$i";
		syswrite $socket, "GET $path?order=$order&value=1 HTTP/1.1\r\nHost: shop\r\n\r\n";
		my $heard = '';
		my $select = IO::Select->new($socket);
		while ($heard !~ /\r\n\r\n\{.*\}\z/s && time - $begin < 20)
		{
			next unless $select->can_read(0.1);
			last unless sysread $socket, $heard, 65536, length $heard;
		}
		$heard =~ m{\AHTTP/1\.1 200 .*"order":"$order"}s ? $good++ : $bad++;
		$slowest = time - $begin if time - $begin > $slowest;
	}
	open my $handle, '>', $file or POSIX::_exit(1);
	printf $handle "%d %d %.3f", $good, $bad, $slowest;
	close $handle;
	POSIX::_exit(0);
}

sub good_traffic_ok
{
	my ($traffic, $name) = @_;
	kill 'TERM', $traffic->{pid};
	waitpid $traffic->{pid}, 0;
	my ($good, $bad, $slowest) = split / /, slurp_file($traffic->{file});
	cmp_ok($good, '>', 50, "$name: good requests alongside were answered ($good, the slowest after $slowest s)");
	is($bad, 0, "$name: each with its own answer");
	return $good;
}

# Has them, and keeps of each what is needed later: there may be hundreds of thousands.
sub have
{
	my (@conversations) = @_;
	for my $c (converse_all(\@conversations, seconds => 20))
	{
		$c->{statuses} = statuses($c);
		$c->{answered} = () = $c->{statuses} =~ /200/g;
		delete @$c{qw(pieces left heard)};
	}
	return @conversations;
}

# Every answer 200 has its one row, and nothing that was not answered so has one.
sub rows_ok
{
	my ($name, @conversations) = @_;
	my %rows;
	for my $row ($t->rows("SELECT order_ref, count(*) AS calls FROM postback.receipt WHERE result IS NOT NULL GROUP BY 1"))
	{
		$rows{$1}{$2} += $row->{calls} if $row->{order_ref} =~ /^(ORDER|HIDDEN|BEFORE|BEHIND)-(\d{6})/;
	}
	my @wrong = grep {
		my $c = $_;
		my $run = 0;
		$run += $rows{$_}{ $c->{number} } // 0 for qw(ORDER HIDDEN BEFORE BEHIND);
		$run != $c->{answered};
	} @conversations;
	is(join("\n", map { "$_->{case}{name}: $_->{number}" } @wrong), '', "$name: what was run is what was answered 200");
	return;
}

cmp_ok(scalar @corpus, '>=', 300, scalar(@corpus) . ' requests to try');
{
	my $seed = $ENV{HOSTILE_SEED} // int rand 2**31;
	note "HOSTILE_SEED=$seed";
	srand $seed;
	my $before = $t->sql('SELECT count(*) FROM postback.receipt');
	my $traffic = good_traffic('ALONGSIDE', $serve->{port});
	have(map { conversation($_, $serve->{port}, 0) } @corpus);
	# A lone empty line behind a request is nothing yet: such a connection is idle, and has longer to live.
	have(map { conversation($_, $serve->{port}, 1) } grep { $_->{bytes} =~ /\S/ } @corpus);
	# In as many pieces as the time for a request allows: for most of them that is byte by byte.
	my $in_pieces = sub { my $size = 1 + int(length($_[0]) / 200); unpack "(a$size)*", $_[0] };
	have(map { conversation($_, $serve->{port}, 0, $in_pieces) }
		grep { length $_->{bytes} < 20_000 && $_->{verdict} ne 'silent' } @corpus);
	# In two, at every position: a sample, or (HOSTILE_SPLITS=all) of all that are not too long.
	my @short = grep { length $_->{bytes} < 600 && $_->{verdict} ne 'silent' } @corpus;
	my @sample = ($ENV{HOSTILE_SPLITS} // '') eq 'all' ? @short : map { splice @short, rand @short, 1 } 1 .. 12;
	my $cuts = @held;
	for my $case (@sample)
	{
		have(map { my $at = $_; conversation($case, $serve->{port}, 0, sub { unpack "a$at a*", $_[0] }) } 1 .. length($case->{bytes}) - 1);
	}
	note @held - $cuts . ' cuts in two';
	my $good = good_traffic_ok($traffic, 'the corpus');

	my %wrong;
	for my $c (@held)
	{
		my $expected = expected($c);
		next if $c->{state} eq 'closed' && $c->{statuses} =~ /\A$expected\z/;
		push @{ $wrong{ $c->{case}{family} . ': ' . $c->{case}{name} } },
		  sprintf '%s, then %s%s, not %s', $c->{statuses}, $c->{state}, $c->{before} ? ', behind a good one' : '', $expected;
	}
	is(join('; ', @{ $wrong{"$_->{family}: $_->{name}"} // [] }), '', "$_->{family}: $_->{name}: $_->{verdict}") for @corpus;
	is(receipts('HIDDEN'), 0, 'nothing that is hidden in another request was run');
	rows_ok('the corpus', @held);
	# What is answered 400 and goes on is content with a known token, and leaves its receipt.
	my $answered = 0;
	$answered += $_->{answered} + ($_->{case}{verdict} eq 'taken' && $_->{case}{status} eq '400') for @held;
	is($t->sql('SELECT count(*) FROM postback.receipt') - $before, $answered + $good, 'and no row is there but for those');
}

# The same through a proxy. What it refuses itself, and how it mends what it lets through, is its own affair; but both
# must agree on where each request ends, so what is run is what was answered, and nobody gets another's answer.
SKIP:
{
	my $nginx = $t->nginx(to => $serve) or skip 'there is no nginx', 5;
	my $traffic = good_traffic('BEHIND-NGINX', $nginx->{port});
	my @through = have(map { (conversation($_, $nginx->{port}, 0), conversation($_, $nginx->{port}, 1)) } @corpus);
	good_traffic_ok($traffic, 'behind nginx');
	is(join("\n", map { "$_->{case}{name}: $_->{statuses}" } grep { $_->{state} ne 'closed' } @through), '', 'behind nginx: every connection ends');
	is(scalar(grep { $_->{statuses} !~ /\A200/ } grep { $_->{before} } @through), 0, 'behind nginx: what is good before is answered');
	rows_ok('behind nginx', @through);
	is($t->stop($nginx), 0, 'nginx ends');
}

my ($statuses, $state, $heard) = converse([ "${get}Host: shop\r\nHost: shop\r\n\r\n" ]);
like($heard, qr/^Connection: close\r$/m, 'a refusal says Connection: close');
like($heard, qr/^Content-Type: application\/json\r$/m, 'a refusal is JSON');
like($heard, qr/\r\n\r\n\{"ok":false,"code":"bad_request","message":"[^"]+"\}\z/, 'of the shape of every error');

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

($statuses) = converse([ split //, good_get() . good_post() . good_chunked() ], answers => 3);
is($statuses, '200 200 200', 'requests that come byte by byte');

for my $make (\&good_get, \&good_post, \&good_chunked)
{
	my $length = length $make->();
	$good_orders--;
	my @cuts = map { my $cut = $_ * 7 % $length || 1; { port => $serve->{port}, pieces => [ unpack "a$cut a*", $make->() . $make->() ], answers => 2 } } 1 .. 20;
	converse_all(\@cuts, concurrency => 1);
	my $answered = () = map { statuses($_) =~ /200/g } @cuts;
	is($answered, 40, 'pairs of requests cut in two, in twenty places');
}

($statuses) = converse([ "\r\n" . good_get() ], answers => 1);
is($statuses, '200', 'one empty line before a request is skipped');
($statuses, $state) = converse([ good_post() . "\r\n" . good_get() ], seconds => 1);
is("$statuses $state", '200 200 open', 'also one after a body, as old clients send it');
($statuses, $state) = converse([ good_line('', '1.0') . "\r\n$hidden" ]);
is("$statuses $state", '200 closed', 'HTTP/1.0 needs no Host and ends after its answer');
($statuses, $state) = converse([ good_line() . "Host: shop\r\nConnection: close\r\n\r\n$hidden" ]);
is("$statuses $state", '200 closed', 'Connection: close ends after its answer');
($statuses) = converse([ good_line() . "hOST:shop\r\nX-Empty:\r\nX-A: \xe9\t b \r\n\r\n" ], answers => 1);
is($statuses, '200', 'odd but legal headers are accepted');
($statuses) = converse([ good_line('&x=' . 'x' x (8192 - 60 - length $path)) . "Host: shop\r\n\r\n" ], answers => 1);
is($statuses, '200', 'a target of almost 8 KiB is accepted');
($statuses) = converse([ good_line('&a' x 4000) . "Host: shop\r\n\r\n" ], answers => 1);
is($statuses, '200', 'and one of four thousand parameters');
my $headers = "Host: shop\r\n" . "X-A: b\r\n" x 62 . 'Cookie: ' . 'a=b; ' x 2500 . "c=d\r\n";
($statuses) = converse([ good_line() . "$headers\r\n" ], answers => 1);
is($statuses, '200', 'and headers of almost 14 KiB');
my $body = 'order=' . order() . '&value=1&x=';
$body .= 'x' x (65536 - length $body);
($statuses) = converse([ "POST $path HTTP/1.1\r\nHost: shop\r\n$form\r\nContent-Length: 65536\r\n\r\n$body" ], answers => 1);
is($statuses, '200', 'and a body of 64 KiB');

is(receipts('GOOD'), $good_orders, 'each was run once');
is(receipts('NEVER'), 0, 'and nothing else');

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
	my $reply = $t->request('POST', $path, headers => { 'Content-Type' => $type }, body => 'order=NEVER&value=1');
	is($reply->{status}, 415, "a body of type \"$type\": 415");
	is($reply->{json}{code}, 'unsupported_media_type', 'its code');
}
is($t->request('POST', $path, body => 'order=NEVER&value=1')->{status}, 415, 'a body of no type: 415');
is($t->request('POST', "$path?order=EMPTY&value=1", body => '', headers => { 'Content-Type' => 'text/plain; charset=utf-8' })->{status}, 200,
	'no body is of any type: HTTP libraries name one');
is(receipts('NEVER'), 0, 'none of these was run');

# ---- slow clients ----

sub lasts
{
	my ($name, $feed, $low, $high) = @_;
	my ($socket, $begin) = (dial($serve->{port}), time);
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
	my $socket = dial($serve->{port});
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
	my @sockets = map { dial($serve->{port}) } 1 .. 100;
	sleep 0.3;
	my ($heard_101, $state_101) = hear(dial($serve->{port}), 1);
	is("$heard_101$state_101", 'closed', 'the 101st connection of one address is closed');
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
