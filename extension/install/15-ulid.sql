-- The type ulid: 16 bytes, 48 bits of unix milliseconds and 80 random ones.

CREATE TYPE postback.ulid;

CREATE FUNCTION postback.ulid_in(cstring) RETURNS postback.ulid
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_out(postback.ulid) RETURNS cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_recv(internal) RETURNS postback.ulid
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_send(postback.ulid) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';

CREATE TYPE postback.ulid (
    INPUT = postback.ulid_in,
    OUTPUT = postback.ulid_out,
    RECEIVE = postback.ulid_recv,
    SEND = postback.ulid_send,
    INTERNALLENGTH = 16,
    ALIGNMENT = char,
    STORAGE = plain
);
COMMENT ON TYPE postback.ulid IS
    'Time-ordered id, shown as 26 Crockford base-32 characters; input takes any case and an optional clk_ prefix';

CREATE FUNCTION postback.ulid_eq(postback.ulid, postback.ulid) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_ne(postback.ulid, postback.ulid) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_lt(postback.ulid, postback.ulid) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_le(postback.ulid, postback.ulid) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_gt(postback.ulid, postback.ulid) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_ge(postback.ulid, postback.ulid) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_cmp(postback.ulid, postback.ulid) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_hash(postback.ulid) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.ulid_hash_extended(postback.ulid, bigint) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';

