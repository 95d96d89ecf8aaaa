# Over HTTP, 64 connections: a constant answer by the daemon's own loop, durable orders and clicks by postbackd, and the
# same orders by the Fastify peer.

package rows::http;

use strict;
use warnings;

my ($database, $link, $order_path, $click_file, $serve_port);
my %port;
my %next = (orders => 1, fastify => 1, clicks => 1, constant => 1);

# Everything of the group needs the programme's names and the clicks' ids.
sub read_programme
{
	my ($harness, $name) = @_;

	return if defined $database;
	$database = $name;
	my $token;
	($link, $token) = split /\|/, $harness->sql($database, 'SELECT link, token FROM bench.programme');
	$order_path = "/p/$token?order=%s-{n}&value=4999&click_id=clk_{id}";
	$click_file = $harness->file('clicks');
	$harness->psql($database, '-o', $click_file, '-c', 'SELECT id FROM bench.click ORDER BY no');
	return;
}

sub start_serve
{
	my ($harness) = @_;

	return if defined $serve_port;
	$serve_port = $harness->free_port;
	$harness->start('serve', { PGDATABASE => $database }, $harness->daemon, 'serve', '--port', $serve_port,
		'--metrics-listen', '', '--log-level', 'warning');
	$harness->wait_for_port('serve', $serve_port);
	return;
}

sub orders_round
{
	my ($harness, $name, $port) = @_;
	my $count = q{SELECT count(*) FROM postback.conversion WHERE attribution = 'click' AND status = 'pending'
		AND commission = 400 AND fee = 140};
	my $before = $harness->sql($database, $count);
	my $result = $harness->load(port => $port, path => sprintf($order_path, $name), ids => $click_file,
		from => $next{$name});
	$next{$name} = $result->{next};
	$harness->expect($database, "$name: priced and attributed conversions", $count, $before + $result->{answered});
	return $result;
}

# Every order is one row of receipt, conversion and history and two of the ledger (commission and fee).
sub check_rows
{
	my ($harness) = @_;
	my $orders = $next{orders} + $next{fastify} - 2;

	$harness->expect($database, 'rows per order', q{SELECT
		(SELECT count(*) FROM postback.receipt), (SELECT count(*) FROM postback.conversion),
		(SELECT count(*) FROM postback.history), (SELECT count(*) FROM postback.ledger)},
		join '|', $orders, $orders, $orders, 2 * $orders);
	$harness->expect($database, 'differences found by audit()', 'SELECT count(*) FROM postback.audit()', 0);
	return;
}

return {
	name => 'http',
	database => 'http',
	measures => [
		{
			name => 'constant',
			title => 'constant answer, the daemon\'s HTTP loop',
			start => sub {
				my ($harness, $name) = @_;

				read_programme($harness, $name);
				$port{constant} = $harness->free_port;
				$harness->start('constant', {}, $harness->program('constant'), $port{constant});
				$harness->wait_for_port('constant', $port{constant});
			},
			round => sub {
				my ($harness) = @_;
				my $result = $harness->load(port => $port{constant}, path => sprintf($order_path, 'constant'),
					ids => $click_file, from => $next{constant});

				$next{constant} = $result->{next};
				return $result;
			},
		},
		{
			name => 'orders',
			title => 'new orders, postbackd serve',
			start => sub {
				my ($harness, $name) = @_;

				read_programme($harness, $name);
				start_serve($harness);
			},
			round => sub { orders_round($_[0], 'orders', $serve_port) },
			check => \&check_rows,
		},
		{
			name => 'fastify',
			title => 'new orders, Fastify + pg calling receive()',
			missing => (grep { -x "$_/node" } split /:/, $ENV{PATH}) ? undef : 'node and npm are not installed',
			start => sub {
				my ($harness, $name) = @_;

				read_programme($harness, $name);
				$port{fastify} = $harness->free_port;
				$harness->start('fastify', { PGDATABASE => $database, PORT => $port{fastify}, NODE_ENV => 'production' },
					'node', "$FindBin::Bin/fastify/server.js");
				$harness->wait_for_port('fastify', $port{fastify});
			},
			round => sub { orders_round($_[0], 'fastify', $port{fastify}) },
		},
		{
			name => 'clicks',
			title => 'clicks, postbackd serve',
			start => sub {
				my ($harness, $name) = @_;

				read_programme($harness, $name);
				start_serve($harness);
			},
			round => sub {
				my ($harness) = @_;
				my $count = 'SELECT count(*) FROM postback.click';
				my $before = $harness->sql($database, $count);
				my $result = $harness->load(port => $serve_port, expect => 302, from => $next{clicks},
					path => "/c/$link?sub_id=s{n}&external_transaction_id=ext-{n}");
				$next{clicks} = $result->{next};
				$harness->expect($database, 'recorded clicks', $count, $before + $result->{answered});
				return $result;
			},
		},
	],
	rows => [
		{
			name => 'orders',
			title => 'orders: new orders, share of the constant answer',
			of => 'orders', against => 'constant', kind => 'share', first => 0.35, then => 0.5,
		},
		{
			name => 'orders_rate',
			title => 'orders_rate: the same per second; the design took the constant for 28,000',
			of => 'orders', kind => 'least', first => 0.35 * 28_000, then => 0.5 * 28_000,
		},
		{
			name => 'peer',
			title => 'peer: new orders, times Fastify + pg',
			of => 'orders', against => 'fastify', kind => 'times', first => 2, then => 3,
		},
		{
			name => 'clicks',
			title => 'clicks: clicks, share of the constant answer',
			of => 'clicks', against => 'constant', kind => 'share', first => 0.5, then => 0.7,
		},
		{
			name => 'clicks_rate',
			title => 'clicks_rate: the same per second; the design took the constant for 28,000',
			of => 'clicks', kind => 'least', first => 0.5 * 28_000, then => 0.7 * 28_000,
		},
	],
};
