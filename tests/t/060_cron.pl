# Real pg_cron approves what is due: within its minute, and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new;
my $publisher = $t->receiver;
my %short = $t->programme(name => 'Short', hold => '1 second', receiver => $publisher);
my %long = $t->programme(name => 'Long');
$t->send;

my $click = $t->sql("SELECT click_id FROM postback.click('$short{link}')");
$t->sql("SELECT postback.receive('$short{token}', 'order=DUE-$_&value=1000&click_id=$click')") for 1 .. 5;
$click = $t->sql("SELECT click_id FROM postback.click('$long{link}')");
$t->sql("SELECT postback.receive('$long{token}', 'order=LATER&value=1000&click_id=$click')");
is($t->sql("SELECT count(*) FROM postback.conversion WHERE status = 'pending'"), '6', 'nothing is approved by itself');

$t->sql('SELECT postback.schedule_jobs()');
$t->sql('SELECT postback.schedule_jobs()');
is($t->sql(q{SELECT count(*), min(schedule) FROM cron.job WHERE command ~ 'approve_due'}),
	'1|* * * * *', 'approve_due is scheduled for each minute, once');

$t->wait_until('cron approves what is due', "SELECT count(*) = 5 FROM postback.conversion WHERE status = 'approved' AND order_ref LIKE 'DUE-%'", 90);
is($t->sql("SELECT status FROM postback.conversion WHERE order_ref = 'LATER'"), 'pending', 'and leaves what is held');
is($t->sql("SELECT DISTINCT actor FROM postback.history WHERE to_status = 'approved'"), 'cron', 'the history names cron');
$t->wait_until('the publisher is told of each', sub { scalar($publisher->received) == 5 }, 30);
$t->wait_until('the job has succeeded',
	q{SELECT count(*) > 0 FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE j.command ~ 'approve_due' AND d.status = 'succeeded'});
is($t->sql("SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'"), '0', 'no job has failed');

$t->audit_ok;
$t->finish;
