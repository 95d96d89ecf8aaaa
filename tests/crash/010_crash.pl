# Load and kill -9: postmaster, backends, serve and send, at random; what was acknowledged is there, once, and the
# publisher has been told of it. "make crash KILLS=500 SEED=1 RATE=4000"; 25 kills in make check.

use strict;
use warnings;

use Crash;
use Test::More;

my $kills = $ENV{KILLS} || 25;
my $seed = $ENV{SEED} || time % 1_000_000;
my $start = time;

diag "make crash KILLS=$kills SEED=$seed";
my $crash = Crash->new(seed => $seed, $ENV{RATE} ? (rate => $ENV{RATE}) : ());
while ($kills > 0)
{
	my $count = $kills > 50 ? 50 : $kills;
	my @violations = $crash->round(kills => $count, finish => 1);
	is(join("\n", @violations), '', "$count kills, and everything is as the client's log says") or last;
	$kills -= $count;
}
diag $_ for $crash->summary;
diag sprintf '%d seconds in all', time - $start;
$crash->finish;
done_testing();
