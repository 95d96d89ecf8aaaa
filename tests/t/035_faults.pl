# Faults of the database that leave its disk alone: it is stopped, locked, without a connection to give, hung. The rules are
# in lib/Faults.pm; restarts under load are in 020_restart_under_load.pl, a full disk in 037_disk_full.pl.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Faults;
use IO::Socket::UNIX;
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $t = PostbackTest->new(settings => 'max_connections = 20');
my %p = $t->programme;
my $serve = $t->serve(flags => [ '--max-connections-per-address', 1000 ]);
my $path = "/p/$p{token}";

# What is taken by many connections at once is taken before anything is compared.
is($t->load(connections => 250, requests => 2000, path => "$path?order=WARM-{n}&value=1")->{error}, undef, 'many connections at once');

sub backends { return split /\n/, $t->sql(q{SELECT pid FROM pg_stat_activity WHERE usename = 'test_serve'}) }

sub disconnect { return $t->sql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'test_serve'}) }

my $nothing_under_way = q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'test_serve' AND state <> 'idle'};

# ---- stopped ----

suffer($t, \%p,
	name => 'stopped', serve => $serve, health => 503, load => { connections => 250, requests => 5000 },
	begin => sub { $t->node->stop('fast') },
	end => sub { $t->node->start });

# ---- a lock on a hot table ----

{
	my $locker;
	suffer($t, \%p,
		name => 'locked', serve => $serve, health => 200, load => { connections => 250, requests => 250 },
		settled => $nothing_under_way,
		begin => sub {
			$locker = $t->node->background_psql('postgres');
			$locker->query_safe('BEGIN; LOCK TABLE postback.conversion IN ACCESS EXCLUSIVE MODE');
		},
		end => sub { $locker->query_safe('COMMIT'); $locker->quit });
}

# ---- no connection to be had ----

# Sessions that do nothing, by their start-up message alone: as many as there are; nobody's but a superuser's are left.
sub take_all_connections
{
	my @taken;
	my $message = pack 'N', 196608;
	$message .= join '', map { "$_\0" } 'user', 'hog', 'database', 'postgres', '';
	while (1)
	{
		my $socket = IO::Socket::UNIX->new(Peer => $t->node->host . '/.s.PGSQL.' . $t->node->port) or die "connect: $!";
		print $socket pack('N', 4 + length $message), $message;
		$socket->flush;
		my $kind = '';
		while ($kind ne 'Z')
		{
			read $socket, my $head, 5 or die 'the server says nothing';
			($kind, my $length) = unpack 'a N', $head;
			return @taken if $kind eq 'E';
			read $socket, my $scrap, $length - 4;
		}
		push @taken, $socket;
		die 'connections have no end' if @taken > 100;
	}
}

{
	my @taken;
	$t->sql('CREATE ROLE hog LOGIN');
	suffer($t, \%p,
		name => 'max_connections reached', serve => $serve, health => 503,
		begin => sub {
			# Those of serve become free one by one, and are taken before it has them again.
			$t->sql('ALTER ROLE test_serve CONNECTION LIMIT 0');
			disconnect();
			$t->wait_until('serve has no connection', sub { ($t->request('GET', '/healthz')->{status} // 0) == 503 });
			@taken = take_all_connections();
			$t->sql('ALTER ROLE test_serve CONNECTION LIMIT -1');
			sleep 3;    # for serve to try and fail
		},
		end => sub { @taken = () });
}

suffer($t, \%p,
	name => 'connection limit of the role', serve => $serve, health => 503,
	begin => sub {
		$t->sql('ALTER ROLE test_serve CONNECTION LIMIT 0');
		disconnect();
		$t->wait_until('serve has no connection', sub { ($t->request('GET', '/healthz')->{status} // 0) == 503 });
	},
	end => sub { $t->sql('ALTER ROLE test_serve CONNECTION LIMIT -1') });

# ---- hung ----

# Calls that hang are given up by serve, which hangs up. When the server goes on it finds them, and must not record what
# has been refused: each fault lasts until serve has hung up, and then nothing of it may be there.
{
	my @stopped;
	my $hang = sub {
		$t->wait_until('serve has its two connections', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE usename = 'test_serve'});
		@stopped = $_[0]->();
		kill 'STOP', @stopped;
	};
	my $let_go = sub { kill 'CONT', @stopped };
	my $ended = sub { $t->sql('SELECT count(*) FROM pg_stat_activity WHERE usename = \'test_serve\' AND pid IN (' . join(',', @stopped) . ')') == 0 };
	my $replaced = sub { $t->sql(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'test_serve'}) == 2 + @stopped };
	suffer($t, \%p,
		name => 'one backend hangs', serve => $serve, health => 200, lets => '200|503', settled => $replaced, over => $ended,
		# That of its first connection, which is the one that it uses as long as one will do.
		begin => sub { $hang->(sub { ($t->log($serve) =~ /msg="database connected" connection=1 backend=(\d+)/g)[-1] }) },
		end => $let_go);
	suffer($t, \%p,
		name => 'all backends of serve hang', serve => $serve, health => '200|503', lets => '200|503', at_least => 32, settled => $replaced, over => $ended,
		begin => sub { $hang->(\&backends) },
		end => $let_go);
	suffer($t, \%p,
		name => 'the whole server hangs', serve => $serve, health => 503,
		settled => sub { $t->request('GET', '/healthz')->{status} == 503 }, over => $ended,
		begin => sub {
			$hang->(sub {
				my ($postmaster) = slurp_file($t->node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
				return ($postmaster, split ' ', slurp_file("/proc/$postmaster/task/$postmaster/children"));
			});
		},
		end => $let_go);
}

is($t->ended($serve), undef, 'the daemon has survived all this');
is($t->stop($serve), 0, 'and ends with 0 when told to');

# ---- what is remembered of links while the database is away ----

{
	my %other = $t->programme(name => 'Other');
	my $brief = $t->serve(flags => [ '--landing-life', 1 ]);
	my $landing = 'http://shop.example/landing?from=us';
	my $visit = sub { my $reply = $t->click($_[0]); return join ' ', $reply->{status}, $reply->{headers}{location} // $reply->{json}{code} };
	like($visit->($p{link}), qr/^302 \Q$landing\E&click_id=clk_/, 'a click on one link');
	sleep 2.1;
	like($visit->($other{link}), qr/^302 \Q$landing\E&click_id=clk_/, 'and one on another after more than its life');
	$t->node->stop('fast');
	is($visit->($other{link}), "302 $landing", 'without a database, what was learned lately leads to the landing page');
	is($visit->($p{link}), '503 unavailable', 'what was learned too long before has expired');
	like($t->click($p{link})->{headers}{'retry-after'} // '', qr/^\d+$/, 'with Retry-After');
	sleep 2.1;
	is($visit->($other{link}), "302 $landing", 'but nothing expires while there is no database to ask');
	$t->node->start;
	$t->wait_until('clicks are recorded again', sub { $visit->($p{link}) =~ /click_id=clk_/ });
	is($t->stop($brief), 0, 'this daemon too ends with 0');
}

$t->audit_ok;
$t->finish;
