-- Partitions are kept ahead, made like the default partition, and dropped by age. All of it happens in the years after
-- 2030 and is rolled back, so that the partitions of today stay out of it.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

-- weeks and hours are counted from 1970-01-01, months are calendar months, all in UTC
SELECT w AS width, postback.partition_floor(w, t) AS floor, postback.partition_next(w, t) AS next
FROM (VALUES (interval '7 days', timestamptz '2031-05-14 15:30:00+00'),
             ('7 days', '2031-05-15 00:00:00+00'),
             ('1 day', '2031-05-14 15:30:00+00'),
             ('12 hours', '2031-05-14 15:30:00+00'),
             ('1 month', '2031-05-14 15:30:00+00'),
             ('1 month', '2031-12-31 23:59:59+00'),
             ('3 months', '2031-05-14 15:30:00+00'),
             ('1 year', '2031-05-14 15:30:00+00'),
             ('1 month', '1969-12-31 23:59:59+00')) AS v (w, t);
SELECT postback.partition_floor('1 month 1 day', now());

SELECT count(*) >= 0 AS called FROM postback.keep_partitions(); -- puts the policies there, whatever ran before this test
BEGIN;
UPDATE postback.partition_policy SET width = '7 days', ahead = 2, retention = '400 days' WHERE table_name = 'click';
UPDATE postback.partition_policy SET width = '1 month', ahead = 1, retention = NULL WHERE table_name = 'ledger';
UPDATE postback.partition_policy SET width = '1 day', ahead = 1, retention = NULL WHERE table_name = 'delivery';
UPDATE postback.partition_policy SET retention = NULL WHERE table_name NOT IN ('click', 'ledger', 'delivery');

-- a row that came when there was no partition for it
INSERT INTO postback.click (id, brand_id, offer_id, publisher_id)
SELECT postback.ulid_floor(t), postback.ulid_floor('2031-01-01'), postback.ulid_floor('2031-01-02'), postback.ulid_floor('2031-01-03')
FROM (VALUES (timestamptz '2031-05-15 00:00:00+00'), ('2031-05-21 23:59:59.999+00'), ('2031-05-14 12:00:00+00')) AS v (t);
SELECT tableoid::regclass AS partition, postback.ulid_time(id) FROM postback.click WHERE id >= postback.ulid_floor('2031-01-01') ORDER BY id;

SELECT * FROM postback.keep_partitions('2031-05-15 10:00:00+00') WHERE table_name IN ('click', 'ledger', 'delivery') AND action = 'created';
SELECT tableoid::regclass AS partition, postback.ulid_time(id) FROM postback.click WHERE id >= postback.ulid_floor('2031-01-01') ORDER BY id;
SELECT partition, postback.ulid_time(lower) AS from, postback.ulid_time(upper) AS to FROM postback.partition_bounds('postback.click')
WHERE lower >= postback.ulid_floor('2031-01-01');

-- called again it does nothing
SELECT * FROM postback.keep_partitions('2031-05-15 10:00:00+00') WHERE partition !~ '_p202';

