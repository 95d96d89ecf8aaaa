-- The life of a conversion beyond the manual's table, which tests/t/025_states.pl drives through every door: test orders that are
-- opened again, follow-ups that overtake their order, what is ambiguous, differs or has no price.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

-- 10 % commission, and a fee of 35 % of it: 10.00 EUR pay 1.00 and cost 0.35, 4.00 EUR pay 0.40 and cost 0.14
SELECT postback.create_brand('States', 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(:'brand', 'shop') \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_publisher('States blog') AS publisher \gset
SELECT postback.set_terms(:'offer', percent => 10) AS terms \gset
SELECT code FROM postback.create_link(:'offer', :'publisher') \gset
SELECT click_id AS click FROM postback.click(:'code') \gset
SELECT set_config('states.token', :'token', false) IS NOT NULL AS token, set_config('states.click', :'click', false) IS NOT NULL AS click,
       set_config('states.brand', :'brand', false) IS NOT NULL AS brand;

CREATE FUNCTION pg_temp.send(query text) RETURNS postback.reply LANGUAGE sql AS $$
    SELECT postback.receive(current_setting('states.token'),
                            query || CASE WHEN query ~ 'value=' THEN '&click_id=' || current_setting('states.click') ELSE '' END)
$$;
CREATE FUNCTION pg_temp.answer(r postback.reply) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.http_status, r.outcome, r.parameter, r.warning, CASE WHEN r.created AND r.outcome <> 'created' THEN 'created' END,
                     'applied ' || r.applied::text)
$$;
-- What became of an order: status, value, commission, fee; where its money is; how many changes its history has; what waits for it.
CREATE FUNCTION pg_temp.outcome(ref text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat_ws(' ', c.status, c.value, c.commission, c.fee,
                                         'held', m.held, 'payable', m.payable, 'fees', m.fees, 'history', h.changes), '; ' ORDER BY c.id), 'none')
           || (SELECT coalesce(' parked ' || nullif(count(*), 0), '') FROM postback.parked p
              WHERE p.brand_id = current_setting('states.brand')::postback.ulid AND p.order_ref = ref)
    FROM postback.conversion c
    CROSS JOIN LATERAL (SELECT coalesce(sum(CASE 'held' WHEN l.to_account THEN l.amount WHEN l.from_account THEN - l.amount END), 0) AS held,
                               coalesce(sum(CASE 'payable' WHEN l.to_account THEN l.amount WHEN l.from_account THEN - l.amount END), 0) AS payable,
                               coalesce(sum(CASE 'fees' WHEN l.to_account THEN l.amount WHEN l.from_account THEN - l.amount END), 0) AS fees
                        FROM postback.ledger l WHERE l.conversion_id = c.id) m
    CROSS JOIN LATERAL (SELECT count(*) AS changes FROM postback.history x WHERE x.conversion_id = c.id) h
    WHERE c.brand_id = current_setting('states.brand')::postback.ulid AND c.order_ref = ref
$$;

-- a reopened test order has a new hold and no reason any more
SELECT pg_temp.answer(pg_temp.send('order=TEST-R&value=1000'));
SELECT pg_temp.answer(pg_temp.send('order=TEST-R&status=reversed&reason=trial'));
UPDATE postback.conversion SET hold_until = now() - interval '1 day' WHERE brand_id = :'brand' AND order_ref = 'TEST-R';
SELECT pg_temp.answer(pg_temp.send('order=TEST-R&value=700'));
SELECT status, value, reason, hold_until BETWEEN now() + interval '13 days 23 hours' AND now() + interval '14 days' AS a_new_hold
FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'TEST-R';
-- one that is marked by test=1 is found by its order, marked or not
SELECT pg_temp.answer(pg_temp.send('order=marked&value=1000&test=1'));
SELECT pg_temp.answer(pg_temp.send('order=marked&status=reversed'));
SELECT pg_temp.answer(pg_temp.send('order=marked&value=1000'));
SELECT pg_temp.answer(pg_temp.send('order=marked&status=approved'));
SELECT pg_temp.outcome('marked');

