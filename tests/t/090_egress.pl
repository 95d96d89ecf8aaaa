# The egress guard, judged by what arrives and not by what our log says: listeners on loopback addresses that nothing may
# connect to, whatever the spelling; where strace works, the sender's own connect() calls too.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Listens on several addresses and one port, writes down whom each connection was for, and answers: /NNN with that status
# and a redirect to the first address, else 200.
my $canary_source = <<'CANARY';
use strict;
use warnings;
use IO::Select;
use IO::Socket::IP;
my ($port, @addresses) = @ARGV;
$| = 1;
my @listening;
for my $address (@addresses)
{
	push @listening, IO::Socket::IP->new(LocalHost => $address, LocalPort => $port, Listen => 64, ReuseAddr => 1,
		$address =~ /:/ ? (V6Only => 1) : ()) // do { print "no $address\n"; () };
}
print "ready\n";
my $select = IO::Select->new(@listening);
while (my @ready = $select->can_read)
{
	for my $server (@ready)
	{
		my $client = $server->accept or next;
		printf "came to %s\n", $server->sockhost;
		my $request = '';
		IO::Select->new($client)->can_read(5) && sysread $client, $request, 65536;
		my ($status) = $request =~ m{^GET /(3\d\d)};
		print "asked for $1\n" if $request =~ m{^\S+ (\S+)};
		syswrite $client, $status ? "HTTP/1.1 $status X\r\nLocation: http://$addresses[0]:$port/followed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		  : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
	}
}
CANARY

my $t = PostbackTest->new;
my %p = $t->programme;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $callback = $t->sql("SELECT postback.create_callback('guarded', 'https://p.example/', brand => '$p{brand}')");

my $canary = $t->_start('canary', {}, $^X, '-e', $canary_source, $port, qw(127.0.0.2 127.0.0.1 127.0.0.3 127.0.0.4 ::1));
$t->wait_until('the canaries listen', sub { -e $canary->{log} && $t->log($canary) =~ /^ready$/m });
unlike($t->log($canary), qr/^no 127/m, 'on each IPv4 address');

# Connections since the last call, as a list of the addresses that they were for.
my $seen = 0;

sub came
{
	my $log = substr $t->log($canary), $seen;
	$seen += length $log;
	return join ' ', $log =~ /^came to (\S+)$/mg;
}

# Puts URLs into the queue as they are, past the linter, and waits until each was tried; the states in the same order.
sub deliver
{
	my @urls = @_;
	my $values = join ', ', map { my $url = $_; $url =~ s/'/''/g; "(postback.new_ulid(), E'" . ($url =~ s/\\/\\\\/gr) . "')" } @urls;
	my @ids = split /\n/, $t->sql(<<"SQL");
WITH k (id, url) AS MATERIALIZED (VALUES $values),
d AS (INSERT INTO postback.delivery (id, brand_id, callback_id, method, url, due_at) SELECT k.id, '$p{brand}', '$callback', 'GET', k.url, now() FROM k),
q AS (INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at) SELECT k.id, '$callback', 1, left(k.url, 100), now() FROM k)
SELECT k.id FROM k
SQL
	my $list = join ', ', map { "'$_'" } @ids;
	$t->wait_until(scalar(@ids) . ' deliveries were tried',
		"SELECT count(DISTINCT a.delivery_id) = " . scalar(@ids) . " FROM postback.attempt a WHERE a.delivery_id IN ($list)");
	my %delivery = map { $_->{id} => $_ } $t->rows("SELECT id, state, error, http_code FROM postback.delivery WHERE id IN ($list)");
	# What is no guard's business is not tried again later.
	$t->sql("DELETE FROM postback.delivery_due WHERE delivery_id IN ($list)");
	return map { $delivery{$_} } @ids;
}

# The sender under strace, if there is one that may trace.
my $trace = $t->_file('connect.strace');

