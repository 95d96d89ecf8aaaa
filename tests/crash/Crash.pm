# Crash: a cluster, both roles and a publisher under load, and what kills them.
#
#     my $crash = Crash->new(settings => '...', kinds => 'postmaster backend serve send', seed => 1);
#     my @violations = $crash->round(kills => 25);    # load, kills, check
#
# Everything is replayed by the seed as far as the choice of kills and requests goes; when they happen depends on the
# machine. A round has a brand of its own.

package Crash;

use strict;
use warnings;

use Check;
use PostbackTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $PATIENCE = 300;    # seconds for anything that has to happen

sub program
{
	my $folder = $ENV{POSTBACK_PROGRAMS} // die "POSTBACK_PROGRAMS is not set: run this with make crash\n";
	return "$folder/$_[0]";
}

# kinds: what is killed; daemon: a program in place of postbackd; serve_flags; prepare: SQL after the extension was
# made; rate: requests per second; pause: answers between two kills, at least and at most.
sub new
{
	my ($class, %self) = @_;
	my $self = bless {
		name => 'crash', settings => '', kinds => 'postmaster backend serve send', serve_flags => [], rate => 4000,
		pause => [ 100, 1500 ], %self, round => 0, kills => {}, restarts => {}, figures => {}
	}, $class;

	# An own generator: nothing else's calls of rand change what the seed means.
	$self->{random} = $self->{seed};
	# As servers have them, other than PostgreSQL's own tests.
	$self->{settings} .= "\nrestart_after_crash = on\nwal_level = replica\nautovacuum_naptime = 10s\n";
	local $ENV{POSTBACKD} = program($self->{daemon}) if $self->{daemon};
	$self->{daemon_path} = $ENV{POSTBACKD};
	my $t = $self->{t} = PostbackTest->new(name => $self->{name}, settings => $self->{settings});
	$t->sql('SELECT count(*) FROM postback.schedule_jobs()');
	$t->sql($self->{prepare}) if $self->{prepare};
	$self->{sends} = $self->{kinds} =~ /\bsend\b/;
	if ($self->{sends})
	{
		$self->{receiver_port} = PostgreSQL::Test::Cluster::get_free_port();
		$self->{receiver_log} = $t->_file("$self->{name}.received");
		append_to_file($self->{receiver_log}, '');
		$t->_start('receiver', {}, program('receiver'), $self->{receiver_port}, $self->{receiver_log});
	}
	$self->{serve} = $t->serve(flags => $self->{serve_flags});
	$self->{send} = $self->start_send if $self->{sends};
	return $self;
}

# A number from 0 up to 1.
sub random
{
	my ($self) = @_;
	# Knuth's MMIX generator, 31 of its upper bits, without overflow warnings.
	use integer;
	$self->{random} = $self->{random} * 6364136223846793005 + 1442695040888963407;
	my $bits = ($self->{random} >> 33) & 0x7fffffff;
	no integer;
	return $bits / 0x80000000;
}

sub pick
{
	my ($self, @items) = @_;
	return $items[ int($self->random * @items) ];
}

# --- what runs, and is started again when it has ended

# The shortest lease: what a killed sender had comes back soon.
sub start_send
{
	my ($self) = @_;
	local $ENV{POSTBACKD} = $self->{daemon_path};
	return $self->{t}->send(no_wait => 1, flags => [ '--lease', '20' ]);
}

sub start_serve
{
	my ($self) = @_;
	local $ENV{POSTBACKD} = $self->{daemon_path};
	return $self->{t}->serve(no_wait => 1, port => $self->{serve}{port}, flags => $self->{serve_flags});
}

