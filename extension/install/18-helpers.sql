-- Small functions that the tables' defaults and constraints call.

CREATE FUNCTION postback.random_bytes(length integer) RETURNS bytea
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.random_bytes(integer) IS 'Bytes from the strong generator, at most 1024';

CREATE FUNCTION postback.brackets_valid(brackets jsonb) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.brackets_valid(jsonb) IS
    'A list of at most 64 objects, ascending by from (minor units), each with percent (at most 6 decimals) or fixed (minor units) or both';
