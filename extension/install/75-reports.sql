-- Reports. Views named report_*, to be read by people: amounts in full units, ids last. They run with the reader's own
-- rights, so row-level security holds in them. Days are UTC.
--
-- Daily figures are rolled up. Everything that happened before a mark (an id, hence a moment) is in table daily, everything
-- after it is added by the view from the rows themselves, so that the sum is exact at every moment.  The mark is only ever
-- set where no transaction is under way any more that could still commit rows with ids below it.  So daily is right by the mark
-- alone, in whatever order transactions commit, and after a restore too.

CREATE FUNCTION postback.full_units(minor numeric, currency text) RETURNS numeric
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'postback_full_units';
COMMENT ON FUNCTION postback.full_units(numeric, text) IS
    'Minor units in full units, with the currency''s decimals: 4999, EUR is 49.99; null if there is no such currency';

CREATE TABLE postback.daily (
    brand_id        postback.ulid NOT NULL,
    day             date NOT NULL,
    offer_id        postback.ulid,
    publisher_id    postback.ulid,
    clicks          bigint NOT NULL,
    unique_clicks   bigint NOT NULL,
    pending         bigint NOT NULL,
    approved        bigint NOT NULL,
    reversed        bigint NOT NULL,
    pending_payout  numeric NOT NULL,
    pending_fee     numeric NOT NULL,
    approved_payout numeric NOT NULL,
    approved_fee    numeric NOT NULL,
    CONSTRAINT daily_key UNIQUE NULLS NOT DISTINCT (brand_id, day, offer_id, publisher_id)
) WITH (fillfactor = 80);
CREATE INDEX daily_day_idx ON postback.daily (day);
COMMENT ON TABLE postback.daily IS
'Clicks and conversions per day (UTC) as of the mark in daily_mark; see report_daily. A conversion counts on the day it was
created, with the status it has: later changes move it within its day. Test orders do not count';
COMMENT ON COLUMN postback.daily.offer_id IS 'Null, as publisher_id: unattributed';
COMMENT ON COLUMN postback.daily.unique_clicks IS
    'Visitors (address and user agent) of this offer through this publisher on this day; clicks without an address count each';
COMMENT ON COLUMN postback.daily.pending_payout IS 'Commission of pending conversions, minor units of the brand''s currency; so all amounts';

CREATE TABLE postback.daily_brand (
    brand_id        postback.ulid NOT NULL,
    day             date NOT NULL,
    clicks          bigint NOT NULL,
    unique_clicks   bigint NOT NULL,
    pending         bigint NOT NULL,
    approved        bigint NOT NULL,
    reversed        bigint NOT NULL,
    pending_payout  numeric NOT NULL,
    pending_fee     numeric NOT NULL,
    approved_payout numeric NOT NULL,
    approved_fee    numeric NOT NULL,
    PRIMARY KEY (brand_id, day)
) WITH (fillfactor = 80);
CREATE INDEX daily_brand_day_idx ON postback.daily_brand (day);
COMMENT ON TABLE postback.daily_brand IS
'The rows of daily added up over offers and publishers, so that a month of all brands is a few hundred rows; written with them';
COMMENT ON COLUMN postback.daily_brand.pending_payout IS 'Commission of pending conversions, minor units of the brand''s currency; so all amounts';

CREATE TABLE postback.daily_mark (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    upto      postback.ulid NOT NULL,
    rolled_at timestamptz NOT NULL
);
COMMENT ON TABLE postback.daily_mark IS 'How far daily goes: one row, none before the first roll_up()';
COMMENT ON COLUMN postback.daily_mark.upto IS 'All clicks and history with lower ids are in daily, none with this or a higher one is';

CREATE TABLE postback.daily_visitor (
    brand_id     postback.ulid NOT NULL,
    publisher_id postback.ulid NOT NULL,
    day          date NOT NULL,
    visitor      bigint NOT NULL,
    PRIMARY KEY (brand_id, day, visitor)
);
COMMENT ON TABLE postback.daily_visitor IS 'Who was counted as a unique click on the day of the mark';
COMMENT ON COLUMN postback.daily_visitor.visitor IS 'Hash of brand, offer, publisher and the click''s hashes of address and user agent';