# A zombie is not.
sub is_running
{
	open my $stat, '<', "/proc/$_[0]/stat" or return 0;
	return (<$stat> // '') =~ /\) [^ZX] /;
}

sub postmaster
{
	my ($self) = @_;
	open my $file, '<', $self->{t}->node->data_dir . '/postmaster.pid' or return;
	my $pid = <$file> // return;
	chomp $pid;
	return is_running($pid) ? $pid : undef;
}

# The postmaster's children: [process id, title].
sub backends
{
	my ($self) = @_;
	my $postmaster = $self->postmaster or return;
	my @backends;
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $file, '<', $stat or next;
		my $line = <$file> // next;
		my ($pid, $parent) = $line =~ /^(\d+) \(.*\) \S (\d+)/;
		next unless $parent == $postmaster && open my $title, '<', "/proc/$pid/cmdline";
		push @backends, [ $pid, (<$title> // '') =~ s/\0.*//sr =~ s/^postgres: (?:\S+: )?//r ];
	}
	return sort { $a->[0] <=> $b->[0] } @backends;
}

# As a supervisor would: what has ended is started again. A daemon that ends by itself is a violation.
sub tend
{
	my ($self) = @_;
	my $t = $self->{t};
	for my $role (grep { $self->{$_} } qw(serve send))
	{
		my $status = $t->ended($self->{$role}) // next;
		push @{ $self->{violations} }, "daemon: $role ended by itself with $status:\n" . $t->log($self->{$role})
		  if $status != 137;
		$self->{restarts}{$role}++;
		$self->{$role} = $role eq 'serve' ? $self->start_serve : $self->start_send;
	}
	return if $self->postmaster;
	# Until the last backend of the old one is gone, a new one refuses to start. Some never notice (pg_cron's launcher, in the
	# middle of a job): a supervisor kills what is left of a service.
	if (my @orphans = grep { is_running($_) } @{ $self->{orphans} // [] })
	{
		$self->{orphaned} //= time;
		kill 'KILL', @orphans if time > $self->{orphaned} + 5;
		return;
	}
	undef $self->{orphaned};
	# Nor as long as nobody has reaped the old one, which may never happen.
	my $node = $t->node;
	unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	my $until = time + $PATIENCE;
	do
	{
		die "the cluster does not start again\n" if time > $until;
		undef $t->node->{_pid};
	} until $t->node->start(fail_ok => 1);
	$self->{restarts}{cluster}++;
	return;
}

# Tends until the condition holds.
sub tend_until
{
	my ($self, $what, $condition) = @_;
	my $until = time + $PATIENCE;
	until ($condition->())
	{
		die "$what: nothing of the kind within $PATIENCE seconds\n" if time > $until;
		$self->tend;
		sleep 0.02;
	}
	return;
}

# --- kills

sub kill_one
{
	my ($self) = @_;
	my $kind = $self->pick(split ' ', $self->{kinds});
	my $place = $self->random;
	my ($pid, $what) = (undef, $kind);
	if ($kind eq 'serve' || $kind eq 'send')
	{
		$self->tend;
		$pid = $self->{$kind}{pid};
	}
	elsif ($kind eq 'postmaster')
	{
		$self->tend_until('a postmaster', sub { $pid = $self->postmaster });
		$self->{orphans} = [ map { $_->[0] } $self->backends ];
	}
	elsif ($kind eq 'backend')
	{
		my @backends;
		$self->tend_until('a backend', sub { @backends = $self->backends });
		# Mostly those that the two roles have, at times any process of the server's.
		my @ours = grep { $_->[1] =~ /^test_/ } @backends;
		($pid, my $title) = @{ $self->pick(@ours && $place > 0.25 ? @ours : @backends) };
		$what = "backend ($title)";
	}
	kill 'KILL', $pid;
	$self->{kills}{$kind}++;
	note "kill: $what";
	return;
}

# --- a round

sub start_client
{
	my ($self) = @_;
	my $t = $self->{t};
	my %p = $t->programme(name => "Round $self->{round}", percent => $Model::PERCENT);
	my $clicks = $t->_file("$self->{name}.clicks");
	unlink $clicks;
	append_to_file($clicks, $t->sql("SELECT (postback.click('$p{link}')).click_id FROM generate_series(1, 64)") . "\n");
	if ($self->{sends})
	{
		my $url = "http://127.0.0.1:$self->{receiver_port}/$self->{round}"
		  . '?id={delivery_id}&payout={payout:minor}&seq={seq}&order={order_id}&status={status}';
		$t->sql("SELECT postback.create_callback(name => 'cross', brand => '$p{brand}', statuses => '{any}', url => '$url')");
	}
	$self->{client_log} = $t->_file("$self->{name}.client");
	$self->{brand} = $p{brand};
	return $t->_start('client', {}, program('client'), '--port', $self->{serve}{port}, '--token', $p{token}, '--link', $p{link},
		'--clicks', $clicks, '--log', $self->{client_log}, '--seed', $self->{seed} + $self->{round}, '--rate', $self->{rate});
}

# Answers that the client has on disk.
sub progress
{
	my ($self) = @_;
	my $t = $self->{t};
	die "the client has ended:\n" . $t->log($self->{client}) if defined $t->ended($self->{client});
	open my $log, '<', $self->{client}{log} or return 0;
	seek $log, -200, 2;
	my @lines = do { local $/; (<$log> // '') =~ /^progress (\d+)$/mg };
	return $lines[-1] // 0;
}

# Load, kills of the chosen kinds, an end of the load, and all of it checked; returns the violations. finish: waits until
# everything is delivered.
sub round
{
	my ($self, %options) = @_;
	my $t = $self->{t};
	my $start = time;
	$self->{round}++;
	$self->{violations} = [];
	$self->tend_until('the database', sub { $self->ready });
	$self->{client} = $self->start_client;
	my $target = 500;
	for my $kill (1 .. $options{kills})
	{
		# One kill in five comes right upon the one before it: into a recovery, say.
		my $quick = $kill > 1 && $self->random < 0.2;
		my ($from, $to) = @{ $self->{pause} };
		my $pause = $from + int($self->random * ($to - $from));
		my $moment = $self->random;
		$target = $self->progress + $pause if $kill > 1;
		$self->tend_until('progress of the load', sub { $self->progress >= $target }) unless $quick;
		sleep $moment * ($quick ? 0.3 : 0.02);
		$self->kill_one;
	}
	$target = $self->progress + $self->{pause}[0];
	$self->tend_until('progress of the load', sub { $self->progress >= $target });
	my $loaded = time - $start;
	kill 'TERM', $self->{client}{pid};
	$self->tend_until('the end of the client', sub { defined $t->ended($self->{client}) });
	die "the client failed:\n" . $t->log($self->{client}) if $self->{client}{status} != 0;
	$self->tend_until('the database', sub { $self->ready });
	if ($self->{sends} && $options{finish})
	{
		$self->tend_until('the end of all deliveries',
			sub { sleep 0.5; $t->sql('SELECT NOT EXISTS (SELECT FROM postback.delivery_due)') eq 't' });
	}
	my $drained = time - $start;
	push @{ $self->{violations} }, $self->check($options{finish});
	my %figures = (%{ $self->{found} }, $t->log($self->{client}) =~ /^end (.*)$/m ? map { split /=/ } split ' ', $1 : ());
	note join ' ', "round $self->{round}:", map { "$_=$figures{$_}" } sort keys %figures;
	note sprintf 'round %d: %.0f s of load, %.0f s with deliveries, %.0f s with the check', $self->{round}, $loaded, $drained,
	  time - $start;
	$self->{figures}{$_} += $figures{$_} for keys %figures;
	return @{ $self->{violations} };
}

# Violations of the last round's log, as things are now. finished: everything was delivered.
sub check
{
	my ($self, $finished) = @_;
	my $check = Check->new(
		test => $self->{t},
		brand => $self->{brand},
		client_log => $self->{client_log},
		receiver_log => $self->{receiver_log},
		path => $self->{round},
		deliveries => !$self->{sends} ? '' : $finished ? 'finished' : 'running');
	my @violations = $check->violations;
	$self->{found} = $check->{figures};
	return @violations;
}

# Does the server take queries?
sub ready
{
	my ($self) = @_;
	return $self->{t}->node->psql('postgres', 'SELECT') == 0;
}

# What the whole of it came to, as lines.
sub summary
{
	my ($self) = @_;
	my $f = $self->{figures};
	my @lines;
	my $add = sub { push @lines, sprintf shift, @_ };
	$add->('kills: %s', join ', ', map { "$_ $self->{kills}{$_}" } sort keys %{ $self->{kills} });
	$add->('started again: %s', join ', ', map { "$_ $self->{restarts}{$_}" } sort keys %{ $self->{restarts} });
	$add->('requests: %d, %.0f %% of them repeats; %.0f sent and %.0f answered per second of load, outages included',
		$f->{requests}, 100 * $f->{repeats} / $f->{requests}, 1000 * $f->{requests} / $f->{milliseconds},
		1000 * ($f->{accepted} + $f->{refused}) / $f->{milliseconds});
	$add->('answers: %d accepted, %d refused (4xx), %d unavailable (503); without: %d',
		map { $_ // 0 } @$f{qw(accepted refused unavailable lost)});
	$add->('recorded though not answered: %d, and though answered 503: %d',
		map { $_ // 0 } @$f{qw(receipts_of_silence receipts_of_503)});
	$add->('orders: %d begun; in the end %d pending, %d approved, %d reversed; clicks: %d',
		map { $_ // 0 } @$f{qw(orders pending approved reversed clicks)});
	$add->('received by the publisher: %d, of them %d again', map { $_ // 0 } @$f{qw(received received_again)}) if $self->{sends};
	return @lines;
}

sub finish
{
	my ($self) = @_;
	my $t = $self->{t};
	for my $process (reverse @{ $t->{processes} })
	{
		$t->stop($process, $process->{name} eq 'client' ? 'KILL' : 'TERM') unless defined $t->ended($process);
	}
	$self->tend_until('the cluster', sub { $self->postmaster });
	$t->node->_update_pid(1);
	$t->node->stop('immediate');
	return;
}

1;
