# What the rows share: databases, processes, load, and the clean-up of all of it. Every failure dies with its reason;
# nothing here judges a figure.

package Harness;

use strict;
use warnings;
use IO::Handle;
use IO::Socket::INET;
use IPC::Open2;
use POSIX ();
use Time::HiRes qw(sleep time);

# home: the private folder of tests/bench/run; bindir: PostgreSQL's programs; setting: what bench.pl takes as NAME=N;
# smoke: true when only the way through matters.
sub new
{
	my ($class, %self) = @_;

	return bless {%self, processes => {}, databases => [], sequence => 0}, $class;
}

sub setting { return $_[0]{setting}{ $_[1] } // die "there is no setting $_[1]\n" }
sub seconds { return $_[0]->setting('seconds') }
sub warmup { return $_[0]{smoke} ? 0.2 : 1 }
sub smoke { return $_[0]{smoke} }
sub program { return "$_[0]{home}/bin/$_[1]" }
sub daemon { return "$_[0]{home}/stage/sbin/postbackd" }
sub file { return "$_[0]{home}/scratch/$_[1]" }

# Runs a program and returns its output; dies when it fails.
sub capture
{
	my ($self, @command) = @_;

	my $pid = open my $from, '-|', @command or die "could not run $command[0]: $!\n";
	local $self->{capturing} = $pid;
	my $text = do { local $/; <$from> } // '';
	close $from or die "$command[0] failed" . ($! ? ": $!" : " with status " . ($? >> 8)) . "\n";
	chomp $text;
	return $text;
}

sub psql
{
	my ($self, $database, @arguments) = @_;

	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	return $self->capture("$self->{bindir}/psql", qw(-X -A -t -q -v ON_ERROR_STOP=1), '-d', $database, @arguments);
}

# A text as SQL writes it.
sub literal
{
	my ($self, $text) = @_;

	return "'" . ($text =~ s/'/''/gr) . "'";
}

# Runs one SQL command, returning its output with columns split by "|".
sub sql
{
	my ($self, $database, $sql) = @_;

	return $self->psql($database, '-c', $sql);
}

# Runs several commands at once, each in a session of its own, and waits for all.
sub sql_together
{
	my ($self, $database, @commands) = @_;
	my @command = ("$self->{bindir}/psql", qw(-X -A -t -q -v ON_ERROR_STOP=1), '-d', $database, '-c');

	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	for my $number (0 .. $#commands)
	{
		$self->start("psql$number", {}, @command, $commands[$number]);
	}
	$self->finish("psql$_") for 0 .. $#commands;
	return;
}

# Opens a session that stays open, for ask and close_session; returns it.
sub session
{
	my ($self, $database) = @_;
	my $name = 'session' . ++$self->{sequence};

	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	my $pid = open2(my $from, my $to, "$self->{bindir}/psql", qw(-X -A -t -q -v ON_ERROR_STOP=1), '-d', $database);
	$self->{processes}{$name} = $pid;
	return { name => $name, from => $from, to => $to };
}

# Runs SQL in a session and returns its output; dies when it fails.
sub ask
{
	my ($self, $session, $sql) = @_;
	my ($text, $line) = ('');

	print { $session->{to} } "$sql;\n\\echo (end)\n";
	$session->{to}->flush;
	while (defined($line = readline $session->{from}) && $line ne "(end)\n")
	{
		$text .= $line;
	}
	die "the session ended at: $sql\n" unless defined $line;
	chomp $text;
	return $text;
}

sub close_session
{
	my ($self, $session) = @_;

	close $session->{to};
	$self->finish($session->{name});
	return;
}

# A line of /proc/PID/status in megabytes.
sub memory_of
{
	my ($self, $pid, $field) = @_;
	my ($kilobytes) = $self->capture('cat', "/proc/$pid/status") =~ /^\Q$field\E:\s*(\d+) kB/m
	  or die "process $pid has no $field\n";

	return $kilobytes / 1024;
}

# A fresh database that holds what programme.sql made and nothing else.
sub make_database
{
	my ($self, $name) = @_;

	$self->sql('postgres', qq{CREATE DATABASE "$name" TEMPLATE programme});
	push @{ $self->{databases} }, $name;
	return $name;
}

# Drops what make_database has made; whoever is still connected is thrown out.
sub drop_databases
{
	my ($self) = @_;

	$self->sql('postgres', qq{DROP DATABASE "$_" WITH (FORCE)}) for splice @{ $self->{databases} };
	return;
}

# Gigabytes that are free where the cluster is.
sub gigabytes_free
{
	my ($self) = @_;
	my ($bytes) = $self->capture('df', '--output=avail', '-B1', $self->{home}) =~ /(\d+)\s*$/;

	return $bytes / 1e9;
}

# What the server is still busy with from earlier rounds should not count for the next one.
sub settle
{
	my ($self) = @_;

	$self->sql('postgres', 'CHECKPOINT');
	return;
}

sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0)
	  or die "no free port: $!\n";
	return $socket->sockport;
}

# Starts a program in the background, its output going to NAME.log in the private folder.
sub start
{
	my ($self, $name, $environment, @command) = @_;
	my $log = "$self->{home}/$name.log";
	my $pid = fork // die "could not fork: $!\n";

	if ($pid == 0)
	{
		$SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		@ENV{ keys %$environment } = values %$environment;
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	$self->{processes}{$name} = $pid;
	return $pid;
}

# Dies, with the end of its log, when a started program has ended.
sub check_running
{
	my ($self, $name) = @_;
	my $pid = $self->{processes}{$name} // die "$name was not started\n";

	return if waitpid($pid, POSIX::WNOHANG()) == 0;
	delete $self->{processes}{$name};
	die "$name has ended, status $?; its log:\n" . $self->log_tail($name);
}

sub log_tail
{
	my ($self, $name) = @_;

	open my $log, '<', "$self->{home}/$name.log" or return '';
	my @lines = <$log>;
	splice @lines, 0, -20 if @lines > 20;
	return join '', @lines;
}

# Waits until a started program accepts connections.
sub wait_for_port
{
	my ($self, $name, $port) = @_;

	for (1 .. 200)
	{
		$self->check_running($name);
		return if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
		sleep 0.05;
	}
	die "$name does not accept connections; its log:\n" . $self->log_tail($name);
}

# Waits for the end of a started program; dies unless it was a success.
sub finish
{
	my ($self, $name) = @_;
	my $pid = $self->{processes}{$name} // die "$name was not started\n";

	waitpid $pid, 0;
	delete $self->{processes}{$name};
	die "$name failed, status $?; its log:\n" . $self->log_tail($name) if $? != 0;
	return;
}

# Ends a started program by a signal, SIGTERM if not said otherwise; one that drains has ten seconds for it.
sub stop
{
	my ($self, $name, $signal) = @_;
	my $pid = delete $self->{processes}{$name} // return;

	kill $signal // 'TERM', $pid;
	for (1 .. 2000)
	{
		return if waitpid($pid, POSIX::WNOHANG()) != 0;
		sleep 0.01;
	}
	kill KILL => $pid;
	waitpid $pid, 0;
	die "$name did not end within 20 seconds of SIGTERM; its log:\n" . $self->log_tail($name);
}

# For a signal's handler: ends what capture is waiting for, which perl would otherwise wait for before it exits.
sub interrupt
{
	my ($self) = @_;

	kill TERM => $self->{capturing} if $self->{capturing};
	return;
}

sub stop_all
{
	my ($self) = @_;

	for my $name (keys %{ $self->{processes} })
	{
		eval { $self->stop($name); 1 } or warn $@;
	}
	return;
}

# Makes the segments of the log that min_wal_size keeps, as on a server that has run for a while. On a new one each is made
# when it is needed, 16 MB written and flushed, while all commits wait.
sub fill_log
{
	my ($self) = @_;

	$self->sql('postgres', q{DO $$ BEGIN
		FOR i IN 1 .. pg_size_bytes(current_setting('min_wal_size')) / pg_size_bytes(current_setting('wal_segment_size')) LOOP
			PERFORM pg_logical_emit_message(false, '', '');
			PERFORM pg_switch_wal();
		END LOOP;
	END $$});
	$self->settle;
	return;
}

# Seconds of CPU used so far, by program: the processes started here, the private PostgreSQL, and the children of both,
# also those that have ended. What this process itself has waited for (load, curl_multi, psql) is "client".
sub cpu_used
{
	my ($self) = @_;
	my %name_of = reverse %{ $self->{processes} };
	my $ticks = POSIX::sysconf(POSIX::_SC_CLK_TCK());
	my %used = (client => (times)[2] + (times)[3]);

	if (open my $pidfile, '<', "$self->{home}/cluster/postmaster.pid")
	{
		chomp(my $pid = <$pidfile>);
		$name_of{$pid} = 'postgres';
	}
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $file, '<', $stat or next;
		my $line = <$file> // next;
		my ($pid) = $line =~ /^(\d+)/;
		my @field = split ' ', $line =~ s/^.*\) //r;
		my $ended = $name_of{$pid} ? $field[13] + $field[14] : 0;
		my $name = $name_of{$pid} // $name_of{ $field[1] } // next;

		$used{$name} += ($field[11] + $field[12] + $ended) / $ticks;
	}
	return \%used;
}

