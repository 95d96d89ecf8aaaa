-- Changes of conversions by plain SQL and by staff: an allowed one has every effect, a forbidden one is an error that names
-- the way. 10 % commission, a fee of 35 % of it: 10.00 EUR pay 1.00 and cost 0.35.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';

SELECT postback.create_brand('Transitions', 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/', hold => '3 days') AS offer \gset
SELECT postback.create_publisher('Transitions blog') AS publisher \gset
SELECT postback.set_terms(:'offer', percent => 10) AS terms \gset
SELECT code FROM postback.create_link(:'offer', :'publisher') \gset
SELECT click_id AS click FROM postback.click(:'code', 'sub_id=s1') \gset
SELECT postback.create_callback('Transitions', 'https://p.example/?s={status}&p={payout}&d={delta_payout}&n={seq}', brand => :'brand', statuses => '{any}') AS callback \gset
SELECT set_config('transitions.brand', :'brand', false) IS NOT NULL AS brand, set_config('transitions.token', :'token', false) IS NOT NULL AS token;

CREATE FUNCTION pg_temp.make(ref text, query text DEFAULT 'value=1000') RETURNS postback.ulid LANGUAGE sql AS $$
    SELECT (postback.receive(current_setting('transitions.token'), format('order=%s&%s', ref, query))).conversion_id
$$;
CREATE FUNCTION pg_temp.id(ref text) RETURNS postback.ulid LANGUAGE sql AS $$
    SELECT id FROM postback.conversion WHERE brand_id = current_setting('transitions.brand')::postback.ulid AND order_ref = ref
$$;
-- All that followed from the changes of an order after it was made.
CREATE FUNCTION pg_temp.effects(ref text) RETURNS TABLE (what text, detail text) LANGUAGE sql AS $$
    SELECT 'conversion', concat_ws(' ', status, value, commission, fee, 'reason=' || reason, 'notice=' || notice) FROM postback.conversion WHERE id = pg_temp.id(ref)
    UNION ALL
    (SELECT 'history', concat_ws(' ', from_status || ' -> ' || to_status, from_value || ' -> ' || to_value, from_commission || ' -> ' || to_commission,
                                 from_fee || ' -> ' || to_fee, actor, CASE WHEN role = session_user THEN 'role' END, 'reason=' || reason, 'notice=' || notice)
     FROM postback.history WHERE conversion_id = pg_temp.id(ref) AND from_status IS NOT NULL ORDER BY id)
    UNION ALL
    (SELECT 'ledger', concat_ws(' ', kind, from_account || ' -> ' || to_account, amount, currency)
     FROM postback.ledger WHERE conversion_id = pg_temp.id(ref) AND kind NOT LIKE '%\_held' ORDER BY id)
    UNION ALL
    (SELECT 'delivery', concat_ws(' ', url, state, CASE WHEN q.delivery_id IS NOT NULL THEN 'in the queue' END)
     FROM postback.delivery d LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id
     WHERE d.conversion_id = pg_temp.id(ref) AND d.seq > 1 ORDER BY d.id)
$$;
-- What a change is refused with.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS TABLE (refusal text) LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN QUERY SELECT 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN QUERY SELECT regexp_replace(line, '[0-9A-HJKMNP-TV-Z]{26}', 'ID', 'g')
                 FROM unnest(ARRAY[SQLSTATE || ' ' || message, 'DETAIL ' || nullif(detail, ''), 'HINT ' || nullif(hint, '')]) line WHERE line IS NOT NULL;
END
$$;

-- approved, reversed, lowered: history, ledger and deliveries each
SELECT count(pg_temp.make(ref)) FROM unnest('{U-1,U-2,U-3,U-4,U-5}'::text[]) AS k (ref);
UPDATE postback.conversion SET status = 'approved' WHERE id = pg_temp.id('U-1');
SELECT * FROM pg_temp.effects('U-1');
UPDATE postback.conversion SET status = 'reversed', reason = 'fraud', notice = 'by hand' WHERE id = pg_temp.id('U-2');
SELECT * FROM pg_temp.effects('U-2');
UPDATE postback.conversion SET value = 405 WHERE id = pg_temp.id('U-3');
SELECT * FROM pg_temp.effects('U-3');
-- two at once
UPDATE postback.conversion SET value = 400, status = 'approved' WHERE id = pg_temp.id('U-4');
SELECT * FROM pg_temp.effects('U-4');
UPDATE postback.conversion SET value = 400, status = 'reversed' WHERE id = pg_temp.id('U-5');
SELECT * FROM pg_temp.effects('U-5');
SELECT * FROM postback.audit();

-- nothing changes: nothing follows; a notice is noted; a hold can be set
SELECT pg_temp.make('N-1') IS NOT NULL AS made;
UPDATE postback.conversion SET status = status, value = value WHERE id = pg_temp.id('N-1');
UPDATE postback.conversion SET hold_until = '2030-01-01 00:00:00+00' WHERE id = pg_temp.id('N-1');
SELECT * FROM pg_temp.effects('N-1');
SELECT hold_until FROM postback.conversion WHERE id = pg_temp.id('N-1');
UPDATE postback.conversion SET notice = 'looked at' WHERE id = pg_temp.id('N-1');
SELECT * FROM pg_temp.effects('N-1');

-- what is refused, and what to do instead
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'reversed' WHERE id = pg_temp.id('U-1')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'pending' WHERE id = pg_temp.id('U-1')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'pending' WHERE id = pg_temp.id('U-2')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'approved' WHERE id = pg_temp.id('U-2')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'done' WHERE id = pg_temp.id('U-3')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET value = 406 WHERE id = pg_temp.id('U-3')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET value = -1 WHERE id = pg_temp.id('U-3')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET value = 1 WHERE id = pg_temp.id('U-1')$$) r;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET value = 1 WHERE id = pg_temp.id('U-2')$$) r;
SELECT left(r.refusal, 5) AS sqlstate FROM pg_temp.refusal($$UPDATE postback.conversion SET status = NULL WHERE id = pg_temp.id('U-3')$$) r LIMIT 1;
SELECT left(r.refusal, 5) AS sqlstate FROM pg_temp.refusal($$UPDATE postback.conversion SET value = NULL WHERE id = pg_temp.id('U-3')$$) r LIMIT 1;
-- one that may not be takes back the whole statement
SELECT pg_temp.make('N-2') IS NOT NULL AS made;
SELECT left(r.refusal, 5) AS sqlstate
FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'reversed' WHERE id IN (pg_temp.id('N-2'), pg_temp.id('U-1'))$$) r LIMIT 1;
SELECT * FROM pg_temp.effects('N-2');

