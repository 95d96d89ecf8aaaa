# Measures the rows and prints the table; called by tests/bench/run, which has built everything and started the cluster.
#
# A file of rows/ returns a group: {name, database, rounds, measures => [...], rows => [...]}. Each group gets a fresh
# database; its name chooses all its rows. A measure is {name, title, unit, rounds, start, round, check}: three functions
# called with ($harness, $database), of which only round must be there. It returns {figure, cpu, p50_us, p99_us, ...}, all
# but the first where they are known; the figure is a rate per second unless unit says otherwise. A group's and a measure's
# rounds limit the number of rounds where one takes long. In each round every measure of a group runs once, in their order,
# so that what a row compares is always neighbouring in time. A measure may say in "missing" (a text, or a function of
# $harness that returns it or undef) why it cannot be made here.
#
# A row is {name, title, of, against, kind, key, first, then}. kind says what is judged: "share" or "times" (rate of "of"
# by that of "against", at least the target), "time" (time of "of" by that of "against", from their rates, at most the
# target), "least" or "most" (the figure of "of", by that of "against" or less that of "minus" if there is one). key names
# another value of the result than the figure. The second target is left out where there is only one, both where the value
# is only shown.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Harness;
use List::Util qw(first max min sum);
use POSIX ();

$| = 1;
my ($home, $bindir, @words) = @ARGV;
my $smoke = grep { $_ eq 'smoke' } @words;
my %wanted;

# What NAME=N may set: in full, and in the short version.
my %setting = map { $_->[0] => $_->[ $smoke ? 2 : 1 ] } (
	[ seconds => 5, 0.3 ],
	[ rounds => 7, 1 ],
	[ pg_net_batch => 12_000, 200 ],
	[ store_clicks => 50_000_000, 20_000 ],
	[ store_conversions => 10_000_000, 4_000 ],
	[ due => 1_000_000, 2_048 ],
	[ connections => 1_000, 100 ],
	[ calls => 1_000_000, 1_000 ],
	[ endpoints => 1_000, 100 ],
	[ flood => 1_000_000, 2_000 ],
	[ delayed => 5_000_000, 5_000 ],
	[ churn => 360_000, 1_024 ],
);

for my $word (@words)
{
	if ($word =~ /^(\w+)=(\d+(?:\.\d+)?)$/ && exists $setting{$1} && $2 > 0) { $setting{$1} = $2 }
	elsif ($word ne 'smoke') { $wanted{$word} = 1 }
}

my $harness = Harness->new(home => $home, bindir => $bindir, setting => \%setting, smoke => $smoke);
$SIG{$_} = sub { $harness->interrupt; exit 130 } for qw(INT TERM HUP);
END
{
	my $code = $?;
	$harness->stop_all if $harness;
	$? = $code;
}

my @groups = map { do $_ || die $@ || "could not read $_: $!\n" } sort glob "$FindBin::Bin/rows/*.pm";
for my $measure (map { @{ $_->{measures} } } @groups)
{
	$measure->{missing} = $measure->{missing}->($harness) if ref $measure->{missing};
}
my %known = map { $_ => 1 } map { ($_->{name}, map { $_->{name} } @{ $_->{rows} }) } @groups;
for my $word (sort keys %wanted)
{
	die "no row or group \"$word\"; there are: " . join(' ', sort(keys %known), map { "$_=N" } sort keys %setting) . " smoke\n"
	  unless $known{$word};
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $middle = int(@sorted / 2);

	return @sorted % 2 ? $sorted[$middle] : ($sorted[ $middle - 1 ] + $sorted[$middle]) / 2;
}

