-- Why: explain() of receipts, simulate() of calls, replay() of receipts, why_not() of callbacks. Ids are shown by name where
-- they have one, else as ID, and moments as TIME.
\set SHOW_CONTEXT never
SET client_min_messages = error;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
\pset format unaligned
\pset fieldsep ' | '

SELECT postback.create_brand(name => 'Explain', currency => 'EUR') AS brand \gset
SELECT postback.create_brand(name => 'Elsewhere', currency => 'EUR', fee_of => 'value', fee_percent => 2.5) AS elsewhere \gset
SELECT postback.create_offer(:'brand', 'Shoes', 'https://shoes.example/', attribution_window => '10 days') AS shoes \gset
SELECT postback.create_offer(:'brand', 'Hats', 'https://hats.example/') AS hats \gset
SELECT postback.create_offer(:'elsewhere', 'Cars', 'https://cars.example/', goals_enabled => false) AS cars \gset
SELECT postback.create_publisher('Blog') AS blog \gset
SELECT postback.create_publisher('Forum') AS forum \gset
SELECT postback.create_goal(:'hats', 'sale', true) AS sale, postback.create_goal(:'hats', 'lead') AS lead \gset
SELECT token FROM postback.issue_token(:'brand', 'main', status_map => '{"ok": "approved"}') \gset
SELECT token AS car_token FROM postback.issue_token(:'elsewhere', 'cars', reply_style => 'always200') \gset

-- 5 % of everything; of hats 8 %, of their leads a fixed 2.00, of their sales by Blog brackets
SELECT count(*) AS terms FROM (
    SELECT postback.set_terms(offer => :'shoes', percent => 5)
    UNION ALL SELECT postback.set_terms(offer => :'hats', percent => 7)
    UNION ALL SELECT postback.set_terms(offer => :'hats', percent => 8)
    UNION ALL SELECT postback.set_terms(offer => :'hats', percent => 9, valid_from => '2999-01-01')
    UNION ALL SELECT postback.set_terms(offer => :'hats', percent => 50, publisher => :'forum')
    UNION ALL SELECT postback.set_terms(offer => :'hats', goal => 'lead', fixed => 200)
    UNION ALL SELECT postback.set_terms(offer => :'hats', goal => 'sale', publisher => :'blog', percent => 6, min => 150, max => 2000,
                                        brackets => '[{"from": 5000, "percent": 10, "fixed": 100}]')
    UNION ALL SELECT postback.set_terms(offer => :'cars', percent => 1.5, max => 30000)) t;
SELECT postback.set_fx_rate('USD', 'EUR', 0.925);
SELECT postback.create_promo_code(:'brand', 'HATS10', :'blog', :'hats');
SELECT postback.create_promo_code(:'brand', 'OLD', :'blog', :'hats', valid_to => '2020-01-01');
SELECT code AS shoes_link FROM postback.create_link(:'shoes', :'blog') \gset
SELECT code AS hats_link FROM postback.create_link(:'hats', :'forum') \gset
SELECT code AS cars_link FROM postback.create_link(:'cars', :'blog') \gset
SELECT postback.create_callback('Approved', 'https://p.example/?x={payout}', offer => :'shoes') AS approved \gset
SELECT postback.create_callback('Leads', 'https://p.example/?x={payout}', brand => :'brand', goal => 'lead', statuses => '{any}') AS leads \gset
SELECT postback.create_callback('Fraud', 'https://p.example/?x={payout}', brand => :'brand', statuses => '{rejected}', reasons => '{fraud,test}') AS fraud \gset
SELECT postback.create_callback('Off', 'https://p.example/?x={payout}', offer => :'shoes', statuses => '{any}') AS off \gset
UPDATE postback.callback SET enabled = false WHERE id = :'off';
SELECT postback.create_callback('Other', 'https://p.example/?x={payout}', brand => :'elsewhere', statuses => '{any}') AS other \gset