-- every other column stays what it is
CREATE FUNCTION pg_temp.changeable() RETURNS SETOF name LANGUAGE plpgsql AS $$
DECLARE
    a record;
BEGIN
    FOR a IN SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
             WHERE attrelid = 'postback.conversion'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'updated_at' ORDER BY attnum LOOP
        BEGIN
            EXECUTE format('UPDATE postback.conversion SET %I = %s WHERE id = pg_temp.id(''N-2'')', a.attname, CASE
                WHEN a.attname = 'status' THEN $q$'reversed'$q$
                WHEN a.attname = 'value' THEN 'value - 1'
                WHEN a.attname = 'attribution' THEN $q$'promo_code'$q$
                WHEN a.attname = 'fee_of' THEN $q$'value'$q$
                WHEN a.type = 'boolean' THEN 'NOT ' || quote_ident(a.attname)
                WHEN a.type = 'text' THEN $q$'USD'$q$
                WHEN a.type = 'text[]' THEN $q$'{x}'$q$
                WHEN a.type = 'postback.ulid' THEN 'postback.new_ulid()'
                WHEN a.type LIKE 'timestamp%' THEN $q$now() - interval '1 s'$q$
                ELSE format('coalesce(%I, 0) + 1', a.attname) END);
            RETURN NEXT a.attname;
            RAISE EXCEPTION 'undo';
        EXCEPTION
            WHEN raise_exception THEN NULL;
            WHEN object_not_in_prerequisite_state THEN NULL;
        END;
    END LOOP;
END
$$;
SELECT * FROM pg_temp.changeable();
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET commission = 0 WHERE id = pg_temp.id('N-2')$$) r;

-- without a price
SELECT pg_temp.make('N-3', 'value=1000&currency=VUV') IS NOT NULL AS made;
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'approved' WHERE id = pg_temp.id('N-3')$$) r;
UPDATE postback.conversion SET value = 500 WHERE id = pg_temp.id('N-3');
UPDATE postback.conversion SET status = 'reversed' WHERE id = pg_temp.id('N-3');
SELECT * FROM pg_temp.effects('N-3') WHERE what <> 'delivery';

