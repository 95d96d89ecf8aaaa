# What a store of months costs: the same work in a database with store_clicks and store_conversions in it, and in one with
# the same programme that has only just begun. Rates over HTTP, attribution inside PostgreSQL, and how long reports take.
#
# Both are made by store.sql, which is also what says how everything in them is like. Calls concern all 20 brands and clicks
# of the last 25 days, any of them, so that look-ups go all over the window.

package rows::store;

use strict;
use warnings;

my %database = (store => 'store', empty => 'store_empty');
my %connection;
my $call_round = 0;

sub make_store
{
	my ($harness, $database, $clicks, $conversions, $days) = @_;
	my $halves = sub {
		my ($procedure, $count) = @_;
		my $half = int($count / 2);
		return ("CALL bench.$procedure(0, $half)", "CALL bench.$procedure($half, $count)");
	};
	my $began = time;

	$harness->psql($database, '-o', '/dev/null', '-f', "$FindBin::Bin/store.sql");
	$harness->sql($database, "CALL bench.make_store($clicks, $conversions, $days)");
	$harness->sql_together($database, $halves->(load_clicks => $clicks));
	$harness->sql_together($database, $halves->(load_conversions => $conversions)) if $conversions > 0;
	$harness->sql_together($database, 'CALL bench.make_indexes(0, 2)', 'CALL bench.make_indexes(1, 2)');
	$harness->sql($database, 'CALL bench.finish_store()');
	$harness->capture("$harness->{bindir}/vacuumdb", qw(-q -z -j 2), $database);

	# Judging ten millions by every row would take longer than all the rest: that the loader is right, it shows in small.
	if ($conversions <= 1_000_000)
	{
		$harness->expect($database, 'differences found by audit()', 'SELECT count(*) FROM postback.audit()', 0);
		$harness->expect($database, 'differences found by audit_daily()',
			q{SELECT count(*) FROM postback.audit_daily('2000-01-01')}, 0);
	}
	printf STDERR "store: %s clicks and %s conversions in %d s, %s\n", $clicks, $conversions, time - $began,
	  $harness->sql($database, 'SELECT pg_size_pretty(pg_database_size(current_database()))');
	return;
}

# Why it cannot be loaded here, or undef.
sub no_room
{
	my ($harness) = @_;
	my ($clicks, $conversions) = map { $harness->setting($_) } qw(store_clicks store_conversions);
	my $needed = 10 + 290e-9 * $clicks + 1700e-9 * $conversions;    # tables and indexes, and the log of writing them
	my $free = $harness->gigabytes_free;

	return if $needed <= $free;
	return sprintf '%.0f GB needed, %.0f GB free: give store_clicks=N and store_conversions=N', $needed, $free;
}

# The daemon of one of the two and what its callers ask for.
sub start_serve
{
	my ($harness, $which) = @_;
	my $port = $harness->free_port;
	my ($orders, $links) = map { $harness->file("$which-$_") } qw(orders links);

	return if $connection{$which};
	$harness->psql($database{$which}, '-o', $orders, '-c', q{SELECT p.token || '?click_id=clk_' || c.id
		FROM generate_series(1, 200000) AS i, bench.recent_click(i, 20) c JOIN bench.party p ON p.no = c.party});
	$harness->psql($database{$which}, '-o', $links, '-c', 'SELECT link FROM bench.party ORDER BY bench.hash_of(no, 21)');
	$harness->start("serve_$which", { PGDATABASE => $database{$which} }, $harness->daemon, 'serve', '--port', $port,
		'--metrics-listen', '', '--log-level', 'warning');
	$harness->wait_for_port("serve_$which", $port);
	$connection{$which} = { port => $port, orders => $orders, links => $links, next_order => 1, next_click => 1 };
	return;
}

# Both databases, once, whatever is measured in them.
sub start
{
	my ($harness, $database) = @_;

	return if $database{made}++;
	$database{empty} = $database;
	$harness->make_database($database{store});
	my $days = $harness->smoke ? 30 : 180;
	my @sizes = map { $harness->setting($_) } qw(store_clicks store_conversions);
	make_store($harness, $database{empty}, $harness->smoke ? 5_000 : 200_000, 0, 30);
	make_store($harness, $database{store}, @sizes, $days);
	printf STDERR "store: %s warmed up\n", $harness->sql($database{$_}, 'SELECT bench.warm_up()') for qw(empty store);
	start_serve($harness, $_) for qw(empty store);
	return;
}

