# https: the server must show a certificate of its host's name from somebody who is trusted, over TLS 1.2 or later.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PostbackTest;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir();
my %server;

END
{
	local $?;
	kill 'KILL', $_->{pid} and waitpid $_->{pid}, 0 for values %server;
}

sub openssl
{
	my @arguments = @_;
	my ($out, $err) = run_command([ 'openssl', @arguments ]);
	die "openssl @arguments: $err" unless $? == 0;
	return;
}

# A key and a certificate for the subject alternative names; signed by the authority, or by itself.
sub certificate
{
	my ($name, $subject, $authority) = @_;
	my @key = ('-newkey', 'rsa:2048', '-nodes', '-keyout', "$directory/$name.key", '-subj', "/CN=$name");
	if (!$authority)
	{
		openssl('req', '-x509', @key, '-out', "$directory/$name.pem", '-days', 2, $subject ? ('-addext', "subjectAltName=$subject") : ());
		return;
	}
	PostgreSQL::Test::Utils::append_to_file("$directory/$name.extensions", "subjectAltName=$subject\n");
	openssl('req', @key, '-out', "$directory/$name.request");
	openssl('x509', '-req', '-in', "$directory/$name.request", '-CA', "$directory/$authority.pem", '-CAkey', "$directory/$authority.key",
		'-CAcreateserial', '-days', 2, '-extfile', "$directory/$name.extensions", '-out', "$directory/$name.pem");
	return;
}

# Answers every GET with 200.
sub server
{
	my ($name, $certificate, @flags) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$directory/$name.log";
		open STDERR, '>&', \*STDOUT;
		{ exec 'openssl', 's_server', '-www', '-accept', "127.0.0.1:$port", '-cert', "$directory/$certificate.pem", '-key', "$directory/$certificate.key", @flags };
		POSIX::_exit(127);
	}
	$server{$name} = { pid => $pid, port => $port };
	return;
}

certificate('authority');
certificate('ours', 'IP:127.0.0.1', 'authority');
certificate('another', 'DNS:another.example,IP:127.0.0.2', 'authority');
certificate('nobodys', 'IP:127.0.0.1');
server('good', 'ours');
server('another name', 'another');
server('nobody knows it', 'nobodys');
server('old', 'ours', '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0');

my $t = PostbackTest->new;
my %p = $t->programme;

# What comes of a delivery to each: its state and the error.
sub deliver
{
	my ($sender) = @_;
	my %came;
	for my $name (sort keys %server)
	{
		my $id = $t->sql("SELECT postback.send_test(postback.create_callback(name => '$name', brand => '$p{brand}',
			url => 'https://127.0.0.1:$server{$name}{port}/', auth => '{\"type\":\"bearer\",\"token\":\"t0ken\"}'))");
		$t->wait_until("one to: $name", "SELECT attempts > 0 FROM postback.delivery WHERE id = '$id'");
		$came{$name} = $t->sql("SELECT outcome, http_code, error FROM postback.attempt WHERE delivery_id = '$id' ORDER BY number LIMIT 1");
	}
	is($t->stop($sender), 0, 'the sender is well');
	return \%came;
}

my $came;
{
	local $ENV{SSL_CERT_FILE} = "$directory/authority.pem";
	$came = deliver($t->send);
}
is($came->{good}, 'success|200|', 'a certificate of that name from one who is trusted');
like($came->{'another name'}, qr/^error\|\|.*subject name does not match|^error\|\|.*no alternative certificate subject name/, 'not one of another name');
like($came->{'nobody knows it'}, qr/^error\|\|.*certificate/, 'nor one that it made itself');
like($came->{old}, qr/^error\|\|.*(?:protocol|version)/, 'nor TLS 1.1');

delete $ENV{SSL_CERT_FILE};
$came = deliver($t->send);
like($came->{good}, qr/^error\|\|.*certificate/, 'who is not among the system\'s is not trusted unless named');
$t->finish;
