# SmallDisk: a test that says "use SmallDisk" before all else runs with a file system of 64 MB of its own, at small_disk().
#
# That needs no privilege: the test is started once more in a user and mount namespace of its own, where it may mount a
# tmpfs that nobody else sees and that goes with it. Where that is not allowed the test is skipped, and says why.
package SmallDisk;

use strict;
use warnings;

use Exporter 'import';
use File::Temp ();
use Test::More;

our @EXPORT = qw(small_disk fill_disk empty_disk);

my $disk = $ENV{POSTBACK_SMALL_DISK};

if (!defined $disk)
{
	# Within a second namespace the user is himself again: PostgreSQL does not run as root.
	my ($group) = split ' ', $);
	my $enter = 'mount -t tmpfs -o size=64m,mode=777 small "$1" && shift && exec unshare --user --map-user="$1" --map-group="$2" "$3" "$4"';
	my @namespace = qw(unshare --user --map-root-user --mount);
	my $complaint = `@namespace sh -c 'mount -t tmpfs small /mnt && unshare --user --map-user=$> true' 2>&1`;
	plan skip_all => 'no small disk can be mounted here: ' . ($complaint =~ s/\s+/ /gr || 'there is no unshare') if $? != 0;
	$ENV{POSTBACK_SMALL_DISK} = File::Temp::tempdir('postback-disk-XXXXXX', DIR => $ENV{TMPDIR} // '/tmp');
	exec @namespace, 'sh', '-c', $enter, 'sh', $ENV{POSTBACK_SMALL_DISK}, $>, $group, $^X, $0;
}

sub small_disk { return $disk }

# What room there is left is taken by one file.
sub fill_disk
{
	open my $ballast, '>', "$disk/ballast" or die "$disk/ballast: $!";
	my $block = 'x' x 4096;
	1 while syswrite $ballast, $block;
	close $ballast;
	return;
}

sub empty_disk { return unlink "$disk/ballast" }

1;
