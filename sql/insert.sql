-- Rows that the batches write meet what every INSERT meets: defaults, checks, triggers, partitions, read-only transactions.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

SELECT postback.create_brand(name => 'Insert', currency => 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(brand => :'brand', label => 'shop') \gset
SELECT postback.create_offer(brand => :'brand', name => 'Shop', landing_url => 'https://shop.example/') AS offer \gset
SELECT postback.create_publisher(name => 'Blog') AS publisher \gset
SELECT code AS link FROM postback.create_link(offer => :'offer', publisher => :'publisher') \gset

-- Columns that somebody has added get their defaults, generated ones are computed.
BEGIN;
ALTER TABLE postback.conversion ADD COLUMN batch_no integer NOT NULL DEFAULT 40 + 2,
    ADD COLUMN doubled bigint GENERATED ALWAYS AS (value * 2) STORED;
ALTER TABLE postback.receipt ADD COLUMN shard text DEFAULT 'one', DROP COLUMN cookie, ADD COLUMN cookie text;
SELECT outcome FROM postback.receive(:'token', 'order=added&value=100');
SELECT outcome FROM postback.receive(:'token', 'order=added&value=x');
SELECT batch_no, doubled, created_at = now() AS created_now FROM postback.conversion WHERE order_ref = 'added';
SELECT shard, code, order_ref, cookie FROM postback.receipt WHERE order_ref = 'added' ORDER BY id;
ROLLBACK;

-- A partition with its columns in another order.
BEGIN;
CREATE TEMP TABLE dated AS SELECT c.oid::regclass AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'postback.history'::regclass AND c.relname <> 'history_default';
DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT name FROM dated LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END $$;
ALTER TABLE postback.history DETACH PARTITION postback.history_default;
CREATE TABLE postback.history_other (gone text, notice text, reason text, receipt_id postback.ulid, role text NOT NULL, actor text NOT NULL,
    currency text NOT NULL, to_fee bigint, from_fee bigint, to_commission bigint, from_commission bigint, to_value bigint NOT NULL,
    from_value bigint, to_status text NOT NULL, from_status text, conversion_id postback.ulid NOT NULL, brand_id postback.ulid NOT NULL,
    id postback.ulid PRIMARY KEY, CONSTRAINT history_actor_check CHECK (actor IN ('receipt', 'cron', 'staff', 'sql')));
ALTER TABLE postback.history_other DROP COLUMN gone;
CREATE INDEX history_other_idx ON postback.history_other (conversion_id);
ALTER TABLE postback.history ATTACH PARTITION postback.history_other DEFAULT;
SELECT outcome FROM postback.receive(:'token', 'order=routed&value=100&notice=hello');
SELECT h.tableoid::regclass, h.to_status, h.to_value, h.currency, h.actor, h.notice
FROM postback.history h JOIN postback.conversion c ON c.id = h.conversion_id WHERE c.order_ref = 'routed';
ROLLBACK;

-- Triggers of one's own.
BEGIN;
CREATE TABLE pg_temp.seen (what text);
CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pg_temp.seen VALUES (concat_ws(' ', TG_TABLE_NAME, TG_WHEN, TG_LEVEL,
        CASE WHEN TG_LEVEL = 'ROW' THEN to_jsonb(NEW) ->> 'order_ref' END));
    IF TG_LEVEL = 'ROW' AND TG_WHEN = 'BEFORE' THEN
        NEW.notice := 'seen';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER note_statement BEFORE INSERT ON postback.conversion FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note_row BEFORE INSERT ON postback.conversion FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note_after AFTER INSERT ON postback.conversion FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note_done AFTER INSERT ON postback.conversion FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note_receipt AFTER INSERT ON postback.receipt FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
SELECT outcome FROM postback.receive(:'token', 'order=watched&value=100');
SELECT regexp_replace(what, '_p\d+', '') AS what FROM pg_temp.seen;
SELECT notice FROM postback.conversion WHERE order_ref = 'watched';
ROLLBACK;

-- Triggers that look at all new rows at once, of a table and of one in partitions whose columns stand otherwise.
BEGIN;
ALTER TABLE postback.receipt DROP COLUMN cookie, ADD COLUMN cookie text;
CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '%: %', TG_TABLE_NAME, (SELECT string_agg(order_ref, ' ' ORDER BY order_ref COLLATE "C") FROM come);
    RETURN NULL;
END
$$;
CREATE TRIGGER look AFTER INSERT ON postback.conversion REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.look();
CREATE TRIGGER look AFTER INSERT ON postback.receipt REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.look();
SELECT r.outcome FROM postback.receive_batch('{1,2,3}', array_fill(:'token'::text, '{3}'), '{GET,GET,GET}',
    '{order=seen-1&value=100,order=seen-2&value=100,order=seen-1&value=100}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}') r;
ROLLBACK;

-- A default that is made for each row, in rows that go to two partitions by turns; the index makes values of its own between.
BEGIN;
SELECT click_id AS click FROM postback.click(:'link') \gset
SELECT count(*) FROM (SELECT postback.create_callback('Turns ' || delay, 'https://turns.example/', brand => :'brand', statuses => '{pending}',
    delay => delay::interval) FROM unnest('{0,1 hour}'::text[]) delay) k;
ALTER TABLE postback.delivery_due ADD COLUMN queued_by text DEFAULT 'by ' || pg_backend_pid();
CREATE INDEX ON postback.delivery_due_now (rpad('', 400, endpoint));
CREATE INDEX ON postback.delivery_due_later (rpad('', 400, endpoint));
SELECT count(*)
FROM postback.receive_batch(
    ARRAY(SELECT generate_series(1, 5)), array_fill(:'token'::text, '{5}'), array_fill('GET'::text, '{5}'),
    ARRAY(SELECT format('order=turn-%s&value=100&click_id=clk_%s', n, :'click') FROM generate_series(1, 5) n), array_fill(NULL::text, '{5}'),
    array_fill(NULL::text, '{5}'), array_fill(NULL::inet, '{5}')) r;
SELECT waiting, count(*), bool_and(queued_by = 'by ' || pg_backend_pid()) AS whole FROM postback.delivery_due WHERE endpoint = 'turns.example:443' GROUP BY 1 ORDER BY 1;
ROLLBACK;

\set VERBOSITY sqlstate
-- A check that fails is an error of the whole batch: nothing of it is kept.
BEGIN;
ALTER TABLE postback.receipt ADD CONSTRAINT no_long_orders CHECK (length(order_ref) < 10) NOT VALID;
SAVEPOINT before;
SELECT outcome FROM postback.receive(:'token', 'order=longer-than-ten&value=100');
ROLLBACK TO before;
SELECT count(*) FROM postback.conversion WHERE order_ref = 'longer-than-ten';
ROLLBACK;
-- A unique key is one here too.
BEGIN;
SELECT outcome FROM postback.receive(:'token', 'order=once&value=100');
SELECT tableoid::regclass AS newest FROM postback.receipt WHERE order_ref = 'once' \gset
CREATE UNIQUE INDEX ON :newest (order_ref) WHERE order_ref IN ('once', 'twice');
SELECT outcome FROM postback.receive(:'token', 'order=twice&value=100');
SELECT outcome FROM postback.receive(:'token', 'order=twice&value=100');
ROLLBACK;

BEGIN READ ONLY;
\set VERBOSITY terse
SELECT outcome FROM postback.click(:'link');
ROLLBACK;

-- More rows than are written at once, two partitions taking turns.
BEGIN;
SELECT count(*), count(*) FILTER (WHERE r.ok)
FROM postback.receive_batch(
    ARRAY(SELECT generate_series(1, 700)), array_fill(:'token'::text, '{700}'), array_fill('GET'::text, '{700}'),
    ARRAY(SELECT format('order=many-%s&value=%s', n, n) FROM generate_series(1, 700) n), array_fill(NULL::text, '{700}'),
    array_fill(NULL::text, '{700}'), array_fill(NULL::inet, '{700}')) r;
SELECT count(*), sum(value), count(DISTINCT id) FROM postback.conversion WHERE order_ref LIKE 'many-%';
SELECT count(*), count(DISTINCT h.conversion_id) FROM postback.history h JOIN postback.conversion c ON c.id = h.conversion_id WHERE c.order_ref LIKE 'many-%';
SELECT count(*) FROM postback.receipt WHERE order_ref LIKE 'many-%';
SELECT order_ref FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'many-699';
ROLLBACK;
SELECT count(*) FROM postback.audit();
