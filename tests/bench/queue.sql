-- Many publishers' servers, some of them bad, and what fills their queue. In the database of programme.sql.
-- psql variables: endpoints (how many), port (where the receiver listens).

-- Of each 100: 10 hang, 5 answer 500, 5 reset connections, 1 sends an endless body, 2 have names that nobody knows.
CREATE TABLE bench.endpoint AS
    SELECT k.no, k.kind, p.publisher, l.link, c.callback, l.click,
           row_number() OVER (PARTITION BY k.kind = 'ok' ORDER BY k.no) - 1 AS turn
    FROM (SELECT no, CASE WHEN no % 100 < 10 THEN 'hang' WHEN no % 100 < 15 THEN 'error' WHEN no % 100 < 20 THEN 'reset'
                          WHEN no % 100 < 21 THEN 'endless' WHEN no % 100 < 23 THEN 'unknown' ELSE 'ok' END AS kind
          FROM generate_series(0, :endpoints - 1) AS no) k,
         LATERAL (SELECT postback.create_publisher(name => 'Publisher ' || no) AS publisher OFFSET 0) p,
         LATERAL (SELECT (postback.create_link(offer => offer, publisher => p.publisher)).code AS link, NULL::text AS click
                  FROM bench.programme OFFSET 0) l,
         LATERAL (SELECT postback.create_callback(
                      name => k.kind || ' ' || no, publisher => p.publisher, statuses => '{pending}',
                      url => CASE k.kind WHEN 'unknown' THEN format('http://publisher-%s.invalid', no)
                                         ELSE format('http://127.%s.%s.%s:%s', 1 + no / 50000, no / 200 % 250, no % 200 + 1, :port) END
                             || '/' || k.kind || '?click={transaction_id}&status={status}') AS callback OFFSET 0) c;
UPDATE bench.endpoint e SET click = (postback.click(e.link)).click_id;
ALTER TABLE bench.endpoint ADD PRIMARY KEY (no);
CREATE SEQUENCE bench.order_number;
VACUUM ANALYZE bench.endpoint, postback.callback;

