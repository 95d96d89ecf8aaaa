# PostbackTest: what a TAP test of postback needs, on top of PostgreSQL::Test::Cluster: a private server with pg_cron
# and the extension that was built (not installed), "postbackd serve" and "postbackd send" beside it, an HTTP client,
# and a server that plays the publisher's. "make check TESTS=tap" sets the environment that it reads.
#
#     my $t = PostbackTest->new;
#     my %p = $t->programme;                              # brand, offer, publisher, terms, token, link
#     $t->serve;
#     my $reply = $t->postback("$p{token}", order => 'A-1', value => 4999);
#     is($reply->{json}{result}, 'created', '...');
#     $t->audit_ok;
#     $t->finish;
package PostbackTest;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Values of the environment, with what to do when they are not there.
sub _environment
{
	my ($name) = @_;
	return $ENV{$name} // die "$name is not set: run this with make check TESTS=tap ONLY=...\n";
}

# Processes of ours that still run, by process id; none is left behind, whatever happens.
my %running;

# How many were started: several servers of one test write different logs.
my $started = 0;

$SIG{TERM} = $SIG{INT} = sub { die "stopped by a signal\n" };

END
{
	my $status = $?;
	kill 'KILL', keys %running if %running;
	$? = $status;
}

=head1 A server

=head2 new(name => 'main', settings => '...')

A private server with a database C<postgres> that has pg_cron, the extension, and the daemon's roles C<test_serve> and
C<test_send>, which may do no more than postback_ingest and postback_sender. C<extension =E<gt> 0> leaves them out.
C<initdb> has further arguments of that.

=cut

