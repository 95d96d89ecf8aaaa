-- Partitions by id, which is by time: kept ahead, and dropped when they are old.

CREATE FUNCTION postback.partition_defaults(OUT table_name text, OUT width interval, OUT ahead integer, OUT retention interval)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 7 SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('click',        interval '7 days',  3, interval '400 days'), -- attribution, and a year's reports
           ('click_detail', interval '7 days',  3, interval '30 days'),  -- personal data: as short as is useful
           ('receipt',      interval '7 days',  3, interval '400 days'), -- a year's disputes
           ('delivery',     interval '7 days',  3, interval '90 days'),
           ('attempt',      interval '7 days',  3, interval '90 days'),
           ('history',      interval '1 month', 3, NULL),                -- audit() recomputes from all of history
           ('ledger',       interval '1 month', 3, NULL)                 -- and from all of the ledger
$$;
COMMENT ON FUNCTION postback.partition_defaults() IS
    'What keep_partitions() puts into partition_policy for a table that is not there yet';

CREATE FUNCTION postback.partition_floor(width interval, at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    months integer := extract(year FROM width) * 12 + extract(month FROM width);
    past integer;
BEGIN
    IF months = 0 THEN
        RETURN date_bin(width, at, timestamptz 'epoch');
    END IF;
    IF width <> make_interval(months => months) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('width %s mixes months with days', width),
            DETAIL = 'The width of partitions is either whole months, or days and hours.',
            HINT = 'UPDATE postback.partition_policy SET width = ''1 month'' or ''28 days''.';
    END IF;
    past := (extract(year FROM at AT TIME ZONE 'UTC') - 1970) * 12 + extract(month FROM at AT TIME ZONE 'UTC') - 1;
    past := past - (past % months + months) % months;
    RETURN (timestamp 'epoch' + make_interval(months => past)) AT TIME ZONE 'UTC';
END
$$;
COMMENT ON FUNCTION postback.partition_floor(interval, timestamptz) IS
    'The last moment at or before at that is a multiple of width after 1970-01-01 UTC; width: months, or days and hours';

CREATE FUNCTION postback.partition_next(width interval, at timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (postback.partition_floor(width, at) AT TIME ZONE 'UTC' + width) AT TIME ZONE 'UTC'
$$;
COMMENT ON FUNCTION postback.partition_next(interval, timestamptz) IS 'The first such moment after at';

CREATE FUNCTION postback.partition_bounds(
    parent regclass, OUT partition regclass, OUT lower postback.ulid, OUT upper postback.ulid)
    RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid, b.bounds[1]::postback.ulid, b.bounds[2]::postback.ulid
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(\w+)''\) TO \(''(\w+)''\)')
        AS b (bounds)
    WHERE i.inhparent = parent AND b.bounds IS NOT NULL
    ORDER BY 2
$$;
COMMENT ON FUNCTION postback.partition_bounds(regclass) IS
    'The table''s partitions but the default one, with their bounds (upper is exclusive), as the catalogue has them';

CREATE FUNCTION postback.make_partition(table_name text, starts timestamptz, ends timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    partition text := table_name || '_p' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDDHH24MI');
    default_table text := table_name || '_default';
    lower postback.ulid := postback.ulid_floor(starts);
    upper postback.ulid := postback.ulid_floor(ends);
    options text;
BEGIN
    -- click_p20260101, with the hour and minute only if it does not begin at midnight
    partition := regexp_replace(regexp_replace(partition, '(_p\d{10})00$', '\1'), '(_p\d{8})00$', '\1');

    -- Until this is committed nothing is written to the default partition, whose rows of this range move.
    EXECUTE format('LOCK TABLE postback.%I IN ACCESS EXCLUSIVE MODE', default_table);
    -- Whoever writes now goes there so far: he must not wait for it, and fail, but for the table, and find the new partition.
    IF starts <= clock_timestamp() THEN
        EXECUTE format('LOCK TABLE ONLY postback.%I IN SHARE ROW EXCLUSIVE MODE', table_name);
    END IF;
    EXECUTE format('CREATE TABLE postback.%I (LIKE postback.%I INCLUDING ALL)', partition, default_table);
    SELECT array_to_string(c.reloptions, ', ') INTO options
    FROM pg_class c
    WHERE c.oid = format('postback.%I', default_table)::regclass;
    IF options IS NOT NULL THEN
        EXECUTE format('ALTER TABLE postback.%I SET (%s)', partition, options);
    END IF;
    EXECUTE format('WITH moved AS (DELETE FROM postback.%I WHERE id >= $1 AND id < $2 RETURNING *)
                    INSERT INTO postback.%I SELECT * FROM moved', default_table, partition)
        USING lower, upper;
    EXECUTE format('ALTER TABLE postback.%I ATTACH PARTITION postback.%I FOR VALUES FROM (%L) TO (%L)',
                   table_name, partition, lower, upper);
    RETURN partition;
END
$$;
COMMENT ON FUNCTION postback.make_partition(text, timestamptz, timestamptz) IS
    'One partition for the ids of that time, made like the default one, from which its rows are moved; returns its name';

-- Retention is how long rows are kept at least: what still works with them keeps them longer.  Volatile, so that it looks at the
-- queue as it is once it has its lock: before compact_due() has written it anew there is nothing in what it has become.
CREATE FUNCTION postback.still_needed(table_name text, lower postback.ulid, upper postback.ulid, at timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF table_name = 'delivery' AND EXISTS (SELECT FROM postback.delivery_due q
                                           WHERE q.delivery_id >= lower AND q.delivery_id < upper) THEN
        RETURN 'deliveries to be sent';
    END IF;
    IF table_name = 'click' AND upper > postback.ulid_floor(
           at - (SELECT max(w.attribution_window)
                 FROM (SELECT b.attribution_window FROM postback.brand b
                       UNION ALL SELECT o.attribution_window FROM postback.offer o) w)) THEN
        RETURN 'an attribution window';
    END IF;
    IF table_name IN ('click', 'history') AND NOT EXISTS (SELECT FROM postback.daily_mark m WHERE m.upto >= upper) THEN
        RETURN 'the daily reports';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION postback.still_needed(text, postback.ulid, postback.ulid, timestamptz) IS
    'What the table''s rows with ids from lower to upper (exclusive) are needed for, however old they are; null: nothing';

CREATE FUNCTION postback.keep_partitions(
    at timestamptz DEFAULT now(), OUT table_name text, OUT partition text, OUT action text)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
#variable_conflict use_column
DECLARE
    policy record;
    existing record;
    starts timestamptz;
    ends timestamptz;
    covered timestamptz;
    next_lower timestamptz;
    until timestamptz;
    oldest postback.ulid;
    need text;
    purged bigint;
BEGIN
    -- Two at once would make the same partitions.
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('postback'), 1);
    EXCEPTION WHEN lock_not_available THEN
        action := 'busy';
        RETURN NEXT;
        RETURN;
    END;

    -- Policies are kept as rows by this function, not by the extension's script, so that a dump holds all of them.
    INSERT INTO postback.partition_policy (table_name, width, ahead, retention)
    SELECT d.table_name, d.width, d.ahead, d.retention FROM postback.partition_defaults() d
    ON CONFLICT DO NOTHING;

    FOR policy IN
        SELECT p.table_name, p.width, p.ahead, p.retention
        FROM postback.partition_policy p
        JOIN postback.partition_defaults() d ON d.table_name = p.table_name
        ORDER BY p.table_name COLLATE "C"
    LOOP
        table_name := policy.table_name;

        -- The current partition and those ahead.  Bounds that are there stay, whatever width they were made with; what is
        -- made begins where they end, or fills the gaps between them.
        starts := postback.partition_floor(policy.width, at);
        until := starts;
        FOR i IN 0 .. policy.ahead LOOP
            until := postback.partition_next(policy.width, until);
        END LOOP;
        WHILE starts < until LOOP
            SELECT max(postback.ulid_time(b.upper)) FILTER (WHERE b.lower <= postback.ulid_floor(starts)),
                   min(postback.ulid_time(b.lower)) FILTER (WHERE b.lower > postback.ulid_floor(starts))
            INTO covered, next_lower
            FROM postback.partition_bounds(format('postback.%I', table_name)::regclass) b
            WHERE b.upper > postback.ulid_floor(starts);
            IF covered IS NOT NULL THEN
                starts := covered;
                CONTINUE;
            END IF;
            ends := least(postback.partition_next(policy.width, starts), next_lower);
            BEGIN
                partition := postback.make_partition(table_name, starts, ends);
                action := 'created';
            EXCEPTION WHEN lock_not_available THEN
                partition := NULL;
                action := 'busy';
            END;
            RETURN NEXT;
            EXIT WHEN action = 'busy';
            starts := ends;
        END LOOP;

        CONTINUE WHEN policy.retention IS NULL;
        oldest := postback.ulid_floor(at - policy.retention);
        FOR existing IN
            SELECT b.partition AS relation, c.relname::text AS name, b.lower, b.upper
            FROM postback.partition_bounds(format('postback.%I', table_name)::regclass) b
            JOIN pg_class c ON c.oid = b.partition
            WHERE b.upper <= oldest
        LOOP
            partition := existing.name;
            need := postback.still_needed(table_name, existing.lower, existing.upper, at);
            IF need IS NOT NULL THEN
                action := 'kept for ' || need;
                RETURN NEXT;
                CONTINUE;
            END IF;
            BEGIN
                EXECUTE format('DROP TABLE %s', existing.relation);
                action := 'dropped';
            EXCEPTION WHEN lock_not_available THEN
                action := 'busy';
            END;
            RETURN NEXT;
        END LOOP;

        -- Rows that came when no partition had been made for them.
        partition := table_name || '_default';
        EXECUTE format('DELETE FROM postback.%I d WHERE d.id < $1
                          AND postback.still_needed($2, d.id, postback.ulid_floor(postback.ulid_time(d.id) + interval ''1 ms''), $3) IS NULL',
                       partition)
            USING oldest, table_name, at;
        GET DIAGNOSTICS purged = ROW_COUNT;
        IF purged > 0 THEN
            action := 'purged';
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION postback.keep_partitions(timestamptz) IS
'Makes the partitions for now and for the time ahead, and drops those past their retention, as partition_policy says;
returns what was done: created, dropped, purged (rows in the default partition), kept (past its retention, but still needed:
for deliveries to be sent, an attribution window, the daily reports), or busy (a lock was not to be had within 200 ms: the next
call tries again). Safe to call at any time; schedule_jobs() has it called hourly.';
