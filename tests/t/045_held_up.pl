# A sender that was held up, here because nobody reads its log, sends nothing whose lease may have ended meanwhile: a
# second sender has it by then. Once an answer of the name server that had waited all the while made it send.

use strict;
use warnings;

use Fcntl;
use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX ();
use PostbackTest;
use Test::More;
use Time::HiRes qw(sleep);

my $t = PostbackTest->new;
my %p = $t->programme;
my $receiver = $t->receiver('200');
my $names = $t->nameserver('shop.example 127.0.0.1');
my @flags = ('--lease', '20', '--dns-server', $names->address);

sub callback
{
	my ($name, $url) = @_;
	return $t->sql("SELECT postback.create_callback(name => '$name', url => '$url/$name?order={order_id}', brand => '$p{brand}', statuses => '{pending}')");
}

sub order
{
	my ($order, $claims) = @_;
	my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");
	$t->sql("SELECT outcome FROM postback.receive('$p{token}', 'order=$order&value=1000&click_id=$click')");
	$t->wait_until("order $order is claimed", "SELECT count(leased_until) >= $claims FROM postback.delivery_due_now");
}

# A log that is a pipe: read by nobody when it is to hold the sender up.
my $pipe = $t->_file('pipe');
POSIX::mkfifo($pipe, 0600) or die "$pipe: $!";
sysopen my $log, $pipe, O_RDWR | O_NONBLOCK or die "$pipe: $!";
my $wrapper = $t->_file('writes_into_a_pipe');
open my $handle, '>', $wrapper or die "$wrapper: $!";
print $handle "#!/bin/sh\nexec '$ENV{POSTBACKD}' \"\$@\" 2>'$pipe'\n";
close $handle;
chmod 0755, $wrapper;
my $first;
{
	local $ENV{POSTBACKD} = $wrapper;
	$first = $t->send(flags => [ @flags, '--log-level', 'debug', '--sender', 'first' ]);
}

# It asks for a name, and the answer is still to come when it is held up.
callback('named', 'http://shop.example:' . $receiver->{port});
kill 'STOP', $names->{process}{pid};
order('A', 1);

# What it writes a line about comes between two that it is to send: one is begun before that, one after it.
1 while syswrite $log, 'x' x 4096;
1 while syswrite $log, 'x';
callback('begun', $receiver->url);
callback('forbidden', 'http://192.168.0.1');
callback('next', 'http://localhost:' . $receiver->{port});
order('B', 4);
kill 'CONT', $names->{process}{pid};
sleep 1;

my $second = $t->send(flags => [ @flags, '--sender', 'second' ]);
$t->wait_until('a second sender delivers all of it when the leases have ended',
	q{SELECT count(*) = 4 FROM postback.delivery WHERE state = 'delivered'});

# Now somebody reads the log.
sub read_log { 1 while sysread $log, my $line, 65536 }
read_log();
$t->wait_until('the first one goes on', sub { read_log(); $t->metric($first, 'postbackd_send_unsettled') eq '0' });
sleep 2;
my %received;
$received{"$_->{target}"}++ for $receiver->received;
is_deeply(\%received, { '/named?order=A' => 1, '/named?order=B' => 1, '/begun?order=B' => 1, '/next?order=B' => 1 },
	'nothing was sent twice');
read_log();
is($t->stop($second), 0, 'the second sender is well');
is($t->stop($first), 0, 'the first sender is well');

$t->finish;
