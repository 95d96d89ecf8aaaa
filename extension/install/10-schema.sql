-- The schema, and the collation for names that are compared without case.

DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'postback needs a database with encoding UTF8'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = pg_catalog.format('This database has encoding %s.', pg_catalog.getdatabaseencoding()),
                  HINT = 'Create one with CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
END
$$;

CREATE SCHEMA postback;
COMMENT ON SCHEMA postback IS 'Affiliate postbacks: clicks, conversions, money and deliveries (extension postback)';

CREATE COLLATION postback.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
COMMENT ON COLLATION postback.nocase IS 'Equality without regard to case: goals, promo codes';

CREATE FUNCTION postback.version() RETURNS text
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'postback_version';
COMMENT ON FUNCTION postback.version() IS 'Version of the loaded library';
