# Outbound: postbackd send emptying a queue of deliveries to a local receiver, every attempt logged, against a bare
# libcurl-multi loop sending as many requests to the same receiver over as many connections, and against pg_net.
#
# postbackd is timed from the receiver's first request until the queue is empty, so that what is counted is settled.
#
# pg_net (github.com/supabase/pg_net: a queue of requests in Postgres, and a background worker that sends them) has the
# easier job: each request is sent once, whatever comes of it, so there are no retries, leases, limits per host or addresses
# that are refused; it numbers nothing, knows no signatures (not asked of postbackd here either), and has its URLs ready,
# without macros. Its queue is unlogged as it comes; here it is logged, because what is to be sent has to be durable on both
# sides. Its answers stay unlogged, while each attempt of postbackd is durable.
#
# Its worker pauses for a second after each batch, so pg_net.batch_size is its rate per second, and it opens a connection for
# each request of a batch. The size is 200 as it comes, and 500 where its README shows how to set it: that is what is judged.
# pg_net_batch is where it was fastest, with that many connections to the one receiver (postbackd has 64): 12,000 gave
# up to 5,000/s, 16,000 gave 3,000/s and, when requests had ten seconds (they have five by default), lost some. It is for
# comparison only, as no publisher's server would have them; requests have a minute here, so that none are lost.

package rows::deliveries;

use strict;
use warnings;
use List::Util qw(max);
use POSIX qw(ceil);
use Time::HiRes qw(sleep time);

my $concurrency = 64;
my ($receiver_port, $round);

sub receiver_stats
{
	my ($harness) = @_;
	my ($count, $first, $last) = split ' ', $harness->http_get($receiver_port, '/-/stats');

	return ($count, $first / 1e6, $last / 1e6);
}

sub wait_until
{
	my ($harness, $done, $sender) = @_;
	my $give_up = time + 120;

	until ($done->())
	{
		$harness->check_running($sender) if $sender;
		die "deliveries are left after two minutes\n" if time > $give_up;
		sleep 0.01;
	}
	return;
}

# Lets pg_net's worker begin anew, with the settings as they are now and without connections.
sub restart_pg_net
{
	my ($harness) = @_;
	my $worker = q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pg_net%'};
	my $before = $harness->sql('postgres', $worker);

	$harness->sql('postgres', 'SELECT net.worker_restart()');
	wait_until($harness, sub { $harness->sql('postgres', $worker) !~ /^(?:$before)?$/ });
	$harness->sql('postgres', 'SELECT net.wait_until_running()');
	return;
}

# One batch size of pg_net. It works in the database "postgres", as it does when nothing else is set.
sub pg_net_measure
{
	my ($name, $title, $batch_size) = @_;

	return {
		name => $name,
		title => $title,
		missing => sub {
			my ($harness) = @_;

			return $harness->sql('postgres', 'SHOW shared_preload_libraries') =~ /pg_net/ ? undef
			  : 'no pg_net; make bench BENCH=help tells how to give it one';
		},
		start => sub {
			my ($harness) = @_;

			$harness->sql('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_net');
			$harness->sql('postgres', 'ALTER TABLE net.http_request_queue SET LOGGED');
		},
		round => sub {
			my ($harness) = @_;
			my $size = $batch_size->($harness);
			my $count = $size * max(2, ceil($harness->seconds));

			$harness->sql('postgres', "ALTER SYSTEM SET pg_net.batch_size = $size");
			restart_pg_net($harness);
			receiver_stats($harness);
			$harness->settle;

			# One more than the batches hold: when it arrives, the pause after the last of them is over.
			$harness->psql('postgres', '-o', '/dev/null', '-c', qq{SELECT net.http_get(timeout_milliseconds => 60000, url =>
				'http://127.0.0.1:$receiver_port/postback?click=clk_01JZZZZZZZZZZZZZZZZZZZZZZZ&status=pending&payout=' || n)
				FROM generate_series(0, $count) AS n});
			my $result = $harness->with_cpu(sub {
				wait_until($harness, sub { $harness->http_get($receiver_port, '/-/count') > $count });
				return {};
			});
			wait_until($harness, sub { $harness->sql('postgres', 'SELECT 1 FROM net.http_request_queue LIMIT 1') eq '' });
			my ($received, $first, $last) = receiver_stats($harness);
			die sprintf "receiver: expected %d requests, got %d\n", $count + 1, $received if $received != $count + 1;
			$harness->expect('postgres', 'answers that pg_net has noted',
				'SELECT count(*) FROM net._http_response WHERE status_code = 200', $count + 1);

			# Its connections and dead rows are not to burden whoever is measured next.
			restart_pg_net($harness);
			$harness->sql('postgres', 'TRUNCATE net.http_request_queue, net._http_response');
			$result->{figure} = $count / ($last - $first);
			return $result;
		},
	};
}

