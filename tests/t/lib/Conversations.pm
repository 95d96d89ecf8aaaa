# Conversations: many raw TCP conversations at once from one process, for tests that need more than one connection or say
# what HTTP does not allow. Each is a hash reference: what to say goes in, what was heard and how it ended comes out.
package Conversations;

use strict;
use warnings;

use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use Exporter 'import';
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

our @EXPORT = qw(converse_all dial statuses);

=head2 dial(port)

A connected, non-blocking socket.

=cut

sub dial
{
	my ($port) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10) or die "connect: $!";
	setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
	$socket->blocking(0);
	return $socket;
}

=head2 statuses(conversation)

The statuses answered, in order, as one text: "200 400".

=cut

sub statuses { return join ' ', $_[0]{heard} =~ m{HTTP/1\.1 ([2-9]\d\d) }g }

=head2 converse_all(conversations, concurrency => 64, seconds => 10)

Has them all, so many at a time. Of each is read: C<port>; C<pieces>, sent one after the other, with C<pause> seconds
(0.004) in between so that they arrive one by one; C<answers>, after so many of which it is over (else when the other
side closes, or so many C<seconds> are up). It then has C<heard>, the bytes; C<state>: "closed" by the other side,
"answered", or "open" when the time was up; C<seconds> that it took from the first byte sent.

=cut

sub converse_all
{
	my ($conversations, %options) = @_;
	my $concurrency = $options{concurrency} // 64;
	my $seconds = $options{seconds} // 10;
	my @waiting = @$conversations;
	my %live;
	local $SIG{PIPE} = 'IGNORE';

	while (@waiting || %live)
	{
		_begin(\%live, shift @waiting) while @waiting && keys %live < $concurrency;
		my ($now, $readable, $writable) = (time, '', '');
		for my $number (keys %live)
		{
			my $c = $live{$number};
			vec($readable, $number, 1) = 1;
			vec($writable, $number, 1) = 1 if @{ $c->{left} } && $c->{speaks_at} <= $now;
		}
		select $readable, $writable, undef, 0.003;
		$now = time;
		for my $number (keys %live)
		{
			my $c = $live{$number};
			_speak($c, $now) if vec($writable, $number, 1);
			_listen($c) if vec($readable, $number, 1);
			$c->{state} //= 'open' if $now - $c->{began} > $seconds;
			next unless defined $c->{state};
			$c->{seconds} = $now - $c->{began};
			close delete $c->{socket};
			delete $live{$number};
		}
	}
	return @$conversations;
}

sub _begin
{
	my ($live, $c) = @_;
	$c->{socket} = dial($c->{port});
	$c->{left} = [ @{ $c->{pieces} } ];
	$c->{heard} = '';
	$c->{speaks_at} = $c->{began} = time;
	delete $c->{state};
	$live->{ fileno $c->{socket} } = $c;
	return;
}

# The next piece, or as much of it as is taken. Who is not listened to any more still listens.
sub _speak
{
	my ($c, $now) = @_;
	my $count = syswrite $c->{socket}, $c->{left}[0];
	if (!defined $count)
	{
		$c->{left} = [] unless $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
		return;
	}
	substr $c->{left}[0], 0, $count, '';
	return if length $c->{left}[0];
	shift @{ $c->{left} };
	$c->{speaks_at} = $now + ($c->{pause} // 0.004);
	return;
}

sub _listen
{
	my ($c) = @_;
	my $count = sysread $c->{socket}, $c->{heard}, 65536, length $c->{heard};
	if (defined $count ? $count == 0 : $! != EAGAIN && $! != EWOULDBLOCK && $! != EINTR)
	{
		$c->{state} = 'closed';
	}
	elsif ($c->{answers})
	{
		$c->{state} = 'answered' if _whole_answers($c->{heard}) >= $c->{answers};
	}
	return;
}

sub _whole_answers
{
	my ($heard) = @_;
	my $count = 0;
	while ($heard =~ /\G.*?\r\n\r\n/gsc)
	{
		my $head = $&;
		my ($length) = $head =~ /^Content-Length: *(\d+)/mi;
		my $at = pos($heard) + ($length // 0);
		last if $at > length $heard;
		pos($heard) = $at;
		$count++;
	}
	return $count;
}

1;