CREATE FUNCTION postback.visitor_of(
    brand postback.ulid, offer postback.ulid, publisher postback.ulid, address_hash bigint, agent_hash bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN address_hash IS NOT NULL THEN
        pg_catalog.hash_record_extended(ROW(brand, offer, publisher, address_hash, agent_hash), 0) END;
COMMENT ON FUNCTION postback.visitor_of(postback.ulid, postback.ulid, postback.ulid, bigint, bigint) IS
    'Whom a click counts for in daily_visitor; null: nobody is known, it counts by itself';

-- Ids after .. before - 1. What a change of a conversion changes in the figures is its row of history, from and to, so that
-- the order of rows does not matter. Only one thing about a conversion's place changes, and once: staff can attribute it.
CREATE FUNCTION postback.daily_changes(after postback.ulid, before postback.ulid) RETURNS SETOF postback.daily
    LANGUAGE plpgsql STABLE ROWS 1000
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    WITH attributed_later AS MATERIALIZED (
        SELECT h.conversion_id
        FROM postback.history h
        WHERE h.id >= before AND h.actor = 'staff' AND h.from_status = h.to_status AND h.from_value = h.to_value
    ),
    change AS MATERIALIZED (
        SELECT h.conversion_id,
               bool_or(h.actor = 'staff' AND h.from_status = h.to_status AND h.from_value = h.to_value) AS attributed,
               sum(s.sign) FILTER (WHERE s.status = 'pending') AS pending,
               sum(s.sign) FILTER (WHERE s.status = 'approved') AS approved,
               sum(s.sign) FILTER (WHERE s.status = 'reversed') AS reversed,
               sum(s.sign * s.commission) FILTER (WHERE s.status = 'pending') AS pending_payout,
               sum(s.sign * s.fee) FILTER (WHERE s.status = 'pending') AS pending_fee,
               sum(s.sign * s.commission) FILTER (WHERE s.status = 'approved') AS approved_payout,
               sum(s.sign * s.fee) FILTER (WHERE s.status = 'approved') AS approved_fee
        FROM postback.history h
        CROSS JOIN LATERAL (VALUES (-1::numeric, h.from_status, h.from_commission, h.from_fee),
                                   (1, h.to_status, h.to_commission, h.to_fee)) AS s (sign, status, commission, fee)
        WHERE h.id >= after AND h.id < before
        GROUP BY h.conversion_id
    ),
    placed AS MATERIALIZED (
        SELECT c.brand_id, (postback.ulid_time(c.id) AT TIME ZONE 'UTC')::date AS day, c.id,
               CASE WHEN l.conversion_id IS NULL THEN c.offer_id END AS offer_id,
               CASE WHEN l.conversion_id IS NULL THEN c.publisher_id END AS publisher_id,
               k.attributed, c.status, c.commission, c.fee,
               coalesce(k.pending, 0) AS pending, coalesce(k.approved, 0) AS approved, coalesce(k.reversed, 0) AS reversed,
               coalesce(k.pending_payout, 0) AS pending_payout, coalesce(k.pending_fee, 0) AS pending_fee,
               coalesce(k.approved_payout, 0) AS approved_payout, coalesce(k.approved_fee, 0) AS approved_fee
        FROM change k
        CROSS JOIN LATERAL (SELECT * FROM postback.conversion x WHERE x.id = k.conversion_id LIMIT 1) c
        LEFT JOIN attributed_later l ON l.conversion_id = k.conversion_id
        WHERE NOT c.test
    ),
    -- What an attributed one amounted to, unattributed, before these ids: what it is now, less all changes since.
    moved AS MATERIALIZED (
        SELECT p.brand_id, p.day, p.offer_id, p.publisher_id,
               (p.status = 'pending')::int - coalesce(w.pending, 0) AS pending,
               (p.status = 'approved')::int - coalesce(w.approved, 0) AS approved,
               (p.status = 'reversed')::int - coalesce(w.reversed, 0) AS reversed
        FROM placed p
        CROSS JOIN LATERAL (
            SELECT sum(s.sign) FILTER (WHERE s.status = 'pending') AS pending,
                   sum(s.sign) FILTER (WHERE s.status = 'approved') AS approved,
                   sum(s.sign) FILTER (WHERE s.status = 'reversed') AS reversed
            FROM postback.history h
            CROSS JOIN LATERAL (VALUES (-1::numeric, h.from_status), (1, h.to_status)) AS s (sign, status)
            WHERE h.conversion_id = p.id AND h.id >= after) w
        WHERE p.attributed
    ),
    clicked AS MATERIALIZED (
        SELECT k.brand_id, (postback.ulid_time(k.id) AT TIME ZONE 'UTC')::date AS day, k.offer_id, k.publisher_id,
               postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash) AS visitor
        FROM postback.click k
        WHERE k.id >= after AND k.id < before
    ),
    part AS (
        SELECT p.brand_id, p.day, p.offer_id, p.publisher_id, 0::bigint AS clicks, 0::bigint AS unique_clicks, p.pending, p.approved,
               p.reversed, p.pending_payout, p.pending_fee, p.approved_payout, p.approved_fee
        FROM placed p
        UNION ALL  -- unattributed ones have neither commission nor fee
        SELECT m.brand_id, m.day, s.offer_id, s.publisher_id, 0, 0, s.sign * m.pending, s.sign * m.approved, s.sign * m.reversed,
               0, 0, 0, 0
        FROM moved m
        CROSS JOIN LATERAL (VALUES (1, m.offer_id, m.publisher_id), (-1, NULL, NULL)) AS s (sign, offer_id, publisher_id)
        UNION ALL
        SELECT k.brand_id, k.day, k.offer_id, k.publisher_id, count(*), count(*) FILTER (WHERE k.visitor IS NULL), 0, 0, 0, 0, 0, 0, 0
        FROM clicked k
        GROUP BY k.brand_id, k.day, k.offer_id, k.publisher_id
        UNION ALL
        SELECT u.brand_id, u.day, u.offer_id, u.publisher_id, 0, count(*), 0, 0, 0, 0, 0, 0, 0
        FROM (SELECT DISTINCT k.brand_id, k.day, k.offer_id, k.publisher_id, k.visitor
              FROM clicked k
              WHERE k.visitor IS NOT NULL) u
        LEFT JOIN LATERAL (SELECT true AS seen FROM postback.daily_visitor d
                           WHERE d.brand_id = u.brand_id AND d.day = u.day AND d.visitor = u.visitor LIMIT 1) d ON true
        WHERE d.seen IS NULL
        GROUP BY u.brand_id, u.day, u.offer_id, u.publisher_id
    )
    SELECT p.brand_id, p.day, p.offer_id, p.publisher_id, sum(p.clicks)::bigint, sum(p.unique_clicks)::bigint,
           sum(p.pending)::bigint, sum(p.approved)::bigint, sum(p.reversed)::bigint,
           sum(p.pending_payout), sum(p.pending_fee), sum(p.approved_payout), sum(p.approved_fee)
    FROM part p
    GROUP BY p.brand_id, p.day, p.offer_id, p.publisher_id;