# Runs the measured part of a round, which returns its figures, and adds "cpu" to them: "90% postgres, 60% serve",
# 100% being one core.
sub with_cpu
{
	my ($self, $measured) = @_;
	my ($before, $start) = ($self->cpu_used, time);
	my $result = $measured->();
	my $seconds = time - $start;

	sleep 0.05;    # for the postmaster to collect a backend that has just ended
	my $after = $self->cpu_used;
	my %share = map { $_ => 100 * ($after->{$_} - ($before->{$_} // 0)) / $seconds } keys %$after;

	$result->{cpu} = join ', ', map { sprintf '%.0f%% %s', $share{$_}, $_ }
	  sort { $share{$b} <=> $share{$a} } grep { $share{$_} >= 2 } keys %share;
	return $result;
}

# One measured run of load.c; returns its figures. Options: port, path, expect, ids, from, connections, seconds, pace.
sub load
{
	my ($self, %option) = @_;

	$option{seconds} //= $self->seconds;
	$self->settle;
	return $self->with_cpu(sub {
		my $text = $self->capture($self->program('load'),
			'--warmup' => $self->warmup, map { ("--$_" => $option{$_}) } sort keys %option);

		my %result = map { split /=/, $_, 2 } split ' ', $text;
		return { %result, figure => $result{rate} };
	});
}

# The body of a GET, for control connections.
sub http_get
{
	my ($self, $port, $path) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
	  or die "could not connect to port $port: $!\n";

	print $socket "GET $path HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
	my ($length, $body) = (0, '');
	while (defined(my $line = <$socket>))
	{
		$length = $1 if $line =~ /^content-length:\s*(\d+)/i;
		last if $line eq "\r\n";
	}
	read $socket, $body, $length;
	return $body;
}

# Dies unless an SQL query gives what is expected: measured work that was not done counts for nothing.
sub expect
{
	my ($self, $database, $what, $sql, $expected) = @_;
	my $found = $self->sql($database, $sql);

	die "$what: expected $expected, found $found\n" if $found ne $expected;
	return;
}

1;
