-- A store of months: 20 brands with 10 offers each, 400 publishers, 2,000 links, and what came through them in that time.
--
-- Everything about click n and conversion i follows from its number by hashing, ids too, so that nothing is looked up while
-- loading, several sessions can load at once, and whoever needs an id can make it. What triggers and jobs would have
-- written (history, ledger, balances, daily figures) is written by the loader: audit() and audit_daily() judge that.
--
-- In the database of programme.sql. Steps: make_store, load_clicks and load_conversions by ranges of numbers in any number
-- of sessions, make_indexes in each of them, finish_store.

CREATE TABLE bench.store (clicks bigint, conversions bigint, days int, starts_ms bigint, ends_ms bigint);

CREATE TABLE bench.party (
    no int PRIMARY KEY, brand postback.ulid, offer postback.ulid, publisher postback.ulid, link text, token text,
    terms postback.ulid, currency text);

-- The indexes of what is loaded are made after it; as they were, which finish_store looks after.
CREATE TABLE bench.index_made_later (
    no int GENERATED ALWAYS AS IDENTITY, relation text, name text, constraint_type "char", definition text, bytes bigint);

-- An id of that millisecond whose random part follows from the seed.
CREATE FUNCTION bench.id_of(ms bigint, seed text) RETURNS postback.ulid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN postback.uuid_to_ulid((lpad(to_hex(ms), 12, '0') || substr(md5(seed), 1, 20))::uuid);

CREATE FUNCTION bench.hash_of(n bigint, salt int) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN hashint8extended(n, salt) & 2147483647;