sub start_guarded
{
	my (@flags) = @_;
	local $ENV{POSTBACKD} = $ENV{POSTBACKD};
	if (system('strace -D -f -qq -e trace=connect -o /dev/null true >/dev/null 2>&1') == 0)
	{
		my $wrapper = $t->_file('traced');
		open my $handle, '>', $wrapper or die "$wrapper: $!";
		print $handle "#!/bin/sh\nexec strace -D -f -qq -e trace=connect -o '$trace' '$ENV{POSTBACKD}' \"\$@\"\n";
		close $handle;
		chmod 0755, $wrapper;
		$ENV{POSTBACKD} = $wrapper;
	}
	return $t->send(guarded => 1, flags => [@flags]);
}

# The port is open, so that the addresses alone are why nothing is sent.

my $send = start_guarded('--allow-port', $port);

my @spellings = (
	# as it is
	"http://127.0.0.2:$port/", "http://127.0.0.1:$port/", "HTTP://127.0.0.2:$port", "http://127.0.0.2:$port?a=b",
	# decimal, hexadecimal, octal, short, padded
	"http://2130706434:$port/", "http://0x7f000002:$port/", "http://0X7F000002:$port/", "http://0x7f.0.0.2:$port/", "http://0x7f.0x0.0x0.0x2:$port/",
	"http://017700000002:$port/", "http://0177.0.0.02:$port/", "http://127.2:$port/", "http://127.0.2:$port/", "http://127.000.000.002:$port/",
	"http://127.0.0.0x2:$port/", "http://4294967297:$port/", "http://127.65538:$port/", "http://1:$port/",
	# trailing dots
	"http://127.0.0.2.:$port/", "http://127.0.0.2..:$port/", "http://2130706434.:$port/", "http://.127.0.0.2:$port/",
	# somebody else in front
	"http://user\@127.0.0.2:$port/", "http://user:word\@127.0.0.2:$port/", "http://p.example:80\@127.0.0.2:$port/", "http://127.0.0.2:$port\@p.example/",
	"http://p.example\\\@127.0.0.2:$port/", "http://127.0.0.2:$port\\\@p.example/", "http://p.example%40127.0.0.2:$port/",
	# nowhere, everywhere
	"http://0.0.0.0:$port/", "http://0:$port/", "http://0.0.0.2:$port/", "http://[::]:$port/", "http://255.255.255.255:$port/", "http://224.0.0.1:$port/",
	# IPv6, and IPv4 inside
	"http://[::1]:$port/", "http://[0:0:0:0:0:0:0:1]:$port/", "http://[0000::0001]:$port/", "http://[::ffff:127.0.0.2]:$port/", "http://[::ffff:7f00:2]:$port/",
	"http://[0:0:0:0:0:ffff:127.0.0.2]:$port/", "http://[::127.0.0.2]:$port/", "http://[::ffff:0:127.0.0.2]:$port/", "http://[64:ff9b::127.0.0.2]:$port/",
	"http://[64:ff9b::7f00:2]:$port/", "http://[64:ff9b:1::7f00:2]:$port/", "http://[2002:7f00:2::]:$port/", "http://[2001:0:7f00:2::]:$port/",
	"http://[fe80::1%25lo]:$port/", "http://[fe80::1%lo]:$port/", "http://[::1%lo]:$port/", "http://[fd00::1]:$port/", "http://[::1:$port/", "http://::1:$port/",
	# other digits, and bytes that are none
	"http://\x{e2}\x{91}\x{a0}\x{e2}\x{91}\x{a1}\x{e2}\x{91}\x{a6}.0.0.2:$port/", "http://127\x{e3}\x{80}\x{82}0\x{e3}\x{80}\x{82}0\x{e3}\x{80}\x{82}2:$port/",
	"http://%31%32%37.0.0.2:$port/", "http://127.0.0.%32:$port/", "http://127.0.0.2%00.p.example:$port/", "http://127.0.0.2 :$port/", "http:// 127.0.0.2:$port/",
	"http://127.0.0.2\t:$port/", "http://127.0.0.2:$port\r\nX: y/", "http:///127.0.0.2:$port/", "http:127.0.0.2:$port/", "//127.0.0.2:$port/", "http://127.0.0.2:0$port/",
	"http://127.0.0.2:99999/", "http://127.0.0.2:/",
	# names of this machine
	"http://localhost:$port/", "http://LocalHost.:$port/",
	# other schemes
	"ftp://127.0.0.2:$port/", "gopher://127.0.0.2:$port/_GET%20/", "file:///etc/passwd", "dict://127.0.0.2:$port/", "telnet://127.0.0.2:$port", "scp://127.0.0.2:$port/a",
	# private networks, and where clouds keep their secrets
	"http://169.254.169.254:$port/latest/", "http://10.0.0.1:$port/", "http://172.16.0.1:$port/", "http://192.168.0.1:$port/", "http://100.64.0.1:$port/",
	"http://[fd00:ec2::254]:$port/");

