-- The type ulid. The example of the ULID specification, 01ARZ3NDEKTSV4RRFFQ69G5FAV, is unix millisecond 1469922850259
-- and, as 128 bits, 01563e3a-b5d3-d676-4c61-efb99302bd5b.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- input: any case, with or without clk_, the aliases that Crockford gives to 0 and 1
SELECT input, input::postback.ulid AS ulid
FROM (VALUES ('01ARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('01arz3ndektsv4rrffq69g5fav'),
             ('clk_01ARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('CLK_01arz3NDEKTSV4RRFFQ69G5FAV'),
             ('Clk_o1ARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('OIARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('olARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('0LARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('00000000000000000000000000'),
             ('7ZZZZZZZZZZZZZZZZZZZZZZZZZ'),
             ('0123456789ABCDEFGHJKMNPQRS'),
             ('7XVTSRQPNMKJHGFEDCBA987654')) AS k (input);

-- what is none
CREATE FUNCTION pg_temp.refusal(input text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN 'taken as ' || postback.ulid_in(input::cstring);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT what, pg_temp.refusal(input)
FROM (VALUES ('empty', ''),
             ('short', '01ARZ3NDEKTSV4RRFFQ69G5FA'),
             ('long', '01ARZ3NDEKTSV4RRFFQ69G5FAVV'),
             ('more than 128 bits', '8ZZZZZZZZZZZZZZZZZZZZZZZZZ'),
             ('U is no digit', '01ARZ3NDEKTSV4RRFFQ69G5FAU'),
             ('u neither', '01ARZ3NDEKTSV4RRFFQ69G5FAu'),
             ('hyphen', '01ARZ3NDEK-SV4RRFFQ69G5FAV'),
             ('space before', ' 01ARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('space after', '01ARZ3NDEKTSV4RRFFQ69G5FAV '),
             ('another prefix', 'cnv_01ARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('prefix alone', 'clk_'),
             ('prefix twice', 'clk_clk_01ARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('no ASCII', '01ARZ3NDEKTSV4RRFFQ69G5FÄ')) AS k (what, input);
-- what is shown of a long one is still UTF-8
SELECT convert_from(textsend(pg_temp.refusal('x' || repeat('Ä', 40))), 'UTF8') LIKE '22P02 invalid input syntax for type ulid: "xÄ%' AS readable;
SELECT 'x'::postback.ulid;
SELECT 'x'::text::postback.ulid;
SELECT NULL::postback.ulid IS NULL AS "null";

-- casts
SELECT '01ARZ3NDEKTSV4RRFFQ69G5FAV'::postback.ulid::uuid AS uuid,
       '01563e3a-b5d3-d676-4c61-efb99302bd5b'::uuid::postback.ulid AS ulid,
       '01ARZ3NDEKTSV4RRFFQ69G5FAV'::postback.ulid::text AS "text",
       pg_typeof('01ARZ3NDEKTSV4RRFFQ69G5FAV'::postback.ulid::text) AS of_type;
SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid::postback.ulid AS highest,
       '01234567-89ab-cdef-0123-456789abcdef'::uuid::postback.ulid AS digits;
-- a text that comes from elsewhere is compared as an id
SELECT '01ARZ3NDEKTSV4RRFFQ69G5FAV'::postback.ulid = 'clk_01arz3ndektsv4rrffq69g5fav'::text AS same;

-- binary form: its 16 bytes
SELECT encode(postback.ulid_send('01ARZ3NDEKTSV4RRFFQ69G5FAV'), 'hex') AS bytes;
CREATE TEMP TABLE carried (id postback.ulid);
\set file `mktemp -u /tmp/postback_ulid_XXXXXX`
COPY (SELECT '01ARZ3NDEKTSV4RRFFQ69G5FAV'::postback.ulid) TO :'file' (FORMAT binary);
COPY carried FROM :'file' (FORMAT binary);
\setenv FILE :file
\! rm -f "$FILE"
SELECT id FROM carried;

-- time: to the millisecond; the floor is the least id of its millisecond
SELECT postback.ulid_time('01ARZ3NDEKTSV4RRFFQ69G5FAV') AS made,
       postback.ulid_time('00000000000000000000000000') AS epoch,
       postback.ulid_time('7ZZZZZZZZZZZZZZZZZZZZZZZZZ') AS last;
SELECT postback.ulid_floor('2026-12-04 10:00:00+00') AS second,
       postback.ulid_floor('2026-12-04 10:00:00.000999+00') AS its_last_microsecond,
       postback.ulid_floor('2026-12-04 09:59:59.999999+00') AS before,
       postback.ulid_floor('2026-12-04 10:00:00.001+00') AS after;
SELECT postback.ulid_floor('1969-12-31 23:59:59+00') AS before_epoch,
       postback.ulid_floor('-infinity') AS least,
       postback.ulid_floor('infinity') AS greatest;
SELECT postback.ulid_time(postback.ulid_floor('2026-12-04 10:00:00.123+00')) AS there_and_back;

-- new ones: of this moment, ascending, never the same
WITH k AS (SELECT n, postback.new_ulid() AS id FROM generate_series(1, 10000) n),
     m AS (SELECT id, lag(id) OVER (ORDER BY n) AS former FROM k)
SELECT count(*), count(DISTINCT id) AS different, bool_and(id > former) AS ascending,
       bool_and(postback.ulid_time(id) BETWEEN now() - interval '1 minute' AND now() + interval '1 minute') AS of_now
FROM m;

-- order is that of the 16 bytes: time first
SELECT a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a > b AS gt, a >= b AS ge, postback.ulid_cmp(a, b) AS cmp
FROM (VALUES ('01ARZ3NDEKTSV4RRFFQ69G5FAV'::postback.ulid, '01ARZ3NDEKTSV4RRFFQ69G5FAW'::postback.ulid),
             ('01ARZ3NDEKTSV4RRFFQ69G5FAV', '01ARZ3NDEKTSV4RRFFQ69G5FAV'),
             ('01ARZ3NDEKTSV4RRFFQ69G5FAV', '01ARZ3NDEJZZZZZZZZZZZZZZZZ'),
             ('7ZZZZZZZZZZZZZZZZZZZZZZZZZ', '00000000000000000000000000')) AS k (a, b);
CREATE TEMP TABLE sorted AS SELECT postback.new_ulid() AS id FROM generate_series(1, 2000);
INSERT INTO sorted SELECT gen_random_uuid()::postback.ulid FROM generate_series(1, 2000);
SELECT count(*) AS misplaced
FROM (SELECT row_number() OVER (ORDER BY id) AS by_id, row_number() OVER (ORDER BY id::uuid) AS by_bytes FROM sorted) k
WHERE by_id <> by_bytes;
SELECT min(id)::uuid = (SELECT id::uuid FROM sorted ORDER BY id::uuid LIMIT 1) AS min,
       max(id)::uuid = (SELECT id::uuid FROM sorted ORDER BY id::uuid DESC LIMIT 1) AS max FROM sorted;
SELECT min(id) AS min, max(id) AS max FROM (VALUES ('01ARZ3NDEKTSV4RRFFQ69G5FAV'::postback.ulid), (NULL), ('01ARZ3NDEKTSV4RRFFQ69G5FA0')) AS k (id);
SELECT min(id) AS none FROM sorted WHERE false;

-- operator classes: looked up by btree, by hash, joined by hash and by merge, whatever the search_path is
SET search_path = pg_catalog;
CREATE TABLE pg_temp.by_btree (id postback.ulid PRIMARY KEY);
CREATE TABLE pg_temp.by_hash (id postback.ulid);
CREATE INDEX by_hash_idx ON pg_temp.by_hash USING hash (id);
INSERT INTO pg_temp.by_btree SELECT id FROM pg_temp.sorted;
INSERT INTO pg_temp.by_hash SELECT id FROM pg_temp.sorted;
ANALYZE pg_temp.by_btree;
ANALYZE pg_temp.by_hash;
SET enable_bitmapscan = off;
EXPLAIN (COSTS off) SELECT FROM pg_temp.by_btree WHERE id = '01ARZ3NDEKTSV4RRFFQ69G5FAV';
EXPLAIN (COSTS off) SELECT FROM pg_temp.by_btree WHERE id = 'clk_01ARZ3NDEKTSV4RRFFQ69G5FAV'::text;
EXPLAIN (COSTS off) SELECT FROM pg_temp.by_hash WHERE id = '01ARZ3NDEKTSV4RRFFQ69G5FAV';
EXPLAIN (COSTS off) SELECT id FROM pg_temp.by_btree WHERE id < '0000000000000000000000000A' ORDER BY id;
SELECT count(*) AS not_found_by_btree FROM pg_temp.sorted s WHERE NOT EXISTS (SELECT FROM pg_temp.by_btree b WHERE b.id = s.id);
SET enable_seqscan = off;
SELECT count(b.id) AS by_hash FROM pg_temp.sorted s CROSS JOIN LATERAL (SELECT id FROM pg_temp.by_hash b WHERE b.id = s.id OFFSET 0) b;
RESET enable_seqscan;
SET enable_nestloop = off;
SET enable_mergejoin = off;
SELECT count(*) AS hash_join FROM pg_temp.sorted s JOIN pg_temp.by_hash b ON b.id = s.id;
SET enable_hashjoin = off;
SET enable_mergejoin = on;
SELECT count(*) AS merge_join FROM pg_temp.sorted s JOIN pg_temp.by_hash b ON b.id = s.id;
INSERT INTO pg_temp.by_btree VALUES ('01ARZ3NDEKTSV4RRFFQ69G5FAV');
INSERT INTO pg_temp.by_btree VALUES ('clk_01arz3ndektsv4rrffq69g5fav');
RESET ALL;

-- a table partitioned by it is pruned to the partition of an id
CREATE TEMP TABLE parted (id postback.ulid) PARTITION BY RANGE (id);
CREATE TEMP TABLE parted_2025 PARTITION OF parted
    FOR VALUES FROM ('01JGFJJZ000000000000000000') TO ('01KDVDNA000000000000000000');
CREATE TEMP TABLE parted_rest PARTITION OF parted DEFAULT;
-- the bounds are the two new years
SELECT postback.ulid_floor('2025-01-01 00:00:00+00') AS "from", postback.ulid_floor('2026-01-01 00:00:00+00') AS "to";
INSERT INTO parted VALUES ('01JGFJJZ000000000000000000'), ('01KDVDN9ZZZZZZZZZZZZZZZZZZ'), ('01KDVDNA000000000000000000');
SELECT tableoid::regclass::text AS partition, id FROM parted ORDER BY id;
EXPLAIN (COSTS off) SELECT FROM parted WHERE id = '01JGFJJZ000000000000000000';
