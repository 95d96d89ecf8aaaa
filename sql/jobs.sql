-- What cron runs: approvals when the hold is over, balances, parked follow-ups; and how it is scheduled.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT postback.create_brand(name => 'Jobs', currency => 'EUR') AS brand \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_offer(:'brand', 'Without terms', 'https://shop.example/') AS unpriced_offer \gset
SELECT postback.create_publisher('Blog') AS publisher \gset
SELECT postback.set_terms(offer => :'offer', percent => 10) IS NOT NULL AS terms;
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT click_id FROM postback.click((SELECT code FROM postback.create_link(:'offer', :'publisher'))) \gset
SELECT click_id AS unpriced_click FROM postback.click((SELECT code FROM postback.create_link(:'unpriced_offer', :'publisher'))) \gset

CREATE FUNCTION pg_temp.send(token text, query text) RETURNS text LANGUAGE sql AS
    $$ SELECT outcome FROM postback.receive(token, query) $$;
CREATE VIEW pg_temp.mine AS
    SELECT c.order_ref, c.status, c.commission, c.fee FROM postback.conversion c JOIN postback.brand b ON b.id = c.brand_id
    WHERE b.name = 'Jobs' AND c.brand_id = (SELECT max(id) FROM postback.brand WHERE name = 'Jobs');

-- seven orders of 10.00: 1.00 of commission and 0.35 of fee each; one has no price, one nobody to pay, one is a test
SELECT n, pg_temp.send(:'token', format('order=J%s&value=1000&click_id=%s', n, :'click_id')) FROM generate_series(1, 7) n;
SELECT pg_temp.send(:'token', 'order=UNPRICED&value=1000&click_id=' || :'unpriced_click');
SELECT pg_temp.send(:'token', 'order=NOBODY&value=1000&click_id=clk_00000000000000000000000001');
SELECT pg_temp.send(:'token', 'order=TEST-1&value=1000&click_id=' || :'click_id');

-- not before the hold is over (of this test's orders: the first call approves what others left)
CALL postback.approve_due();
SELECT status, count(*) FROM pg_temp.mine GROUP BY status;

-- over for all but one; the unpriced one's is over longest
UPDATE postback.conversion SET hold_until = CASE order_ref WHEN 'J7' THEN now() + interval '1 hour' WHEN 'UNPRICED' THEN now() - interval '1 day'
                                                           ELSE now() - interval '1 minute' END
WHERE brand_id = :'brand';
CALL postback.approve_due(chunk => 1);
SELECT order_ref, status, commission, fee FROM pg_temp.mine ORDER BY order_ref;
SELECT actor, count(*), count(DISTINCT xmin::text) AS transactions FROM postback.history
WHERE brand_id = :'brand' AND to_status = 'approved' GROUP BY actor;
SELECT account, amount FROM postback.balances WHERE brand_id = :'brand' AND amount <> 0 ORDER BY account;
SELECT * FROM postback.audit();
-- again, with nothing left to do
CALL postback.approve_due();
SELECT status, count(*) FROM pg_temp.mine GROUP BY status ORDER BY status;

-- it reads an index that unpriced conversions are not in
SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = 'postback.conversion_due_idx'::regclass;

-- a conversion that cannot be approved does not stop the others
SELECT n, pg_temp.send(:'token', format('order=K%s&value=1000&click_id=%s', n, :'click_id')) FROM generate_series(1, 3) n;
UPDATE postback.conversion SET hold_until = now() WHERE brand_id = :'brand' AND order_ref LIKE 'K%';
CREATE FUNCTION public.refuse_k2() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.order_ref = 'K2' THEN
        RAISE 'K2 is not to be approved';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_k2 BEFORE UPDATE ON postback.conversion FOR EACH ROW EXECUTE FUNCTION public.refuse_k2();
SET client_min_messages = error;
CALL postback.approve_due();
SET client_min_messages = warning;
SELECT order_ref, status FROM pg_temp.mine WHERE order_ref LIKE 'K%' ORDER BY order_ref;
DROP TRIGGER refuse_k2 ON postback.conversion;
DROP FUNCTION public.refuse_k2();
CALL postback.approve_due();
SELECT order_ref, status FROM pg_temp.mine WHERE order_ref LIKE 'K%' ORDER BY order_ref;

CALL postback.approve_due(chunk => 0);
BEGIN;
UPDATE postback.conversion SET hold_until = now() WHERE brand_id = :'brand' AND order_ref = 'J7';
CALL postback.approve_due();
ROLLBACK;

-- balances: one row per account afterwards, with the same sums
CREATE TEMP TABLE before AS SELECT * FROM postback.balances WHERE amount <> 0;
SELECT count(*) > 4 AS several FROM postback.balance WHERE brand_id = :'brand';
SELECT postback.fold_balances() > 0 AS folded;
SELECT account, amount FROM postback.balance WHERE brand_id = :'brand' ORDER BY account;
TABLE before EXCEPT SELECT * FROM postback.balances;
SELECT * FROM postback.balances WHERE amount <> 0 EXCEPT TABLE before;
SELECT postback.fold_balances();
-- an account whose rows cancel out needs none
BEGIN;
INSERT INTO postback.balance (brand_id, account, currency, amount)
SELECT :'brand', 'topup', 'EUR', a FROM unnest('{5,-5}'::bigint[]) a;
SELECT postback.fold_balances();
SELECT count(*) FROM postback.balance WHERE brand_id = :'brand' AND account = 'topup';
ROLLBACK;

-- parked follow-ups: those whose time is over
SELECT postback.expire_parked() >= 0 AS called;
SELECT pg_temp.send(:'token', 'order=EARLY&status=approved');
SELECT pg_temp.send(:'token', 'order=EARLIER&status=reversed');
SELECT pg_temp.send(:'token', 'order=UNPRICED&status=approved');
SELECT postback.expire_parked();
UPDATE postback.parked SET expires_at = now() WHERE brand_id = :'brand' AND order_ref = 'EARLIER';
SELECT postback.expire_parked();
SELECT order_ref, expires_at = 'infinity' AS for_ever FROM postback.parked WHERE brand_id = :'brand' ORDER BY order_ref;

-- scheduling: pg_cron must be in this database
DROP EXTENSION IF EXISTS pg_cron;
SELECT postback.schedule_jobs();
CREATE EXTENSION pg_cron;
SELECT * FROM postback.schedule_jobs();
SELECT count(*) FROM postback.schedule_jobs();
SELECT jobname, schedule, command, active, database = current_database() AS here FROM cron.job ORDER BY jobname;
-- another user's jobs of the same name are replaced
UPDATE cron.job SET username = 'pg_monitor' WHERE jobname = 'postback_approve_due';
SELECT count(*) FROM postback.schedule_jobs();
SELECT jobname, username = current_user AS mine FROM cron.job ORDER BY jobname;
SELECT postback.unschedule_jobs();
SELECT postback.unschedule_jobs();
DROP EXTENSION pg_cron;

SELECT * FROM postback.audit();

-- What a search_path finds does not stop the approvals.
CREATE SCHEMA regress_evil;
CREATE DOMAIN regress_evil.timestamptz AS text;
CREATE DOMAIN regress_evil.text AS integer;
CREATE DOMAIN regress_evil.xid8 AS integer;
\c
SET client_min_messages = warning;
SET search_path = regress_evil, pg_catalog;
CALL postback.approve_due();
RESET search_path;
DROP SCHEMA regress_evil CASCADE;
