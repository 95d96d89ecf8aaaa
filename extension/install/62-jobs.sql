-- What cron runs: approvals when the hold is over, and upkeep.

-- No SET clause: a procedure that has one may not COMMIT.  So everything here is schema-qualified, operators too.
CREATE PROCEDURE postback.approve_due(chunk integer DEFAULT 1000)
    LANGUAGE plpgsql AS $$
DECLARE
    until pg_catalog.timestamptz := pg_catalog.clock_timestamp();
    last_hold pg_catalog.timestamptz := '-infinity';
    last_id postback.ulid := '00000000000000000000000000';
    due postback.ulid[];
    one postback.ulid;
    problem pg_catalog.text;
    size integer := GREATEST(chunk OPERATOR(pg_catalog./) 16, 1);
    began pg_catalog.timestamptz;
    ended pg_catalog.xid8; -- the transaction after the last that has ended
    crowded boolean;
BEGIN
    IF chunk OPERATOR(pg_catalog.<) 1 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('chunk %s is out of range', chunk),
            DETAIL = 'Parameter chunk is how many conversions are approved per transaction at most.',
            HINT = 'Leave it out for 1000.';
    END IF;
    LOOP
        began := pg_catalog.clock_timestamp();
        ended := pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot());
        -- Goes on after the last key, never back: what cannot be approved now is left to the next call.
        SELECT pg_catalog.array_agg(d.id), pg_catalog.max(d.hold_until)
        INTO due, last_hold
        FROM (SELECT c.id, c.hold_until
              FROM postback.conversion c
              WHERE c.status OPERATOR(pg_catalog.=) 'pending'
                AND c.commission IS NOT NULL
                AND c.hold_until OPERATOR(pg_catalog.<=) until
                AND (c.hold_until, c.id) OPERATOR(pg_catalog.>) (last_hold, last_id)
              ORDER BY c.hold_until, c.id
              LIMIT size
              FOR NO KEY UPDATE SKIP LOCKED) d;
        EXIT WHEN due IS NULL;
        last_id := due[pg_catalog.array_upper(due, 1)];

        PERFORM pg_catalog.set_config('postback.actor', 'cron', true);
        BEGIN
            UPDATE postback.conversion c SET status = 'approved' WHERE c.id OPERATOR(pg_catalog.=) ANY (due);
            problem := NULL;
        EXCEPTION WHEN OTHERS THEN
            problem := SQLERRM;
        END;
        IF problem IS NOT NULL THEN
            -- One of them cannot be approved; the others are not to wait for it.
            FOREACH one IN ARRAY due LOOP
                BEGIN
                    UPDATE postback.conversion c SET status = 'approved' WHERE c.id OPERATOR(pg_catalog.=) one;
                EXCEPTION WHEN OTHERS THEN
                    RAISE WARNING 'conversion % could not be approved: %', one, SQLERRM;
                END;
            END LOOP;
        END IF;
        crowded := pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) OPERATOR(pg_catalog.<>) ended;
        COMMIT;
        EXIT WHEN pg_catalog.cardinality(due) OPERATOR(pg_catalog.<) size;
        -- Who else writes shall not wait long, neither for a processor nor for the log: small chunks then, and half of the time.
        IF crowded THEN
            size := GREATEST(chunk OPERATOR(pg_catalog./) 16, 1);
            PERFORM pg_catalog.pg_sleep(
                LEAST(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began), 1));
        ELSE
            size := LEAST(size::bigint OPERATOR(pg_catalog.*) 2, chunk);
        END IF;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE postback.approve_due(integer) IS
'Approves the pending conversions whose hold is over, at most chunk of them per transaction, oldest hold first; history says cron.
While other transactions write it takes a sixteenth of that, and rests after each for as long as that took, a second at most: calls
are not to wait for it.
Skips locked ones (a postback is at work on them) and unpriced ones; the next call takes what is left.
A conversion that cannot be approved is a warning and does not stop the others. Must not be called inside a transaction block.';

CREATE FUNCTION postback.fold_balances() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folded bigint;
BEGIN
    -- A second one at the same time has nothing to do.
    IF NOT pg_try_advisory_xact_lock(hashtext('postback'), 3) THEN
        RETURN 0;
    END IF;
    -- One statement: whoever reads sees the rows before it or the row after it, and the same sum.
    WITH gone AS (
        DELETE FROM postback.balance b
        USING (SELECT m.id, count(*) OVER account AS rows, sum(m.amount) OVER account AS total
               FROM postback.balance m
               WINDOW account AS (PARTITION BY m.brand_id, m.account, m.publisher_id, m.currency)) k
        -- A sum that no row can hold stays in rows: the other accounts are not to wait for it.
        WHERE b.id = k.id AND k.rows > 1 AND abs(k.total) <= 9223372036854775807
        RETURNING b.brand_id, b.account, b.publisher_id, b.currency, b.amount
    ), kept AS (
        INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount)
        SELECT g.brand_id, g.account, g.publisher_id, g.currency, sum(g.amount)
        FROM gone g
        GROUP BY g.brand_id, g.account, g.publisher_id, g.currency
        HAVING sum(g.amount) <> 0
    )
    SELECT count(*) INTO folded FROM gone;
    RETURN folded;