END
$$;
COMMENT ON FUNCTION postback.daily_changes(postback.ulid, postback.ulid) IS
'What the clicks and changes of conversions with ids from after (inclusive) to before (exclusive) add to daily, as differences,
given that daily and daily_visitor hold what was before after';

CREATE FUNCTION postback.daily_tail() RETURNS SETOF postback.daily
    LANGUAGE sql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.*
    FROM postback.daily_changes(
             coalesce((SELECT m.upto FROM postback.daily_mark m), postback.ulid_floor('-infinity')),
             postback.ulid_floor('infinity')) t
    -- Who sees one publisher only sees what was attributed to it, not what that took from the unattributed.
    WHERE t.offer_id IS NOT NULL
       OR least(t.pending, t.approved, t.reversed) >= 0
       OR EXISTS (SELECT FROM postback.daily d WHERE d.brand_id = t.brand_id AND d.day = t.day AND d.offer_id IS NULL)
$$;
COMMENT ON FUNCTION postback.daily_tail() IS 'What is not in daily yet, as differences to it';

-- A moment that no transaction under way began before, or null if that cannot be known now.  What has no transaction id
-- yet has written nothing, and its ids are made by the statement that writes them.
CREATE FUNCTION postback.settled_until() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz;
    earliest timestamptz;
    unknown boolean;
BEGIN
    IF NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('role %s may not see what other sessions do', current_user),
            DETAIL = 'Without that it cannot be known which transactions are under way.',
            HINT = format('GRANT pg_read_all_stats TO %I;', current_user);
    END IF;
    PERFORM pg_stat_clear_snapshot();
    at := clock_timestamp();
    SELECT min(CASE WHEN a.backend_xid IS NOT NULL THEN a.xact_start
                    WHEN a.state IN ('idle', 'idle in transaction', 'idle in transaction (aborted)') THEN NULL
                    ELSE greatest(a.query_start, a.xact_start) END) FILTER (WHERE a.xact_start IS NOT NULL),
           bool_or(a.xact_start IS NULL AND coalesce(a.state, 'disabled') = 'disabled'
                   AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL))
    INTO earliest, unknown
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND a.backend_type NOT IN ('autovacuum launcher', 'autovacuum worker', 'parallel worker', 'walsender');
    IF unknown OR EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.database = current_database()) THEN
        RETURN NULL;
    END IF;
    RETURN least(earliest, at);
END
$$;
COMMENT ON FUNCTION postback.settled_until() IS
'No transaction that is under way in this database will commit rows with ids before this moment. Null: not known now (a prepared
transaction, or a session with track_activities off). Errors: insufficient_privilege.';

