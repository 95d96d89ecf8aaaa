# Memory: the daemon with many connections at work, and what a backend has gained after many calls of receive().

package rows::memory;

use strict;
use warnings;

# Every kind of call: new orders, duplicates, approvals, reversals of what is not there, wrong values, events, JSON bodies,
# long queries, unknown tokens. The orders of one call are those of its number.
my $procedure = <<'SQL';
CREATE PROCEDURE bench.receive_many(first bigint, calls bigint) LANGUAGE plpgsql AS $$
DECLARE
	programme bench.programme;
	clicks text[];
	click text;
	status int;
BEGIN
	SELECT * INTO STRICT programme FROM bench.programme;
	clicks := ARRAY(SELECT id FROM bench.click ORDER BY no LIMIT 1000);
	FOR n IN first .. first + calls - 1 LOOP
		click := clicks[n % 1000 + 1];
		SELECT r.http_status INTO status FROM postback.receive(
			token => CASE WHEN n % 100 = 99 THEN 'aaaaaaaa_unknown' ELSE programme.token END,
			query => CASE n % 10
				WHEN 3 THEN format('order=m-%s&value=4999&click_id=clk_%s', n - 1, click)
				WHEN 4 THEN format('order=m-%s&status=approved', n - 2)
				WHEN 5 THEN format('order=none-%s&status=reversed', n)
				WHEN 6 THEN format('order=m-%s&value=wrong', n)
				WHEN 7 THEN format('event=install&order=m-%s&click_id=clk_%s', n, click)
				WHEN 8 THEN NULL
				WHEN 9 THEN format('order=m-%s&value=100&notice=%s', n, repeat('x', 900))
				ELSE format('order=m-%s&value=4999&click_id=clk_%s', n, click) END,
			method => CASE n % 10 WHEN 8 THEN 'POST' ELSE 'GET' END,
			body => CASE n % 10 WHEN 8 THEN format('{"order": "m-%s", "value": 100, "click_id": "%s"}', n, click) END,
			content_type => CASE n % 10 WHEN 8 THEN 'application/json' END) r;
		COMMIT;
		IF status <> (CASE WHEN n % 100 = 99 THEN 404 ELSE ('{200,200,200,200,200,404,400,200,200,200}'::int[])[n % 10 + 1] END) THEN
			RAISE EXCEPTION 'call % was answered %', n, status;
		END IF;
	END LOOP;
END
$$;
SQL

return {
	name => 'memory',
	database => 'memory',
	rounds => 1,
	measures => [
		{
			name => 'serve',
			title => 'postbackd serve, peak resident memory with all connections at work',
			unit => 'MB',
			round => sub {
				my ($harness, $database) = @_;
				my $port = $harness->free_port;
				my $connections = $harness->setting('connections');
				my $token = $harness->sql($database, 'SELECT token FROM bench.programme');
				my $clicks = $harness->file('memory-clicks');

				$harness->psql($database, '-o', $clicks, '-c', 'SELECT id FROM bench.click ORDER BY no');
				my $pid = $harness->start('serve_memory', { PGDATABASE => $database }, $harness->daemon, 'serve', '--port', $port,
					'--max-connections-per-address', $connections + 10, '--metrics-listen', '', '--log-level', 'warning');
				$harness->wait_for_port('serve_memory', $port);
				my $result = $harness->load(port => $port, connections => $connections, ids => $clicks,
					path => "/p/$token?order=connections-{n}&value=4999&click_id=clk_{id}");
				my $peak = $harness->memory_of($pid, 'VmHWM');
				$harness->stop('serve_memory');
				return { figure => $peak, note => "$connections connections, $result->{answered} orders" };
			},
		},
		{
			name => 'backend',
			title => 'a backend, private memory gained by calls of receive()',
			unit => 'MB',
			start => sub { $_[0]->psql($_[1], '-c', $procedure) },
			round => sub {
				my ($harness, $database) = @_;
				my $calls = $harness->setting('calls');
				my $warming = $harness->smoke ? 200 : 20_000;
				my $session = $harness->session($database);
				my $pid = $harness->ask($session, 'SELECT pg_backend_pid()');

				$harness->ask($session, "CALL bench.receive_many(1, $warming)");
				my $before = $harness->memory_of($pid, 'RssAnon');
				my $contexts = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';
				my $allocated = $harness->ask($session, $contexts);
				$harness->ask($session, "CALL bench.receive_many($warming + 1, $calls)");
				my $after = $harness->memory_of($pid, 'RssAnon');
				my $gained = $harness->ask($session, $contexts) - $allocated;
				$harness->close_session($session);
				return { figure => $after - $before, note => "after $calls calls; its memory contexts gained $gained bytes" };
			},
		},
	],
	rows => [
		{
			name => 'memory_serve',
			title => 'memory_serve: postbackd serve with all connections, MB',
			of => 'serve', kind => 'most', first => 64, then => 32,
		},
		{
			name => 'memory_backend',
			title => 'memory_backend: growth of a backend by all calls, MB',
			of => 'backend', kind => 'most', first => 1, then => 0,
		},
	],
};
