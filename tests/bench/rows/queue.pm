# The queue of deliveries under what publishers do to it: bad servers among good ones, one publisher with a flood, millions
# that wait, and an hour's traffic through its tables.
#
# Each publisher has an endpoint of its own on the loopback network, 127.0.0.0/8; one receiver answers all of them.

package rows::queue;

use strict;
use warnings;
use List::Util qw(max);
use Time::HiRes qw(sleep time);

my @all = qw(ok hang error reset endless unknown);
my %database = (queue => undef, churn => 'queue_churn');
my $receiver_port;

sub kinds { return "'{" . join(',', @_) . "}'" }

sub start
{
	my ($harness, $database) = @_;

	return if $receiver_port;
	$database{queue} = $database;
	$receiver_port = $harness->free_port;
	$harness->start('queue_receiver', {}, $harness->program('receiver'), $receiver_port);
	$harness->wait_for_port('queue_receiver', $receiver_port);
	for my $name (values %database)
	{
		$harness->make_database($name) if $name ne $database;
		$harness->psql($name, '-o', '/dev/null', '-v', 'endpoints=' . $harness->setting('endpoints'), '-v',
			"port=$receiver_port", '-f', "$FindBin::Bin/queue.sql");
	}
	return;
}

sub start_send
{
	my ($harness) = @_;

	$harness->start('queue_send', { PGDATABASE => $database{queue} }, $harness->daemon, 'send', '--allow-egress', '127.0.0.0/8',
		'--metrics-listen', '', '--log-level', 'error');
	return;
}

# Kills the sender, which would wait for servers that hang, and forgets what it did not come to.
sub stop_send
{
	my ($harness) = @_;

	$harness->stop('queue_send', 'KILL');
	clear_queue($harness);
	return;
}

sub clear_queue
{
	my ($harness) = @_;

	$harness->sql($database{queue}, 'TRUNCATE postback.delivery_due, postback.delivery, postback.attempt');
	$harness->sql($database{queue}, 'UPDATE postback.callback SET enabled = true WHERE NOT enabled');
	return;
}

sub write_deliveries
{
	my ($harness, $kinds, $digits, $count, $due, $state) = @_;

	$harness->sql($database{queue}, "CALL bench.write_deliveries('{$kinds}', '{$digits}', $count, $due, '$state')");
	return;
}

sub wait_for_answers
{
	my ($harness, $count) = @_;
	my $give_up = time + 300;

	while ($harness->http_get($receiver_port, '/-/count') < $count)
	{
		$harness->check_running('queue_send');
		die "healthy servers' deliveries are left after five minutes\n" if time > $give_up;
		sleep 0.02;
	}
	return;
}

# Deliveries to healthy endpoints while others are bad or have nothing: first a full queue, for the rate, then a steady
# feed, for the delay.
sub mixed
{
	my ($name, $title, @kinds) = @_;

	return {
		name => $name,
		title => $title,
		start => \&start,
		round => sub {
			my ($harness) = @_;
			my $each = $harness->smoke ? 3 : 100;
			my $healthy = $harness->sql($database{queue}, q{SELECT count(*) FROM bench.endpoint WHERE kind = 'ok'});

			$harness->sql($database{queue}, 'CALL bench.fill_queue(' . kinds(@kinds) . ", $each)");
			$harness->http_get($receiver_port, '/-/stats');
			$harness->settle;
			my $result = $harness->with_cpu(sub {
				start_send($harness);
				wait_for_answers($harness, $healthy * $each);
				my ($count, $first, $last) = split ' ', $harness->http_get($receiver_port, '/-/stats');
				return { figure => 1e6 * $count / ($last - $first) };
			});

			my $seconds = $harness->smoke ? 1 : 4 * $harness->seconds;
			my $per_second = 1000 * (@kinds > 1 ? 1 : 0.77);
			my $since = $harness->sql($database{queue}, 'SELECT clock_timestamp()');
			$harness->sql($database{queue}, 'CALL bench.feed_queue(' . kinds(@kinds) . ", $per_second, $seconds, 0)");
			wait_for_answers($harness, $harness->sql($database{queue},
				qq{SELECT count(*) FROM postback.delivery d JOIN bench.endpoint e ON e.callback = d.callback_id AND e.kind = 'ok'
					WHERE d.id >= postback.ulid_floor('$since')}));
			wait_until_settled($harness, $since);
			@$result{qw(p50_us p99_us)} = map { 1000 * $harness->sql($database{queue}, "SELECT bench.delay($_, '$since')") } 0.5, 0.99;
			$result->{p99_s} = $result->{p99_us} / 1e6;
			stop_send($harness);
			return $result;
		},
	};
}

