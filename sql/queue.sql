-- The outbound queue: claim() and settle(), as senders call them. Nothing is sent: what the network would have said is told
-- to settle() by hand.
\set SHOW_CONTEXT never
SET client_min_messages = error;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO';
DELETE FROM postback.delivery_due; -- what other tests left, else it would be claimed here
SELECT postback.create_brand(name => 'Queue', currency => 'EUR') AS brand \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_publisher('Blog') AS publisher \gset
SELECT postback.set_terms(offer => :'offer', percent => 10) IS NOT NULL AS terms;
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT click_id FROM postback.click((SELECT code FROM postback.create_link(:'offer', :'publisher'))) \gset

CREATE TEMP TABLE claimed (n serial, by text, attempt_id postback.ulid, delivery_id postback.ulid, endpoint text, method text, url text,
                           headers text[], body text, secrets text[], attempt integer, timeout_ms integer);
CREATE VIEW pg_temp.log AS -- the deliveries of this test by name
    SELECT d.id, c.order_ref AS "order", k.name AS callback, d.seq, d.state, d.attempts, d.http_code, d.error, d.status,
           q.attempt_id IS NOT NULL AS leased, q.due_at, d.sent_at
    FROM postback.delivery d
    JOIN postback.conversion c ON c.id = d.conversion_id
    JOIN postback.callback k ON k.id = d.callback_id
    LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id
    WHERE d.brand_id = (SELECT max(id) FROM postback.brand WHERE name = 'Queue');
CREATE FUNCTION pg_temp.send(token text, query text) RETURNS text LANGUAGE sql AS
    $$ SELECT outcome FROM postback.receive(token, query) $$;
CREATE FUNCTION pg_temp.take(by text, max_items integer, lease interval DEFAULT '60 s', full_endpoints text[] DEFAULT NULL,
                             per_endpoint integer DEFAULT 64)
    RETURNS TABLE ("order" text, callback text, seq integer, attempt integer) LANGUAGE plpgsql AS $$
DECLARE
    before integer := (SELECT coalesce(max(n), 0) FROM claimed);
BEGIN
    INSERT INTO claimed (by, attempt_id, delivery_id, endpoint, method, url, headers, body, secrets, attempt, timeout_ms)
    SELECT take.by, c.* FROM postback.claim(take.by, max_items, lease, full_endpoints, per_endpoint) c;
    RETURN QUERY SELECT l."order", l.callback, l.seq, c.attempt FROM claimed c JOIN pg_temp.log l ON l.id = c.delivery_id
                 WHERE c.n > before ORDER BY 1, 2, 3;
END $$;
-- settles the newest claim, by that sender, of that order's delivery to that callback
CREATE FUNCTION pg_temp.tell(by text, "order" text, callback text, outcome text, code integer DEFAULT NULL, error text DEFAULT NULL,
                             retry_after integer DEFAULT NULL) RETURNS integer LANGUAGE sql AS $$
    SELECT postback.settle(tell.by, ARRAY[c.delivery_id], ARRAY[c.attempt_id], ARRAY[tell.outcome], ARRAY[tell.code], ARRAY[tell.error],
                           ARRAY[tell.retry_after], ARRAY[7], ARRAY['192.0.2.7'::inet], ARRAY['body'])
    FROM claimed c JOIN pg_temp.log l ON l.id = c.delivery_id
    WHERE c.by = tell.by AND l."order" = tell."order" AND l.callback = tell.callback ORDER BY c.n DESC LIMIT 1
$$;
-- makes what waits for another attempt due, and lets leases end
CREATE FUNCTION pg_temp.later() RETURNS void LANGUAGE sql AS $$
    UPDATE postback.delivery_due SET due_at = clock_timestamp() - interval '1 s',
        leased_until = CASE WHEN leased_until IS NOT NULL THEN clock_timestamp() - interval '1 s' END
    WHERE due_at < 'infinity'
$$;