my @results = deliver(@spellings);
for my $i (0 .. $#spellings)
{
	is($results[$i]{state}, 'blocked', "blocked: $spellings[$i]" =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger)
	  or diag($results[$i]{error});
}
is(scalar(grep { ($_->{error} // '') eq '' } @results), 0, 'each says why');
is(came(), '', 'and nothing was connected to');

# Names that may or may not exist: whatever becomes of them, nobody is visited.
deliver("http://sub.localhost:$port/", "http://localhost.localdomain:$port/", "http://ip6-localhost:$port/");
is(came(), '', 'nor by other names of this machine');

# A port that is not open, on an address that is.
my ($result) = deliver('http://192.88.99.255:' . ($port - 1) . '/');
is($result->{state}, 'blocked', 'another port than the one that is open');

is($t->stop($send), 0, 'the guarded sender is well');
SKIP:
{
	skip 'strace does not work here', 2 unless -s $trace;
	my @calls = grep { /connect\(/ } split /\n/, slurp_file($trace);
	cmp_ok(scalar @calls, '>', 0, 'strace has seen the sender connect to its database');
	is(join("\n", grep { !/AF_UNIX|htons\(53\)/ } @calls), '', 'and to nothing else but name servers');
}

# --allow-egress opens just its range, on every port; redirects are not followed, and no proxy is asked.

{
	local $ENV{http_proxy} = "http://127.0.0.4:$port";
	local $ENV{HTTP_PROXY} = "http://127.0.0.4:$port";
	local $ENV{all_proxy} = "http://127.0.0.4:$port";
	$send = $t->send(guarded => 1, flags => [ '--allow-egress', '127.0.0.2/31' ]);
}
@results = deliver("http://127.0.0.2:$port/", "http://127.0.0.3:$port/", "http://127.0.0.1:$port/", "http://127.0.0.4:$port/", "http://[::1]:$port/", "http://[::ffff:127.0.0.2]:$port/");
is(join(' ', map { $_->{state} } @results[ 0 .. 4 ]), 'delivered delivered blocked blocked blocked', '--allow-egress 127.0.0.2/31 opens two addresses');
is(join(' ', grep { !/^127\.0\.0\.[23]$/ } split / /, came()), '', 'and nothing else was connected to');

for my $status (301, 302, 303, 307, 308)
{
	($result) = deliver("http://127.0.0.3:$port/$status");
	is("$result->{state} $result->{http_code}", "queued $status", "$status is no success");
	is(came(), '127.0.0.3', 'and where it points is not visited');
}
$t->sql("UPDATE postback.callback SET success_codes = '200-299,302' WHERE id = '$callback'");
($result) = deliver("http://127.0.0.3:$port/302");
is("$result->{state} $result->{http_code}", 'delivered 302', 'unless the callback says so');
is(came(), '127.0.0.3', 'and even then it is not followed');

is($t->stop($send), 0, 'the sender is well');

# IPv6 likewise.

SKIP:
{
	skip 'no IPv6 here', 2 if $t->log($canary) =~ /^no ::1$/m;
	$send = $t->send(guarded => 1, flags => [ '--allow-egress', '::1/128' ]);
	@results = deliver("http://[::1]:$port/", "http://[::ffff:127.0.0.1]:$port/", "http://127.0.0.1:$port/");
	is(join(' ', map { $_->{state} } @results), 'delivered blocked blocked', '--allow-egress ::1/128 opens one address');
	is(came(), '::1', 'and that is all that was visited');
	$t->stop($send);
}

$t->finish;
