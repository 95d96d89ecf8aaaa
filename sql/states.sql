-- The life of a conversion: what every word does in every state, for real and for test orders; follow-ups that overtake
-- their order; what is ambiguous, differs or has no price. Only differences to the manual's table are printed.
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

-- The table: the state that an order is in, what is sent, the answer, and what the order is then.
CREATE TEMP TABLE matrix (n serial, now text, sent text, answer text, after text, test_answer text, test_after text);
INSERT INTO matrix (now, sent, answer, after, test_answer, test_after) VALUES
    ('none',     'value=1000',                  '200 created',                       'pending 1000 100 35 held 135 payable 0 fees 0 history 1',
                                                '200 created',                       'pending 1000 100 35 held 0 payable 0 fees 0 history 1'),
    ('none',     'status=new',                  '400 missing_parameter value',       'none', NULL, NULL),
    ('none',     'status=approved&value=1000',  '200 approved created',              'approved 1000 100 35 held 0 payable 100 fees 35 history 2',
                                                '200 approved created',              'approved 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('none',     'status=approved',             '404 unknown_order order',           'none parked 1', NULL, NULL),
    ('none',     'status=reversed',             '404 unknown_order order',           'none parked 1', NULL, NULL),
    ('none',     'status=reversed&value=1000',  '404 unknown_order order',           'none parked 1', NULL, NULL),
    ('none',     'status=partial&value=400',    '404 unknown_order order',           'none parked 1', NULL, NULL),
    ('none',     'status=partial',              '400 missing_parameter value',       'none', NULL, NULL),

    ('pending',  'value=1000',                  '200 duplicate',                     'pending 1000 100 35 held 135 payable 0 fees 0 history 1',
                                                '200 duplicate',                     'pending 1000 100 35 held 0 payable 0 fees 0 history 1'),
    ('pending',  'value=2000',                  '200 duplicate value_differs',       'pending 1000 100 35 held 135 payable 0 fees 0 history 1',
                                                '200 duplicate value_differs',       'pending 1000 100 35 held 0 payable 0 fees 0 history 1'),
    ('pending',  'status=approved',             '200 approved',                      'approved 1000 100 35 held 0 payable 100 fees 35 history 2',
                                                '200 approved',                      'approved 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('pending',  'status=approved&value=1000',  '200 approved',                      'approved 1000 100 35 held 0 payable 100 fees 35 history 2',
                                                '200 approved',                      'approved 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('pending',  'status=approved&value=999',   '422 value_mismatch value',          'pending 1000 100 35 held 135 payable 0 fees 0 history 1', NULL, NULL),
    ('pending',  'status=approved&value=1001',  '422 value_mismatch value',          'pending 1000 100 35 held 135 payable 0 fees 0 history 1', NULL, NULL),
    ('pending',  'status=reversed',             '200 reversed',                      'reversed 1000 100 35 held 0 payable 0 fees 0 history 2',
                                                '200 reversed',                      'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('pending',  'status=reversed&value=1000',  '200 reversed',                      'reversed 1000 100 35 held 0 payable 0 fees 0 history 2', NULL, NULL),
    ('pending',  'status=partial&value=400',    '200 adjusted',                      'pending 400 40 14 held 54 payable 0 fees 0 history 2',
                                                '200 adjusted',                      'pending 400 40 14 held 0 payable 0 fees 0 history 2'),
    ('pending',  'status=partial&value=0',      '200 adjusted',                      'pending 0 0 0 held 0 payable 0 fees 0 history 2', NULL, NULL),
    ('pending',  'status=partial&value=1000',   '200 duplicate',                     'pending 1000 100 35 held 135 payable 0 fees 0 history 1', NULL, NULL),
    ('pending',  'status=partial&value=1001',   '422 value_above_current value',     'pending 1000 100 35 held 135 payable 0 fees 0 history 1', NULL, NULL),
    ('pending',  'status=partial',              '400 missing_parameter value',       'pending 1000 100 35 held 135 payable 0 fees 0 history 1', NULL, NULL),

    ('approved', 'value=1000',                  '200 duplicate',                     'approved 1000 100 35 held 0 payable 100 fees 35 history 2',
                                                '200 duplicate',                     'approved 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('approved', 'value=2000',                  '200 duplicate value_differs',       'approved 1000 100 35 held 0 payable 100 fees 35 history 2', NULL, NULL),
    ('approved', 'status=approved',             '200 duplicate',                     'approved 1000 100 35 held 0 payable 100 fees 35 history 2',
                                                '200 duplicate',                     'approved 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('approved', 'status=approved&value=400',   '200 duplicate value_differs',       'approved 1000 100 35 held 0 payable 100 fees 35 history 2', NULL, NULL),
    ('approved', 'status=reversed',             '409 locked status',                 'approved 1000 100 35 held 0 payable 100 fees 35 history 2',
                                                '409 locked status',                 'approved 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('approved', 'status=partial&value=400',    '409 locked status',                 'approved 1000 100 35 held 0 payable 100 fees 35 history 2',
                                                '409 locked status',                 'approved 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('approved', 'status=partial&value=1000',   '409 locked status',                 'approved 1000 100 35 held 0 payable 100 fees 35 history 2', NULL, NULL),
    ('approved', 'status=partial&value=2000',   '409 locked status',                 'approved 1000 100 35 held 0 payable 100 fees 35 history 2', NULL, NULL),

    ('reversed', 'value=1000',                  '200 duplicate',                     'reversed 1000 100 35 held 0 payable 0 fees 0 history 2',
                                                '200 reopened',                      'pending 1000 100 35 held 0 payable 0 fees 0 history 3'),
    ('reversed', 'value=400',                   '200 duplicate value_differs',       'reversed 1000 100 35 held 0 payable 0 fees 0 history 2',
                                                '200 reopened',                      'pending 400 40 14 held 0 payable 0 fees 0 history 3'),
    ('reversed', 'value=2000',                  '200 duplicate value_differs',       'reversed 1000 100 35 held 0 payable 0 fees 0 history 2',
                                                '200 reopened',                      'pending 2000 200 70 held 0 payable 0 fees 0 history 3'),
    ('reversed', 'status=approved',             '409 locked status',                 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2',
                                                '409 locked status',                 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('reversed', 'status=approved&value=1000',  '409 locked status',                 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2', NULL, NULL),
    ('reversed', 'status=reversed',             '200 duplicate',                     'reversed 1000 100 35 held 0 payable 0 fees 0 history 2',
                                                '200 duplicate',                     'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('reversed', 'status=partial&value=400',    '409 locked status',                 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2',
                                                '409 locked status',                 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2'),
    ('reversed', 'status=partial&value=1000',   '409 locked status',                 'reversed 1000 100 35 held 0 payable 0 fees 0 history 2', NULL, NULL);

CREATE FUNCTION pg_temp.differences(prefix text) RETURNS TABLE (now text, sent text, want text, got text) LANGUAGE plpgsql AS $$
DECLARE
    c record;
    ref text;
    cases integer := 0;
BEGIN
    FOR c IN SELECT m.n, m.now, m.sent,
                    CASE WHEN prefix = '' THEN m.answer ELSE coalesce(m.test_answer, m.answer) END AS answer,
                    CASE WHEN prefix = '' THEN m.after ELSE coalesce(m.test_after, replace(m.after, 'held 135', 'held 0')) END AS after
             FROM matrix m WHERE prefix = '' OR m.test_after IS NOT NULL OR m.after !~ 'held [1-9]|payable [1-9]' ORDER BY m.n LOOP
        ref := prefix || 'M-' || c.n;
        IF c.now <> 'none' THEN
            PERFORM pg_temp.send(format('order=%s&value=1000', ref));
        END IF;
        IF c.now IN ('approved', 'reversed') THEN
            PERFORM pg_temp.send(format('order=%s&status=%s', ref, c.now));
        END IF;
        cases := cases + 1;
        now := c.now;
        sent := c.sent;
        want := c.answer || ' | ' || c.after;
        got := pg_temp.answer(pg_temp.send(format('order=%s&%s', ref, c.sent)));
        got := got || ' | ' || pg_temp.outcome(ref);
        IF got IS DISTINCT FROM want THEN
            RETURN NEXT;
        END IF;
    END LOOP;
    RAISE NOTICE '% cases', cases;
END
$$;
SELECT * FROM pg_temp.differences('');
SELECT * FROM pg_temp.differences('TEST-');
SELECT * FROM postback.audit();

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

-- a follow-up's currency is the conversion's
SELECT n, query, pg_temp.answer(pg_temp.send(query)) AS answer
FROM (VALUES (1, 'order=X-1&value=1000'), (2, 'order=X-1&status=approved&currency=USD'), (3, 'order=X-1&status=reversed&currency=USD'),
             (4, 'order=X-1&status=partial&value=400&currency=USD'), (5, 'order=X-1&status=partial&value=400&currency=eur'),
             (6, 'order=X-1&status=approved&value=400&currency=EUR'),
             (11, 'order=X-2&value=1000&currency=PYG'), (12, 'order=X-2&status=partial&amount=500.5'), (13, 'order=X-2&status=partial&amount=500'),
             (14, 'order=X-2&status=reversed')) AS k (n, query)
ORDER BY n;
SELECT order_ref, status, value, currency FROM postback.conversion WHERE brand_id = :'brand' AND order_ref LIKE 'X-%' ORDER BY 1;

-- without a price: kept; an approval is refused and waits without limit of time; the rest goes on
SELECT n, query, pg_temp.answer(pg_temp.send(query)) AS answer, pg_temp.outcome(substring(query, 'order=([^&]*)')) AS outcome
FROM (VALUES (1, 'order=U-1&value=1000&currency=PYG'), (2, 'order=U-1&status=approved'), (3, 'order=U-1&status=approved&value=999'),
             (4, 'order=U-1&status=partial&value=400'), (5, 'order=U-2&value=1000&currency=PYG'), (6, 'order=U-2&status=reversed')) AS k (n, query)
ORDER BY n;
SELECT (pg_temp.send('order=U-3&value=1000&currency=PYG&status=approved')).conversion_id IS NOT NULL AS kept;
SELECT pg_temp.outcome('U-3');
SELECT order_ref, status, expires_at FROM postback.parked WHERE brand_id = :'brand' AND order_ref LIKE 'U-%' ORDER BY id;
SELECT postback.expire_parked() >= 0 AS expired;
SELECT count(*) AS still_waiting FROM postback.parked WHERE brand_id = :'brand' AND order_ref = 'U-1';
-- when the rate arrives all of them are priced, and the approvals that waited are made: 400 PYG are then 200.00 EUR, of which 10 % are 20.00
-- and 35 % of those 7.00; 1000 PYG are 500.00
SELECT postback.set_fx_rate('PYG', 'EUR', 0.5);
SELECT postback.reprice_unpriced() >= 0 AS nothing_more;
SELECT o AS order, regexp_replace(pg_temp.outcome(o), ' history.*? ?(parked|$)', ' \1') AS outcome FROM unnest('{U-1,U-3,P-7}'::text[]) AS o;

SELECT * FROM postback.audit();