# A measure over HTTP: orders or clicks.
sub over_http
{
	my ($which, $what, $title) = @_;

	return {
		name => "${which}_$what",
		title => $title,
		missing => \&no_room,
		start => \&start,
		round => sub {
			my ($harness) = @_;
			my $c = $connection{$which};
			my $is_order = $what eq 'orders';
			my $next = $is_order ? \$c->{next_order} : \$c->{next_click};
			my $count = 'SELECT count(*) FROM postback.'
			  . ($is_order ? q{history WHERE to_status = 'pending' AND to_commission = 400 AND id >= } : 'click WHERE id >= ')
			  . q{postback.ulid_floor('} . $harness->sql($database{$which}, 'SELECT now()') . q{')};
			my $result = $harness->load(port => $c->{port}, from => $$next,
				$is_order ? (ids => $c->{orders}, path => '/p/{id}&order=http-{n}&value=4999')
				: (ids => $c->{links}, expect => 302, path => '/c/{id}?sub_id=s{n}&external_transaction_id=ext-{n}'));

			$$next = $result->{next};
			$harness->expect($database{$which}, "$which: $what recorded", $count, $result->{answered});
			return $result;
		},
	};
}

# How the orders of a call find their click: what they carry beside order and value, and what receive_batch answers.
my %attribution = (
	by_click => ['click_id=clk_%1$s', 'click'],
	last => ['', 'last_click'],
	last_of_link => ['offer_id=%2$s&publisher_id=%3$s', 'last_click'],
	no_such_address => ['ip=198.51.100.77', 'none'],
);

sub in_postgres
{
	my ($which, $how, $title) = @_;
	my ($query, $attribution) = @{ $attribution{$how} };

	return {
		name => "${which}_$how",
		title => $title,
		missing => \&no_room,
		start => \&start,
		round => sub {
			my ($harness) = @_;
			my ($untimed, $timed) = $harness->smoke ? (1, 2) : (8, int(20 * $harness->seconds));
			my $batches = $untimed + $timed;
			my $database = $database{$which};

			$call_round++;
			$harness->sql($database, "CALL bench.prepare_calls('$how-$call_round', $batches, '$query', $call_round)");
			$harness->settle;
			my $result = $harness->with_cpu(sub {
				return { seconds => $harness->sql($database, "CALL bench.make_calls('$attribution', $untimed, 0)") };
			});
			$result->{figure} = $timed * 256 / $result->{seconds};
			return $result;
		},
	};
}

# The time of one query. The last whole month of the store is the one before the newest.
sub report
{
	my ($name, $query, %option) = @_;

	return {
		name => $name,
		title => $option{title} // "report: $name",
		unit => 'ms',
		missing => \&no_room,
		start => \&start,
		round => sub {
			my ($harness) = @_;
			my ($brand, $month) = split /\|/, $harness->sql($database{store},
				q{SELECT (SELECT brand FROM bench.party WHERE no = 0), date_trunc('month', now() - interval '1 month')::date});
			my $text = $query =~ s/MONTH/day >= '$month' AND day < date '$month' + interval '1 month'/r =~ s/BRAND/brand_id = '$brand'/r;

			# The last second is never rolled up: it is left to pass.
			$harness->sql($database{store}, 'SELECT pg_sleep(1.1); SELECT postback.roll_up()') unless $option{behind};
			my ($ms, $rows) = split /\|/, $harness->sql($database{store},
				'SELECT * FROM bench.time_of(' . $harness->literal($text) . ')');
			die "no rows: $text\n" if $rows == 0;
			return { figure => $ms, note => "$rows rows" };
		},
	};
}

