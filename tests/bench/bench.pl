# Measures the rows and prints the table; called by tests/bench/run, which has built everything and started the cluster.
#
# A file of rows/ returns a group: {database, measures => [...], rows => [...]}. Each group gets a fresh database. A
# measure is {name, title, start, round, check}: three functions called with ($harness, $database), of which only round
# must be there. It returns {rate => per second, cpu, p50_us, p99_us}, the last two where they are known. A row compares
# two measures of its group: {name, title, of, against, kind, first, then}; kind is "share" or "times" (rate of "of" by
# that of "against", at least the target) or "time" (time of "of" by that of "against", at most the target). A measure
# may say in "missing" why it cannot be made here. In each round every measure of a group runs once, in their order, so
# that what a row compares is always neighbouring in time.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Harness;
use List::Util qw(first max min sum);
use POSIX ();

$| = 1;
my ($home, $bindir, @words) = @ARGV;
my %setting = (seconds => 5, rounds => 7);
my (%wanted, $smoke);

for my $word (@words)
{
	if ($word eq 'smoke') { $smoke = 1 }
	elsif ($word =~ /^(seconds|rounds)=(\d+(?:\.\d+)?)$/ && $2 > 0) { $setting{$1} = $2 }
	else { $wanted{$word} = 1 }
}
@setting{qw(seconds rounds)} = (1, 1) if $smoke;

my $harness = Harness->new(home => $home, bindir => $bindir, seconds => $setting{seconds}, smoke => $smoke);
$SIG{$_} = sub { $harness->interrupt; exit 130 } for qw(INT TERM HUP);
END
{
	my $code = $?;
	$harness->stop_all if $harness;
	$? = $code;
}

my @groups = map { do $_ || die $@ || "could not read $_: $!\n" } sort glob "$FindBin::Bin/rows/*.pm";
my %known = map { $_->{name} => 1 } map { @{ $_->{rows} } } @groups;
for my $word (sort keys %wanted)
{
	die "no row \"$word\"; there are: " . join(' ', sort keys %known) . ", seconds=N, rounds=N and smoke\n"
	  unless $known{$word};
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $middle = int(@sorted / 2);

	return @sorted % 2 ? $sorted[$middle] : ($sorted[ $middle - 1 ] + $sorted[$middle]) / 2;
}

