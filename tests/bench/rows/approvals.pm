# approve_due() on many conversions whose hold is over: how fast, alone and with a delivery of each, and what callers of
# postbackd serve notice of it. Those wait longest at full load, where the cores are shared; --pace shows what is left of
# that at a fixed rate.

package rows::approvals;

use strict;
use warnings;
use Time::HiRes qw(time);

my $paced_rate = 2000;
my ($port, $path, $clicks, $callback, $rate_alone);
my ($made, $number) = (0, 1);

sub start
{
	my ($harness, $database) = @_;

	return if $port;
	my $token = $harness->sql($database, 'SELECT token FROM bench.programme');
	$path = "/p/$token?order=http-{n}&value=4999&click_id=clk_{id}";
	$clicks = $harness->file('approvals-clicks');
	$harness->psql($database, '-o', $clicks, '-c', 'SELECT id FROM bench.click ORDER BY no');
	$callback = $harness->sql($database, q{SELECT postback.create_callback(name => 'bench', url => 'http://192.0.2.1/{status}',
		brand => brand) FROM bench.programme});
	$harness->sql($database, 'UPDATE postback.callback SET enabled = false');
	$port = $harness->free_port;
	$harness->start('serve_approvals', { PGDATABASE => $database }, $harness->daemon, 'serve', '--port', $port,
		'--metrics-listen', '', '--log-level', 'warning');
	$harness->wait_for_port('serve_approvals', $port);
	return;
}

# Orders whose hold is over as soon as they are there; returns how many.
sub make_due
{
	my ($harness, $database) = @_;
	my $batches = int($harness->setting('due') / 256);

	$made++;
	$harness->sql($database, q{UPDATE postback.brand SET hold = '0'});
	$harness->sql($database, "CALL bench.make_orders('due$made-', $batches)");
	$harness->sql($database, q{UPDATE postback.brand SET hold = '14 days'});
	$harness->sql($database, 'VACUUM ANALYZE postback.conversion');
	$harness->settle;
	return 256 * $batches;
}

sub check_none_due
{
	my ($harness, $database) = @_;

	$harness->expect($database, 'conversions that are still due',
		q{SELECT count(*) FROM postback.conversion WHERE status = 'pending' AND hold_until <= now()}, 0);
	return;
}

sub approving
{
	my ($name, $title, %option) = @_;

	return {
		name => $name,
		title => $title,
		start => \&start,
		round => sub {
			my ($harness, $database) = @_;
			my $count = make_due($harness, $database);
			my $deliveries = $harness->sql($database, 'SELECT count(*) FROM postback.delivery');

			$harness->sql($database, 'UPDATE postback.callback SET enabled = true') if $option{told};
			my $result = $harness->with_cpu(sub {
				my $began = time;

				$harness->sql($database, 'CALL postback.approve_due()');
				return { figure => $count / (time - $began) };
			});
			$harness->sql($database, 'UPDATE postback.callback SET enabled = false');
			check_none_due($harness, $database);
			$harness->expect($database, 'deliveries', 'SELECT count(*) FROM postback.delivery',
				$deliveries + ($option{told} ? $count : 0));
			$rate_alone = $result->{figure} unless $option{told};
			return $result;
		},
		check => sub {
			my ($harness, $database) = @_;

			return if $harness->setting('due') > 100_000;
			$harness->expect($database, 'differences found by audit()', 'SELECT count(*) FROM postback.audit()', 0);
		},
	};
}

# Orders over HTTP, beside approve_due() or without it.
sub inbound
{
	my ($name, $title, %option) = @_;

	return {
		name => $name,
		title => $title,
		start => \&start,
		round => sub {
			my ($harness, $database) = @_;
			my %paced = $option{paced} ? (pace => $harness->smoke ? 200 : $paced_rate) : ();
			my $seconds = $harness->seconds;
			my ($count, $began);

			if ($option{beside})
			{
				# For most of the time that it will take, with the cores shared at least half as long again.
				$count = make_due($harness, $database);
				$seconds = $count / $rate_alone if $count / $rate_alone > $seconds;
				$began = time;
				$harness->start('approve_due', {}, "$harness->{bindir}/psql", '-X', '-d', $database, '-c', 'CALL postback.approve_due()');
			}
			my $result = $harness->load(port => $port, path => $path, ids => $clicks, from => $number, seconds => $seconds, %paced);
			$number = $result->{next};
			if ($option{beside})
			{
				$harness->finish('approve_due');
				$result->{approved_rate} = $count / (time - $began);
				check_none_due($harness, $database);
			}
			return $result;
		},
	};
}

return {
	name => 'approvals',
	database => 'approvals',
	rounds => 1,
	measures => [
		approving('approve', 'approve_due()'),
		approving('approve_told', 'approve_due(), each with a delivery', told => 1),
		inbound('inbound', 'new orders over HTTP'),
		inbound('inbound_beside', 'new orders over HTTP, beside approve_due()', beside => 1),
		inbound('paced', 'new orders over HTTP at a fixed rate', paced => 1),
		inbound('paced_beside', 'new orders over HTTP at a fixed rate, beside approve_due()', paced => 1, beside => 1),
	],
	rows => [
		{
			name => 'approve',
			title => 'approve: approve_due(), conversions per second',
			of => 'approve', kind => 'least', first => 20_000, then => 50_000,
		},
		{
			name => 'approve_told',
			title => 'approve_told: the same where each has a delivery',
			of => 'approve_told', kind => 'least',
		},
		{
			name => 'approve_beside',
			title => 'approve_beside: the same (without) beside inbound calls at full load',
			of => 'inbound_beside', kind => 'least', key => 'approved_rate',
		},
		{
			name => 'approve_p99',
			title => 'approve_p99: inbound p99 at full load beside approve_due(), times without',
			of => 'inbound_beside', against => 'inbound', key => 'p99_us', kind => 'most', first => 2,
		},
		{
			name => 'approve_p99_paced',
			title => 'approve_p99_paced: the same at a fixed rate of inbound calls',
			of => 'paced_beside', against => 'paced', key => 'p99_us', kind => 'most', first => 2,
		},
	],
};
