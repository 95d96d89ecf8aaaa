# The disk is full: that of the tables, and that of the write-ahead log, which crashes the server. The rules are in
# lib/Faults.pm.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use SmallDisk;
use Faults;
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = small_disk();

# Small segments of log, and few of them: the next one is soon needed.
my $t = PostbackTest->new(initdb => ['--wal-segsize=1'], settings => "max_wal_size = 8MB\nmin_wal_size = 2MB\nwal_recycle = off\nrestart_after_crash = on");
my %p = $t->programme;

mkdir "$disk/tables" or die "$disk/tables: $!";
$t->sql("CREATE TABLESPACE small LOCATION '$disk/tables'");
$t->sql('ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE small');
$t->sql('ALTER INDEX ALL IN TABLESPACE pg_default SET TABLESPACE small');
my $serve = $t->serve(flags => [ '--max-connections-per-address', 1000 ]);

is($t->load(connections => 64, requests => 1000, path => "/p/$p{token}?order=WARM-{n}&value=1")->{error}, undef, 'many connections at once');

# There is room for some more orders in pages and segments that are there already.
my $filler = 1;
sub use_up
{
	fill_disk();
	my $result = $t->load(connections => 32, requests => 100_000, path => "/p/$p{token}?order=FILLER-{n}&value=1", from => $filler);
	like($result->{error} // 'there always was room', qr/503 Service Unavailable/, 'there is no room any more');
	$filler += 100_000;
	return;
}

suffer($t, \%p,
	name => 'full disk of the tables', serve => $serve, health => 200, at_least => 32,
	begin => \&use_up,
	lets => '200|503',
	end => \&empty_disk);
like($t->log($serve), qr/sqlstate=53100/, 'that was a full disk (53100)');

# ---- the log ----

$t->sql('ALTER TABLE ALL IN TABLESPACE small SET TABLESPACE pg_default');
$t->sql('ALTER INDEX ALL IN TABLESPACE small SET TABLESPACE pg_default');
$t->sql('DROP TABLESPACE small');
$t->node->stop('fast');
my $log = $t->node->data_dir . '/pg_wal';
system('mv', $log, "$disk/wal") == 0 && symlink "$disk/wal", $log or die "could not move $log";
$t->node->start;
$t->wait_until('serve is connected again', sub { $t->request('GET', '/healthz')->{status} == 200 });

suffer($t, \%p,
	name => 'full disk of the log', serve => $serve, health => '200|503', lets => '200|503', doubt => 1, at_least => 32,
	begin => \&use_up,
	# The server gives up when it cannot even recover; whoever watches over it starts it again.
	end => sub {
		empty_disk();
		$t->node->stop('immediate', fail_ok => 1);
		$t->node->start;
	});
like(slurp_file($t->node->logfile), qr/PANIC: .*No space left on device/, 'that was a full disk');

is($t->ended($serve), undef, 'the daemon has survived all this');
is($t->stop($serve), 0, 'and ends with 0 when told to');
$t->audit_ok;
$t->finish;