-- what a claim holds
SELECT postback.create_callback('a', 'https://A.example/pb?c={click_id}&p={payout}&s={status}', offer => :'offer', statuses => '{any}',
                                secret => 'dGhlIHNlY3JldA==', auth => '{"type":"basic","user":"Aladdin","password":"open sesame"}',
                                headers => '{"X-Order": "{order_id}"}') AS a \gset
SELECT pg_temp.send(:'token', 'order=1&value=1000&click_id=' || :'click_id');
SELECT * FROM pg_temp.take('s1', 10);
SELECT c.endpoint, c.method, replace(c.url, :'click_id', 'CLICK') AS url, c.headers, c.body, c.secrets, c.attempt, c.timeout_ms,
       c.attempt_id <> c.delivery_id AS own_id
FROM claimed c;
-- leased: nobody else gets it; the callback's rows are all as they were
SELECT * FROM pg_temp.take('s2', 10);
SELECT sender, leased_until - clock_timestamp() BETWEEN '55 s' AND '60 s' AS a_minute FROM postback.delivery_due;
-- delivered
SELECT xmin AS before FROM postback.callback WHERE id = :'a' \gset
SELECT pg_temp.tell('s1', '1', 'a', 'response', 200);
SELECT "order", state, attempts, http_code, error, due_at, sent_at IS NOT NULL AS sent FROM pg_temp.log;
SELECT a.number, a.sender, a.outcome, a.http_code, a.error, a.milliseconds, a.address, a.response
FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id;
SELECT xmin = :'before' AS callback_untouched FROM postback.callback WHERE id = :'a';
-- settling twice has no effect, nor does settling what never was
SELECT pg_temp.tell('s1', '1', 'a', 'response', 500);
SELECT postback.settle('s1', ARRAY[postback.new_ulid()], ARRAY[postback.new_ulid()], '{response}', '{200}', '{NULL}', '{NULL}', '{1}', '{NULL}', '{NULL}');
SELECT "order", state, attempts, http_code FROM pg_temp.log;
SELECT count(*) FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id;

-- POST: the content type goes with the body, unless the callback has one of its own; two secrets while one is rotated
SELECT postback.create_callback('form', 'https://b.example:8081/', offer => :'offer', method => 'POST_FORM', params => '{"o": "{order_id}"}',
                                auth => '{"type":"bearer","token":"abc"}') AS form \gset
SELECT postback.create_callback('json', 'http://b.example:8081/', offer => :'offer', method => 'POST_JSON', params => '{"o": "{order_id}"}',
                                secret => 'b25l') AS json \gset
SELECT postback.create_callback('own', 'http://[2001:DB8::1]:8081/', offer => :'offer', method => 'POST_JSON', params => '{"o": "{order_id}"}',
                                headers => '{"content-type": "application/vnd.x+json"}') AS own \gset
SELECT postback.rotate_secret(:'json', 'dHdv');
-- (and of those that are written by hand the newest two)
INSERT INTO postback.callback_secret (callback_id, secret, valid_to) VALUES (:'json', 'whsec_b2xk', now() + interval '1 hour'), (:'json', 'whsec_b2xkZXI=', now() + interval '2 hours');
UPDATE postback.callback SET enabled = false WHERE id = :'a';
SELECT pg_temp.send(:'token', 'order=1&status=approved');
SELECT * FROM pg_temp.take('s1', 10);
SELECT l.callback, c.endpoint, c.method, c.headers, c.body, c.secrets FROM claimed c JOIN pg_temp.log l ON l.id = c.delivery_id
WHERE c.attempt_id IN (SELECT attempt_id FROM postback.delivery_due) ORDER BY l.callback;
SELECT pg_temp.tell('s1', '1', k, 'response', 204) FROM unnest('{form,json,own}'::text[]) k;
DELETE FROM postback.callback WHERE id IN (:'form', :'json', :'own');

-- retries: 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h, each 20 % less to 20 % more; then it has failed
UPDATE postback.callback SET enabled = true WHERE id = :'a';
SELECT pg_temp.send(:'token', 'order=2&value=1000&click_id=' || :'click_id');
CREATE FUNCTION pg_temp.retries() RETURNS TABLE (attempt integer, state text, wait text) LANGUAGE plpgsql AS $$
DECLARE
    pause interval;
