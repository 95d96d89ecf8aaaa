-- Row-level security as a whole: through every relation and function that a reader may use, a reader of a brand or of a
-- publisher sees what the owner would see if the database held that brand's or publisher's rows and no others. That is how it is
-- tried: the others' rows are deleted, the owner looks, and all is rolled back. The rows of other tests are other tenants too.
\set SHOW_CONTEXT never
SET client_min_messages = error;
SET timezone = 'UTC';

-- Two brands, each with both publishers, and a bit of everything for each pair.
SELECT postback.create_brand('Mine of tenants', 'EUR') AS mine, postback.create_brand('Theirs of tenants', 'EUR') AS theirs \gset
SELECT postback.create_publisher('Blog of tenants') AS blog, postback.create_publisher('Forum of tenants') AS forum \gset
CREATE FUNCTION pg_temp.trade(b postback.ulid, p postback.ulid, code text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    token text := (SELECT t.token FROM postback.issue_token(b, hmac_secret => NULL) t);
    name text := b || ' with ' || p;
    offer postback.ulid := postback.create_offer(b, 'Offer of ' || name, 'https://shop.example/' || p);
    link text := (SELECT k.code FROM postback.create_link(offer, p) k);
    click postback.ulid;
BEGIN
    UPDATE postback.brand SET keep_click_details = true WHERE id = b;
    PERFORM postback.create_goal(offer, 'Lead');
    PERFORM postback.set_terms(offer, percent => 10);
    PERFORM postback.set_terms(offer, publisher => p, percent => 11);
    PERFORM postback.create_promo_code(b, code || p, p, offer => offer);
    PERFORM postback.create_callback('Of both ' || name, 'https://p.example/both?c={click_id}', offer => offer, publisher => p, statuses => '{any}',
        include_test => true, auth => '{"type":"bearer","token":"t"}', secret => 'c2VjcmV0');
    PERFORM postback.create_callback('Of the brand ' || name, 'https://p.example/brand?key=k3y', brand => b, statuses => '{any}');
    PERFORM postback.create_callback('Of a third party ' || name, 'https://p.example/third', offer => offer, statuses => '{any}', method => 'POST_JSON',
        params => '{"key": "k3y"}', headers => '{"X-Key": "k3y"}');
    PERFORM postback.create_callback('Of all ' || name, 'https://p.example/all', statuses => '{any}', headers => '{"X-Key": "k3y"}');
    PERFORM postback.create_callback('Of the publisher ' || name, 'https://p.example/publisher', publisher => p, statuses => '{any}');
    PERFORM postback.create_callback('Of events ' || name, 'https://p.example/event', type => 'event', offer => offer);
    SELECT c.click_id INTO click FROM postback.click(link, 'sub_id=' || p, remote => '192.0.2.1', user_agent => 'A') c;
    PERFORM postback.receive(token, format('order=A-%s&value=1000&goal=Lead&click_id=%s', p, click));
    PERFORM postback.receive(token, format('order=A-%s&status=approved', p));
    PERFORM postback.receive(token, format('order=B-%s&value=2000&click_id=%s&notice=of+%s', p, click, p));
    PERFORM postback.receive(token, format('order=B-%s&status=reversed&reason=fraud', p));
    PERFORM postback.receive(token, format('order=%s-%s&value=3000&coupon=%s%s', code, p, code, p));
    PERFORM postback.receive(token, format('order=TEST-%s&value=10&click_id=%s', p, click));
    PERFORM postback.receive(token, format('order=N-%s&value=10&click_id=none', p));
    PERFORM postback.receive(token, format('order=E-%s&status=approved', p));
    PERFORM postback.receive(token, format('order=%s&value=x', p));
    PERFORM postback.receive(token, format('event=signup&order=S-%s&click_id=%s', p, click));
    PERFORM postback.book_payout(b, p, 5);
    PERFORM postback.top_up(b, 100);
END
$$;
SELECT count(pg_temp.trade(b, p, 'EARLY')) FROM unnest(ARRAY[:'mine', :'theirs']) b, unnest(ARRAY[:'blog', :'forum']) p;
-- some attempts, with answers
SELECT count(postback.settle('t', ARRAY[c.delivery_id], ARRAY[c.attempt_id], '{response}', ARRAY[CASE WHEN c.url ~ 'both' THEN 200 ELSE 500 END], '{NULL}', '{NULL}', '{7}', '{192.0.2.9}',
                             ARRAY['answer to ' || c.delivery_id])) > 0 AS settled
FROM postback.claim('t', 1000) c;
-- half of the daily figures rolled up, half still to come
DO $$
DECLARE
    last postback.ulid := (SELECT max(h.id) FROM postback.history h);
BEGIN
    FOR i IN 1 .. 300 LOOP
        PERFORM postback.roll_up();
        EXIT WHEN (SELECT m.upto > last FROM postback.daily_mark m);
        PERFORM pg_sleep(0.1);
    END LOOP;
END
$$;
SELECT count(DISTINCT (v.brand_id, v.publisher_id)) AS visitors_of_pairs FROM postback.daily_visitor v WHERE v.brand_id IN (:'mine', :'theirs');
SELECT count(pg_temp.trade(b, p, 'LATE')) FROM unnest(ARRAY[:'mine', :'theirs']) b, unnest(ARRAY[:'blog', :'forum']) p;
SELECT count(*) > 0 AS not_rolled_up FROM postback.daily_tail() t WHERE t.brand_id = :'mine';

CREATE ROLE regress_brand IN ROLE postback_reader;
CREATE ROLE regress_publisher IN ROLE postback_reader;
CREATE ROLE regress_unscoped IN ROLE postback_reader;
INSERT INTO postback.reader_scope (role, brand_id) VALUES ('regress_brand', :'mine'), ('somebody', :'theirs');
INSERT INTO postback.reader_scope (role, publisher_id) VALUES ('regress_publisher', :'blog'), ('somebody', :'forum');

-- Everything that a reader may look at, of each relation the columns that it may.
CREATE FUNCTION pg_temp.readable() RETURNS TABLE (relation text, columns text) LANGUAGE sql STABLE AS $$
    SELECT format('postback.%I', c.relname), string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'postback'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
      AND has_column_privilege('postback_reader', c.oid, a.attnum, 'SELECT')
    GROUP BY c.oid, c.relname
$$;
CREATE FUNCTION pg_temp.look(accounts text[]) RETURNS TABLE (what text, rows bigint, seen text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT relation, format('SELECT %s FROM %s', columns, relation) AS query FROM pg_temp.readable()
        UNION ALL
        SELECT 'statement of ' || a, format('SELECT * FROM postback.ledger_statement(%L)', a) FROM unnest(accounts) a
        UNION ALL
        SELECT 'why_not', 'SELECT c.id, k.id, w.* FROM postback.conversion c, postback.callback k, LATERAL postback.why_not(c.id, k.id) w'
    LOOP
        what := r.relation;
        EXECUTE format('SELECT count(*), md5(string_agg(x::text, E''\n'' ORDER BY x::text COLLATE "C")) FROM (%s) x', r.query) INTO rows, seen;
        RETURN NEXT;
    END LOOP;
END
$$;

-- As a reader of a brand.
BEGIN;
SET LOCAL ROLE regress_brand;
CREATE TEMP TABLE seen AS SELECT * FROM pg_temp.look('{available,held,payable,fees,topup,payout}');
RESET ROLE;
SET LOCAL session_replication_role = replica; -- deletes nothing but what is said
SELECT set_config('tenants.mine', :'mine', true) IS NOT NULL AS mine;
DELETE FROM postback.publisher WHERE id NOT IN (SELECT l.publisher_id FROM postback.link l WHERE l.brand_id = :'mine');
DELETE FROM postback.brand WHERE id <> :'mine';
DELETE FROM postback.reader_scope WHERE role <> 'regress_brand';
DO $$
DECLARE
    relation text;
BEGIN
    FOR relation IN
        SELECT r.relation FROM pg_temp.readable() r JOIN pg_class c ON c.oid = r.relation::regclass AND c.relkind <> 'v'
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'brand_id'
        WHERE r.relation <> 'postback.reader_scope'
    LOOP
        EXECUTE format('DELETE FROM %s WHERE brand_id IS DISTINCT FROM current_setting(''tenants.mine'')::postback.ulid', relation);
    END LOOP;
END
$$;
SELECT s.what AS differs, s.rows, l.rows AS expected
FROM seen s FULL JOIN pg_temp.look('{available,held,payable,fees,topup,payout}') l USING (what)
WHERE s.seen IS DISTINCT FROM l.seen ORDER BY 1;
-- none of it is for want of rows
SELECT what FROM seen WHERE rows = 0 ORDER BY 1;
ROLLBACK;

-- As a reader of a publisher: of every brand, what is its own; no receipt, and of the statements its own account.
BEGIN;
SET LOCAL ROLE regress_publisher;
CREATE TEMP TABLE seen AS SELECT * FROM pg_temp.look('{payable}');
-- of deliveries about it those of callbacks that it sees: what is told to others, and with which key, is theirs
SELECT d.callback IS NOT NULL AS its_callback, count(*) > 0 AS some,
       count(*) FILTER (WHERE r::text LIKE '%k3y%' OR t::text LIKE '%k3y%') AS keys, count(t.id) > 0 AS attempts
FROM postback.deliveries d JOIN postback.delivery r ON r.id = d.id LEFT JOIN postback.attempts t ON t.delivery_id = d.id GROUP BY 1;
SELECT a AS account, count(s.*) AS lines FROM unnest('{available,held,fees,topup,payout}'::text[]) a LEFT JOIN LATERAL postback.ledger_statement(a) s ON true
GROUP BY a ORDER BY a;
RESET ROLE;
SET LOCAL session_replication_role = replica;
SELECT set_config('tenants.blog', :'blog', true) IS NOT NULL AS blog;
DELETE FROM postback.receipt;
DELETE FROM postback.link WHERE publisher_id <> :'blog';
DELETE FROM postback.brand WHERE id NOT IN (SELECT l.brand_id FROM postback.link l);
DELETE FROM postback.offer WHERE id NOT IN (SELECT l.offer_id FROM postback.link l);
DELETE FROM postback.goal WHERE offer_id NOT IN (SELECT l.offer_id FROM postback.link l);
DELETE FROM postback.publisher WHERE id <> :'blog';
DELETE FROM postback.reader_scope WHERE role <> 'regress_publisher';
DO $$
DECLARE
    relation text;
BEGIN
    FOR relation IN
        SELECT r.relation FROM pg_temp.readable() r JOIN pg_class c ON c.oid = r.relation::regclass AND c.relkind <> 'v'
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'publisher_id'
        WHERE r.relation <> 'postback.reader_scope'
    LOOP
        EXECUTE format('DELETE FROM %s WHERE publisher_id IS DISTINCT FROM current_setting(''tenants.blog'')::postback.ulid', relation);
    END LOOP;
END
$$;
DELETE FROM postback.history WHERE conversion_id NOT IN (SELECT c.id FROM postback.conversion c);
DELETE FROM postback.delivery WHERE callback_id NOT IN (SELECT k.id FROM postback.callback k);
DELETE FROM postback.attempt WHERE delivery_id NOT IN (SELECT d.id FROM postback.delivery d);
-- of a brand's figures its own part, which stands nowhere: it sees the report, not the table
DELETE FROM postback.daily_brand;
INSERT INTO postback.daily_brand
SELECT d.brand_id, d.day, sum(d.clicks), sum(d.unique_clicks), sum(d.pending), sum(d.approved), sum(d.reversed), sum(d.pending_payout), sum(d.pending_fee),
       sum(d.approved_payout), sum(d.approved_fee)
FROM postback.daily d GROUP BY 1, 2;
SELECT s.what AS differs, s.rows, l.rows AS expected
FROM seen s FULL JOIN pg_temp.look('{payable}') l USING (what) WHERE s.seen IS DISTINCT FROM l.seen AND what <> 'postback.daily_brand' ORDER BY 1;
SELECT what FROM seen WHERE rows = 0 ORDER BY 1;
ROLLBACK;

-- Whoever reads the figures of brands, they are those of the offers and publishers that he sees, once.
CREATE ROLE regress_both IN ROLE postback_reader;
CREATE ROLE regress_operator IN ROLE postback_operator, postback_reader;
INSERT INTO postback.reader_scope (role, brand_id) VALUES ('regress_both', :'mine');
INSERT INTO postback.reader_scope (role, publisher_id) VALUES ('regress_both', :'blog'), ('regress_operator', :'blog');
CREATE FUNCTION pg_temp.brands_differ(OUT brands bigint, OUT differ bigint) LANGUAGE sql AS $$
    WITH whole AS (
        SELECT r.day, r.brand_id, r.clicks, r.unique_clicks, r.conversions, r.pending, r.approved, r.rejected, r.payout, r.approved_payout, r.revenue, r.margin
        FROM postback.report_daily_brands r
    ), parts AS (
        SELECT r.day, r.brand_id, sum(r.clicks), sum(r.unique_clicks), sum(r.conversions), sum(r.pending), sum(r.approved), sum(r.rejected), sum(r.payout),
               sum(r.approved_payout), sum(r.revenue), sum(r.margin)
        FROM postback.report_daily r GROUP BY 1, 2
    )
    SELECT count(DISTINCT w.brand_id), (SELECT count(*) FROM ((TABLE whole EXCEPT TABLE parts) UNION ALL (TABLE parts EXCEPT TABLE whole)) x)
    FROM whole w
$$;
GRANT EXECUTE ON FUNCTION pg_temp.brands_differ() TO postback_reader;
-- early and late, one click of each pair
PREPARE clicks AS SELECT r.brand, sum(r.clicks) AS clicks FROM postback.report_daily_brands r WHERE r.brand LIKE '% of tenants' GROUP BY 1 ORDER BY 1;
SET ROLE regress_brand;
EXECUTE clicks;
SELECT brands, differ FROM pg_temp.brands_differ();
SET ROLE regress_publisher;
EXECUTE clicks;
SELECT brands, differ FROM pg_temp.brands_differ();
SET ROLE regress_both;
EXECUTE clicks;
SELECT brands, differ FROM pg_temp.brands_differ();
RESET ROLE;
BEGIN;
DELETE FROM postback.reader_scope WHERE brand_id = :'theirs'; -- of a brand that nobody has for himself too
SET LOCAL ROLE regress_operator;
EXECUTE clicks;
SELECT brands >= 2 AS brands, differ FROM pg_temp.brands_differ();
ROLLBACK;
EXECUTE clicks;
SELECT brands >= 2 AS brands, differ FROM pg_temp.brands_differ();

-- Without a scope: what is nobody's.
SET ROLE regress_unscoped;
SELECT what FROM pg_temp.look('{available,held,payable,fees,topup,payout}') WHERE rows > 0 ORDER BY 1;
RESET ROLE;

-- Asked about others' rows it answers as about rows that there are not.
SELECT c.id AS their_conversion, (SELECT k.id FROM postback.callback k WHERE k.brand_id = :'theirs' LIMIT 1) AS their_callback
FROM postback.conversion c WHERE c.brand_id = :'theirs' LIMIT 1 \gset
SELECT c.id AS my_conversion FROM postback.conversion c WHERE c.brand_id = :'mine' LIMIT 1 \gset
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
    h text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(' / ', SQLSTATE, SQLERRM, d, h), '[0-9A-HJKMNP-TV-Z]{26}', 'ID', 'g');
END
$$;
SET ROLE regress_brand;
SELECT pg_temp.refusal(format('SELECT * FROM postback.why_not(%L, %L)', :'their_conversion', :'their_callback')) AS answer,
       pg_temp.refusal(format('SELECT * FROM postback.why_not(%L, %L)', postback.new_ulid(), postback.new_ulid())) AS nobodys \gset
SELECT :'answer' AS refusal, :'answer' = :'nobodys' AS as_if_there_were_none;
SELECT pg_temp.refusal(format('SELECT * FROM postback.why_not(%L, %L)', :'my_conversion', :'their_callback')) AS answer,
       pg_temp.refusal(format('SELECT * FROM postback.why_not(%L, %L)', :'my_conversion', postback.new_ulid())) AS nobodys \gset
SELECT :'answer' AS refusal, :'answer' = :'nobodys' AS as_if_there_were_none;
SELECT kind, amount, balance FROM postback.ledger_statement('available', brand => :'theirs');
RESET ROLE;

-- A function that leaks what it is given is given no row of another's: cheap and first in the query as it may be.
ANALYZE postback.brand, postback.publisher, postback.offer, postback.link, postback.click, postback.receipt, postback.conversion, postback.ledger,
    postback.balance, postback.delivery, postback.daily;
CREATE TEMP TABLE leaked (relation text, row_text text);
GRANT ALL ON leaked TO regress_brand;
CREATE FUNCTION pg_temp.leak(relation text, row_text text) RETURNS boolean LANGUAGE plpgsql COST 0.000001 AS $$
BEGIN
    INSERT INTO leaked VALUES (relation, row_text);
    RETURN true;
END
$$;
SET ROLE regress_brand;
DO $$
DECLARE
    r record;
    n bigint;
BEGIN
    FOR r IN SELECT * FROM pg_temp.readable() LOOP
        EXECUTE format('SELECT count(*) FROM %s WHERE pg_temp.leak(%L, ROW(%s)::text)', r.relation, r.relation, r.columns) INTO n;
    END LOOP;
END
$$;
RESET ROLE;
SELECT count(DISTINCT relation) > 25 AS tried, count(*) FILTER (WHERE row_text LIKE '%' || :'theirs' || '%' OR row_text LIKE '%Theirs of tenants%') AS theirs,
       count(*) FILTER (WHERE row_text LIKE '%' || :'mine' || '%') > 0 AS mine
FROM leaked;

-- Neither statistics nor plans tell values of others' rows (how many rows there are they do tell).
SET ROLE regress_brand;
SELECT count(*) AS histograms FROM pg_stats WHERE schemaname = 'postback' AND tablename <> 'daily_mark';
CREATE FUNCTION pg_temp.plans() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM pg_temp.readable() LOOP
        RETURN QUERY EXECUTE format('EXPLAIN (ANALYZE, VERBOSE) SELECT %s FROM %s', r.columns, r.relation);
    END LOOP;
END
$$;
SELECT count(*) > 100 AS plans, count(*) FILTER (WHERE p ~ 'somebody|Theirs' OR p LIKE '%' || :'theirs' || '%') AS values FROM pg_temp.plans() p;
-- nor does a setting, another name for the rows, or a view of one's own
SET row_security = off;
SELECT count(*) FROM postback.conversion;
RESET row_security;
SELECT count(*) FROM postback.receipt_default;
CREATE TEMP VIEW own AS SELECT * FROM postback.ledger;
SELECT count(*) FILTER (WHERE brand_id <> (SELECT s.brand_id FROM postback.reader_scope s)) AS theirs, count(*) > 0 AS some FROM own;
DROP VIEW own;
DROP FUNCTION pg_temp.plans;
RESET ROLE;

SELECT count(*) AS differences FROM postback.audit();
DELETE FROM postback.reader_scope WHERE role IN ('regress_brand', 'regress_publisher', 'regress_both', 'regress_operator', 'somebody');
REVOKE ALL ON leaked FROM regress_brand;
DROP ROLE regress_brand, regress_publisher, regress_both, regress_operator, regress_unscoped;
DELETE FROM postback.callback WHERE brand_id IN (:'mine', :'theirs') OR publisher_id IN (:'blog', :'forum') OR name LIKE 'Of all %';
DELETE FROM postback.delivery_due q WHERE NOT EXISTS (SELECT FROM postback.callback k WHERE k.id = q.callback_id);