sub thousands
{
	my $text = sprintf '%.0f', $_[0];

	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

sub run_round
{
	my ($measure, $database, $round) = @_;
	my $result = $measure->{round}->($harness, $database);

	push @{ $measure->{results} }, $result;
	printf STDERR "round %d of %d  %-14s %10s/s   %s\n", $round, $setting{rounds}, $measure->{name},
	  thousands($result->{rate}), $result->{cpu};
	return;
}

sub run_group
{
	my ($group, @rows) = @_;
	my %needed = map { ($_->{of} => 1, $_->{against} => 1) } @rows;
	my @measures = grep { $needed{ $_->{name} } && !$_->{missing} } @{ $group->{measures} };

	my $database = $harness->make_database($group->{database});

	$_->{start}->($harness, $database) for grep { $_->{start} } @measures;
	for my $round (1 .. $setting{rounds})
	{
		run_round($_, $database, $round) for @measures;
	}
	$_->{check}->($harness, $database) for grep { $_->{check} } @measures;
	$harness->stop_all;
	return;
}

sub print_measures
{
	my ($group) = @_;

	for my $measure (grep { $_->{results} } @{ $group->{measures} })
	{
		my @results = @{ $measure->{results} };
		my @rates = map { $_->{rate} } @results;
		my %latency;

		for my $name (qw(p50_us p99_us))
		{
			my @known = grep { defined } map { $_->{$name} } @results;
			$latency{$name} = @known ? sprintf '%.2f', median(@known) / 1000 : '';
		}
		my $middle = (sort { $a->{rate} <=> $b->{rate} } @results)[ int($#results / 2) ];
		printf "%-52s %9s  %9s..%-9s %7s %7s   %s\n", $measure->{title}, thousands(median(@rates)),
		  thousands(min @rates), thousands(max @rates), @latency{qw(p50_us p99_us)}, $middle->{cpu};
	}
	return;
}

sub print_row
{
	my ($group, $row) = @_;
	my ($of, $against) = map { my $name = $row->{$_}; first { $_->{name} eq $name } @{ $group->{measures} } } qw(of against);
	my $missing = $of->{missing} // $against->{missing};

	if (defined $missing)
	{
		printf "%-60s not measured: %s\n", $row->{title}, $missing;
		return;
	}
	my @ratios = map {
		my ($x, $y) = ($of->{results}[$_]{rate}, $against->{results}[$_]{rate});
		$row->{kind} eq 'time' ? $y / $x : $x / $y;
	} 0 .. $#{ $of->{results} };
	my $ratio = median(@ratios);
	my $sign = $row->{kind} eq 'time' ? '<=' : '>=';
	my $reached = sub { $row->{kind} eq 'time' ? $ratio <= $_[0] : $ratio >= $_[0] };
	my $verdict = $smoke ? '' : $reached->($row->{then}) ? 'then' : $reached->($row->{first}) ? 'first' : 'missed';

	printf "%-60s %6.2f  %5.2f..%-5.2f  %s %-5s %s %-5s %s\n", $row->{title}, $ratio, min(@ratios), max(@ratios),
	  $sign, $row->{first}, $sign, $row->{then}, $verdict;
	return;
}

sub first_line_of
{
	my @command = @_;
	return 'none' unless grep { -x "$_/$command[0]" } '', split /:/, $ENV{PATH};
	my $text = eval { $harness->capture(@command) } // return 'none';

	return (split /\n/, $text)[0] // '';
}

sub package_version
{
	my ($name) = @_;

	open my $file, '<', "$FindBin::Bin/fastify/node_modules/$name/package.json" or return 'none';
	my ($version) = do { local $/; <$file> } =~ /"version":\s*"([^"]+)"/;
	return $version;
}

# What the figures depend on; made before anything is measured, printed above the table.
sub heading
{
	my ($cpu) = map { /^model name\s*:\s*(.*)/ ? $1 : () } split /\n/, $harness->capture('cat', '/proc/cpuinfo');
	my ($memory) = $harness->capture('cat', '/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	my ($flush) = $harness->capture('sh', '-c', "'$bindir/pg_test_fsync' -s 1 -f '$home/scratch/fsync' 2>&1 || true")
	  =~ /fdatasync\s.*?(\d+) usecs/;
	my $file_system = first_line_of('stat', '-f', '-c', '%T', $home);
	my ($curl) = first_line_of($harness->program('curl_multi'), '--version') =~ /^(\S+)/;

	return join '', sprintf("make bench%s, %s\n", @words ? " BENCH=\"@words\"" : '',
			POSIX::strftime('%Y-%m-%d %H:%M %Z', localtime)),
	  sprintf("machine:  %s, %d cores, %.0f GB, Linux %s; data on %s, one flush %s us\n", $cpu // 'unknown CPU',
		$harness->capture('nproc'), $memory / 1024 / 1024, (POSIX::uname())[2], $file_system, $flush // '?'),
	  sprintf("versions: PostgreSQL %s, libmicrohttpd %s, %s, node %s, fastify %s, pg %s\n",
		$harness->sql('postgres', 'SHOW server_version'), first_line_of('pkg-config', '--modversion', 'libmicrohttpd'),
		$curl, first_line_of('node', '--version'), package_version('fastify'), package_version('pg')),
	  sprintf("cluster:  %s; all else as PostgreSQL has it\n",
		$harness->sql('postgres', q{SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY place)
			FROM unnest(ARRAY['fsync', 'full_page_writes', 'synchronous_commit', 'wal_sync_method', 'shared_buffers',
				'max_wal_size', 'checkpoint_timeout']) WITH ORDINALITY AS s (name, place)})),
	  sprintf("rounds:   %d of %s s after %s s of warm-up, alternating; the load generator shares the cores\n",
		$setting{rounds}, $setting{seconds}, $harness->warmup),
	  $file_system eq 'tmpfs' ? "warning:  this file system is not a disk: flushes are free, so the durable rows flatter\n" : ();
}

my $heading = heading();
$harness->sql('postgres', 'CREATE DATABASE programme');
$harness->psql('programme', '-o', '/dev/null', '-v', 'clicks=' . ($smoke ? 10_000 : 200_000), '-f', "$FindBin::Bin/programme.sql");

my @chosen;
for my $group (@groups)
{
	my @rows = grep { !%wanted || $wanted{ $_->{name} } } @{ $group->{rows} };

	next unless @rows;
	run_group($group, @rows);
	push @chosen, [ $group, @rows ];
}

print "\n$heading\n";
printf "%-52s %9s  %9s..%-9s %7s %7s   %s\n", 'measured', 'median/s', 'min', 'max', 'p50 ms', 'p99 ms', 'CPU (100% = one core)';
print_measures($_->[0]) for @chosen;
printf "\n%-60s %6s  %12s  %-8s %-8s\n", 'compared (median of the rounds\' ratios)', 'ratio', 'min..max', 'first', 'then';
for my $chosen (@chosen)
{
	my ($group, @rows) = @$chosen;
	print_row($group, $_) for @rows;
}
print "\nnot measured: deliveries against pg_net, which is not a Debian package.\n";
print "smoke: figures of one short round are not to be compared.\n" if $smoke;
