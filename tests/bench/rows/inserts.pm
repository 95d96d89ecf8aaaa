# Inside PostgreSQL, without HTTP: receive_batch of 256 new orders against inserting the very same rows into the same
# tables, one transaction per 256 orders on every side. Twice: as plain multi-row INSERTs with literal values, and as
# prepared INSERT ... SELECTs, which spare parsing and planning and are the least that PostgreSQL can do it for by SQL.
#
# Three databases begin alike. Each round, receive_batch makes orders in the first; the rows that each of its
# transactions left are found by the catalogue and copied into staging tables of the others, from where they are
# inserted. So all three always hold the same rows, and every INSERT meets the tables as receive_batch met them. Reading
# the arguments of receive_batch and the text of the plain INSERTs is outside the measured time, the COMMIT with its
# flush inside.

package rows::inserts;

use strict;
use warnings;

# Batches run untimed at the start of each round: then the session's caches are filled and its plans generic.
my $untimed = 8;

my ($batches, $rounds_made, @filled);
my %database_of = (plain => 'inserts_plain', prepared => 'inserts_prepared');

my $tools = <<'SQL';
CREATE TABLE bench.batch (no int PRIMARY KEY, items int[], tokens text[], methods text[], queries text[],
	bodies text[], content_types text[], remotes inet[]);
CREATE TABLE bench.done (no int PRIMARY KEY, xid bigint NOT NULL);
CREATE TABLE bench.statement (batch int, place int, text text, PRIMARY KEY (batch, place));