CREATE FUNCTION postback.roll_up() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off SET enable_seqscan = off AS $$
DECLARE
    after postback.ulid;
    before postback.ulid;
    today date;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_transaction_state',
            MESSAGE = format('roll_up() cannot run in a transaction that is %s', current_setting('transaction_isolation')),
            DETAIL = 'It must see what was committed up to the moment it starts.',
            HINT = 'Call it in a transaction of its own.';
    END IF;
    -- A second one at the same time has nothing to do.
    IF NOT pg_try_advisory_xact_lock(hashtext('postback'), 4) THEN
        RETURN (SELECT postback.ulid_time(m.upto) FROM postback.daily_mark m);
    END IF;
    SELECT m.upto INTO after FROM postback.daily_mark m;
    after := coalesce(after, postback.ulid_floor('-infinity'));
    -- A second less: sessions' clocks are one clock, but it may be set back a little.
    before := postback.ulid_floor(postback.settled_until() - interval '1 second');
    IF before IS NULL OR before <= after THEN
        RETURN postback.ulid_time(after);
    END IF;
    today := (postback.ulid_time(before) AT TIME ZONE 'UTC')::date;

    WITH change AS MATERIALIZED (
        SELECT c.* FROM postback.daily_changes(after, before) c
        WHERE (c.clicks, c.unique_clicks, c.pending, c.approved, c.reversed, c.pending_payout, c.pending_fee, c.approved_payout,
               c.approved_fee) <> (0, 0, 0, 0, 0, 0, 0, 0, 0)
    ), of_brand AS (
        INSERT INTO postback.daily_brand AS d
        SELECT c.brand_id, c.day, sum(c.clicks)::bigint, sum(c.unique_clicks)::bigint, sum(c.pending)::bigint, sum(c.approved)::bigint,
               sum(c.reversed)::bigint, sum(c.pending_payout), sum(c.pending_fee), sum(c.approved_payout), sum(c.approved_fee)
        FROM change c
        GROUP BY c.brand_id, c.day
        ON CONFLICT ON CONSTRAINT daily_brand_pkey DO UPDATE SET
            clicks = d.clicks + excluded.clicks, unique_clicks = d.unique_clicks + excluded.unique_clicks,
            pending = d.pending + excluded.pending, approved = d.approved + excluded.approved,
            reversed = d.reversed + excluded.reversed,
            pending_payout = d.pending_payout + excluded.pending_payout, pending_fee = d.pending_fee + excluded.pending_fee,
            approved_payout = d.approved_payout + excluded.approved_payout, approved_fee = d.approved_fee + excluded.approved_fee
    )
    INSERT INTO postback.daily AS d
    SELECT c.* FROM change c
    ON CONFLICT ON CONSTRAINT daily_key DO UPDATE SET
        clicks = d.clicks + excluded.clicks, unique_clicks = d.unique_clicks + excluded.unique_clicks,
        pending = d.pending + excluded.pending, approved = d.approved + excluded.approved,
        reversed = d.reversed + excluded.reversed,
        pending_payout = d.pending_payout + excluded.pending_payout, pending_fee = d.pending_fee + excluded.pending_fee,
        approved_payout = d.approved_payout + excluded.approved_payout, approved_fee = d.approved_fee + excluded.approved_fee;

    -- Later clicks are of the mark's day or of later ones.
    DELETE FROM postback.daily_visitor v WHERE v.day < today;
    INSERT INTO postback.daily_visitor
    SELECT v.brand_id, v.publisher_id, today, v.visitor
    FROM (SELECT k.brand_id, k.publisher_id,
                 postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash) AS visitor
          FROM postback.click k
          WHERE k.id >= greatest(after, postback.ulid_floor(today::timestamp AT TIME ZONE 'UTC')) AND k.id < before) v
    WHERE v.visitor IS NOT NULL
    ON CONFLICT DO NOTHING;

    INSERT INTO postback.daily_mark AS m (upto, rolled_at) VALUES (before, clock_timestamp())
    ON CONFLICT (one) DO UPDATE SET upto = excluded.upto, rolled_at = excluded.rolled_at;
    RETURN postback.ulid_time(before);
END
$$;
COMMENT ON FUNCTION postback.roll_up() IS
'Adds to daily what has happened since the last call; returns the moment up to which daily goes. That stays behind while a
transaction is under way that has written something: reports are exact all the same, they read what is not rolled up from the rows.
Errors: invalid_transaction_state, insufficient_privilege.';

CREATE FUNCTION postback.daily_facts(since date) RETURNS SETOF postback.daily
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT f.brand_id, f.day, f.offer_id, f.publisher_id, sum(f.clicks)::bigint, sum(f.unique_clicks)::bigint,
           sum(f.pending)::bigint, sum(f.approved)::bigint, sum(f.reversed)::bigint,
           coalesce(sum(f.pending_payout), 0), coalesce(sum(f.pending_fee), 0),
           coalesce(sum(f.approved_payout), 0), coalesce(sum(f.approved_fee), 0)
    FROM (SELECT c.brand_id, (postback.ulid_time(c.id) AT TIME ZONE 'UTC')::date AS day, c.offer_id, c.publisher_id,
                 0 AS clicks, 0 AS unique_clicks,
                 (c.status = 'pending')::int AS pending, (c.status = 'approved')::int AS approved,
                 (c.status = 'reversed')::int AS reversed,
                 CASE c.status WHEN 'pending' THEN c.commission END::numeric AS pending_payout,
                 CASE c.status WHEN 'pending' THEN c.fee END::numeric AS pending_fee,
                 CASE c.status WHEN 'approved' THEN c.commission END::numeric AS approved_payout,
                 CASE c.status WHEN 'approved' THEN c.fee END::numeric AS approved_fee
          FROM postback.conversion c
          WHERE NOT c.test AND c.id >= postback.ulid_floor(since::timestamp AT TIME ZONE 'UTC')
          UNION ALL
          SELECT k.brand_id, k.day, k.offer_id, k.publisher_id, count(*),
                 count(DISTINCT k.visitor) + count(*) FILTER (WHERE k.visitor IS NULL), 0, 0, 0, 0, 0, 0, 0
          FROM (SELECT x.brand_id, (postback.ulid_time(x.id) AT TIME ZONE 'UTC')::date AS day, x.offer_id, x.publisher_id,
                       postback.visitor_of(x.brand_id, x.offer_id, x.publisher_id, x.address_hash, x.agent_hash) AS visitor
                FROM postback.click x
                WHERE x.id >= postback.ulid_floor(since::timestamp AT TIME ZONE 'UTC')) k
          GROUP BY k.brand_id, k.day, k.offer_id, k.publisher_id) f
    GROUP BY f.brand_id, f.day, f.offer_id, f.publisher_id
$$;
COMMENT ON FUNCTION postback.daily_facts(date) IS 'The same figures counted from clicks and conversions themselves, for the days from since on';