return {
	name => 'outbound',
	database => 'deliveries',
	measures => [
		{
			name => 'send',
			title => 'deliveries, postbackd send',
			start => sub {
				my ($harness, $database) = @_;

				$receiver_port = $harness->free_port;
				$harness->start('receiver', {}, $harness->program('receiver'), $receiver_port);
				$harness->wait_for_port('receiver', $receiver_port);
				$harness->sql($database, qq{SELECT postback.create_callback(name => 'bench', type => 'conversion',
					url => 'http://127.0.0.1:$receiver_port/postback?click={transaction_id}&status={status}&payout={payout}',
					brand => brand, statuses => '{pending}') FROM bench.programme});
			},
			round => sub {
				my ($harness, $database) = @_;
				my $batches = $harness->smoke ? 8 : int(30 * $harness->seconds);
				my $count = 256 * $batches;
				my $attempts = $harness->sql($database, 'SELECT count(*) FROM postback.attempt');

				$round++;
				$harness->sql($database, "CALL bench.make_orders('r$round-', $batches)");
				$harness->expect($database, 'queued deliveries', 'SELECT count(*) FROM postback.delivery_due', $count);
				receiver_stats($harness);
				$harness->settle;

				my $result = $harness->with_cpu(sub {
					$harness->start('send', { PGDATABASE => $database }, $harness->daemon, 'send', '--allow-egress',
						'127.0.0.0/8', '--concurrency', $concurrency, '--per-host', $concurrency, '--metrics-listen', '',
						'--log-level', 'warning');
					wait_until($harness, sub { $harness->http_get($receiver_port, '/-/count') >= $count }, 'send');
					wait_until($harness,
						sub { $harness->sql($database, 'SELECT 1 FROM postback.delivery_due LIMIT 1') eq '' }, 'send');
					return { ended => time };
				});
				$harness->stop('send');
				my ($received, $first) = receiver_stats($harness);
				die "receiver: expected $count requests, got $received\n" if $received != $count;
				$harness->expect($database, 'logged attempts', 'SELECT count(*) FROM postback.attempt', $attempts + $count);
				$harness->expect($database, 'deliveries not delivered',
					q{SELECT count(*) FROM postback.delivery WHERE state <> 'delivered'}, 0);
				$result->{figure} = $count / ($result->{ended} - $first);
				return $result;
			},
		},
		{
			name => 'curl_multi',
			title => 'the same requests by a bare libcurl-multi loop',
			round => sub {
				my ($harness) = @_;
				my $count = $harness->smoke ? 5000 : int(40_000 * $harness->seconds);

				receiver_stats($harness);
				my $result = $harness->with_cpu(sub {
					my $text = $harness->capture($harness->program('curl_multi'), "http://127.0.0.1:$receiver_port"
						. '/postback?click=clk_01JZZZZZZZZZZZZZZZZZZZZZZZ&status=pending&payout={n}', $count, $concurrency);

					return { figure => $text =~ /rate=(\S+)/ };
				});
				my ($received) = receiver_stats($harness);
				die "receiver: expected $count requests, got $received\n" if $received != $count;
				return $result;
			},
		},
		pg_net_measure('pg_net', 'the same requests by pg_net, batch_size 500', sub { 500 }),
		pg_net_measure('pg_net_best', 'the same requests by pg_net, batch_size as pg_net_batch says', sub { $_[0]->setting('pg_net_batch') }),
	],
	rows => [
		{
			name => 'deliveries',
			title => 'deliveries: postbackd send, share of bare libcurl-multi',
			of => 'send', against => 'curl_multi', kind => 'share', first => 0.5, then => 0.7,
		},
		{
			name => 'pg_net',
			title => 'pg_net: postbackd send, times the rate of pg_net as its README sets it',
			of => 'send', against => 'pg_net', kind => 'times', first => 20,
		},
		{
			name => 'pg_net_best',
			title => 'pg_net_best: the same, of pg_net at its fastest',
			of => 'send', against => 'pg_net_best', kind => 'times',
		},
	],
};
