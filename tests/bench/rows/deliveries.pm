# Outbound: postbackd send emptying a queue of deliveries to a local receiver, every attempt logged, against a bare
# libcurl-multi loop sending as many requests to the same receiver over as many connections.
#
# postbackd is timed from the receiver's first request until the queue is empty, so that what is counted is settled.

package rows::deliveries;

use strict;
use warnings;
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
	my ($harness, $done) = @_;
	my $give_up = time + 120;

	until ($done->())
	{
		$harness->check_running('send');
		die "deliveries are left after two minutes\n" if time > $give_up;
		sleep 0.01;
	}
	return;
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
					wait_until($harness, sub { $harness->http_get($receiver_port, '/-/count') >= $count });
					wait_until($harness,
						sub { $harness->sql($database, 'SELECT 1 FROM postback.delivery_due LIMIT 1') eq '' });
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
	],
	rows => [
		{
			name => 'deliveries',
			title => 'deliveries: postbackd send, share of bare libcurl-multi',
			of => 'send', against => 'curl_multi', kind => 'share', first => 0.5, then => 0.7,
		},
	],
};
