# The egress guard, watched from outside: whatever is queued, listeners on all ports in question, the kernel's count of TCP connections
# and strace say whom the sender connected to; our own log is not asked.
#
# In a network of its own (OwnNetwork.pm) every address there is leads to the listeners, and public ones are open as for anybody. Where
# that is not allowed two addresses of the loopback, opened by --allow-egress, stand for public ones.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use OwnNetwork;
use PostbackTest;
use IO::Socket::INET;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $isolated = !$OwnNetwork::missing;
diag $OwnNetwork::missing if !$isolated;
my $can_trace = system('strace -D -f -qq -e trace=connect -o /dev/null true >/dev/null 2>&1') == 0;
diag "strace does not work here" if !$can_trace;

my ($public, $public_too) = $isolated ? qw(93.184.216.34 93.184.216.35) : qw(127.0.0.6 127.0.0.7);

# Listens on ports (each on several addresses), writes down whom each connection was for and what it was asked, and answers:
# /3NN/URL with that status and that Location, else 200. Connections are kept open.
my $canary_source = <<'CANARY';
use strict;
use warnings;
use IO::Select;
use IO::Socket::IP;
my ($ports, @addresses) = @ARGV;
$| = 1;
$SIG{PIPE} = 'IGNORE';
my (%server, %request);
for my $port (split /,/, $ports)
{
	for my $address (@addresses)
	{
		my $server = IO::Socket::IP->new(LocalHost => $address, LocalPort => $port, Listen => 64, ReuseAddr => 1,
			$address =~ /:/ ? (V6Only => 1) : ()) or print("no $address $port\n"), next;
		$server{$server} = 1;
		push @{ $server{all} }, $server;
	}
}
print "ready\n";
my $select = IO::Select->new(@{ $server{all} });
while (my @ready = $select->can_read)
{
	for my $socket (@ready)
	{
		if ($server{$socket})
		{
			my $client = $socket->accept or next;
			$request{$client} = '';
			$select->add($client);
			printf "came to %s %s\n", $client->sockhost =~ s/^::ffff://r, $client->sockport;
			next;
		}
		if (!sysread($socket, $request{$socket}, 65536, length $request{$socket}) || $request{$socket} =~ /\A[^A-Z]/)
		{
			$select->remove($socket);
			delete $request{$socket};
			close $socket;
			next;
		}
		while ($request{$socket} =~ s/\A(\S+) (\S+) .*?\r\n\r\n//s)
		{
			my $target = $2;
			printf "%s was asked for %s\n", $socket->sockhost, $target;
			my ($status, $location) = $target =~ m{^/(3\d\d)/(.*)};
			$location =~ s/%(..)/chr hex $1/ge if defined $location;
			syswrite $socket, $status ? "HTTP/1.1 $status X\r\nLocation: $location\r\nContent-Length: 0\r\n\r\n"
			  : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
		}
	}
}
CANARY

my $t = PostbackTest->new;
my %p = $t->programme;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $callback = $t->sql("SELECT postback.create_callback('guarded', 'https://p.example/', brand => '$p{brand}')");

my $canary = $t->_start('canary', {}, $^X, '-e', $canary_source,
	$isolated ? ("$port,80,443,3128", '0.0.0.0', '::') : ($port, qw(127.0.0.1 127.0.0.2 127.0.0.4 127.0.0.6 127.0.0.7 ::1)));
$t->wait_until('the canaries listen', sub { -e $canary->{log} && $t->log($canary) =~ /^ready$/m });
unlike($t->log($canary), $isolated ? qr/^no /m : qr/^no 127/m, 'on each address');

# Everything up to now has been written down when a connection of our own, made after it, has; twice, for one round of the
# canary's loop may write the newer one down first.
my $marks = 0;

sub settle_canary
{
	for (1 .. 2)
	{
		my $mark = '/mark/' . ++$marks;
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "canary: $!";
		print $socket "GET $mark HTTP/1.1\r\n\r\n";
		my $until = time + 60;
		while ($t->log($canary) !~ /asked for \Q$mark\E$/m)
		{
			die 'the canary does not answer' if time > $until;
			select undef, undef, undef, 0.01;
		}
	}
}

# Connections to other listeners of ours than the canaries: the name server's.
my $dns;

sub other_opens { return $dns ? scalar grep { $_ eq 'connection' } $dns->queries : 0 }

# Who was connected to since the last call, "ADDRESS PORT" each. The kernel must have counted as many, or there were connections that
# no canary has seen.
my ($seen, $opens) = (0, 0);

sub came
{
	my $begun = $isolated ? OwnNetwork::tcp_opens() - other_opens() - $opens : undef;
	settle_canary();
	my $log = substr $t->log($canary), $seen;
	$seen += length $log;
	my @came = $log =~ /^came to (.*)$/mg;
	splice @came, -2;			# our own
	$opens = OwnNetwork::tcp_opens() - other_opens() if $isolated;
	return join ', ', @came, defined $begun && $begun != @came ? "and $begun connections in all" : ();
}

# Puts URLs into the queue as they are, past the linter, and waits until each was tried; the deliveries in the same order. What is no guard's
# business is not tried again later.
sub deliver
{
	my @urls = @_;
	my $values = join ', ', map { "(postback.new_ulid(), E'" . (s/\\/\\\\/gr =~ s/'/\\'/gr) . "')" } @urls;
	my @ids = split /\n/, $t->sql(<<"SQL");
WITH k (id, url) AS MATERIALIZED (VALUES $values),
d AS (INSERT INTO postback.delivery (id, brand_id, callback_id, method, url, due_at) SELECT k.id, '$p{brand}', '$callback', 'GET', k.url, now() FROM k),
q AS (INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at) SELECT k.id, '$callback', 1, left(k.url, 100), now() FROM k)
SELECT k.id FROM k
SQL
	my $list = join ', ', map { "'$_'" } @ids;
	$t->wait_until(scalar(@ids) . ' tried',
		"SELECT count(DISTINCT a.delivery_id) = " . scalar(@ids) . " FROM postback.attempt a WHERE a.delivery_id IN ($list)");
	my %delivery = map { $_->{id} => $_ } $t->rows("SELECT id, state, error, http_code FROM postback.delivery WHERE id IN ($list)");
	$t->sql("DELETE FROM postback.delivery_due WHERE delivery_id IN ($list)");
	return map { $delivery{$_} } @ids;
}