-- test orders: reopened by plain SQL too, with a new hold, without the reason, and without the ledger
SELECT pg_temp.make('TEST-T') IS NOT NULL AS made;
UPDATE postback.conversion SET status = 'reversed', reason = 'tried', hold_until = now() - interval '1 day' WHERE id = pg_temp.id('TEST-T');
UPDATE postback.conversion SET status = 'pending' WHERE id = pg_temp.id('TEST-T');
SELECT hold_until BETWEEN now() + interval '2 days 23 hours' AND now() + interval '3 days' AS offers_hold FROM postback.conversion WHERE id = pg_temp.id('TEST-T');
UPDATE postback.conversion SET status = 'approved' WHERE id = pg_temp.id('TEST-T');
SELECT * FROM pg_temp.effects('TEST-T');
SELECT r.* FROM pg_temp.refusal($$UPDATE postback.conversion SET status = 'reversed' WHERE id = pg_temp.id('TEST-T')$$) r;

-- more than work_mem holds is read from disk
BEGIN;
SET LOCAL work_mem = '64kB';
SELECT count(pg_temp.make('W-' || n)) FROM generate_series(1, 5) n;
UPDATE postback.conversion SET status = 'approved', notice = repeat(order_ref, 100000) WHERE brand_id = :'brand' AND order_ref LIKE 'W-%';
SELECT c.order_ref, h.to_status, h.notice = c.notice AS noticed FROM postback.conversion c JOIN postback.history h ON h.conversion_id = c.id
WHERE c.brand_id = :'brand' AND c.order_ref LIKE 'W-%' AND h.from_status IS NOT NULL ORDER BY 1;
ROLLBACK;

-- some thousands at once: one of them is lowered and approved, one only lowered, one reversed
SELECT count(*) FILTER (WHERE r.outcome = 'created') AS created
FROM (SELECT array_agg(n) AS items, array_agg(:'token'::text) AS tokens, array_agg('GET'::text) AS methods,
             array_agg(format('order=L-%s&value=1000', n)) AS queries, array_agg(NULL::text) AS none, array_agg(NULL::inet) AS remotes
      FROM generate_series(1, 3500) n) k
CROSS JOIN LATERAL postback.receive_batch(k.items, k.tokens, k.methods, k.queries, k.none, k.none, k.remotes) r;
UPDATE postback.conversion SET status = CASE order_ref WHEN 'L-1' THEN 'pending' WHEN 'L-2' THEN 'reversed' ELSE 'approved' END,
                               value = CASE WHEN order_ref IN ('L-1', 'L-3') THEN 400 ELSE value END
WHERE brand_id = :'brand' AND order_ref LIKE 'L-%';
SELECT status, value, commission, fee, count(*) FROM postback.conversion WHERE brand_id = :'brand' AND order_ref LIKE 'L-%' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2;
SELECT h.from_status, h.to_status, h.from_value, h.to_value, h.to_commission, h.actor, count(*), count(DISTINCT h.conversion_id) AS conversions
FROM postback.conversion c JOIN postback.history h ON h.conversion_id = c.id
WHERE c.brand_id = :'brand' AND c.order_ref LIKE 'L-%' GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1 NULLS FIRST, 2, 3, 4;

