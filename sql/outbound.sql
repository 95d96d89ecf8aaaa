-- Outbound, for people: send_test(), backfill(), lint_callbacks(), the views; the conditions looked at again after a delay.
-- Nothing is sent: claim() and settle() are called by hand.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO';
SET client_min_messages = error;
DELETE FROM postback.delivery_due; -- what other tests left, else it would be claimed here
SELECT postback.create_brand('Outbound', 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer, postback.create_offer(:'brand', 'Empty', 'https://shop.example/') AS empty \gset
SELECT postback.create_publisher('Outbound blog') AS blog, postback.create_publisher('Outbound forum') AS forum \gset
SELECT postback.set_terms(:'offer', percent => 8) IS NOT NULL AS terms;
SELECT click_id AS click FROM postback.click((SELECT code FROM postback.create_link(:'offer', :'blog'))) \gset
SELECT count(code) FROM postback.create_link(:'empty', :'forum');
SELECT set_config('outbound.token', :'token', false) IS NOT NULL AS token, set_config('outbound.brand', :'brand', false) IS NOT NULL AS brand,
       set_config('outbound.click', :'click', false) IS NOT NULL AS click;
CREATE FUNCTION pg_temp.send(query text) RETURNS text LANGUAGE sql AS $$
    SELECT outcome FROM postback.receive(current_setting('outbound.token'), query)
$$;
CREATE FUNCTION pg_temp.sale(ref text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.send(format('order=%s&value=4999&click_id=%s%s', ref, current_setting('outbound.click'), more))
$$;
CREATE VIEW pg_temp.log AS -- the deliveries of this test by name
    SELECT d.id, c.order_ref AS "order", k.name AS callback, d.seq, d.status, d.state, d.test, d.url, d.error, q.due_at, d.body
    FROM postback.delivery d
    JOIN postback.callback k ON k.id = d.callback_id
    LEFT JOIN postback.conversion c ON c.id = d.conversion_id
    LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id
    WHERE d.brand_id = current_setting('outbound.brand')::postback.ulid;
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '[0-9A-HJKMNP-TV-Z]{26}', 'ID', 'g');
END
$$;
-- makes what is delayed due
CREATE FUNCTION pg_temp.later() RETURNS void LANGUAGE sql AS $$
    UPDATE postback.delivery_due SET due_at = clock_timestamp() - interval '1 s' WHERE due_at < 'infinity'
$$;
-- claims all that is due and says how each ended
CREATE FUNCTION pg_temp.deliver(code integer DEFAULT 200, milliseconds integer DEFAULT 10) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    total bigint := 0;
    claimed postback.ulid[];
    deliveries postback.ulid[];
BEGIN
    LOOP
        SELECT array_agg(c.attempt_id), array_agg(c.delivery_id) INTO claimed, deliveries FROM postback.claim('test', 100) c;
        EXIT WHEN claimed IS NULL;
        PERFORM postback.settle('test', deliveries, claimed, array_fill('response'::text, ARRAY[cardinality(claimed)]), array_fill(code, ARRAY[cardinality(claimed)]),
            array_fill(NULL::text, ARRAY[cardinality(claimed)]), array_fill(NULL::integer, ARRAY[cardinality(claimed)]), array_fill(milliseconds, ARRAY[cardinality(claimed)]),
            array_fill('192.0.2.7'::inet, ARRAY[cardinality(claimed)]), array_fill(''::text, ARRAY[cardinality(claimed)]));
        total := total + cardinality(claimed);
        EXIT WHEN code <> 200;
    END LOOP;
    RETURN total;
END
$$;

-- send_test: with sample values while no conversion fits
SELECT postback.create_callback('tested', 'https://p.example/?o={order_id}&t={test}&s={status}&r={rejection_reason}&n={seq}&p={payout}&c={currency}', offer => :'offer',
    goal => 'sale', statuses => '{rejected}', reasons => '{fraud,other}', delay => '1 hour') AS tested \gset
SELECT postback.send_test(:'tested') AS test \gset
SELECT l.url, l.test, l.state, l.due_at <= now() AS due, d.conversion_id, d.publisher_id = :'blog' AS publisher FROM pg_temp.log l JOIN postback.deliveries d ON d.id = l.id WHERE l.id = :'test';
-- with the newest that fits: state, reason, goal and scope; the order itself need be no test
SELECT pg_temp.sale('T-1', '&goal=SALE'), pg_temp.send('order=T-1&goal=sale&status=reversed&reason=Fraud');
SELECT pg_temp.sale('T-2', '&goal=sale'), pg_temp.send('order=T-2&goal=sale&status=reversed&reason=policy');
SELECT pg_temp.sale('T-3', '&goal=sale'), pg_temp.sale('T-4'), pg_temp.send('order=T-4&status=reversed&reason=fraud');
SELECT postback.send_test(:'tested') AS test \gset
SELECT url, test, state FROM pg_temp.log WHERE id = :'test';
-- it is sent like any other, and counts among the deliveries of no conversion
SELECT count(*) FROM postback.claim('test', 10) WHERE delivery_id = :'test';
UPDATE postback.delivery_due SET leased_until = NULL, attempt_id = NULL, due_at = now() WHERE leased_until IS NOT NULL;
SELECT pg_temp.deliver();
SELECT state, attempts, http_code FROM postback.deliveries WHERE id = :'test';
SELECT "order", seq, status, state FROM pg_temp.log WHERE callback = 'tested' AND NOT test;
SELECT pg_temp.refusal(format('SELECT postback.send_test(%L)', postback.new_ulid())), pg_temp.refusal('SELECT postback.send_test(NULL)');
-- what does the work for send_test() and backfill() refuses too
SELECT pg_temp.refusal(format('SELECT postback.write_test(%L)', postback.new_ulid())),
    pg_temp.refusal(format('SELECT postback.write_backfill(%L, now(), now(), false)', postback.new_ulid()));
UPDATE postback.callback SET enabled = false WHERE id = :'tested';
SELECT pg_temp.refusal(format('SELECT postback.send_test(%L)', :'tested'));
DELETE FROM postback.callback WHERE id = :'tested';
-- a callback of everything, in a scope without any link: the sample's parties exist only in it
SELECT postback.create_callback('nowhere', 'https://p.example/?s={status}&p={payout}', publisher => postback.create_publisher('Nobody')) AS nowhere \gset
SELECT postback.send_test(:'nowhere') AS test \gset
SELECT postback_url, offer, publisher FROM postback.deliveries WHERE id = :'test';
DELETE FROM postback.callback WHERE id = :'nowhere';
-- of a callback of events an event: a sample, then the newest with its name; nothing of a conversion
SELECT postback.create_callback('installs', 'https://p.example/?e={event}&o={order_id}&x={external_id}&s1={sub1}&s={sub_id}&i={conversion_id}&st={status}&p={payout}&g={goal}&t={test}&d={timestamp}',
    type => 'event', offer => :'offer', goal => 'install', delay => '1 hour') AS installs \gset
SELECT postback.send_test(:'installs') AS test \gset
SELECT regexp_replace(d.postback_url, '\d{10}$', 'TIME') AS url, d.test, d.state, d.due_at <= now() AS due, d.conversion_id, d.status, d.payout, d.goal, r.event_id, r.click_id
FROM postback.deliveries d JOIN postback.delivery r ON r.id = d.id WHERE d.id = :'test';
SELECT click_id AS tracked FROM postback.click((SELECT code FROM postback.create_link(:'offer', :'blog')), 'external_id=ext-7&sub1=one&sub_id=s-7') \gset
SELECT pg_temp.send('event=Install&order=I-1&click_id=' || :'tracked'), pg_temp.send('event=open&order=I-1&click_id=' || :'tracked'), pg_temp.send('event=install&order=I-2&click_id=nonsense');
SELECT postback.send_test(:'installs') AS test \gset
SELECT regexp_replace(d.url, '\d{10}$', '') AS url, d.test, d.event_id, d.click_id, d.publisher_id = :'blog' AS publisher,
       substring(d.url FROM '\d{10}$')::bigint = trunc(extract(epoch FROM postback.ulid_time(e.id))) AS time_of_the_event
FROM postback.delivery d, postback.event e WHERE d.id = :'test' AND e.brand_id = :'brand' AND e.order_ref = 'I-1' AND e.name = 'install';
-- and of a callback of clicks a click
SELECT postback.create_callback('clicks', 'https://p.example/?c={click_id}&x={external_id}&s={sub_id}&s1={sub1}&e={event}&i={conversion_id}&st={status}&p={payout}&cur={currency}&t={test}',
    type => 'click', publisher => :'blog', offer => :'offer') AS clicks, postback.create_callback('no clicks', 'https://p.example/?x={external_id}&s={sub_id}&e={event}&st={status}&t={test}',
    type => 'click', publisher => :'forum', offer => :'empty') AS no_clicks \gset
SELECT postback.send_test(:'clicks') AS test, postback.send_test(:'no_clicks') AS sample \gset
SELECT replace(d.url, :'tracked', 'TRACKED') AS url, d.test, d.event_id, d.click_id, d.status, d.payout FROM postback.delivery d WHERE d.id IN (:'test', :'sample') ORDER BY d.id;
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- backfill: of the conversions of a time what fits now and has no delivery yet
SELECT pg_temp.sale('B-1'), pg_temp.sale('B-2'), pg_temp.sale('B-3'), pg_temp.sale('TEST-B'), pg_temp.send('order=B-5&value=1&click_id=nonsense');
SELECT pg_temp.send('order=B-1&status=approved'), pg_temp.send('order=B-2&status=approved');
SELECT postback.create_callback('late', 'https://p.example/?o={order_id}&s={status}&d={delta_payout}', offer => :'offer') AS late \gset
SELECT pg_temp.send('order=B-3&status=approved'); -- has its delivery
SELECT "order", seq FROM pg_temp.log WHERE callback = 'late' ORDER BY 1;
SELECT postback.backfill(:'late', now() - interval '1 hour', preview => true) AS preview;
SELECT count(*) AS nothing_written FROM pg_temp.log WHERE callback = 'late';
SELECT postback.backfill(:'late', now() - interval '1 hour', now() - interval '1 minute') AS before, postback.backfill(:'late', now() + interval '1 minute', now() + interval '1 hour') AS after;
SELECT postback.backfill(:'late', since => now() - interval '1 hour') AS sent;
SELECT "order", seq, status, state, test, url FROM pg_temp.log WHERE callback = 'late' ORDER BY 1;
SELECT postback.backfill(:'late', now() - interval '1 hour') AS again, postback.backfill(:'late', now() - interval '1 hour', preview => true) AS preview;
-- what goes on from there
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reverse(c.id) r WHERE c.brand_id = :'brand' AND c.order_ref = 'B-1';
UPDATE postback.callback SET statuses = '{rejected,approved}' WHERE id = :'late';
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reverse(c.id) r WHERE c.brand_id = :'brand' AND c.order_ref = 'B-2';
SELECT "order", seq, status FROM pg_temp.log WHERE callback = 'late' AND "order" IN ('B-1', 'B-2') ORDER BY 1, 2;
DELETE FROM postback.callback WHERE id = :'late';
-- scope, goal, reasons as ever; a delay is counted from the last change
SELECT name, postback.backfill(postback.create_callback(name, 'https://p.example/', publisher => p::postback.ulid, offer => :'offer', goal => goal, statuses => statuses, reasons => reasons, include_test => t), now() - interval '1 hour', preview => true)
FROM (VALUES ('another publisher', :'forum', NULL, '{any}'::text[], NULL::text[], false), ('goal', NULL, 'sALE', '{any}', NULL, false), ('reason', NULL, NULL, '{rejected}', '{fraud}', false),
             ('all', :'blog', NULL, '{any}', NULL, false), ('all and tests', NULL, NULL, '{any}', NULL, true)) AS k (name, p, goal, statuses, reasons, t);
DELETE FROM postback.callback WHERE offer_id = :'offer';
SELECT postback.create_callback('delayed', 'https://p.example/?at={date}T{time}Z', offer => :'offer', statuses => '{pending}', delay => '1 hour') AS delayed \gset
BEGIN;
ALTER TABLE postback.conversion DISABLE TRIGGER USER;
UPDATE postback.conversion SET updated_at = updated_at - interval '2 hours' WHERE brand_id = :'brand' AND order_ref = 'T-3';
ALTER TABLE postback.conversion ENABLE TRIGGER USER;
SELECT pg_temp.sale('B-7');
DELETE FROM postback.delivery_due q USING postback.delivery d WHERE d.id = q.delivery_id AND d.callback_id = :'delayed';
DELETE FROM postback.delivery WHERE callback_id = :'delayed';
SELECT postback.backfill(:'delayed', now() - interval '1 hour', now() + interval '1 hour');
SELECT "order", state, due_at <= now() AS due FROM pg_temp.log WHERE callback = 'delayed' ORDER BY 1;
-- and so are date and time
SELECT l."order", substring(l.url FROM 'at=(.*)Z') = to_char(c.updated_at, 'YYYY-MM-DD"T"HH24"%3A"MI"%3A"SS') AS time_of_the_change FROM pg_temp.log l JOIN postback.conversion c ON c.order_ref = l."order" AND c.brand_id = :'brand'
WHERE l.callback = 'delayed' ORDER BY 1;
ROLLBACK;
-- more than one chunk
SELECT count(*) FROM (SELECT pg_temp.sale('C-' || n) FROM generate_series(1, 2100) n) s;
DELETE FROM postback.delivery_due;
DELETE FROM postback.delivery WHERE callback_id = :'delayed';
SELECT postback.backfill(:'delayed', now() - interval '1 hour', now() + interval '1 hour', preview => true) AS preview, postback.backfill(:'delayed', now() - interval '1 hour', now() + interval '1 hour') AS sent;
SELECT count(*) AS queued, count(DISTINCT conversion_id) AS one_each FROM postback.delivery_due;
DELETE FROM postback.callback WHERE id = :'delayed';
SELECT pg_temp.refusal(format('SELECT postback.backfill(%L, now())', postback.new_ulid()));
SELECT postback.create_callback('X', 'https://p.example/', type => 'click', brand => :'brand') AS click_callback, postback.create_callback('Y', 'https://p.example/', brand => :'brand') AS y \gset
SELECT pg_temp.refusal(format(s, :'y')) FROM unnest(ARRAY['SELECT postback.backfill(%L, ''2026-01-02'', ''2026-01-01'')', 'SELECT postback.backfill(%L, NULL, ''2026-01-01'')', 'SELECT postback.backfill(%L, ''2026-01-01'', preview => NULL)']) s;
SELECT pg_temp.refusal(format('SELECT postback.backfill(%L, ''2026-01-01'')', :'click_callback'));
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- a delay is over: each condition is looked at again, also those of the callback
SELECT n, postback.create_callback('D' || n, 'https://p.example/', offer => :'offer', delay => '2 minutes', statuses => '{any}') IS NOT NULL AS made FROM generate_series(1, 7) n;
SELECT pg_temp.sale('D', '&goal=Sale');
UPDATE postback.callback SET publisher_id = :'forum' WHERE name = 'D1' AND offer_id = :'offer';
UPDATE postback.callback SET statuses = '{approved}' WHERE name = 'D2' AND offer_id = :'offer';
UPDATE postback.callback SET goal = 'lead' WHERE name = 'D3' AND offer_id = :'offer';
UPDATE postback.callback SET goal = 'SALE', publisher_id = :'blog' WHERE name = 'D4' AND offer_id = :'offer';
UPDATE postback.callback SET offer_id = :'empty' WHERE name = 'D5' AND offer_id = :'offer';
UPDATE postback.callback SET delay = '0', reasons = '{fraud}' WHERE name = 'D6' AND offer_id = :'offer'; -- it was delayed all the same
UPDATE postback.callback SET delay = '0', publisher_id = :'forum' WHERE name = 'D7' AND offer_id = :'offer';
SELECT pg_temp.deliver() AS not_yet;
SELECT pg_temp.later();
SELECT pg_temp.deliver();
SELECT callback, state, replace(replace(replace(replace(error, :'forum', 'FORUM'), :'blog', 'BLOG'), :'empty', 'EMPTY'), :'offer', 'OFFER') AS error FROM pg_temp.log WHERE callback ~ '^D\d' ORDER BY 1;
DELETE FROM postback.callback WHERE brand_id = :'brand';
-- also that of the conversion: another status, another reason, opened again, back to what it was
SELECT postback.create_callback(name, 'https://p.example/', offer => :'offer', delay => '2 minutes', statuses => statuses, reasons => reasons) IS NOT NULL AS made
FROM (VALUES ('any', '{any}'::text[], NULL::text[]), ('fraud', '{rejected}', '{fraud}')) AS k (name, statuses, reasons);
SELECT pg_temp.sale('E-1'), pg_temp.sale('E-2'), pg_temp.send('order=E-1&status=approved'), pg_temp.send('order=E-2&status=reversed&reason=fraud');
UPDATE postback.conversion SET reason = 'policy' WHERE brand_id = :'brand' AND order_ref = 'E-2';
SELECT pg_temp.later();
SELECT pg_temp.deliver();
SELECT "order", callback, status, state, error FROM pg_temp.log WHERE "order" LIKE 'E-%' ORDER BY 1, 2, seq;
-- sent by hand it is not looked at again
SELECT postback.resend(id) FROM pg_temp.log WHERE "order" = 'E-2' AND callback = 'fraud';
SELECT pg_temp.deliver();
SELECT state FROM pg_temp.log WHERE "order" = 'E-2' AND callback = 'fraud';
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- and for events and clicks what the callback wants
SELECT n, postback.create_callback('E' || n, 'https://p.example/', offer => :'offer', delay => '2 minutes', type => type) IS NOT NULL AS made FROM (VALUES (1, 'event'), (2, 'event'), (3, 'event'), (4, 'click'), (5, 'click'), (6, 'event')) k (n, type);
SELECT pg_temp.send('event=install&order=E-9&click_id=' || :'click');
SELECT count(click_id) FROM postback.click((SELECT code FROM postback.create_link(:'offer', :'blog')));
UPDATE postback.callback SET goal = 'INSTALL' WHERE name = 'E1' AND offer_id = :'offer';
UPDATE postback.callback SET goal = 'open' WHERE name = 'E2' AND offer_id = :'offer';
UPDATE postback.callback SET publisher_id = :'forum' WHERE name IN ('E3', 'E5') AND offer_id = :'offer';
UPDATE postback.callback SET type = 'conversion' WHERE name = 'E6' AND offer_id = :'offer';
SELECT pg_temp.later();
SELECT pg_temp.deliver();
SELECT callback, state, replace(replace(error, :'forum', 'FORUM'), :'blog', 'BLOG') AS error FROM pg_temp.log WHERE callback ~ '^E\d' ORDER BY 1;
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- lint: at save and of all that is saved; a password only where nobody listens, or on a network of one's own
SELECT k.url, k.auth ->> 'type' AS type, pg_temp.refusal(format('SELECT postback.create_callback(''auth'', %L, brand => %L, auth => %L)', k.url, :'brand', k.auth)) AS function,
       pg_temp.refusal(format('INSERT INTO postback.callback (name, url, brand_id, auth) VALUES (''auth'', %L, %L, %L)', k.url, :'brand', k.auth)) AS insert
FROM (VALUES ('https://p.example/', '{"type":"bearer","token":"s3cret"}'::jsonb), ('http://p.example/', '{"type":"bearer","token":"s3cret"}'), ('http://p.example/', '{"type":"basic","user":"u","password":"s3cret"}'),
             ('http://10.0.0.1/', '{"type":"bearer","token":"s3cret"}'), ('http://crm.internal/', '{"type":"bearer","token":"s3cret"}'), ('http://8.8.8.8/', '{"type":"bearer","token":"s3cret"}')) AS k (url, auth);
SELECT k.auth, pg_temp.refusal(format('INSERT INTO postback.callback (name, url, brand_id, auth) VALUES (''auth'', ''https://p.example/'', %L, %L)', :'brand', k.auth))
FROM (VALUES ('{"type":"basic"}'::jsonb), ('{"type":"basic","user":"a:b","password":"c"}'), ('{"type":"basic","user":"a","password":5}'), ('{"type":"bearer"}'), ('{"type":"bearer","token":"a b"}'), ('{"type":"bearer","token":""}')) AS k (auth);
DELETE FROM postback.callback WHERE brand_id = :'brand';
-- headers that belong to the connection, or to the sender
SELECT n AS header, pg_temp.refusal(format('INSERT INTO postback.callback (name, url, brand_id, headers) VALUES (''h'', ''https://p.example/'', %L, ''{"%s": "x"}'')', :'brand', n)) AS insert,
       pg_temp.refusal(format('SELECT postback.create_callback(''h'', ''https://p.example/'', brand => %L, headers => ''{"%s": "x"}'')', :'brand', n)) AS function
FROM unnest('{Host,content-length,Webhook-Id,X-Host}'::text[]) n;
-- auth makes a header of its own
SELECT k.auth, pg_temp.refusal(format('INSERT INTO postback.callback (name, url, brand_id, headers, auth) VALUES (''h'', ''https://p.example/'', %L, ''{"authorization": "x"}'', %L)', :'brand', k.auth)) AS insert
FROM (VALUES (NULL::jsonb), ('{"type":"bearer","token":"t"}')) AS k (auth);
SELECT count, pg_temp.refusal(format('INSERT INTO postback.callback (name, url, brand_id, headers) SELECT ''h'', ''https://p.example/'', %L, jsonb_object_agg(''X-'' || n, ''x'') FROM generate_series(1, %s) n', :'brand', count)) AS insert
FROM unnest('{40,41}'::int[]) count;
-- macros within JSON stay as they are
SET client_min_messages = notice;
INSERT INTO postback.callback (name, url, brand_id, method, params) VALUES ('j', 'https://p.example/', :'brand', 'POST_JSON', '{"a": {"b": ["{payout}", "{}"]}, "c": [1, {}], "d": "{status}", "e": {"f": "{other}"}}');
SET client_min_messages = error;
DELETE FROM postback.callback WHERE brand_id = :'brand';
SELECT postback.create_callback('1', 'https://p.example/?a={payout}&amp;b=#s2#&c=%2520', brand => :'brand', params => '{"x": "{payout}", "y": "!!!clickid!!!"}', headers => '{"X-Z": "${status}"}') AS one,
       postback.create_callback('2', 'https://p.example/?a={payout}', brand => :'brand') AS two, postback.create_callback('3', 'http://localhost/', brand => :'brand', auth => '{"type":"bearer","token":"s3cret"}') AS three \gset
SELECT count(postback.create_callback(name, 'https://p.example/', brand => :'brand', statuses => statuses, reasons => '{fraud}'))
FROM (VALUES ('7', '{approved}'::text[]), ('8', '{rejected}')) AS k (name, statuses);
-- what a dump brings back from before a rule stays as it was; who saves it now is refused
SET client_min_messages = warning;
INSERT INTO postback.callback (name, url, brand_id, headers, auth, created) VALUES
    ('4', 'http://p.example/{payuot}', :'brand', '{"X Y": "a", "Z": 5}', '{"type":"basic"}', now() - interval '1 day'),
    ('5', 'https://p.example/?o={order_id}', :'brand', '{"Authorization": "x"}', '{"type":"bearer","token":"t"}', now() - interval '1 day');
SET client_min_messages = error;
SELECT k.created, pg_temp.refusal(format('INSERT INTO postback.callback (name, url, brand_id, headers, auth, created) VALUES (''6'', ''https://p.example/'', %L, ''{"Authorization": "x"}'',
    ''{"type":"bearer","token":"t"}'', %s)', :'brand', k.created)) AS insert
FROM unnest('{DEFAULT,now()}'::text[]) AS k (created);
SELECT k.name, pg_temp.refusal(format('UPDATE postback.callback SET name = name WHERE id = %L', k.id)) AS update FROM postback.callback k WHERE k.brand_id = :'brand' AND k.name IN ('4', '5') ORDER BY 1;
-- one that cannot be rendered fires nothing and fails nobody's call
BEGIN;
SELECT pg_temp.sale('L-1', '&status=approved');
SELECT callback, url FROM pg_temp.log WHERE "order" = 'L-1' AND callback IN ('4', '5') ORDER BY 1;
SELECT w."check", w.wanted, w.found FROM postback.conversion c, postback.callback k, LATERAL postback.why_not(c.id, k.id) w
WHERE c.brand_id = :'brand' AND c.order_ref = 'L-1' AND k.brand_id = c.brand_id AND k.name = '4' AND NOT w.ok;
SELECT pg_temp.refusal(format('SELECT postback.%s(%L%s)', k.function, c.id, k.more)) FROM postback.callback c, (VALUES ('send_test', ''), ('backfill', ', now() - interval ''1 hour''')) AS k (function, more)
WHERE c.brand_id = :'brand' AND c.name = '4';
ROLLBACK;
SELECT k.name, l.field, l.finding, l.position, l.what, l.hint, l.refused FROM postback.lint_callbacks() l JOIN postback.callback k ON k.id = l.callback WHERE k.brand_id = :'brand' ORDER BY k.name, l.field, l.position, l.finding;
SELECT count(*) FROM postback.lint_callbacks() l WHERE l::text LIKE '%s3cret%';
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- the list of callbacks, and the log
SELECT postback.create_callback('listed', 'https://p.example/{goal}', offer => :'offer', publisher => :'blog', goal => 'Lead', statuses => '{pending,rejected}', method => 'POST_JSON') IS NOT NULL AS made,
       postback.create_callback('any', 'https://q.example/', brand => :'brand', method => 'POST_FORM', statuses => '{any}') AS any \gset
SELECT name, type, publisher, offer, goal, statuses, url, http_type, enabled, created = updated AS untouched FROM postback.callbacks WHERE brand_id = :'brand' ORDER BY name;
SELECT pg_temp.sale('V-1', '&goal=Lead&notice=hello');
SELECT pg_temp.deliver(500);
SELECT callback, postback_url, publisher, offer, goal, status, payout, revenue, currency, notice, http_code, error, date IS NOT NULL AS date, state FROM postback.deliveries WHERE brand_id = :'brand' AND goal = 'Lead' ORDER BY callback;
SELECT callback, number, postback_url, publisher, offer, goal, status, payout, revenue, currency, notice, http_code, error, date IS NOT NULL AS date, outcome, milliseconds FROM postback.attempts WHERE brand_id = :'brand' AND goal = 'Lead' ORDER BY callback;

-- health: of the last day
SELECT name, attempts, success_rate, streak, p50_ms, p99_ms, last_error, last_error_at IS NOT NULL AS last_error_at, last_success_at, failing_since IS NOT NULL AS failing, queued, delayed, oldest_due > now() AS due_later
FROM postback.callback_health WHERE id = :'any';
SELECT pg_temp.later();
SELECT pg_temp.deliver(200, 40);
SELECT pg_temp.sale('V-2'), pg_temp.deliver(503, 90), pg_temp.sale('V-3'), pg_temp.deliver(502, 20);
INSERT INTO postback.attempt (id, brand_id, delivery_id, callback_id, number, sender, outcome, error, milliseconds)
SELECT postback.ulid_floor(now() - interval '25 hours'), :'brand', postback.new_ulid(), :'any', 1, 'test', 'error', 'long ago', 9999;
SELECT name, attempts, success_rate, streak, p50_ms, p99_ms, last_error, last_success_at IS NOT NULL AS last_success_at, failing_since IS NOT NULL AS failing, queued, delayed FROM postback.callback_health WHERE id = :'any';
-- the same for the sender's metrics, of the last hour: failing ones first, then the busiest
SELECT postback.create_callback('idle', 'https://p.example/', brand => :'brand') AS idle \gset
SELECT name, enabled, attempts, success_ratio, p50_seconds, p99_seconds, streak, last_error_age BETWEEN 0 AND 600 AS last_error_age, failing_age BETWEEN 0 AND 600 AS failing_age, queued, overdue
FROM postback.callback_metrics(1000) WHERE callback IN (:'any', :'idle') AND name IN ('any', 'idle');
-- one that is disabled is no more among those that fail, however long it has been failing
SELECT postback.create_callback('given up', 'https://p.example/', brand => :'brand') AS given_up \gset
UPDATE postback.callback SET failing_since = now() - interval '6 days' WHERE id = :'given_up';
SELECT array_agg(m.name) FROM (SELECT name FROM postback.callback_metrics(1000) WHERE callback IN (:'any', :'idle', :'given_up')) m;
UPDATE postback.callback SET enabled = false WHERE id = :'given_up';
SELECT array_agg(m.name) FROM (SELECT name FROM postback.callback_metrics(1000) WHERE callback IN (:'any', :'idle', :'given_up')) m;
DELETE FROM postback.callback WHERE id = :'given_up';
SELECT count(*) AS one, bool_and(failing_age IS NOT NULL) AS failing, bool_and(all_enabled >= 2 AND all_failing >= 1) AS all FROM postback.callback_metrics(1);
UPDATE postback.delivery_due SET due_at = now() - interval '90 s' WHERE callback_id = :'any';
SELECT overdue BETWEEN 90 AND 600 AS overdue FROM postback.callback_metrics(1000) WHERE callback = :'any';
DELETE FROM postback.callback WHERE id = :'idle';
UPDATE postback.callback SET delay = '5 minutes' WHERE id = :'any';
SELECT pg_temp.sale('V-4');
UPDATE postback.callback SET enabled = false WHERE id = :'any';
SELECT enabled, disabled_reason IS NOT NULL AS reason, queued, oldest_due FROM postback.callback_health WHERE id = :'any';
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- an operator may all of this, and learns no secret; a sender may none of it
SELECT postback.create_callback('role', 'https://p.example/{order_id}', offer => :'offer', statuses => '{any}', auth => '{"type":"bearer","token":"s3cret"}') AS role \gset
SET ROLE postback_operator;
SELECT postback.send_test(:'role') IS NOT NULL AS test, postback.backfill(:'role', now() - interval '1 hour', preview => true) > 0 AS backfill;
SELECT count(*) FROM postback.lint_callbacks() l WHERE l.callback = :'role';
SELECT name FROM postback.callbacks WHERE id = :'role';
SELECT queued FROM postback.callback_health WHERE id = :'role';
SET ROLE postback_sender;
\set VERBOSITY sqlstate
SELECT postback.send_test(:'role');
SELECT postback.backfill(:'role', now() - interval '1 hour');
SELECT count(*) FROM postback.lint_callbacks();
SELECT * FROM postback.delay_misfits('{}');
SELECT count(*) FROM postback.callback_health;
\set VERBOSITY default
-- but it may ask how the callbacks fare
SELECT name FROM postback.callback_metrics(1000) WHERE callback = :'role';
RESET ROLE;
DELETE FROM postback.callback WHERE brand_id = :'brand';

SELECT * FROM postback.audit();
