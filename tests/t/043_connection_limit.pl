# Every connection that serve may have is taken: who comes then waits, and is served when one of them ends, whichever way
# they end. Once serve never accepted another one if they all ended at the same instant.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use PostbackTest;
use Test::More;
use Time::HiRes qw(sleep);

my $t = PostbackTest->new;

# Takes many connections, gives all but one of them up in the given way, and is served on that one and on a new one.
sub served_after
{
	my ($serve, $way, $give_up) = @_;
	my @held = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $serve->{port}, Timeout => 5) // die "connect: $!" } 1 .. 40;
	my $last = pop @held;
	sleep 0.2;
	$give_up->(@held);
	undef @held;
	syswrite $last, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	my $answer = '';
	ok(IO::Select->new($last)->can_read(10) && sysread($last, $answer, 4096), "$way: who waited is served");
	like($answer, qr{^HTTP/1.1 200 }, "$way: and well");
	is($t->request('GET', '/healthz', port => $serve->{port})->{status}, 200, "$way: and so is the next one");
}

sub served
{
	my ($serve, $limit) = @_;
	served_after($serve, "$limit, ended one by one", sub { $_->close, sleep 0.02 for @_ });
	# Stopped, it finds them all ended when it goes on.
	served_after($serve, "$limit, ended at once", sub { kill 'STOP', $serve->{pid}; $_->close for @_; kill 'CONT', $serve->{pid} });
	is($t->stop($serve), 0, "$limit: it ends well");
}

served($t->serve(flags => [ '--max-connections', 10 ]), 'as many as --max-connections');

my $wrapper = $t->_file('few_files');
open my $handle, '>', $wrapper or die "$wrapper: $!";
print $handle "#!/bin/sh\nulimit -n 40\nexec '$ENV{POSTBACKD}' \"\$@\"\n";
close $handle;
chmod 0755, $wrapper;
{
	local $ENV{POSTBACKD} = $wrapper;
	served($t->serve, 'as many as there are open files');
}

$t->finish;