CREATE FUNCTION bench.moment(ms bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_timestamp(ms::float8 / 1000);

-- Clicks lie evenly in time. One of ten is a visitor who has just clicked on the same link, the one before.
CREATE FUNCTION bench.click_ms(n bigint, s bench.store) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN s.starts_ms + (s.ends_ms - s.starts_ms) * n / s.clicks;
CREATE FUNCTION bench.visit_of(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN n - (n % 10 = 9)::int;
CREATE FUNCTION bench.party_of(n bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (bench.hash_of(bench.visit_of(n), 1) % 2000)::int;
CREATE FUNCTION bench.click_id(n bigint, s bench.store) RETURNS postback.ulid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN bench.id_of(bench.click_ms(n, s), 'click ' || n::text);

CREATE PROCEDURE bench.make_store(clicks bigint, conversions bigint, days int) LANGUAGE plpgsql AS $$
DECLARE
    ends timestamptz := now() - interval '1 minute';
    later record;
BEGIN
    INSERT INTO bench.store VALUES (clicks, conversions, days, extract(epoch FROM ends - make_interval(days => days)) * 1000,
                                    extract(epoch FROM ends) * 1000);

    INSERT INTO bench.party
    SELECT o.no * 10 + l.no, o.brand, o.offer, l.publisher,
           (postback.create_link(offer => o.offer, publisher => l.publisher)).code, o.token, o.terms, o.currency
    FROM (SELECT b.no * 10 + x AS no, b.brand, b.token, b.currency, k.offer, postback.set_terms(offer => k.offer, percent => 8) AS terms
          FROM (SELECT b.no, b.brand, b.currency, (postback.issue_token(brand => b.brand, label => 'store')).token
                FROM (SELECT n AS no, c.currency, postback.create_brand(name => 'Brand ' || n, currency => c.currency) AS brand
                      FROM generate_series(0, 19) AS n, LATERAL (SELECT ('{EUR,USD,JPY}'::text[])[n % 3 + 1] AS currency) c
                      OFFSET 0) b
                OFFSET 0) b,
               generate_series(0, 9) AS x,
               LATERAL (SELECT postback.create_offer(brand => b.brand, name => 'Offer ' || x,
                                                     landing_url => 'https://shop.example/landing') AS offer OFFSET 0) k
          OFFSET 0) o
         JOIN (SELECT n, postback.create_publisher(name => 'Publisher ' || n) AS publisher
               FROM generate_series(0, 399) AS n OFFSET 0) p ON true
         CROSS JOIN LATERAL (SELECT x AS no, p.publisher FROM generate_series(0, 9) AS x
                             WHERE p.n = bench.hash_of(o.no, 2) % 40 * 10 + x OFFSET 0) l;
    ANALYZE bench.party;

    -- The partitions that would be there, had the job run all that time.
    PERFORM postback.keep_partitions(at) FROM generate_series(ends - make_interval(days => days), now(), interval '7 days') AS at;

    INSERT INTO bench.index_made_later (relation, name, constraint_type, definition)
    SELECT c.relname, i.relname, k.contype, coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(i.oid))
    FROM pg_index x
         JOIN pg_class i ON i.oid = x.indexrelid
         JOIN pg_class c ON c.oid = x.indrelid
         LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype IN ('p', 'u')
    WHERE c.relnamespace = 'postback'::regnamespace AND c.relname ~ '^(conversion|(click|history|ledger)_p\d+)$'
    ORDER BY c.relname, i.relname;
    FOR later IN SELECT * FROM bench.index_made_later LOOP
        EXECUTE CASE WHEN later.constraint_type IS NULL THEN format('DROP INDEX postback.%I', later.name)
                ELSE format('ALTER TABLE postback.%I DROP CONSTRAINT %I', later.relation, later.name) END;
    END LOOP;
END
$$;

-- From number lower until before upper; so the next one. Custom plans know s as a constant, and all of the above is inlined.
CREATE PROCEDURE bench.load_clicks(lower bigint, upper bigint) LANGUAGE plpgsql AS $$
DECLARE
    s bench.store;
BEGIN
    SET plan_cache_mode = force_custom_plan;
    SET jit = off;
    SELECT * INTO STRICT s FROM bench.store;
    FOR at IN lower .. upper - 1 BY 200000 LOOP
        INSERT INTO postback.click (id, brand_id, offer_id, publisher_id, link_code, address_hash, agent_hash, visitor_hash,
                                    is_unique, external_transaction_id, sub_id)
        SELECT bench.click_id(n, s), p.brand, p.offer, p.publisher, p.link,
               hashint8extended(bench.visit_of(n), 3), hashint8extended(bench.visit_of(n) % 1000, 4),
               hashint8extended(bench.visit_of(n), 3) & -4294967296 | bench.hash_of(bench.visit_of(n), 5), n % 10 <> 9, 'ext-' || n::text, 's' || (n % 1000)::text
        FROM generate_series(at, least(at + 200000, upper) - 1) AS n
             JOIN bench.party p ON p.no = bench.party_of(n);
        COMMIT;
    END LOOP;
END
$$;

-- A conversion comes within two days of its click; one of twenty has none. Its terms are 8 % and the fee is 35 % of that,
-- each rounded half away from zero. After 14 days it is approved, unless it was reversed (12 of 100, within ten days).
CREATE PROCEDURE bench.load_conversions(lower bigint, upper bigint) LANGUAGE plpgsql AS $$
DECLARE
    s bench.store;
BEGIN
    SET plan_cache_mode = force_custom_plan;
    SET jit = off;
    SELECT * INTO STRICT s FROM bench.store;
    FOR at IN lower .. upper - 1 BY 50000 LOOP
        WITH made AS (
            SELECT i, i * s.clicks / s.conversions AS n, 1000 + bench.hash_of(i, 6) % 20000 AS value, i % 20 <> 19 AS attributed
            FROM generate_series(at, least(at + 50000, upper) - 1) AS i
        ), priced AS (
            SELECT m.*, bench.click_ms(n, s) AS click_ms, CASE WHEN attributed THEN (value * 8 + 50) / 100 ELSE 0 END AS commission
            FROM made m
        ), timed AS (
            SELECT p.*, (commission * 35 + 50) / 100 AS fee,
                   click_ms + least(bench.hash_of(i, 7) % 172800000, (s.ends_ms - click_ms) / 2) AS ms
            FROM priced p
        ), ended AS (
            SELECT t.*, ms + 14 * 86400000::bigint AS hold_ms,
                   CASE WHEN bench.hash_of(i, 8) % 100 < 12 THEN ms + bench.hash_of(i, 9) % 10 * 86400000 + 1 END AS reversed_ms
            FROM timed t
        ), c AS MATERIALIZED (
            SELECT e.i, bench.id_of(e.ms, 'conversion ' || i::text) AS id, e.ms, e.hold_ms, e.attributed, e.value, e.commission, e.fee,
                   e.n, bench.click_id(n, s) AS click_id, p.brand, p.offer, p.publisher, p.terms, p.currency,
                   CASE WHEN reversed_ms <= s.ends_ms THEN 'reversed' WHEN hold_ms <= s.ends_ms THEN 'approved'
                        ELSE 'pending' END AS status,
                   CASE WHEN reversed_ms <= s.ends_ms THEN reversed_ms WHEN hold_ms <= s.ends_ms THEN hold_ms END AS end_ms,
                   CASE WHEN reversed_ms <= s.ends_ms
                        THEN ('{returned,duplicate,fraud,unpaid,test}'::text[])[bench.hash_of(i, 10) % 5 + 1] END AS reason
            FROM ended e JOIN bench.party p ON p.no = bench.party_of(n)
        ), conversion AS (
            INSERT INTO postback.conversion (id, brand_id, order_ref, status, offer_id, publisher_id, click_id, attribution, value,
                currency, sale_value, commission, fee, commission_currency, terms_id, fee_percent, fee_of, hold_until,
                external_transaction_id, sub_id, reason, created_at, updated_at)
            SELECT c.id, c.brand, 'order-' || i, c.status, CASE WHEN attributed THEN c.offer END,
                   CASE WHEN attributed THEN c.publisher END, CASE WHEN attributed THEN c.click_id END,
                   CASE WHEN attributed THEN 'click' ELSE 'none' END, c.value, c.currency, c.value, c.commission, c.fee, c.currency,
                   CASE WHEN attributed THEN c.terms END, 35, 'commission', bench.moment(c.hold_ms),
                   CASE WHEN attributed THEN 'ext-' || c.n::text END, CASE WHEN attributed THEN 's' || (c.n % 1000)::text END, c.reason,
                   bench.moment(c.ms), bench.moment(coalesce(c.end_ms, c.ms))
            FROM c
        ), history AS (
            INSERT INTO postback.history (id, brand_id, conversion_id, from_status, to_status, from_value, to_value,
                from_commission, to_commission, from_fee, to_fee, currency, actor, role, receipt_id, reason)
            SELECT bench.id_of(c.ms, 'made ' || i::text), c.brand, c.id, NULL, 'pending', NULL, c.value, NULL, c.commission,
                   NULL, c.fee, c.currency, 'receipt', 'postback_serve', bench.id_of(c.ms, 'receipt ' || i::text), NULL
            FROM c
            UNION ALL
            SELECT bench.id_of(c.end_ms, 'ended ' || i::text), c.brand, c.id, 'pending', c.status, c.value, c.value, c.commission, c.commission,
                   c.fee, c.fee, c.currency, CASE c.status WHEN 'approved' THEN 'cron' ELSE 'receipt' END, 'postback_serve',
                   CASE c.status WHEN 'reversed' THEN bench.id_of(c.end_ms, 'receipt of the end ' || i::text) END, c.reason
            FROM c WHERE c.end_ms IS NOT NULL
        )
        INSERT INTO postback.ledger (id, brand_id, publisher_id, from_account, to_account, amount, currency, kind, conversion_id)
        SELECT bench.id_of(CASE x.status WHEN 'pending' THEN c.ms ELSE c.end_ms END, x.kind || ' ' || i::text), c.brand,
               CASE x.to_account WHEN 'payable' THEN c.publisher END, x.from_account, x.to_account,
               CASE x.of WHEN 'fee' THEN c.fee ELSE c.commission END, c.currency, x.kind, c.id
        FROM c
             JOIN (VALUES ('pending',  'commission', 'commission_held',     'available', 'held'),
                          ('pending',  'fee',        'fee_held',            'available', 'held'),
                          ('approved', 'commission', 'commission_approved', 'held',      'payable'),
                          ('approved', 'fee',        'fee_approved',        'held',      'fees'),
                          ('reversed', 'commission', 'commission_released', 'held',      'available'),
                          ('reversed', 'fee',        'fee_released',        'held',      'available'))
                  AS x (status, of, kind, from_account, to_account) ON x.status IN ('pending', c.status)
        WHERE c.attributed;
        COMMIT;
    END LOOP;
END
$$;

-- A worker's share of the indexes, and with those of clicks the daily figures of these.
CREATE PROCEDURE bench.make_indexes(worker int, workers int) LANGUAGE plpgsql AS $$
DECLARE
    later record;
    share int := 0;
BEGIN
    SET maintenance_work_mem = '512MB';
    SET work_mem = '512MB';
    SET jit = off;
    FOR later IN SELECT relation FROM bench.index_made_later GROUP BY relation ORDER BY relation LOOP
        -- A table is one worker's: who adds a key to it locks it.
        IF share % workers = worker THEN
            PERFORM bench.make_indexes_of(later.relation);
            COMMIT;
        END IF;
        share := share + 1;
    END LOOP;
END
$$;

CREATE FUNCTION bench.make_indexes_of(relation text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    later record;
BEGIN
    FOR later IN SELECT * FROM bench.index_made_later l WHERE l.relation = make_indexes_of.relation ORDER BY no LOOP
        EXECUTE CASE WHEN later.constraint_type IS NULL THEN later.definition
                ELSE format('ALTER TABLE postback.%I ADD CONSTRAINT %I %s', later.relation, later.name, later.definition) END;
    END LOOP;
    IF relation ~ '^click_' THEN
        -- Partitions of clicks begin and end at midnight.
        EXECUTE format(
            'INSERT INTO postback.daily (brand_id, day, offer_id, publisher_id, clicks, unique_clicks, pending, approved, reversed,
                                         pending_payout, pending_fee, approved_payout, approved_fee)
             SELECT brand_id, day, offer_id, publisher_id, count(*), count(DISTINCT (address_hash, agent_hash)), 0, 0, 0, 0, 0, 0, 0
             FROM (SELECT *, (postback.ulid_time(id) AT TIME ZONE ''UTC'')::date AS day FROM postback.%I) k
             GROUP BY brand_id, day, offer_id, publisher_id', relation);
    END IF;
END
$$;

CREATE PROCEDURE bench.finish_store() LANGUAGE plpgsql AS $$
DECLARE
    other text;
BEGIN
    SELECT string_agg(l.name, ', ') INTO other
    FROM bench.index_made_later l
    WHERE NOT EXISTS (
        SELECT FROM pg_index x
               JOIN pg_class i ON i.oid = x.indexrelid
               JOIN pg_class c ON c.oid = x.indrelid
               LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype IN ('p', 'u')
        WHERE c.relnamespace = 'postback'::regnamespace AND x.indisvalid AND (c.relname, i.relname) = (l.relation, l.name)
          AND k.contype IS NOT DISTINCT FROM l.constraint_type
          AND coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(i.oid)) = l.definition);
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'indexes are not as they were: %', other;
    END IF;

    INSERT INTO postback.daily AS d (brand_id, day, offer_id, publisher_id, clicks, unique_clicks, pending, approved, reversed,
                                     pending_payout, pending_fee, approved_payout, approved_fee)
    SELECT brand_id, (postback.ulid_time(id) AT TIME ZONE 'UTC')::date, offer_id, publisher_id, 0, 0,
           count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'approved'),
           count(*) FILTER (WHERE status = 'reversed'),
           coalesce(sum(commission) FILTER (WHERE status = 'pending'), 0), coalesce(sum(fee) FILTER (WHERE status = 'pending'), 0),
           coalesce(sum(commission) FILTER (WHERE status = 'approved'), 0), coalesce(sum(fee) FILTER (WHERE status = 'approved'), 0)
    FROM postback.conversion
    GROUP BY 1, 2, 3, 4
    ON CONFLICT ON CONSTRAINT daily_key DO UPDATE SET pending = excluded.pending, approved = excluded.approved,
        reversed = excluded.reversed, pending_payout = excluded.pending_payout, pending_fee = excluded.pending_fee,
        approved_payout = excluded.approved_payout, approved_fee = excluded.approved_fee;

    INSERT INTO postback.daily_brand
    SELECT brand_id, day, sum(clicks), sum(unique_clicks), sum(pending), sum(approved), sum(reversed), sum(pending_payout),
           sum(pending_fee), sum(approved_payout), sum(approved_fee)
    FROM postback.daily
    GROUP BY brand_id, day;

    -- The mark, behind all that is there, and who was seen on its day.
    INSERT INTO postback.daily_mark (upto, rolled_at)
    VALUES (postback.ulid_floor(now()), now());
    INSERT INTO postback.daily_visitor (brand_id, publisher_id, day, visitor)
    SELECT DISTINCT k.brand_id, k.publisher_id, s.day, postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash)
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS day) s
         JOIN postback.click k ON k.id >= postback.ulid_floor(s.day::timestamp AT TIME ZONE 'UTC') AND k.address_hash IS NOT NULL;

    INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount)
    SELECT c.brand_id, a.account, a.publisher, c.commission_currency, sum(a.amount)
    FROM (SELECT brand_id, publisher_id, commission_currency, status, sum(commission)::bigint AS commission, sum(fee)::bigint AS fee
          FROM postback.conversion WHERE attribution <> 'none' AND status <> 'reversed'
          GROUP BY brand_id, publisher_id, commission_currency, status) c
         JOIN LATERAL (VALUES (NULL, 'available', NULL::postback.ulid, - commission - fee), ('pending', 'held', NULL, commission + fee),
                              ('approved', 'payable', c.publisher_id, commission), ('approved', 'fees', NULL, fee))
              AS a (status, account, publisher, amount) ON a.status IS NULL OR a.status = c.status
    GROUP BY c.brand_id, a.account, a.publisher, c.commission_currency;
