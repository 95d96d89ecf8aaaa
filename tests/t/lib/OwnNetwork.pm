# OwnNetwork: a network for one test, where every address of IPv4 and IPv6 is this machine's, on every port, and nothing leads out.
# Using it runs the script again in a network namespace of its own; it must be used before PostbackTest. Nobody needs to be root
# for that, and the user stays the same. Where namespaces are not allowed, $missing has the reason and the script goes on as it is.
#
#     use OwnNetwork;
#     note $OwnNetwork::missing if $OwnNetwork::missing;
#     my $connections = OwnNetwork::tcp_opens() - $before;
package OwnNetwork;

use strict;
use warnings;

our $missing = '';

my $enter = <<'SH';
ip link set lo up && ip route add local default dev lo && ip -6 route add local default dev lo &&
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start &&
exec unshare --user --map-user="$0" --map-group="$1" -- env "$@"
SH

sub import
{
	return if $ENV{POSTBACK_OWN_NETWORK};
	my $user = $>;
	my ($group) = split ' ', $);
	# PATH of Debian's ordinary users has no sbin, where ip is.
	my @command = ('env', "PATH=$ENV{PATH}:/usr/sbin:/sbin", 'unshare', '--map-root-user', '--net', 'sh', '-c',
		$enter =~ s/"\$0"/$user/r =~ s/"\$1"/$group/r, 'sh', 'POSTBACK_OWN_NETWORK=1');
	open my $said, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', @command, 'true' or die "sh: $!\n";
	$missing = join '', <$said>;
	return if !close $said && ($missing = "no network of its own: $missing");
	exec @command, $^X, (map { "-I$_" } grep { !ref } @INC), $0, @ARGV or die "unshare: $!\n";
}

# How often a TCP connection was begun in this network, be it that nobody answered.
sub tcp_opens
{
	open my $handle, '<', '/proc/net/snmp' or die "/proc/net/snmp: $!\n";
	my ($names, $values) = map { [split] } grep { /^Tcp:/ } <$handle>;
	my %tcp;
	@tcp{@$names} = @$values;
	return $tcp{ActiveOpens};
}

1;
