# What goes on for long: hundreds of keep-alive connections whose requests wait for the database (none may be forgotten),
# the memory of serve and of its backends over all of it, and a thousand slow or idle connections beside good traffic.
#
# Here it is short, and shows that everything is answered and memory bounded. "make soak" makes it long, and judges times
# too: REQUESTS over 300 and over 900 connections each (10000), DURATION of slow connections (4 s), STRICT=1.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Conversations;
use POSIX ();
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $requests = $ENV{REQUESTS} || 10_000;
my $seconds = $ENV{DURATION} || 4;
my $strict = $ENV{STRICT};
my $slow = 1000;

my $t = PostbackTest->new(settings => 'max_wal_size = 4GB');
my %p = $t->programme;
my $path = "/p/$p{token}";
my $serve = $t->serve(flags => [ '--max-connections-per-address', 5000 ]);
my $orders = 0;

# What a backend's memory contexts hold, in bytes: it writes that into the server's log when asked to.
sub contexts
{
	my ($pid) = @_;
	my $log = $t->node->logfile;
	my $from = -s $log;
	my $total;
	$t->sql("SELECT pg_log_backend_memory_contexts($pid)");
	for (1 .. 600)
	{
		($total) = slurp_file($log, $from) =~ /\[$pid\].*Grand total: (\d+) bytes/;
		last if defined $total;
		sleep 0.1;
	}
	return $total // die "backend $pid does not tell its memory contexts";
}

# The memory of serve in KiB, and of its backends by process id.
sub memory_now
{
	my @pids = split /\n/, $t->sql(q{SELECT pid FROM pg_stat_activity WHERE usename = 'test_serve' ORDER BY 1});
	return { serve => $t->memory($serve->{pid})->{now}, map { ($_ => { rss => $t->memory($_)->{now}, contexts => contexts($_) }) } @pids };
}

# ---- nobody is forgotten, and nothing grows ----

for my $connections (300, 900)
{
	my $run = sub {
		my ($count) = @_;
		my $result = $t->load(connections => $connections, requests => $count, path => "$path?order=S$connections-{n}&value=4999", from => $orders + 1);
		$orders += $count;
		return $result;
	};
	# All memory that is ever needed is taken early on: by the buffers of the largest batches, caches of plans and relations.
	my $warm = $run->($requests / 5);
	is($warm->{error}, undef, "$connections connections: warm-up");
	my $before = memory_now();
	my $result = $run->($requests);
	is($result->{error}, undef, "$connections connections: each of $requests requests is answered 200");
	note sprintf '%d connections: %s requests at %s/s, p50 %.1f ms, p99 %.1f ms, longest %.1f ms', $connections, $result->{answered}, $result->{rate},
	  map { $result->{$_} / 1000 } qw(p50_us p99_us max_us);
	is($result->{answered}, $requests, "$connections connections: none is missing");
	cmp_ok($result->{max_us}, '<=', 2_000_000, "$connections connections: none took more than 2 s") if $strict;

	my $after = memory_now();
	my $grown = $after->{serve} - $before->{serve};
	cmp_ok($grown, '<', 1024, "$connections connections: serve has not grown over $requests requests ($before->{serve} KiB, then $grown more)");
	delete $_->{serve} for $before, $after;
	for my $pid (sort keys %$after)
	{
		my $was = $before->{$pid} or next;
		$grown = $after->{$pid}{contexts} - $was->{contexts};
		cmp_ok($grown, '<', 256 * 1024, "$connections connections: backend $pid has not grown (contexts $was->{contexts} bytes, then $grown more; "
			  . "process $was->{rss} KiB, then " . ($after->{$pid}{rss} - $was->{rss}) . ' more)');
	}
	is(join(' ', sort keys %$after), join(' ', sort keys %$before), "$connections connections: by the same backends all the time");
}
is($t->sql("SELECT count(*) FROM postback.conversion WHERE order_ref LIKE 'S%'"), $orders, 'every order is there once');

# ---- a thousand slow or idle connections ----

# What each kind says when it is new, and then every tenth of a second; reads says how much of the answers it takes then.
my $form = "Content-Type: application/x-www-form-urlencoded\r\n";
my %kinds = (
	'slow headers' => { first => "GET $path?order=SLOW&value=1 HTTP/1.1\r\nHost: shop\r\n", then => "X: y\r\n", reads => 65536 },
	'slow bodies' => { first => "POST $path HTTP/1.1\r\nHost: shop\r\n${form}Content-Length: 65536\r\n\r\norder=SLOW&value=1&x=" . 'x' x 60_000, then => 'x', reads => 65536 },
	'slow readers' => { first => "GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n" x 200, then => "GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n" x 20, reads => 1 },
	'idle ones' => { first => "GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n", then => '', reads => 65536 },
);