CREATE FUNCTION postback.audit_daily(
    since date, OUT day date, OUT brand_id postback.ulid, OUT offer_id postback.ulid, OUT publisher_id postback.ulid,
    OUT expected text, OUT actual text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT s.day, s.brand_id, s.offer_id, s.publisher_id,
           concat_ws(' ', s.of, sum(s.clicks * s.fact), sum(s.unique_clicks * s.fact), sum(s.pending * s.fact), sum(s.approved * s.fact),
                     sum(s.reversed * s.fact), sum(s.pending_payout * s.fact), sum(s.pending_fee * s.fact),
                     sum(s.approved_payout * s.fact), sum(s.approved_fee * s.fact)),
           concat_ws(' ', s.of, sum(s.clicks * s.told), sum(s.unique_clicks * s.told), sum(s.pending * s.told), sum(s.approved * s.told),
                     sum(s.reversed * s.told), sum(s.pending_payout * s.told), sum(s.pending_fee * s.told),
                     sum(s.approved_payout * s.told), sum(s.approved_fee * s.told))
    FROM (SELECT f.*, 1 AS fact, 0 AS told, NULL AS of FROM postback.daily_facts(since) f
          UNION ALL
          SELECT d.*, 0, 1, NULL FROM postback.daily d WHERE d.day >= since
          UNION ALL
          SELECT t.*, 0, 1, NULL FROM postback.daily_tail() t WHERE t.day >= since
          UNION ALL
          SELECT d.brand_id, d.day, NULL, NULL, d.clicks, d.unique_clicks, d.pending, d.approved, d.reversed, d.pending_payout,
                 d.pending_fee, d.approved_payout, d.approved_fee, 1, 0, 'daily_brand:'
          FROM postback.daily d WHERE d.day >= since
          UNION ALL
          SELECT b.brand_id, b.day, NULL, NULL, b.clicks, b.unique_clicks, b.pending, b.approved, b.reversed, b.pending_payout,
                 b.pending_fee, b.approved_payout, b.approved_fee, 0, 1, 'daily_brand:'
          FROM postback.daily_brand b WHERE b.day >= since) s
    GROUP BY s.day, s.brand_id, s.offer_id, s.publisher_id, s.of
    HAVING (sum(s.clicks * s.fact), sum(s.unique_clicks * s.fact), sum(s.pending * s.fact), sum(s.approved * s.fact),
            sum(s.reversed * s.fact), sum(s.pending_payout * s.fact), sum(s.pending_fee * s.fact),
            sum(s.approved_payout * s.fact), sum(s.approved_fee * s.fact))
        <> (sum(s.clicks * s.told), sum(s.unique_clicks * s.told), sum(s.pending * s.told), sum(s.approved * s.told),
            sum(s.reversed * s.told), sum(s.pending_payout * s.told), sum(s.pending_fee * s.told),
            sum(s.approved_payout * s.told), sum(s.approved_fee * s.told))
    ORDER BY 1, 2, 3, 4, 5
$$;
COMMENT ON FUNCTION postback.audit_daily(date) IS
'Counts the days from since on from clicks and conversions and returns where the daily reports say otherwise (nothing, if all is
well): clicks, unique clicks, pending, approved, reversed, payout and fee of pending, payout and fee of approved ones, in minor
units. And where daily_brand is not the sum of daily, marked with its name. Reads every row of those days: not further back than
clicks are kept. rebuild_daily(since) mends what it finds.';

CREATE FUNCTION postback.rebuild_daily(since date) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rebuilt bigint;
    of_brands bigint;