-- who changes one of them reads that one, not the thousands
CREATE FUNCTION pg_temp.conversions_read(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before bigint := (SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'postback.conversion'::regclass);
BEGIN
    EXECUTE format(statement, pg_temp.id('L-10'));
    RETURN (SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'postback.conversion'::regclass) - before;
END
$$;
BEGIN;
SELECT n, pg_temp.conversions_read(statement) BETWEEN 1 AND 20 AS few
FROM (VALUES (1, 'SELECT postback.reverse(%L)'), (2, 'SELECT postback.reopen(%L)'), (3, 'SELECT postback.adjust(%L, 900)'), (4, 'SELECT postback.approve(%L)'),
             (5, 'SELECT postback.attribute(%L, postback.new_ulid())'), (6, 'UPDATE postback.conversion SET notice = ''x'' WHERE id = %L'),
             (7, format('SELECT postback.receive(%L, ''order=L-10&status=approved'')', :'token')),
             (8, format('SELECT postback.reconcile(%L, rows => ''[{"order": "L-10", "status": "reversed"}]'', apply => true, claw_back => true)', :'brand')))
    AS k (n, statement) ORDER BY n;
ROLLBACK;
SELECT l.kind, l.amount, count(*)
FROM postback.conversion c JOIN postback.ledger l ON l.conversion_id = c.id
WHERE c.brand_id = :'brand' AND c.order_ref LIKE 'L-%' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT d.status, d.seq, d.payout, count(*), count(q.delivery_id) AS queued
FROM postback.conversion c JOIN postback.delivery d ON d.conversion_id = c.id LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id
WHERE c.brand_id = :'brand' AND c.order_ref LIKE 'L-%' GROUP BY 1, 2, 3 ORDER BY 2, 1, 3;
SELECT * FROM postback.audit();

-- staff: approve
CREATE FUNCTION pg_temp.answer(r postback.reply) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.http_status, r.outcome, r.parameter, r.warning, r.status, r.value, r.commission, r.fee)
$$;
SELECT count(pg_temp.make(ref)) FROM unnest('{S-1,S-2,S-3}'::text[]) AS k (ref);
SELECT pg_temp.answer(r) FROM postback.approve(conversion => pg_temp.id('S-1'), notice => 'early') r;
SELECT pg_temp.answer(r) FROM postback.approve(pg_temp.id('S-1')) r;
SELECT * FROM pg_temp.effects('S-1');
-- reverse: a pending one is refunded, an approved one clawed back, even if it was paid out
SELECT pg_temp.answer(r) FROM postback.reverse(conversion => pg_temp.id('S-2'), reason => 'returned', notice => 'all of it') r;
SELECT pg_temp.answer(r) FROM postback.reverse(pg_temp.id('S-2')) r;
SELECT * FROM pg_temp.effects('S-2');
SELECT amount AS payable FROM postback.balances WHERE brand_id = :'brand' AND account = 'payable' \gset
SELECT postback.book_payout(:'brand', :'publisher', :payable, reference => 'PAY-1') IS NOT NULL AS paid_out;
SELECT pg_temp.answer(r) FROM postback.reverse(pg_temp.id('S-1'), 'fraud') r;
SELECT * FROM pg_temp.effects('S-1');
SELECT amount AS payable_after FROM postback.balances WHERE brand_id = :'brand' AND account = 'payable';
SELECT * FROM postback.audit();
-- reopen: pending again with a new hold and without the reason; then its money is held again
SELECT pg_temp.answer(r) FROM postback.reopen(pg_temp.id('S-1'), notice => 'mistaken') r;
SELECT pg_temp.answer(r) FROM postback.reopen(pg_temp.id('S-1')) r;
SELECT * FROM pg_temp.effects('S-1');
SELECT kind, count(*), sum(amount) FROM postback.ledger WHERE conversion_id = pg_temp.id('S-1') GROUP BY 1 ORDER BY 1;
SELECT pg_temp.answer(r) FROM postback.approve(pg_temp.id('S-1')) r;
SELECT pg_temp.answer(r) FROM postback.reopen(pg_temp.id('S-1')) r;
SELECT pg_temp.answer(r) FROM postback.approve(pg_temp.id('S-2')) r;
-- adjust: lower or higher while it is pending
SELECT pg_temp.answer(r) FROM postback.adjust(conversion => pg_temp.id('S-3'), value => 400) r;
SELECT pg_temp.answer(r) FROM postback.adjust(pg_temp.id('S-3'), 3000, notice => 'a larger one') r;
SELECT pg_temp.answer(r) FROM postback.adjust(pg_temp.id('S-3'), 3000) r;
SELECT pg_temp.answer(r) FROM postback.adjust(pg_temp.id('S-3'), -1) r;
SELECT pg_temp.answer(r) FROM postback.adjust(pg_temp.id('S-3'), 1000000000000001) r;
SELECT pg_temp.answer(r) FROM postback.adjust(pg_temp.id('S-1'), 400) r;
SELECT * FROM pg_temp.effects('S-3');
SELECT kind, amount FROM postback.ledger WHERE conversion_id = pg_temp.id('S-3') ORDER BY id;
-- attribute: what came without a click that counts is given to one, while it is pending
SELECT warning FROM postback.receive(:'token', 'order=S-5&value=1000&click_id=nonsense');
SELECT hold_until - created_at AS brands_hold FROM postback.conversion WHERE id = pg_temp.id('S-5');
SELECT pg_temp.answer(r), r.attribution FROM postback.attribute(conversion => pg_temp.id('S-5'), click => :'click') r;
SELECT hold_until - created_at AS offers_hold FROM postback.conversion WHERE id = pg_temp.id('S-5');
SELECT * FROM pg_temp.effects('S-5');
SELECT click_id = :'click' AS click, publisher_id = :'publisher' AS publisher, attribution, sub_id FROM postback.conversion WHERE id = pg_temp.id('S-5');
SELECT kind, amount FROM postback.ledger WHERE conversion_id = pg_temp.id('S-5') ORDER BY id;
SELECT url FROM postback.delivery WHERE conversion_id = pg_temp.id('S-5') ORDER BY id;
SELECT pg_temp.answer(r) FROM postback.attribute(pg_temp.id('S-5'), :'click') r;
SELECT pg_temp.answer(r) FROM postback.attribute(pg_temp.id('S-1'), :'click') r;
SELECT warning FROM postback.receive(:'token', 'order=S-6&value=1000&click_id=nonsense');
SELECT pg_temp.answer(r) FROM postback.attribute(pg_temp.id('S-6'), '00000000000000000000000001') r;
UPDATE postback.conversion SET status = 'reversed' WHERE id = pg_temp.id('S-6');
SELECT pg_temp.answer(r) FROM postback.attribute(pg_temp.id('S-6'), :'click') r;
-- one that there is not; approving without a price
SELECT pg_temp.answer(r) FROM postback.approve('00000000000000000000000001') r;
SELECT pg_temp.answer(r) FROM postback.reverse('00000000000000000000000001') r;
SELECT pg_temp.make('S-7', 'value=1000&currency=VUV') IS NOT NULL AS made;
SELECT pg_temp.answer(r) FROM postback.approve(pg_temp.id('S-7')) r;