-- what overtakes its order is applied when that comes, in the order of arrival
CREATE TEMP TABLE overtaking (ref text, n serial, query text, answer text, after text);
INSERT INTO overtaking (ref, query, answer, after) VALUES
    ('P-1', 'status=cancelled&reason=fraud',   '404 unknown_order order', 'none parked 1'),
    ('P-1', 'value=1000',                      '200 created applied {reversed}', 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('P-1', 'value=1000',                      '200 duplicate', 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('P-2', 'status=approved',                 '404 unknown_order order', 'none parked 1'),
    ('P-2', 'value=1000',                      '200 created applied {approved}', 'approved 1000 100 35 held 0 payable 100 fees 35 history 2'),
    ('P-3', 'status=partial&value=400',        '404 unknown_order order', 'none parked 1'),
    ('P-3', 'status=approved',                 '404 unknown_order order', 'none parked 2'),
    ('P-3', 'value=1000',                      '200 created applied {adjusted,approved}', 'approved 400 40 14 held 0 payable 40 fees 14 history 3'),
    -- an approval locks what came after it; a reversal too
    ('P-4', 'status=approved',                 '404 unknown_order order', 'none parked 1'),
    ('P-4', 'status=reversed',                 '404 unknown_order order', 'none parked 2'),
    ('P-4', 'value=1000',                      '200 created applied {approved}', 'approved 1000 100 35 held 0 payable 100 fees 35 history 2'),
    ('P-5', 'status=reversed',                 '404 unknown_order order', 'none parked 1'),
    ('P-5', 'status=approved',                 '404 unknown_order order', 'none parked 2'),
    ('P-5', 'value=1000',                      '200 created applied {reversed}', 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    -- an order that comes approved is created first: what was parked before comes before its approval
    ('P-11', 'status=reversed',                '404 unknown_order order', 'none parked 1'),
    ('P-11', 'value=1000&status=approved',     '200 created applied {reversed}', 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    -- one that would be refused is not applied: a partial above the value, one in another currency
    ('P-6', 'status=partial&value=2000',       '404 unknown_order order', 'none parked 1'),
    ('P-6', 'status=partial&value=500&currency=USD', '404 unknown_order order', 'none parked 2'),
    ('P-6', 'status=partial&amount=4.00',      '404 unknown_order order', 'none parked 3'),
    ('P-6', 'value=1000',                      '200 created applied {adjusted}', 'pending 400 40 14 held 54 payable 0 fees 0 history 2'),
    -- full units are read by the currency of the order, which was not known before
    ('P-7', 'status=partial&value=400&value_format=currency', '404 unknown_order order', 'none parked 1'),
    ('P-7', 'value=1000&currency=PYG',         '200 created unpriced applied {adjusted}', 'pending 400 held 0 payable 0 fees 0 history 2'),
    -- with a goal it waits for that one
    ('P-8', 'status=reversed&goal=Lead',       '404 unknown_order order', 'none parked 1'),
    ('P-8', 'value=1000&goal=Sale',            '200 created', 'pending 1000 100 35 held 135 payable 0 fees 0 history 1 parked 1'),
    ('P-8', 'value=1000&goal=lead',            '200 created applied {reversed}',
            'pending 1000 100 35 held 135 payable 0 fees 0 history 1; reversed 1000 100 35 held 0 payable 0 fees 0 history 2');
-- the 9th is not kept
INSERT INTO overtaking (ref, query, answer, after)
SELECT 'P-9', format('status=partial&value=%s', 1000 - n * 100), '404 unknown_order order', 'none parked ' || least(n, 8) FROM generate_series(1, 9) n;
INSERT INTO overtaking (ref, query, answer, after) VALUES
    ('P-9', 'value=1000',                      '200 created applied {adjusted,adjusted,adjusted,adjusted,adjusted,adjusted,adjusted,adjusted}',
            'pending 200 20 7 held 27 payable 0 fees 0 history 9');
-- but sent again and again, one of those makes room
INSERT INTO overtaking (ref, query, answer, after)
SELECT 'P-12', 'status=partial&value=600', '404 unknown_order order', 'none parked ' || least(n, 8) FROM generate_series(1, 9) n;
INSERT INTO overtaking (ref, query, answer, after) VALUES
    ('P-12', 'status=approved',                '404 unknown_order order', 'none parked 8'),
    ('P-12', 'value=1000',                     '200 created applied {adjusted,approved}',
            'approved 600 60 21 held 0 payable 60 fees 21 history 3');
SELECT postback.create_goal(:'offer', g) IS NOT NULL AS goal FROM unnest('{Lead,Sale}'::text[]) AS k (g);
CREATE FUNCTION pg_temp.overtaking() RETURNS TABLE (ref text, query text, want text, got text) LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM overtaking ORDER BY n LOOP
        ref := c.ref;
        query := c.query;
        want := c.answer || ' | ' || c.after;
        got := pg_temp.answer(pg_temp.send(format('order=%s&%s', c.ref, c.query)));
        got := got || ' | ' || pg_temp.outcome(c.ref);
        IF got IS DISTINCT FROM want THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
SELECT count(*) FROM overtaking;
SELECT * FROM pg_temp.overtaking();
SELECT reason FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'P-1';
-- the history names the receipt of each, the overtaking one's own
SELECT h.from_status, h.to_status, h.actor, regexp_replace(r.query, '&click_id=.*', '') AS query
FROM postback.conversion c
JOIN postback.history h ON h.conversion_id = c.id
JOIN postback.receipt r ON r.id = h.receipt_id
WHERE c.brand_id = :'brand' AND c.order_ref = 'P-2' ORDER BY h.id;
-- after a day it is forgotten
SELECT pg_temp.answer(pg_temp.send('order=P-10&status=reversed'));
SELECT expires_at - postback.ulid_time(id) BETWEEN interval '23 hours 59 minutes' AND interval '24 hours 1 minute' AS a_day
FROM postback.parked WHERE brand_id = :'brand' AND order_ref = 'P-10';
UPDATE postback.parked SET expires_at = now() - interval '1 second' WHERE brand_id = :'brand' AND order_ref = 'P-10';
SELECT pg_temp.answer(pg_temp.send('order=P-10&value=1000'));
SELECT status FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'P-10';

-- several goals of one order: a follow-up has to name one
SELECT n, query, pg_temp.answer(pg_temp.send(query)) AS answer
FROM (VALUES (1, 'order=G-1&value=1000&goal=Lead'), (2, 'order=G-1&status=partial&value=900'), (3, 'order=G-1&value=1000&goal=Sale'),
             (4, 'order=G-1&status=approved'), (5, 'order=G-1&status=reversed'), (6, 'order=G-1&status=partial&value=400'),
             (7, 'order=G-1&status=approved&goal=SALE'), (8, 'order=G-1&value=1000&goal=sale'), (9, 'order=G-1&status=approved&goal=Install')) AS k (n, query)
ORDER BY n;
SELECT goal, status, value FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'G-1' ORDER BY goal COLLATE "C";
-- and an order has a hundred of them at most
SELECT r.outcome, r.parameter, count(*), max(r.message) FILTER (WHERE NOT r.ok) AS message
FROM generate_series(1, 102) n, LATERAL (SELECT * FROM pg_temp.send(format('order=G-2&value=1000&goal=%s', n)) OFFSET 0) r GROUP BY 1, 2 ORDER BY 3;
SELECT pg_temp.answer(pg_temp.send('order=G-2&value=1000&goal=100')) AS known, pg_temp.answer(pg_temp.send('order=G-2&status=reversed&goal=100')) AS changed;

-- a follow-up's currency is the conversion's
SELECT n, query, pg_temp.answer(pg_temp.send(query)) AS answer
FROM (VALUES (1, 'order=X-1&value=1000'), (2, 'order=X-1&status=approved&currency=USD'), (3, 'order=X-1&status=reversed&currency=USD'),
             (4, 'order=X-1&status=partial&value=400&currency=USD'), (5, 'order=X-1&status=partial&value=400&currency=eur'),
             (6, 'order=X-1&status=approved&value=400&currency=EUR'),
             (11, 'order=X-2&value=1000&currency=PYG'), (12, 'order=X-2&status=partial&amount=500.5'), (13, 'order=X-2&status=partial&amount=500'),
             (14, 'order=X-2&status=reversed'),
             -- a follow-up's value is read by the conversion's currency, not by the brand's: 2 * 10^11 yen, and 500 that are 500 in full
             (21, 'order=X-3&value=200000000000&currency=JPY'), (22, 'order=X-3&status=partial&amount=100000000001'),
             (23, 'order=X-3&status=partial&value=500&amount=500'), (24, 'order=X-3&status=partial&value=400&amount=4.00'),
             (25, 'order=X-3&status=partial&value=400&amount=5'), (26, 'order=X-4&value=1000'),
             (27, 'order=X-4&status=partial&value=400&amount=400'), (28, 'order=X-4&status=partial&value=400&amount=4')) AS k (n, query)
ORDER BY n;
SELECT order_ref, status, value, currency FROM postback.conversion WHERE brand_id = :'brand' AND order_ref LIKE 'X-%' ORDER BY 1;

-- without a price: kept; an approval is refused and waits without limit of time; the rest goes on
SELECT n, query, pg_temp.answer(pg_temp.send(query)) AS answer, pg_temp.outcome(substring(query, 'order=([^&]*)')) AS outcome
FROM (VALUES (1, 'order=U-1&value=1000&currency=PYG'), (2, 'order=U-1&status=approved'), (3, 'order=U-1&status=approved&value=999'),
             (4, 'order=U-1&status=partial&value=400'), (5, 'order=U-2&value=1000&currency=PYG'), (6, 'order=U-2&status=reversed')) AS k (n, query)
ORDER BY n;
SELECT (pg_temp.send('order=U-3&value=1000&currency=PYG&status=approved')).conversion_id IS NOT NULL AS kept;
SELECT pg_temp.outcome('U-3');
-- an approval that came before its order waits likewise; one that waits is for its own goal, not for another that comes with a price
SELECT n, query, pg_temp.answer(pg_temp.send(query)) AS answer, pg_temp.outcome(substring(query, 'order=([^&]*)')) AS outcome
FROM (VALUES (1, 'order=U-4&status=approved'), (2, 'order=U-4&value=1000&currency=PYG'), (3, 'order=U-5&value=1000&currency=PYG'),
             (4, 'order=U-5&status=approved'), (5, 'order=U-5&value=1000&goal=Lead')) AS k (n, query)
ORDER BY n;
SELECT order_ref, status, expires_at FROM postback.parked WHERE brand_id = :'brand' AND order_ref LIKE 'U-%' ORDER BY id;
-- as many as may wait for the order's other goals leave it its place
SELECT count(pg_temp.send(format('order=U-12&status=partial&goal=Lead&value=%s', n))) FROM generate_series(1, 9) n;
SELECT pg_temp.answer(pg_temp.send('order=U-12&goal=Sale&value=1000&currency=PYG&status=approved'));
SELECT goal, status, count(*), min(expires_at) = 'infinity' AS for_ever FROM postback.parked WHERE brand_id = :'brand' AND order_ref = 'U-12' GROUP BY 1, 2 ORDER BY 3;
-- one that named the value, which is lowered while it waits, is as good; a reversal is the end of it, whoever makes it, for its own goal alone
SELECT n, query, pg_temp.answer(pg_temp.send(query)) AS answer, pg_temp.outcome(substring(query, 'order=([^&]*)')) AS outcome
FROM (VALUES (1, 'order=U-6&value=1000&currency=PYG&status=approved'), (2, 'order=U-6&status=partial&value=400'),
             (3, 'order=U-7&value=1000&currency=PYG'), (4, 'order=U-7&status=approved'), (5, 'order=U-7&status=reversed'),
             (6, 'order=U-8&value=1000&currency=PYG&status=approved'), (7, 'order=U-9&value=1000&currency=PYG&status=approved'),
             (8, 'order=U-10&value=1000&currency=PYG&goal=Lead&status=approved'), (9, 'order=U-10&value=1000&currency=PYG&goal=Sale&status=approved'),
             (10, 'order=U-10&status=reversed&goal=lead')) AS k (n, query)
ORDER BY n;
UPDATE postback.conversion SET status = 'reversed' WHERE brand_id = :'brand' AND order_ref = 'U-8';
SELECT pg_temp.answer(postback.reverse(c.id)) FROM postback.conversion c WHERE c.brand_id = :'brand' AND c.order_ref = 'U-9';
SELECT r.outcome FROM postback.receive_batch('{1,2,3}', array_fill(:'token'::text, '{3}'), '{GET,GET,GET}',
    ARRAY['order=U-11&value=1000&currency=PYG&click_id=' || :'click', 'order=U-11&status=approved', 'order=U-11&status=reversed'],
    '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}') r;
SELECT order_ref, goal, count(*) FROM postback.parked WHERE brand_id = :'brand' AND order_ref IN ('U-7', 'U-8', 'U-9', 'U-10', 'U-11') GROUP BY 1, 2;
SELECT e.* FROM postback.receipt r CROSS JOIN LATERAL postback.explain(r.id) e
WHERE r.brand_id = :'brand' AND r.order_ref = 'U-7' AND r.code = 'unpriced' AND e.step = 'parked';
SELECT count(pg_temp.answer(postback.reopen(c.id))) AS reopened FROM postback.conversion c
WHERE c.brand_id = :'brand' AND c.order_ref IN ('U-7', 'U-8', 'U-9', 'U-11');
SELECT postback.expire_parked() >= 0 AS expired;
SELECT count(*) AS still_waiting FROM postback.parked WHERE brand_id = :'brand' AND order_ref = 'U-1';
-- those that there is no rate for are not touched
BEGIN;
SELECT postback.reprice_brand(:'brand') AS priced;
SELECT count(*) > 5 AS unpriced, count(*) FILTER (WHERE c.xmax::text = pg_current_xact_id()::xid::text) AS locked
FROM postback.conversion c WHERE c.brand_id = :'brand' AND c.commission IS NULL AND c.status = 'pending';
ROLLBACK;
-- when the rate arrives all of them are priced, and the approvals that waited are made: 400 PYG are then 200.00 EUR, of which 10 % are 20.00
-- and 35 % of those 7.00; 1000 PYG are 500.00
SELECT postback.set_fx_rate('PYG', 'EUR', 0.5);
SELECT postback.reprice_unpriced() >= 0 AS nothing_more;
SELECT o AS order, regexp_replace(pg_temp.outcome(o), ' history.*? ?(parked|$)', ' \1') AS outcome FROM unnest('{U-1,U-3,U-4,U-5,P-7,U-6,U-7,U-8,U-9,U-10,U-11}'::text[]) AS o;

SELECT * FROM postback.audit();
