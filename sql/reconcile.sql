-- A brand's own list against ours: what differs is shown, what was chosen is applied, mistakes in the list are found.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
\pset null -

-- 10 % of the order value and a fee of 35 % of that: an order of 10.00 holds 1.00 + 0.35
SELECT postback.create_brand('Reconciled', 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_goal(:'offer', 'Sale') IS NOT NULL AS sale, postback.create_goal(:'offer', 'Lead') IS NOT NULL AS lead;
SELECT postback.set_terms(:'offer', percent => 10) IS NOT NULL AS terms;
SELECT postback.create_publisher('Blog') AS publisher \gset
SELECT click_id AS click FROM postback.create_link(:'offer', :'publisher') l CROSS JOIN LATERAL postback.click(l.code) \gset
SELECT id AS other FROM (SELECT postback.create_brand('Reconciled too', 'EUR')) b (id) \gset
SELECT token AS other_token FROM postback.issue_token(:'other') \gset

SELECT r.outcome, count(*)
FROM (VALUES (1, 'order=AGREED&value=1000'), (2, 'order=AGREED-TOO&value=1000&status=approved'), (3, 'order=APPROVE&value=1000'),
             (4, 'order=REVERSE&value=1000'), (5, 'order=ADJUST&value=1000'), (6, 'order=RAISE&value=1000'), (7, 'order=BOTH&value=1000'),
             (8, 'order=LATE&value=1000&status=approved'), (9, 'order=FINAL&value=1000&status=approved'),
             (10, 'order=GONE&value=1000'), (11, 'order=GONE&status=reversed'), (12, 'order=GONE-TOO&value=1000'), (13, 'order=GONE-TOO&status=reversed'),
             (14, 'order=GOALS&value=1000&goal=Sale'), (15, 'order=GOALS&value=500&goal=Lead'), (16, 'order=MRU&value=1000&currency=MRU'),
             (17, 'order=OURS&value=1000'), (18, 'order=TEST-OURS&value=1000'), (19, 'order=HELD&value=1000&status=approved')) AS k (n, query)
CROSS JOIN LATERAL postback.receive(:'token', k.query || '&click_id=' || :'click') r
GROUP BY r.outcome ORDER BY 1;
SELECT outcome FROM postback.receive(:'other_token', 'order=APPROVE&value=7');

\set list 'order,status,value,amount,goal,reason,notice,customer\nAGREED,new,1000,,,,,x\nAGREED-TOO,confirmed,,10.00,,,,x\nAPPROVE,Approved,1000,10,,,,x\nREVERSE,cancelled,1000,,,returned,"two of two, sent back",x\nADJUST,partial,400,,,,,x\nRAISE,,,12.5,,,,x\nBOTH,approved,800,,,,checked,x\nLATE,refunded,,,,fraud,,x\nFINAL,,900,,,,,x\nGONE,approved,1000,,,,,x\nGONE-TOO,reversed,1,,,,,x\nGOALS,approved,,,,,,x\nGOALS,approved,,,LEAD,,,x\nGOALS,,1000,,sale,,,x\nMRU,approved,,,,,,x\nNOWHERE,approved,1000,,,,,x\nHELD,pending,1000,,,,,x\n'
SELECT replace(:'list', '\n', E'\r\n') AS list \gset

-- what differs, missing ones first, then amounts, then statuses; nothing is changed
SELECT line, "order", goal, difference, our_status, their_status, our_value, their_value, currency, action, done
FROM postback.reconcile(:'brand', :'list', since => now() - interval '1 hour');
SELECT "order", goal, why_not FROM postback.reconcile(:'brand', :'list', since => now() - interval '1 hour') WHERE action IS NULL;
-- a time without our orders; a time is no matter to those in the list
SELECT difference, count(*) FROM postback.reconcile(:'brand', :'list', until => now() - interval '1 hour') GROUP BY 1 ORDER BY 1;
SELECT count(*) AS changes FROM postback.history WHERE brand_id = :'brand' AND actor <> 'receipt';

-- some of it
SELECT "order", action, done FROM postback.reconcile(:'brand', :'list', apply => true, orders => '{APPROVE,LATE,NOBODY}');
SELECT order_ref, status FROM postback.conversion WHERE brand_id = :'brand' AND order_ref IN ('APPROVE', 'LATE', 'REVERSE') ORDER BY 1;
SELECT status FROM postback.conversion WHERE brand_id = :'other';
-- all of it
SELECT "order", goal, action, done FROM postback.reconcile(:'brand', :'list', apply => true, claw_back => true);
-- again there is nothing that could be done
SELECT "order", goal, difference, action, done FROM postback.reconcile(:'brand', :'list', apply => true, claw_back => true);
SELECT order_ref, goal, status, value, commission, fee, reason, notice FROM postback.conversion WHERE brand_id = :'brand' ORDER BY order_ref, goal;
SELECT c.order_ref, c.goal, h.from_status, h.to_status, h.from_value, h.to_value, h.to_commission, h.actor, h.reason
FROM postback.history h JOIN postback.conversion c ON c.id = h.conversion_id
WHERE h.brand_id = :'brand' AND h.actor <> 'receipt' ORDER BY c.order_ref, c.goal, h.id;
SELECT c.order_ref, l.kind, l.amount FROM postback.ledger l JOIN postback.conversion c ON c.id = l.conversion_id
WHERE l.brand_id = :'brand' AND c.order_ref IN ('BOTH', 'LATE', 'RAISE', 'REVERSE') ORDER BY c.order_ref, l.id;
SELECT account, amount FROM postback.balances WHERE brand_id = :'brand' ORDER BY account;
SELECT * FROM postback.audit();

-- from rows; with the brand's own names and words; semicolons; a byte order mark, old line ends, quotes in quotes
SELECT line, "order", difference, their_value, action
FROM postback.reconcile(:'brand', rows => '[{"order": "AGREED", "amount": 9.99, "customer": {"id": 1}}, {"TXID": "ADJUST", "value": 400}, {"order": "RAISE", "value": "1250", "status": null}]');
SELECT line, "order", action, notice
FROM postback.reconcile(:'brand', E'\xEF\xBB\xBF"Bestellung";Stand;"transaction_id";Bemerkung\r"AGREED";bezahlt;77;"sagt ""ja"";\rmehr"\r\r"RAISE";offen;78;',
                        delimiter => ';', param_map => '{"bestellung": "order", "stand": "status", "transaction_id": "", "Bemerkung": "notice"}',
                        status_map => '{"Bezahlt": "approved", "offen": "new"}');
SELECT count(*) FROM postback.reconcile(:'brand', 'order');
SELECT "order", difference, why_not FROM postback.reconcile(:'brand', E'order\nAGREED\nNOWHERE\n\n');
SELECT "order", difference, currency, why_not FROM postback.reconcile(:'brand', E'order,amount,currency\nAGREED,10.00,eur\nMRU,10.00,EUR\nFINAL,1000,JPY\nNOWHERE,1.234,KWD');
-- the same twice is said once; a goal and its order's only conversion are one
SELECT line, "order", action FROM postback.reconcile(:'brand', E'order,value,amount\nAGREED,999,\nAGREED,,9.99\nAGREED,0999,');

-- mistakes: where, what, and what was expected; nothing of the call is applied
\set VERBOSITY default
SELECT * FROM postback.reconcile(:'brand', E'order,status\nAGREED,reversed\n"RAISE,reversed\n', apply => true);
DO $$
DECLARE
    context text;
BEGIN
    PERFORM postback.reconcile((SELECT b.id FROM postback.brand b ORDER BY b.id LIMIT 1), E'order,status\nAGREED,odd');
EXCEPTION WHEN invalid_parameter_value THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RAISE NOTICE 'the comparison''s text is no part of the context: %', context !~ 'grouped';
END
$$;
SELECT * FROM postback.reconcile(:'brand', E'order,notice\nAGREED,"a\nb"\nRAISE,say "yes"\n');
SELECT * FROM postback.reconcile(:'brand', E'order,notice\nAGREED,"yes"!\n');
SELECT * FROM postback.reconcile(:'brand', E'order,status,value\nAGREED,reversed\n', apply => true);
SELECT * FROM postback.reconcile(:'brand', E'order,amount\nAGREED,1,000.00\n');
SELECT * FROM postback.reconcile(:'brand', E'Order,Transaction_ID\nAGREED,7\n');
SELECT * FROM postback.reconcile(:'brand', E'order;status\nAGREED;approved\n');
SELECT * FROM postback.reconcile(:'brand', E'number,status\nAGREED,approved\n');
SELECT * FROM postback.reconcile(:'brand', E'\n');
SELECT * FROM postback.reconcile(:'brand', E'status,order\napproved,AGREED\napproved, \n');
SELECT * FROM postback.reconcile(:'brand', E'order,status\nAGREED,reversed\nRAISE,"perhaps\nlater"\n', apply => true);
SELECT * FROM postback.reconcile(:'brand', E'order,status\nRAISE,partial\n');
SELECT * FROM postback.reconcile(:'brand', E'order,status,value\nAGREED,reversed,1000\nRAISE,,-5\n', apply => true);
SELECT * FROM postback.reconcile(:'brand', E'order,value\nRAISE,12.50\n');
SELECT * FROM postback.reconcile(:'brand', E'order,value\nRAISE,1000000000000001\n');
SELECT * FROM postback.reconcile(:'brand', E'order,status,amount\nAGREED,reversed,\nRAISE,,12.505\n', apply => true);
SELECT * FROM postback.reconcile(:'brand', E'order,amount\nRAISE,"12,50"\n');
SELECT * FROM postback.reconcile(:'brand', E'order,value,amount\nRAISE,1250,12.51\n');
SELECT * FROM postback.reconcile(:'brand', E'order,currency\nRAISE,EURO\n');
SELECT * FROM postback.reconcile(:'brand', 'order' || E'\n' || repeat('x', 256));
SELECT * FROM postback.reconcile(:'brand', E'order,status,goal\nAGREED,reversed,\nRAISE,approved,\nRAISE,reversed,\n', apply => true);
SELECT * FROM postback.reconcile(:'brand', rows => '[{"order": "AGREED"}, {"order": "RAISE", "value": 12.5}]');
SELECT * FROM postback.reconcile(:'brand', rows => '[{"order": "AGREED"}, {"order": "RAISE", "value": [1]}]');
SELECT * FROM postback.reconcile(:'brand', rows => '[{"order": "AGREED", "txid": "AGREED"}]');
SELECT * FROM postback.reconcile(:'brand', rows => '[{"status": "approved"}]');
SELECT * FROM postback.reconcile(:'brand', rows => '["AGREED"]');
SELECT * FROM postback.reconcile(:'brand', rows => '{"order": "AGREED"}');
SELECT * FROM postback.reconcile(:'brand', csv => NULL);
SELECT * FROM postback.reconcile(:'brand', 'order', delimiter => '||');
SELECT * FROM postback.reconcile('00000000000000000000000000', 'order');
SELECT order_ref, status, value FROM postback.conversion WHERE brand_id = :'brand' AND order_ref IN ('AGREED', 'RAISE') ORDER BY 1;

-- many at once, one list, more than one chunk of them
SELECT count(*) FILTER (WHERE r.ok) AS created
FROM postback.receive_batch(ARRAY(SELECT generate_series(1, 2500)), array_fill(:'token'::text, '{2500}'), array_fill('GET'::text, '{2500}'),
    ARRAY(SELECT format('order=M%s&value=1000&click_id=%s', n, :'click') FROM generate_series(1, 2500) n), array_fill(NULL::text, '{2500}'),
    array_fill(NULL::text, '{2500}'), array_fill(NULL::inet, '{2500}')) r;
SELECT r.action, r.done, count(*)
FROM postback.reconcile(:'brand', (SELECT E'order,status\n' || string_agg(format('M%s,%s', n, CASE n % 5 WHEN 0 THEN 'reversed' ELSE 'approved' END), E'\n')
                                   FROM generate_series(1, 2500) n), apply => true) r
GROUP BY 1, 2 ORDER BY 1;
SELECT status, count(*), sum(commission) AS commission FROM postback.conversion WHERE brand_id = :'brand' AND order_ref ~ '^M\d' GROUP BY 1 ORDER BY 1;
-- one that cannot be, for its commission would be too large: none is
SELECT postback.create_brand('Reconciled to the limit', 'EUR') AS vast \gset
SELECT token AS vast_token FROM postback.issue_token(:'vast') \gset
SELECT postback.create_offer(:'vast', 'Shop', 'https://shop.example/') AS vast_offer \gset
SELECT postback.set_terms(:'vast_offer', percent => 10) IS NOT NULL AS terms;
SELECT postback.set_fx_rate('XPF', 'EUR', 99999999);
SELECT click_id AS vast_click FROM postback.create_link(:'vast_offer', :'publisher') l CROSS JOIN LATERAL postback.click(l.code) \gset
SELECT r.outcome
FROM unnest('{V1,V2}'::text[]) o
CROSS JOIN LATERAL postback.receive(:'vast_token', format('order=%s&value=1000&currency=XPF&click_id=%s', o, :'vast_click')) r;
SELECT * FROM postback.reconcile(:'vast', E'order,status,value\nV1,approved,1000\nV2,,1000000000000000\n', apply => true);
SELECT order_ref, status, value FROM postback.conversion WHERE brand_id = :'vast' ORDER BY 1;
DELETE FROM postback.fx_rate WHERE base = 'XPF';
SELECT * FROM postback.audit();