BEGIN
    FOR i IN 1 .. 9 LOOP
        attempt := NULL;
        SELECT t.attempt INTO attempt FROM pg_temp.take('s1', 10) t;
        EXIT WHEN attempt IS NULL;
        PERFORM pg_temp.tell('s1', '2', 'a', CASE WHEN i % 2 = 1 THEN 'response' ELSE 'error' END, CASE WHEN i % 2 = 1 THEN 500 END,
                             CASE WHEN i % 2 = 0 THEN 'connection refused' END);
        SELECT l.state, l.due_at - l.sent_at INTO state, pause FROM pg_temp.log l WHERE l."order" = '2';
        wait := (SELECT s FROM unnest('{5 seconds,5 minutes,30 minutes,2 hours,5 hours,10 hours}'::text[]) s
                 WHERE pause BETWEEN s::interval * 0.8 AND s::interval * 1.2);
        RETURN NEXT;
        PERFORM pg_temp.later();
    END LOOP;
END $$;
SELECT * FROM pg_temp.retries();
SELECT "order", state, attempts, http_code, error, due_at FROM pg_temp.log WHERE "order" = '2';
SELECT a.number, a.outcome, a.http_code, a.error FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id WHERE "order" = '2' ORDER BY a.id;
SELECT name, enabled, failing_since IS NOT NULL AS failing FROM postback.callback WHERE id = :'a';

-- sent again by hand: the same id, one further attempt
SELECT postback.resend(id) FROM pg_temp.log WHERE "order" = '2';
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '2', 'a', 'response', 200);
SELECT "order", state, attempts, http_code, error FROM pg_temp.log WHERE "order" = '2';
SELECT name, enabled, failing_since FROM postback.callback WHERE id = :'a';
SELECT postback.resend('00000000000000000000000001');

-- Retry-After: the later of the two, at most a day
SELECT pg_temp.send(:'token', 'order=3&value=1000&click_id=' || :'click_id');
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '3', 'a', 'response', 429, retry_after => 3600);
SELECT due_at - sent_at AS wait FROM pg_temp.log WHERE "order" = '3';
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '3', 'a', 'response', 503, retry_after => 1);
SELECT due_at - sent_at BETWEEN '4 minutes' AND '6 minutes' AS own_schedule FROM pg_temp.log WHERE "order" = '3';
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '3', 'a', 'response', 503, retry_after => 1000000);
SELECT due_at - sent_at AS wait FROM pg_temp.log WHERE "order" = '3';
-- resend() of one that waits: now
SELECT postback.resend(id) FROM pg_temp.log WHERE "order" = '3';
SELECT * FROM pg_temp.take('s1', 10);
-- given back unsent: no attempt, due at once
SELECT pg_temp.tell('s1', '3', 'a', 'released');
SELECT state, attempts, leased, due_at <= clock_timestamp() AS due FROM pg_temp.log WHERE "order" = '3';
SELECT * FROM pg_temp.take('s1', 10);
-- blocked by the egress guard: final, and no failure of the server's
SELECT pg_temp.tell('s1', '3', 'a', 'blocked', error => 'address 127.0.0.1 is not allowed');
SELECT state, attempts, http_code, error, due_at FROM pg_temp.log WHERE "order" = '3';
SELECT a.outcome, a.error FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id WHERE "order" = '3' ORDER BY a.id DESC LIMIT 1;
UPDATE postback.callback SET failing_since = NULL WHERE id = :'a';

-- success codes of the callback's own; without a listing 302 is no success
UPDATE postback.callback SET success_codes = '200-299,302' WHERE id = :'a';
SELECT postback.is_success('299-200', 204) AS backwards;
SELECT c, postback.is_success('200-299,302', c) FROM unnest('{199,200,299,300,301,302,303}'::int[]) c;
SELECT pg_temp.send(:'token', 'order=4&value=1000&click_id=' || :'click_id');
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '4', 'a', 'response', 302);
SELECT state FROM pg_temp.log WHERE "order" = '4';
UPDATE postback.callback SET success_codes = '200-299' WHERE id = :'a';