END
$$;

-- Reads what lies where a server has it that has been running all that time: the clicks that calls concern and the indexes
-- that orders are looked up in and go to. Loading left other pages in memory, whichever were made last.
CREATE EXTENSION pg_prewarm;
CREATE FUNCTION bench.warm_up() RETURNS text LANGUAGE sql AS $$
    SELECT pg_size_pretty(sum(pg_prewarm(r.relation) * current_setting('block_size')::bigint))
    FROM (SELECT b.partition, true AS rows_too
          FROM postback.partition_bounds('postback.click') b
          WHERE b.upper > postback.ulid_floor(now() - interval '25 days') AND b.lower <= postback.ulid_floor(now())
          UNION ALL
          SELECT 'postback.conversion', false) t
         CROSS JOIN LATERAL (SELECT t.partition AS relation WHERE t.rows_too
                             UNION ALL
                             SELECT x.indexrelid FROM pg_index x WHERE x.indrelid = t.partition) r
$$;

-- What calls with the clicks of the last 25 days look like: any of them, by chance that the seed decides.
CREATE FUNCTION bench.recent_click(i bigint, seed int, OUT id postback.ulid, OUT party int) LANGUAGE sql STABLE
    BEGIN ATOMIC
        SELECT bench.click_id(k.n, s), bench.party_of(k.n)
        FROM bench.store s, LATERAL (SELECT s.clicks - 1 - bench.hash_of(i, seed) % (s.clicks * 25 / s.days) AS n) k;
    END;