CREATE TEMP TABLE named (id text, name text);
CREATE FUNCTION pg_temp.shown(e postback.explanation) RETURNS TABLE (step text, detail text, outcome text) LANGUAGE plpgsql AS $$
DECLARE
    n record;
BEGIN
    step := e.step;
    detail := e.detail;
    outcome := e.outcome;
    FOR n IN SELECT * FROM named LOOP
        detail := replace(detail, n.id, n.name);
        outcome := replace(outcome, n.id, n.name);
    END LOOP;
    detail := regexp_replace(detail, '\m[0-7][0-9A-HJKMNP-TV-Z]{25}\M', 'ID', 'g');
    outcome := regexp_replace(outcome, '\m[0-7][0-9A-HJKMNP-TV-Z]{25}\M', 'ID', 'g');
    detail := regexp_replace(detail, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC', 'TIME', 'g');
    outcome := regexp_replace(outcome, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC', 'TIME', 'g');
    RETURN NEXT;
END
$$;
CREATE FUNCTION pg_temp.say(receipt postback.ulid) RETURNS TABLE (step text, detail text, outcome text) LANGUAGE sql AS
    $$ SELECT s.* FROM postback.explain(receipt) WITH ORDINALITY e (step, detail, outcome, n),
              pg_temp.shown((e.step, e.detail, e.outcome)::postback.explanation) s ORDER BY e.n $$;
-- some steps of a call that is made now
CREATE FUNCTION pg_temp.steps(token text, query text, steps text[]) RETURNS TABLE (step text, detail text, outcome text) LANGUAGE plpgsql AS $$
DECLARE
    made postback.ulid := (postback.receive(token, query)).receipt_id;
BEGIN
    RETURN QUERY SELECT s.* FROM pg_temp.say(made) s WHERE s.step = ANY (steps);
END
$$;

-- an order by a click: everything from what was read to what was answered; 49.99 x 5 % = 2.4995, 35 % of 2.50 = 0.875
SELECT click_id AS click FROM postback.click(:'shoes_link') \gset
INSERT INTO named VALUES (:'click', 'CLICK');
SELECT receipt_id AS first FROM postback.receive(:'token', 'order_id=A%2D1&value=4999&utm_source=x&clickid=clk_' || :'click' || '&goal=', remote => '192.0.2.7') \gset
INSERT INTO named VALUES (:'first', 'FIRST');
SELECT * FROM pg_temp.say(:'first');
-- approved by the brand's own word; lowered before that: 20.00 x 5 % = 1.00, so 1.50 and 0.53 of 0.88 go back
SELECT * FROM pg_temp.steps(:'token', 'order=A-1&status=partial&value=2000', '{request,state,commission,fee,revenue,ledger,callback,answer}');
SELECT * FROM pg_temp.steps(:'token', 'order=A-1&status=OK', '{request,state,commission,ledger,callback,answer}');
-- nothing new, and what the order's state forbids
SELECT * FROM pg_temp.steps(:'token', 'order=A-1&value=2100', '{request,state,warning,ledger,callback,answer}');
SELECT * FROM pg_temp.steps(:'token', 'order=A-1&status=reversed', '{receipt,state,ledger,callback,answer}');

-- which click: what the call names
SELECT click_id AS car_click FROM postback.click(:'cars_link') \gset
SELECT postback.ulid_floor(now() - interval '11 days') AS old_click, postback.ulid_floor(now() - interval '29 days') AS older_click \gset
INSERT INTO postback.click (id, brand_id, offer_id, publisher_id) VALUES
    (:'old_click', :'brand', :'shoes', :'blog'), (:'older_click', :'brand', :'hats', :'forum');
INSERT INTO named VALUES (:'car_click', 'CAR'), (:'old_click', 'OLD'), (:'older_click', 'OLDER');
SELECT * FROM pg_temp.steps(:'token', 'order=B-1&value=1&click_id=nonsense', '{click,attribution,commission,ledger,callback,warning}');
SELECT * FROM pg_temp.steps(:'token', 'order=B-2&value=1&click_id=01ARZ3NDEKTSV4RRFFQ69G5FAV', '{click,attribution,warning}');
SELECT * FROM pg_temp.steps(:'token', 'order=B-3&value=1&click_id=7ZZZZZZZZZZZZZZZZZZZZZZZZZ', '{click,attribution,warning}');
SELECT * FROM pg_temp.steps(:'token', 'order=B-4&value=1&click_id=' || :'car_click', '{click,attribution,warning}');
SELECT * FROM pg_temp.steps(:'token', 'order=B-5&value=1&click_id=' || :'old_click', '{click,attribution,warning}');
SELECT * FROM pg_temp.steps(:'token', 'order=B-6&value=1&click_id=' || :'older_click', '{click,attribution,warning}');
-- given to a publisher by hand later
SELECT outcome FROM postback.attribute((SELECT id FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'B-5'), :'old_click');
SELECT * FROM pg_temp.say((SELECT id FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'B-5'))
WHERE step IN ('click', 'attribution', 'terms', 'commission', 'callback', 'warning');

-- the last click, narrowed by what the call says
SELECT click_id AS hat_click FROM postback.click(:'hats_link', remote => '198.51.100.1') \gset
INSERT INTO named VALUES (:'hat_click', 'HAT');
SELECT * FROM pg_temp.steps(:'token', 'order=C-1&value=1', '{last click,attribution}');
SELECT * FROM pg_temp.steps(:'token', 'order=C-2&value=1&offer_id=' || :'shoes', '{last click,attribution}');
SELECT * FROM pg_temp.steps(:'token', 'order=C-3&value=1&publisher_id=' || :'blog', '{last click,attribution}');
SELECT * FROM pg_temp.steps(:'token', 'order=C-4&value=1&ip=198.51.100.1', '{last click,attribution}');
SELECT * FROM pg_temp.steps(:'token', 'order=C-5&value=1&ip=198.51.100.2', '{last click,attribution}');
UPDATE postback.offer SET min_click_age = '1 hour' WHERE id = :'hats';
SELECT * FROM pg_temp.steps(:'token', 'order=C-6&value=1', '{last click,attribution}');
UPDATE postback.offer SET min_click_age = NULL WHERE id = :'hats';
-- ten at most, and the winner even if it is not among them
BEGIN;
SELECT count(r.click_id) AS clicks FROM generate_series(1, 11) n, LATERAL postback.click(CASE WHEN n > 0 THEN :'hats_link' END) r;
COMMIT;
SELECT step, outcome, count(*) FROM pg_temp.steps(:'token', 'order=C-7&value=1&offer_id=' || :'shoes', '{last click,attribution}')
GROUP BY step, outcome ORDER BY count(*) DESC, outcome COLLATE "C";

-- a promo code; terms by publisher and goal; a bracket; another currency: 100.00 x 0.925 = 92.50, 10 % + 1.00 = 10.25, 35 % = 3.5875
SELECT * FROM pg_temp.steps(:'token', 'order=D-1&amount=100&currency=usd&promo_code=hats10&status=ok',
                            '{parameter,request,promo code,last click,attribution,goal,terms,order value,state,commission,fee,revenue,ledger,callback,answer}');
-- 10.00 x 6 % = 0.60, at least 1.50; 1000.00 x 10 % + 1.00 = 101.00, at most 20.00
SELECT * FROM pg_temp.steps(:'token', 'order=D-2&value=1000&promo_code=HATS10', '{commission,fee}');
SELECT * FROM pg_temp.steps(:'token', 'order=D-3&value=100000&promo_code=HATS10', '{commission,fee}');
-- other goals have other terms; a code that has ended, one that is none
SELECT * FROM pg_temp.steps(:'token', 'order=D-4&value=1000&promo_code=HATS10&goal=LEAD', '{goal,terms,commission,callback}');
SELECT * FROM pg_temp.steps(:'token', 'order=D-5&value=1000&promo_code=HATS10&goal=tip', '{goal,terms,commission,warning}');
SELECT * FROM pg_temp.steps(:'token', 'order=D-6&value=1000&publisher_id=x&promo_code=old', '{promo code,attribution}');
SELECT * FROM pg_temp.steps(:'token', 'order=D-7&value=1000&publisher_id=x&promo_code=none', '{promo code,attribution}');
-- goals switched off; the fee of the order value: 123.45 x 1.5 % = 1.85175, 2.5 % of 123.45 = 3.08625; refusals answered 200
SELECT * FROM pg_temp.steps(:'car_token', 'order=D-8&amount=123.45&goal=any', '{token,attribution,goal,terms,commission,fee,revenue,callback}');
SELECT * FROM pg_temp.steps(:'car_token', 'order=D-8&status=what', '{receipt,request,answer}');

-- what waits for its order, and is applied when that comes
SELECT receipt_id AS early FROM postback.receive(:'token', 'order=E-1&status=rejected&reason=fraud') \gset
SELECT receipt_id AS late FROM postback.receive(:'token', 'order=E-2&status=reversed') \gset
INSERT INTO named VALUES (:'early', 'EARLY');
SELECT * FROM pg_temp.say(:'early') WHERE step IN ('receipt', 'request', 'parked', 'state', 'answer');
SELECT * FROM pg_temp.steps(:'token', 'order=E-1&value=1000&click_id=' || :'click', '{receipt,applied,state,ledger,callback,answer}');
SELECT * FROM pg_temp.say(:'early') WHERE step IN ('parked', 'applied', 'state', 'ledger', 'callback', 'answer');
DELETE FROM postback.parked WHERE receipt_id = :'late';
SELECT * FROM pg_temp.say(:'late') WHERE step IN ('parked', 'answer');

-- without terms or rate: no price; the approval waits for it
SELECT * FROM pg_temp.steps(:'token', 'order=F-1&amount=10&currency=GBP&status=ok&click_id=' || :'click',
                            '{request,parked,terms,order value,state,commission,ledger,warning,answer}');
SELECT * FROM pg_temp.steps(:'token', 'order=F-1&status=ok', '{parked,state,answer}');
SELECT postback.set_fx_rate('GBP', 'EUR', 1.2);
SELECT postback.reprice_unpriced(:'brand') IS NOT NULL AS priced;
SELECT * FROM pg_temp.say((SELECT min(id) FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'F-1'))
WHERE step IN ('parked', 'applied', 'state', 'commission', 'ledger');

-- a test order; a rejection with and without the reason that a callback wants
SELECT * FROM pg_temp.steps(:'token', 'order=TEST-1&value=1000&click_id=' || :'click', '{request,commission,ledger,callback}');
SELECT outcome FROM postback.receive(:'token', 'order=G-1&value=1000&click_id=' || :'click');
SELECT * FROM pg_temp.steps(:'token', 'order=G-1&status=reversed&reason=size', '{state,ledger,callback}');
-- an event
SELECT * FROM pg_temp.steps(:'token', 'event=install&click_id=' || :'click' || '&order=G-2', '{request,click,attribution,event,state,answer}');
SELECT * FROM pg_temp.steps(:'token', 'event=install&order=G-2', '{request,event,answer}');

-- two calls of one batch: the second one sees what the first one did
SELECT outcome FROM postback.receive_batch('{1,2,3}', ARRAY[:'token', :'token', :'token'], '{GET,GET,GET}',
    ARRAY['order=H-1&value=1000&click_id=' || :'click', 'order=H-1&status=ok', 'order=H-1&status=reversed'],
    '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}');
SELECT n, s.* FROM (SELECT row_number() OVER (ORDER BY id) AS n, id FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'H-1') r,
    pg_temp.say(r.id) s WHERE s.step IN ('state', 'ledger', 'answer') ORDER BY n;

-- why it was refused: what cannot be read
SELECT * FROM pg_temp.steps(:'token', 'order=I-1&value=1&txid=I-2&notice=x', '{receipt,parameter,request,answer}');
SELECT * FROM pg_temp.steps(:'token', 'order=%FF&value=1', '{parameter,request,answer}');
SELECT * FROM pg_temp.steps(:'token', 'value=1', '{request,answer}');
-- and what the order's state does not allow
SELECT outcome FROM postback.receive(:'token', 'order=I-3&value=1000&click_id=' || :'click');
SELECT outcome FROM postback.receive(:'token', 'order=I-3&goal=lead&value=500&click_id=' || :'click');
SELECT q, s.detail, s.outcome FROM (VALUES
    ('order=I-3&status=ok'), ('order=I-3&goal=lead&status=ok&value=501'), ('order=I-3&goal=lead&status=partial&value=501'),
    ('order=I-3&goal=lead&status=partial&value=400&currency=USD'), ('order=I-3&goal=lead&status=partial')) v (q),
    pg_temp.steps(:'token', q, '{answer}') s;
-- and whom the token does not let in
SELECT token AS strict_token FROM postback.issue_token(:'brand', 'strict', allow_ips => '{192.0.2.0/24}', hmac_secret => 'key', test => true) \gset
SELECT receipt_id AS abroad FROM postback.receive(:'strict_token', 'order=J-1&value=1', remote => '198.51.100.1') \gset
SELECT * FROM pg_temp.say(:'abroad');
SELECT receipt_id AS unsigned FROM postback.receive(:'strict_token', 'order=J-1&value=1000&click_id=clk_' || :'click', remote => '192.0.2.1') \gset
INSERT INTO named VALUES (:'unsigned', 'UNSIGNED');
SELECT * FROM pg_temp.say(:'unsigned');

-- bodies: JSON, with what is not ours; and the visitor's cookie
SELECT receipt_id AS json FROM postback.receive(:'token', '', 'POST', '{"order": "K-1", "value": 100, "customer": {"name": "x"}, "note": null}', 'application/json', cookie => 'clk_' || :'click') \gset
SELECT * FROM pg_temp.say(:'json') WHERE step IN ('receipt', 'parameter', 'request', 'click');

-- what is not there, or not any more
SELECT * FROM pg_temp.say('7ZZZZZZZZZZZZZZZZZZZZZZZZZ');
SELECT * FROM pg_temp.say('01ARZ3NDEKTSV4RRFFQ69G5FAV');
SELECT * FROM pg_temp.say(NULL);
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM postback.click WHERE id = :'click';
DELETE FROM postback.terms WHERE offer_id = :'shoes';
DELETE FROM postback.history WHERE receipt_id = (SELECT id FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'G-1' ORDER BY id LIMIT 1);
SELECT * FROM pg_temp.say(:'first') WHERE step IN ('click', 'attribution', 'terms', 'commission', 'fee');
SELECT * FROM pg_temp.say((SELECT id FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'G-1' ORDER BY id LIMIT 1)) WHERE step IN ('state', 'ledger', 'answer');
ROLLBACK;

-- simulate: what explain would say, and nothing of it remains
CREATE FUNCTION pg_temp.rows() RETURNS TABLE (relation text, rows bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR relation IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'postback'::regnamespace AND c.relkind IN ('r', 'p') LOOP
        EXECUTE format('SELECT count(*) FROM postback.%I', relation) INTO rows;
        RETURN NEXT;
    END LOOP;
END
$$;
CREATE TEMP TABLE before AS SELECT * FROM pg_temp.rows();
CREATE TEMP TABLE simulated AS SELECT e.n, s.* FROM postback.simulate(:'token', 'order=L-1&value=1000&status=ok&click_id=' || :'click')
    WITH ORDINALITY e (step, detail, outcome, n), pg_temp.shown((e.step, e.detail, e.outcome)::postback.explanation) s;
SELECT count(*) > 15 AS steps FROM simulated;
SELECT * FROM pg_temp.rows() EXCEPT SELECT * FROM before;
SELECT receipt_id AS real FROM postback.receive(:'token', 'order=L-1&value=1000&status=ok&click_id=' || :'click') \gset
SELECT * FROM simulated s FULL JOIN (SELECT row_number() OVER () AS n, x.* FROM pg_temp.say(:'real') x) r USING (n, step, detail, outcome)
WHERE s IS NULL OR r IS NULL;
SELECT * FROM postback.simulate(:'token', 'order=L-2&value=-1') WHERE step = 'answer';
SELECT * FROM postback.simulate('nobody_knows', 'order=L-2&value=1');
SELECT * FROM postback.simulate(NULL, NULL);

-- replay: the call again, with its token by id
CREATE FUNCTION pg_temp.replay(receipt postback.ulid) RETURNS TABLE (again postback.ulid, outcome text) LANGUAGE plpgsql AS $$
BEGIN
    SELECT e.outcome INTO outcome FROM postback.replay(receipt) e WHERE e.step = 'answer';
    SELECT max(r.id) INTO again FROM postback.receipt r WHERE r.replay_of = receipt;
    RETURN NEXT;
END
$$;
SELECT receipt_id AS refused FROM postback.receive(:'token', 'reference=M-1&value=1000&click_id=' || :'click') \gset
INSERT INTO named VALUES (:'refused', 'REFUSED');
SELECT * FROM pg_temp.replay(:'refused') \gset a_
\echo :a_outcome
SELECT (postback.receipt_request(:'a_again')).received = postback.ulid_time(:'refused') AS when_it_first_came;
-- in a currency that there is
SELECT DISTINCT (postback.receipt_request(id, currency)).currency FROM (SELECT id FROM postback.receipt WHERE result = 'created' LIMIT 1) r, unnest(ARRAY['EUR', 'JPY']) currency ORDER BY 1;
SELECT postback.receipt_request(id, 'XXX') FROM (SELECT id FROM postback.receipt WHERE result = 'created' LIMIT 1) r;
UPDATE postback.token SET param_map = '{"reference": "order"}' WHERE brand_id = :'brand' AND label = 'main';
SELECT * FROM pg_temp.say(:'refused') WHERE step IN ('parameter', 'request', 'answer');
SELECT * FROM pg_temp.replay(:'refused') \gset r_
\echo :r_outcome
SELECT order_ref, status, attribution, commission FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'M-1';
SELECT replay_of = :'refused' AS replay_of, query = (SELECT query FROM postback.receipt WHERE id = :'refused') AS query, result
FROM postback.receipt WHERE id = :'r_again';
SELECT * FROM pg_temp.say(:'r_again') WHERE step IN ('receipt', 'request', 'click');
SELECT outcome FROM pg_temp.replay(:'refused');
SELECT outcome FROM pg_temp.replay(:'first');
SELECT * FROM pg_temp.say(:'first') WHERE step IN ('replay');
-- neither address nor signature is looked at again; a click is judged by when the call first came
SELECT outcome FROM pg_temp.replay(:'unsigned');
SELECT * FROM pg_temp.say((SELECT max(id) FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'J-1')) WHERE step = 'token';
SELECT postback.ulid_floor(now() - interval '2 days') AS two_days \gset
INSERT INTO postback.receipt (id, brand_id, token_id, method, query, http_status, code, milliseconds)
SELECT v.id, r.brand_id, r.token_id, 'GET', v.query, 400, 'missing_parameter', 1
FROM postback.receipt r, (VALUES (:'two_days'::postback.ulid, 'order=M-2&value=1000&click_id=' || :'old_click'),
                                 (postback.ulid_floor(postback.ulid_time(:'two_days') - interval '1 s'), 'order=M-3&value=1000')) v (id, query)
WHERE r.id = :'first';
SELECT outcome FROM pg_temp.replay(:'two_days');
SELECT outcome FROM pg_temp.replay((SELECT postback.ulid_floor(postback.ulid_time(:'two_days') - interval '1 s')));
SELECT r.order_ref, s.* FROM postback.receipt r, pg_temp.say(r.id) s
WHERE r.brand_id = :'brand' AND r.order_ref IN ('M-2', 'M-3') AND s.step IN ('click', 'last click', 'attribution', 'warning');
-- bytes that were no text come back as they were
SELECT outcome FROM postback.receive_batch('{1}', ARRAY[:'token'], '{POST}', '{NULL}', '{NULL}', '{application/x-www-form-urlencoded}', '{NULL}',
                                           raw_bodies => ARRAY['order=M-4&value=1&notice='::bytea || '\xe9'::bytea]);
SELECT id AS bytes, body FROM postback.receipt WHERE brand_id = :'brand' AND body LIKE '%M-4%' \gset
\echo :body
SELECT outcome FROM pg_temp.replay(:'bytes');
SELECT * FROM pg_temp.say(:'bytes') WHERE step = 'parameter';
-- one whose token is revoked, and none
SELECT postback.revoke_token(brand => :'brand', label => 'strict');
SELECT outcome FROM pg_temp.replay(:'unsigned');
SELECT s.* FROM postback.receipt r, pg_temp.say(r.id) s WHERE r.brand_id = :'brand' AND r.code = 'token_revoked';
-- it is told as explain() does
SELECT * FROM postback.replay('7ZZZZZZZZZZZZZZZZZZZZZZZZZ');
SELECT * FROM postback.replay(NULL);
SELECT s.* FROM postback.replay(:'refused') WITH ORDINALITY e (step, detail, outcome, n), pg_temp.shown((e.step, e.detail, e.outcome)::postback.explanation) s
WHERE e.step IN ('receipt', 'parameter', 'request', 'answer') ORDER BY e.n;
SELECT * FROM postback.audit();

-- why not: every condition of a callback, and the deliveries
CREATE FUNCTION pg_temp.why(token_brand postback.ulid, order_wanted text, callback postback.ulid)
    RETURNS TABLE ("check" text, wanted text, found text, ok boolean) LANGUAGE sql AS $$
    SELECT w."check", s.detail, s.outcome, w.ok
    FROM postback.conversion c, postback.why_not(c.id, callback) w, pg_temp.shown((w."check", w.wanted, w.found)::postback.explanation) s
    WHERE c.brand_id = token_brand AND c.order_ref = order_wanted
$$;
INSERT INTO named VALUES (:'brand', 'EXPLAIN'), (:'elsewhere', 'ELSEWHERE'), (:'shoes', 'SHOES'), (:'hats', 'HATS'), (:'blog', 'BLOG'), (:'forum', 'FORUM');
SELECT * FROM pg_temp.why(:'brand', 'A-1', :'approved');
SELECT * FROM pg_temp.why(:'brand', 'G-1', :'fraud');
SELECT * FROM pg_temp.why(:'brand', 'G-1', :'other') WHERE NOT ok;
SELECT * FROM pg_temp.why(:'brand', 'G-1', :'off') WHERE NOT ok;
SELECT * FROM pg_temp.why(:'brand', 'TEST-1', :'leads') WHERE NOT ok;
SELECT * FROM pg_temp.why(:'brand', 'B-1', :'approved') WHERE NOT ok;
SELECT postback.create_callback('Late click', 'https://p.example/?x={payout}', type => 'click', publisher => :'forum') AS clicks \gset
SELECT * FROM pg_temp.why(:'brand', 'G-1', :'clicks') WHERE NOT ok;
-- an adjustment fires only what asks for it; goals that are switched off do not narrow
SELECT postback.create_callback('Adjusted', 'https://p.example/?x={payout}', offer => :'shoes', statuses => '{pending}', on_adjust => true) AS adjusted \gset
SELECT postback.create_callback('Pending', 'https://p.example/?x={payout}', offer => :'shoes', statuses => '{pending}') AS pending \gset
SELECT postback.create_callback('Goal', 'https://p.example/?x={payout}', brand => :'elsewhere', goal => 'sale', statuses => '{any}') AS goal \gset
SELECT outcome FROM postback.receive(:'token', 'order=N-1&value=1000&click_id=' || :'click');
SELECT outcome FROM postback.receive(:'token', 'order=N-1&value=900&status=partial');
SELECT * FROM pg_temp.why(:'brand', 'N-1', :'adjusted') WHERE "check" IN ('change', 'deliveries');
SELECT * FROM pg_temp.why(:'brand', 'N-1', :'pending') WHERE "check" IN ('change', 'deliveries');
-- given to a publisher: news
SELECT outcome FROM postback.attribute((SELECT id FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'B-2'), :'click');
SELECT * FROM pg_temp.why(:'brand', 'B-2', :'pending') WHERE "check" IN ('attributed', 'change', 'deliveries');
SELECT outcome FROM postback.receive(:'car_token', 'order=N-2&value=1000&goal=lead&click_id=' || :'car_click');
SELECT * FROM pg_temp.why(:'elsewhere', 'N-2', :'goal') WHERE "check" IN ('goal', 'deliveries');
UPDATE postback.offer SET goals_enabled = true WHERE id = :'cars';
SELECT * FROM pg_temp.why(:'elsewhere', 'N-2', :'goal') WHERE "check" = 'goal';
SELECT * FROM postback.why_not('7ZZZZZZZZZZZZZZZZZZZZZZZZZ', :'goal');
SELECT * FROM postback.why_not((SELECT id FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'N-1'), '7ZZZZZZZZZZZZZZZZZZZZZZZZZ');

-- the rule that explains is the rule that decides: every change of every conversion has the deliveries that the checks say
SELECT c.order_ref, k.name, h.to_status
FROM postback.conversion c
JOIN postback.history h ON h.conversion_id = c.id
CROSS JOIN postback.callback k
WHERE c.brand_id IN (:'brand', :'elsewhere') AND k.created <= postback.ulid_time(h.id) AND k.brand_id IN (:'brand', :'elsewhere')
  AND k.name IN ('Approved', 'Leads', 'Fraud', 'Off', 'Adjusted', 'Pending', 'Other')
  AND (SELECT bool_and(x.ok) FROM postback.callback_checks(c.id, k.id, h.id) x)
      <> EXISTS (SELECT FROM postback.delivery d WHERE d.conversion_id = c.id AND d.callback_id = k.id AND d.id > h.id
                  AND d.status = CASE h.to_status WHEN 'reversed' THEN 'rejected' ELSE h.to_status END
                  AND d.payout IS NOT DISTINCT FROM h.to_commission);

-- who may ask: operators all of it; readers why a callback that they see did not fire for a conversion that they see
SET ROLE postback_operator;
SELECT count(*) > 10 AS explained FROM postback.explain(:'first');
SELECT count(*) > 10 AS simulated FROM postback.simulate(:'token', 'reference=O-1&value=1');
SELECT outcome FROM postback.replay(:'first') WHERE step = 'answer';
SELECT count(*) FROM postback.why_not((SELECT id FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'A-1'), :'approved');
RESET ROLE;
CREATE ROLE explain_reader IN ROLE postback_reader;
INSERT INTO postback.reader_scope (role, brand_id) VALUES ('explain_reader', :'elsewhere');
SELECT id AS conversion FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'A-1' \gset
SELECT id AS car_conversion FROM postback.conversion WHERE brand_id = :'elsewhere' AND order_ref = 'N-2' \gset
SET ROLE explain_reader;
\set VERBOSITY sqlstate
SELECT count(*) FROM postback.why_not(:'car_conversion', :'goal');
SELECT count(*) FROM postback.why_not(:'conversion', :'goal');
SELECT count(*) FROM postback.why_not(:'car_conversion', :'approved');
SELECT * FROM postback.explain(:'first');
SELECT * FROM postback.simulate(:'token', 'reference=O-1&value=1');
SELECT * FROM postback.replay(:'first');
SELECT * FROM postback.receipt_request(:'first');
RESET ROLE;
DELETE FROM postback.reader_scope WHERE role = 'explain_reader';
DROP ROLE explain_reader;