-- per callback and conversion one at a time and in order; a newer one does not wait for an older one's back-off
SELECT pg_temp.send(:'token', 'order=5&value=1000&click_id=' || :'click_id');
SELECT pg_temp.send(:'token', 'order=5&status=approved');
SELECT * FROM pg_temp.take('s1', 10);
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.tell('s1', '5', 'a', 'error', error => 'timeout');
SELECT * FROM pg_temp.take('s1', 10);
-- the older one falls due meanwhile and waits for the newer one, which supersedes it
UPDATE postback.delivery_due SET due_at = clock_timestamp() WHERE leased_until IS NULL;
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.tell('s1', '5', 'a', 'response', 200);
SELECT seq, status, state, attempts, error, due_at FROM pg_temp.log WHERE "order" = '5' ORDER BY seq;
-- with every_status each is tried to its end
UPDATE postback.callback SET every_status = true WHERE id = :'a';
SELECT pg_temp.send(:'token', 'order=6&value=1000&click_id=' || :'click_id');
SELECT pg_temp.send(:'token', 'order=6&status=approved');
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '6', 'a', 'response', 500);
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '6', 'a', 'response', 200);
SELECT seq, state FROM pg_temp.log WHERE "order" = '6' ORDER BY seq;
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', '6', 'a', 'response', 200);
SELECT seq, state FROM pg_temp.log WHERE "order" = '6' ORDER BY seq;
UPDATE postback.callback SET every_status = false WHERE id = :'a';

-- a killed sender: its claims come back when the lease ends
SELECT pg_temp.send(:'token', 'order=7&value=1000&click_id=' || :'click_id');
SELECT * FROM pg_temp.take('killed', 10);
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s2', 10);
SELECT a.number, a.sender, a.outcome, a.error FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id WHERE "order" = '7';
-- if it was only slow, its answer completes the log and changes nothing else
SELECT pg_temp.tell('killed', '7', 'a', 'response', 500);
SELECT a.number, a.sender, a.outcome, a.http_code, a.error FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id WHERE "order" = '7';
SELECT state, attempts, leased FROM pg_temp.log WHERE "order" = '7';
SELECT pg_temp.tell('s2', '7', 'a', 'response', 200);
SELECT a.sender, a.outcome FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id WHERE "order" = '7' ORDER BY a.id;
SELECT state, attempts FROM pg_temp.log WHERE "order" = '7';
-- late, but nobody has taken it over: it counts
SELECT pg_temp.send(:'token', 'order=8&value=1000&click_id=' || :'click_id');
SELECT * FROM pg_temp.take('slow', 10);
SELECT pg_temp.later();
SELECT pg_temp.tell('slow', '8', 'a', 'response', 200);
SELECT state FROM pg_temp.log WHERE "order" = '8';
-- both ends of a pair out at once, because the older one's lease had ended
SELECT pg_temp.send(:'token', 'order=9&value=1000&click_id=' || :'click_id');
SELECT * FROM pg_temp.take('killed', 10);
SELECT pg_temp.send(:'token', 'order=9&status=approved');
UPDATE postback.delivery_due SET leased_until = clock_timestamp() - interval '1 s', due_at = clock_timestamp() + interval '1 h'
WHERE leased_until IS NOT NULL;
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.tell('s2', '9', 'a', 'response', 200);
SELECT pg_temp.tell('killed', '9', 'a', 'response', 200);
SELECT seq, state FROM pg_temp.log WHERE "order" = '9' ORDER BY seq;
SELECT l.seq, a.sender, a.outcome FROM postback.attempt a JOIN pg_temp.log l ON l.id = a.delivery_id WHERE "order" = '9' ORDER BY l.seq;