BEGIN
    -- The mark stands still meanwhile.
    PERFORM pg_advisory_xact_lock(hashtext('postback'), 4);
    INSERT INTO postback.daily AS d
    SELECT s.brand_id, s.day, s.offer_id, s.publisher_id, sum(s.clicks * s.sign), sum(s.unique_clicks * s.sign),
           sum(s.pending * s.sign), sum(s.approved * s.sign), sum(s.reversed * s.sign), sum(s.pending_payout * s.sign),
           sum(s.pending_fee * s.sign), sum(s.approved_payout * s.sign), sum(s.approved_fee * s.sign)
    FROM (SELECT f.*, 1 AS sign FROM postback.daily_facts(since) f
          UNION ALL
          SELECT t.*, -1 FROM postback.daily_tail() t WHERE t.day >= since
          UNION ALL  -- rows that have lost all
          SELECT o.*, 0 FROM postback.daily o WHERE o.day >= since) s
    GROUP BY s.brand_id, s.day, s.offer_id, s.publisher_id
    ON CONFLICT ON CONSTRAINT daily_key DO UPDATE SET
        clicks = excluded.clicks, unique_clicks = excluded.unique_clicks, pending = excluded.pending,
        approved = excluded.approved, reversed = excluded.reversed, pending_payout = excluded.pending_payout,
        pending_fee = excluded.pending_fee, approved_payout = excluded.approved_payout, approved_fee = excluded.approved_fee
    WHERE (d.clicks, d.unique_clicks, d.pending, d.approved, d.reversed, d.pending_payout, d.pending_fee, d.approved_payout,
           d.approved_fee)
       <> (excluded.clicks, excluded.unique_clicks, excluded.pending, excluded.approved, excluded.reversed, excluded.pending_payout,
           excluded.pending_fee, excluded.approved_payout, excluded.approved_fee);
    GET DIAGNOSTICS rebuilt = ROW_COUNT;

    INSERT INTO postback.daily_brand AS d
    SELECT s.brand_id, s.day, sum(s.clicks * s.sign), sum(s.unique_clicks * s.sign), sum(s.pending * s.sign), sum(s.approved * s.sign),
           sum(s.reversed * s.sign), sum(s.pending_payout * s.sign), sum(s.pending_fee * s.sign), sum(s.approved_payout * s.sign),
           sum(s.approved_fee * s.sign)
    FROM (SELECT o.brand_id, o.day, o.clicks, o.unique_clicks, o.pending, o.approved, o.reversed, o.pending_payout, o.pending_fee,
                 o.approved_payout, o.approved_fee, 1 AS sign
          FROM postback.daily o WHERE o.day >= since
          UNION ALL
          SELECT b.*, 0 FROM postback.daily_brand b WHERE b.day >= since) s
    GROUP BY s.brand_id, s.day
    ON CONFLICT ON CONSTRAINT daily_brand_pkey DO UPDATE SET
        clicks = excluded.clicks, unique_clicks = excluded.unique_clicks, pending = excluded.pending,
        approved = excluded.approved, reversed = excluded.reversed, pending_payout = excluded.pending_payout,
        pending_fee = excluded.pending_fee, approved_payout = excluded.approved_payout, approved_fee = excluded.approved_fee
    WHERE (d.clicks, d.unique_clicks, d.pending, d.approved, d.reversed, d.pending_payout, d.pending_fee, d.approved_payout,
           d.approved_fee)
       <> (excluded.clicks, excluded.unique_clicks, excluded.pending, excluded.approved, excluded.reversed, excluded.pending_payout,
           excluded.pending_fee, excluded.approved_payout, excluded.approved_fee);
    GET DIAGNOSTICS of_brands = ROW_COUNT;
    RETURN rebuilt + of_brands;
END
$$;
COMMENT ON FUNCTION postback.rebuild_daily(date) IS
'Counts the days from since on again and mends daily and daily_brand; returns how many of their rows were wrong or missing. Needed
only where rows came without their effects (loaded or deleted by hand, or the clock set back). Not further back than clicks are kept.';

CREATE VIEW postback.daily_now WITH (security_invoker = true) AS
    SELECT d.* FROM postback.daily d
    UNION ALL
    SELECT t.* FROM postback.daily_tail() t;
COMMENT ON VIEW postback.daily_now IS 'daily, and what is not in it yet, to be summed up: what the report_daily views read. Minor units';

-- One view per level: what it is by, what it shows of that, and how it is called in its comment.  Figures by day and brand alone are
-- rolled up too. Who sees a brand through one of its publishers only does not see those: for him the publisher's rows are added up.
DO $$
DECLARE
    v record;
    c record;
    by_brand text := '(
                        SELECT b.* FROM postback.daily_brand b
                        UNION ALL
                        SELECT a.brand_id, a.day, a.clicks, a.unique_clicks, a.pending, a.approved, a.reversed, a.pending_payout,
                               a.pending_fee, a.approved_payout, a.approved_fee
                        FROM postback.daily a
                        WHERE EXISTS (SELECT FROM postback.reader_scope s
                                      WHERE s.publisher_id IS NOT NULL AND pg_catalog.row_security_active(''postback.daily'')
                                        AND NOT pg_catalog.pg_has_role(current_user, ''postback_operator'', ''USAGE''))
                          AND a.brand_id <> ALL (ARRAY(SELECT s.brand_id FROM postback.reader_scope s WHERE s.brand_id IS NOT NULL))
                        UNION ALL
                        SELECT t.brand_id, t.day, t.clicks, t.unique_clicks, t.pending, t.approved, t.reversed, t.pending_payout,
                               t.pending_fee, t.approved_payout, t.approved_fee
                        FROM postback.daily_tail() t)';