sub new
{
	my ($class, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($options{name} // 'main');
	my $self = bless { node => $node, processes => [], receivers => 0, nameservers => 0 }, $class;

	$node->init(extra => [ '--locale=C.UTF-8', '--encoding=UTF8', @{ $options{initdb} // [] } ]);
	# The daemon refuses a server that does not flush.
	$node->append_conf('postgresql.conf', join "\n", _environment('POSTBACK_SETTINGS'),
		q{shared_preload_libraries = 'pg_cron'},
		q{cron.database_name = 'postgres'},
		q{cron.use_background_workers = on},
		q{max_worker_processes = 16},
		q{max_connections = 50},
		q{fsync = on},
		q{timezone = 'UTC'},
		q{log_statement = 'ddl'},
		$options{settings} // '');
	$node->start;
	if ($options{extension} // 1)
	{
		$self->sql('CREATE EXTENSION pg_cron');
		$self->sql('CREATE EXTENSION postback');
		$self->make_roles;
	}
	return $self;
}

sub make_roles
{
	my ($self) = @_;
	for my $role ([ 'test_serve', 'postback_ingest' ], [ 'test_send', 'postback_sender' ])
	{
		$self->sql("CREATE ROLE $role->[0] LOGIN IN ROLE $role->[1]; ALTER ROLE $role->[0] SET log_parameter_max_length = 0");
	}
}

sub node { return $_[0]{node} }

=head2 sql(text)

Runs SQL as the superuser; the result as psql -At prints it. Dies on an error.

=cut

sub sql
{
	my ($self, $text) = @_;
	return $self->{node}->safe_psql('postgres', $text);
}

=head2 rows(query)

The result as a list of hash references.

=cut

sub rows
{
	my ($self, $query) = @_;
	my $json = $self->sql("SELECT coalesce(pg_catalog.json_agg(r), '[]') FROM ($query) r");
	return @{ JSON::PP->new->decode($json) };
}

=head2 programme(%options)

A brand (EUR, hold and so on as the defaults have it) with an offer, a publisher, terms, a token and a link. Options:
C<name>; C<percent>, of the terms (8); C<hold>, an interval; C<receiver>, of a receiver to be told of C<statuses>
(approved). Returns brand, offer, publisher, token, link and, with a receiver, callback.

=cut

sub programme
{
	my ($self, %options) = @_;
	my %p;
	my $name = $options{name} // 'Acme';
	my $hold = defined $options{hold} ? ", hold => '$options{hold}'" : '';
	$p{brand} = $self->sql("SELECT postback.create_brand(name => '$name', currency => 'EUR'$hold)");
	$p{offer} = $self->sql(
		"SELECT postback.create_offer(brand => '$p{brand}', name => '$name shop', landing_url => 'http://shop.example/landing?from=us')"
	);
	$p{publisher} = $self->sql("SELECT postback.create_publisher(name => 'publisher of $name')");
	my $percent = $options{percent} // 8;
	$self->sql("SELECT postback.set_terms(offer => '$p{offer}', percent => $percent)");
	$p{token} = $self->sql("SELECT token FROM postback.issue_token(brand => '$p{brand}', label => 'test')");
	$p{link} = $self->sql("SELECT code FROM postback.create_link(offer => '$p{offer}', publisher => '$p{publisher}')");
	if ($options{receiver})
	{
		my $statuses = $options{statuses} // '{approved}';
		my $url = $options{receiver}->url
		  . '/postback?click_id={transaction_id}&payout={payout}&currency={currency}&status={status}&order={order_id}';
		$p{callback} = $self->sql(
			"SELECT postback.create_callback(name => 'tell', url => '$url', brand => '$p{brand}', statuses => '$statuses')");
	}
	return %p;
}

=head2 session(name)

One backend that runs lines of SQL for as long as it lives: run(output file, lines ...) returns the SQLSTATEs of those that failed, by number of the
line from 1 (undef when the backend is no more, which alive tells too).

=cut

sub session
{
	my ($self, $name) = @_;
	my $base = $self->_file($name);
	pipe my $child_in, my $to or die "pipe: $!";
	pipe my $from, my $child_out or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		close $to;
		open STDIN, '<&', $child_in;
		open STDOUT, '>&', $child_out;
		open STDERR, '>', "$base.errors";
		$ENV{PGHOST} = $self->{node}->host;
		$ENV{PGPORT} = $self->{node}->port;
		{ exec 'psql', '-X', '-q', '-At', '-d', 'postgres' };
		POSIX::_exit(127);
	}
	$running{$pid} = 1;
	close $child_in;
	close $child_out;
	syswrite $to, "\\set VERBOSITY sqlstate\n";
	return bless { to => $to, from => $from, base => $base, pid => $pid, alive => 1 }, 'PostbackTest::Session';
}

=head2 audit_ok(name)

postback.audit() recomputes all money from the rows; it finds no difference.

=cut

sub audit_ok
{
	my ($self, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $differences, $error) = $self->{node}->psql('postgres', 'SELECT * FROM postback.audit()');
	return is("$differences$error", '', $name // 'the audit finds no difference');
}

=head2 wait_until(name, condition, seconds = 60)

A test that passes as soon as the condition (a code reference, or a query that gives one true value) holds.

=cut

sub wait_until
{
	my ($self, $name, $condition, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $until = time + ($seconds // 60);
	while (1)
	{
		my $holds = ref $condition ? $condition->() : $self->sql($condition) eq 't';
		return pass($name) if $holds;
		return fail("$name (waited until it was too late)") if time > $until;
		sleep 0.1;
	}
}

=head1 The daemon

=head2 serve(flags => [...], port => ...), send(flags => [...], guarded => 1)

Starts a role and waits until it works (C<no_wait =E<gt> 1> does not); returns the process: C<pid>, C<port> (serve),
C<metrics> (a port) and C<log>. A sender may send to 127.0.0.0/8 unless it is C<guarded>.

=cut

# A path among the logs that is this test's own.
sub _file
{
	my ($self, $name) = @_;
	my ($test) = $PostgreSQL::Test::Utils::test_logfile =~ m{regress_log_([^/]+)$};
	my $path = "$PostgreSQL::Test::Utils::log_path/${test}_$name";
	return $path =~ m{^/} ? $path : POSIX::getcwd() . "/$path";
}

# A file of these lines, put in place of what a process reads again and again.
sub replace_file
{
	my ($file, @lines) = @_;
	open my $handle, '>', "$file.made" or die "$file: $!";
	print $handle map { "$_\n" } @lines;
	close $handle or die;
	rename "$file.made", $file or die "$file: $!";
}

sub _start
{
	my ($self, $name, $environment, @command) = @_;
	my $log = $self->_file(sprintf '%s_%d.log', $name, ++$started);
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		$ENV{$_} = $environment->{$_} for keys %$environment;
		$SIG{$_} = 'DEFAULT' for qw(PIPE TERM INT CHLD);
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		open STDIN, '<', '/dev/null';
		{ exec { $command[0] } @command };
		POSIX::_exit(127);
	}
	$running{$pid} = 1;
	note "started $name (process $pid): @command";
	my $process = { name => $name, pid => $pid, log => $log };
	push @{ $self->{processes} }, $process;
	return $process;
}

sub _libpq
{
	my ($self, $user) = @_;
	my $node = $self->{node};
	return { PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => $user };
}

sub serve
{
	my ($self, %options) = @_;
	my $port = $options{port} // PostgreSQL::Test::Cluster::get_free_port();
	my $metrics = PostgreSQL::Test::Cluster::get_free_port();
	my $process = $self->_start('serve', $self->_libpq('test_serve'), _environment('POSTBACKD'), 'serve', '--port', $port,
		'--metrics-listen', "127.0.0.1:$metrics", @{ $options{flags} // [] });
	$process->{port} = $port;
	$process->{metrics} = $metrics;
	$self->{port} = $port;
	$self->_wait_for($process, sub { ($self->request('GET', '/healthz', port => $port)->{status} // 0) == 200 })
	  unless $options{no_wait};
	return $process;
}

sub send
{
	my ($self, %options) = @_;
	my $metrics = PostgreSQL::Test::Cluster::get_free_port();
	my @egress = $options{guarded} ? () : ('--allow-egress', '127.0.0.0/8');
	my $process = $self->_start('send', $self->_libpq('test_send'), _environment('POSTBACKD'), 'send', @egress,
		'--metrics-listen', "127.0.0.1:$metrics", @{ $options{flags} // [] });
	$process->{metrics} = $metrics;
	$self->_wait_for($process, sub { ($self->request('GET', '/healthz', port => $metrics)->{status} // 0) == 200 })
	  unless $options{no_wait};
	return $process;
}

=head2 nginx(to => process)

nginx in front of a serve process, as the README has it, with keep-alive on both sides; returns the process with its
C<port>. undef where there is no nginx.

=cut

sub nginx
{
	my ($self, %options) = @_;
	my ($program) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
	return unless $program;
	my $folder = $self->_file('nginx_' . ++$started);
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	mkdir $folder or die "$folder: $!";
	append_to_file("$folder/nginx.conf", <<"CONF");
daemon off;
master_process off;
pid $folder/nginx.pid;
error_log $folder/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path $folder/body;
	proxy_temp_path $folder/proxy;
	fastcgi_temp_path $folder/fastcgi;
	uwsgi_temp_path $folder/uwsgi;
	scgi_temp_path $folder/scgi;
	client_header_timeout 3s;
	client_body_timeout 3s;
	keepalive_timeout 3s;
	upstream serve {
		server 127.0.0.1:$options{to}{port};
		keepalive 8;
	}
	server {
		listen 127.0.0.1:$port;
		location / {
			proxy_pass http://serve;
			proxy_http_version 1.1;
			proxy_next_upstream off;
			proxy_set_header Host \$host;
			proxy_set_header Connection "";
			proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto \$scheme;
		}
	}
}
CONF
	my $process = $self->_start('nginx', {}, $program, '-p', $folder, '-e', "$folder/error.log", '-c', "$folder/nginx.conf");
	$process->{port} = $port;
	$self->_wait_for($process, sub { ($self->request('GET', '/healthz', port => $port)->{status} // 0) == 200 });
	return $process;
}

sub _wait_for
{
	my ($self, $process, $works) = @_;
	my $until = time + 30;
	while (!$works->())
	{
		my $ended = $self->ended($process);
		if (defined $ended || time > $until)
		{
			my $log = -e $process->{log} ? slurp_file($process->{log}) : '';
			die "$process->{name} " . (defined $ended ? "ended with $ended" : 'does not work') . ":\n$log";
		}
		sleep 0.05;
	}
}

=head2 ended(process)

Its exit code (128 + the signal) if it has ended, else undef.

=cut

sub ended
{
	my ($self, $process) = @_;
	if (!defined $process->{status} && waitpid($process->{pid}, POSIX::WNOHANG()) == $process->{pid})
	{
		$process->{status} = $? & 127 ? 128 + ($? & 127) : $? >> 8;
		delete $running{ $process->{pid} };
	}
	return $process->{status};
}

=head2 stop(process, signal = 'TERM', seconds = 30)

Sends the signal and waits for the end; returns the exit code (128 + the signal). Kills what does not end in time.

=cut

sub stop
{
	my ($self, $process, $signal, $seconds) = @_;
	my $until = time + ($seconds // 30);
	kill $signal // 'TERM', $process->{pid} unless defined $self->ended($process);
	while (!defined $self->ended($process))
	{
		if (time > $until)
		{
			diag "$process->{name} (process $process->{pid}) does not end; killing it";
			kill 'KILL', $process->{pid};
			$until = time + 5;
		}
		sleep 0.02;
	}
	return $process->{status};
}

=head2 log(process)

What it has written so far.

=cut

sub log
{
	my ($self, $process) = @_;
	return slurp_file($process->{log});
}

=head1 HTTP

=head2 request(method, target, port => ..., headers => { ... }, body => ..., timeout => 15)

One request on a connection of its own, to the serve process started last. Returns status (undef when there was no
answer: see error), headers (by lower-case name), body, and json when the body is JSON.

=cut

sub request
{
	my ($self, $method, $target, %options) = @_;
	my $port = $options{port} // $self->{port};
	my $body = $options{body};
	my $headers = join '', map { "$_: $options{headers}{$_}\r\n" } sort keys %{ $options{headers} // {} };
	$headers .= 'Content-Length: ' . length($body) . "\r\n" if defined $body;
	return $self->raw("$method $target HTTP/1.1\r\nHost: 127.0.0.1:$port\r\n${headers}Connection: close\r\n\r\n" . ($body // ''),
		%options, port => $port);
}

=head2 raw(bytes, port => ..., timeout => 15)

The same for bytes that are sent just as they are; reads until the other side closes.

=cut

sub raw
{
	my ($self, $bytes, %options) = @_;
	my $until = time + ($options{timeout} // 15);
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $options{port} // $self->{port}, Timeout => 5)
	  or return { error => "connect: $!" };
	my $select = IO::Select->new($socket);
	syswrite $socket, $bytes;
	my $answer = '';
	while (1)
	{
		return { error => 'timeout', raw => $answer } if time > $until;
		next unless $select->can_read(0.5);
		my $count = sysread $socket, $answer, 65536, length $answer;
		return { error => "read: $!", raw => $answer } unless defined $count;
		last if $count == 0;
	}
	return { error => 'closed without an answer', raw => $answer }
	  unless $answer =~ m{\AHTTP/1\.\d (\d{3})[^\r\n]*\r\n(.*?)\r\n\r\n(.*)\z}s;
	my ($status, $head, $body) = ($1, "$2\r\n", $3);
	my %headers = map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $head;
	my $length = $headers{'content-length'};
	return { error => 'cut short', raw => $answer } if defined $length && length $body < $length;
	my $reply = { status => $status, headers => \%headers, body => $body };
	$reply->{json} = eval { JSON::PP->new->utf8->decode($body) } if ($headers{'content-type'} // '') =~ /json/;
	return $reply;
}

# A URL's query made of names and values, in their order.
sub query
{
	my @pairs;
	while (@_)
	{
		my ($name, $value) = splice @_, 0, 2;
		s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge for $name, $value;
		push @pairs, "$name=$value";
	}
	return join '&', @pairs;
}

=head2 postback(token, name => value, ...), click(link, name => value, ...)

GET /p/TOKEN?..., GET /c/LINK?...

=cut

sub postback
{
	my ($self, $token, @parameters) = @_;
	return $self->request('GET', "/p/$token?" . query(@parameters));
}

sub click
{
	my ($self, $link, @parameters) = @_;
	return $self->request('GET', "/c/$link" . (@parameters ? '?' . query(@parameters) : ''));
}

=head2 load(name => value, ...)

Runs tests/bench/load.c with these options (port: that of the serve process started last); returns its figures, or
C<error>, what it complained of: an answer of another status than expected, a broken connection, silence.
load_start(...) only starts it; load_end of what it returns waits for the end.

=cut

sub load { my ($self, %options) = @_; return $self->load_end($self->load_start(%options)) }

sub load_start
{
	my ($self, %options) = @_;
	$options{port} //= $self->{port};
	my $errors = $self->_file(sprintf 'load_%d.log', ++$started);
	my $pid = open(my $from, '-|') // die "fork: $!";
	if ($pid == 0)
	{
		open STDERR, '>', $errors;
		{ exec { "$ENV{POSTBACK_PROGRAMS}/load" } 'load', map { ("--$_" => $options{$_}) } sort keys %options };
		POSIX::_exit(127);
	}
	return { from => $from, errors => $errors };
}

sub load_end
{
	my ($self, $load) = @_;
	my $text = do { local $/; readline $load->{from} } // '';
	return { error => slurp_file($load->{errors}) || "load ended with $?" } unless close $load->{from};
	return { map { split /=/, $_, 2 } split ' ', $text };
}

=head2 memory(process id)

What it holds of its own, in KiB: the present size without what is shared (now), and the most that its whole size has
ever been (peak).

=cut

sub memory
{
	my ($self, $pid) = @_;
	my $status = slurp_file("/proc/$pid/status");
	my ($now) = $status =~ /^RssAnon:\s*(\d+)/m;
	my ($peak) = $status =~ /^VmHWM:\s*(\d+)/m;
	return { now => $now, peak => $peak };
}

=head2 metric(process, name)

The value of a metric, with its labels; 0 when there is none such.

=cut

sub metric
{
	my ($self, $process, $name) = @_;
	my ($value) = ($self->request('GET', '/metrics', port => $process->{metrics})->{body} // '') =~ /^\Q$name\E (\S+)$/m;
	return $value // 0;
}

=head2 curl(arguments)

Standard output of curl -sS with these arguments.

=cut

sub curl
{
	my ($self, @arguments) = @_;
	my ($out, $err) = run_command([ 'curl', '-sS', '-m', '30', @arguments ]);
	diag $err if $err ne '';
	return $out;
}

=head1 The publisher's server

=head2 receiver(behaviour, ...)

Starts one; the behaviours are those of tests/house/receiver, one per request, the last for all that follow. Methods:
url, received (list of hash references: time answer method target headers body, and query, the decoded parameters),
behave(behaviour, ...), stop.

=cut

sub receiver
{
	my ($self, @behaviour) = @_;
	my $base = $self->_file(sprintf 'receiver_%s_%d', $self->{node}->name, ++$self->{receivers});
	my $receiver = bless { test => $self, record => "$base.received", behaviour => "$base.behaviour" }, 'PostbackTest::Receiver';
	$receiver->behave(@behaviour);
	append_to_file($receiver->{record}, '');
	my $process = $receiver->{process} = $self->_start('receiver', {}, $^X, _environment('POSTBACK_RECEIVER'), '--record',
		$receiver->{record}, '--behaviour', $receiver->{behaviour});
	$self->_wait_for($process,
		sub { -e $process->{log} && slurp_file($process->{log}) =~ /^listening on (\d+)$/m && ($receiver->{port} = $1) });
	return $receiver;
}

=head2 nameserver(line, ...)

Starts a name server with a zone of these lines; see tests/t/lib/nameserver. Methods: address ("127.0.0.1:PORT"), zone(line, ...) for
other lines from now on, queries (list of "TYPE NAME udp|tcp"; beside them "connection", one over TCP).

=cut

sub nameserver
{
	my ($self, @lines) = @_;
	my $base = $self->_file(sprintf 'nameserver_%d', ++$self->{nameservers});
	my $server = bless { zone => "$base.zone", record => "$base.queries" }, 'PostbackTest::Nameserver';
	$server->zone(@lines);
	append_to_file($server->{record}, '');
	my $process = $server->{process} = $self->_start('nameserver', {}, $^X, __FILE__ =~ s{[^/]+$}{nameserver}r, '--zone',
		$server->{zone}, '--record', $server->{record});
	$self->_wait_for($process,
		sub { -e $process->{log} && slurp_file($process->{log}) =~ /^listening on (\d+)$/m && ($server->{port} = $1) });
	return $server;
}

=head2 finish()

Stops what runs, the server last, and ends the test.

=cut

sub finish
{
	my ($self) = @_;
	$self->stop($_) for grep { !defined $self->ended($_) } reverse @{ $self->{processes} };
	$self->{node}->stop;
	done_testing();
}

package PostbackTest::Session;

use strict;
use warnings;

use PostgreSQL::Test::Utils;

sub alive { return $_[0]{alive} }

sub run
{
	my ($self, $output, @lines) = @_;
	return undef unless $self->{alive};
	open my $file, '>', "$self->{base}.sql" or die "$self->{base}.sql: $!";
	print $file map { "$_\n" } @lines;
	close $file or die $!;
	local $SIG{PIPE} = 'IGNORE';
	my $start = -s "$self->{base}.errors" || 0;
	syswrite $self->{to}, "\\o $output\n\\i $self->{base}.sql\n\\o\n\\echo done\n";
	my $answer = readline $self->{from};
	$self->{alive} = 0 unless defined $answer && $answer eq "done\n";
	my %failed;
	open my $errors, '<', "$self->{base}.errors" or die $!;
	seek $errors, $start, 0;
	while (<$errors>)
	{
		$failed{$1} //= $2 if /^psql:.*\.sql:(\d+): (?:ERROR|FATAL|PANIC):\s+(\w{5})/;
	}
	return $self->{alive} ? \%failed : undef;
}

sub end
{
	my ($self) = @_;
	close $self->{to};
	waitpid $self->{pid}, 0;
	delete $running{ $self->{pid} };
	$self->{alive} = 0;
}

package PostbackTest::Receiver;

use strict;
use warnings;

use JSON::PP ();
use PostgreSQL::Test::Utils;

sub url { return "http://127.0.0.1:$_[0]{port}" }

sub behave
{
	my ($self, @behaviour) = @_;
	PostbackTest::replace_file($self->{behaviour}, @behaviour);
}

sub received
{
	my ($self) = @_;
	my @records = map { JSON::PP->new->decode($_) } grep { /\S/ } split /\n/, slurp_file($self->{record});
	for my $record (@records)
	{
		my ($query) = $record->{target} =~ /\?(.*)/;
		for (split /&/, $query // '')
		{
			my ($name, $value) = map { s/\+/ /gr =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ger } split /=/, $_, 2;
			$record->{query}{$name} = $value;
		}
	}
	return @records;
}

sub stop
{
	my ($self) = @_;
	return $self->{test}->stop($self->{process});
}

package PostbackTest::Nameserver;

use strict;
use warnings;

use PostgreSQL::Test::Utils;

sub address { return "127.0.0.1:$_[0]{port}" }

sub zone
{
	my ($self, @lines) = @_;
	PostbackTest::replace_file($self->{zone}, @lines);
}

sub queries
{
	my ($self) = @_;
	return split /\n/, slurp_file($self->{record});
}

1;
