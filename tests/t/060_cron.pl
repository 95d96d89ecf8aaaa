# Real pg_cron approves what is due, within its minute, and nothing else; it drops what is past its retention, and nothing else.

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

# The past, for the retention of each table: partitions as they were made then, rows in them, rows that came without one.
# Clicks are kept for 400 days, their details for 30, deliveries for 90 (README).
$t->sql("SELECT postback.keep_partitions(now() - interval '1 day' * d) FROM unnest('{500,450,110,100,40}'::int[]) d");
sub id { return "postback.ulid_floor(now() - interval '$_[0] days')" }
my %old = map { ($_ => $t->sql('SELECT ' . id($_))) } 1000, 500, 410, 390, 110, 100, 80, 40, 28, 20;
$t->sql("INSERT INTO postback.click (id, brand_id, offer_id, publisher_id) VALUES ('$old{$_}', '$long{brand}', '$long{offer}', '$long{publisher}'); "
	  . "INSERT INTO postback.click_detail (id, brand_id, ip) VALUES ('$old{$_}', '$long{brand}', '192.0.2.1'); "
	  . "INSERT INTO postback.receipt (id, brand_id, token_id, method, http_status, milliseconds) VALUES ('$old{$_}', '$long{brand}', '$old{$_}', 'GET', 200, 1)")
  for sort keys %old;
my $disabled = $t->sql("SELECT postback.create_callback(name => 'disabled', url => 'http://p.example/', brand => '$long{brand}')");
$t->sql("UPDATE postback.callback SET enabled = false WHERE id = '$disabled'");
$t->sql("INSERT INTO postback.delivery (id, brand_id, callback_id, method, url, due_at) VALUES ('$old{$_}', '$long{brand}', '$disabled', 'GET', 'http://p.example/', now()); "
	  . "INSERT INTO postback.attempt (id, brand_id, delivery_id, callback_id, number, sender, outcome) VALUES ('$old{$_}', '$long{brand}', '$old{$_}', '$disabled', 1, 's', 'error')")
  for sort keys %old;
$t->sql("INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at) SELECT d, '$disabled', 1, 'p.example:80', 'infinity' "
	  . "FROM unnest('{$old{1000},$old{110}}'::postback.ulid[]) d");
$t->wait_until('the reports have counted them', "SELECT postback.roll_up() > now() - interval '1 minute'");
my $ledgers = $t->sql("SELECT count(*) FROM postback.partition_bounds('postback.ledger')");

$t->sql('SELECT postback.schedule_jobs()');
$t->sql('SELECT postback.schedule_jobs()');
is($t->sql(q{SELECT count(*), min(schedule), min(command) FROM cron.job WHERE jobname = 'postback_keep_partitions'}),
	'1|7 * * * *|SELECT postback.keep_partitions()', 'keep_partitions is scheduled for each hour, once');
# schedule_jobs() has called it too, so that there is something left for cron: put it back.
$t->sql("SELECT postback.keep_partitions(now() - interval '500 days'); "
	  . "INSERT INTO postback.click (id, brand_id, offer_id, publisher_id) VALUES ('$old{500}', '$long{brand}', '$long{offer}', '$long{publisher}')");
is($t->sql("SELECT tableoid::regclass::text ~ '_p' FROM postback.click WHERE id = '$old{500}'"), 't', 'a click of 500 days ago is in a partition of that time');
# The same job, each minute instead of each hour.
$t->sql(q{SELECT cron.alter_job(jobid, schedule => '* * * * *') FROM cron.job WHERE jobname = 'postback_keep_partitions'});
is($t->sql(q{SELECT count(*), min(schedule) FROM cron.job WHERE command ~ 'approve_due'}),
	'1|* * * * *', 'approve_due is scheduled for each minute, once');

$t->wait_until('cron approves what is due', "SELECT count(*) = 5 FROM postback.conversion WHERE status = 'approved' AND order_ref LIKE 'DUE-%'", 90);
is($t->sql("SELECT status FROM postback.conversion WHERE order_ref = 'LATER'"), 'pending', 'and leaves what is held');
is($t->sql("SELECT DISTINCT actor FROM postback.history WHERE to_status = 'approved'"), 'cron', 'the history names cron');
$t->wait_until('the publisher is told of each', sub { scalar($publisher->received) == 5 }, 30);
$t->wait_until('the job has succeeded',
	q{SELECT count(*) > 0 FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE j.command ~ 'approve_due' AND d.status = 'succeeded'});