# What was received is put down a little later.
sub wait_until_settled
{
	my ($harness, $since) = @_;
	my $give_up = time + 60;

	while ($harness->sql($database{queue}, qq{SELECT count(*) FROM postback.delivery d JOIN bench.endpoint e
		ON e.callback = d.callback_id AND e.kind = 'ok' WHERE d.id >= postback.ulid_floor('$since') AND d.state <> 'delivered'}) > 0)
	{
		die "deliveries that healthy servers have answered are not settled after a minute\n" if time > $give_up;
		sleep 0.05;
	}
	return;
}

sub flood
{
	my ($harness) = @_;
	my $count = $harness->setting('flood');
	my $database = $database{queue};

	# The first healthy endpoint has the flood, the others are fed.
	$harness->sql($database, q{UPDATE bench.endpoint SET kind = 'flooded' WHERE no = (SELECT min(no) FROM bench.endpoint
		WHERE kind = 'ok')});
	write_deliveries($harness, 'flooded', '0,1,2,3,4,5,6,7,8,9', $count, 'now()', 'queued');
	$harness->sql($database, 'VACUUM ANALYZE postback.delivery_due');
	$harness->http_get($receiver_port, '/-/stats');
	$harness->settle;
	my $seconds = $harness->smoke ? 1 : 4 * $harness->seconds;
	my $result = $harness->with_cpu(sub {
		start_send($harness);
		my $since = $harness->sql($database, 'SELECT clock_timestamp()');
		my $made = $harness->sql($database, 'CALL bench.feed_queue(' . kinds('ok') . ", 500, $seconds, 0)");
		my $left = $harness->sql($database, q{SELECT count(*) FROM postback.delivery_due q JOIN bench.endpoint e
			ON e.callback = q.callback_id AND e.kind = 'flooded'});
		die "the flood was over before the feed was: give flood= more\n" if $left == 0 && !$harness->smoke;
		wait_until_settled($harness, $since);
		my ($p50, $p99) = map { $harness->sql($database, "SELECT bench.delay($_, '$since')") } 0.5, 0.99;
		return { figure => $p99, p50_us => 1000 * $p50, p99_us => 1000 * $p99, p99_s => $p99 / 1000,
			note => "$made fed, $left of the flood left" };
	});
	$harness->sql($database, q{UPDATE bench.endpoint SET kind = 'ok' WHERE kind = 'flooded'});
	stop_send($harness);
	return $result;
}

# The claims of a queue in PostgreSQL, beside millions that are not due, or alone.
sub claims
{
	my ($name, $title, $delayed) = @_;

	return {
		name => $name,
		title => $title,
		rounds => 1,
		start => \&start,
		round => sub {
			my ($harness) = @_;
			my $database = $database{queue};
			my $count = $harness->setting('delayed');

			if ($delayed)
			{
				# Half of them wait for a delay, half for a callback that is switched off, of all endpoints.
				my $half = int($count / 2);
				write_deliveries($harness, join(',', @all), '0,1,2,3,4,5,6,7,8', $half, q{now() + interval '1 day'}, 'waiting');
				write_deliveries($harness, join(',', @all), '9', $half, q{'infinity'}, 'queued');
				$harness->sql($database, q{UPDATE postback.callback c SET enabled = false FROM bench.endpoint e
					WHERE e.callback = c.id AND e.no % 10 = 9});
				$harness->sql($database, 'VACUUM ANALYZE postback.delivery_due, postback.delivery');
			}
			write_deliveries($harness, 'ok', '8', $harness->smoke ? 512 : 51_200, 'now()', 'queued');
			$harness->settle;
			my $result = $harness->with_cpu(sub {
				my ($claimed, $seconds) = split /\|/, $harness->sql($database, 'CALL bench.empty_queue(0, 0)');
				return { figure => $claimed / $seconds };
			});
			$harness->expect($database, 'deliveries in the queue', 'SELECT count(*) FROM postback.delivery_due',
				$delayed ? 2 * int($count / 2) : 0);
			clear_queue($harness);
			return $result;
		},
	};
}