# A figure as people read it: 21,368 or 8.4
sub shown
{
	my $text = sprintf abs $_[0] < 100 ? '%.1f' : '%.0f', $_[0];

	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

sub run_round
{
	my ($measure, $database, $round, $rounds) = @_;

	$rounds = min($rounds, $measure->{rounds} // $rounds);
	return if $round > $rounds;
	my $result = $measure->{round}->($harness, $database);

	push @{ $measure->{results} }, $result;
	printf STDERR "round %d of %d  %-20s %10s %-4s  %s\n", $round, $rounds, $measure->{name}, shown($result->{figure}),
	  $measure->{unit} // '/s', $result->{cpu} // $result->{note} // '';
	return;
}

sub run_group
{
	my ($group, @rows) = @_;
	my %needed = map { $_ => 1 } grep { defined } map { @$_{qw(of against minus)} } @rows;
	my @measures = grep { $needed{ $_->{name} } && !$_->{missing} } @{ $group->{measures} };
	my $rounds = min($setting{rounds}, $group->{rounds} // $setting{rounds});

	my $database = $harness->make_database($group->{database});

	$_->{start}->($harness, $database) for grep { $_->{start} } @measures;
	for my $round (1 .. $rounds)
	{
		run_round($_, $database, $round, $rounds) for @measures;
	}
	$_->{check}->($harness, $database) for grep { $_->{check} } @measures;
	return;
}

sub print_measures
{
	my ($group) = @_;

	for my $measure (grep { $_->{results} } @{ $group->{measures} })
	{
		my @results = @{ $measure->{results} };
		my @figures = map { $_->{figure} } @results;
		my %latency;

		for my $name (qw(p50_us p99_us))
		{
			my @known = grep { defined } map { $_->{$name} } @results;
			$latency{$name} = @known ? sprintf '%.2f', median(@known) / 1000 : '';
		}
		my $middle = (sort { $a->{figure} <=> $b->{figure} } @results)[ int($#results / 2) ];
		printf "%-72s %9s %-3s %9s..%-9s %7s %7s   %s\n", $measure->{title}, shown(median(@figures)), $measure->{unit} // '/s',
		  shown(min @figures), shown(max @figures), @latency{qw(p50_us p99_us)}, $middle->{cpu} // $middle->{note} // '';
	}
	return;
}

# What a row judges, round by round.
sub judged
{
	my ($row, $of, $other) = @_;
	my $key = $row->{key} // 'figure';

	return map {
		my ($x, $y) = map { $_->{$key} // die "$row->{name}: the result has no $key\n" } $_->[0], $_->[1] // $_->[0];
		$row->{kind} eq 'time' ? $y / $x : $row->{against} ? $x / $y : $row->{minus} ? $x - $y : $x;
	} map { [ $of->{results}[$_], $other && $other->{results}[$_] ] } 0 .. $#{ $of->{results} };
}

# Prints a row and returns its verdict.
sub print_row
{
	my ($group, $row) = @_;
	my $find = sub { my ($name) = @_; defined $name ? first { $_->{name} eq $name } @{ $group->{measures} } : undef };
	my ($of, $other) = ($find->($row->{of}), $find->($row->{against} // $row->{minus}));
	my $missing = $group->{failed} ? 'failed' : $of->{missing} // ($other && $other->{missing});

	if (defined $missing)
	{
		printf "%-90s not measured: %s\n", $row->{title}, $missing;
		return 'not measured';
	}
	my @values = judged($row, $of, $other);
	my $value = median(@values);
	my $at_most = $row->{kind} eq 'time' || $row->{kind} eq 'most';
	my $reached = sub { defined $_[0] && ($at_most ? $value <= $_[0] : $value >= $_[0]) };
	my $verdict = $smoke || !defined $row->{first} ? '' : $reached->($row->{then}) ? 'then' : $reached->($row->{first}) ? 'first' : 'missed';
	my ($first, $then) = map { defined $_ ? ($at_most ? '<= ' : '>= ') . $_ : '' } @$row{qw(first then)};
	my $form = sub { abs $_[0] < 1000 ? sprintf '%.2f', $_[0] : shown($_[0]) };

	printf "%-90s %8s  %8s..%-8s %-9s %-9s %s\n", $row->{title}, $form->($value), $form->(min(@values)), $form->(max(@values)),
	  $first, $then, $verdict;
	return $verdict;
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
	# pg_test_fsync goes on with what is of no interest here, until it finds nobody reading.
	my ($flush) = $smoke ? () : $harness->capture('sh', '-c',
		"'$bindir/pg_test_fsync' -s 1 -f '$home/scratch/fsync' 2>/dev/null | sed '/fdatasync .*usecs/ q'")
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
			FROM unnest(ARRAY['fsync', 'full_page_writes', 'synchronous_commit', 'wal_sync_method', 'shared_buffers', 'huge_pages',
				'min_wal_size', 'max_wal_size', 'checkpoint_timeout']) WITH ORDINALITY AS s (name, place)})),
	  sprintf("rounds:   %d of %s s after %s s of warm-up, alternating; the load generator shares the cores\n",
		$setting{rounds}, $setting{seconds}, $harness->warmup),
	  'sizes:    ' . join(', ', map { "$_ " . shown($setting{$_}) =~ s/\.0$//r } grep { !/^(?:seconds|rounds)$/ } sort keys %setting)
	  . "\n",
	  $file_system eq 'tmpfs' ? "warning:  this file system is not a disk: flushes are free, so the durable rows flatter\n" : ();
}

my $heading = heading();
$harness->fill_log unless $smoke;
$harness->sql('postgres', 'CREATE DATABASE programme');
$harness->psql('programme', '-o', '/dev/null', '-v', 'clicks=' . ($smoke ? 10_000 : 200_000), '-f', "$FindBin::Bin/programme.sql");

my @chosen;
for my $group (@groups)
{
	my @rows = grep { !%wanted || $wanted{ $_->{name} } || $wanted{ $group->{name} } } @{ $group->{rows} };

	next unless @rows;
	push @chosen, [ $group, @rows ];

	# What fails in one group is no reason to lose the figures of the others.
	$group->{failed} = $@ unless eval { run_group($group, @rows); 1 };
	warn "$group->{name}: $group->{failed}" if $group->{failed};
	$harness->stop_all;
	$harness->drop_databases;
}

print "\n$heading\n";
printf "%-72s %9s     %9s..%-9s %7s %7s   %s\n", 'measured', 'median', 'min', 'max', 'p50 ms', 'p99 ms', 'CPU (100% = one core)';
print_measures($_->[0]) for @chosen;
printf "\n%-90s %8s  %8s..%-8s %-9s %-9s\n", 'judged (median of the rounds)', 'value', 'min', 'max', 'first', 'then';
my @missed;
for my $chosen (@chosen)
{
	my ($group, @rows) = @$chosen;
	push @missed, map { $_->{name} } grep { print_row($group, $_) eq 'missed' } @rows;
}
print "\nmissed: @missed\n" if @missed;
print "smoke: figures of one short round are not to be compared.\n" if $smoke;
exit 1 if grep { $_->[0]{failed} } @chosen;