$t->wait_until('cron drops what is past its retention', "SELECT count(*) = 0 FROM postback.click WHERE id = '$old{500}'", 90);
is($t->sql("SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'"), '0', 'no job has failed');

# Which of the rows made so many days ago are there.
sub left
{
	my ($table) = @_;
	my %by_id = reverse %old;
	return join ' ', sort { $b <=> $a } map { $by_id{$_} } split /\n/, $t->sql("SELECT id FROM postback.$table WHERE id IN ('" . join("', '", values %old) . "')");
}
is(left('click'), '390 110 100 80 40 28 20', 'clicks are there for 400 days');
is(left('click_detail'), '28 20', 'their details for 30');
is(left('receipt'), '390 110 100 80 40 28 20', 'receipts for 400');
is(left('delivery'), '1000 110 80 40 28 20', 'deliveries for 90, and those that are still to be sent');
is(left('attempt'), '80 40 28 20', 'attempts for 90');
is($t->sql("SELECT count(*) FROM postback.delivery_due WHERE callback_id = '$disabled'"), '2', 'nothing is taken out of the queue');
is($t->sql("SELECT count(*) FROM postback.partition_bounds('postback.ledger')"), $ledgers, 'the ledger for ever');
is($t->sql("SELECT count(*) FROM postback.partition_bounds('postback.click') b WHERE b.lower < postback.ulid_floor(now() - interval '420 days')"), '0', 'no partition is left of what is gone');
is($t->sql(q{SELECT string_agg(DISTINCT p.table_name, ' ' ORDER BY p.table_name) FROM postback.partition_policy p
	WHERE (SELECT max(postback.ulid_time(b.upper)) FROM postback.partition_bounds(format('postback.%I', p.table_name)::regclass) b) > now() + 2 * p.width}),
	'attempt click click_detail delivery history ledger receipt', 'each table has partitions for the time ahead');

# An id of a time that there is no partition for: a click that is gone; one that was restored from elsewhere.
sub call
{
	my ($query) = @_;
	my $receipt = $t->sql("SELECT receipt_id FROM postback.receive('$long{token}', '$query')");
	return ($t->sql("SELECT concat_ws(' ', r.warning, c.attribution) FROM postback.receipt r JOIN postback.conversion c ON c.id = r.conversion_id WHERE r.id = '$receipt'"),
		$t->sql("SELECT concat_ws(': ', detail, outcome) FROM postback.explain('$receipt') WHERE step LIKE '%click%'"));
}
$t->sql("UPDATE postback.offer SET attribution_window = '600 days' WHERE id = '$long{offer}'");
my ($result, $why) = call("order=GONE&value=1000&click_id=$old{500}");
is($result, 'unknown_click_id none', 'a click that was dropped is unknown');
like($why, qr/gone: rows of click are kept for 400 days/, 'and explain says why');
$t->sql("INSERT INTO postback.click (id, brand_id, offer_id, publisher_id) VALUES ('$old{500}', '$long{brand}', '$long{offer}', '$long{publisher}')");
is($t->sql("SELECT tableoid::regclass FROM postback.click WHERE id = '$old{500}'"), 'postback.click_default', 'a row without a partition goes to the default one');
is((call("order=RESTORED&value=1000&click_id=$old{500}"))[0], 'click', 'where it is found');
is($t->sql("SELECT count(*) FROM postback.keep_partitions() WHERE action = 'purged' AND table_name = 'click'"), '0', 'and kept as long as the window needs it');
$t->sql("UPDATE postback.offer SET attribution_window = NULL WHERE id = '$long{offer}'");
is((call("order=OUTSIDE&value=1000&click_id=$old{500}"))[0], 'outside_window none', 'outside the window it is no reason to pay');
is($t->sql("SELECT count(*) FROM postback.keep_partitions() WHERE action = 'purged' AND table_name = 'click'"), '1', 'then it goes');

$t->audit_ok;
$t->finish;