# An hour's traffic, minute by minute: orders, their deliveries, and what jobs and autovacuum do in a minute. The figure is
# how often as large as their floor the hot tables become: what they take after two minutes, but 32 MB are nobody's trouble.
sub churn
{
	my ($name, $title, $snapshot) = @_;

	return {
		name => $name,
		title => $title,
		unit => 'x',
		rounds => 1,
		start => \&start,
		round => sub {
			my ($harness) = @_;
			my $database = $database{churn};
			my $minutes = $harness->smoke ? 4 : 60;
			my $batches = max(1, int($harness->setting('churn') / $minutes / 256));
			my $size = q{SELECT pg_total_relation_size('postback.balance') + sum(pg_total_relation_size(relid))
				FROM pg_partition_tree('postback.delivery_due')};
			my ($floor, $largest, $first_ms, $last_ms) = (0, 0);

			$harness->sql($database, 'TRUNCATE postback.delivery_due');
			$harness->sql($database, 'VACUUM FULL postback.balance');
			my $session;
			for my $minute (1 .. $minutes)
			{
				if ($snapshot && $minute == 3)
				{
					$session = $harness->session($database);
					$harness->ask($session, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM postback.delivery_due');
				}
				$last_ms = $harness->sql($database, "CALL bench.churn($batches, 0)");
				$first_ms //= $last_ms;
				$largest = max($largest, $harness->sql($database, $size));
				$floor = max($largest, 32 * 1024 * 1024) if $minute == 2;
				$harness->sql($database, 'SELECT postback.fold_balances()');
				$harness->sql($database, 'VACUUM postback.delivery_due, postback.balance, postback.callback');
			}
			$harness->close_session($session) if $session;
			return { figure => $largest / $floor, note => sprintf('%.1f MB to %.1f MB; claims of a call %.1f ms to %.1f ms',
				$floor / 1e6, $largest / 1e6, $first_ms, $last_ms) };
		},
	};
}

return {
	name => 'queue',
	database => 'queue',
	rounds => 5,
	measures => [
		mixed('healthy', 'deliveries to healthy endpoints, alone', 'ok'),
		mixed('mixed', 'deliveries to healthy endpoints among bad ones', @all),
		{
			name => 'flood',
			title => 'delay of others\' deliveries beside one publisher\'s flood, p99',
			unit => 'ms',
			rounds => 1,
			start => \&start,
			round => \&flood,
		},
		claims('claims', 'claims by 256, nothing else in the queue'),
		claims('claims_delayed', 'claims by 256, beside what is delayed or paused', 1),
		churn('churn', 'hot tables in an hour, times their floor'),
		churn('churn_snapshot', 'the same with a snapshot open all the time', 1),
	],
	rows => [
		{
			name => 'mix_rate',
			title => 'mix_rate: rate of healthy endpoints among bad ones, share of alone',
			of => 'mixed', against => 'healthy', kind => 'share', first => 0.9,
		},
		{
			name => 'mix_delay',
			title => 'mix_delay: p99 of their delay, what the bad ones add, s',
			of => 'mixed', minus => 'healthy', key => 'p99_s', kind => 'most', first => 1,
		},
		{
			name => 'flood',
			title => 'flood: p99 of others\' delay beside one publisher\'s flood, s',
			of => 'flood', key => 'p99_s', kind => 'most', first => 2,
		},
		{
			name => 'claims',
			title => 'claims: claims beside what is delayed or paused, times the time without',
			of => 'claims_delayed', against => 'claims', kind => 'time', first => 1.25,
		},
		{
			name => 'churn',
			title => 'churn: hot tables in an hour, times their floor',
			of => 'churn', kind => 'most', first => 3,
		},
		{
			name => 'churn_snapshot',
			title => 'churn_snapshot: the same with a snapshot open all the time',
			of => 'churn_snapshot', kind => 'most', first => 3,
		},
	],
};