END
$$;
COMMENT ON FUNCTION postback.fold_balances() IS
    'Folds the rows of each account in balance into one; returns how many were folded. Sums do not change';

CREATE FUNCTION postback.expire_parked() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    expired bigint;
BEGIN
    DELETE FROM postback.parked p
    WHERE p.id IN (SELECT x.id FROM postback.parked x WHERE x.expires_at <= now() FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS expired = ROW_COUNT;
    RETURN expired;
END
$$;
COMMENT ON FUNCTION postback.expire_parked() IS
    'Forgets parked follow-ups whose 24 hours are over; returns how many. Those that wait for a price stay';

CREATE FUNCTION postback.job_list(OUT job text, OUT schedule text, OUT command text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 7 SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('postback_approve_due',      '* * * * *',   'CALL postback.approve_due()'),
           ('postback_reprice_unpriced', '* * * * *',   'SELECT postback.reprice_unpriced()'),
           ('postback_fold_balances',    '* * * * *',   'SELECT postback.fold_balances()'),
           ('postback_expire_parked',    '*/5 * * * *', 'SELECT postback.expire_parked()'),
           ('postback_keep_partitions',  '7 * * * *',   'SELECT postback.keep_partitions()'),
           ('postback_keep_policies',    '8 * * * *',   'SELECT postback.keep_policies()'),
           ('postback_roll_up',          '*/2 * * * *', 'SELECT postback.roll_up()')
$$;
COMMENT ON FUNCTION postback.job_list() IS 'What schedule_jobs() schedules';

CREATE FUNCTION postback.check_cron() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cron_database text := current_setting('cron.database_name', true);
BEGIN
    IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = 'pg_cron is not in this database',
        DETAIL = CASE
            WHEN cron_database IS NULL THEN 'The server does not load pg_cron: it is not in shared_preload_libraries.'
            WHEN cron_database = current_database() THEN 'The server loads pg_cron for this database, but the extension is not created.'
            ELSE format('pg_cron lives in database "%s" (cron.database_name).', cron_database) END,
        HINT = CASE
            WHEN cron_database IS NULL THEN
                'Set shared_preload_libraries = ''pg_cron'' and cron.database_name, restart, and CREATE EXTENSION pg_cron.'
            WHEN cron_database = current_database() THEN 'CREATE EXTENSION pg_cron;'
            ELSE format('In database "%s" call, for each row of postback.job_list(): '
                        'SELECT cron.schedule_in_database(job, schedule, command, %L);',
                        cron_database, current_database()) END;
END
$$;
COMMENT ON FUNCTION postback.check_cron() IS 'Refuses, with the next step, if pg_cron cannot run jobs from here';

-- pg_cron need not be there when the extension is made, so its objects are named in dynamic SQL only.
CREATE FUNCTION postback.unschedule_jobs() RETURNS integer
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone integer;
BEGIN
    PERFORM postback.check_cron();
    EXECUTE 'SELECT count(cron.unschedule(j.jobid))
             FROM cron.job j JOIN postback.job_list() l ON l.job = j.jobname
             WHERE j.database = current_database()'
    INTO gone;
    RETURN gone;
END
$$;
COMMENT ON FUNCTION postback.unschedule_jobs() IS 'Takes postback''s jobs out of pg_cron; returns how many';

CREATE FUNCTION postback.schedule_jobs(OUT job text, OUT schedule text, OUT command text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM postback.check_cron();
    -- pg_cron keeps names per user: another user's jobs of these names would run beside ours.
    EXECUTE 'SELECT count(cron.unschedule(j.jobid))
             FROM cron.job j JOIN postback.job_list() l ON l.job = j.jobname
             WHERE j.database = current_database() AND j.username <> current_user';
    EXECUTE 'SELECT count(cron.schedule(l.job, l.schedule, l.command)) FROM postback.job_list() l';
    -- What the hourly ones do is wanted at once where a dump was just restored.
    PERFORM postback.keep_policies();
    PERFORM postback.keep_partitions();
    RETURN QUERY SELECT l.job, l.schedule, l.command FROM postback.job_list() l;
END
$$;
COMMENT ON FUNCTION postback.schedule_jobs() IS
'Has pg_cron run what postback needs: approvals, prices and balances each minute, parked follow-ups, partitions.
Called again it changes nothing. Runs as the caller. Errors: object_not_in_prerequisite_state if pg_cron is not here.';