BEGIN
    FOR v IN
        SELECT * FROM (VALUES
            ('report_daily',            '{brand,offer,publisher}', 'postback.daily_now', 'day, brand, offer and publisher'),
            ('report_daily_brands',     '{brand}',                 by_brand,             'day and brand'),
            ('report_daily_offers',     '{brand,offer}',           'postback.daily_now', 'day, brand and offer'),
            ('report_daily_publishers', '{publisher}',             'postback.daily_now',
             'day and publisher, over all brands of one currency'))
            AS w (view, levels, source, title)
    LOOP
        EXECUTE pg_catalog.format('
            CREATE VIEW postback.%I WITH (security_invoker = true) AS
            SELECT d.day, %s, d.clicks::bigint AS clicks, d.unique_clicks::bigint AS unique_clicks,
                   (d.pending + d.approved + d.reversed)::bigint AS conversions, d.pending::bigint AS pending,
                   d.approved::bigint AS approved, d.reversed::bigint AS rejected,
                   pg_catalog.round(100 * (d.pending + d.approved) / nullif(d.clicks, 0), 2) AS cr,
                   pg_catalog.round(postback.full_units(d.payout, d.currency) / nullif(d.clicks, 0), 4) AS epc,
                   postback.full_units(d.payout, d.currency) AS payout,
                   postback.full_units(d.approved_payout, d.currency) AS approved_payout,
                   postback.full_units(d.payout + d.fee, d.currency) AS revenue,
                   postback.full_units(d.fee, d.currency) AS margin, d.currency, %s
            FROM (SELECT x.day, %s, y.currency, sum(x.clicks) AS clicks, sum(x.unique_clicks) AS unique_clicks,
                         sum(x.pending) AS pending, sum(x.approved) AS approved, sum(x.reversed) AS reversed,
                         sum(x.pending_payout) + sum(x.approved_payout) AS payout, sum(x.approved_payout) AS approved_payout,
                         sum(x.pending_fee) + sum(x.approved_fee) AS fee
                  FROM %6$s x
                  LEFT JOIN postback.brand y ON y.id = x.brand_id
                  GROUP BY x.day, %4$s, y.currency
                  HAVING sum(x.clicks) <> 0 OR sum(x.pending) <> 0 OR sum(x.approved) <> 0 OR sum(x.reversed) <> 0) d %5$s',
            v.view,
            (SELECT pg_catalog.string_agg(pg_catalog.format('%I.name AS %1$I', l), ', ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)),
            (SELECT pg_catalog.string_agg(pg_catalog.format('d.%I_id', l), ', ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)),
            (SELECT pg_catalog.string_agg(pg_catalog.format('x.%I_id', l), ', ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)),
            (SELECT pg_catalog.string_agg(pg_catalog.format('LEFT JOIN postback.%I ON %1$I.id = d.%1$s_id', l), ' ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)),
            v.source);
        EXECUTE pg_catalog.format('COMMENT ON VIEW postback.%I IS %L', v.view, 'Figures per ' || v.title ||
            '; days are UTC, amounts in full units of currency. Exact at every moment. Conversions count on the day they were '
            'created, with the status they have now; test orders do not count');
        FOR c IN
            SELECT * FROM (VALUES
                ('unique_clicks',   'Visitors (address and user agent) per day, offer and publisher, added up'),
                ('rejected',        'Conversions that were reversed'),
                ('cr',              'Pending and approved conversions in percent of clicks'),
                ('epc',             'Payout per click'),
                ('payout',          'Commission of pending and approved conversions'),
                ('approved_payout', 'Commission of approved conversions'),
                ('revenue',         'What the brand is charged: payout and fee'),
                ('margin',          'What the network earns: revenue less payout, the fee')) AS w (name, meaning)
        LOOP
            EXECUTE pg_catalog.format('COMMENT ON COLUMN postback.%I.%I IS %L', v.view, c.name, c.meaning);
        END LOOP;
    END LOOP;
END
$$;

CREATE VIEW postback.report_conversions WITH (security_invoker = true) AS
    SELECT c.created_at, b.name AS brand, o.name AS offer, p.name AS publisher, c.order_ref AS "order", c.goal::text AS goal,
           CASE c.status WHEN 'reversed' THEN 'rejected' ELSE c.status END AS status,
           postback.full_units(c.value, c.currency) AS value, c.currency,
           postback.full_units(c.commission, c.commission_currency) AS payout,
           postback.full_units(c.commission + c.fee, c.commission_currency) AS revenue,
           postback.full_units(c.fee, c.commission_currency) AS margin, c.commission_currency AS payout_currency,
           c.attribution, pg_catalog.date_trunc('second', postback.ulid_time(c.id) - postback.ulid_time(c.click_id)) AS since_click,
           CASE c.status WHEN 'pending' THEN c.hold_until END AS approves_at, c.reason, c.notice, c.test, c.sub_id,
           c.external_transaction_id, c.promo_code, c.updated_at, c.id, c.brand_id, c.offer_id, c.publisher_id, c.click_id
    FROM postback.conversion c
    LEFT JOIN postback.brand b ON b.id = c.brand_id
    LEFT JOIN postback.offer o ON o.id = c.offer_id
    LEFT JOIN postback.publisher p ON p.id = c.publisher_id;
COMMENT ON VIEW postback.report_conversions IS
    'Conversions with names, as the outside calls their status, test orders too; amounts in full units. The newest: ORDER BY id DESC';
COMMENT ON COLUMN postback.report_conversions.value IS 'Order value in full units of currency';
COMMENT ON COLUMN postback.report_conversions.payout IS 'Commission in full units of payout_currency, as revenue and margin; null: unpriced';
COMMENT ON COLUMN postback.report_conversions.revenue IS 'What the brand is charged: payout and fee';
COMMENT ON COLUMN postback.report_conversions.margin IS 'What the network earns: the fee';
COMMENT ON COLUMN postback.report_conversions.since_click IS 'Time from the click to the conversion; null: no click';
COMMENT ON COLUMN postback.report_conversions.approves_at IS 'When its hold is over; null unless pending';

CREATE VIEW postback.report_pending WITH (security_invoker = true) AS
    SELECT b.name AS brand, d.days_left, d.conversions, d.unpriced, postback.full_units(d.payout, b.currency) AS payout,
           postback.full_units(d.payout + d.fee, b.currency) AS revenue, postback.full_units(d.fee, b.currency) AS margin,
           b.currency, d.brand_id
    FROM (SELECT c.brand_id,
                 greatest(pg_catalog.ceil(extract(epoch FROM c.hold_until - pg_catalog.now()) / 86400), 0)::integer AS days_left,
                 count(*) AS conversions, count(*) FILTER (WHERE c.commission IS NULL) AS unpriced,
                 coalesce(sum(c.commission), 0) AS payout, coalesce(sum(c.fee), 0) AS fee
          FROM postback.conversion c
          WHERE c.status = 'pending' AND NOT c.test
          GROUP BY 1, 2) d
    LEFT JOIN postback.brand b ON b.id = d.brand_id;
COMMENT ON VIEW postback.report_pending IS
    'Pending conversions of each brand by the days until they approve themselves; amounts in full units, test orders left out';
COMMENT ON COLUMN postback.report_pending.days_left IS 'Begun days until the hold is over: 0 it is over, 1 within a day, 2 within two ...';
COMMENT ON COLUMN postback.report_pending.unpriced IS 'Of these, how many have no commission yet and will wait for terms or a rate';

CREATE VIEW postback.report_rejections WITH (security_invoker = true) AS
    SELECT d.month, b.name AS brand,
           pg_catalog.rank() OVER (PARTITION BY d.brand_id, d.month ORDER BY d.conversions DESC)::integer AS rank,
           d.reason, d.conversions,
           pg_catalog.round(100.0 * d.conversions / sum(d.conversions) OVER (PARTITION BY d.brand_id, d.month), 1) AS share,
           postback.full_units(d.payout, b.currency) AS payout, postback.full_units(d.payout + d.fee, b.currency) AS revenue,
           b.currency, d.brand_id
    FROM (SELECT c.brand_id, pg_catalog.date_trunc('month', postback.ulid_time(c.id) AT TIME ZONE 'UTC')::date AS month,
                 coalesce(pg_catalog.lower(nullif(c.reason, '')), '(none)') AS reason, count(*) AS conversions,
                 coalesce(sum(c.commission), 0) AS payout, coalesce(sum(c.fee), 0) AS fee
          FROM postback.conversion c
          WHERE c.status = 'reversed' AND NOT c.test
          GROUP BY 1, 2, 3) d
    LEFT JOIN postback.brand b ON b.id = d.brand_id;
COMMENT ON VIEW postback.report_rejections IS
    'Why conversions were rejected, per brand and month (UTC) of their creation; the top five: WHERE rank <= 5. Test orders left out';
COMMENT ON COLUMN postback.report_rejections.month IS 'Its first day';
COMMENT ON COLUMN postback.report_rejections.reason IS 'In lower case, (none) where none was given';
COMMENT ON COLUMN postback.report_rejections.share IS 'Percent of the brand''s rejected conversions of the month';
COMMENT ON COLUMN postback.report_rejections.payout IS 'Commission that was not paid, full units of currency; likewise revenue';

CREATE VIEW postback.report_time_to_convert WITH (security_invoker = true) AS
    SELECT b.name AS brand, o.name AS offer, p.name AS publisher, d.conversions, d.fastest, d.median, d.percentile_90, d.slowest,
           d.under_10_seconds, d.under_10_minutes, d.under_1_hour, d.under_1_day, d.under_7_days, d.later,
           d.brand_id, d.offer_id, d.publisher_id
    FROM (SELECT t.brand_id, t.offer_id, t.publisher_id, count(*) AS conversions,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(min(t.seconds)))) AS fastest,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(
                     percentile_cont(0.5) WITHIN GROUP (ORDER BY t.seconds)))) AS median,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(
                     percentile_cont(0.9) WITHIN GROUP (ORDER BY t.seconds)))) AS percentile_90,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(max(t.seconds)))) AS slowest,
                 count(*) FILTER (WHERE t.seconds < 10) AS under_10_seconds,
                 count(*) FILTER (WHERE t.seconds >= 10 AND t.seconds < 600) AS under_10_minutes,
                 count(*) FILTER (WHERE t.seconds >= 600 AND t.seconds < 3600) AS under_1_hour,
                 count(*) FILTER (WHERE t.seconds >= 3600 AND t.seconds < 86400) AS under_1_day,
                 count(*) FILTER (WHERE t.seconds >= 86400 AND t.seconds < 604800) AS under_7_days,
                 count(*) FILTER (WHERE t.seconds >= 604800) AS later
          FROM (SELECT c.brand_id, c.offer_id, c.publisher_id,
                       extract(epoch FROM postback.ulid_time(c.id) - postback.ulid_time(c.click_id))::double precision AS seconds
                FROM postback.conversion c
                WHERE c.click_id IS NOT NULL AND NOT c.test) t
          GROUP BY 1, 2, 3) d
    LEFT JOIN postback.brand b ON b.id = d.brand_id
    LEFT JOIN postback.offer o ON o.id = d.offer_id
    LEFT JOIN postback.publisher p ON p.id = d.publisher_id;
COMMENT ON VIEW postback.report_time_to_convert IS
    'How long after the click conversions come, per offer and publisher; conversions with a click only, test orders left out';
COMMENT ON COLUMN postback.report_time_to_convert.percentile_90 IS 'Nine of ten are as fast as this';
COMMENT ON COLUMN postback.report_time_to_convert.under_10_minutes IS
    'Conversions that took 10 seconds or more but under 10 minutes; so each of these columns begins where the one before ends';
