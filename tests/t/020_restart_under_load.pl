# PostgreSQL goes away and comes back under load, once in order and once by a crash. An answer 200 means committed and
# flushed: every order that got one is there afterwards. While the server is away the answer is 503 with Retry-After.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $clients = 8;

my $t = PostbackTest->new;
my %p = $t->programme;
my $serve = $t->serve;
my $results = $PostgreSQL::Test::Utils::tmp_check . '/orders';

# One client: new orders one after the other until it is told to stop; a line "ORDER STATUS RETRY-AFTER" for each.
sub client
{
	my ($number) = @_;
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	open my $log, '>', "$results.$number" or die;
	for (my $i = 1; !$stop; $i++)
	{
		my $order = "C$number-$i";
		my $reply = $t->postback($p{token}, order => $order, value => 1000 + $i);
		printf $log "%s %s %s\n", $order, $reply->{status} // 'none:' . $reply->{error} =~ s/\s+/_/gr,
		  $reply->{headers}{'retry-after'} // '-';
		# As a sender does that was told to come back later.
		sleep 0.02 if ($reply->{status} // 0) != 200;
	}
	close $log;
}

my @pids;
for my $number (1 .. $clients)
{
	my $pid = fork // die;
	if ($pid == 0)
	{
		client($number);
		POSIX::_exit(0);
	}
	push @pids, $pid;
}

sleep 2;
for my $mode ('fast', 'immediate')
{
	$t->node->stop($mode);
	sleep 1.5;
	my $reply = $t->postback($p{token}, order => "AWAY-$mode", value => 1);
	is($reply->{status}, 503, "while the server is away ($mode) the answer is 503");
	is($reply->{json}{code}, 'unavailable', 'its code is "unavailable"');
	like($reply->{headers}{'retry-after'}, qr/^\d+$/, 'it has Retry-After');
	is($t->request('GET', '/healthz')->{status}, 503, 'and healthz is not healthy');
	my $click = $t->click($p{link});
	ok($click->{status} == 302 || $click->{status} == 503, "a visitor gets a redirect or 503 ($click->{status})");
	$t->node->start;
	$t->wait_until('orders are taken again', sub { ($t->postback($p{token}, order => "BACK-$mode", value => 1)->{status} // 0) == 200 });
	sleep 2;
}
kill 'TERM', @pids;
waitpid $_, 0 for @pids;

my (%status, @taken, $without_retry_after);
for my $line (map { split /\n/, slurp_file("$results.$_") } 1 .. $clients)
{
	my ($order, $status, $retry_after) = split / /, $line;
	$status{$status}++;
	push @taken, $order if $status eq '200';
	$without_retry_after++ if $status eq '503' && $retry_after eq '-';
}
note join ', ', map { "$_: $status{$_}" } sort keys %status;
is(join(' ', grep { !/^(200|503)$/ } sort keys %status), '', 'every request was answered, with 200 or 503');
cmp_ok(scalar @taken, '>', 200, 'many orders were taken');
cmp_ok($status{503} // 0, '>', 0, 'some were not');
is($without_retry_after // 0, 0, 'every 503 has Retry-After');

$t->sql('CREATE TABLE taken (order_ref text); INSERT INTO taken VALUES ' . join ',', map { "('$_')" } @taken);
is( $t->sql('SELECT count(*), min(order_ref) FROM taken WHERE NOT EXISTS (SELECT FROM postback.conversion c WHERE c.order_ref = taken.order_ref)'),
	'0|',
	'every order that was answered 200 is there');
is( $t->sql("SELECT count(*) FROM taken t WHERE NOT EXISTS (SELECT FROM postback.receipt r WHERE r.order_ref = t.order_ref AND r.result = 'created')"),
	'0',
	'with its receipt');

is($t->ended($serve), undef, 'the daemon has lived through it all');
is($t->stop($serve), 0, 'and ends with 0 when told to');
$t->audit_ok;
$t->finish;
