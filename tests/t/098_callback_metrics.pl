# How callbacks fare, in the sender's /metrics: what is shown of known attempts and a known queue, line by line.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;
my %callback;
for my $name (qw(idle well ill off))
{
	$callback{$name} =
	  $t->sql("SELECT postback.create_callback(name => '$name', url => 'https://$name.example/', brand => '$p{brand}')");
}

# Attempts of a callback that began so many minutes ago, a millisecond from one to the next; n counts them.
sub attempts
{
	my ($name, $minutes, $count, $outcome, $milliseconds) = @_;
	$t->sql("INSERT INTO postback.attempt (id, brand_id, delivery_id, callback_id, number, sender, outcome, milliseconds)
		SELECT postback.ulid_floor(now() - interval '$minutes minutes' + n * interval '1 ms'), '$p{brand}', postback.new_ulid(),
		       '$callback{$name}', 1, 'test', '$outcome', $milliseconds
		FROM generate_series(1, $count) n");
}

# One that is in the queue, due for so many seconds, and out of the sender's reach.
sub queued
{
	my ($name, $seconds) = @_;
	$t->sql("INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at, attempt_id, leased_until)
		VALUES (postback.new_ulid(), '$callback{$name}', 1, '$name.example:443', now() - interval '$seconds s', postback.new_ulid(),
		        now() + interval '1 day')");
}

attempts('well', 70, 1, 'error', '9000');      # longer ago than is shown
attempts('well', 50, 1, 'blocked', '1');
attempts('well', 40, 199, 'success', 'n');
attempts('ill', 51, 1, 'success', '1500');
attempts('ill', 41, 2, 'failure', '200');
attempts('ill', 20, 1, 'error', '10000');
queued('ill', 90);
queued('ill', 30);
queued('ill', -3600);
$t->sql("UPDATE postback.callback SET failing_since = now() - interval '40 minutes' WHERE id = '$callback{ill}'");
$t->sql("UPDATE postback.callback SET failing_since = now() - interval '3 days', enabled = false WHERE id = '$callback{off}'");

# What a sender shows of callbacks: its lines, once there are any.
sub scrape
{
	my ($sender) = @_;
	return grep { /postback_callback/ } split /\n/, $t->request('GET', '/metrics', port => $sender->{metrics})->{body} // '';
}

sub shown
{
	my ($sender) = @_;
	my @lines;
	$t->wait_until('callbacks are shown', sub { @lines = scrape($sender) });
	return @lines;
}

# Names instead of ids; seconds that pass while the test runs, at most two minutes of them, as they were at its beginning.
sub settled
{
	my %name = reverse %callback;
	return map {
		my $line = s/callback="([0-9A-Z]{26})"/'callback="ID of ' . ($name{$1} \/\/ 'none') . '"'/er;
		$line =~ s{^(\w+_(?:age_seconds|failing_seconds|overdue_seconds)\{.* )(\d+)$}{
			my ($what, $value) = ($1, $2);
			my ($since) = grep { $value >= $_ && $value < $_ + 120 } 90, 1200, 2400, 3000, 259200;
			$what . ($since // $value)}e;
		$line;
	} @_;
}

sub family
{
	my ($name, $help, @samples) = @_;
	return ("# HELP $name $help", "# TYPE $name gauge", map { "$name$_" } @samples);
}

# Of these callbacks the value each has, with further labels.
sub of
{
	my ($labels, %value) = @_;
	return map { exists $value{$_} ? "{callback=\"ID of $_\",name=\"$_\"$labels} $value{$_}" : () } qw(ill well idle off);
}

my @all = (
	family('postback_callbacks', 'Callbacks; those that fail are counted among the enabled ones too.',
		'{state="enabled"} 3', '{state="failing"} 1', '{state="disabled"} 1'),
	family('postback_callback_enabled', '1, or 0 if it is disabled.', of('', ill => 1, well => 1, idle => 1, off => 0)),
	family('postback_callback_attempts', 'Attempts of the last hour.', of('', ill => 4, well => 200, idle => 0, off => 0)),
	family('postback_callback_success_ratio', 'Share of them that succeeded, 0 to 1.', of('', ill => '0.2500', well => '0.9950')),
	family('postback_callback_attempt_seconds', 'How long they took.',
		of(',quantile="0.5"', ill => '0.200', well => '0.099'), of(',quantile="0.99"', ill => '10.000', well => '0.197')),
	family('postback_callback_streak', 'Attempts without success in a row, up to now, of the last hour.',
		of('', ill => 3, well => 0, idle => 0, off => 0)),
	family('postback_callback_last_error_age_seconds', 'Since the last attempt without success, of the last hour.',
		of('', ill => 1200, well => 3000)),
	family('postback_callback_failing_seconds', 'Since the first attempt without success after the last success.',
		of('', ill => 2400, off => 259200)),
	family('postback_callback_queued', 'Deliveries that are not finished.', of('', ill => 3, well => 0, idle => 0, off => 0)),
	family('postback_callback_overdue_seconds', 'Since the oldest delivery that still waits fell due.', of('', ill => 90, well => 0, idle => 0, off => 0)));

# Those of them that are of these callbacks, or of none.
sub only
{
	my (%wanted) = map { $_ => 1 } @_;
	return grep { !/name="(\w+)"/ || $wanted{$1} } @all;
}

my $send = $t->send;
is_deeply([ settled(shown($send)) ], \@all, 'what is shown, the failing first, then the busiest');
scrape($send) for 1 .. 5;
is($t->metric($send, 'postbackd_database_calls_total{statement="health",outcome="done"}'), 1, 'the database is not asked at each look');
is($t->stop($send), 0, 'the sender is well');

for my $places ([ 1, 'ill' ], [ 2, 'ill', 'well' ])
{
	my ($count, @names) = @$places;
	$send = $t->send(flags => [ '--metrics-callbacks', $count ]);
	is_deeply([ settled(shown($send)) ], [ only(@names) ], "places for $count, and all are counted");
	is($t->stop($send), 0, 'the sender is well');
}

$send = $t->send(flags => [ '--metrics-callbacks', 0 ]);
sleep 1;
is_deeply([ scrape($send) ], [], 'with no place nothing is shown');
is($t->metric($send, 'postbackd_database_calls_total{statement="health",outcome="done"}'), 0, 'nor asked');
is($t->stop($send), 0, 'the sender is well');

# However many there are, the newest 100,000 are looked at.
attempts('well', 30, 100_001, 'success', '5');
is($t->sql('SELECT sum(attempts) FROM postback.callback_metrics(50)'), '100000', 'of many attempts the newest');
$t->finish;