-- a killed sender's delivery may have been accepted: no older one follows it, not even while it is tried again
SELECT pg_temp.send(:'token', 'order=K1&value=1000&click_id=' || :'click_id');
SELECT pg_temp.send(:'token', 'order=K1&status=approved');
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', 'K1', 'a', 'response', 500);
SELECT * FROM pg_temp.take('killed', 10);
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.tell('s2', 'K1', 'a', 'response', 500);
UPDATE postback.delivery_due SET due_at = clock_timestamp() WHERE seq = 1;
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.tell('s2', 'K1', 'a', 'response', 200);
SELECT seq, state FROM pg_temp.log WHERE "order" = 'K1' ORDER BY seq;
-- with every_status it does, each being tried to its end
UPDATE postback.callback SET every_status = true WHERE id = :'a';
SELECT pg_temp.send(:'token', 'order=K2&value=1000&click_id=' || :'click_id');
SELECT pg_temp.send(:'token', 'order=K2&status=approved');
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', 'K2', 'a', 'response', 500);
SELECT * FROM pg_temp.take('killed', 10);
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.tell('s2', 'K2', 'a', 'response', 200);
SELECT * FROM pg_temp.take('s2', 10);
SELECT pg_temp.tell('s2', 'K2', 'a', 'response', 200);
SELECT seq, state FROM pg_temp.log WHERE "order" = 'K2' ORDER BY seq;
UPDATE postback.callback SET every_status = false WHERE id = :'a';

-- 410 disables the callback; what waits for it is out of the way, and due again when it is enabled
SELECT n, pg_temp.send(:'token', format('order=1%s&value=1000&click_id=%s', n, :'click_id')) FROM generate_series(0, 2) n;
SELECT count(*) FROM pg_temp.take('s1', 2);
SELECT "order" AS gone, (SELECT max("order") FROM pg_temp.log WHERE leased) AS other FROM pg_temp.log WHERE leased ORDER BY 1 LIMIT 1 \gset
SELECT pg_temp.tell('s1', :'gone', 'a', 'response', 410);
SELECT enabled, disabled_at IS NOT NULL AS disabled_at, disabled_reason FROM postback.callback WHERE id = :'a';
-- one was in flight at that moment
SELECT state, leased, due_at = 'infinity' AS waits, count(*) FROM pg_temp.log WHERE "order" IN ('10', '11', '12') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT pg_temp.tell('s1', :'other', 'a', 'response', 500);
SELECT state, leased, due_at = 'infinity' AS waits, count(*) FROM pg_temp.log WHERE "order" IN ('10', '11', '12') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT * FROM pg_temp.take('s1', 10);
\set VERBOSITY sqlstate
SELECT postback.resend(id) FROM pg_temp.log WHERE "order" = :'gone';
\set VERBOSITY default
SELECT postback.enable_callback(:'a');
SELECT enabled, disabled_at, disabled_reason, failing_since FROM postback.callback WHERE id = :'a';
SELECT count(*) FROM pg_temp.take('s1', 10);
SELECT state, leased, due_at = 'infinity' AS waits, count(*) FROM pg_temp.log WHERE "order" IN ('10', '11', '12') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT postback.enable_callback('00000000000000000000000001');

-- five days without success disable it, but not one day less, and not if there is a success in between
SELECT pg_temp.later();
UPDATE postback.callback SET failing_since = now() - interval '4 days 23 hours' WHERE id = :'a';
SELECT count(*) FROM pg_temp.take('s1', 1);
SELECT l."order" AS failing FROM claimed c JOIN pg_temp.log l ON l.id = c.delivery_id ORDER BY c.n DESC LIMIT 1 \gset
SELECT pg_temp.tell('s1', :'failing', 'a', 'error', error => 'no route to host');
SELECT enabled, failing_since < now() - interval '4 days' AS still_failing FROM postback.callback WHERE id = :'a';
UPDATE postback.callback SET failing_since = '2026-01-01 00:00:00+00' WHERE id = :'a';
SELECT pg_temp.later();
SELECT count(*) FROM pg_temp.take('s1', 10);
SELECT postback.settle('s1', array_agg(delivery_id), array_agg(attempt_id), array_agg('response'::text), array_agg(CASE n WHEN 1 THEN 200 ELSE 500 END), NULL, NULL, NULL, NULL, NULL)
FROM (SELECT delivery_id, attempt_id, row_number() OVER () AS n FROM postback.delivery_due WHERE attempt_id IS NOT NULL) s;
SELECT enabled, failing_since FROM postback.callback WHERE id = :'a';
UPDATE postback.callback SET failing_since = '2026-01-01 00:00:00+00' WHERE id = :'a';
SELECT pg_temp.later();
SELECT count(*) FROM pg_temp.take('s1', 10);
SELECT postback.settle('s1', array_agg(delivery_id), array_agg(attempt_id), array_agg('error'::text), NULL, array_agg('timeout'::text), NULL, NULL, NULL, NULL)
FROM postback.delivery_due WHERE attempt_id IS NOT NULL;
SELECT enabled, disabled_reason FROM postback.callback WHERE id = :'a';

