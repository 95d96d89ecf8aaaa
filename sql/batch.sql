-- Many postbacks in one call: each is answered for itself, those of one order act in their order, and a bad one touches
-- nobody else.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

SELECT postback.create_brand('Batch', 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_publisher('Batch blog') AS publisher \gset
SELECT postback.set_terms(:'offer', percent => 10) AS terms \gset
SELECT code FROM postback.create_link(:'offer', :'publisher') \gset
SELECT outcome FROM postback.click(:'code');
SELECT postback.create_brand('Batch too', 'JPY') AS other \gset
SELECT token AS others FROM postback.issue_token(:'other') \gset

-- Items are numbered 100, 99, 98 ... as they stand in the arrays; the answers are shown in that order.
CREATE FUNCTION pg_temp.batch(token text, queries text[]) RETURNS TABLE (item integer, query text, answer text) LANGUAGE sql AS $$
    SELECT r.item, queries[101 - r.item],
           concat_ws(' ', r.http_status, r.outcome, r.parameter, r.warning, r.status, r.value, 'applied ' || r.applied::text)
    FROM postback.receive_batch(
        ARRAY(SELECT 101 - n FROM generate_series(1, cardinality(queries)) n),
        array_fill(token, ARRAY[cardinality(queries)]), array_fill('GET'::text, ARRAY[cardinality(queries)]), queries,
        array_fill(NULL::text, ARRAY[cardinality(queries)]), array_fill(NULL::text, ARRAY[cardinality(queries)]),
        array_fill(NULL::inet, ARRAY[cardinality(queries)])) r
    ORDER BY r.item DESC
$$;

-- one order after the other, in one batch
SELECT * FROM pg_temp.batch(:'token', ARRAY[
    'order=A-1&value=1000', 'order=A-1&value=1000', 'order=A-1&status=partial&value=400', 'order=A-1&status=partial&value=400',
    'order=A-1&status=partial&value=600', 'order=A-1&status=approved', 'order=A-1&status=reversed', 'order=A-1&value=1000']);
-- interleaved with others
SELECT * FROM pg_temp.batch(:'token', ARRAY[
    'order=B-1&value=1000', 'order=B-2&value=2000', 'order=B-3&value=3000', 'order=B-2&status=reversed', 'order=B-1&status=approved',
    'order=B-3&status=partial&value=1', 'order=B-2&status=approved', 'order=B-1&status=reversed', 'order=B-3&status=reversed']);
-- a follow-up that stands before its order
SELECT * FROM pg_temp.batch(:'token', ARRAY[
    'order=C-1&status=partial&value=400', 'order=C-1&status=approved', 'order=C-1&value=1000', 'order=C-1&status=approved']);
SELECT count(*) AS parked FROM postback.parked WHERE brand_id = :'brand';
-- history, ledger and receipts of what one batch did, in the order of the items
SELECT h.from_status, h.to_status, h.from_value, h.to_value, h.from_commission, h.to_commission, h.from_fee, h.to_fee, r.query
FROM postback.conversion c
JOIN postback.history h ON h.conversion_id = c.id
JOIN postback.receipt r ON r.id = h.receipt_id
WHERE c.brand_id = :'brand' AND c.order_ref = 'A-1' ORDER BY h.id;
SELECT l.kind, l.from_account, l.to_account, l.amount, l.currency
FROM postback.conversion c JOIN postback.ledger l ON l.conversion_id = c.id
WHERE c.brand_id = :'brand' AND c.order_ref = 'A-1' ORDER BY l.id;
SELECT query, http_status, coalesce(result, code) AS outcome FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'B-2' ORDER BY id;

-- bad ones among good ones; overflow, which these terms make, is bad_value
SELECT postback.create_offer(:'brand', 'Overflow', 'https://shop.example/') AS flood \gset
SELECT code AS flood_code FROM postback.create_link(:'flood', :'publisher') \gset
SELECT postback.set_terms(:'flood', percent => 1, fixed => 9223372036854775807) AS flood_terms \gset
SELECT click_id AS flood_click FROM postback.click(:'flood_code') \gset
SELECT postback.ulid_floor(now() + interval '1 day') AS nobody \gset
SELECT item, left(regexp_replace(query, '&click_id=.*', ''), 40) AS query, answer FROM pg_temp.batch(:'token', ARRAY[
    'order=D-1&value=1000&click_id=' || :'nobody', 'order=%FF&value=1', 'order=D-2&value=x', NULL, '', 'order=D-3&value=1000&click_id=' || :'flood_click',
    'order=D-1&status=partial&value=2000', 'order=D-1&status=nonsense', 'order=D-1&status=reversed', 'order=D-4&value=5&click_id=' || :'nobody',
    'order=' || repeat('x', 256), 'order=D-4&value=5&value=6', 'order=D-4&status=approved'])
ORDER BY item DESC;
SELECT order_ref, status FROM postback.conversion WHERE brand_id = :'brand' AND order_ref ~ '^D-|x' ORDER BY 1;
DELETE FROM postback.click WHERE id = :'flood_click';

-- tokens of several brands, and of none
SELECT r.item, r.outcome, r.currency
FROM postback.receive_batch('{1,2,3,4,5,6}', ARRAY[:'token', :'others', 'aaaaaaaa_bbbb', NULL, :'token', :'others'], '{GET,GET,GET,GET,GET,GET}',
    '{order=E-1&value=5,order=E-1&value=5,order=E-1&value=5,order=E-1&value=5,order=E-1&status=approved,order=E-1&status=reversed}',
    array_fill(NULL::text, '{6}'), array_fill(NULL::text, '{6}'), array_fill(NULL::inet, '{6}')) r
ORDER BY r.item;
SELECT brand_id = :'brand' AS first_brand, status FROM postback.conversion WHERE brand_id IN (:'brand', :'other') AND order_ref = 'E-1' ORDER BY 1;

-- bodies: text, bytes that are none, none at all
SELECT r.item, r.outcome, r.parameter, r."order", r.value
FROM postback.receive_batch('{1,2,3,4}', array_fill(:'token'::text, '{4}'), '{POST,POST,POST,POST}', ARRAY[NULL, NULL, 'order=F-3', 'order=F-4&value=5'],
    ARRAY['order=F-1&value=5', NULL, NULL, ''], array_fill('application/x-www-form-urlencoded'::text, '{4}'), array_fill(NULL::inet, '{4}'),
    raw_bodies => ARRAY[NULL, '\x6f726465723d462d32ff2676616c75653d35', '\x76616c75653d352678793dff', NULL]::bytea[]) r
ORDER BY r.item;
SELECT query, body FROM postback.receipt WHERE brand_id = :'brand' AND method = 'POST' ORDER BY id;

-- arrays that do not fit each other
SELECT count(*) AS nothing FROM postback.receive_batch('{}', '{}', '{}', '{}', '{}', '{}', '{}');
SELECT count(*) FROM postback.receive_batch('{1,2}', ARRAY[:'token', :'token'], '{GET,GET}', '{order=G-1&value=5}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}');
SELECT count(*) FROM postback.receive_batch('{{1},{2}}', ARRAY[:'token', :'token'], '{GET,GET}', '{order=G-1&value=5,order=G-1&value=5}', NULL, NULL, NULL);
SELECT count(*) FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'G-1';

-- a large one: 256 orders, each with its approval behind it
SELECT count(*) AS answers, count(DISTINCT r.item) AS items, count(*) FILTER (WHERE r.outcome = 'created') AS created,
       count(*) FILTER (WHERE r.outcome = 'approved') AS approved, count(DISTINCT r.conversion_id) AS conversions, count(DISTINCT r.receipt_id) AS receipts
FROM (SELECT array_agg(n) AS items, array_agg(:'token'::text) AS tokens, array_agg('GET'::text) AS methods,
             array_agg(CASE WHEN n <= 256 THEN format('order=H-%s&value=%s', n, n * 100) ELSE format('order=H-%s&status=approved', 513 - n) END) AS queries,
             array_agg(NULL::text) AS none, array_agg(NULL::inet) AS remotes
      FROM generate_series(1, 512) n) k
CROSS JOIN LATERAL postback.receive_batch(k.items, k.tokens, k.methods, k.queries, k.none, k.none, k.remotes) r;
-- 100 + 200 + ... + 25600 = 3289600, of which 10 %; the fees are 35 % of 10, 20, 30 ...: 3.5, 7, 10.5, 14 ..., each half rounded up: 115136 + 128 * 0.5
SELECT status, count(*), sum(value) AS value, sum(commission) AS commission, sum(fee) AS fee FROM postback.conversion
WHERE brand_id = :'brand' AND order_ref LIKE 'H-%' GROUP BY 1;

SELECT * FROM postback.audit();