CREATE TABLE bench.call (no int PRIMARY KEY, items int[], tokens text[], methods text[], queries text[], bodies text[],
                         content_types text[], remotes inet[]);

-- Makes batches of new orders that are attributed in one way. %1 stands for the click's id, %2 for offer and %3 for publisher.
CREATE PROCEDURE bench.prepare_calls(prefix text, batches int, query text, seed int) LANGUAGE sql AS $$
    TRUNCATE bench.call;
    INSERT INTO bench.call
    SELECT b, array_agg(i), array_agg(p.token), array_fill('GET'::text, ARRAY[256]),
           array_agg(format('order=%s-%s-%s&value=4999&', prefix, b, i) || format(query, c.id, p.offer, p.publisher)),
           array_fill(NULL::text, ARRAY[256]), array_fill(NULL::text, ARRAY[256]), array_fill('192.0.2.1'::inet, ARRAY[256])
    FROM generate_series(1, batches) AS b
         CROSS JOIN generate_series(1, 256) AS i
         CROSS JOIN LATERAL bench.recent_click(b * 256 + i, seed) c
         JOIN bench.party p ON p.no = c.party
    GROUP BY b;
    ANALYZE bench.call;
$$;

-- Makes the calls, one transaction each; gives the seconds that all but the untimed ones took.
CREATE PROCEDURE bench.make_calls(attribution text, untimed int, INOUT seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    c bench.call;
    good int;
    started timestamptz;
BEGIN
    seconds := 0;
    FOR c IN SELECT * FROM bench.call ORDER BY no LOOP
        started := clock_timestamp();
        SELECT count(*) FILTER (WHERE r.outcome = 'created' AND r.attribution = make_calls.attribution) INTO good
        FROM postback.receive_batch(c.items, c.tokens, c.methods, c.queries, c.bodies, c.content_types, c.remotes) AS r;
        COMMIT;
        IF c.no > untimed THEN
            seconds := seconds + extract(epoch FROM clock_timestamp() - started);
        END IF;
        IF good <> 256 THEN
            RAISE EXCEPTION 'only % of 256 orders were attributed by %', good, attribution;
        END IF;
    END LOOP;
END
$$;

-- Milliseconds that a query takes, planning included, every column of every row read.
CREATE FUNCTION bench.time_of(query text, OUT ms float8, OUT row_count bigint) LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    r record;
BEGIN
    row_count := 0;
    FOR r IN EXECUTE query LOOP
        row_count := row_count + 1;
    END LOOP;
    ms := extract(epoch FROM clock_timestamp() - started) * 1000;
END
$$;