-- by hand: the reason says by whom; deleting it ends what waits
SELECT postback.enable_callback(:'a');
UPDATE postback.callback SET enabled = false WHERE id = :'a' RETURNING disabled_at = now() AS now, disabled_reason = 'by ' || session_user AS by;
SELECT count(*) AS waiting FROM postback.delivery_due WHERE due_at = 'infinity';
SELECT d.id AS waiting FROM postback.delivery d JOIN postback.delivery_due q ON q.delivery_id = d.id LIMIT 1 \gset
DELETE FROM postback.callback WHERE id = :'a';
SELECT state, error FROM postback.delivery WHERE id = :'waiting';
SELECT count(*) FROM postback.delivery_due;

-- fair: by turns over endpoints, at most per_endpoint of each, none for full ones
SELECT i, postback.create_callback('f' || i, format('https://f%s.example/', i), offer => :'offer', statuses => '{pending}') IS NOT NULL AS made
FROM generate_series(1, 5) i;
SELECT count(pg_temp.send(:'token', format('order=F%s&value=1000&click_id=%s', n, :'click_id'))) FROM generate_series(1, 6) n;
SELECT callback, count(*) FROM pg_temp.take('s1', 100, per_endpoint => 1, full_endpoints => '{f2.example:443,f4.example:443}') GROUP BY 1 ORDER BY 1;
-- 4 endpoints of which 2 each make 8: no more; the next claim goes on with the others
SELECT count(*), count(DISTINCT callback) FROM pg_temp.take('s1', 8, per_endpoint => 2);
SELECT callback, count(*) FROM pg_temp.log WHERE leased AND "order" LIKE 'F%' GROUP BY 1 ORDER BY 1;
SELECT count(*), count(DISTINCT callback) FROM pg_temp.take('s1', 8, per_endpoint => 2);
SELECT callback, count(*) FROM pg_temp.log WHERE leased AND "order" LIKE 'F%' GROUP BY 1 ORDER BY 1;
SELECT count(*), count(DISTINCT callback) FROM pg_temp.take('s1', 100);
SELECT count(*) FROM pg_temp.take('s1', 100);
DELETE FROM postback.callback WHERE offer_id = :'offer';

-- delay: not before it is over, and only if the conversion is then still what the callback fires on
SELECT postback.create_callback('late', 'https://l.example/', offer => :'offer', delay => '2 minutes', statuses => '{pending}') AS late \gset
SELECT n, pg_temp.send(:'token', format('order=L%s&value=1000&click_id=%s', n, :'click_id')) FROM generate_series(1, 2) n;
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.send(:'token', 'order=L2&status=reversed');
SELECT pg_temp.later();
SELECT * FROM pg_temp.take('s1', 10);
SELECT "order", state, error, leased FROM pg_temp.log WHERE callback = 'late' ORDER BY 1;

-- many at once: what failed is sent again
SELECT pg_temp.tell('s1', 'L1', 'late', 'response', 410);
SELECT postback.enable_callback(:'late');
SELECT postback.requeue(:'late', since => now() - interval '1 hour', until => now() + interval '1 minute');
SELECT "order", state, attempts, due_at IS NOT NULL AS queued FROM pg_temp.log WHERE callback = 'late' ORDER BY 1;
SELECT postback.requeue(:'late', since => now() - interval '1 hour', states => '{sent}');
DELETE FROM postback.callback WHERE id = :'late';