-- New orders in one call, one for each of these endpoints.
CREATE FUNCTION bench.make_orders_for(endpoints int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n int := cardinality(endpoints);
    good int;
BEGIN
    SELECT count(*) FILTER (WHERE r.outcome = 'created') INTO good
    FROM postback.receive_batch(
        ARRAY(SELECT generate_series(1, n)),
        (SELECT array_fill(token, ARRAY[n]) FROM bench.programme),
        array_fill('GET'::text, ARRAY[n]),
        ARRAY(SELECT format('order=queue-%s&value=4999&click_id=%s', nextval('bench.order_number'), e.click)
              FROM unnest(endpoints) AS k (no) JOIN bench.endpoint e USING (no)),
        array_fill(NULL::text, ARRAY[n]), array_fill(NULL::text, ARRAY[n]), array_fill(NULL::inet, ARRAY[n])) r;
    IF good <> n THEN
        RAISE EXCEPTION 'only % of % orders were created', good, n;
    END IF;
END
$$;

-- So many for each endpoint of these kinds, as fast as it goes.
CREATE PROCEDURE bench.fill_queue(kinds text[], each int) LANGUAGE plpgsql AS $$
DECLARE
    nos int[] := ARRAY(SELECT no FROM bench.endpoint WHERE kind = ANY (kinds) ORDER BY no);
BEGIN
    FOR i IN 1 .. each LOOP
        FOR at IN 1 .. cardinality(nos) BY 256 LOOP
            PERFORM bench.make_orders_for(nos[at : at + 255]);
            COMMIT;
        END LOOP;
    END LOOP;
END
$$;

-- So many per second, endpoint after endpoint, in a call each 50 ms; gives how many there were.
CREATE PROCEDURE bench.feed_queue(kinds text[], per_second int, seconds float8, INOUT made int) LANGUAGE plpgsql AS $$
DECLARE
    nos int[] := ARRAY(SELECT no FROM bench.endpoint WHERE kind = ANY (kinds) ORDER BY no);
    ends timestamptz := clock_timestamp() + seconds * interval '1 s';
    next timestamptz := clock_timestamp();
    n int := greatest(per_second / 20, 1);
BEGIN
    made := 0;
    WHILE next < ends LOOP
        PERFORM bench.make_orders_for(ARRAY(SELECT nos[(made + i) % cardinality(nos) + 1] FROM generate_series(0, n - 1) AS i));
        COMMIT;
        made := made + n;
        next := next + interval '50 ms';
        PERFORM pg_sleep(extract(epoch FROM next - clock_timestamp()));
    END LOOP;
END
$$;

-- One minute of an hour's traffic: calls of 256 orders for healthy endpoints, each with its claims and results; the sizes that
-- matter are those between two vacuums.
CREATE PROCEDURE bench.churn(calls int, INOUT claim_ms float8) LANGUAGE plpgsql AS $$
DECLARE
    nos int[] := ARRAY(SELECT no FROM bench.endpoint WHERE kind = 'ok' ORDER BY no);
    claimed int;
    seconds float8;
BEGIN
    claim_ms := 0;
    FOR batch IN 1 .. calls LOOP
        PERFORM bench.make_orders_for(ARRAY(SELECT nos[(batch * 256 + i) % cardinality(nos) + 1] FROM generate_series(1, 256) AS i));
        COMMIT;
        CALL bench.empty_queue(claimed, seconds);
        claim_ms := claim_ms + 1000 * seconds / calls;
    END LOOP;
END
$$;

-- Milliseconds from the making of deliveries since then to healthy servers until their success was put down.
CREATE FUNCTION bench.delay(share float8, since timestamptz) RETURNS float8 LANGUAGE sql STABLE AS $$
    SELECT percentile_disc(share) WITHIN GROUP (ORDER BY extract(epoch FROM d.sent_at - postback.ulid_time(d.id)) * 1000)
    FROM postback.delivery d
         JOIN bench.endpoint e ON e.callback = d.callback_id AND e.kind = 'ok'
    WHERE d.id >= postback.ulid_floor(since) AND d.state = 'delivered'
$$;

-- Deliveries that are written rather than caused, for queues of millions: of the endpoints of these kinds whose number ends
-- with one of the digits, by turns.
CREATE PROCEDURE bench.write_deliveries(kinds text[], digits int[], count bigint, due timestamptz, state text)
    LANGUAGE plpgsql AS $$
DECLARE
    callbacks postback.ulid[] := ARRAY(SELECT e.callback FROM bench.endpoint e
                                       WHERE e.kind = ANY (kinds) AND e.no % 10 = ANY (digits) ORDER BY e.no);
BEGIN
    FOR at IN 1 .. count BY 100000 LOOP
        WITH made AS MATERIALIZED (
            SELECT postback.new_ulid() AS id, postback.new_ulid() AS conversion, c.id AS callback, c.publisher_id,
                   replace(replace(c.url, '{transaction_id}', postback.new_ulid()::text), '{status}', 'pending') AS url
            FROM generate_series(at, least(at + 99999, count)) AS n
                 JOIN postback.callback c ON c.id = callbacks[n % cardinality(callbacks) + 1]
        ), delivery AS (
            INSERT INTO postback.delivery (id, brand_id, callback_id, conversion_id, offer_id, publisher_id, status, payout, revenue,
                                           currency, method, url, due_at, state)
            SELECT m.id, p.brand, m.callback, m.conversion, p.offer, m.publisher_id, 'pending', 400, 540, 'EUR', 'GET', m.url,
                   due, state
            FROM made m, bench.programme p
        )
        INSERT INTO postback.delivery_due (waiting, delivery_id, callback_id, conversion_id, seq, endpoint, due_at)
        SELECT due > now(), m.id, m.callback, m.conversion, 1, postback.endpoint_of(m.url), due FROM made m;
        COMMIT;
    END LOOP;
END
$$;

-- Claims by 256 and settles, all of them successes, until nothing is due; gives the seconds that the claims took.
CREATE PROCEDURE bench.empty_queue(INOUT claimed int, INOUT seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    deliveries postback.ulid[];
    attempts postback.ulid[];
    n int;
    started timestamptz;
BEGIN
    claimed := 0;
    seconds := 0;
    LOOP
        started := clock_timestamp();
        SELECT array_agg(c.delivery_id), array_agg(c.attempt_id) INTO deliveries, attempts FROM postback.claim('bench', 256) c;
        COMMIT;
        seconds := seconds + extract(epoch FROM clock_timestamp() - started);
        n := cardinality(attempts);
        EXIT WHEN n IS NULL;
        claimed := claimed + n;
        PERFORM postback.settle('bench', deliveries, attempts, array_fill('response'::text, ARRAY[n]), array_fill(200, ARRAY[n]),
                                array_fill(NULL::text, ARRAY[n]), array_fill(NULL::int, ARRAY[n]), array_fill(1, ARRAY[n]),
                                array_fill('127.0.0.1'::inet, ARRAY[n]), array_fill('OK'::text, ARRAY[n]));
        COMMIT;
    END LOOP;
END
$$;