sub states { return join ' ', map { $_->{state} } deliver(@_) }

# A sender, under strace if that works: what it connects or sends to is in the file $send->{trace} at the end.
my ($trace_count, $send) = (0);

sub start_sender
{
	my (@flags) = @_;
	my $trace = $t->_file('trace_' . ++$trace_count);
	local $ENV{POSTBACKD} = $ENV{POSTBACKD};
	if ($can_trace)
	{
		my $wrapper = $t->_file('traced');
		open my $handle, '>', $wrapper or die "$wrapper: $!";
		print $handle "#!/bin/sh\nexec strace -D -f -qq -e trace=connect,sendto,sendmsg -o '$trace' '$ENV{POSTBACKD}' \"\$@\"\n";
		close $handle;
		chmod 0755, $wrapper;
		$ENV{POSTBACKD} = $wrapper;
	}
	$send = $t->send(guarded => 1, flags => [@flags]);
	$send->{trace} = $trace;
	came();
}

# Stops it; by strace it spoke to its database and to these addresses ("ADDRESS PORT"), and to nobody else.
sub stop_sender
{
	my (@allowed) = @_;
	is($t->stop($send), 0, 'the sender is well');
	SKIP:
	{
		skip 'strace does not work here', 2 if !$can_trace;
		my @calls = grep { /sa_family=/ } split /\n/, slurp_file($send->{trace});
		cmp_ok(scalar(grep { /AF_UNIX/ } @calls), '>', 0, 'strace has seen it connect to its database');
		my %others;
		for (grep { !/AF_UNIX/ } @calls)
		{
			my ($to_port) = /htons\((\d+)\)/;
			my ($address) = /inet_addr\("([^"]*)"\)|inet_pton\(AF_INET6, "([^"]*)"/;
			$others{ ($address // $2 // '?') . ' ' . ($to_port // '?') } = 1;
		}
		delete @others{@allowed};
		is(join(', ', sort keys %others), '', 'and to nobody that it may not know');
	}
}

# The name servers of /etc/resolv.conf, which it may always ask.
my @resolvers = map { /^\s*nameserver\s+(\S+)/ ? "$1 53" : () } split /\n/, -e '/etc/resolv.conf' ? slurp_file('/etc/resolv.conf') : '';
push @resolvers, '127.0.0.1 53', '::1 53';

# --- Addresses, however they are written. The port is open, so that they alone are why nothing is sent.

start_sender('--allow-port', $port);

my @spellings = (
	# as it is
	"http://127.0.0.2:$port/", "http://127.0.0.1:$port/", "HTTP://127.0.0.2:$port", "http://127.0.0.2:$port?a=b",
	# decimal, hexadecimal, octal, short, padded
	"http://2130706434:$port/", "http://0x7f000002:$port/", "http://0X7F000002:$port/", "http://0x7f.0.0.2:$port/", "http://0x7f.0x0.0x0.0x2:$port/",
	"http://017700000002:$port/", "http://0177.0.0.02:$port/", "http://127.2:$port/", "http://127.0.2:$port/", "http://127.000.000.002:$port/",
	"http://127.0.0.0x2:$port/", "http://4294967297:$port/", "http://127.65538:$port/", "http://1:$port/", "http://0251.0376.0251.0376:$port/",
	"http://2852039166:$port/", "http://0xa9fea9fe:$port/", "http://0xA9.0xFE.43518:$port/", "http://10.1:$port/", "http://012.0.0.1:$port/", "http://167772161:$port/",
	# trailing dots
	"http://127.0.0.2.:$port/", "http://127.0.0.2..:$port/", "http://2130706434.:$port/", "http://.127.0.0.2:$port/", "http://169.254.169.254.:$port/",
	# somebody else in front
	"http://user\@127.0.0.2:$port/", "http://user:word\@127.0.0.2:$port/", "http://p.example:80\@127.0.0.2:$port/", "http://127.0.0.2:$port\@p.example/",
	"http://p.example\\\@127.0.0.2:$port/", "http://127.0.0.2:$port\\\@p.example/", "http://p.example%40127.0.0.2:$port/", "http://$public\@127.0.0.2:$port/",
	"http://127.0.0.2:$port#\@$public/", "http://127.0.0.2:$port?\@$public/",
	# nowhere, everywhere
	"http://0.0.0.0:$port/", "http://0:$port/", "http://0.0.0.2:$port/", "http://[::]:$port/", "http://255.255.255.255:$port/", "http://224.0.0.1:$port/", "http://[ff02::1]:$port/",
	# IPv6, and IPv4 inside: mapped, compatible, translated, NAT64, 6to4, Teredo
	"http://[::1]:$port/", "http://[0:0:0:0:0:0:0:1]:$port/", "http://[0000::0001]:$port/", "http://[::ffff:127.0.0.2]:$port/", "http://[::ffff:7f00:2]:$port/",
	"http://[0:0:0:0:0:ffff:127.0.0.2]:$port/", "http://[::127.0.0.2]:$port/", "http://[::ffff:0:127.0.0.2]:$port/", "http://[64:ff9b::127.0.0.2]:$port/",
	"http://[64:ff9b::7f00:2]:$port/", "http://[64:ff9b:1::7f00:2]:$port/", "http://[2002:7f00:2::]:$port/", "http://[2001:0:7f00:2::]:$port/",
	"http://[::ffff:93.184.216.34]:$port/", "http://[64:ff9b::93.184.216.34]:$port/", "http://[2002:5db8:d822::1]:$port/", "http://[::FFFF:169.254.169.254]:$port/",
	"http://[fe80::1%25lo]:$port/", "http://[fe80::1%lo]:$port/", "http://[::1%lo]:$port/", "http://[fd00::1]:$port/", "http://[::1:$port/", "http://::1:$port/",
	# other digits, and bytes that are none
	"http://\x{e2}\x{91}\x{a0}\x{e2}\x{91}\x{a1}\x{e2}\x{91}\x{a6}.0.0.2:$port/", "http://127\x{e3}\x{80}\x{82}0\x{e3}\x{80}\x{82}0\x{e3}\x{80}\x{82}2:$port/",
	"http://\x{ef}\x{bc}\x{91}\x{ef}\x{bc}\x{92}\x{ef}\x{bc}\x{97}.0.0.2:$port/", "http://\x{e2}\x{93}\x{9b}ocalhost:$port/", "http://loc\x{c2}\x{ad}alhost:$port/",
	"http://%31%32%37.0.0.2:$port/", "http://127.0.0.%32:$port/", "http://127.0.0.2%00.p.example:$port/", "http://127.0.0.2 :$port/", "http:// 127.0.0.2:$port/",
	"http://127.0.0.2\t:$port/", "http://127.0.0.2:$port\r\nX: y/", "http:///127.0.0.2:$port/", "http:127.0.0.2:$port/", "//127.0.0.2:$port/", "http://127.0.0.2:0$port/",
	"http://127.0.0.2:99999/", "http://127.0.0.2:/",
	# names of this machine
	"http://localhost:$port/", "http://LocalHost.:$port/", "http://sub.localhost:$port/",
	# other schemes
	"ftp://127.0.0.2:$port/", "gopher://127.0.0.2:$port/_GET%20/", "file:///etc/passwd", "dict://127.0.0.2:$port/", "telnet://127.0.0.2:$port", "scp://127.0.0.2:$port/a",
	"ftp://$public/", "gopher://$public:80/_x", "ws://$public/", "unix:///tmp/socket",
	# private networks, and where clouds keep their secrets
	"http://169.254.169.254:$port/latest/", "http://10.0.0.1:$port/", "http://172.16.0.1:$port/", "http://192.168.0.1:$port/", "http://100.64.0.1:$port/",
	"http://192.0.2.1:$port/", "http://198.18.0.1:$port/", "http://100.100.100.200:$port/", "http://[fd00:ec2::254]:$port/", "http://[fe80::a9fe:a9fe]:$port/");
# and once more where the port is a usual one
push @spellings, map { s/:$port//r } grep { /:$port/ } @spellings;

my @results = deliver(@spellings);
for my $i (0 .. $#spellings)
{
	is($results[$i]{state}, 'blocked', "blocked: $spellings[$i]" =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger)
	  or diag($results[$i]{error});
}
is(scalar(grep { ($_->{error} // '') eq '' } @results), 0, 'each says why');
is(came(), '', 'and nobody was connected to');

# Names that may or may not exist: whatever becomes of them, nobody is visited.
deliver("http://localhost.localdomain:$port/", "http://ip6-localhost:$port/", "http://localhost.p.example:$port/") if $isolated;
is(came(), '', 'nor by other names of this machine');

# A port that is not open, on an address that is.
is(states("http://$public:" . ($port + 1) . '/'), 'blocked', 'another port than the one that is open');
is(came(), '', 'is not tried');

stop_sender(@resolvers);

# --- Wrong addresses of name servers are told at once.

for my $wrong ('', '127.0.0.1', 'localhost:53', '127.0.0.1:0', '127.0.0.1:65536', '127.0.0.1:53,', '::1:53', '127.1:53')
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{POSTBACKD}, 'send', '--dns-server', $wrong ], '>', \$out, '2>', \$err);
	is($? >> 8, 1, "--dns-server \"$wrong\" is refused");
	like($err, qr/bad value for --dns-server/, 'by name');
}

# --- Names. What a name server says is checked like what stands in the URL, all of it, each time.

$dns = $t->nameserver;
my $listening = $isolated ? 80 : $port;
my $web = $isolated ? '' : ":$port";
my @names = ('--dns-server', $dns->address, $isolated ? () : ('--allow-egress', '127.0.0.6/31'));
start_sender(@names);

$dns->zone("public.example $public", "dot.example $public");
is(states("http://public.example$web/", "http://dot.example.$web/"), 'delivered delivered', 'a name of a public address is sent to');
is(came(), "$public $listening, $public $listening", 'and the canary sees that');
cmp_ok(scalar(grep { /^AAAA public\.example / } $dns->queries), '==', 1, 'IPv6 addresses are asked for too');

# Each of these alone, then behind, then before a public one, and among many.
my @forbidden = qw(127.0.0.1 127.255.255.254 10.0.0.1 172.31.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1
  198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:93.184.216.34 ::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::93.184.216.34
  64:ff9b:1::1 100::1 2001::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:5db8:d822:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1);
my @zone;
for my $i (0 .. $#forbidden)
{
	push @zone, "alone$i.example $forbidden[$i]", "behind$i.example $public $forbidden[$i]", "before$i.example $forbidden[$i] $public",
	  "among$i.example " . join ' ', ($public, $public_too) x 5, $forbidden[$i], ($public) x 5;
}
$dns->zone(@zone);
my @hosts = map { (split)[0] } @zone;
@results = deliver(map { "http://$_$web/" } @hosts);
is(join(', ', map { $results[$_]{state} eq 'blocked' ? () : "$zone[$_]: $results[$_]{state}" } 0 .. $#zone), '', 'one forbidden address blocks a name');
is(came(), '', 'and nobody was connected to');

# Aliases, an answer that comes over TCP only, a name of other letters.
$dns->zone(
	'alias.example cname=alias2.example', 'alias2.example cname=alias3.example', 'alias3.example 10.0.0.1', 'local.example cname=localhost',
	'good.example cname=good2.example', "good2.example $public", 'loop.example cname=loop.example', 'large.example truncated 10.0.0.1',
	"fine.example truncated $public", 'xn--mnchen-3ya.example 127.0.0.1');
is(states("http://alias.example$web/"), 'blocked', 'behind aliases too');
is(states("http://large.example$web/"), 'blocked', 'and where the answer was too long for UDP');
ok((grep { $_ eq 'A large.example tcp' } $dns->queries), '(it did come over TCP)');
is(states("http://xn--mnchen-3ya.example$web/"), 'blocked', 'and where the name is in other letters');
is(states("http://local.example$web/", "http://loop.example$web/"), 'queued queued', 'aliases that lead nowhere are a failure');
is(came(), '', 'and nobody was connected to');
is(states("http://good.example$web/", "http://fine.example$web/"), 'delivered delivered', 'otherwise both are fine');
is(came(), "$public $listening, $public $listening", 'and are sent to');

# Rebinding: a second look would find another address. There is none: the address that was checked is the one that is connected to.
$dns->zone(map { "rebind$_.example $public ; 127.0.0.1 ; 169.254.169.254 ; ::1" } 1 .. 20);
is(states(map { "http://rebind$_.example$web/" } 1 .. 20), join(' ', ('delivered') x 20), 'names that change between looks');
is(came(), join(', ', ("$public $listening") x 20), 'are connected to where they were checked');
my %looks;
$looks{$_}++ for grep { /rebind/ } $dns->queries;
is(join(' ', grep { $looks{$_} > 1 } sort keys %looks), '', 'as each was asked for once');

# Time to live 0: the next delivery looks again, and a connection that is still open to the former address is not used.
is(states("http://rebind1.example$web/"), 'blocked', 'the next delivery finds the other address');
is(came(), '', 'and goes nowhere, though the connection of the first is still open');
$dns->zone("moves.example $public ; $public ; $public_too ; 10.0.0.1", "stays.example $public");
is(states("http://moves.example$web/1"), 'delivered', 'a host');
is(came(), "$public $listening", 'that is where it is');
is(states("http://moves.example$web/2"), 'delivered', 'again');
is(came(), '', 'is sent to on the connection that there is');
is(states("http://moves.example$web/3"), 'delivered', 'a host that has moved');
is(came(), "$public_too $listening", 'gets a new connection to its new address');
is(states("http://moves.example$web/4"), 'blocked', 'one that moves to a forbidden address');
is(came(), '', 'gets nothing');

# A name server may say the same address as often as it likes: one of them is tried, also by who knows that it is good.
$dns->zone('repeated.example ' . join ' ', ($public) x 24);
is(states("http://repeated.example$web/"), 'delivered', 'an address that is given again and again');
is(states("http://repeated.example$web/"), 'delivered', 'is one address, the next time too');
is(came(), "$public $listening", 'and is connected to once');

# A time to live beyond all measure: kept for a while like any other, or not at all where its number is taken for a negative one (RFC 2181);
# what is found then is looked at as ever.
$dns->zone("ages.example ttl=4294967295 $public ; 10.0.0.1", "century.example ttl=2147483647 $public ; 10.0.0.1");
is(states("http://century.example$web/"), 'delivered', '68 years of TTL');
is(states("http://century.example$web/"), 'delivered', 'are kept');
is(states("http://ages.example$web/"), 'delivered', '136 years');
like(states("http://ages.example$web/"), qr/^(delivered|blocked)$/, 'are kept or are none');
is(join(', ', grep { $_ ne "$public $listening" } split /, /, came()), '', 'nobody else was connected to');

# A name server that says nothing, or that it cannot tell, holds up nobody, and is no reason to give up.
$dns->zone('silent.example silent', 'broken.example servfail', 'refused.example refused', 'empty.example ttl=5', "quick.example $public");
my ($silent, $broken, $refused, $empty, $none, $quick) =
  deliver(map { "http://$_.example$web/" } qw(silent broken refused empty none quick));
is(join(' ', map { $_->{state} } $silent, $broken, $refused, $empty, $none, $quick), 'queued queued queued queued queued delivered', 'failures of DNS are tried again');
is($silent->{error}, 'host silent.example: the name server does not answer', 'and say so');
is($none->{error}, 'host none.example: no such host name', 'each its own');
is(came(), "$public $listening", 'and the others go on');

# Where a redirect points to is not visited.
my @redirects;
for my $to ("http://127.0.0.1:$port/", "http://127.0.0.1/", 'http://169.254.169.254/latest/', "http://public.example$web/followed", "//127.0.0.1:$port/", 'file:///etc/passwd', '/followed')
{
	push @redirects, map { "http://stays.example$web/$_/" . ($to =~ s/(\W)/sprintf '%%%02X', ord $1/ger) } 301, 302, 303, 307, 308;
}
$dns->zone("stays.example $public", "public.example $public");
@results = deliver(@redirects);
is(join(' ', map { "$_->{state} $_->{http_code}" } @results), join(' ', map { m{/(3..)/} ? "queued $1" : () } @redirects), 'a redirect is no success');
is(join(', ', grep { $_ ne "$public $listening" } split /, /, came()), '', 'and where it points is not visited');
$t->sql("UPDATE postback.callback SET success_codes = '200-299,302' WHERE id = '$callback'");
is(join(' ', map { "$_->{state} $_->{http_code}" } deliver(grep { m{/302/} } @redirects)), join(' ', ('delivered 302') x 7), 'unless the callback says so');
is(join(', ', grep { $_ ne "$public $listening" } split /, /, came()), '', 'and even then it is not followed');
unlike($t->log($canary), qr/asked for \/(latest|followed)/, 'nobody was asked for what redirects lead to');
$t->sql("UPDATE postback.callback SET success_codes = '200-299' WHERE id = '$callback'");

stop_sender(map({ ("$_ 80", "$_ 443", "$_ $port") } $public, $public_too), $dns->address =~ s/:/ /r);

# --- No proxy is asked, whatever the environment says; --allow-egress opens just its range, on every port.

{
	my $proxy = $isolated ? 'http://93.184.216.99:3128' : "http://127.0.0.4:$port";
	local @ENV{qw(http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY)} = ($proxy) x 6;
	local @ENV{qw(no_proxy NO_PROXY)} = ('', '');
	start_sender('--allow-egress', '127.0.0.2/31', @names);
}
$dns->zone("public.example $public");
is(states("http://127.0.0.2:$port/", "http://127.0.0.3:$port/", "http://127.0.0.1:$port/", "http://127.0.0.4:$port/", "http://[::1]:$port/", "http://[::ffff:127.0.0.2]:$port/"),
	$isolated ? 'delivered delivered blocked blocked blocked blocked' : 'delivered queued blocked blocked blocked blocked',
	'--allow-egress 127.0.0.2/31 opens two addresses');
is(came() =~ s/, 127.0.0.3 $port//r, "127.0.0.2 $port", 'and nobody else was connected to');
is(states("http://public.example$web/", "https://public.example$web/"), 'delivered queued', 'nor is a proxy asked (and no TLS is spoken there)');
like(came(), $isolated ? qr/^$public (?:80, $public 443|443, $public 80)$/ : qr/^$public $port, $public $port$/, 'but the host itself');
stop_sender(map({ ("$_ 80", "$_ 443", "$_ $port") } $public, '127.0.0.2', '127.0.0.3'), $dns->address =~ s/:/ /r);

# --- IPv6 likewise.

SKIP:
{
	skip 'no IPv6 here', 5 if $t->log($canary) =~ /^no ::/m;
	start_sender('--allow-egress', '::1/128');
	is(states("http://[::1]:$port/", "http://[::ffff:127.0.0.1]:$port/", "http://127.0.0.1:$port/"), 'delivered blocked blocked', '--allow-egress ::1/128 opens one address');
	is(came(), "::1 $port", 'and that is all that was visited');
	stop_sender("::1 $port");
}

$t->finish;