-- the triggers read columns by their place: on another table, be it of that name, they refuse instead of crashing
SET client_min_messages = error;
SELECT format('CREATE TEMP TABLE %s (%s)', relname, string_agg(quote_ident(attname) || ' integer DEFAULT 1', ', ' ORDER BY attnum))
FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
WHERE c.oid IN ('postback.conversion'::regclass, 'postback.callback'::regclass) AND attnum > 0 GROUP BY relname ORDER BY relname
\set ECHO none
\gexec
\set ECHO all
INSERT INTO pg_temp.conversion DEFAULT VALUES;
INSERT INTO pg_temp.callback DEFAULT VALUES;
CREATE TRIGGER elsewhere BEFORE UPDATE ON pg_temp.conversion FOR EACH ROW EXECUTE FUNCTION postback.conversion_check();
UPDATE pg_temp.conversion SET value = 2;
CREATE TRIGGER elsewhere BEFORE UPDATE ON pg_temp.callback FOR EACH ROW EXECUTE FUNCTION postback.callback_check();
UPDATE pg_temp.callback SET url = 2;
DROP TABLE pg_temp.conversion, pg_temp.callback;

-- Somebody's trigger that reads the changed rows before ours does takes none of the effects away.
CREATE FUNCTION pg_temp.watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% before, % after', (SELECT string_agg(status, ' ') FROM gone), (SELECT string_agg(status, ' ') FROM come);
    RETURN NULL;
END
$$;
CREATE TRIGGER a_watch AFTER UPDATE ON postback.conversion REFERENCING OLD TABLE AS gone NEW TABLE AS come
    FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.watch();
SELECT pg_temp.make('watched') IS NOT NULL AS made;
UPDATE postback.conversion SET status = 'approved' WHERE id = pg_temp.id('watched');
DROP TRIGGER a_watch ON postback.conversion;
SELECT * FROM pg_temp.effects('watched');

DELETE FROM postback.callback WHERE brand_id = :'brand';
SELECT * FROM postback.audit();

-- What a search_path finds changes nothing: 10.00 lowered to 9.00 pay 0.90 and cost 0.32, not nothing for want of the terms.
SELECT pg_temp.make('path') AS path \gset
CREATE SCHEMA regress_evil;
CREATE FUNCTION regress_evil.never(postback.ulid, postback.ulid) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN false;
CREATE OPERATOR regress_evil.= (LEFTARG = postback.ulid, RIGHTARG = postback.ulid, FUNCTION = regress_evil.never);
\c
SET search_path = regress_evil, pg_catalog;
UPDATE postback.conversion SET value = 900 WHERE id OPERATOR(pg_catalog.=) :'path' RETURNING value, commission, fee;
RESET search_path;
SELECT * FROM postback.audit();
DROP SCHEMA regress_evil CASCADE;