-- The operators and aggregates stand in pg_catalog, where they are found whatever the caller's search_path is; were they
-- in schema postback, WHERE id = '01J...' would fail for everybody who does not have that schema in the path.
CREATE OPERATOR pg_catalog.= (LEFTARG = postback.ulid, RIGHTARG = postback.ulid, FUNCTION = postback.ulid_eq,
    COMMUTATOR = OPERATOR(pg_catalog.=), NEGATOR = OPERATOR(pg_catalog.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR pg_catalog.<> (LEFTARG = postback.ulid, RIGHTARG = postback.ulid, FUNCTION = postback.ulid_ne,
    COMMUTATOR = OPERATOR(pg_catalog.<>), NEGATOR = OPERATOR(pg_catalog.=), RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR pg_catalog.< (LEFTARG = postback.ulid, RIGHTARG = postback.ulid, FUNCTION = postback.ulid_lt,
    COMMUTATOR = OPERATOR(pg_catalog.>), NEGATOR = OPERATOR(pg_catalog.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR pg_catalog.<= (LEFTARG = postback.ulid, RIGHTARG = postback.ulid, FUNCTION = postback.ulid_le,
    COMMUTATOR = OPERATOR(pg_catalog.>=), NEGATOR = OPERATOR(pg_catalog.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR pg_catalog.> (LEFTARG = postback.ulid, RIGHTARG = postback.ulid, FUNCTION = postback.ulid_gt,
    COMMUTATOR = OPERATOR(pg_catalog.<), NEGATOR = OPERATOR(pg_catalog.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR pg_catalog.>= (LEFTARG = postback.ulid, RIGHTARG = postback.ulid, FUNCTION = postback.ulid_ge,
    COMMUTATOR = OPERATOR(pg_catalog.<=), NEGATOR = OPERATOR(pg_catalog.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE OPERATOR CLASS postback.ulid_btree_ops DEFAULT FOR TYPE postback.ulid USING btree AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 postback.ulid_cmp(postback.ulid, postback.ulid);
CREATE OPERATOR CLASS postback.ulid_hash_ops DEFAULT FOR TYPE postback.ulid USING hash AS
    OPERATOR 1 pg_catalog.=,
    FUNCTION 1 postback.ulid_hash(postback.ulid),
    FUNCTION 2 postback.ulid_hash_extended(postback.ulid, bigint);

CREATE FUNCTION postback.ulid_to_uuid(postback.ulid) RETURNS uuid
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.uuid_to_ulid(uuid) RETURNS postback.ulid
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'ulid_from_uuid';
CREATE FUNCTION postback.ulid_to_text(postback.ulid) RETURNS text
    LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION postback.text_to_ulid(text) RETURNS postback.ulid
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ulid_from_text';

CREATE CAST (postback.ulid AS uuid) WITH FUNCTION postback.ulid_to_uuid(postback.ulid) AS ASSIGNMENT;
CREATE CAST (uuid AS postback.ulid) WITH FUNCTION postback.uuid_to_ulid(uuid) AS ASSIGNMENT;
CREATE CAST (postback.ulid AS text) WITH FUNCTION postback.ulid_to_text(postback.ulid) AS ASSIGNMENT;
-- Implicit in this direction only, so that ids kept as text can be passed to functions and compared with ids by index.
CREATE CAST (text AS postback.ulid) WITH FUNCTION postback.text_to_ulid(text) AS IMPLICIT;

CREATE FUNCTION postback.new_ulid() RETURNS postback.ulid
    LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'ulid_new';
COMMENT ON FUNCTION postback.new_ulid() IS 'A fresh id of this moment; ids made by one session ascend';

CREATE FUNCTION postback.ulid_time(postback.ulid) RETURNS timestamptz
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.ulid_time(postback.ulid) IS 'The millisecond in which the id was made';

CREATE FUNCTION postback.ulid_floor(timestamptz) RETURNS postback.ulid
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.ulid_floor(timestamptz) IS 'The smallest id of that millisecond: id >= ulid_floor(t) means made at or after t';

CREATE FUNCTION postback.ulid_min_agg(postback.ulid, postback.ulid) RETURNS postback.ulid
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ulid_smaller';
CREATE FUNCTION postback.ulid_max_agg(postback.ulid, postback.ulid) RETURNS postback.ulid
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ulid_larger';
CREATE AGGREGATE pg_catalog.min(postback.ulid) (
    SFUNC = postback.ulid_min_agg, STYPE = postback.ulid, COMBINEFUNC = postback.ulid_min_agg,
    SORTOP = OPERATOR(pg_catalog.<), PARALLEL = SAFE);
CREATE AGGREGATE pg_catalog.max(postback.ulid) (
    SFUNC = postback.ulid_max_agg, STYPE = postback.ulid, COMBINEFUNC = postback.ulid_max_agg,
    SORTOP = OPERATOR(pg_catalog.>), PARALLEL = SAFE);

-- What \df+ and \do+ say of them.
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN
        SELECT * FROM (VALUES
            ('FUNCTION postback.ulid_in(cstring)',                  'Reads 26 characters of Crockford base 32 in any case, with or without clk_; 22P02 if it is none'),
            ('FUNCTION postback.ulid_out(postback.ulid)',           '26 characters, in capitals, without prefix'),
            ('FUNCTION postback.ulid_recv(internal)',               'Binary form: the 16 bytes'),
            ('FUNCTION postback.ulid_send(postback.ulid)',          'Binary form: the 16 bytes'),
            ('FUNCTION postback.ulid_eq(postback.ulid, postback.ulid)', 'Operator ='),
            ('FUNCTION postback.ulid_ne(postback.ulid, postback.ulid)', 'Operator <>'),
            ('FUNCTION postback.ulid_lt(postback.ulid, postback.ulid)', 'Operator <: made earlier, to the millisecond'),
            ('FUNCTION postback.ulid_le(postback.ulid, postback.ulid)', 'Operator <='),
            ('FUNCTION postback.ulid_gt(postback.ulid, postback.ulid)', 'Operator >: made later, to the millisecond'),
            ('FUNCTION postback.ulid_ge(postback.ulid, postback.ulid)', 'Operator >='),
            ('FUNCTION postback.ulid_cmp(postback.ulid, postback.ulid)', 'Less than, equal to or greater than zero; for btree indexes'),
            ('FUNCTION postback.ulid_hash(postback.ulid)',          'For hash joins and indexes'),
            ('FUNCTION postback.ulid_hash_extended(postback.ulid, bigint)', 'For hash partitions: hash with a seed'),
            ('FUNCTION postback.ulid_to_uuid(postback.ulid)',       'Cast: the same 16 bytes as a uuid'),
            ('FUNCTION postback.uuid_to_ulid(uuid)',                'Cast: the same 16 bytes as a ulid'),
            ('FUNCTION postback.ulid_to_text(postback.ulid)',       'Cast: 26 characters'),
            ('FUNCTION postback.text_to_ulid(text)',                'Cast: as ulid_in'),
            ('FUNCTION postback.ulid_min_agg(postback.ulid, postback.ulid)', 'The smaller one; for min()'),
            ('FUNCTION postback.ulid_max_agg(postback.ulid, postback.ulid)', 'The larger one; for max()'),
            ('AGGREGATE pg_catalog.min(postback.ulid)',             'The earliest id'),
            ('AGGREGATE pg_catalog.max(postback.ulid)',             'The latest id'),
            ('OPERATOR pg_catalog.= (postback.ulid, postback.ulid)',  'the same id'),
            ('OPERATOR pg_catalog.<> (postback.ulid, postback.ulid)', 'another id'),
            ('OPERATOR pg_catalog.< (postback.ulid, postback.ulid)',  'made earlier, to the millisecond'),
            ('OPERATOR pg_catalog.<= (postback.ulid, postback.ulid)', 'made earlier, or the same id'),
            ('OPERATOR pg_catalog.> (postback.ulid, postback.ulid)',  'made later, to the millisecond'),
            ('OPERATOR pg_catalog.>= (postback.ulid, postback.ulid)', 'made later, or the same id'),
            ('OPERATOR CLASS postback.ulid_btree_ops USING btree',  'Order of ids: that of the milliseconds in which they were made'),
            ('OPERATOR CLASS postback.ulid_hash_ops USING hash',    'Equality of ids'),
            ('CAST (postback.ulid AS uuid)',                        'The same 16 bytes'),
            ('CAST (uuid AS postback.ulid)',                        'The same 16 bytes'),
            ('CAST (postback.ulid AS text)',                        '26 characters'),
            ('CAST (text AS postback.ulid)',                        'As it is read from a literal'))
            AS c (object, meaning)
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON %s IS %L', o.object, o.meaning);
    END LOOP;
END
$$;
