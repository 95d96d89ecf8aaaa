-- Outbound postbacks: which changes fire which callbacks, and the requests that are rendered in the same transaction.
-- 49.99 EUR at 8 % pay 4.00; the fee of 35 % is 1.40, the revenue 5.40.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning; -- of lint only where it is looked at

SELECT postback.create_brand('Callbacks', 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT postback.create_offer(:'brand', 'Shop & more', 'https://shop.example/') AS offer \gset
SELECT postback.create_offer(:'brand', 'Games', 'https://games.example/') AS games \gset
SELECT postback.create_goal(:'offer', 'Sale') AS sale \gset
SELECT postback.create_publisher('Callbacks blog') AS blog \gset
SELECT postback.create_publisher('Callbacks forum') AS forum \gset
SELECT postback.set_terms(:'offer', percent => 8) AS terms, postback.set_terms(:'games', percent => 8) AS games_terms \gset
CREATE FUNCTION pg_temp.clicked(offer postback.ulid, publisher postback.ulid, query text DEFAULT '') RETURNS postback.ulid LANGUAGE sql AS $$
    SELECT c.click_id FROM postback.create_link(offer, publisher) l
    CROSS JOIN LATERAL postback.click(l.code, query, '192.0.2.7', 'Browser/1 (X; Y)', 'https://blog.example/?a=b', 'SE') c
$$;
SELECT pg_temp.clicked(:'offer', :'blog') AS shop_blog, pg_temp.clicked(:'offer', :'forum') AS shop_forum,
       pg_temp.clicked(:'games', :'blog') AS games_blog, pg_temp.clicked(:'games', :'forum') AS games_forum \gset
SELECT set_config('callbacks.brand', :'brand', false) IS NOT NULL AS brand, set_config('callbacks.token', :'token', false) IS NOT NULL AS token;

CREATE FUNCTION pg_temp.send(query text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.http_status, r.outcome, r.warning) FROM postback.receive(current_setting('callbacks.token'), query) r
$$;
-- The deliveries of an order, one per line.
CREATE FUNCTION pg_temp.fired(ref text) RETURNS TABLE (callback text, status text, seq integer, payout bigint) LANGUAGE sql AS $$
    SELECT k.name, d.status, d.seq, d.payout
    FROM postback.conversion c JOIN postback.delivery d ON d.conversion_id = c.id JOIN postback.callback k ON k.id = d.callback_id
    WHERE c.brand_id = current_setting('callbacks.brand')::postback.ulid AND c.order_ref = ref
    ORDER BY k.name, d.seq
$$;

-- scope: offer and publisher, each one or any
SELECT postback.create_brand('Callbacks too', 'EUR') AS other \gset
SELECT count(postback.create_callback(name, 'https://p.example/', brand => b::postback.ulid, offer => o::postback.ulid, publisher => p::postback.ulid, statuses => '{pending}'))
FROM (VALUES ('1 everything', NULL, NULL, NULL), ('2 brand', :'brand', NULL, NULL), ('3 offer', NULL, :'offer', NULL), ('4 publisher', NULL, NULL, :'blog'),
             ('5 offer and publisher', NULL, :'offer', :'blog'), ('6 another brand', :'other', NULL, NULL), ('7 type click', :'brand', NULL, NULL),
             ('8 type event', :'brand', NULL, NULL), ('9 disabled', :'brand', NULL, NULL)) AS k (name, b, o, p);
UPDATE postback.callback SET type = split_part(name, ' ', 3) WHERE name IN ('7 type click', '8 type event');
UPDATE postback.callback SET enabled = false WHERE name = '9 disabled';
SELECT k.what, pg_temp.send(format('order=S-%s&value=4999&click_id=%s', k.n, k.click)) AS answer
FROM (VALUES (1, 'shop, blog', :'shop_blog'), (2, 'shop, forum', :'shop_forum'), (3, 'games, blog', :'games_blog'), (4, 'games, forum', :'games_forum'),
             (5, 'nobody', 'nonsense')) AS k (n, what, click);
SELECT k.what, string_agg(left(f.callback, 1), ' ' ORDER BY f.callback) AS fired
FROM (VALUES (1, 'shop, blog'), (2, 'shop, forum'), (3, 'games, blog'), (4, 'games, forum'), (5, 'nobody')) AS k (n, what)
LEFT JOIN LATERAL pg_temp.fired('S-' || k.n) f ON true
GROUP BY k.n, k.what ORDER BY k.n;
DELETE FROM postback.callback WHERE brand_id IN (:'brand', :'other') OR name IN ('1 everything', '4 publisher');

-- firing status, reasons
SELECT count(postback.create_callback(name, 'https://p.example/', brand => :'brand', statuses => statuses, reasons => reasons))
FROM (VALUES ('1 default', '{approved}'::text[], NULL::text[]), ('2 pending', '{pending}', NULL), ('3 rejected', '{rejected}', NULL), ('4 approved, rejected', '{approved,rejected}', NULL),
             ('5 all', '{any}', NULL), ('6 chargeback', '{rejected}', '{chargeback,Fraud}'), ('7 all, chargeback', '{any}', '{chargeback,Fraud}')) AS k (name, statuses, reasons);
SELECT pg_temp.send('order=F-1&value=4999&click_id=' || :'shop_blog'), pg_temp.send('order=F-1&status=approved'), pg_temp.send('order=F-1&status=approved'),
       pg_temp.send('order=F-1&value=4999'), pg_temp.send('order=F-1&status=reversed');
SELECT * FROM pg_temp.fired('F-1');
SELECT pg_temp.send('order=F-2&value=4999&click_id=' || :'shop_blog'), pg_temp.send('order=F-2&status=reversed');
SELECT * FROM pg_temp.fired('F-2');
SELECT pg_temp.send('order=F-3&value=4999&click_id=' || :'shop_blog'), pg_temp.send('order=F-3&status=reversed&reason=fraud');
SELECT * FROM pg_temp.fired('F-3') WHERE callback ~ '^[67]';
SELECT pg_temp.send('order=F-4&value=4999&click_id=' || :'shop_blog'), pg_temp.send('order=F-4&status=reversed&reason=policy');
SELECT * FROM pg_temp.fired('F-4') WHERE callback ~ '^[67]';
-- without case, in any language
SELECT postback.create_callback('8 return', 'https://p.example/', brand => :'brand', statuses => '{rejected}', reasons => '{Rücksendung}') IS NOT NULL AS made;
SELECT pg_temp.send('order=F-4u&value=4999&click_id=' || :'shop_blog'), pg_temp.send('order=F-4u&status=reversed&reason=R%C3%9CCKSENDUNG');
SELECT * FROM pg_temp.fired('F-4u') WHERE callback ~ '^[68]';
-- created and approved in one call: both are told
SELECT pg_temp.send('order=F-5&status=approved&value=4999&click_id=' || :'shop_blog');
SELECT * FROM pg_temp.fired('F-5') WHERE callback ~ '^[125]';
-- what had overtaken its order too
SELECT pg_temp.send('order=F-6&status=reversed&reason=chargeback'), pg_temp.send('order=F-6&value=4999&click_id=' || :'shop_blog');
SELECT * FROM pg_temp.fired('F-6') WHERE callback ~ '^[1256]';
-- nobody's order fires nothing, until it is somebody's
SELECT pg_temp.send('order=F-7&value=4999&click_id=nonsense');
SELECT count(*) FROM pg_temp.fired('F-7');
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.attribute(c.id, :'shop_blog') r WHERE c.brand_id = :'brand' AND c.order_ref = 'F-7';
SELECT * FROM pg_temp.fired('F-7') WHERE callback ~ '^[25]';
-- what is taken back told nobody
BEGIN;
SELECT pg_temp.send('order=F-8&value=4999&click_id=' || :'shop_blog');
SELECT count(*) FROM pg_temp.fired('F-8');
ROLLBACK;
SELECT count(*) FROM postback.delivery d WHERE d.brand_id = :'brand' AND NOT EXISTS (SELECT FROM postback.conversion c WHERE c.id = d.conversion_id);
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- goals: without case; not looked at while the offer has them switched off
SELECT count(postback.create_callback(name, 'https://p.example/', offer => :'offer', goal => goal, statuses => '{pending}'))
FROM (VALUES ('1 any', NULL), ('2 sALE', 'sALE'), ('3 Upsell', 'Upsell')) AS k (name, goal);
SELECT pg_temp.send('order=G-1&value=4999&goal=SALE&click_id=' || :'shop_blog'), pg_temp.send('order=G-2&value=4999&goal=upsell&click_id=' || :'shop_blog'),
       pg_temp.send('order=G-3&value=4999&click_id=' || :'shop_blog');
UPDATE postback.offer SET goals_enabled = false WHERE id = :'offer';
SELECT pg_temp.send('order=G-4&value=4999&goal=SALE&click_id=' || :'shop_blog');
UPDATE postback.offer SET goals_enabled = true WHERE id = :'offer';
SELECT pg_temp.send('order=G-5&value=4999&goal=Lead&click_id=' || :'shop_blog');
SELECT o AS order, string_agg(left(f.callback, 1), ' ' ORDER BY f.callback) AS fired
FROM unnest('{G-1,G-2,G-3,G-4,G-5}'::text[]) AS o CROSS JOIN LATERAL pg_temp.fired(o) f GROUP BY 1 ORDER BY 1;
DELETE FROM postback.callback WHERE offer_id = :'offer';

-- test orders only where they are wanted
SELECT count(postback.create_callback(name, 'https://p.example/?test={test}', brand => :'brand', statuses => '{any}', include_test => t))
FROM (VALUES ('1 without', false), ('2 with', true)) AS k (name, t);
SELECT pg_temp.send('order=TEST-C&value=4999&click_id=' || :'shop_blog'), pg_temp.send('order=TEST-C&status=reversed'), pg_temp.send('order=TEST-C&value=1000');
SELECT * FROM pg_temp.fired('TEST-C');
SELECT d.url, d.test FROM postback.delivery d JOIN postback.conversion c ON c.id = d.conversion_id WHERE c.brand_id = :'brand' AND c.order_ref = 'TEST-C' ORDER BY d.seq;
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- lowered orders only with on_adjust; seq counts per callback and conversion, delta_payout is what each change made
SELECT count(postback.create_callback(name, 'https://p.example/?n={seq}&p={payout}&d={delta_payout}&s={status}', brand => :'brand', statuses => statuses, on_adjust => a))
FROM (VALUES ('1 without', '{any}'::text[], false), ('2 with', '{any}', true), ('3 with, approved', '{approved}', true)) AS k (name, statuses, a);
-- 49.99, then 25.00 (2.00), then 24.99 (199.92, so 2.00 again: no change), then approved
SELECT string_agg(r.outcome, ' ' ORDER BY r.item) AS outcomes
FROM postback.receive_batch('{1,2,3,4}', array_fill(:'token'::text, '{4}'), '{GET,GET,GET,GET}',
    ARRAY['order=A-1&value=4999&click_id=' || :'shop_blog', 'order=A-1&status=partial&value=2500', 'order=A-1&status=partial&value=2499', 'order=A-1&status=approved'],
    array_fill(NULL::text, '{4}'), array_fill(NULL::text, '{4}'), array_fill(NULL::inet, '{4}')) r;
SELECT k.name, d.url FROM postback.delivery d JOIN postback.callback k ON k.id = d.callback_id JOIN postback.conversion c ON c.id = d.conversion_id
WHERE c.brand_id = :'brand' AND c.order_ref = 'A-1' ORDER BY k.name, d.seq;
-- the same, call by call, and clawed back
SELECT pg_temp.send('order=A-2&value=4999&click_id=' || :'shop_blog'), pg_temp.send('order=A-2&status=partial&value=2500'), pg_temp.send('order=A-2&status=approved');
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reverse(c.id) r WHERE c.brand_id = :'brand' AND c.order_ref = 'A-2';
SELECT d.url FROM postback.delivery d JOIN postback.callback k ON k.id = d.callback_id JOIN postback.conversion c ON c.id = d.conversion_id
WHERE c.brand_id = :'brand' AND c.order_ref = 'A-2' AND k.name = '2 with' ORDER BY d.seq;
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- It goes on when its deliveries were dropped: an order older than they are kept goes on from the number of its changes, above what
-- was told before.
CREATE FUNCTION pg_temp.old_order(ref text, at timestamptz, click postback.ulid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO postback.conversion (id, brand_id, order_ref, offer_id, publisher_id, click_id, attribution, value, currency, sale_value, commission, fee,
                                     commission_currency, terms_id, fee_percent, fee_of, hold_until, created_at)
    SELECT postback.ulid_floor(at), k.brand_id, ref, k.offer_id, k.publisher_id, k.id, 'click', 4999, 'EUR', 4999, 400, 140,
           'EUR', (SELECT t.id FROM postback.terms t WHERE t.offer_id = k.offer_id), 35, 'commission', now() + interval '12 hours', at
    FROM postback.click k WHERE k.id = click;
    INSERT INTO postback.history (id, brand_id, conversion_id, to_status, to_value, to_commission, to_fee, currency, actor, role)
    SELECT c.id, c.brand_id, c.id, 'pending', c.value, c.commission, c.fee, c.currency, 'receipt', current_user
    FROM postback.conversion c WHERE c.brand_id = current_setting('callbacks.brand')::postback.ulid AND c.order_ref = ref
$$;
CREATE FUNCTION pg_temp.deliveries_dropped(ref text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM postback.delivery d USING postback.conversion c WHERE d.conversion_id = c.id AND c.brand_id = current_setting('callbacks.brand')::postback.ulid AND c.order_ref = ref
$$;
BEGIN; -- leaves no old order behind
SELECT postback.create_callback('told', 'https://p.example/', brand => :'brand', statuses => '{any}', on_adjust => true) AS told \gset
SELECT count(pg_temp.old_order('O-' || n, now() - age, :'shop_blog'))
FROM (VALUES (1, interval '91 days 1 minute'), (2, '89 days'), (3, '91 days 3 minutes'), (4, '91 days 4 minutes')) AS k (n, age);
-- of two changes before, created and lowered, at most 2 was told: 3 or more is next, then one by one
SELECT pg_temp.send('order=O-1&status=partial&value=2500'), pg_temp.deliveries_dropped('O-1'), pg_temp.send('order=O-1&status=approved');
SELECT min(seq) > 2 AS later, count(*) FROM pg_temp.fired('O-1');
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reverse(c.id) r WHERE c.brand_id = :'brand' AND c.order_ref = 'O-1';
SELECT status, seq - min(seq) OVER () AS after FROM pg_temp.fired('O-1') ORDER BY seq;
SELECT pg_temp.deliveries_dropped('O-1');
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reopen(c.id) r WHERE c.brand_id = :'brand' AND c.order_ref = 'O-1';
SELECT status, seq > 4 AS later FROM pg_temp.fired('O-1');
-- not so old: nothing was dropped yet
SELECT pg_temp.send('order=O-2&status=approved');
SELECT status, seq FROM pg_temp.fired('O-2');
-- what was never told of is told by backfill() all the same
SELECT postback.backfill(:'told', now() - interval '92 days', now() - interval '90 days', preview => true) AS preview,
       postback.backfill(:'told', now() - interval '92 days', now() - interval '90 days') AS sent;
SELECT status, seq FROM pg_temp.fired('O-3');
SELECT pg_temp.deliveries_dropped('O-4');
-- kept for ever: nothing is dropped
UPDATE postback.partition_policy SET retention = NULL WHERE table_name = 'delivery';
SELECT pg_temp.send('order=O-4&status=approved');
SELECT status, seq FROM pg_temp.fired('O-4');
-- kept for ages
UPDATE postback.partition_policy SET retention = '100000000 days' WHERE table_name = 'delivery';
SELECT pg_temp.deliveries_dropped('O-4');
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reverse(c.id) r WHERE c.brand_id = :'brand' AND c.order_ref = 'O-4';
SELECT status, seq FROM pg_temp.fired('O-4');
ROLLBACK;

-- every macro once
UPDATE postback.brand SET keep_click_details = true WHERE id = :'brand';
SELECT pg_temp.clicked(:'offer', :'blog', 'sub_id=s+0&external_transaction_id=ext/1&sub1=a&sub2=b&sub3=c&sub4=d&sub5=e&sub6=f&sub7=g&sub8=h&sub9=i&sub10=j') AS click \gset
UPDATE postback.brand SET keep_click_details = false WHERE id = :'brand';
CREATE TEMP TABLE macro (name text, want text);
INSERT INTO macro VALUES
    ('transaction_id', 'clk_' || :'click'), ('click_id', 'clk_' || :'click'), ('clickid', 'clk_' || :'click'), ('external_transaction_id', 'ext/1'), ('external_id', 'ext/1'),
    ('order_id', 'M-1'), ('offer_id', :'offer'), ('offer_name', 'Shop & more'), ('publisher_id', :'blog'), ('affiliate_id', :'blog'), ('aff_id', :'blog'),
    ('brand_id', :'brand'), ('goal', 'Sale'), ('sub_id', 's 0'), ('sub1', 'a'), ('sub2', 'b'), ('sub3', 'c'), ('sub4', 'd'), ('sub5', 'e'), ('sub6', 'f'), ('sub7', 'g'),
    ('sub8', 'h'), ('sub9', 'i'), ('sub10', 'j'), ('payout', '4.00'), ('sum', '4.00'), ('revenue', '5.40'), ('sale_amount', '547.93'), ('sale_currency', 'NOK'), ('currency', 'EUR'),
    ('status', 'rejected'), ('rejection_reason', 'fraud'), ('notice', 'sorry'), ('promo_code', 'SAVE'), ('delta_payout', '-4.00'), ('seq', '1'), ('event', ''), ('test', '0'),
    ('ip', '192.0.2.7'), ('user_agent', 'Browser/1 (X; Y)'), ('country', 'SE'), ('referrer', 'https://blog.example/?a=b'),
    ('click_date', to_char(postback.ulid_time(:'click') AT TIME ZONE 'UTC', 'YYYY-MM-DD')), ('click_timestamp', trunc(extract(epoch FROM postback.ulid_time(:'click')))::text),
    -- modifiers
    ('payout:minor', '400'), ('revenue:minor', '540'), ('sale_amount:minor', '54793'), ('delta_payout:minor', '-400'), ('payout:raw', '4.00'), ('event|none', 'none'), ('sub_id|none', 's 0'),
    ('status:pending=hold,approved=sale,rejected=trash', 'trash'), ('status:pending=hold', 'rejected'), ('goal:lead=1,sale=2', '2'), ('PayOut', '4.00');
SELECT postback.set_fx_rate('NOK', 'EUR', 0.0912342); -- 547.93 NOK are 49.98995 EUR, so 49.99
SELECT postback.create_callback('macros', 'https://p.example/', brand => :'brand', method => 'POST_JSON', statuses => '{rejected}',
    params => (SELECT jsonb_object_agg(name, '{' || name || '}') FROM (SELECT name FROM macro UNION VALUES ('conversion_id'), ('delivery_id'), ('date'), ('time'), ('timestamp'), ('rand')) m)) AS macros \gset
SELECT pg_temp.send('order=M-1&value=54793&currency=NOK&goal=sale&coupon=SAVE&click_id=' || :'click'), pg_temp.send('order=M-1&status=rejected&reason=fraud&notice=sorry');
SELECT d.body, d.id AS delivery, d.conversion_id AS conversion, c.updated_at AT TIME ZONE 'UTC' AS changed
FROM postback.delivery d JOIN postback.conversion c ON c.id = d.conversion_id WHERE d.callback_id = :'macros' \gset
SELECT m.name, m.want, :'body'::jsonb ->> m.name AS got FROM macro m WHERE :'body'::jsonb ->> m.name IS DISTINCT FROM m.want;
SELECT count(*) FROM macro;
SELECT :'body'::jsonb ->> 'conversion_id' = :'conversion' AS conversion_id, :'body'::jsonb ->> 'delivery_id' = :'delivery' AS delivery_id,
       :'body'::jsonb ->> 'date' = to_char(:'changed'::timestamp, 'YYYY-MM-DD') AS date,
       :'body'::jsonb ->> 'time' = to_char(:'changed'::timestamp, 'HH24:MI:SS') AS time,
       :'body'::jsonb ->> 'timestamp' = trunc(extract(epoch FROM :'changed'::timestamp))::text AS timestamp,
       :'body'::jsonb ->> 'rand' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' AS rand;
DELETE FROM postback.callback WHERE brand_id = :'brand';
-- money in full units of each currency
SELECT postback.create_brand('Callbacks JPY', 'JPY') AS jpy, postback.create_brand('Callbacks KWD', 'KWD') AS kwd \gset
SELECT count(postback.create_callback(n, 'https://p.example/?p={payout}&r={revenue}&s={sale_amount}+{sale_currency}&m={payout:minor}', brand => b, statuses => '{pending}'))
FROM (VALUES ('JPY', :'jpy'::postback.ulid), ('KWD', :'kwd')) AS k (n, b);
SELECT count(r.outcome)
FROM (VALUES (:'jpy'::postback.ulid), (:'kwd')) AS k (b)
CROSS JOIN LATERAL (SELECT postback.create_offer(k.b, 'Offer', 'https://shop.example/') AS offer) o
CROSS JOIN LATERAL (SELECT postback.set_terms(o.offer, fixed => 7) AS terms) t
CROSS JOIN LATERAL postback.issue_token(k.b) i
CROSS JOIN LATERAL postback.receive(i.token, 'order=J-1&value=1234&click_id=' || pg_temp.clicked(o.offer, :'blog') || left(t.terms::text, 0)) r;
SELECT currency, payout, revenue, url FROM postback.delivery WHERE brand_id IN (:'jpy', :'kwd') ORDER BY currency;
DELETE FROM postback.callback WHERE brand_id IN (:'jpy', :'kwd');

-- the request: percent-encoded in URL and form, escaped in JSON, CR and LF stripped in headers
SELECT count(postback.create_callback(method, 'HTTPS://P.example:8443/a{order_id}/?o={order_id}&n={notice|none}&r={order_id:raw}#f', brand => :'brand', method => method,
    params => '{"order": "o={order_id}", "st": "{status}", "c": "", "no te": "{notice}"}', headers => '{"X-Order": "{order_id}", "X-Notice": "<{notice}>"}'))
FROM unnest('{GET,POST_FORM,POST_JSON}'::text[]) AS method;
-- order A&B=c d/é?#%"\ and a notice of two lines
SELECT pg_temp.send('order=A%26B%3Dc+d%2F%C3%A9%3F%23%25%22%5C&value=4999&click_id=' || :'shop_blog'),
       pg_temp.send('order=A%26B%3Dc+d%2F%C3%A9%3F%23%25%22%5C&status=approved&notice=a%0D%0ABcc:+b%09c');
\x on
SELECT k.method, d.url, d.headers, d.body IS NULL AS no_body, CASE k.method WHEN 'POST_FORM' THEN d.body END AS form, CASE k.method WHEN 'POST_JSON' THEN d.body::jsonb END AS json, q.endpoint
FROM postback.callback k JOIN postback.delivery d ON d.callback_id = k.id JOIN postback.delivery_due q ON q.delivery_id = d.id
WHERE k.brand_id = :'brand' ORDER BY k.method;
\x off
DELETE FROM postback.callback WHERE brand_id = :'brand';
-- values that are no strings go into JSON as they are
SELECT postback.create_callback('X', 'https://p.example/', brand => :'brand', method => 'POST_JSON', params => '{"n": 5, "t": true, "z": null, "o": {"a": ["{payout}"]}, "s": "{payout}"}') IS NOT NULL AS made;
SELECT pg_temp.send('order=J-1&value=4999&status=approved&click_id=' || :'shop_blog');
SELECT d.body::jsonb FROM postback.delivery d JOIN postback.callback k ON k.id = d.callback_id WHERE k.brand_id = :'brand';
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- the rows: what the log shows, and the place in the queue; a delayed one waits
SELECT count(postback.create_callback(name, 'http://p.example/', brand => :'brand', delay => delay)) FROM (VALUES ('1 at once', interval '0'), ('2 later', '5 minutes')) AS k (name, delay);
SELECT pg_temp.send('order=R-1&value=4999&status=approved&goal=Sale&notice=hello&click_id=' || :'shop_blog');
SELECT k.name, d.state, d.due_at - c.updated_at AS due_after, d.brand_id = :'brand' AS brand, d.offer_id = :'offer' AS offer, d.publisher_id = :'blog' AS publisher, d.click_id = :'shop_blog' AS click,
       d.goal, d.status, d.payout, d.revenue, d.currency, d.notice, d.method, d.attempts, q.endpoint, q.due_at - c.updated_at AS queued_after, q.attempts AS queue_attempts
FROM postback.callback k JOIN postback.delivery d ON d.callback_id = k.id JOIN postback.conversion c ON c.id = d.conversion_id
LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id AND q.callback_id = k.id AND q.conversion_id = c.id AND q.seq = d.seq
WHERE k.brand_id = :'brand' ORDER BY k.name;
DELETE FROM postback.callback WHERE brand_id = :'brand';

-- Saving lints: refused by function and by plain SQL.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS TABLE (refusal text) LANGUAGE plpgsql AS $$
DECLARE
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN QUERY SELECT 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN QUERY SELECT line FROM unnest(ARRAY[SQLSTATE || ' ' || message, 'HINT ' || nullif(hint, '')]) line WHERE line IS NOT NULL;
END
$$;
SELECT r.* FROM pg_temp.refusal(format($$SELECT postback.create_callback('X', 'https://p.example/?p={payuot}', brand => %L)$$, :'brand')) r;
SELECT r.* FROM pg_temp.refusal(format($$INSERT INTO postback.callback (name, url, brand_id) VALUES ('X', 'https://p.example/?p={payuot}', %L)$$, :'brand')) r;
SELECT postback.create_callback('good', 'https://p.example/', brand => :'brand') IS NOT NULL AS made;
SELECT r.* FROM pg_temp.refusal(format($$UPDATE postback.callback SET url = 'https://p.example/?p={payuot}' WHERE brand_id = %L$$, :'brand')) r;
SELECT r.* FROM pg_temp.refusal(format($$UPDATE postback.callback SET params = '{"p": "{amount}"}' WHERE brand_id = %L$$, :'brand')) r;
SELECT r.* FROM pg_temp.refusal(format($$UPDATE postback.callback SET headers = '{"X-P": "{payuot}"}' WHERE brand_id = %L$$, :'brand')) r;
SELECT k.what, left(r.refusal, 5) AS sqlstate, split_part(split_part(r.refusal, ': ', 2), ' ', 1) AS lint
FROM (VALUES ('macro in host', 'https://{sub_id}.example/'), ('macro as host', 'https://{sub_id}/'), ('macro in port', 'https://p.example:{seq}/'), ('macro in scheme', '{sub_id}://p.example/'),
             ('ftp', 'ftp://p.example/'), ('javascript', 'javascript:alert(1)'), ('no scheme', 'p.example/'), ('no host', 'https:///a'), ('user', 'https://u:p@p.example/'),
             ('space', 'https://p.example/a b'), ('bad port', 'https://p.example:99999/'), ('not closed', 'https://p.example/{payout'), ('brace', 'https://p.example/}'),
             (':minor of no money', 'https://p.example/?x={status:minor}'), ('unknown modifier', 'https://p.example/?x={status:upper}'), ('broken map', 'https://p.example/?x={status:a=b,}')) AS k (what, url)
CROSS JOIN LATERAL pg_temp.refusal(format('UPDATE postback.callback SET url = %L WHERE brand_id = %L', k.url, :'brand')) r
WHERE r.refusal NOT LIKE 'HINT%';
SELECT k.what, left(r.refusal, 5) AS sqlstate
FROM (VALUES ('header with a space', 'headers', '{"X Y": "a"}'), ('header with a line end', 'headers', '{"X\r\nY": "a"}'), ('empty header', 'headers', '{"": "a"}'),
             ('header that is no string', 'headers', '{"X": 1}'), ('list', 'params', '["a"]')) AS k (what, field, value)
CROSS JOIN LATERAL pg_temp.refusal(format('UPDATE postback.callback SET %I = %L WHERE brand_id = %L', k.field, k.value, :'brand')) r
WHERE r.refusal NOT LIKE 'HINT%';
-- what is shown of a long one is still UTF-8
SELECT convert_from(textsend(r.refusal), 'UTF8') LIKE '22023 url: unknown_macro at position 19: "{Ä%' AS readable
FROM pg_temp.refusal(format('UPDATE postback.callback SET url = %L WHERE brand_id = %L', 'https://p.example/{' || repeat('Ä', 100) || '}', :'brand')) r
WHERE r.refusal NOT LIKE 'HINT%';
SELECT url FROM postback.callback WHERE brand_id = :'brand';

-- ... and warns
SET client_min_messages = notice;
UPDATE postback.callback SET url = 'https://p.example/?a=#s2#' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://p.example/?a=!!!clickid!!!' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://p.example/?a={payout}¤cy={currency}' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://p.example/?a={payout}&amp;b={currency}' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://p.example/?a=%2520' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'http://p.example/' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://127.0.0.1/' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://[::ffff:10.0.0.1]/' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://localhost/' WHERE brand_id = :'brand';
UPDATE postback.callback SET url = 'https://p.example/?a={payout}&b=%20' WHERE brand_id = :'brand';
SELECT url, updated > created AS updated FROM postback.callback WHERE brand_id = :'brand';
-- reasons narrow rejected only: on other statuses it fires whatever the reason; nor have clicks and events any
SELECT postback.create_callback('fraud', 'https://p.example/', brand => :'brand', statuses => '{pending,approved}', reasons => '{fraud,"Rücksendung, spät"}') IS NOT NULL AS made;
UPDATE postback.callback SET statuses = '{approved,rejected}' WHERE brand_id = :'brand' AND name = 'fraud';
UPDATE postback.callback SET statuses = '{approved}' WHERE brand_id = :'brand' AND name = 'fraud';
UPDATE postback.callback SET reasons = NULL WHERE brand_id = :'brand' AND name = 'fraud';
SELECT postback.create_callback('visit', 'https://p.example/', brand => :'brand', type => 'event', reasons => '{fraud}') IS NOT NULL AS made;
SELECT postback.create_callback('http', 'http://p.example/', brand => :'brand') IS NOT NULL AS made;
DELETE FROM postback.callback WHERE brand_id = :'brand';

SELECT * FROM postback.audit();