return {
	name => 'store',
	database => 'store_empty',
	measures => [
		over_http('empty', 'orders', 'new orders over HTTP, empty'),
		over_http('store', 'orders', 'new orders over HTTP, with the store'),
		report('month_behind', 'SELECT * FROM postback.report_daily_brands WHERE MONTH', behind => 1,
			title => 'month of all brands, orders of a round not rolled up'),
		over_http('empty', 'clicks', 'clicks over HTTP, empty'),
		over_http('store', 'clicks', 'clicks over HTTP, with the store'),
		in_postgres('empty', 'by_click', 'receive_batch by click id, empty'),
		in_postgres('store', 'by_click', 'receive_batch by click id, with the store'),
		in_postgres('empty', 'last', 'receive_batch by last click, empty'),
		in_postgres('store', 'last', 'receive_batch by last click, with the store'),
		in_postgres('empty', 'last_of_link', 'receive_batch by last click of offer and publisher, empty'),
		in_postgres('store', 'last_of_link', 'receive_batch by last click of offer and publisher, store'),
		in_postgres('empty', 'no_such_address', 'receive_batch, address that never clicked, empty'),
		in_postgres('store', 'no_such_address', 'receive_batch, address that never clicked, store'),
		report('month', 'SELECT * FROM postback.report_daily_brands WHERE MONTH', title => 'month of all brands'),
		report('month_brand', 'SELECT * FROM postback.report_daily_brands WHERE MONTH AND BRAND', title => 'month of one brand'),
		report('month_publishers', 'SELECT * FROM postback.report_daily_publishers WHERE MONTH'),
		report('month_offers', 'SELECT * FROM postback.report_daily_offers WHERE MONTH AND BRAND'),
		report('month_daily', 'SELECT * FROM postback.report_daily WHERE MONTH AND BRAND'),
		report('newest', 'SELECT * FROM postback.report_conversions ORDER BY id DESC LIMIT 100'),
		report('pending', 'SELECT * FROM postback.report_pending WHERE BRAND'),
		report('rejections', 'SELECT * FROM postback.report_rejections WHERE BRAND'),
		report('time_to_convert', 'SELECT * FROM postback.report_time_to_convert WHERE BRAND'),
	],
	rows => [
		{
			name => 'store_orders',
			title => 'store_orders: new orders with the store, share of the rate of empty',
			of => 'store_orders', against => 'empty_orders', kind => 'share', first => 0.8, then => 0.95,
		},
		{
			name => 'store_visits',
			title => 'store_visits: clicks with the store, share of the rate of empty',
			of => 'store_clicks', against => 'empty_clicks', kind => 'share', first => 0.8, then => 0.95,
		},
		{
			name => 'store_by_click',
			title => 'store_by_click: attribution by click id, times the time of empty',
			of => 'store_by_click', against => 'empty_by_click', kind => 'time', first => 1.25,
		},
		{
			name => 'store_last',
			title => 'store_last: attribution by last click, times the time of empty',
			of => 'store_last', against => 'empty_last', kind => 'time', first => 1.25,
		},
		{
			name => 'store_last_of_link',
			title => 'store_last_of_link: the same, narrowed by offer and publisher',
			of => 'store_last_of_link', against => 'empty_last_of_link', kind => 'time', first => 1.25,
		},
		{
			name => 'store_no_such_address',
			title => 'store_no_such_address: the same, narrowed by an address that never clicked',
			of => 'store_no_such_address', against => 'empty_no_such_address', kind => 'time', first => 1.25,
		},
		{
			name => 'store_month',
			title => 'store_month: daily report of a month, all brands, ms',
			of => 'month', kind => 'most', first => 100,
		},
		{
			name => 'store_month_brand',
			title => 'store_month_brand: the same of one brand, ms',
			of => 'month_brand', kind => 'most', first => 100,
		},
		map { {
			name => "store_$_->[0]", title => "store_$_->[0]: $_->[1], ms", of => $_->[0], kind => 'most',
		} } (
			[ month_behind => 'daily report of a month, with the orders of a round not rolled up' ],
			[ month_publishers => 'report_daily_publishers of a month' ],
			[ month_offers => 'report_daily_offers of a month and brand' ],
			[ month_daily => 'report_daily of a month and brand' ],
			[ newest => 'report_conversions, the newest 100' ],
			[ pending => 'report_pending of a brand' ],
			[ rejections => 'report_rejections of a brand' ],
			[ time_to_convert => 'report_time_to_convert of a brand' ],
		),
	],
};