-- Every table, the referenced ones first, with its columns and how to write them as literals.
CREATE TABLE bench.target AS
	WITH RECURSIVE depth (oid, depth) AS (
		SELECT oid, 0 FROM pg_class
		WHERE relnamespace = 'postback'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
		UNION
		SELECT conrelid, depth + 1 FROM depth JOIN pg_constraint ON confrelid = depth.oid
		WHERE contype = 'f' AND conrelid <> confrelid AND depth < 20)
	SELECT relname AS name, row_number() OVER (ORDER BY depth, relname) AS place, columns, literals
	FROM (SELECT oid, max(depth) AS depth FROM depth GROUP BY oid) d JOIN pg_class USING (oid),
		 LATERAL (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns,
						 string_agg(format('quote_nullable(%I::text)', attname), ', ' ORDER BY attnum) AS literals
				  FROM pg_attribute
				  WHERE attrelid = d.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') a
	WHERE NOT relispartition;

DO $$
DECLARE
	target record;
BEGIN
	FOR target IN SELECT * FROM bench.target LOOP
		EXECUTE format('CREATE UNLOGGED TABLE bench.stage_%s AS SELECT 0 AS batch, %s FROM postback.%I WITH NO DATA',
					   target.name, target.columns, target.name);
		EXECUTE format('CREATE INDEX ON bench.stage_%s (batch)', target.name);
	END LOOP;
END
$$;

CREATE PROCEDURE bench.fill_batches(prefix text, batches int) LANGUAGE sql AS $$
	TRUNCATE bench.batch, bench.done;
	INSERT INTO bench.batch
	SELECT b, ARRAY(SELECT generate_series(1, 256)), array_fill(token, ARRAY[256]), array_fill('GET'::text, ARRAY[256]),
		   ARRAY(SELECT format('order=%s-%s&value=4999&click_id=clk_%s', prefix, n, c.id)
				 FROM generate_series(b * 256, b * 256 + 255) AS n
					  JOIN bench.click c ON c.no = n % (SELECT count(*) FROM bench.click)),
		   array_fill(NULL::text, ARRAY[256]), array_fill(NULL::text, ARRAY[256]),
		   array_fill('192.0.2.1'::inet, ARRAY[256])
	FROM bench.programme, generate_series(1, batches) AS b;
$$;

-- Each of the following gives the seconds that all but the untimed batches took.

CREATE PROCEDURE bench.run_batches(batches int, untimed int, INOUT seconds float8) LANGUAGE plpgsql AS $$
DECLARE
	b bench.batch;
	good int;
	xid bigint;
	started timestamptz;
	ended timestamptz;
BEGIN
	seconds := 0;
	FOR i IN 1 .. batches LOOP
		SELECT * INTO STRICT b FROM bench.batch WHERE no = i;
		started := clock_timestamp();
		SELECT count(*) FILTER (WHERE r.http_status = 200) INTO good
		FROM postback.receive_batch(b.items, b.tokens, b.methods, b.queries, b.bodies, b.content_types, b.remotes) AS r;
		xid := pg_current_xact_id()::text::bigint;
		COMMIT;
		ended := clock_timestamp();
		IF i > untimed THEN
			seconds := seconds + extract(epoch FROM ended - started);
		END IF;
		IF good <> 256 THEN
			RAISE EXCEPTION 'only % of 256 orders were created', good;
		END IF;
		INSERT INTO bench.done VALUES (i, xid);
		COMMIT;
	END LOOP;
END
$$;

CREATE PROCEDURE bench.run_plain(batches int, untimed int, INOUT seconds float8) LANGUAGE plpgsql AS $$
DECLARE
	statements text[];
	statement text;
	started timestamptz;
	ended timestamptz;
BEGIN
	seconds := 0;
	FOR i IN 1 .. batches LOOP
		SELECT array_agg(text || '' ORDER BY place) INTO STRICT statements FROM bench.statement WHERE batch = i;
		started := clock_timestamp();
		FOREACH statement IN ARRAY statements LOOP
			EXECUTE statement;
		END LOOP;
		COMMIT;
		ended := clock_timestamp();
		IF i > untimed THEN
			seconds := seconds + extract(epoch FROM ended - started);
		END IF;
	END LOOP;
END
$$;

-- Writes the plain INSERTs of what is staged.
CREATE PROCEDURE bench.prepare_plain(tables text[]) LANGUAGE plpgsql AS $$
DECLARE
	target record;
BEGIN
	TRUNCATE bench.statement;
	FOR target IN SELECT * FROM bench.target WHERE name = ANY (tables) LOOP
		EXECUTE format($f$
			INSERT INTO bench.statement
			SELECT batch, $1, 'INSERT INTO postback.%I (%s) OVERRIDING SYSTEM VALUE VALUES ' ||
				   string_agg('(' || concat_ws(', ', %s) || ')', ', ' ORDER BY ctid)
			FROM bench.stage_%s GROUP BY batch$f$,
			target.name, target.columns, target.literals, target.name) USING target.place;
	END LOOP;
END
$$;

-- Writes the procedure whose INSERTs are prepared by its session.
CREATE PROCEDURE bench.prepare_prepared(tables text[]) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($f$
		CREATE OR REPLACE PROCEDURE bench.run_prepared(batches int, untimed int, INOUT seconds float8) LANGUAGE plpgsql AS $p$
		DECLARE
			started timestamptz;
			ended timestamptz;
		BEGIN
			seconds := 0;
			FOR i IN 1 .. batches LOOP
				started := clock_timestamp();
				%s
				COMMIT;
				ended := clock_timestamp();
				IF i > untimed THEN
					seconds := seconds + extract(epoch FROM ended - started);
				END IF;
			END LOOP;
		END
		$p$ $f$,
		(SELECT string_agg(format('INSERT INTO postback.%I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM bench.stage_%s WHERE batch = i;',
								  name, columns, columns, name), E'\n' ORDER BY place)
		 FROM bench.target WHERE name = ANY (tables)));
END
$$;
SQL

# "table rows" of every table, for comparing the databases.
sub row_counts
{
	my ($harness, $database) = @_;

	return $harness->sql($database, q{SELECT string_agg(format('%s %s', name,
			(xpath('/row/count/text()', query_to_xml(format('SELECT count(*) FROM postback.%I', name), true, true, '')))[1]),
			', ' ORDER BY name) FROM bench.target});
}

sub make_tools
{
	my ($harness, $database) = @_;

	$harness->psql($database, '-o', '/dev/null', '-c', $tools);
	return;
}

sub timed
{
	my ($harness, $database, $procedure) = @_;

	$harness->settle;
	my $result = $harness->with_cpu(sub {
		return { elapsed => $harness->sql($database, "CALL bench.$procedure($batches, $untimed, 0)") };
	});
	$result->{figure} = ($batches - $untimed) * 256 / $result->{elapsed};
	return $result;
}

# Writes what each transaction of the last round left to a file per table. A row that it changed rather than made is
# among them and will be met again by its INSERT, which then fails.
sub export_rows
{
	my ($harness, $database) = @_;

	@filled = ();
	for my $line (split /\n/, $harness->sql($database, 'SELECT name, columns FROM bench.target ORDER BY place'))
	{
		my ($table, $columns) = split /\|/, $line;
		my $file = $harness->file("stage_$table");

		$harness->psql($database, '-c', qq{\\copy (SELECT width_bucket(xmin::text::bigint, s.starts), $columns
			FROM postback.$table, (SELECT array_agg(xid ORDER BY no) AS starts FROM bench.done OFFSET 0) s
			WHERE xmin::text::bigint >= s.starts[1]) TO '$file'} =~ s/\s+/ /gr);
		push @filled, $table if -s $file;
	}
	return;
}

# A measure that inserts the rows of the last round into a database of its own.
sub inserting
{
	my ($name, $title) = @_;
	my $database = $database_of{$name};

	return {
		name => $name,
		title => $title,
		start => sub { make_tools($_[0], $_[0]->make_database($database)) },
		round => sub {
			my ($harness, $first_database) = @_;

			for my $table (@filled)
			{
				my $file = $harness->file("stage_$table");

				$harness->psql($database, '-c', "TRUNCATE bench.stage_$table", '-c', "\\copy bench.stage_$table FROM '$file'",
					'-c', "VACUUM ANALYZE bench.stage_$table");
			}
			$harness->sql($database, "CALL bench.prepare_$name('{" . join(',', @filled) . "}')");
			my $result = timed($harness, $database, "run_$name");
			my ($made, $inserted) = map { row_counts($harness, $_) } $first_database, $database;
			die "not the same rows: receive_batch made $made; INSERTs made $inserted\n" if $made ne $inserted;
			return $result;
		},
	};
}

return {
	name => 'inside',
	database => 'inserts',
	measures => [
		{
			name => 'receive_batch',
			title => 'postbacks by receive_batch of 256, in PostgreSQL',
			start => sub {
				my ($harness, $database) = @_;

				$batches = $untimed + ($harness->smoke ? 8 : int(20 * $harness->seconds));
				make_tools($harness, $database);
			},
			round => sub {
				my ($harness, $database) = @_;

				$rounds_made++;
				$harness->sql($database, "CALL bench.fill_batches('r$rounds_made', $batches)");
				my $result = timed($harness, $database, 'run_batches');
				export_rows($harness, $database);
				return $result;
			},
		},
		inserting('plain', 'the same rows by plain INSERTs of 256'),
		inserting('prepared', 'the same rows by prepared INSERT ... SELECT of 256'),
	],
	rows => [
		{
			name => 'inserts',
			title => 'inserts: receive_batch, times the time of plain INSERTs',
			of => 'receive_batch', against => 'plain', kind => 'time', first => 2.5, then => 1.5,
		},
		{
			name => 'prepared',
			title => 'prepared: the same, of prepared INSERT ... SELECTs',
			of => 'receive_batch', against => 'prepared', kind => 'time', first => 2.5, then => 1.5,
		},
	],
};