# A process that holds so many connections of a kind, each replaced as soon as it is closed, until it is told to stop.
sub nuisance
{
	my ($kind, $count) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;

	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	local $SIG{PIPE} = 'IGNORE';
	my @connections;
	while (!$stop)
	{
		for my $i (0 .. $count - 1)
		{
			my $c = $connections[$i] //= { socket => dial($serve->{port}), left => $kind->{first} };
			$c->{left} = $kind->{then} if $c->{left} eq '';
			my $said = $c->{left} eq '' ? 0 : syswrite $c->{socket}, $c->{left};
			substr $c->{left}, 0, $said, '' if $said;
			my $heard = sysread $c->{socket}, my $scrap, $kind->{reads};
			my $closed = defined $heard ? $heard == 0 : !$!{EAGAIN};
			$connections[$i] = undef if $closed;
			last if $stop;
		}
		sleep 0.1;
	}
	POSIX::_exit(0);
}

# Good traffic for some seconds beside so many connections of each kind.
sub beside
{
	my ($name, %count) = @_;
	my @nuisances = map { nuisance($kinds{$_}, $count{$_}) } sort keys %count;
	$t->wait_until("$name: $slow are there", sub { $t->metric($serve, 'postbackd_http_connections') >= $slow });
	my @good = (
		[ 'without bodies', $t->load_start(connections => 16, seconds => $seconds, path => "$path?order=G-{n}&value=4999", from => $orders + 1) ],
		[ 'with bodies', $t->load_start(connections => 4, seconds => $seconds, path => $path, body => 'order=B-{n}&value=4999', from => $orders + 1) ],
		[ 'with large bodies', $t->load_start(connections => 2, seconds => $seconds, path => $path, from => $orders + 1,
			body => 'order=L-{n}&value=4999&x=' . 'x' x 10_000) ]);
	# Many are cut off in the same moment, and come back in the next.
	my ($looks, $sum) = (0, 0);
	for (my $until = time + $seconds; time < $until; $looks++)
	{
		$sum += $t->metric($serve, 'postbackd_http_connections') - 22;
		sleep 0.25;
	}
	my $mean = $sum / $looks;
	for (@good)
	{
		my ($kind, $load) = @$_;
		my $result = $t->load_end($load);
		is($result->{error}, undef, "$name: good requests $kind are all answered 200");
		next if $result->{error};
		$orders = $result->{next} if $result->{next} > $orders;
		note sprintf '%s: good requests %s: %s/s, p50 %.1f ms, p99 %.1f ms, longest %.1f ms', $name, $kind, $result->{rate},
		  map { $result->{$_} / 1000 } qw(p50_us p99_us max_us);
		cmp_ok($result->{p99_us}, '<=', 250_000, "$name: 99 of 100 good requests $kind take no more than 250 ms") if $strict;
	}
	kill 'TERM', @nuisances;
	waitpid $_, 0 for @nuisances;
	note sprintf '%s: %d at a time in %d looks; cut off by a deadline since the start: %d', $name, $mean, $looks,
	  $t->metric($serve, 'postbackd_http_connections_expired_total');
	cmp_ok($mean, '>=', $slow * 0.9, "$name: they were there all the time");
	my $peak = $t->memory($serve->{pid})->{peak};
	cmp_ok($peak, '<', 64 * 1024, "$name: serve has never been larger than 64 MB ($peak KiB)");
	$t->wait_until("$name: they are gone when their clients have gone", sub { $t->metric($serve, 'postbackd_http_connections') <= 1 });
	return;
}

beside("$slow slow connections of all kinds", map { ($_ => $slow / keys %kinds) } keys %kinds);
beside("$slow slow bodies", 'slow bodies' => $slow);
is($t->sql("SELECT count(*) FROM postback.receipt WHERE order_ref = 'SLOW'"), 0, 'nothing that was never whole was run');

is($t->ended($serve), undef, 'the daemon has survived all this');
is($t->stop($serve), 0, 'and ends with 0 when told to');
$t->audit_ok;
$t->finish;