-- made like the default partition: columns, keys, indexes, storage parameters; and not part of the extension
SELECT c.relname, array_agg(i.indexrelid::regclass::text ORDER BY i.indisprimary DESC, 1) AS indexes, c.reloptions,
       (SELECT count(*) FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') AS member
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid
WHERE c.oid IN ('postback.delivery_default'::regclass, 'postback.delivery_p20310515'::regclass)
GROUP BY c.oid ORDER BY c.relname;
SELECT a.attname FROM pg_attribute a
WHERE a.attrelid = 'postback.delivery_p20310515'::regclass AND a.attnum > 0
  AND NOT EXISTS (SELECT FROM pg_attribute b
                  WHERE b.attrelid = 'postback.delivery_default'::regclass AND b.attname = a.attname AND b.attnum = a.attnum
                    AND (b.atttypid, b.attnotnull, b.atthasdef) = (a.atttypid, a.attnotnull, a.atthasdef));
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'postback.ledger_p20310501'::regclass
  AND contype <> 'n' -- 18 counts NOT NULL among them
ORDER BY 1;

-- a look-up by id goes to one partition
EXPLAIN (COSTS OFF) SELECT * FROM postback.click WHERE id = postback.ulid_floor('2031-05-16 00:00:00+00');

-- another width: bounds stay as they are, new ones begin after them
UPDATE postback.partition_policy SET width = '1 day', ahead = 20 WHERE table_name = 'click';
SELECT partition, action FROM postback.keep_partitions('2031-05-16 10:00:00+00') WHERE table_name = 'click' AND partition !~ '_p202';
-- and back to weeks: the first one is cut to the next multiple
UPDATE postback.partition_policy SET width = '7 days', ahead = 4 WHERE table_name = 'click';
SELECT * FROM postback.keep_partitions('2031-05-16 10:00:00+00') WHERE table_name = 'click' AND partition !~ '_p202';
SELECT partition, postback.ulid_time(lower) AS from, postback.ulid_time(upper) AS to FROM postback.partition_bounds('postback.click')
WHERE lower >= postback.ulid_floor('2031-06-04');
-- gaps are filled
DROP TABLE postback.click_p20310522, postback.click_p20310529;
UPDATE postback.partition_policy SET width = '1 month' WHERE table_name = 'click';
SELECT partition, action FROM postback.keep_partitions('2031-05-16 10:00:00+00') WHERE table_name = 'click' AND partition !~ '_p202';
SELECT partition, postback.ulid_time(lower) AS from, postback.ulid_time(upper) AS to FROM postback.partition_bounds('postback.click')
WHERE lower >= postback.ulid_floor('2031-05-20') AND lower < postback.ulid_floor('2031-06-07');
-- the hour is in the name where it is not midnight
UPDATE postback.partition_policy SET width = '12 hours', ahead = 1 WHERE table_name = 'attempt';
SELECT partition, action FROM postback.keep_partitions('2031-09-01 13:00:00+00') WHERE table_name = 'attempt';
ROLLBACK;

-- retention: what is wholly older goes, in the default partition row by row, unless it is still needed
BEGIN;
UPDATE postback.partition_policy SET width = '7 days', ahead = 1, retention = '30 days' WHERE table_name IN ('click', 'delivery');
UPDATE postback.partition_policy SET retention = NULL WHERE table_name NOT IN ('click', 'delivery');
UPDATE postback.brand SET attribution_window = '30 days';
UPDATE postback.offer SET attribution_window = NULL;
SELECT postback.create_offer(postback.create_brand('Partitions', 'EUR'), 'Shop', 'https://shop.example/') AS offer \gset
DELETE FROM postback.daily_mark;
SELECT count(*) > 0 AS made FROM postback.keep_partitions('2031-05-16 10:00:00+00') WHERE action = 'created';
INSERT INTO postback.click (id, brand_id, offer_id, publisher_id)
SELECT postback.ulid_floor(t), postback.ulid_floor('2031-01-01'), postback.ulid_floor('2031-01-02'), postback.ulid_floor('2031-01-03')
FROM (VALUES (timestamptz '2031-04-01 00:00:00+00'), ('2031-05-16 00:00:00+00')) AS v (t);
INSERT INTO postback.delivery (id, brand_id, callback_id, method, url, due_at)
SELECT postback.ulid_floor(t), postback.ulid_floor('2031-01-01'), postback.ulid_floor('2031-01-04'), 'GET', 'https://p.example/', t
FROM (VALUES (timestamptz '2031-04-01 00:00:00+00'), ('2031-04-01 00:00:01+00'), ('2031-05-16 00:00:00+00'), ('2031-05-22 00:00:00+00')) AS v (t);
INSERT INTO postback.delivery_due (delivery_id, callback_id, seq, endpoint, due_at)
SELECT d.id, d.callback_id, 1, 'p.example:443', 'infinity' FROM postback.delivery d
WHERE d.id >= postback.ulid_floor('2031-01-01') AND d.id <> postback.ulid_floor('2031-04-01 00:00:01+00');
-- not a millisecond before its time
SELECT table_name, partition, action FROM postback.keep_partitions('2031-06-20 23:59:59.999+00')
WHERE partition ~ 'default|_p20310[456]' AND table_name IN ('click', 'delivery');
-- kept: clicks that no report counts yet, deliveries that are still to be sent, clicks that an order may still come for
SELECT table_name, partition, action FROM postback.keep_partitions('2031-06-21 00:00:00+00') WHERE partition ~ '_p20310[456]';
INSERT INTO postback.daily_mark (upto, rolled_at) VALUES (postback.ulid_floor('2031-06-21'), now());
UPDATE postback.offer SET attribution_window = '31 days' WHERE id = :'offer';
SELECT table_name, partition, action FROM postback.keep_partitions('2031-06-21 00:00:00+00') WHERE partition ~ 'default|_p20310[456]';
SELECT postback.ulid_time(id) AS click FROM postback.click WHERE id >= postback.ulid_floor('2031-01-01') ORDER BY id;
SELECT postback.ulid_time(d.id) AS delivery, q.delivery_id IS NOT NULL AS due
FROM postback.delivery d LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id WHERE d.id >= postback.ulid_floor('2031-01-01') ORDER BY d.id;
-- dropped: as soon as they are needed no more
UPDATE postback.offer SET attribution_window = NULL;
DELETE FROM postback.delivery_due q WHERE q.delivery_id = postback.ulid_floor('2031-05-16');
SELECT table_name, partition, action FROM postback.keep_partitions('2031-06-21 00:00:00+00') WHERE partition ~ 'default|_p20310[456]';
SELECT table_name, partition, action FROM postback.keep_partitions('2031-06-21 00:00:01+00') WHERE partition ~ 'default|_p20310[456]';
SELECT count(*) AS clicks FROM postback.click WHERE id >= postback.ulid_floor('2031-01-01');
SELECT postback.ulid_time(d.id) AS delivery, q.delivery_id IS NOT NULL AS due
FROM postback.delivery d LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id WHERE d.id >= postback.ulid_floor('2031-01-01') ORDER BY d.id;
ROLLBACK;