-- what was too long to be rendered cannot be sent, and does not keep the others of its callback from being
SELECT postback.create_callback('long', 'https://l.example/', offer => :'offer', statuses => '{pending}', method => 'POST_FORM',
                                params => jsonb_build_object('p', repeat('x', 70000))) AS long \gset
SELECT pg_temp.send(:'token', 'order=long&value=1000&click_id=' || :'click_id');
UPDATE postback.callback SET params = '{"p": "x"}' WHERE id = :'long';
SELECT pg_temp.send(:'token', 'order=short&value=1000&click_id=' || :'click_id');
SELECT * FROM pg_temp.take('s1', 10);
SELECT pg_temp.tell('s1', 'short', 'long', 'response', 410);
SELECT postback.enable_callback(:'long');
SELECT "order", state, attempts, error FROM pg_temp.log WHERE callback = 'long' ORDER BY 1;
SELECT postback.requeue(:'long', since => now() - interval '1 hour', until => now() + interval '1 minute');
SELECT "order", state, due_at IS NOT NULL AS queued FROM pg_temp.log WHERE callback = 'long' ORDER BY 1;
SELECT id AS too_long FROM pg_temp.log WHERE "order" = 'long' AND callback = 'long' \gset
CREATE FUNCTION pg_temp.resend_refused(id postback.ulid, callback postback.ulid) RETURNS TABLE (state text, message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM postback.resend(id);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
    message := replace(message, id::text, 'ID');
    hint := replace(hint, callback::text, 'CALLBACK');
    RETURN NEXT;
END $$;
SELECT * FROM pg_temp.resend_refused(:'too_long', :'long');
DELETE FROM postback.callback WHERE id = :'long';

-- a callback that has moved: what was to be sent to its old server does not take the new one's password there
SELECT postback.create_callback(k.name, k.url, offer => :'offer', statuses => '{pending}') IS NOT NULL AS made
FROM (VALUES ('host', 'https://old.example/'), ('path', 'https://new.example/old?c={click_id}'), ('port', 'https://new.example:8443/'),
             ('scheme', 'http://new.example:443/'), ('spelling', 'HTTPS://New.example.:443')) AS k (name, url);
SELECT pg_temp.send(:'token', 'order=moved&value=1000&click_id=' || :'click_id');
UPDATE postback.callback SET url = 'https://new.example/{goal}', auth = '{"type":"bearer","token":"new"}' WHERE offer_id = :'offer' AND name IN ('host', 'path', 'port', 'scheme', 'spelling');
SELECT count(*) FROM pg_temp.take('s1', 10);
SELECT l.callback, split_part(c.url, '?', 1) AS url, c.headers FROM claimed c JOIN pg_temp.log l ON l.id = c.delivery_id WHERE l."order" = 'moved' ORDER BY 1;
DELETE FROM postback.callback WHERE offer_id = :'offer' AND name IN ('host', 'path', 'port', 'scheme', 'spelling');

-- the endpoint of a URL
SELECT u, postback.endpoint_of(u) FROM unnest('{https://A.example/x,http://a.example?x,HTTPS://a.example:8443#x,http://a.example.:81,https://[2001:DB8::1]/x,http://[::1]:81,https://a.example/x:1/y@z,ftp://a.example/}'::text[]) u;

SELECT * FROM postback.audit();

-- what is not due stands apart; a claim brings over what has fallen due, oldest first, and what a snapshot that stays open keeps
-- from being vacuumed is left behind when the table is written anew
DELETE FROM postback.delivery_due;
SELECT postback.create_callback('apart', 'https://apart.example/', offer => :'offer', statuses => '{any}', delay => '1 hour') AS apart \gset
SELECT pg_temp.send(:'token', 'order=apart&value=1000&click_id=' || :'click_id');
SELECT q.tableoid::regclass AS stands, q.due_at - now() > interval '59 min' AS in_an_hour
FROM postback.delivery_due q WHERE q.callback_id = :'apart';
SELECT count(*) FROM postback.claim('s1', 10);
SELECT q.tableoid::regclass AS stands FROM postback.delivery_due q WHERE q.callback_id = :'apart';
UPDATE postback.delivery_due SET due_at = now() WHERE callback_id = :'apart';
SELECT count(*) FROM postback.claim('s1', 10, lease => '1 day'); -- however long what follows takes
SELECT q.tableoid::regclass AS stands, q.sender FROM postback.delivery_due q WHERE q.callback_id = :'apart';
SELECT pg_relation_size('postback.delivery_due_now') < 1000000 AS small, postback.compact_due() AS compacted;
BEGIN ISOLATION LEVEL REPEATABLE READ; -- what others queue after its first look would be lost
INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at)
SELECT postback.new_ulid(), :'apart', 1, repeat('x', 1800), now() FROM generate_series(1, 10000);
SELECT pg_relation_size('postback.delivery_due_now') > 32 * 1024 * 1024 AS large, postback.compact_due() AS compacted;
ROLLBACK;
BEGIN; -- which keeps vacuum away
INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at)
SELECT postback.new_ulid(), :'apart', 1, 'apart.example:443', now() FROM generate_series(1, 200000);
SELECT postback.compact_due() AS compacted; -- as many as these would take too long
DELETE FROM postback.delivery_due WHERE sender IS NULL;
SET postback_queue.compact_above = '';
SELECT pg_relation_size('postback.delivery_due_now') > 32 * 1024 * 1024 AS large;
SELECT count(*) FROM postback.claim('s1', 10);
COMMIT;
SELECT pg_relation_size('postback.delivery_due_now') < 1000000 AS small;
SELECT q.tableoid::regclass AS stands, q.sender, q.attempt_id IS NOT NULL AS leased FROM postback.delivery_due q;
DELETE FROM postback.delivery_due;

-- plans that were made for an empty queue stay right: beside thousands that wait, a claim and its end read a handful of index entries
VACUUM ANALYZE postback.delivery_due_now, postback.delivery_due_later;
SELECT count(*) FROM postback.claim('s1', 10);
INSERT INTO postback.delivery_due (waiting, delivery_id, callback_id, conversion_id, seq, endpoint, due_at)
SELECT true, postback.new_ulid(), :'apart', postback.new_ulid(), 1, 'apart.example:443', now() + '1 day' FROM generate_series(1, 20000);
SELECT pg_temp.send(:'token', 'order=among&value=1000&click_id=' || :'click_id');
UPDATE postback.delivery_due q SET due_at = now() FROM pg_temp.log l WHERE l.id = q.delivery_id AND l."order" = 'among' AND q.callback_id = :'apart';
BEGIN;
SELECT count(*) FROM pg_temp.take('s1', 10) t WHERE t."order" = 'among' AND t.callback = 'apart';
SELECT pg_temp.tell('s1', 'among', 'apart', 'response', 200);
SELECT c.relname, pg_stat_get_xact_tuples_returned(c.oid) AS entries
FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
WHERE i.indrelid IN ('postback.delivery_due_now'::regclass, 'postback.delivery_due_later'::regclass)
  AND pg_stat_get_xact_tuples_returned(c.oid) > 10;
COMMIT;
DELETE FROM postback.delivery_due;

-- what is left of deliveries that somebody has deleted does not stand before the others
BEGIN;
SELECT postback.create_callback('orphans', 'https://orphans.example/', offer => :'offer', statuses => '{any}') AS orphans \gset
SELECT count(pg_temp.send(:'token', format('order=orphan-%s&value=1000&click_id=%s', n, :'click_id'))) FROM generate_series(1, 5) n;
DELETE FROM postback.delivery d USING postback.conversion c WHERE d.callback_id = :'orphans' AND c.id = d.conversion_id AND c.order_ref <> 'orphan-5';
SELECT count(*) FROM postback.claim('s1', 10, per_endpoint => 4) WHERE endpoint = 'orphans.example:443';
SELECT count(*) FROM postback.claim('s1', 10, per_endpoint => 4) WHERE endpoint = 'orphans.example:443';
SELECT count(*) FROM postback.delivery_due WHERE callback_id = :'orphans';
ROLLBACK;
