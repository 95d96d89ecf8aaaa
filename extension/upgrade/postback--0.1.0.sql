/* postback 0.1.0, as it was released: not to be changed */

\echo Use "CREATE EXTENSION postback" to load this file. \quit

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

-- Small functions that the tables' defaults and constraints call.

CREATE FUNCTION postback.random_bytes(length integer) RETURNS bytea
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.random_bytes(integer) IS 'Bytes from the strong generator, at most 1024';

CREATE FUNCTION postback.brackets_valid(brackets jsonb) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.brackets_valid(jsonb) IS
    'A list of at most 64 objects, ascending by from (minor units), each with percent (at most 6 decimals) or fixed (minor units) or both';

-- What an operator sets up: brands, tokens, offers, goals, publishers, links, terms, promo codes, rates, callbacks.

CREATE FUNCTION postback.currency_list(OUT code text, OUT exponent smallint) RETURNS SETOF record
    LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 170 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.currency_list() IS 'ISO 4217: every active currency and the digits of its minor unit';

CREATE VIEW postback.currency AS SELECT code, exponent FROM postback.currency_list();
COMMENT ON VIEW postback.currency IS 'ISO 4217: active currencies; exponent = digits of the minor unit (JPY 0, EUR 2, KWD 3)';

CREATE FUNCTION postback.is_currency(code text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.is_currency(text) IS 'Is it the code of an active ISO 4217 currency, in capitals?';

CREATE FUNCTION postback.random_key(length integer) RETURNS text
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION postback.random_key(integer) IS 'Random lower-case base-32 characters (a-z, 2-7), 5 bits each, from the strong generator';

CREATE TABLE postback.brand (
    id                 postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    key                text NOT NULL UNIQUE DEFAULT postback.random_key(8) CHECK (key ~ '^[a-z2-7]{8}$'),
    name               text NOT NULL CHECK (name <> ''),
    currency           text NOT NULL CHECK (postback.is_currency(currency)),
    hold               interval NOT NULL DEFAULT '14 days' CHECK (hold >= '0'),
    attribution_window interval NOT NULL DEFAULT '30 days' CHECK (attribution_window >= '0'),
    min_click_age      interval NOT NULL DEFAULT '0' CHECK (min_click_age >= '0'),
    fee_percent        numeric(9,6) NOT NULL DEFAULT 35 CHECK (fee_percent BETWEEN 0 AND 999),
    fee_of             text NOT NULL DEFAULT 'commission' CHECK (fee_of IN ('commission', 'value', 'none')),
    prepaid            boolean NOT NULL DEFAULT false,
    credit_limit       bigint NOT NULL DEFAULT 0 CHECK (credit_limit >= 0),
    exhausted          boolean NOT NULL DEFAULT false,
    paused             boolean NOT NULL DEFAULT false,
    fallback_url       text,
    unique_window      interval NOT NULL DEFAULT '24 hours' CHECK (unique_window >= '0'),
    keep_click_details boolean NOT NULL DEFAULT false,
    address_key        bytea NOT NULL DEFAULT postback.random_bytes(32),
    created_at         timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE postback.brand IS 'An advertiser: whoever sells, pings us and pays';
COMMENT ON COLUMN postback.brand.key IS 'Public routing key; every token and link code of the brand begins with it';
COMMENT ON COLUMN postback.brand.currency IS 'ISO 4217; commissions, fees and the ledger of the brand are kept in it';
COMMENT ON COLUMN postback.brand.hold IS 'How long a conversion stays pending before it approves itself; an offer may say otherwise';
COMMENT ON COLUMN postback.brand.attribution_window IS 'How old a click may be when the order arrives; an offer may say otherwise';
COMMENT ON COLUMN postback.brand.min_click_age IS 'How old a click must be when the order arrives; an offer may say otherwise';
COMMENT ON COLUMN postback.brand.fee_percent IS 'The network''s fee in percent of what fee_of names';
COMMENT ON COLUMN postback.brand.prepaid IS 'Clicks pause when the available balance falls to minus credit_limit or below';
COMMENT ON COLUMN postback.brand.credit_limit IS 'Minor units of the brand''s currency';
COMMENT ON COLUMN postback.brand.exhausted IS 'Set and cleared by the ledger for prepaid brands: the balance is at the limit, new clicks go to the fallback URL';
COMMENT ON COLUMN postback.brand.paused IS 'Set by hand: new clicks go to the fallback URL';
COMMENT ON COLUMN postback.brand.unique_window IS 'A click is unique if the visitor (address and user agent) made no unique one through the same link for so long; 0: all are';
COMMENT ON COLUMN postback.brand.keep_click_details IS 'Store ip, user agent, country and referrer of clicks in click_detail';
COMMENT ON COLUMN postback.brand.address_key IS 'Key of the hash under which visitors'' addresses are compared; secret';

CREATE TABLE postback.token (
    id          postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    brand_id    postback.ulid NOT NULL REFERENCES postback.brand,
    label       text NOT NULL DEFAULT '',
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    param_map   jsonb CHECK (jsonb_typeof(param_map) = 'object'),
    status_map  jsonb CHECK (jsonb_typeof(status_map) = 'object'),
    reply_style text NOT NULL DEFAULT 'json' CHECK (reply_style IN ('json', 'text', 'always200')),
    allow_ips   cidr[],
    hmac_secret text CHECK (hmac_secret <> ''),
    rate_limit  integer CHECK (rate_limit > 0),
    test        boolean NOT NULL DEFAULT false,
    expires_at  timestamptz,
    revoked_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX token_brand_id_idx ON postback.token (brand_id);
COMMENT ON TABLE postback.token IS 'A brand''s postback URLs: /p/KEY_SECRET, of which only the SHA-256 of SECRET is kept';
COMMENT ON COLUMN postback.token.param_map IS 'Names that the brand uses, to ours: {"transaction_id": "click_id"}';
COMMENT ON COLUMN postback.token.status_map IS 'Status words that the brand uses, to ours: {"ok": "approved"}';
COMMENT ON COLUMN postback.token.reply_style IS 'json; text (OK, DUPLICATE, ERROR code); always200 (json, refusals also as 200)';
COMMENT ON COLUMN postback.token.allow_ips IS 'Addresses that may call; null = any';
COMMENT ON COLUMN postback.token.hmac_secret IS 'If set, every call must carry sig = hex HMAC-SHA256; secret';
COMMENT ON COLUMN postback.token.rate_limit IS 'Calls per second that the daemon lets through; null = no limit';
COMMENT ON COLUMN postback.token.test IS 'Every order of this token is a test order';

CREATE TABLE postback.offer (
    id                 postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    brand_id           postback.ulid NOT NULL REFERENCES postback.brand,
    name               text NOT NULL CHECK (name <> ''),
    landing_url        text NOT NULL,
    hold               interval CHECK (hold >= '0'),
    attribution_window interval CHECK (attribution_window >= '0'),
    min_click_age      interval CHECK (min_click_age >= '0'),
    goals_enabled      boolean NOT NULL DEFAULT true,
    paused             boolean NOT NULL DEFAULT false,
    created_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (brand_id, id)
);
COMMENT ON TABLE postback.offer IS 'What a brand pays publishers for';
COMMENT ON COLUMN postback.offer.landing_url IS 'Where a click is sent; {click_id} in it is replaced, else click_id is appended';
COMMENT ON COLUMN postback.offer.hold IS 'Null: the brand''s';
COMMENT ON COLUMN postback.offer.attribution_window IS 'Null: the brand''s';
COMMENT ON COLUMN postback.offer.goals_enabled IS 'Off: goals of conversions are kept but neither priced by nor matched by callbacks';

CREATE TABLE postback.goal (
    id         postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    brand_id   postback.ulid NOT NULL,
    offer_id   postback.ulid NOT NULL,
    name       text COLLATE postback.nocase NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 64),
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (brand_id, offer_id) REFERENCES postback.offer (brand_id, id),
    UNIQUE (offer_id, name),
    UNIQUE (offer_id, id)
);
CREATE UNIQUE INDEX goal_default_idx ON postback.goal (offer_id) WHERE is_default;
COMMENT ON TABLE postback.goal IS 'A step that an offer pays for (lead, sale); names are compared without case';
COMMENT ON COLUMN postback.goal.is_default IS 'The goal of postbacks that name none; at most one per offer';

CREATE TABLE postback.publisher (
    id         postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    name       text NOT NULL CHECK (name <> ''),
    paused     boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE postback.publisher IS 'An affiliate: whoever sends visitors and earns commission, for any brand';

CREATE TABLE postback.link (
    code         text PRIMARY KEY CHECK (code ~ '^[a-z2-7]{8}-[A-Za-z0-9]{1,32}$'),
    brand_id     postback.ulid NOT NULL,
    offer_id     postback.ulid NOT NULL,
    publisher_id postback.ulid NOT NULL REFERENCES postback.publisher,
    created_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (brand_id, offer_id) REFERENCES postback.offer (brand_id, id)
);
CREATE INDEX link_offer_id_idx ON postback.link (offer_id, publisher_id);
COMMENT ON TABLE postback.link IS 'A publisher''s tracking link for an offer: /c/CODE, CODE = brand key, hyphen, short code';

CREATE TABLE postback.terms (
    id           postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    brand_id     postback.ulid NOT NULL,
    offer_id     postback.ulid NOT NULL,
    goal_id      postback.ulid,
    publisher_id postback.ulid REFERENCES postback.publisher,
    percent      numeric(9,6) CHECK (percent >= 0),
    fixed        bigint CHECK (fixed >= 0),
    min          bigint CHECK (min >= 0),
    max          bigint CHECK (max >= coalesce(min, 0)),
    brackets     jsonb CHECK (postback.brackets_valid(brackets)),
    valid_from   timestamptz NOT NULL DEFAULT '-infinity',
    valid_to     timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
    created_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (brand_id, offer_id) REFERENCES postback.offer (brand_id, id),
    FOREIGN KEY (offer_id, goal_id) REFERENCES postback.goal (offer_id, id),
    CHECK (percent IS NOT NULL OR fixed IS NOT NULL OR brackets IS NOT NULL)
);
CREATE INDEX terms_offer_id_idx ON postback.terms (offer_id, publisher_id, goal_id);
COMMENT ON TABLE postback.terms IS
    'Commission rules; a change is a new row. Publisher and goal, then publisher, then goal, then offer; of equals the newest';
COMMENT ON COLUMN postback.terms.percent IS 'Percent of the order value in the brand''s currency';
COMMENT ON COLUMN postback.terms.fixed IS 'Minor units of the brand''s currency, added to the percentage';
COMMENT ON COLUMN postback.terms.min IS 'The commission is at least this (minor units)';
COMMENT ON COLUMN postback.terms.max IS 'The commission is at most this (minor units)';
COMMENT ON COLUMN postback.terms.brackets IS
    '[{"from": 10000, "percent": 8, "fixed": 0}, ...]: the last bracket with from <= order value replaces percent and fixed';
COMMENT ON COLUMN postback.terms.valid_to IS 'Exclusive';

CREATE TABLE postback.promo_code (
    id           postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    brand_id     postback.ulid NOT NULL REFERENCES postback.brand,
    code         text COLLATE postback.nocase NOT NULL CHECK (octet_length(code) BETWEEN 1 AND 128),
    publisher_id postback.ulid NOT NULL REFERENCES postback.publisher,
    offer_id     postback.ulid NOT NULL,
    valid_from   timestamptz NOT NULL DEFAULT '-infinity',
    valid_to     timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
    created_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (brand_id, offer_id) REFERENCES postback.offer (brand_id, id)
);
CREATE INDEX promo_code_code_idx ON postback.promo_code (brand_id, code);
COMMENT ON TABLE postback.promo_code IS 'Codes that attribute an order to a publisher without a click; compared without case';

CREATE TABLE postback.fx_rate (
    id         postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    base       text NOT NULL CHECK (postback.is_currency(base)),
    quote      text NOT NULL CHECK (postback.is_currency(quote)),
    rate       numeric(18,10) NOT NULL CHECK (rate > 0),
    valid_from timestamptz NOT NULL DEFAULT now(),
    CHECK (base <> quote)
);
CREATE INDEX fx_rate_pair_idx ON postback.fx_rate (base, quote, valid_from DESC, id DESC);
COMMENT ON TABLE postback.fx_rate IS 'Exchange rates: 1 base = rate quote, in full units; the newest that is valid wins';

CREATE TABLE postback.callback (
    id              postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    name            text NOT NULL CHECK (name <> ''),
    type            text NOT NULL DEFAULT 'conversion' CHECK (type IN ('click', 'conversion', 'event')),
    brand_id        postback.ulid REFERENCES postback.brand,
    offer_id        postback.ulid REFERENCES postback.offer,
    publisher_id    postback.ulid REFERENCES postback.publisher,
    goal            text COLLATE postback.nocase CHECK (octet_length(goal) BETWEEN 1 AND 64),
    statuses        text[] NOT NULL DEFAULT '{approved}'
                    CHECK (statuses <@ '{pending,approved,rejected}' AND cardinality(statuses) > 0),
    reasons         text[] CHECK (cardinality(reasons) > 0),
    delay           interval NOT NULL DEFAULT '0' CHECK (delay = '0' OR delay >= '2 minutes'),
    method          text NOT NULL DEFAULT 'GET' CHECK (method IN ('GET', 'POST_FORM', 'POST_JSON')),
    url             text NOT NULL CHECK (octet_length(url) <= 4096),
    params          jsonb CHECK (jsonb_typeof(params) = 'object'),
    headers         jsonb CHECK (jsonb_typeof(headers) = 'object'),
    auth            jsonb CHECK (jsonb_typeof(auth) = 'object' AND auth ->> 'type' IN ('basic', 'bearer')),
    success_codes   text NOT NULL DEFAULT '200-299' CHECK (success_codes ~ '^[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*$'),
    include_test    boolean NOT NULL DEFAULT false,
    on_adjust       boolean NOT NULL DEFAULT false,
    every_status    boolean NOT NULL DEFAULT false,
    enabled         boolean NOT NULL DEFAULT true,
    disabled_at     timestamptz,
    disabled_reason text,
    failing_since   timestamptz,
    created         timestamptz NOT NULL DEFAULT now(),
    updated         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX callback_offer_id_idx ON postback.callback (offer_id);
CREATE INDEX callback_brand_id_idx ON postback.callback (brand_id);
CREATE INDEX callback_type_idx ON postback.callback (type, id) WHERE enabled;
COMMENT ON TABLE postback.callback IS 'A configured outbound postback; what it fires on, and what it sends';
COMMENT ON COLUMN postback.callback.brand_id IS 'Null: any brand';
COMMENT ON COLUMN postback.callback.offer_id IS 'Null: any offer';
COMMENT ON COLUMN postback.callback.publisher_id IS 'Null: any publisher';
COMMENT ON COLUMN postback.callback.type IS 'What it tells of: clicks, conversions or events; statuses and reasons are of conversions only';
COMMENT ON COLUMN postback.callback.goal IS 'Null: any goal; ignored while the offer has goals switched off. Of type event: the name of the event';
COMMENT ON COLUMN postback.callback.statuses IS 'Firing status: any of pending, approved, rejected';
COMMENT ON COLUMN postback.callback.reasons IS 'Rejection reasons that fire; null: any. Narrows rejected only';
COMMENT ON COLUMN postback.callback.delay IS '0 or at least 2 minutes; the condition is looked at again when it is over';
COMMENT ON COLUMN postback.callback.url IS 'Template with {macros}';
COMMENT ON COLUMN postback.callback.params IS 'Name to value template; added to the query (GET) or sent as the body (POST_FORM, POST_JSON)';
COMMENT ON COLUMN postback.callback.headers IS 'Name to value template';
COMMENT ON COLUMN postback.callback.auth IS '{"type":"basic","user":...,"password":...} or {"type":"bearer","token":...}; secret';
COMMENT ON COLUMN postback.callback.success_codes IS 'HTTP codes that count as delivered: 200-299,302';
COMMENT ON COLUMN postback.callback.on_adjust IS 'Fire also when a partial changes the payout';
COMMENT ON COLUMN postback.callback.every_status IS 'Each delivery is tried to its end: none is superseded by a newer one';
COMMENT ON COLUMN postback.callback.failing_since IS 'First failed attempt since the last success';

CREATE TABLE postback.callback_secret (
    callback_id postback.ulid NOT NULL REFERENCES postback.callback ON DELETE CASCADE,
    secret      text NOT NULL CHECK (secret ~ '^whsec_[A-Za-z0-9+/]+={0,2}$'),
    valid_to    timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (callback_id, secret)
);
COMMENT ON TABLE postback.callback_secret IS 'Signing secrets (Standard Webhooks); while one is rotated, two are valid';

-- What happens: clicks, receipts, conversions and their history, events. What only grows is partitioned by its id.
--
-- The parents of partitioned tables have no indexes of their own: partitions are made like the default partition,
-- with its primary key and indexes.  If the parent had them, restoring a dump would make each partition's twice.
-- Facts have no foreign keys: a key check would lock the brand's row for every order, and partitions are dropped by age.

CREATE TABLE postback.click (
    id                      postback.ulid NOT NULL DEFAULT postback.new_ulid(),
    brand_id                postback.ulid NOT NULL,
    offer_id                postback.ulid NOT NULL,
    publisher_id            postback.ulid NOT NULL,
    link_code               text,
    address_hash            bigint,
    agent_hash              bigint,
    visitor_hash            bigint,
    is_unique               boolean NOT NULL DEFAULT true,
    external_transaction_id text,
    sub_id                  text,
    subs                    text[],
    truncated               boolean NOT NULL DEFAULT false
) PARTITION BY RANGE (id);
CREATE TABLE postback.click_default PARTITION OF postback.click DEFAULT;
ALTER TABLE postback.click_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.click_default (brand_id, id);
CREATE INDEX ON postback.click_default (visitor_hash, id) WHERE is_unique;
COMMENT ON TABLE postback.click IS 'One visit through a link; the id is shown outside as clk_ID and carries the time';
COMMENT ON COLUMN postback.click.address_hash IS 'Keyed hash of the visitor''s address';
COMMENT ON COLUMN postback.click.agent_hash IS 'Keyed hash of the visitor''s user agent';
COMMENT ON COLUMN postback.click.visitor_hash IS 'Hash of link and the two keyed hashes; null if the address is not known';
COMMENT ON COLUMN postback.click.is_unique IS 'The visitor made no unique click through this link within the brand''s unique_window before; true if the address is not known';
COMMENT ON COLUMN postback.click.external_transaction_id IS 'The publisher''s own click id, handed back by {external_transaction_id}';
COMMENT ON COLUMN postback.click.subs IS 'sub1 .. sub10 of the link, by position';
COMMENT ON COLUMN postback.click.truncated IS 'A tracking value was longer than 1,024 bytes and was cut';

CREATE TABLE postback.click_detail (
    id         postback.ulid NOT NULL,
    brand_id   postback.ulid NOT NULL,
    ip         inet,
    user_agent text,
    country    text,
    referrer   text
) PARTITION BY RANGE (id);
CREATE TABLE postback.click_detail_default PARTITION OF postback.click_detail DEFAULT;
ALTER TABLE postback.click_detail_default ADD PRIMARY KEY (id);
COMMENT ON TABLE postback.click_detail IS 'Personal details of a click (same id), only for brands with keep_click_details, with a retention of its own';

CREATE TABLE postback.receipt (
    id            postback.ulid NOT NULL DEFAULT postback.new_ulid(),
    brand_id      postback.ulid NOT NULL,
    token_id      postback.ulid NOT NULL,
    method        text NOT NULL,
    query         text,
    body          text,
    content_type  text,
    remote        inet,
    http_status   smallint NOT NULL,
    result        text,
    code          text,
    parameter     text,
    warning       text,
    order_ref     text COLLATE "C",
    conversion_id postback.ulid,
    event_id      postback.ulid,
    replay_of     postback.ulid,
    cookie        text,
    milliseconds  real NOT NULL
) PARTITION BY RANGE (id);
CREATE TABLE postback.receipt_default PARTITION OF postback.receipt DEFAULT;
ALTER TABLE postback.receipt_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.receipt_default (brand_id, order_ref, id);
COMMENT ON TABLE postback.receipt IS 'Every inbound postback as it came, refused ones too, and what was answered';
COMMENT ON COLUMN postback.receipt.query IS 'Raw query string';
COMMENT ON COLUMN postback.receipt.body IS 'Raw body; bytes that are no UTF-8 shown as \xNN';
COMMENT ON COLUMN postback.receipt.result IS 'created, duplicate, approved, reversed, adjusted, reopened or event; null if refused';
COMMENT ON COLUMN postback.receipt.code IS 'Error code if refused';
COMMENT ON COLUMN postback.receipt.event_id IS 'The event that it recorded, or that it repeats';
COMMENT ON COLUMN postback.receipt.replay_of IS 'The receipt whose call postback.replay() made again';
COMMENT ON COLUMN postback.receipt.cookie IS 'Click id of the visitor''s cookie, which counts if the call has none';
COMMENT ON COLUMN postback.receipt.milliseconds IS 'From the start of its batch to the writing of this row';

CREATE TABLE postback.conversion (
    id                      postback.ulid PRIMARY KEY,
    brand_id                postback.ulid NOT NULL,
    order_ref               text COLLATE "C" NOT NULL CHECK (octet_length(order_ref) BETWEEN 1 AND 255),
    goal                    text COLLATE postback.nocase NOT NULL DEFAULT '' CHECK (octet_length(goal) <= 64),
    goal_given              boolean NOT NULL DEFAULT false,
    status                  text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'reversed')),
    test                    boolean NOT NULL DEFAULT false,
    offer_id                postback.ulid,
    publisher_id            postback.ulid,
    click_id                postback.ulid,
    attribution             text NOT NULL DEFAULT 'none' CHECK (attribution IN ('click', 'promo_code', 'last_click', 'none')),
    value                   bigint NOT NULL CHECK (value >= 0),
    currency                text NOT NULL,
    sale_value              bigint,
    commission              bigint CHECK (commission >= 0),
    fee                     bigint CHECK (fee >= 0),
    commission_currency     text NOT NULL,
    terms_id                postback.ulid,
    fee_percent             numeric(9,6) NOT NULL,
    fee_of                  text NOT NULL,
    fx_rate                 numeric(18,10),
    hold_until              timestamptz,
    external_transaction_id text,
    sub_id                  text,
    subs                    text[],
    promo_code              text,
    reason                  text,
    notice                  text,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT conversion_order_key UNIQUE (brand_id, order_ref, goal),
    CHECK ((commission IS NULL) = (fee IS NULL)),
    CHECK (status <> 'approved' OR commission IS NOT NULL),
    CHECK ((offer_id IS NULL) = (attribution = 'none'))
);
CREATE INDEX conversion_due_idx ON postback.conversion (hold_until, id) WHERE status = 'pending' AND commission IS NOT NULL;
CREATE INDEX conversion_unpriced_idx ON postback.conversion (brand_id, id) WHERE commission IS NULL;
COMMENT ON TABLE postback.conversion IS
    'One order and goal of a brand, for ever. Setting status (or lowering value) has every effect: money, history, deliveries';
COMMENT ON COLUMN postback.conversion.order_ref IS 'The brand''s own reference; with the goal it is the idempotency key';
COMMENT ON COLUMN postback.conversion.goal IS 'Goal name, compared without case; empty: none';
COMMENT ON COLUMN postback.conversion.goal_given IS 'The postback named the goal; false: it is the offer''s default';
COMMENT ON COLUMN postback.conversion.status IS 'pending, approved or reversed';
COMMENT ON COLUMN postback.conversion.test IS 'A test order: has a commission, never touches the ledger';
COMMENT ON COLUMN postback.conversion.value IS 'Order value in minor units of currency';
COMMENT ON COLUMN postback.conversion.sale_value IS 'Order value in minor units of commission_currency; null while there is no rate';
COMMENT ON COLUMN postback.conversion.commission IS 'What the publisher earns, minor units of commission_currency; null while unpriced';
COMMENT ON COLUMN postback.conversion.fee IS 'What the network earns, minor units of commission_currency; null while unpriced';
COMMENT ON COLUMN postback.conversion.commission_currency IS 'The brand''s currency';
COMMENT ON COLUMN postback.conversion.terms_id IS 'The terms that it was priced with, frozen';
COMMENT ON COLUMN postback.conversion.fx_rate IS '1 currency = fx_rate commission_currency, frozen; null if they are the same or there was no rate';
COMMENT ON COLUMN postback.conversion.hold_until IS 'When approve_due() approves it';
COMMENT ON COLUMN postback.conversion.reason IS 'Rejection reason';

CREATE TABLE postback.history (
    id              postback.ulid NOT NULL DEFAULT postback.new_ulid(),
    brand_id        postback.ulid NOT NULL,
    conversion_id   postback.ulid NOT NULL,
    from_status     text,
    to_status       text NOT NULL,
    from_value      bigint,
    to_value        bigint NOT NULL,
    from_commission bigint,
    to_commission   bigint,
    from_fee        bigint,
    to_fee          bigint,
    currency        text NOT NULL,
    actor           text NOT NULL CHECK (actor IN ('receipt', 'cron', 'staff', 'sql')),
    role            text NOT NULL,
    receipt_id      postback.ulid,
    reason          text,
    notice          text
) PARTITION BY RANGE (id);
CREATE TABLE postback.history_default PARTITION OF postback.history DEFAULT;
ALTER TABLE postback.history_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.history_default (conversion_id);
COMMENT ON TABLE postback.history IS 'Every change of a conversion; the id carries its time';
COMMENT ON COLUMN postback.history.from_status IS 'Null: it was created';
COMMENT ON COLUMN postback.history.to_value IS 'Order value, minor units of currency';
COMMENT ON COLUMN postback.history.to_commission IS 'Minor units of the brand''s currency; null: unpriced';
COMMENT ON COLUMN postback.history.actor IS 'receipt: a postback; cron: approve_due and other jobs; staff: a staff function; sql: a plain UPDATE';
COMMENT ON COLUMN postback.history.role IS 'Session user that made the change';

CREATE TABLE postback.parked (
    id         postback.ulid PRIMARY KEY,
    brand_id   postback.ulid NOT NULL,
    order_ref  text COLLATE "C" NOT NULL,
    goal       text COLLATE postback.nocase,
    status     text NOT NULL CHECK (status IN ('approved', 'reversed', 'partial')),
    value      bigint,
    amount     text,
    currency   text,
    reason     text,
    notice     text,
    receipt_id postback.ulid NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX parked_order_idx ON postback.parked (brand_id, order_ref, id);
CREATE INDEX parked_expires_idx ON postback.parked (expires_at);
COMMENT ON TABLE postback.parked IS 'Follow-ups that overtook their order (kept 24 h, 8 per order) or wait for a price (expires_at infinity)';
COMMENT ON COLUMN postback.parked.value IS 'Order value as sent in minor units, null if it was not';
COMMENT ON COLUMN postback.parked.amount IS 'Order value as sent in full units; read by the conversion''s currency when it is known';
COMMENT ON COLUMN postback.parked.currency IS 'As sent; null: the conversion''s';

CREATE TABLE postback.event (
    id           postback.ulid PRIMARY KEY,
    brand_id     postback.ulid NOT NULL,
    name         text COLLATE postback.nocase NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 64),
    order_ref    text COLLATE "C" CHECK (octet_length(order_ref) BETWEEN 1 AND 255),
    offer_id     postback.ulid,
    publisher_id postback.ulid,
    click_id     postback.ulid,
    attribution  text NOT NULL DEFAULT 'none' CHECK (attribution IN ('click', 'promo_code', 'last_click', 'none')),
    sub_id       text,
    notice       text,
    test         boolean NOT NULL DEFAULT false,
    receipt_id   postback.ulid NOT NULL,
    UNIQUE (brand_id, name, order_ref)
);
COMMENT ON TABLE postback.event IS 'Something that happened without money (install, add to cart); with an order it is idempotent';

-- Money: the ledger of transfers and the balances rolled up from it.

CREATE TABLE postback.ledger (
    id            postback.ulid NOT NULL DEFAULT postback.new_ulid(),
    brand_id      postback.ulid NOT NULL,
    publisher_id  postback.ulid,
    from_account  text NOT NULL,
    to_account    text NOT NULL,
    amount        bigint NOT NULL,
    currency      text NOT NULL,
    kind          text NOT NULL,
    conversion_id postback.ulid,
    reference     text,
    CONSTRAINT ledger_amount_check CHECK (amount > 0),
    CONSTRAINT ledger_account_check CHECK (
        from_account <> to_account
        AND from_account IN ('available', 'held', 'payable', 'fees', 'topup', 'payout')
        AND to_account IN ('available', 'held', 'payable', 'fees', 'topup', 'payout')),
    CONSTRAINT ledger_publisher_check CHECK ((publisher_id IS NOT NULL) = ('payable' IN (from_account, to_account))),
    CONSTRAINT ledger_document_check CHECK ((conversion_id IS NULL) = (kind IN ('topup', 'payout')))
) PARTITION BY RANGE (id);
CREATE TABLE postback.ledger_default PARTITION OF postback.ledger DEFAULT;
ALTER TABLE postback.ledger_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.ledger_default (conversion_id);
CREATE INDEX ON postback.ledger_default (brand_id, id);
COMMENT ON TABLE postback.ledger IS
    'Append-only double entry: each row moves amount from one account to another; the id carries the time';
COMMENT ON COLUMN postback.ledger.publisher_id IS 'Whose payable account is meant, on rows that touch one';
COMMENT ON COLUMN postback.ledger.from_account IS
    'available and held (the brand''s), payable (a publisher''s, per brand), fees (the network''s), topup and payout (outside)';
COMMENT ON COLUMN postback.ledger.amount IS 'Minor units of currency, always above 0';
COMMENT ON COLUMN postback.ledger.kind IS
    'commission_held, fee_held, commission_released, fee_released, commission_approved, fee_approved, commission_clawback, fee_clawback, topup, payout';
COMMENT ON COLUMN postback.ledger.reference IS 'Document of a top-up or payout';

CREATE TABLE postback.balance (
    id           postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    brand_id     postback.ulid NOT NULL,
    account      text NOT NULL,
    publisher_id postback.ulid,
    currency     text NOT NULL,
    amount       bigint NOT NULL
);
CREATE INDEX balance_account_idx ON postback.balance (brand_id, account, publisher_id, currency);
COMMENT ON TABLE postback.balance IS
    'Roll-up of the ledger: one row per account plus one per later transaction that touched it; see balances. fold_balances() folds them';

CREATE VIEW postback.balances AS
    SELECT brand_id, account, publisher_id, currency, sum(amount)::bigint AS amount
    FROM postback.balance
    GROUP BY brand_id, account, publisher_id, currency;
COMMENT ON VIEW postback.balances IS 'What is on each account now, minor units of currency: exact at every moment';

-- Outbound: what is to be sent, what is due, and each try.

CREATE TABLE postback.delivery (
    id              postback.ulid NOT NULL DEFAULT postback.new_ulid(),
    brand_id        postback.ulid NOT NULL,
    callback_id     postback.ulid NOT NULL,
    conversion_id   postback.ulid,
    click_id        postback.ulid,
    event_id        postback.ulid,
    offer_id        postback.ulid,
    publisher_id    postback.ulid,
    goal            text,
    status          text,
    payout          bigint,
    revenue         bigint,
    currency        text,
    notice          text,
    seq             integer NOT NULL DEFAULT 1,
    test            boolean NOT NULL DEFAULT false,
    method          text NOT NULL,
    url             text NOT NULL,
    headers         text[],
    body            text,
    due_at          timestamptz NOT NULL,
    state           text NOT NULL DEFAULT 'queued'
                    CHECK (state IN ('waiting', 'queued', 'delivered', 'failed', 'skipped', 'superseded', 'blocked')),
    attempts        smallint NOT NULL DEFAULT 0,
    http_code       smallint,
    error           text,
    sent_at         timestamptz
) PARTITION BY RANGE (id);
CREATE TABLE postback.delivery_default PARTITION OF postback.delivery DEFAULT WITH (fillfactor = 80);
ALTER TABLE postback.delivery_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.delivery_default (conversion_id, callback_id);
COMMENT ON TABLE postback.delivery IS 'One postback to be sent: decided and rendered in the transaction that caused it; the id is the stable delivery id';
COMMENT ON COLUMN postback.delivery.status IS 'Conversion status as told outside: pending, approved or rejected';
COMMENT ON COLUMN postback.delivery.payout IS 'Commission, minor units of currency';
COMMENT ON COLUMN postback.delivery.revenue IS 'Commission and fee, minor units of currency';
COMMENT ON COLUMN postback.delivery.seq IS '1, 2, 3 ... per callback and conversion';
COMMENT ON COLUMN postback.delivery.headers IS 'Rendered "Name: value" lines, without the callback''s auth';
COMMENT ON COLUMN postback.delivery.state IS 'waiting (delayed), queued (due or being retried), delivered, failed, skipped, superseded or blocked';
COMMENT ON COLUMN postback.delivery.http_code IS 'Of the last attempt';
COMMENT ON COLUMN postback.delivery.error IS 'Of the last attempt, or why it was skipped or blocked';
COMMENT ON COLUMN postback.delivery.sent_at IS 'When the last attempt ended';

CREATE TABLE postback.delivery_due (
    delivery_id   postback.ulid PRIMARY KEY,
    callback_id   postback.ulid NOT NULL,
    conversion_id postback.ulid,
    seq           integer NOT NULL,
    endpoint      text COLLATE "C" NOT NULL,
    due_at        timestamptz NOT NULL,
    attempts      smallint NOT NULL DEFAULT 0,
    attempt_id    postback.ulid,
    leased_until  timestamptz,
    sender        text
);
CREATE INDEX delivery_due_endpoint_idx ON postback.delivery_due (endpoint, due_at);
CREATE INDEX delivery_due_conversion_idx ON postback.delivery_due (conversion_id, callback_id, seq);
CREATE UNIQUE INDEX delivery_due_attempt_idx ON postback.delivery_due (attempt_id) WHERE attempt_id IS NOT NULL;
COMMENT ON TABLE postback.delivery_due IS 'The queue: one short row per delivery that is not finished; claim() leases, settle() removes or moves on';
COMMENT ON COLUMN postback.delivery_due.endpoint IS 'host:port, what connection caps and the breaker go by';
COMMENT ON COLUMN postback.delivery_due.attempt_id IS 'Names the current lease; settle() answers to it';

CREATE TABLE postback.attempt (
    id           postback.ulid NOT NULL,
    brand_id     postback.ulid NOT NULL,
    delivery_id  postback.ulid NOT NULL,
    callback_id  postback.ulid NOT NULL,
    number       smallint NOT NULL,
    sender       text NOT NULL,
    outcome      text NOT NULL CHECK (outcome IN ('success', 'failure', 'error', 'blocked')),
    http_code    smallint,
    error        text,
    milliseconds integer,
    address      inet,
    response     text
) PARTITION BY RANGE (id);
CREATE TABLE postback.attempt_default PARTITION OF postback.attempt DEFAULT;
ALTER TABLE postback.attempt_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.attempt_default (delivery_id);
COMMENT ON TABLE postback.attempt IS 'One try of a delivery; the id carries the time of its claim';
COMMENT ON COLUMN postback.attempt.response IS 'The first 2 KB of the answer';

CREATE TABLE postback.partition_policy (
    table_name text PRIMARY KEY,
    width      interval NOT NULL CHECK (width >= '1 hour'),
    ahead      integer NOT NULL DEFAULT 3 CHECK (ahead BETWEEN 1 AND 100),
    retention  interval CHECK (retention > '0')
);
COMMENT ON TABLE postback.partition_policy IS 'How wide the partitions of each growing table are, how many are kept ahead, and how old a partition may get';
COMMENT ON COLUMN postback.partition_policy.retention IS 'Partitions wholly older than this are dropped; null: never';

-- The inbound calls: postbacks and clicks, one at a time and in batches.

CREATE TYPE postback.reply AS (
    item                integer,
    http_status         integer,
    content_type        text,
    body                text,
    outcome             text,
    retry_after         integer,
    ok                  boolean,
    result              text,
    code                text,
    message             text,
    parameter           text,
    conversion_id       postback.ulid,
    "order"             text,
    goal                text,
    status              text,
    value               bigint,
    currency            text,
    commission          bigint,
    fee                 bigint,
    commission_currency text,
    attribution         text,
    hold_until          timestamptz,
    created             boolean,
    applied             text[],
    warning             text,
    test                boolean,
    event_id            postback.ulid,
    receipt_id          postback.ulid,
    rate_limit          integer
);
COMMENT ON COLUMN postback.reply.rate_limit IS 'Calls per second that the token may make: what the daemon keeps to; null: any number';
COMMENT ON TYPE postback.reply IS
    'Answer to one postback: http_status and body are ready to send, the rest are the same fields as columns; outcome = code or result';

CREATE FUNCTION postback.receive_batch(
    items integer[], tokens text[], methods text[], queries text[], bodies text[], content_types text[], remotes inet[],
    signatures text[] DEFAULT NULL, cookies text[] DEFAULT NULL, raw_bodies bytea[] DEFAULT NULL)
    RETURNS SETOF postback.reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_receive_batch';
COMMENT ON FUNCTION postback.receive_batch(integer[], text[], text[], text[], text[], text[], inet[], text[], text[], bytea[]) IS
    'Takes many postbacks in one transaction, in the order of the arrays; one bad item never affects its neighbours';

CREATE FUNCTION postback.receive(
    token text, query text, method text DEFAULT 'GET', body text DEFAULT NULL, content_type text DEFAULT NULL,
    remote inet DEFAULT NULL, signature text DEFAULT NULL, cookie text DEFAULT NULL)
    RETURNS postback.reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_receive';
COMMENT ON FUNCTION postback.receive(text, text, text, text, text, inet, text, text) IS
    'Takes one postback, as GET /p/TOKEN?query does';

CREATE TYPE postback.click_reply AS (
    item        integer,
    http_status integer,
    location    text,
    cookie      text,
    outcome     text,
    click_id    postback.ulid,
    landing     text
);
COMMENT ON TYPE postback.click_reply IS 'Answer to one click: where to redirect, and the Set-Cookie value';
COMMENT ON COLUMN postback.click_reply.outcome IS 'recorded, not_counted, paused or unknown_link';
COMMENT ON COLUMN postback.click_reply.landing IS
    'Where a visitor of this link is sent whose click cannot be recorded: what the daemon remembers; null: unknown link, or nowhere';

CREATE FUNCTION postback.click_batch(
    items integer[], links text[], queries text[], remotes inet[],
    user_agents text[] DEFAULT NULL, referrers text[] DEFAULT NULL, countries text[] DEFAULT NULL,
    counted boolean[] DEFAULT NULL)
    RETURNS SETOF postback.click_reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_click_batch';
COMMENT ON FUNCTION postback.click_batch(integer[], text[], text[], inet[], text[], text[], text[], boolean[]) IS
'Records many clicks in one transaction and says where each visitor goes. counted false (a HEAD, a prefetch): the visitor is
sent to the landing page, nothing is recorded (outcome not_counted) and the address has no click id';

CREATE FUNCTION postback.click(
    link text, query text DEFAULT NULL, remote inet DEFAULT NULL,
    user_agent text DEFAULT NULL, referrer text DEFAULT NULL, country text DEFAULT NULL)
    RETURNS postback.click_reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_click';
COMMENT ON FUNCTION postback.click(text, text, inet, text, text, text) IS 'Records one click, as GET /c/LINK?query does';

-- The life of a conversion: triggers on UPDATE, and what staff may do.

CREATE FUNCTION postback.conversion_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'postback_conversion_check';
COMMENT ON FUNCTION postback.conversion_check() IS
    'Before each UPDATE of a conversion: refuses what the state table forbids, recalculates what the change asks for';

CREATE FUNCTION postback.conversion_effects() RETURNS trigger
    LANGUAGE C SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_conversion_effects';
COMMENT ON FUNCTION postback.conversion_effects() IS
    'After each UPDATE statement on conversion: writes history, ledger, balances and deliveries of all changed rows';

CREATE TRIGGER conversion_check BEFORE UPDATE ON postback.conversion
    FOR EACH ROW EXECUTE FUNCTION postback.conversion_check();
CREATE TRIGGER conversion_effects AFTER UPDATE ON postback.conversion
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION postback.conversion_effects();

CREATE FUNCTION postback.approve(conversion postback.ulid, reason text DEFAULT NULL, notice text DEFAULT NULL)
    RETURNS postback.reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_staff_approve';
COMMENT ON FUNCTION postback.approve(postback.ulid, text, text) IS 'Approves a pending conversion now';

CREATE FUNCTION postback.reverse(conversion postback.ulid, reason text DEFAULT NULL, notice text DEFAULT NULL)
    RETURNS postback.reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_staff_reverse';
COMMENT ON FUNCTION postback.reverse(postback.ulid, text, text) IS
    'Reverses a pending conversion, or claws an approved one back (the publisher''s balance may go negative)';

CREATE FUNCTION postback.reopen(conversion postback.ulid, reason text DEFAULT NULL, notice text DEFAULT NULL)
    RETURNS postback.reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_staff_reopen';
COMMENT ON FUNCTION postback.reopen(postback.ulid, text, text) IS 'Makes a reversed conversion pending again, with a new hold';

CREATE FUNCTION postback.adjust(conversion postback.ulid, value bigint, reason text DEFAULT NULL, notice text DEFAULT NULL)
    RETURNS postback.reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_staff_adjust';
COMMENT ON FUNCTION postback.adjust(postback.ulid, bigint, text, text) IS
    'Sets the order value (minor units of its currency, lower or higher) of a pending conversion and recalculates';

CREATE FUNCTION postback.attribute(conversion postback.ulid, click postback.ulid, reason text DEFAULT NULL, notice text DEFAULT NULL)
    RETURNS postback.reply
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_staff_attribute';
COMMENT ON FUNCTION postback.attribute(postback.ulid, postback.ulid, text, text) IS
    'Gives a pending, unattributed conversion to the publisher of a click of the same brand, and prices it';

CREATE FUNCTION postback.callback_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'postback_callback_check';
COMMENT ON FUNCTION postback.callback_check() IS
    'Before a callback is saved: lints its templates, refuses what is wrong, warns of what is doubtful';
-- Not on the columns that settle() keeps: a sender's bookkeeping is no reason to warn of the templates again.
CREATE TRIGGER callback_check
    BEFORE INSERT OR UPDATE OF name, type, brand_id, offer_id, publisher_id, goal, statuses, reasons, delay, method, url, params,
        headers, auth, success_codes, include_test, on_adjust, every_status ON postback.callback
    FOR EACH ROW EXECUTE FUNCTION postback.callback_check();

CREATE FUNCTION postback.reprice_brand(brand postback.ulid) RETURNS bigint
    LANGUAGE C VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_reprice_brand';
COMMENT ON FUNCTION postback.reprice_brand(postback.ulid) IS
    'Prices the pending conversions of a brand that came before their terms or rate, and applies the approvals that waited; returns how many';

CREATE FUNCTION postback.reprice_unpriced(brand postback.ulid DEFAULT NULL) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT coalesce(sum(postback.reprice_brand(b.id)), 0)::bigint
        FROM postback.brand b
        WHERE b.id = coalesce(reprice_unpriced.brand, b.id)
          AND EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = b.id AND c.commission IS NULL);
    END;
COMMENT ON FUNCTION postback.reprice_unpriced(postback.ulid) IS
    'reprice_brand for one brand, or for all (null); set_terms, set_fx_rate and a job of each minute call it';

-- What an operator calls to set a programme up. Each function returns what the next step needs; the tables can be edited
-- directly too.  Amounts are minor units of the brand's currency throughout.

-- Checks of parameters. All refusals are invalid_parameter_value: what is wrong, with which parameter, and the next step.

CREATE FUNCTION postback.check_text(parameter text, value text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_catalog.btrim(value) <> '' THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('%s is missing', parameter),
        DETAIL = pg_catalog.format('Parameter %s is null or empty.', parameter),
        HINT = pg_catalog.format('Pass it by name: %s => ''...''.', parameter);
END
$$;
COMMENT ON FUNCTION postback.check_text(text, text) IS 'Refuses a parameter that is null or blank';

CREATE FUNCTION postback.check_url(parameter text, value text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value ~* '^https?://[^/?#@[:space:]{}]+([/?#][^[:space:]]*)?$' THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('%s "%s" is not an http or https URL', parameter, value),
        DETAIL = pg_catalog.format('Parameter %s must be absolute, without spaces, user name or macros in scheme and host.', parameter),
        HINT = 'Write it out: https://shop.example/landing';
END
$$;
COMMENT ON FUNCTION postback.check_url(text, text) IS 'Refuses what is not an absolute http or https URL';

CREATE FUNCTION postback.check_period(parameter text, value interval) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value >= '0' THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('%s %s is no period', parameter, coalesce(value::text, 'null')),
        DETAIL = pg_catalog.format('Parameter %s must be zero or longer.', parameter),
        HINT = pg_catalog.format('For example %s => ''14 days''.', parameter);
END
$$;
COMMENT ON FUNCTION postback.check_period(text, interval) IS 'Refuses null and negative periods';

CREATE FUNCTION postback.check_currency(parameter text, value text) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    code text := pg_catalog.upper(pg_catalog.btrim(value));
BEGIN
    IF postback.is_currency(code) THEN
        RETURN code;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('%s "%s" is not an ISO 4217 code', parameter, coalesce(value, '')),
        DETAIL = pg_catalog.format('Parameter %s must be the three-letter code of an active currency.', parameter),
        HINT = 'See postback.currency for the list.';
END
$$;
COMMENT ON FUNCTION postback.check_currency(text, text) IS 'The currency code in capitals; refuses what is none';

CREATE FUNCTION postback.check_valid(valid_from timestamptz, valid_to timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF valid_from < valid_to THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = 'valid_to is not after valid_from',
        DETAIL = pg_catalog.format('Parameter valid_from is %s, valid_to is %s.', valid_from, valid_to),
        HINT = 'Leave valid_to out for no end.';
END
$$;
COMMENT ON FUNCTION postback.check_valid(timestamptz, timestamptz) IS 'Refuses an empty range of time';

-- The row that an id means.

CREATE FUNCTION postback.check_brand(brand postback.ulid) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM postback.brand b WHERE b.id = check_brand.brand) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('brand %s does not exist', coalesce(brand::text, 'null')),
            DETAIL = 'Parameter brand must be the id of a row of postback.brand.',
            HINT = 'Create one with postback.create_brand(...), or SELECT id, name FROM postback.brand.';
    END IF;
END
$$;
COMMENT ON FUNCTION postback.check_brand(postback.ulid) IS 'Refuses an id that is no brand''s';

CREATE FUNCTION postback.check_publisher(publisher postback.ulid) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM postback.publisher p WHERE p.id = check_publisher.publisher) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('publisher %s does not exist', coalesce(publisher::text, 'null')),
            DETAIL = 'Parameter publisher must be the id of a row of postback.publisher.',
            HINT = 'Create one with postback.create_publisher(...), or SELECT id, name FROM postback.publisher.';
    END IF;
END
$$;
COMMENT ON FUNCTION postback.check_publisher(postback.ulid) IS 'Refuses an id that is no publisher''s';

CREATE FUNCTION postback.brand_of_offer(offer postback.ulid) RETURNS postback.ulid
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_brand postback.ulid;
BEGIN
    SELECT o.brand_id INTO found_brand FROM postback.offer o WHERE o.id = brand_of_offer.offer;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('offer %s does not exist', coalesce(offer::text, 'null')),
            DETAIL = 'Parameter offer must be the id of a row of postback.offer.',
            HINT = 'Create one with postback.create_offer(...), or SELECT id, name FROM postback.offer.';
    END IF;
    RETURN found_brand;
END
$$;
COMMENT ON FUNCTION postback.brand_of_offer(postback.ulid) IS 'The brand whose offer it is; refuses an id that is no offer''s';

CREATE FUNCTION postback.check_offer_of_brand(offer postback.ulid, brand postback.ulid) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner_brand postback.ulid := postback.brand_of_offer(offer);
BEGIN
    IF owner_brand <> brand THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('offer %s is not of brand %s', offer, brand),
            DETAIL = pg_catalog.format('Parameters offer and brand do not agree: the offer is of brand %s.', owner_brand),
            HINT = 'Leave brand out, or pass an offer of that brand.';
    END IF;
END
$$;
COMMENT ON FUNCTION postback.check_offer_of_brand(postback.ulid, postback.ulid) IS 'Refuses an offer of another brand';

CREATE FUNCTION postback.find_goal(offer postback.ulid, goal text) RETURNS postback.ulid
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_goal postback.ulid;
    known text;
BEGIN
    SELECT g.id INTO found_goal
    FROM postback.goal g
    WHERE g.offer_id = find_goal.offer
      AND (g.name = find_goal.goal COLLATE postback.nocase OR g.id::text = pg_catalog.upper(find_goal.goal))
    ORDER BY g.name = find_goal.goal COLLATE postback.nocase DESC
    LIMIT 1;
    IF NOT FOUND THEN
        SELECT pg_catalog.string_agg(g.name, ', ' ORDER BY g.name COLLATE "C") INTO known
        FROM postback.goal g
        WHERE g.offer_id = find_goal.offer;
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('goal "%s" does not exist', goal),
            DETAIL = 'Parameter goal must be the name or id of a goal of the offer.',
            HINT = CASE WHEN known IS NULL THEN 'The offer has no goals; create one with postback.create_goal(...).'
                 ELSE pg_catalog.format('The offer has: %s.', known) END;
    END IF;
    RETURN found_goal;
END
$$;
COMMENT ON FUNCTION postback.find_goal(postback.ulid, text) IS 'The goal of the offer by name (without case) or id';

CREATE FUNCTION postback.check_map(parameter text, map jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF map IS NULL THEN
        RETURN;
    END IF;
    IF pg_catalog.jsonb_typeof(map) <> 'object'
       OR EXISTS (SELECT FROM pg_catalog.jsonb_each(CASE WHEN pg_catalog.jsonb_typeof(map) = 'object' THEN map END) e
                  WHERE pg_catalog.jsonb_typeof(e.value) <> 'string') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('%s is not a map of names', parameter),
            DETAIL = pg_catalog.format('Parameter %s must be a JSON object whose values are strings.', parameter),
            HINT = 'From the brand''s word to ours, for example {"transaction_id": "click_id"}.';
    END IF;
END
$$;
COMMENT ON FUNCTION postback.check_map(text, jsonb) IS 'Refuses what is not a flat JSON object of strings';

-- Brands and their tokens.

CREATE FUNCTION postback.create_brand(
    name text, currency text, hold interval DEFAULT '14 days', attribution_window interval DEFAULT '30 days',
    fee_percent numeric DEFAULT 35, fee_of text DEFAULT 'commission', prepaid boolean DEFAULT false,
    credit_limit bigint DEFAULT 0, fallback_url text DEFAULT NULL)
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id postback.ulid := postback.new_ulid();
BEGIN
    PERFORM postback.check_text('name', name);
    PERFORM postback.check_period('hold', hold);
    PERFORM postback.check_period('attribution_window', attribution_window);
    IF fallback_url IS NOT NULL THEN
        PERFORM postback.check_url('fallback_url', fallback_url);
    END IF;
    IF fee_of IS NULL OR fee_of NOT IN ('commission', 'value', 'none') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('fee_of "%s" is unknown', coalesce(fee_of, '')),
            DETAIL = 'Parameter fee_of says what fee_percent is a percentage of.',
            HINT = 'Use commission, value or none.';
    END IF;
    IF fee_percent IS NULL OR fee_percent NOT BETWEEN 0 AND 999 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('fee_percent %s is out of range', coalesce(fee_percent::text, 'null')),
            DETAIL = 'Parameter fee_percent must be from 0 to 999.',
            HINT = 'For no fee pass fee_percent => 0.';
    END IF;
    IF credit_limit IS NULL OR credit_limit < 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('credit_limit %s is out of range', coalesce(credit_limit::text, 'null')),
            DETAIL = 'Parameter credit_limit is how far below zero a prepaid brand may go, in minor units.',
            HINT = 'Pass 0 or more.';
    END IF;
    -- A prepaid brand without credit has nothing to spend before its first top-up.
    INSERT INTO postback.brand
        (id, name, currency, hold, attribution_window, fee_percent, fee_of, prepaid, credit_limit, exhausted, fallback_url)
    VALUES (new_id, create_brand.name, postback.check_currency('currency', create_brand.currency), create_brand.hold,
            create_brand.attribution_window, create_brand.fee_percent, create_brand.fee_of, create_brand.prepaid,
            create_brand.credit_limit, create_brand.prepaid AND create_brand.credit_limit = 0, create_brand.fallback_url);
    PERFORM postback.keep_policies();
    PERFORM postback.keep_partitions();
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION postback.create_brand(text, text, interval, interval, numeric, text, boolean, bigint, text) IS
'A new brand; returns its id.
currency: ISO 4217, what its commissions, fees and ledger are kept in.
hold: how long a conversion stays pending. attribution_window: how old a click may be.
fee_percent: of the commission or the order value (fee_of: commission, value, none).
prepaid: clicks pause at minus credit_limit (minor units); without credit the brand waits for its first top_up().
fallback_url: where visitors go meanwhile. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.issue_token(
    brand postback.ulid, label text DEFAULT '', param_map jsonb DEFAULT NULL, status_map jsonb DEFAULT NULL,
    reply_style text DEFAULT 'json', allow_ips cidr[] DEFAULT NULL, hmac_secret text DEFAULT NULL,
    rate_limit integer DEFAULT NULL, test boolean DEFAULT false, expires_at timestamptz DEFAULT NULL,
    OUT token text, OUT url_path text)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    secret text := postback.random_key(32);
    brand_key text;
BEGIN
    PERFORM postback.check_brand(brand);
    PERFORM postback.check_map('param_map', param_map);
    PERFORM postback.check_map('status_map', status_map);
    IF reply_style IS NULL OR reply_style NOT IN ('json', 'text', 'always200') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('reply_style "%s" is unknown', coalesce(reply_style, '')),
            DETAIL = 'Parameter reply_style says how postbacks of this token are answered.',
            HINT = 'Use json, text or always200.';
    END IF;
    IF rate_limit <= 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('rate_limit %s is out of range', rate_limit),
            DETAIL = 'Parameter rate_limit is calls per second, above 0.',
            HINT = 'Leave it out for no limit.';
    END IF;
    IF hmac_secret = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'hmac_secret is empty',
            DETAIL = 'Parameter hmac_secret is the key with which the brand signs its calls.',
            HINT = 'Leave it out for unsigned calls.';
    END IF;
    SELECT b.key INTO STRICT brand_key FROM postback.brand b WHERE b.id = issue_token.brand;
    INSERT INTO postback.token
        (brand_id, label, secret_hash, param_map, status_map, reply_style, allow_ips, hmac_secret, rate_limit, test, expires_at)
    VALUES (issue_token.brand, coalesce(issue_token.label, ''),
            pg_catalog.sha256(pg_catalog.convert_to(secret, 'UTF8')),
            issue_token.param_map, issue_token.status_map, issue_token.reply_style, issue_token.allow_ips,
            issue_token.hmac_secret, issue_token.rate_limit, coalesce(issue_token.test, false), issue_token.expires_at);
    token := brand_key || '_' || secret;
    url_path := '/p/' || token;
END
$$;
COMMENT ON FUNCTION postback.issue_token(postback.ulid, text, jsonb, jsonb, text, cidr[], text, integer, boolean, timestamptz) IS
'A postback URL for the brand; returns the token, which is shown only here (its SHA-256 is kept), and its path.
param_map, status_map: the brand''s words to ours, {"transaction_id": "click_id"}. reply_style: json, text, always200.
allow_ips: who may call. hmac_secret: calls must be signed. rate_limit: calls per second. test: every order is a test.
Errors: invalid_parameter_value.';

CREATE FUNCTION postback.revoke_token(
    token text DEFAULT NULL, brand postback.ulid DEFAULT NULL, label text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    plain text := pg_catalog.regexp_replace(token, '^.*/|\.gif$', '', 'g');
BEGIN
    IF (token IS NULL) = (brand IS NULL AND label IS NULL) OR (brand IS NULL) <> (label IS NULL) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'which token is not clear',
            DETAIL = 'Parameter token names one by its text, brand and label together name all with that label.',
            HINT = 'Pass either token => ''KEY_SECRET'', or brand => ... and label => ''...''.';
    END IF;
    IF token IS NOT NULL THEN
        UPDATE postback.token t SET revoked_at = coalesce(t.revoked_at, pg_catalog.now())
        FROM postback.brand b
        WHERE b.key = pg_catalog.split_part(plain, '_', 1)
          AND t.brand_id = b.id
          AND t.secret_hash = pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.split_part(plain, '_', 2), 'UTF8'));
    ELSE
        UPDATE postback.token t SET revoked_at = coalesce(t.revoked_at, pg_catalog.now())
        WHERE t.brand_id = revoke_token.brand AND t.label = revoke_token.label;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = CASE WHEN token IS NULL THEN pg_catalog.format('no token of the brand has label "%s"', label)
                 ELSE pg_catalog.format('token "%s..." does not exist', pg_catalog.left(plain, 8)) END,
            DETAIL = CASE WHEN token IS NULL THEN 'Parameters brand and label match no row of postback.token.'
                 ELSE 'Parameter token matches no row of postback.token.' END,
            HINT = 'SELECT brand_id, label, revoked_at FROM postback.token lists them.';
    END IF;
END
$$;
COMMENT ON FUNCTION postback.revoke_token(text, postback.ulid, text) IS
'From now on calls with the token are answered 403 token_revoked. Named by its text (with or without /p/), or by brand and label.
Revoking again changes nothing. Errors: invalid_parameter_value.';

-- Offers, goals, publishers, links.

CREATE FUNCTION postback.create_offer(
    brand postback.ulid, name text, landing_url text, hold interval DEFAULT NULL,
    attribution_window interval DEFAULT NULL, goals_enabled boolean DEFAULT true)
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id postback.ulid := postback.new_ulid();
BEGIN
    PERFORM postback.check_brand(brand);
    PERFORM postback.check_text('name', name);
    PERFORM postback.check_url('landing_url', landing_url);
    IF hold IS NOT NULL THEN
        PERFORM postback.check_period('hold', hold);
    END IF;
    IF attribution_window IS NOT NULL THEN
        PERFORM postback.check_period('attribution_window', attribution_window);
    END IF;
    INSERT INTO postback.offer (id, brand_id, name, landing_url, hold, attribution_window, goals_enabled)
    VALUES (new_id, create_offer.brand, create_offer.name, create_offer.landing_url, create_offer.hold,
            create_offer.attribution_window, coalesce(create_offer.goals_enabled, true));
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION postback.create_offer(postback.ulid, text, text, interval, interval, boolean) IS
'A new offer of the brand; returns its id. landing_url: {click_id} in it is replaced, else click_id is appended.
hold, attribution_window: null = the brand''s. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.create_goal(offer postback.ulid, name text, is_default boolean DEFAULT false)
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id postback.ulid := postback.new_ulid();
    its_brand postback.ulid := postback.brand_of_offer(offer);
BEGIN
    PERFORM postback.check_text('name', name);
    IF pg_catalog.octet_length(pg_catalog.btrim(name)) > 64 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('name "%s" is too long', name),
            DETAIL = 'Parameter name, a goal''s, may have 64 bytes.',
            HINT = 'Choose a shorter one.';
    END IF;
    PERFORM FROM postback.offer o WHERE o.id = create_goal.offer FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM postback.goal g
               WHERE g.offer_id = create_goal.offer
                 AND g.name = pg_catalog.btrim(create_goal.name) COLLATE postback.nocase) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('goal "%s" exists already', name),
            DETAIL = 'Parameter name is compared without case, and an offer has each goal once.',
            HINT = 'SELECT id, name FROM postback.goal lists them.';
    END IF;
    IF is_default THEN
        UPDATE postback.goal g SET is_default = false WHERE g.offer_id = create_goal.offer AND g.is_default;
    END IF;
    INSERT INTO postback.goal (id, brand_id, offer_id, name, is_default)
    VALUES (new_id, its_brand, create_goal.offer, pg_catalog.btrim(create_goal.name),
            coalesce(create_goal.is_default, false));
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION postback.create_goal(postback.ulid, text, boolean) IS
'A new goal of the offer; returns its id. name: up to 64 bytes, compared without case.
is_default: postbacks that name no goal mean this one; the former default ceases to be it. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.create_publisher(name text) RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id postback.ulid := postback.new_ulid();
BEGIN
    PERFORM postback.check_text('name', name);
    INSERT INTO postback.publisher (id, name) VALUES (new_id, create_publisher.name);
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION postback.create_publisher(text) IS
    'A new publisher; returns its id. Publishers may work for any brand. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.create_link(
    offer postback.ulid, publisher postback.ulid, OUT code text, OUT url_path text)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    its_brand postback.ulid := postback.brand_of_offer(offer);
    brand_key text;
BEGIN
    PERFORM postback.check_publisher(publisher);
    -- Calls for one offer go one after another, so that two at once give the same code.
    PERFORM FROM postback.offer o WHERE o.id = create_link.offer FOR NO KEY UPDATE;
    SELECT l.code INTO code
    FROM postback.link l
    WHERE l.offer_id = create_link.offer AND l.publisher_id = create_link.publisher
    ORDER BY l.created_at, l.code
    LIMIT 1;
    SELECT b.key INTO STRICT brand_key FROM postback.brand b WHERE b.id = its_brand;
    WHILE code IS NULL LOOP
        INSERT INTO postback.link AS l (code, brand_id, offer_id, publisher_id)
        VALUES (brand_key || '-' || postback.random_key(8), its_brand, create_link.offer, create_link.publisher)
        ON CONFLICT ON CONSTRAINT link_pkey DO NOTHING
        RETURNING l.code INTO code;
    END LOOP;
    url_path := '/c/' || code;
END
$$;
COMMENT ON FUNCTION postback.create_link(postback.ulid, postback.ulid) IS
'The publisher''s tracking link for the offer: its code and path. Called again it gives the same one.
For a further link INSERT INTO postback.link. Errors: invalid_parameter_value.';

-- Terms, rates, promo codes.

CREATE FUNCTION postback.set_terms(
    offer postback.ulid, goal text DEFAULT NULL, publisher postback.ulid DEFAULT NULL, percent numeric DEFAULT NULL,
    fixed bigint DEFAULT NULL, min bigint DEFAULT NULL, max bigint DEFAULT NULL, brackets jsonb DEFAULT NULL,
    valid_from timestamptz DEFAULT '-infinity', valid_to timestamptz DEFAULT 'infinity')
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id postback.ulid := postback.new_ulid();
    its_brand postback.ulid := postback.brand_of_offer(offer);
    its_goal postback.ulid;
    starts timestamptz := coalesce(valid_from, '-infinity');
    ends timestamptz := coalesce(valid_to, 'infinity');
BEGIN
    IF goal IS NOT NULL THEN
        its_goal := postback.find_goal(offer, goal);
    END IF;
    IF publisher IS NOT NULL THEN
        PERFORM postback.check_publisher(publisher);
    END IF;
    PERFORM postback.check_valid(starts, ends);
    IF percent IS NULL AND fixed IS NULL AND brackets IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the terms pay nothing',
            DETAIL = 'None of the parameters percent, fixed and brackets is given.',
            HINT = 'For terms that pay nothing on purpose pass fixed => 0.';
    END IF;
    IF percent NOT BETWEEN 0 AND 999 OR percent <> pg_catalog.round(percent, 6) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('percent %s is out of range', percent),
            DETAIL = 'Parameter percent must be from 0 to 999 with at most 6 decimals.',
            HINT = '8 percent is percent => 8.';
    END IF;
    IF fixed < 0 OR min < 0 OR max < 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'an amount is negative',
            DETAIL = 'Parameters fixed, min and max are minor units of the brand''s currency, 0 or more.',
            HINT = '5.00 EUR is fixed => 500.';
    END IF;
    IF max < coalesce(min, 0) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'max is below min',
            DETAIL = pg_catalog.format('Parameter min is %s, max is %s.', min, max),
            HINT = 'Leave max out for no upper bound.';
    END IF;
    IF NOT postback.brackets_valid(brackets) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'brackets are not valid',
            DETAIL = 'Parameter brackets must be a list of at most 64 objects ascending by "from", each with "percent", "fixed" or both.',
            HINT = 'For example [{"from": 10000, "percent": 8}].';
    END IF;
    INSERT INTO postback.terms
        (id, brand_id, offer_id, goal_id, publisher_id, percent, fixed, min, max, brackets, valid_from, valid_to)
    VALUES (new_id, its_brand, set_terms.offer, its_goal, set_terms.publisher, set_terms.percent, set_terms.fixed,
            set_terms.min, set_terms.max, set_terms.brackets, starts, ends);
    PERFORM postback.reprice_unpriced(its_brand);
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION postback.set_terms(
    postback.ulid, text, postback.ulid, numeric, bigint, bigint, bigint, jsonb, timestamptz, timestamptz) IS
'What the offer pays from now on; returns the terms'' id. Narrowed by goal (name without case, or id) and publisher; the most
specific wins, of equals the newest. percent: of the order value, 6 decimals; fixed, min, max: minor units of the brand''s
currency; brackets: [{"from": 10000, "percent": 8, "fixed": 0}] by order value. Conversions keep the terms that they were
priced with; those that had none are priced now. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.set_terms(
    offer postback.ulid, goal postback.ulid, publisher postback.ulid DEFAULT NULL, percent numeric DEFAULT NULL,
    fixed bigint DEFAULT NULL, min bigint DEFAULT NULL, max bigint DEFAULT NULL, brackets jsonb DEFAULT NULL,
    valid_from timestamptz DEFAULT '-infinity', valid_to timestamptz DEFAULT 'infinity')
    RETURNS postback.ulid
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT postback.set_terms(offer => offer, goal => goal::text, publisher => publisher, percent => percent, fixed => fixed,
                              min => min, max => max, brackets => brackets, valid_from => valid_from, valid_to => valid_to)
$$;
COMMENT ON FUNCTION postback.set_terms(
    postback.ulid, postback.ulid, postback.ulid, numeric, bigint, bigint, bigint, jsonb, timestamptz, timestamptz) IS
    'The same with the goal''s id as create_goal() returns it';

CREATE FUNCTION postback.set_fx_rate(base text, quote text, rate numeric, valid_from timestamptz DEFAULT now()) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    base_code text := postback.check_currency('base', base);
    quote_code text := postback.check_currency('quote', quote);
BEGIN
    IF base_code = quote_code THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('base and quote are both %s', base_code),
            DETAIL = 'Parameters base and quote must be two currencies.',
            HINT = '1 base = rate quote, in full units.';
    END IF;
    IF rate IS NULL OR pg_catalog.round(rate, 10) <= 0 OR rate >= 1e8 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('rate %s is out of range', coalesce(rate::text, 'null')),
            DETAIL = 'Parameter rate must be above 0 and below 100,000,000; 10 decimals are kept.',
            HINT = '1 base = rate quote, in full units.';
    END IF;
    INSERT INTO postback.fx_rate (base, quote, rate, valid_from)
    VALUES (base_code, quote_code, set_fx_rate.rate, coalesce(set_fx_rate.valid_from, pg_catalog.now()));
    PERFORM postback.reprice_unpriced();
END
$$;
COMMENT ON FUNCTION postback.set_fx_rate(text, text, numeric, timestamptz) IS
'An exchange rate: 1 base = rate quote, in full units, from valid_from on; the newest that is valid wins.
Conversions that waited for it are priced now. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.create_promo_code(
    brand postback.ulid, code text, publisher postback.ulid, offer postback.ulid DEFAULT NULL,
    valid_from timestamptz DEFAULT '-infinity', valid_to timestamptz DEFAULT 'infinity')
    RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    its_offer postback.ulid := offer;
    offers bigint;
    starts timestamptz := coalesce(valid_from, '-infinity');
    ends timestamptz := coalesce(valid_to, 'infinity');
BEGIN
    PERFORM postback.check_brand(brand);
    PERFORM postback.check_text('code', code);
    IF pg_catalog.octet_length(pg_catalog.btrim(code)) > 128 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('code "%s..." is too long', pg_catalog.left(code, 20)),
            DETAIL = 'Parameter code may have 128 bytes.',
            HINT = 'Choose a shorter one.';
    END IF;
    PERFORM postback.check_publisher(publisher);
    PERFORM postback.check_valid(starts, ends);
    IF offer IS NULL THEN
        SELECT pg_catalog.count(*), pg_catalog.min(o.id) INTO offers, its_offer
        FROM postback.offer o
        WHERE o.brand_id = create_promo_code.brand;
        IF offers <> 1 THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'which offer is not clear',
                DETAIL = pg_catalog.format('Parameter offer may be left out when the brand has one offer; this brand has %s.', offers),
                HINT = CASE offers WHEN 0 THEN 'Create one with postback.create_offer(...) first.'
                            ELSE 'SELECT id, name FROM postback.offer lists them.' END;
        END IF;
    ELSE
        PERFORM postback.check_offer_of_brand(offer, brand);
    END IF;
    -- Calls for one brand go one after another, so that a code cannot be given to two publishers at once.
    PERFORM FROM postback.brand b WHERE b.id = create_promo_code.brand FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM postback.promo_code p
               WHERE p.brand_id = create_promo_code.brand
                 AND p.code = pg_catalog.btrim(create_promo_code.code) COLLATE postback.nocase
                 AND p.valid_from < ends AND p.valid_to > starts) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('promo code "%s" is taken', code),
            DETAIL = 'Parameter code is compared without case; the brand has it already for part of that time.',
            HINT = 'End the other one first by setting its valid_to, or choose another time.';
    END IF;
    INSERT INTO postback.promo_code (brand_id, code, publisher_id, offer_id, valid_from, valid_to)
    VALUES (create_promo_code.brand, pg_catalog.btrim(create_promo_code.code), create_promo_code.publisher, its_offer, starts, ends);
END
$$;
COMMENT ON FUNCTION postback.create_promo_code(postback.ulid, text, postback.ulid, postback.ulid, timestamptz, timestamptz) IS
'Orders with this code (compared without case, up to 128 bytes) and no click id go to the publisher.
offer may be left out when the brand has exactly one. Errors: invalid_parameter_value.';

-- Callbacks and their signing secrets.

CREATE FUNCTION postback.check_secret(secret text) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    plain text := pg_catalog.regexp_replace(pg_catalog.btrim(secret), '^whsec_', '');
BEGIN
    IF plain ~ '^[A-Za-z0-9+/]+={0,2}$' AND pg_catalog.length(plain) % 4 = 0 THEN
        RETURN 'whsec_' || plain;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = 'secret is not base64',
        DETAIL = 'Parameter secret must be bytes in base64 with padding, with or without "whsec_" before them.',
        HINT = 'Leave it out in postback.rotate_secret(callback) to have a good one made.';
END
$$;
COMMENT ON FUNCTION postback.check_secret(text) IS 'The signing secret as it is kept, with whsec_; refuses what is not base64';

CREATE FUNCTION postback.create_callback(
    name text, url text, type text DEFAULT 'conversion', brand postback.ulid DEFAULT NULL, offer postback.ulid DEFAULT NULL,
    publisher postback.ulid DEFAULT NULL, goal text DEFAULT NULL, statuses text[] DEFAULT '{approved}',
    reasons text[] DEFAULT NULL, delay interval DEFAULT '0', method text DEFAULT 'GET', params jsonb DEFAULT NULL,
    headers jsonb DEFAULT NULL, auth jsonb DEFAULT NULL, secret text DEFAULT NULL, success_codes text DEFAULT '200-299',
    include_test boolean DEFAULT false, on_adjust boolean DEFAULT false, every_status boolean DEFAULT false)
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id postback.ulid := postback.new_ulid();
    its_brand postback.ulid := brand;
    its_goal text := nullif(pg_catalog.btrim(goal), '');
    its_statuses text[];
    word text;
BEGIN
    PERFORM postback.check_text('name', name);
    PERFORM postback.check_text('url', url);
    IF type IS NULL OR type NOT IN ('click', 'conversion', 'event') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('type "%s" is unknown', coalesce(type, '')),
            DETAIL = 'Parameter type says what the callback tells of.',
            HINT = 'Use click, conversion or event.';
    END IF;
    IF offer IS NOT NULL THEN
        its_brand := postback.brand_of_offer(offer);
        IF brand IS NOT NULL THEN
            PERFORM postback.check_offer_of_brand(offer, brand);
        END IF;
        -- A goal may be one that the offer does not define; an id is kept as its name.
        SELECT coalesce(pg_catalog.max(g.name COLLATE "C"), its_goal) INTO its_goal
        FROM postback.goal g
        WHERE g.offer_id = create_callback.offer AND g.id::text = pg_catalog.upper(its_goal);
    ELSIF brand IS NOT NULL THEN
        PERFORM postback.check_brand(brand);
    END IF;
    IF publisher IS NOT NULL THEN
        PERFORM postback.check_publisher(publisher);
    END IF;
    IF pg_catalog.octet_length(its_goal) > 64 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('goal "%s..." is too long', pg_catalog.left(its_goal, 20)),
            DETAIL = 'Parameter goal is the name of a goal, up to 64 bytes.',
            HINT = 'Leave it out for any goal.';
    END IF;
    FOREACH word IN ARRAY coalesce(statuses, '{}') LOOP
        its_statuses := its_statuses || CASE pg_catalog.lower(pg_catalog.btrim(word))
            WHEN 'pending' THEN '{pending}'::text[]
            WHEN 'approved' THEN '{approved}'
            WHEN 'rejected' THEN '{rejected}'
            WHEN 'reversed' THEN '{rejected}'
            WHEN 'any' THEN '{pending,approved,rejected}'
            ELSE ARRAY[word] END;
    END LOOP;
    IF its_statuses IS NULL OR NOT its_statuses <@ '{pending,approved,rejected}' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('statuses %s are not all known', coalesce(statuses::text, 'null')),
            DETAIL = 'Parameter statuses says on which the callback fires.',
            HINT = 'Use any of pending, approved, rejected; or any for all three.';
    END IF;
    its_statuses := ARRAY(SELECT s FROM pg_catalog.unnest('{pending,approved,rejected}'::text[]) WITH ORDINALITY AS k (s, n)
                          WHERE s = ANY (its_statuses) ORDER BY n);
    IF pg_catalog.cardinality(reasons) = 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'reasons is an empty list',
            DETAIL = 'Parameter reasons narrows rejected conversions to those with one of these reasons.',
            HINT = 'Leave it out for any reason.';
    END IF;
    IF delay IS NULL OR (delay <> '0' AND delay < '2 minutes') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('delay %s is too short', coalesce(delay::text, 'null')),
            DETAIL = 'Parameter delay must be 0 or at least 2 minutes.',
            HINT = 'For example delay => ''5 minutes''.';
    END IF;
    IF method IS NULL OR method NOT IN ('GET', 'POST_FORM', 'POST_JSON') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('method "%s" is unknown', coalesce(method, '')),
            DETAIL = 'Parameter method says how the request is made.',
            HINT = 'Use GET, POST_FORM or POST_JSON.';
    END IF;
    IF (CASE auth ->> 'type'
            WHEN 'basic' THEN pg_catalog.jsonb_typeof(auth -> 'user') = 'string' AND auth ->> 'user' !~ ':'
                              AND pg_catalog.jsonb_typeof(auth -> 'password') = 'string'
            WHEN 'bearer' THEN pg_catalog.jsonb_typeof(auth -> 'token') = 'string' AND auth ->> 'token' ~ '^[!-~]+$'
            ELSE auth IS NULL
        END) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'auth is not understood',
            DETAIL = 'Parameter auth must be of type basic with user and password, or of type bearer with token.',
            HINT = '{"type":"basic","user":"...","password":"..."} or {"type":"bearer","token":"..."}';
    END IF;
    IF success_codes IS NULL
       OR success_codes !~ '^[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*$' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('success_codes "%s" is not a list of HTTP codes', coalesce(success_codes, '')),
            DETAIL = 'Parameter success_codes lists codes and ranges of codes, separated by commas.',
            HINT = 'For example 200-299,302.';
    END IF;
    INSERT INTO postback.callback
        (id, name, type, brand_id, offer_id, publisher_id, goal, statuses, reasons, delay, method, url, params, headers, auth,
         success_codes, include_test, on_adjust, every_status)
    VALUES (new_id, create_callback.name, create_callback.type, its_brand, create_callback.offer, create_callback.publisher,
            its_goal, its_statuses, create_callback.reasons, create_callback.delay, create_callback.method,
            create_callback.url, create_callback.params, create_callback.headers, create_callback.auth,
            create_callback.success_codes, coalesce(create_callback.include_test, false),
            coalesce(create_callback.on_adjust, false), coalesce(create_callback.every_status, false));
    IF secret IS NOT NULL THEN
        INSERT INTO postback.callback_secret (callback_id, secret) VALUES (new_id, postback.check_secret(create_callback.secret));
    END IF;
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION postback.create_callback(
    text, text, text, postback.ulid, postback.ulid, postback.ulid, text, text[], text[], interval, text, jsonb, jsonb, jsonb,
    text, text, boolean, boolean, boolean) IS
'A new outbound postback; returns its id. url, params, headers: templates with {macros}, linted when saved.
type: click, conversion, event. brand, offer, publisher, goal (a name): null = any; offer fills in its brand.
statuses: of pending, approved, rejected (any = all three). reasons: narrows rejected. delay: 0 or at least 2 minutes.
method: GET, POST_FORM, POST_JSON. auth: {"type":"basic","user":...,"password":...} or {"type":"bearer","token":...}.
secret: base64, signs requests (Standard Webhooks). success_codes: 200-299,302. include_test: fire for test orders too.
on_adjust: fire when a partial changes the payout. every_status: no delivery is superseded by a newer one.
Errors: invalid_parameter_value.';

CREATE FUNCTION postback.rotate_secret(callback postback.ulid, secret text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fresh text := postback.check_secret(coalesce(secret, pg_catalog.encode(postback.random_bytes(32), 'base64')));
BEGIN
    -- Locks the callback: of two at once the later one's secret is the lasting one.
    PERFORM FROM postback.callback c WHERE c.id = rotate_secret.callback FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('callback %s does not exist', coalesce(callback::text, 'null')),
            DETAIL = 'Parameter callback must be the id of a row of postback.callback.',
            HINT = 'SELECT id, name FROM postback.callback lists them.';
    END IF;
    DELETE FROM postback.callback_secret s
    WHERE s.callback_id = rotate_secret.callback AND s.valid_to <= pg_catalog.now();
    UPDATE postback.callback_secret s SET valid_to = pg_catalog.now() + interval '24 hours'
    WHERE s.callback_id = rotate_secret.callback AND s.secret <> fresh
      AND s.valid_to > pg_catalog.now() + interval '24 hours';
    INSERT INTO postback.callback_secret (callback_id, secret) VALUES (rotate_secret.callback, fresh)
    ON CONFLICT ON CONSTRAINT callback_secret_pkey DO UPDATE SET valid_to = 'infinity';
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION postback.rotate_secret(postback.ulid, text) IS
'A new signing secret for the callback, returned as whsec_...; generated (32 bytes) unless given in base64.
Requests are signed with the former one too for 24 hours. Errors: invalid_parameter_value.';

-- Money from and to the outside.

CREATE FUNCTION postback.book_transfer(
    brand postback.ulid, publisher postback.ulid, from_account text, to_account text, amount bigint, currency text,
    kind text, reference text)
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id postback.ulid := postback.new_ulid();
    brand_currency text;
BEGIN
    IF amount IS NULL OR amount <= 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('amount %s is out of range', coalesce(amount::text, 'null')),
            DETAIL = 'Parameter amount must be above 0, in minor units of the brand''s currency.',
            HINT = '10.00 EUR is amount => 1000.';
    END IF;
    -- Locks the brand, as conversions of prepaid brands do: the balance that decides on exhausted is exact.
    SELECT b.currency INTO brand_currency FROM postback.brand b WHERE b.id = book_transfer.brand FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM postback.check_brand(brand);
    END IF;
    IF currency IS NOT NULL AND postback.check_currency('currency', currency) <> brand_currency THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('currency %s is not the brand''s', pg_catalog.upper(pg_catalog.btrim(currency))),
            DETAIL = pg_catalog.format('Parameter currency must be %s, in which the brand''s ledger is kept.', brand_currency),
            HINT = 'Convert the amount first, or leave currency out.';
    END IF;
    INSERT INTO postback.ledger (id, brand_id, publisher_id, from_account, to_account, amount, currency, kind, reference)
    VALUES (new_id, book_transfer.brand, book_transfer.publisher, book_transfer.from_account, book_transfer.to_account,
            book_transfer.amount, brand_currency, book_transfer.kind, book_transfer.reference);
    INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount)
    VALUES (book_transfer.brand, from_account, CASE from_account WHEN 'payable' THEN publisher END, brand_currency, - amount),
           (book_transfer.brand, to_account, CASE to_account WHEN 'payable' THEN publisher END, brand_currency, amount);
    UPDATE postback.brand b SET exhausted = NOT b.exhausted
    WHERE b.id = book_transfer.brand
      AND b.exhausted <> postback.is_exhausted(b.id, b.prepaid, b.credit_limit);
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION postback.book_transfer(postback.ulid, postback.ulid, text, text, bigint, text, text, text) IS
    'One transfer from or to an outside account, with its balances; what top_up() and book_payout() share';

CREATE FUNCTION postback.is_exhausted(brand postback.ulid, prepaid boolean, credit_limit bigint) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT prepaid AND coalesce((SELECT pg_catalog.sum(m.amount) FROM postback.balance m
                                 WHERE m.brand_id = brand AND m.account = 'available'), 0) <= - credit_limit
$$;
COMMENT ON FUNCTION postback.is_exhausted(postback.ulid, boolean, bigint) IS
    'Is a prepaid brand''s available balance at minus its credit limit or below?';

CREATE FUNCTION postback.brand_limit_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.exhausted := postback.is_exhausted(NEW.id, NEW.prepaid, NEW.credit_limit);
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION postback.brand_limit_changed() IS 'Keeps brand.exhausted true to a changed limit';
CREATE TRIGGER brand_limit_changed BEFORE UPDATE OF prepaid, credit_limit ON postback.brand
    FOR EACH ROW EXECUTE FUNCTION postback.brand_limit_changed();

CREATE FUNCTION postback.top_up(
    brand postback.ulid, amount bigint, currency text DEFAULT NULL, reference text DEFAULT NULL)
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN postback.book_transfer(brand, NULL, 'topup', 'available', amount, currency, 'topup', reference);
END
$$;
COMMENT ON FUNCTION postback.top_up(postback.ulid, bigint, text, text) IS
'Money received from the brand: amount in minor units of its currency (currency, if given, must be that), reference = document.
Returns the ledger row''s id. A prepaid brand that is above its limit again takes clicks at once.
Errors: invalid_parameter_value.';

CREATE FUNCTION postback.book_payout(
    brand postback.ulid, publisher postback.ulid, amount bigint, currency text DEFAULT NULL, reference text DEFAULT NULL)
    RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM postback.check_publisher(publisher);
    RETURN postback.book_transfer(brand, publisher, 'payable', 'payout', amount, currency, 'payout', reference);
END
$$;
COMMENT ON FUNCTION postback.book_payout(postback.ulid, postback.ulid, bigint, text, text) IS
'Money paid to the publisher for the brand: amount in minor units of the brand''s currency, reference = document.
Returns the ledger row''s id. It books what happened: an advance leaves the payable balance negative.
Errors: invalid_parameter_value.';

-- Partitions by id, which is by time: kept ahead, and dropped when they are old.

CREATE FUNCTION postback.partition_defaults(OUT table_name text, OUT width interval, OUT ahead integer, OUT retention interval)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 7 SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('click',        interval '7 days',  3, interval '400 days'), -- attribution, and a year's reports
           ('click_detail', interval '7 days',  3, interval '30 days'),  -- personal data: as short as is useful
           ('receipt',      interval '7 days',  3, interval '400 days'), -- a year's disputes
           ('delivery',     interval '7 days',  3, interval '90 days'),
           ('attempt',      interval '7 days',  3, interval '90 days'),
           ('history',      interval '1 month', 3, NULL),                -- audit() recomputes from all of history
           ('ledger',       interval '1 month', 3, NULL)                 -- and from all of the ledger
$$;
COMMENT ON FUNCTION postback.partition_defaults() IS
    'What keep_partitions() puts into partition_policy for a table that is not there yet';

CREATE FUNCTION postback.partition_floor(width interval, at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    months integer := extract(year FROM width) * 12 + extract(month FROM width);
    past integer;
BEGIN
    IF months = 0 THEN
        RETURN date_bin(width, at, timestamptz 'epoch');
    END IF;
    IF width <> make_interval(months => months) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('width %s mixes months with days', width),
            DETAIL = 'The width of partitions is either whole months, or days and hours.',
            HINT = 'UPDATE postback.partition_policy SET width = ''1 month'' or ''28 days''.';
    END IF;
    past := (extract(year FROM at AT TIME ZONE 'UTC') - 1970) * 12 + extract(month FROM at AT TIME ZONE 'UTC') - 1;
    past := past - (past % months + months) % months;
    RETURN (timestamp 'epoch' + make_interval(months => past)) AT TIME ZONE 'UTC';
END
$$;
COMMENT ON FUNCTION postback.partition_floor(interval, timestamptz) IS
    'The last moment at or before at that is a multiple of width after 1970-01-01 UTC; width: months, or days and hours';

CREATE FUNCTION postback.partition_next(width interval, at timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (postback.partition_floor(width, at) AT TIME ZONE 'UTC' + width) AT TIME ZONE 'UTC'
$$;
COMMENT ON FUNCTION postback.partition_next(interval, timestamptz) IS 'The first such moment after at';

CREATE FUNCTION postback.partition_bounds(
    parent regclass, OUT partition regclass, OUT lower postback.ulid, OUT upper postback.ulid)
    RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid, b.bounds[1]::postback.ulid, b.bounds[2]::postback.ulid
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(\w+)''\) TO \(''(\w+)''\)')
        AS b (bounds)
    WHERE i.inhparent = parent AND b.bounds IS NOT NULL
    ORDER BY 2
$$;
COMMENT ON FUNCTION postback.partition_bounds(regclass) IS
    'The table''s partitions but the default one, with their bounds (upper is exclusive), as the catalogue has them';

CREATE FUNCTION postback.make_partition(table_name text, starts timestamptz, ends timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    partition text := table_name || '_p' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDDHH24MI');
    default_table text := table_name || '_default';
    lower postback.ulid := postback.ulid_floor(starts);
    upper postback.ulid := postback.ulid_floor(ends);
    options text;
BEGIN
    -- click_p20260101, with the hour and minute only if it does not begin at midnight
    partition := regexp_replace(regexp_replace(partition, '(_p\d{10})00$', '\1'), '(_p\d{8})00$', '\1');

    -- Until this is committed nothing is written to the default partition, whose rows of this range move.
    EXECUTE format('LOCK TABLE postback.%I IN ACCESS EXCLUSIVE MODE', default_table);
    EXECUTE format('CREATE TABLE postback.%I (LIKE postback.%I INCLUDING ALL)', partition, default_table);
    SELECT array_to_string(c.reloptions, ', ') INTO options
    FROM pg_class c
    WHERE c.oid = format('postback.%I', default_table)::regclass;
    IF options IS NOT NULL THEN
        EXECUTE format('ALTER TABLE postback.%I SET (%s)', partition, options);
    END IF;
    EXECUTE format('WITH moved AS (DELETE FROM postback.%I WHERE id >= $1 AND id < $2 RETURNING *)
                    INSERT INTO postback.%I SELECT * FROM moved', default_table, partition)
        USING lower, upper;
    EXECUTE format('ALTER TABLE postback.%I ATTACH PARTITION postback.%I FOR VALUES FROM (%L) TO (%L)',
                   table_name, partition, lower, upper);
    RETURN partition;
END
$$;
COMMENT ON FUNCTION postback.make_partition(text, timestamptz, timestamptz) IS
    'One partition for the ids of that time, made like the default one, from which its rows are moved; returns its name';

CREATE FUNCTION postback.keep_partitions(
    at timestamptz DEFAULT now(), OUT table_name text, OUT partition text, OUT action text)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
#variable_conflict use_column
DECLARE
    policy record;
    existing record;
    starts timestamptz;
    ends timestamptz;
    covered timestamptz;
    next_lower timestamptz;
    until timestamptz;
    oldest postback.ulid;
    purged bigint;
BEGIN
    -- Two at once would make the same partitions.
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('postback'), 1);
    EXCEPTION WHEN lock_not_available THEN
        action := 'busy';
        RETURN NEXT;
        RETURN;
    END;

    -- Policies are kept as rows by this function, not by the extension's script, so that a dump holds all of them.
    INSERT INTO postback.partition_policy (table_name, width, ahead, retention)
    SELECT d.table_name, d.width, d.ahead, d.retention FROM postback.partition_defaults() d
    ON CONFLICT DO NOTHING;

    FOR policy IN
        SELECT p.table_name, p.width, p.ahead, p.retention
        FROM postback.partition_policy p
        JOIN postback.partition_defaults() d ON d.table_name = p.table_name
        ORDER BY p.table_name COLLATE "C"
    LOOP
        table_name := policy.table_name;

        -- The current partition and those ahead.  Bounds that are there stay, whatever width they were made with; what is
        -- made begins where they end, or fills the gaps between them.
        starts := postback.partition_floor(policy.width, at);
        until := starts;
        FOR i IN 0 .. policy.ahead LOOP
            until := postback.partition_next(policy.width, until);
        END LOOP;
        WHILE starts < until LOOP
            SELECT max(postback.ulid_time(b.upper)) FILTER (WHERE b.lower <= postback.ulid_floor(starts)),
                   min(postback.ulid_time(b.lower)) FILTER (WHERE b.lower > postback.ulid_floor(starts))
            INTO covered, next_lower
            FROM postback.partition_bounds(format('postback.%I', table_name)::regclass) b
            WHERE b.upper > postback.ulid_floor(starts);
            IF covered IS NOT NULL THEN
                starts := covered;
                CONTINUE;
            END IF;
            ends := least(postback.partition_next(policy.width, starts), next_lower);
            BEGIN
                partition := postback.make_partition(table_name, starts, ends);
                action := 'created';
            EXCEPTION WHEN lock_not_available THEN
                partition := NULL;
                action := 'busy';
            END;
            RETURN NEXT;
            EXIT WHEN action = 'busy';
            starts := ends;
        END LOOP;

        CONTINUE WHEN policy.retention IS NULL;
        oldest := postback.ulid_floor(at - policy.retention);
        FOR existing IN
            SELECT b.partition AS relation, c.relname::text AS name, b.upper
            FROM postback.partition_bounds(format('postback.%I', table_name)::regclass) b
            JOIN pg_class c ON c.oid = b.partition
            WHERE b.upper <= oldest
        LOOP
            partition := existing.name;
            BEGIN
                IF table_name = 'delivery' THEN
                    DELETE FROM postback.delivery_due q WHERE q.delivery_id < existing.upper;
                END IF;
                EXECUTE format('DROP TABLE %s', existing.relation);
                action := 'dropped';
            EXCEPTION WHEN lock_not_available THEN
                action := 'busy';
            END;
            RETURN NEXT;
        END LOOP;

        -- Rows that came when no partition had been made for them.
        partition := table_name || '_default';
        EXECUTE format('DELETE FROM postback.%I WHERE id < $1', partition) USING oldest;
        GET DIAGNOSTICS purged = ROW_COUNT;
        IF purged > 0 THEN
            action := 'purged';
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION postback.keep_partitions(timestamptz) IS
'Makes the partitions for now and for the time ahead, and drops those past their retention, as partition_policy says;
returns what was done: created, dropped, purged (rows in the default partition), or busy (a lock was not to be had within
200 ms: the next call tries again). Safe to call at any time; schedule_jobs() has it called hourly.';

-- What cron runs: approvals when the hold is over, and upkeep.

-- No SET clause: a procedure that has one may not COMMIT.  So everything here is schema-qualified, operators too.
CREATE PROCEDURE postback.approve_due(chunk integer DEFAULT 1000)
    LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := pg_catalog.clock_timestamp();
    last_hold timestamptz := '-infinity';
    last_id postback.ulid := '00000000000000000000000000';
    due postback.ulid[];
    one postback.ulid;
    problem text;
BEGIN
    IF chunk OPERATOR(pg_catalog.<) 1 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('chunk %s is out of range', chunk),
            DETAIL = 'Parameter chunk is how many conversions are approved per transaction.',
            HINT = 'Leave it out for 1000.';
    END IF;
    LOOP
        -- Goes on after the last key, never back: what cannot be approved now is left to the next call.
        SELECT pg_catalog.array_agg(d.id), pg_catalog.max(d.hold_until)
        INTO due, last_hold
        FROM (SELECT c.id, c.hold_until
              FROM postback.conversion c
              WHERE c.status OPERATOR(pg_catalog.=) 'pending'
                AND c.commission IS NOT NULL
                AND c.hold_until OPERATOR(pg_catalog.<=) until
                AND (c.hold_until, c.id) OPERATOR(pg_catalog.>) (last_hold, last_id)
              ORDER BY c.hold_until, c.id
              LIMIT chunk
              FOR NO KEY UPDATE SKIP LOCKED) d;
        EXIT WHEN due IS NULL;
        last_id := due[pg_catalog.array_upper(due, 1)];

        PERFORM pg_catalog.set_config('postback.actor', 'cron', true);
        BEGIN
            UPDATE postback.conversion c SET status = 'approved' WHERE c.id OPERATOR(pg_catalog.=) ANY (due);
            problem := NULL;
        EXCEPTION WHEN OTHERS THEN
            problem := SQLERRM;
        END;
        IF problem IS NOT NULL THEN
            -- One of them cannot be approved; the others are not to wait for it.
            FOREACH one IN ARRAY due LOOP
                BEGIN
                    UPDATE postback.conversion c SET status = 'approved' WHERE c.id OPERATOR(pg_catalog.=) one;
                EXCEPTION WHEN OTHERS THEN
                    RAISE WARNING 'conversion % could not be approved: %', one, SQLERRM;
                END;
            END LOOP;
        END IF;
        COMMIT;
        EXIT WHEN pg_catalog.cardinality(due) OPERATOR(pg_catalog.<) chunk;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE postback.approve_due(integer) IS
'Approves the pending conversions whose hold is over, chunk of them per transaction, oldest hold first; history says cron.
Skips locked ones (a postback is at work on them) and unpriced ones; the next call takes what is left.
A conversion that cannot be approved is a warning and does not stop the others. Must not be called inside a transaction block.';

CREATE FUNCTION postback.fold_balances() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folded bigint;
BEGIN
    -- A second one at the same time has nothing to do.
    IF NOT pg_try_advisory_xact_lock(hashtext('postback'), 3) THEN
        RETURN 0;
    END IF;
    -- One statement: whoever reads sees the rows before it or the row after it, and the same sum.
    WITH gone AS (
        DELETE FROM postback.balance b
        USING (SELECT m.id, count(*) OVER (PARTITION BY m.brand_id, m.account, m.publisher_id, m.currency) AS rows
               FROM postback.balance m) k
        WHERE b.id = k.id AND k.rows > 1
        RETURNING b.brand_id, b.account, b.publisher_id, b.currency, b.amount
    ), kept AS (
        INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount)
        SELECT g.brand_id, g.account, g.publisher_id, g.currency, sum(g.amount)
        FROM gone g
        GROUP BY g.brand_id, g.account, g.publisher_id, g.currency
        HAVING sum(g.amount) <> 0
    )
    SELECT count(*) INTO folded FROM gone;
    RETURN folded;
END
$$;
COMMENT ON FUNCTION postback.fold_balances() IS
    'Folds the rows of each account in balance into one; returns how many were folded. Sums do not change';

CREATE FUNCTION postback.expire_parked() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    expired bigint;
BEGIN
    DELETE FROM postback.parked p
    WHERE p.id IN (SELECT x.id FROM postback.parked x WHERE x.expires_at <= now() FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS expired = ROW_COUNT;
    RETURN expired;
END
$$;
COMMENT ON FUNCTION postback.expire_parked() IS
    'Forgets parked follow-ups whose 24 hours are over; returns how many. Those that wait for a price stay';

CREATE FUNCTION postback.job_list(OUT job text, OUT schedule text, OUT command text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 7 SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('postback_approve_due',      '* * * * *',   'CALL postback.approve_due()'),
           ('postback_reprice_unpriced', '* * * * *',   'SELECT postback.reprice_unpriced()'),
           ('postback_fold_balances',    '* * * * *',   'SELECT postback.fold_balances()'),
           ('postback_expire_parked',    '*/5 * * * *', 'SELECT postback.expire_parked()'),
           ('postback_keep_partitions',  '7 * * * *',   'SELECT postback.keep_partitions()'),
           ('postback_keep_policies',    '8 * * * *',   'SELECT postback.keep_policies()'),
           ('postback_roll_up',          '*/2 * * * *', 'SELECT postback.roll_up()')
$$;
COMMENT ON FUNCTION postback.job_list() IS 'What schedule_jobs() schedules';

CREATE FUNCTION postback.check_cron() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cron_database text := current_setting('cron.database_name', true);
BEGIN
    IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = 'pg_cron is not in this database',
        DETAIL = CASE
            WHEN cron_database IS NULL THEN 'The server does not load pg_cron: it is not in shared_preload_libraries.'
            WHEN cron_database = current_database() THEN 'The server loads pg_cron for this database, but the extension is not created.'
            ELSE format('pg_cron lives in database "%s" (cron.database_name).', cron_database) END,
        HINT = CASE
            WHEN cron_database IS NULL THEN
                'Set shared_preload_libraries = ''pg_cron'' and cron.database_name, restart, and CREATE EXTENSION pg_cron.'
            WHEN cron_database = current_database() THEN 'CREATE EXTENSION pg_cron;'
            ELSE format('In database "%s" call, for each row of postback.job_list(): '
                        'SELECT cron.schedule_in_database(job, schedule, command, %L);',
                        cron_database, current_database()) END;
END
$$;
COMMENT ON FUNCTION postback.check_cron() IS 'Refuses, with the next step, if pg_cron cannot run jobs from here';

-- pg_cron need not be there when the extension is made, so its objects are named in dynamic SQL only.
CREATE FUNCTION postback.unschedule_jobs() RETURNS integer
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone integer;
BEGIN
    PERFORM postback.check_cron();
    EXECUTE 'SELECT count(cron.unschedule(j.jobid))
             FROM cron.job j JOIN postback.job_list() l ON l.job = j.jobname
             WHERE j.database = current_database()'
    INTO gone;
    RETURN gone;
END
$$;
COMMENT ON FUNCTION postback.unschedule_jobs() IS 'Takes postback''s jobs out of pg_cron; returns how many';

CREATE FUNCTION postback.schedule_jobs(OUT job text, OUT schedule text, OUT command text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM postback.check_cron();
    -- pg_cron keeps names per user: another user's jobs of these names would run beside ours.
    EXECUTE 'SELECT count(cron.unschedule(j.jobid))
             FROM cron.job j JOIN postback.job_list() l ON l.job = j.jobname
             WHERE j.database = current_database() AND j.username <> current_user';
    EXECUTE 'SELECT count(cron.schedule(l.job, l.schedule, l.command)) FROM postback.job_list() l';
    -- What the hourly ones do is wanted at once where a dump was just restored.
    PERFORM postback.keep_policies();
    PERFORM postback.keep_partitions();
    RETURN QUERY SELECT l.job, l.schedule, l.command FROM postback.job_list() l;
END
$$;
COMMENT ON FUNCTION postback.schedule_jobs() IS
'Has pg_cron run what postback needs: approvals, prices and balances each minute, parked follow-ups, partitions.
Called again it changes nothing. Runs as the caller. Errors: object_not_in_prerequisite_state if pg_cron is not here.';

-- The outbound queue: what senders claim and settle.
--
-- A delivery in the queue has a row in delivery_due; it is claimable when due_at has come.  A claim sets due_at to the end
-- of its lease, so that claimed rows are out of the way until then, and come back by themselves when a sender is killed.
--
-- The planner settings of claim() and settle() pin the one plan that is right at any size: index look-ups, row by row,
-- planned once.  Without them an empty or never analysed table would be read as a whole.

-- The queue is short and turns over quickly.
ALTER TABLE postback.delivery_due SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE postback.balance SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE FUNCTION postback.retry_delay(attempts integer) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (ARRAY[interval '5 seconds', '5 minutes', '30 minutes', '2 hours', '5 hours', '10 hours', '10 hours'])[attempts]
$$;
COMMENT ON FUNCTION postback.retry_delay(integer) IS
    'How long after that many attempts the next one is made, before jitter; null: none is made';

CREATE FUNCTION postback.is_success(success_codes text, http_code integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(http_code BETWEEN split_part(r, '-', 1)::integer
                                      AND coalesce(nullif(split_part(r, '-', 2), ''), r)::integer), false)
    FROM string_to_table(success_codes, ',') r
$$;
COMMENT ON FUNCTION postback.is_success(text, integer) IS 'Is the HTTP code among success_codes (200-299,302)?';

CREATE FUNCTION postback.endpoint_of(url text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT lower(m[2]) || ':' || coalesce(m[3], CASE lower(m[1]) WHEN 'https' THEN '443' ELSE '80' END)
    FROM regexp_match(url, '^(https?)://(\[[^]]+\]|[^/?#:]*[^/?#:.])\.?(?::(\d+))?(?:[/?#]|$)', 'i') AS m
$$;
COMMENT ON FUNCTION postback.endpoint_of(text) IS 'host:port of a URL, in lower case: what connection caps and the breaker go by';

CREATE FUNCTION postback.auth_header(auth jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE auth ->> 'type'
        WHEN 'basic' THEN 'Authorization: Basic ' || translate(encode(convert_to(
            coalesce(auth ->> 'user', '') || ':' || coalesce(auth ->> 'password', ''), 'UTF8'), 'base64'), E'\n', '')
        WHEN 'bearer' THEN 'Authorization: Bearer ' || regexp_replace(auth ->> 'token', '[^!-~]', '', 'g')
    END
$$;
COMMENT ON FUNCTION postback.auth_header(jsonb) IS 'The Authorization header of callback.auth, or null';

CREATE FUNCTION postback.claim(
    sender text, max_items integer, lease interval DEFAULT '60 s', full_endpoints text[] DEFAULT NULL,
    per_endpoint integer DEFAULT 64)
    RETURNS TABLE (
        attempt_id postback.ulid, delivery_id postback.ulid, endpoint text, method text, url text, headers text[], body text,
        secrets text[], attempt integer, timeout_ms integer)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = on
    ROWS 256 AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    start text := coalesce(current_setting('postback_queue.last_endpoint', true), '');
    picked postback.ulid[];
    last text;
BEGIN
    -- One claim at a time: what is in flight is then known exactly.
    PERFORM pg_advisory_xact_lock(hashtext('postback'), 2);
    at := clock_timestamp();

    -- Endpoint after endpoint in a ring that goes on where this session's last claim ended, so that none is starved.
    WITH RECURSIVE onwards AS (
        (SELECT q.endpoint FROM postback.delivery_due q WHERE q.endpoint > start ORDER BY q.endpoint LIMIT 1)
        UNION ALL
        SELECT n.endpoint
        FROM onwards o
        CROSS JOIN LATERAL (SELECT q.endpoint FROM postback.delivery_due q
                            WHERE q.endpoint > o.endpoint ORDER BY q.endpoint LIMIT 1) n
    ), around AS (
        (SELECT q.endpoint FROM postback.delivery_due q WHERE q.endpoint <= start ORDER BY q.endpoint LIMIT 1)
        UNION ALL
        SELECT n.endpoint
        FROM around o
        CROSS JOIN LATERAL (SELECT q.endpoint FROM postback.delivery_due q
                            WHERE q.endpoint > o.endpoint AND q.endpoint <= start ORDER BY q.endpoint LIMIT 1) n
    )
    SELECT array_agg(p.delivery_id), (array_agg(p.endpoint))[count(*)]
    INTO picked, last
    FROM (
        SELECT d.delivery_id, e.endpoint
        FROM (SELECT o.endpoint FROM onwards o UNION ALL SELECT a.endpoint FROM around a) e
        CROSS JOIN LATERAL (
            SELECT q.delivery_id
            FROM postback.delivery_due q
            WHERE q.endpoint = e.endpoint
              AND q.due_at <= at
              -- Of one callback and conversion one at a time, and of those that are due the oldest.
              AND NOT EXISTS (
                  SELECT FROM postback.delivery_due s
                  WHERE s.conversion_id = q.conversion_id AND s.callback_id = q.callback_id
                    AND s.delivery_id <> q.delivery_id
                    AND (s.leased_until > at OR (s.due_at <= at AND s.seq < q.seq)))
              AND EXISTS (SELECT FROM postback.callback c WHERE c.id = q.callback_id AND c.enabled)
            ORDER BY q.due_at
            LIMIT per_endpoint
            FOR UPDATE SKIP LOCKED) d
        WHERE full_endpoints IS NULL OR e.endpoint <> ALL (full_endpoints)
        LIMIT max_items) p;
    IF picked IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('postback_queue.last_endpoint', last, false);

    RETURN QUERY
    WITH item AS MATERIALIZED (
        SELECT q.delivery_id, q.endpoint, q.attempts + 1 AS number, q.attempt_id AS lost_attempt_id, q.sender AS lost_sender,
               d.brand_id, d.callback_id, d.method, d.url, d.headers, d.body, c.auth, d.state
        FROM unnest(picked) AS k (id)
        CROSS JOIN LATERAL (SELECT * FROM postback.delivery_due x WHERE x.delivery_id = k.id) q
        CROSS JOIN LATERAL (SELECT * FROM postback.delivery x WHERE x.id = k.id) d
        CROSS JOIN LATERAL (SELECT * FROM postback.callback x WHERE x.id = q.callback_id) c
    ), misfit AS MATERIALIZED (
        -- After a delay the conditions are looked at again.
        SELECT m.delivery_id, m.reason
        FROM postback.delay_misfits(ARRAY(SELECT i.delivery_id FROM item i WHERE i.state = 'waiting')) m
    ), lost AS (
        -- A lease that ended without an answer is an attempt too: what came of it is not known.
        INSERT INTO postback.attempt (id, brand_id, delivery_id, callback_id, number, sender, outcome, error)
        SELECT i.lost_attempt_id, i.brand_id, i.delivery_id, i.callback_id, i.number, coalesce(i.lost_sender, ''), 'error',
               'no answer from the sender before its lease ended'
        FROM item i
        WHERE i.lost_attempt_id IS NOT NULL
    ), skipped AS (
        UPDATE postback.delivery d SET state = 'skipped', error = m.reason
        FROM misfit m
        WHERE d.id = m.delivery_id
    ), unqueued AS (
        DELETE FROM postback.delivery_due q
        USING misfit m
        WHERE q.delivery_id = m.delivery_id
    ), begun AS (
        UPDATE postback.delivery d SET state = 'queued'
        FROM item i
        WHERE i.state = 'waiting' AND d.id = i.delivery_id
          AND NOT EXISTS (SELECT FROM misfit m WHERE m.delivery_id = i.delivery_id)
    ), leased AS (
        UPDATE postback.delivery_due q
        SET attempt_id = postback.new_ulid(), leased_until = at + claim.lease, due_at = at + claim.lease, sender = claim.sender
        FROM item i
        WHERE q.delivery_id = i.delivery_id AND NOT EXISTS (SELECT FROM misfit m WHERE m.delivery_id = i.delivery_id)
        RETURNING q.attempt_id, q.delivery_id, q.endpoint, i.number, i.callback_id, i.method, i.url, i.headers, i.body, i.auth
    )
    SELECT l.attempt_id, l.delivery_id, l.endpoint,
           CASE l.method WHEN 'GET' THEN 'GET' ELSE 'POST' END,
           l.url,
           coalesce(l.headers, '{}')
               || CASE WHEN l.method <> 'GET' AND NOT EXISTS (SELECT FROM unnest(l.headers) h WHERE h ~* '^content-type\s*:')
                       THEN CASE l.method WHEN 'POST_JSON' THEN '{Content-Type: application/json}'::text[]
                                          ELSE '{Content-Type: application/x-www-form-urlencoded}' END
                       ELSE '{}' END
               || CASE WHEN l.auth IS NULL THEN '{}' ELSE ARRAY[postback.auth_header(l.auth)] END,
           l.body,
           ARRAY(SELECT s.secret FROM postback.callback_secret s
                 WHERE s.callback_id = l.callback_id AND s.valid_to > at
                 ORDER BY s.valid_to DESC, s.secret),
           l.number, 10000
    FROM leased l;
END
$$;
COMMENT ON FUNCTION postback.claim(text, integer, interval, text[], integer) IS
'Leases deliveries that are due to a sender, at most max_items, at most per_endpoint for one endpoint (host:port), none for
full_endpoints; oldest first within an endpoint, endpoints by turns. Of one callback and conversion at most one is in flight.
Each row is a request ready to send and the secrets to sign it with; attempt_id names the claim to settle(). What is not
settled when the lease ends comes back. Never call it in a transaction that stays open: other senders wait for it.';

CREATE FUNCTION postback.settle(
    sender text, attempt_ids postback.ulid[], outcomes text[], http_codes integer[], errors text[], retry_afters integer[],
    milliseconds integer[], addresses inet[], responses text[])
    RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    at timestamptz := clock_timestamp();
    settled integer;
    sent integer := coalesce(cardinality(attempt_ids), 0);
BEGIN
    WITH item AS MATERIALIZED (
        SELECT k.attempt_id, k.outcome, k.http_code, left(k.error, 1000) AS error, k.milliseconds, k.address,
               left(k.response, 2048) AS response, k.retry_after,
               q.delivery_id, q.callback_id, q.conversion_id, q.seq, q.attempts + 1 AS number, q.endpoint,
               c.enabled, c.every_status, c.failing_since,
               k.outcome = 'response' AND k.http_code IS NOT NULL
               AND CASE c.success_codes WHEN '200-299' THEN k.http_code BETWEEN 200 AND 299
                                        ELSE postback.is_success(c.success_codes, k.http_code) END AS success
        FROM ROWS FROM (unnest(settle.attempt_ids), unnest(settle.outcomes), unnest(settle.http_codes), unnest(settle.errors),
                        unnest(settle.retry_afters), unnest(settle.milliseconds), unnest(settle.addresses), unnest(settle.responses))
             AS k (attempt_id, outcome, http_code, error, retry_after, milliseconds, address, response)
        CROSS JOIN LATERAL (SELECT * FROM postback.delivery_due x WHERE x.attempt_id = k.attempt_id FOR UPDATE) q
        LEFT JOIN LATERAL (SELECT * FROM postback.callback x WHERE x.id = q.callback_id) c ON true
    ), judged AS MATERIALIZED (
        SELECT i.*,
               CASE WHEN i.success THEN 'delivered'
                    WHEN i.outcome = 'blocked' THEN 'blocked'
                    WHEN i.outcome = 'released' THEN 'released'
                    WHEN i.http_code = 410 OR r.pause IS NULL THEN 'failed'
                    ELSE 'queued' END AS state,
               CASE WHEN i.outcome = 'released' THEN at
                    WHEN NOT i.enabled THEN 'infinity'
                    ELSE at + greatest(r.pause * (0.8 + 0.4 * random()),
                                       least(coalesce(i.retry_after, 0), 86400) * interval '1 second') END AS next_at
        FROM item i
        CROSS JOIN LATERAL (SELECT postback.retry_delay(i.number) AS pause) r
    ), older AS MATERIALIZED (
        -- Skips what another settle() has locked: that one decides.
        SELECT o.delivery_id, o.callback_id, o.attempts + 1 AS number, o.attempt_id, o.sender
        FROM judged j
        CROSS JOIN LATERAL (SELECT * FROM postback.delivery_due x
                            WHERE x.conversion_id = j.conversion_id AND x.callback_id = j.callback_id AND x.seq < j.seq
                            FOR UPDATE SKIP LOCKED) o
        WHERE j.state = 'delivered' AND NOT j.every_status
          AND NOT EXISTS (SELECT FROM judged t WHERE t.delivery_id = o.delivery_id AND t.state IN ('delivered', 'failed', 'blocked'))
    ), finished AS (
        DELETE FROM postback.delivery_due q
        USING (SELECT j.delivery_id FROM judged j WHERE j.state IN ('delivered', 'failed', 'blocked')
               UNION SELECT o.delivery_id FROM older o) f
        WHERE q.delivery_id = f.delivery_id
    ), moved AS (
        UPDATE postback.delivery_due q
        SET due_at = j.next_at, attempt_id = NULL, leased_until = NULL, sender = NULL,
            attempts = CASE j.state WHEN 'queued' THEN j.number ELSE q.attempts END
        FROM judged j
        WHERE j.state IN ('queued', 'released') AND q.delivery_id = j.delivery_id
          AND NOT EXISTS (SELECT FROM older o WHERE o.delivery_id = j.delivery_id)
    ), told AS (
        UPDATE postback.delivery d
        SET state = CASE WHEN j.superseded THEN 'superseded' ELSE j.state END,
            attempts = j.number, http_code = j.http_code, error = j.error, sent_at = at,
            due_at = CASE WHEN j.state = 'queued' AND isfinite(j.next_at) THEN j.next_at ELSE d.due_at END
        FROM (SELECT t.*, EXISTS (SELECT FROM older o WHERE o.delivery_id = t.delivery_id) AS superseded
              FROM judged t WHERE t.state <> 'released') j
        WHERE d.id = j.delivery_id
        RETURNING j.attempt_id, d.brand_id, j.delivery_id, j.callback_id, j.number, j.success, j.outcome, j.http_code, j.error,
                  j.milliseconds, j.address, j.response
    ), logged AS (
        INSERT INTO postback.attempt
            (id, brand_id, delivery_id, callback_id, number, sender, outcome, http_code, error, milliseconds, address, response)
        SELECT t.attempt_id, t.brand_id, t.delivery_id, t.callback_id, t.number, settle.sender,
               CASE WHEN t.success THEN 'success' WHEN t.outcome = 'response' THEN 'failure'
                    WHEN t.outcome = 'blocked' THEN 'blocked' ELSE 'error' END,
               t.http_code, t.error, t.milliseconds, t.address, t.response
        FROM told t
    ), superseded AS (
        UPDATE postback.delivery d SET state = 'superseded'
        FROM older o
        WHERE d.id = o.delivery_id
          AND NOT EXISTS (SELECT FROM judged j WHERE j.delivery_id = o.delivery_id AND j.state <> 'released')
        RETURNING d.brand_id, o.*
    ), lost AS (
        INSERT INTO postback.attempt (id, brand_id, delivery_id, callback_id, number, sender, outcome, error)
        SELECT s.attempt_id, s.brand_id, s.delivery_id, s.callback_id, s.number, coalesce(s.sender, ''), 'error',
               'no answer from the sender before its lease ended'
        FROM superseded s
        WHERE s.attempt_id IS NOT NULL AND s.attempt_id <> ALL (settle.attempt_ids)
    ), verdict AS MATERIALIZED (
        -- Per callback, and only where its row must change; in the order of ids, so that two senders never wait in a circle.
        SELECT v.*
        FROM (SELECT j.callback_id, bool_or(j.success) AS success,
                     bool_or(NOT j.success AND j.outcome = 'response' AND j.http_code = 410) AS gone,
                     max(j.endpoint) AS endpoint
              FROM judged j
              WHERE j.success AND j.failing_since IS NOT NULL
                 OR NOT j.success AND j.outcome IN ('response', 'error') AND j.enabled
                    AND (j.failing_since IS NULL OR j.failing_since <= at - interval '5 days' OR j.http_code = 410)
              GROUP BY j.callback_id) v
        WHERE v.success OR v.gone OR NOT EXISTS (SELECT FROM judged j WHERE j.callback_id = v.callback_id AND j.success)
    ), locked AS MATERIALIZED (
        SELECT v.*, c.id, c.failing_since
        FROM (SELECT * FROM verdict ORDER BY callback_id) v
        CROSS JOIN LATERAL (SELECT * FROM postback.callback x WHERE x.id = v.callback_id FOR NO KEY UPDATE) c
    ), noted AS (
        UPDATE postback.callback c
        SET failing_since = CASE WHEN l.success THEN NULL ELSE coalesce(l.failing_since, at) END,
            enabled = NOT (l.gone OR l.stale),
            disabled_at = CASE WHEN l.gone OR l.stale THEN at END,
            disabled_reason = CASE WHEN l.gone THEN format('%s answered 410 Gone', l.endpoint)
                                   WHEN l.stale THEN format('no success since %s',
                                       to_char(l.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')) END
        FROM (SELECT k.*, NOT k.success AND coalesce(k.failing_since <= at - interval '5 days', false) AS stale FROM locked k) l
        WHERE c.id = l.id AND c.enabled
    )
    SELECT count(*) INTO settled FROM judged;

    -- Claims that another sender has taken over since, or that a success superseded: their outcome is put into the log.
    IF settled < sent THEN
        UPDATE postback.attempt a
        SET outcome = CASE WHEN k.outcome = 'response' THEN
                               CASE WHEN postback.is_success(coalesce(c.success_codes, '200-299'), k.http_code)
                                    THEN 'success' ELSE 'failure' END
                           WHEN k.outcome = 'blocked' THEN 'blocked' ELSE 'error' END,
            http_code = k.http_code, error = coalesce(left(k.error, 1000), 'answered after its lease had ended'),
            milliseconds = k.milliseconds, address = k.address, response = left(k.response, 2048)
        FROM ROWS FROM (unnest(settle.attempt_ids), unnest(settle.outcomes), unnest(settle.http_codes), unnest(settle.errors),
                        unnest(settle.milliseconds), unnest(settle.addresses), unnest(settle.responses))
             AS k (attempt_id, outcome, http_code, error, milliseconds, address, response)
        CROSS JOIN LATERAL (SELECT x.callback_id FROM postback.attempt x WHERE x.id = k.attempt_id) l
        LEFT JOIN LATERAL (SELECT x.success_codes FROM postback.callback x WHERE x.id = l.callback_id) c ON true
        WHERE a.id = k.attempt_id AND k.outcome <> 'released'
          AND a.outcome = 'error' AND a.error = 'no answer from the sender before its lease ended';
    END IF;
    RETURN settled;
END
$$;
COMMENT ON FUNCTION postback.settle(text, postback.ulid[], text[], integer[], text[], integer[], integer[], inet[], text[]) IS
'Tells what came of claims, one element of each array per attempt: outcome response (with http_code), error, blocked (final)
or released (not sent). Decides on delivered, retry (5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h, +-20 %, Retry-After seconds if
later, at most a day) or failed; disables callbacks on 410 and after five days without success; a success supersedes the
older ones of its callback and conversion. Returns how many claims were still the sender''s: settling twice changes nothing,
settling after another sender has taken the claim over only completes the log.';

-- Enabling and disabling a callback, by whatever UPDATE: what waits for it stays in the queue, out of the senders' way.

CREATE FUNCTION postback.callback_switched() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        WITH gone AS (
            DELETE FROM postback.delivery_due q WHERE q.callback_id = OLD.id RETURNING q.delivery_id
        )
        UPDATE postback.delivery d SET state = 'skipped', error = 'the callback was deleted'
        FROM gone g
        WHERE d.id = g.delivery_id;
    ELSIF NEW.enabled = OLD.enabled THEN
        NULL;
    ELSIF TG_WHEN = 'BEFORE' THEN
        NEW.updated := now();
        IF NEW.enabled THEN
            NEW.disabled_at := NULL;
            NEW.disabled_reason := NULL;
            NEW.failing_since := NULL;
        ELSE
            NEW.disabled_at := coalesce(NEW.disabled_at, now());
            NEW.disabled_reason := coalesce(NEW.disabled_reason, format('by %s', session_user));
        END IF;
    ELSIF NEW.enabled THEN
        UPDATE postback.delivery_due q SET due_at = d.due_at
        FROM postback.delivery d
        WHERE q.callback_id = NEW.id AND q.due_at = 'infinity' AND d.id = q.delivery_id;
    ELSE
        -- What is in flight or being settled is left alone; settle() puts it off.
        UPDATE postback.delivery_due q SET due_at = 'infinity'
        FROM (SELECT x.delivery_id FROM postback.delivery_due x
              WHERE x.callback_id = NEW.id AND (x.leased_until IS NULL OR x.leased_until <= now())
              FOR UPDATE SKIP LOCKED) w
        WHERE q.delivery_id = w.delivery_id;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION postback.callback_switched() IS
    'When a callback is disabled its deliveries wait (due_at infinity), when it is enabled they are due again';
CREATE TRIGGER callback_switching BEFORE UPDATE OF enabled ON postback.callback
    FOR EACH ROW EXECUTE FUNCTION postback.callback_switched();
CREATE TRIGGER callback_switched AFTER DELETE OR UPDATE OF enabled ON postback.callback
    FOR EACH ROW EXECUTE FUNCTION postback.callback_switched();

CREATE FUNCTION postback.enable_callback(callback postback.ulid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE postback.callback c SET enabled = true WHERE c.id = enable_callback.callback;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('callback %s does not exist', coalesce(callback::text, 'null')),
            DETAIL = 'Parameter callback must be the id of a row of postback.callback.',
            HINT = 'SELECT id, name, disabled_reason FROM postback.callback WHERE NOT enabled lists the disabled ones.';
    END IF;
END
$$;
COMMENT ON FUNCTION postback.enable_callback(postback.ulid) IS
    'Enables a callback that was disabled, by hand or after failures; what waited for it is sent. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.requeue(
    callback postback.ulid, since timestamptz, until timestamptz DEFAULT now(), states text[] DEFAULT '{failed}')
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    queued bigint;
BEGIN
    IF NOT states <@ '{delivered,failed,skipped,superseded,blocked}' OR states IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('states %s are not all known', coalesce(states::text, 'null')),
            DETAIL = 'Parameter states says which finished deliveries are sent again.',
            HINT = 'Use any of failed, blocked, delivered, skipped, superseded.';
    END IF;
    PERFORM postback.check_sendable(callback);
    WITH again AS (
        UPDATE postback.delivery d SET state = 'queued', due_at = now()
        WHERE d.id >= postback.ulid_floor(since) AND d.id < postback.ulid_floor(until)
          AND d.callback_id = requeue.callback AND d.state = ANY (states)
        RETURNING d.id, d.callback_id, d.conversion_id, d.seq, d.url, d.attempts
    ), due AS (
        INSERT INTO postback.delivery_due (delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts)
        SELECT a.id, a.callback_id, a.conversion_id, a.seq, postback.endpoint_of(a.url), now(), a.attempts
        FROM again a
    )
    SELECT count(*) INTO queued FROM again;
    RETURN queued;
END
$$;
COMMENT ON FUNCTION postback.requeue(postback.ulid, timestamptz, timestamptz, text[]) IS
'Sends the callback''s finished deliveries of that time (from since until before until, when they were made) again that are in
one of states (failed unless said otherwise); they keep their ids and get further attempts. Returns how many.
Errors: invalid_parameter_value.';

CREATE FUNCTION postback.check_sendable(callback postback.ulid) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_enabled boolean;
BEGIN
    SELECT c.enabled INTO is_enabled FROM postback.callback c WHERE c.id = check_sendable.callback;
    IF is_enabled THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = format('callback %s %s', coalesce(callback::text, 'null'), CASE WHEN FOUND THEN 'is disabled' ELSE 'does not exist' END),
        DETAIL = 'Only an enabled callback''s deliveries can be sent.',
        HINT = CASE WHEN FOUND THEN format('SELECT postback.enable_callback(%L);', callback)
             ELSE 'SELECT id, name FROM postback.callback lists them.' END;
END
$$;
COMMENT ON FUNCTION postback.check_sendable(postback.ulid) IS 'Refuses a callback that is disabled or gone';

CREATE FUNCTION postback.resend(delivery postback.ulid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_delivery record;
BEGIN
    -- Locks the place in the queue, then the delivery, as settle() does.
    PERFORM FROM postback.delivery_due q WHERE q.delivery_id = resend.delivery FOR UPDATE;
    SELECT d.callback_id, d.conversion_id, d.seq, d.url, d.attempts INTO found_delivery
    FROM postback.delivery d
    WHERE d.id = resend.delivery
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('delivery %s does not exist', coalesce(delivery::text, 'null')),
            DETAIL = 'Parameter delivery must be the id of a row of postback.delivery.',
            HINT = 'SELECT id, state FROM postback.deliveries lists them.';
    END IF;
    PERFORM postback.check_sendable(found_delivery.callback_id);
    INSERT INTO postback.delivery_due AS q (delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts)
    VALUES (resend.delivery, found_delivery.callback_id, found_delivery.conversion_id, found_delivery.seq,
            postback.endpoint_of(found_delivery.url), now(), found_delivery.attempts)
    -- Still in the queue: now rather than later, unless it is in flight at this moment.
    ON CONFLICT ON CONSTRAINT delivery_due_pkey DO UPDATE SET due_at = least(q.due_at, excluded.due_at)
        WHERE q.leased_until IS NULL OR q.leased_until <= now();
    UPDATE postback.delivery d SET state = 'queued', due_at = now() WHERE d.id = resend.delivery;
END
$$;
COMMENT ON FUNCTION postback.resend(postback.ulid) IS
'Sends a delivery again now, whatever became of it: it keeps its id and gets a further attempt. One that still waits for its
next attempt has it now. Errors: invalid_parameter_value.';

-- What must hold about money and state, recomputed from the rows.

CREATE FUNCTION postback.audit(
    OUT check_name text, OUT brand_id postback.ulid, OUT subject text, OUT expected text, OUT actual text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp SET jit = off SET work_mem = '64MB' AS $$
    WITH
    -- Each transfer twice: what it does to the account it comes from, and to the one it goes to.
    entry AS MATERIALIZED (
        SELECT l.brand_id, a.account, CASE a.account WHEN 'payable' THEN l.publisher_id END AS publisher_id, l.currency,
               a.amount, l.conversion_id
        FROM postback.ledger l
        CROSS JOIN LATERAL (VALUES (l.from_account, - l.amount), (l.to_account, l.amount)) AS a (account, amount)
    ),
    -- Where the money of each conversion stands by its own row.
    due AS MATERIALIZED (
        SELECT c.id, c.brand_id, c.publisher_id, c.commission_currency AS currency, c.status,
               CASE WHEN c.test OR c.offer_id IS NULL THEN 0 ELSE coalesce(c.commission, 0) END::numeric AS commission,
               CASE WHEN c.test OR c.offer_id IS NULL THEN 0 ELSE coalesce(c.fee, 0) END::numeric AS fee
        FROM postback.conversion c
    ),
    account AS MATERIALIZED (
        SELECT e.brand_id, e.account, e.publisher_id, e.currency, sum(e.amount) AS amount
        FROM entry e
        GROUP BY e.brand_id, e.account, e.publisher_id, e.currency
    ),
    rolled AS (
        SELECT b.brand_id, b.account, b.publisher_id, b.currency, sum(b.amount) AS amount
        FROM postback.balance b
        GROUP BY b.brand_id, b.account, b.publisher_id, b.currency
    ),
    difference (check_name, brand_id, subject, expected, actual) AS (
        -- The roll-up is the ledger's sum, account by account.
        SELECT 'balance', coalesce(a.brand_id, r.brand_id),
               concat_ws(' ', coalesce(a.account, r.account), coalesce(a.publisher_id, r.publisher_id), coalesce(a.currency, r.currency)),
               coalesce(a.amount, 0)::text, coalesce(r.amount, 0)::text
        FROM account a
        FULL JOIN rolled r
            ON (r.brand_id, r.account, coalesce(r.publisher_id, r.brand_id), r.currency)
             = (a.brand_id, a.account, coalesce(a.publisher_id, a.brand_id), a.currency)
        WHERE coalesce(a.amount, 0) <> coalesce(r.amount, 0)

        UNION ALL  -- held = commission and fee of what is pending
        SELECT 'held', brand_id, concat_ws(' ', 'held', currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.currency, d.commission + d.fee AS expected, 0 AS actual FROM due d WHERE d.status = 'pending'
              UNION ALL
              SELECT a.brand_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'held') s
        GROUP BY brand_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL
        SELECT 'held_negative', a.brand_id, concat_ws(' ', 'held', a.currency), '>= 0', a.amount::text
        FROM account a
        WHERE a.account = 'held' AND a.amount < 0

        UNION ALL  -- payable and paid out = commission of what is approved, per publisher
        SELECT 'payable', brand_id, concat_ws(' ', 'payable', publisher_id, currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.publisher_id, d.currency, d.commission AS expected, 0 AS actual
              FROM due d
              WHERE d.status = 'approved' AND d.commission <> 0
              UNION ALL
              SELECT a.brand_id, a.publisher_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'payable'
              UNION ALL
              SELECT l.brand_id, l.publisher_id, l.currency, 0, l.amount FROM postback.ledger l WHERE l.to_account = 'payout') s
        GROUP BY brand_id, publisher_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- fees = fee of what is approved
        SELECT 'fees', brand_id, concat_ws(' ', 'fees', currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.currency, d.fee AS expected, 0 AS actual FROM due d WHERE d.status = 'approved'
              UNION ALL
              SELECT a.brand_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'fees') s
        GROUP BY brand_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- each conversion's own lines net to its own state
        SELECT 'conversion', brand_id, concat_ws(' ', 'conversion', id, account), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.id, d.publisher_id, p.account, p.expected, 0 AS actual
              FROM due d
              CROSS JOIN LATERAL (VALUES ('held', d.commission + d.fee, NULL::postback.ulid, 'pending'),
                                         ('payable', d.commission, d.publisher_id, 'approved'),
                                         ('fees', d.fee, NULL, 'approved')) AS p (account, expected, publisher_id, status)
              WHERE p.status = d.status AND p.expected <> 0
              UNION ALL
              SELECT e.brand_id, e.conversion_id, e.publisher_id, e.account, 0, e.amount
              FROM entry e
              WHERE e.conversion_id IS NOT NULL AND e.account IN ('held', 'payable', 'fees')) s
        GROUP BY brand_id, id, account, CASE account WHEN 'payable' THEN publisher_id END
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- test and unattributed orders, and none at all, have no lines
        SELECT 'no_ledger', l.brand_id,
               concat_ws(' ', CASE WHEN c.test THEN 'test' WHEN c.id IS NOT NULL THEN 'unattributed' ELSE 'missing' END,
                         'conversion', l.conversion_id),
               '0 lines', count(*) || ' lines'
        FROM postback.ledger l
        LEFT JOIN postback.conversion c ON c.id = l.conversion_id
        WHERE l.conversion_id IS NOT NULL AND (c.id IS NULL OR c.test OR c.offer_id IS NULL)
        GROUP BY l.brand_id, l.conversion_id, c.id, c.test

        UNION ALL  -- each kind of line joins its own two accounts
        SELECT 'kind', l.brand_id, concat_ws(' ', 'ledger', l.id, l.kind),
               coalesce(k.from_account || ' -> ' || k.to_account, 'no such kind'), l.from_account || ' -> ' || l.to_account
        FROM postback.ledger l
        LEFT JOIN (VALUES ('commission_held',     'available', 'held'),
                          ('fee_held',            'available', 'held'),
                          ('commission_released', 'held',      'available'),
                          ('fee_released',        'held',      'available'),
                          ('commission_approved', 'held',      'payable'),
                          ('fee_approved',        'held',      'fees'),
                          ('commission_clawback', 'payable',   'available'),
                          ('fee_clawback',        'fees',      'available'),
                          ('topup',               'topup',     'available'),
                          ('payout',              'payable',   'payout')) AS k (kind, from_account, to_account)
            ON k.kind = l.kind
        WHERE (l.from_account, l.to_account) IS DISTINCT FROM (k.from_account, k.to_account)

        UNION ALL  -- a prepaid brand at its limit is exhausted, and no other
        SELECT 'exhausted', b.id, 'brand', e.exhausted::text, b.exhausted::text
        FROM postback.brand b
        LEFT JOIN account a ON a.brand_id = b.id AND a.account = 'available' AND a.currency = b.currency
        CROSS JOIN LATERAL (SELECT b.prepaid AND coalesce(a.amount, 0) <= - b.credit_limit AS exhausted) e
        WHERE b.exhausted <> e.exhausted

        UNION ALL  -- history, whatever the order of its rows, leads from nothing to what the conversion is now
        SELECT 'history', h.brand_id, concat_ws(' ', 'conversion', h.id, h.what), h.expected, h.actual
        FROM (SELECT c.brand_id, c.id, w.what, w.expected, w.actual
              FROM postback.conversion c
              LEFT JOIN (SELECT x.conversion_id, x.brand_id,
                                count(*) FILTER (WHERE x.to_status = 'pending')
                                    - count(*) FILTER (WHERE x.from_status = 'pending') AS pending,
                                count(*) FILTER (WHERE x.to_status = 'approved')
                                    - count(*) FILTER (WHERE x.from_status = 'approved') AS approved,
                                count(*) FILTER (WHERE x.to_status = 'reversed')
                                    - count(*) FILTER (WHERE x.from_status = 'reversed') AS reversed,
                                sum(x.to_value - coalesce(x.from_value, 0)) AS value,
                                sum(coalesce(x.to_commission, 0) - coalesce(x.from_commission, 0)) AS commission,
                                sum(coalesce(x.to_fee, 0) - coalesce(x.from_fee, 0)) AS fee
                         FROM postback.history x
                         GROUP BY x.conversion_id, x.brand_id) h ON h.conversion_id = c.id AND h.brand_id = c.brand_id
              CROSS JOIN LATERAL (VALUES
                  ('status', c.status,
                   CASE format('%s %s %s', h.pending, h.approved, h.reversed)
                       WHEN '1 0 0' THEN 'pending' WHEN '0 1 0' THEN 'approved' WHEN '0 0 1' THEN 'reversed'
                       ELSE 'broken' END),
                  ('value', c.value::text, coalesce(h.value, 0)::text),
                  ('commission', coalesce(c.commission, 0)::text, coalesce(h.commission, 0)::text),
                  ('fee', coalesce(c.fee, 0)::text, coalesce(h.fee, 0)::text)) AS w (what, expected, actual)) h
        WHERE h.expected <> h.actual

        UNION ALL  -- one currency per brand
        SELECT 'currency', s.brand_id, s.subject, coalesce(b.currency, 'no such brand'), s.currency
        FROM (SELECT c.brand_id, 'conversion ' || c.id::text AS subject, c.commission_currency AS currency FROM postback.conversion c
              UNION ALL
              SELECT a.brand_id, 'ledger ' || a.account, a.currency FROM account a
              UNION ALL
              SELECT r.brand_id, 'balance ' || r.account, r.currency FROM rolled r) s
        LEFT JOIN postback.brand b ON b.id = s.brand_id
        WHERE s.currency IS DISTINCT FROM b.currency
    )
    SELECT d.check_name, d.brand_id, d.subject, d.expected, d.actual FROM difference d ORDER BY 1, 2, 3, 4
$$;
COMMENT ON FUNCTION postback.audit() IS
'Recomputes from the rows what must hold about money and state, and returns what does not (nothing, if all is well):
balance, held, held_negative, payable, fees, conversion, no_ledger, kind, exhausted, history, currency.
expected is what follows from conversions and ledger, actual what was found; amounts in minor units. Reads every row.
Needs all of ledger and history: it reports their loss where a retention was set for them.';

-- Why: what was made of an inbound postback, what would be made of one, and why a callback did not fire.
--
-- What happened is read from history, ledger and deliveries; why it did is told from the set-up as it is now, which is not
-- kept as it was.  Where the two disagree, the outcome says so.

CREATE TYPE postback.explanation AS (step text, detail text, outcome text);
COMMENT ON TYPE postback.explanation IS 'One step of explain() and simulate(): what was looked at, and what came of it';

-- How amounts, times and what is missing are shown.

CREATE FUNCTION postback.explain_money(amount numeric, currency text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    -- Digits beyond the currency's are shown where there are any: that is before rounding.
    SELECT CASE WHEN scale(m.trimmed) > c.exponent THEN m.trimmed ELSE round(m.trimmed, c.exponent) END || ' ' || c.code
    FROM postback.currency c
    CROSS JOIN LATERAL (SELECT trim_scale(amount * power(10::numeric, - c.exponent)) AS trimmed) m
    WHERE c.code = explain_money.currency
$$;
COMMENT ON FUNCTION postback.explain_money(numeric, text) IS 'Minor units as 49.99 EUR';

CREATE FUNCTION postback.explain_time(at timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
$$;
COMMENT ON FUNCTION postback.explain_time(timestamptz) IS 'A moment to the second, in UTC';

CREATE FUNCTION postback.explain_gone(table_name text, id postback.ulid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('gone: rows of %s are kept for %s', p.table_name, p.retention)
    FROM postback.partition_policy p
    WHERE p.table_name = explain_gone.table_name AND postback.ulid_time(explain_gone.id) < now() - p.retention
$$;
COMMENT ON FUNCTION postback.explain_gone(text, postback.ulid) IS
    'What to say of a row that is missing because it is older than its table''s retention; null if it is not that old';

CREATE FUNCTION postback.explain_party(publisher postback.ulid, offer postback.ulid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('publisher %s, offer %s',
                  coalesce((SELECT format('"%s"', p.name) FROM postback.publisher p WHERE p.id = publisher), publisher || ' (gone)'),
                  coalesce((SELECT format('"%s"', o.name) FROM postback.offer o WHERE o.id = offer), offer || ' (gone)'))
$$;
COMMENT ON FUNCTION postback.explain_party(postback.ulid, postback.ulid) IS 'Publisher and offer by name';

-- What the receipt's call said, by the code that reads calls.

CREATE FUNCTION postback.receipt_parameters(
    receipt postback.ulid, OUT as_sent text, OUT name text, OUT value text, OUT parameter text, OUT outcome text)
    RETURNS SETOF record
    LANGUAGE C VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_receipt_parameters';
COMMENT ON FUNCTION postback.receipt_parameters(postback.ulid) IS
    'Each pair of name and value of the receipt''s call: encoded as sent (null if it was not), decoded, which parameter it is';

CREATE TYPE postback.request AS (
    code         text,
    message      text,
    is_event     boolean,
    "order"      text,
    event        text,
    goal         text,
    status       text,
    asks         text,
    value        bigint,
    currency     text,
    test         boolean,
    click_sent   text,
    click_id     postback.ulid,
    promo_code   text,
    offer_id     postback.ulid,
    publisher_id postback.ulid,
    ip           text,
    address_hash bigint,
    received     timestamptz
);
COMMENT ON TYPE postback.request IS
    'What a call asks for: asks is new, approved, reversed or partial; code and message why it cannot be read; received when it first came';

CREATE FUNCTION postback.receipt_request(receipt postback.ulid, currency text DEFAULT NULL) RETURNS postback.request
    LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_receipt_request';
COMMENT ON FUNCTION postback.receipt_request(postback.ulid, text) IS
    'The receipt''s call, read by the settings that its token has now; the value by currency if the call names none (null: the brand''s)';

-- The steps.

CREATE FUNCTION postback.explain_token(r postback.receipt) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t postback.token;
    brand_name text := (SELECT b.name FROM postback.brand b WHERE b.id = r.brand_id);
BEGIN
    SELECT * INTO t FROM postback.token x WHERE x.id = r.token_id;
    IF NOT FOUND THEN
        RETURN NEXT ('token', r.token_id, 'gone')::postback.explanation;
        RETURN;
    END IF;
    RETURN NEXT ('token', format('"%s" of brand "%s"', t.label, brand_name),
        CASE WHEN r.code IS DISTINCT FROM 'token_revoked' THEN 'known'
             WHEN t.revoked_at IS NOT NULL THEN 'refused: revoked at ' || postback.explain_time(t.revoked_at)
             WHEN t.expires_at IS NOT NULL THEN 'refused: expired at ' || postback.explain_time(t.expires_at)
             ELSE 'refused: revoked or expired then, not now' END)::postback.explanation;
    IF r.code = 'token_revoked' THEN
        RETURN;
    END IF;
    IF r.replay_of IS NOT NULL AND (t.allow_ips IS NOT NULL OR t.hmac_secret IS NOT NULL) THEN
        RETURN NEXT ('token', 'address and signature', 'not looked at again: this is a replay')::postback.explanation;
    ELSE
        IF t.allow_ips IS NOT NULL OR r.code = 'ip_not_allowed' THEN
            RETURN NEXT ('token', format('only %s may call', coalesce(t.allow_ips::text, 'some addresses')),
                CASE WHEN r.code = 'ip_not_allowed'
                     THEN format('refused: the call came from %s', coalesce(host(r.remote), 'no known address'))
                     ELSE format('%s may', coalesce(host(r.remote), 'the sender')) END)::postback.explanation;
        END IF;
        IF r.code = 'bad_signature' OR (t.hmac_secret IS NOT NULL AND r.code IS DISTINCT FROM 'ip_not_allowed') THEN
            RETURN NEXT ('token', 'calls must be signed',
                CASE WHEN r.code = 'bad_signature' THEN 'refused: the signature is missing or wrong'
                     ELSE 'signed' END)::postback.explanation;
        END IF;
    END IF;
    IF t.test THEN
        RETURN NEXT ('token', 'every order of this token is a test order', 'test')::postback.explanation;
    END IF;
    IF t.reply_style <> 'json' THEN
        RETURN NEXT ('token', format('reply style %s', t.reply_style),
            CASE t.reply_style WHEN 'text' THEN 'answered OK, DUPLICATE or ERROR code'
                               ELSE 'refusals are answered with HTTP 200' END)::postback.explanation;
    END IF;
END
$$;
COMMENT ON FUNCTION postback.explain_token(postback.receipt) IS 'Steps of explain(): the token and those of its settings that mattered';

CREATE FUNCTION postback.explain_request(r postback.receipt, q postback.request) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    renamed text;
BEGIN
    RETURN QUERY
        SELECT 'parameter', coalesce(p.as_sent, p.name || ': ' || p.value), p.outcome
        FROM postback.receipt_parameters(r.id) WITH ORDINALITY p (as_sent, name, value, parameter, outcome, n)
        ORDER BY p.n;
    IF r.cookie IS NOT NULL AND q.click_sent = r.cookie THEN
        RETURN NEXT ('parameter', 'no click_id; the visitor''s cookie', 'click_id = ' || r.cookie)::postback.explanation;
    END IF;
    IF q.code IS NOT NULL THEN
        RETURN NEXT ('request', q.message,
            CASE WHEN r.code = q.code THEN 'refused: ' || q.code
                 ELSE 'the token''s settings have changed: now it would be refused: ' || q.code END)::postback.explanation;
        RETURN;
    END IF;
    IF r.code IN ('missing_parameter', 'bad_currency', 'bad_status', 'bad_value_format', 'bad_encoding', 'too_long',
                  'ambiguous_parameter', 'bad_json', 'unsupported_media_type') THEN
        RETURN NEXT ('request', format('refused then: %s%s', r.code, coalesce(' of ' || r.parameter, '')),
            'can be read by the settings of now: replay it')::postback.explanation;
        RETURN;
    END IF;
    SELECT m.value INTO renamed
    FROM postback.token t, jsonb_each_text(t.status_map) m
    WHERE t.id = r.token_id AND lower(m.key) = lower(q.status);
    RETURN NEXT ('request',
        concat_ws(', ', 'event "' || q.event || '"', 'order "' || q."order" || '"', 'goal "' || q.goal || '"',
                  CASE WHEN q.is_event THEN NULL
                       WHEN q.status IS NULL THEN 'no status'
                       ELSE format('status "%s"', q.status) || coalesce(' (the token''s map: ' || renamed || ')', '') END,
                  'value ' || postback.explain_money(q.value, q.currency),
                  CASE WHEN q.test THEN 'a test order' END),
        CASE WHEN q.is_event THEN 'event' ELSE q.asks END)::postback.explanation;
END
$$;
COMMENT ON FUNCTION postback.explain_request(postback.receipt, postback.request) IS 'Steps of explain(): what was parsed';

CREATE FUNCTION postback.explain_click(
    brand postback.ulid, q postback.request, x postback.click, chosen postback.ulid, at timestamptz) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN x.id = chosen THEN format('chosen: within the window of %s', w.attribution_window)
                WHEN x.brand_id <> brand THEN 'passed over: of another brand'
                ELSE 'passed over: ' || coalesce(nullif(concat_ws('; ',
                    CASE WHEN c.clicked < at - w.attribution_window
                         THEN format('outside the window of %s, which begins at %s', w.attribution_window,
                                     postback.explain_time(at - w.attribution_window)) END,
                    CASE WHEN c.clicked > at - w.min_click_age AND c.clicked <= at
                         THEN format('younger than %s at %s', w.min_click_age, postback.explain_time(at)) END,
                    CASE WHEN x.offer_id <> q.offer_id AND q.click_sent IS NULL THEN 'not of the offer that the call names' END,
                    CASE WHEN x.publisher_id <> q.publisher_id AND q.click_sent IS NULL
                         THEN 'not of the publisher that the call names' END,
                    CASE WHEN x.address_hash IS DISTINCT FROM q.address_hash AND q.address_hash IS NOT NULL AND q.click_sent IS NULL
                         THEN 'not from the address that the call names' END,
                    CASE WHEN x.id < chosen THEN 'older than the chosen one' END), ''),
                    'not any more: the set-up has changed since') END
    FROM (SELECT coalesce(o.attribution_window, b.attribution_window) AS attribution_window,
                 coalesce(o.min_click_age, b.min_click_age) AS min_click_age
          FROM postback.brand b LEFT JOIN postback.offer o ON o.id = x.offer_id
          WHERE b.id = brand) w,
         (SELECT postback.ulid_time(x.id) AS clicked) c
$$;
COMMENT ON FUNCTION postback.explain_click(postback.ulid, postback.request, postback.click, postback.ulid, timestamptz) IS
    'Why a click won or lost at that time';

CREATE FUNCTION postback.explain_click_row(x postback.click) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('clk_%s of %s, %s', x.id, postback.explain_time(postback.ulid_time(x.id)),
                  postback.explain_party(x.publisher_id, x.offer_id))
$$;
COMMENT ON FUNCTION postback.explain_click_row(postback.click) IS 'A click in words';

CREATE FUNCTION postback.explain_sent_click(
    brand postback.ulid, q postback.request, chosen postback.ulid, at timestamptz) RETURNS postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    x postback.click;
BEGIN
    IF q.click_id IS NULL THEN
        RETURN ('click', q.click_sent, 'passed over: this is no click id')::postback.explanation;
    END IF;
    SELECT * INTO x FROM postback.click k WHERE k.id = q.click_id;
    IF FOUND THEN
        RETURN ('click', postback.explain_click_row(x), postback.explain_click(brand, q, x, chosen, at))::postback.explanation;
    END IF;
    RETURN ('click', format('clk_%s', q.click_id),
            CASE WHEN q.click_id = chosen THEN 'chosen; by now it is ' || coalesce(postback.explain_gone('click', chosen), 'gone')
                 ELSE 'passed over: ' || coalesce(postback.explain_gone('click', q.click_id), 'unknown') END)::postback.explanation;
END
$$;
COMMENT ON FUNCTION postback.explain_sent_click(postback.ulid, postback.request, postback.ulid, timestamptz) IS
    'Step of explain(): the click that the call names';

CREATE FUNCTION postback.explain_promo_code(brand postback.ulid, q postback.request, at timestamptz)
    RETURNS SETOF postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT 'promo code', format('"%s", %s', p.code, postback.explain_party(p.publisher_id, p.offer_id)),
               CASE WHEN p.valid_from > at THEN 'passed over: valid from ' || postback.explain_time(p.valid_from)
                    WHEN p.valid_to <= at THEN 'passed over: ended at ' || postback.explain_time(p.valid_to)
                    WHEN p.id = max(p.id) FILTER (WHERE p.valid_from <= at AND p.valid_to > at) OVER () THEN 'chosen'
                    ELSE 'passed over: an older row than the chosen one' END
        FROM postback.promo_code p
        WHERE p.brand_id = explain_promo_code.brand AND p.code = q.promo_code COLLATE postback.nocase
        ORDER BY p.id DESC
        LIMIT 10;
    IF NOT FOUND THEN
        RETURN NEXT ('promo code', format('"%s"', q.promo_code), 'passed over: the brand has no such code')::postback.explanation;
    END IF;
END
$$;
COMMENT ON FUNCTION postback.explain_promo_code(postback.ulid, postback.request, timestamptz) IS
    'Steps of explain(): the promo code that the call names';

CREATE FUNCTION postback.explain_last_click(
    brand postback.ulid, q postback.request, chosen postback.ulid, at timestamptz) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    x postback.click;
    seen integer := 0;
    outside boolean := false;
    chosen_seen boolean := chosen IS NULL;
BEGIN
    FOR x IN SELECT * FROM postback.click k
             WHERE k.brand_id = explain_last_click.brand AND k.id < postback.ulid_floor(at + interval '1 ms')
             ORDER BY k.id DESC LIMIT 11 LOOP
        -- Of those that are too old the newest one tells enough.
        EXIT WHEN outside;
        IF seen = 10 THEN
            RETURN NEXT ('last click', 'older ones', 'not listed here')::postback.explanation;
            EXIT;
        END IF;
        RETURN NEXT ('last click', postback.explain_click_row(x),
                     postback.explain_click(brand, q, x, chosen, at))::postback.explanation;
        seen := seen + 1;
        chosen_seen := chosen_seen OR x.id = chosen;
        outside := postback.ulid_time(x.id) < at - (
            SELECT greatest(b.attribution_window, max(o.attribution_window))
            FROM postback.brand b LEFT JOIN postback.offer o ON o.brand_id = b.id
            WHERE b.id = explain_last_click.brand GROUP BY b.id);
    END LOOP;
    IF seen = 0 AND chosen_seen THEN
        RETURN NEXT ('last click', 'the brand has no click from before ' || postback.explain_time(at), 'none')::postback.explanation;
    END IF;
    IF NOT chosen_seen THEN
        SELECT * INTO x FROM postback.click k WHERE k.id = chosen;
        IF FOUND THEN
            RETURN NEXT ('last click', postback.explain_click_row(x),
                         postback.explain_click(brand, q, x, chosen, at))::postback.explanation;
        ELSE
            RETURN NEXT ('last click', format('clk_%s', chosen), 'chosen; by now it is '
                         || coalesce(postback.explain_gone('click', chosen), 'gone'))::postback.explanation;
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION postback.explain_last_click(postback.ulid, postback.request, postback.ulid, timestamptz) IS
    'Steps of explain(): the newest clicks of the brand before that time, and why each was not the last valid one';

-- Attribution of what the receipt made: how, click, publisher and offer are what it has now.
CREATE FUNCTION postback.explain_attribution(
    r postback.receipt, q postback.request, how text, click postback.ulid, publisher postback.ulid, offer postback.ulid)
    RETURNS SETOF postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- The moment that the rules were applied to: of a transaction, its start.
    clicks_at timestamptz := least(q.received, now());
    -- Only staff can give a click to an order whose call did not name it.
    later boolean := how = 'click' AND (q.click_id IS DISTINCT FROM click
                                        OR coalesce(r.warning, '') ~ 'bad_click_id|unknown_click_id|outside_window');
    first_how text := CASE WHEN later THEN 'none' ELSE how END;
    chosen postback.ulid := CASE WHEN NOT later THEN click END;
BEGIN
    IF q.click_sent IS NOT NULL THEN
        RETURN NEXT postback.explain_sent_click(r.brand_id, q, chosen, clicks_at);
        RETURN NEXT ('click', 'promo codes and earlier clicks',
                     'not looked at: the call names a click')::postback.explanation;
    ELSE
        IF q.promo_code IS NOT NULL THEN
            RETURN QUERY SELECT * FROM postback.explain_promo_code(r.brand_id, q, least(postback.ulid_time(r.id), now()));
        END IF;
        IF first_how = 'promo_code' THEN
            RETURN NEXT ('promo code', 'earlier clicks', 'not looked at: the code decides')::postback.explanation;
        ELSE
            RETURN QUERY SELECT * FROM postback.explain_last_click(r.brand_id, q, chosen, clicks_at);
        END IF;
    END IF;
    RETURN NEXT ('attribution',
        CASE WHEN first_how = 'none' THEN 'nobody' ELSE postback.explain_party(publisher, offer) END,
        first_how)::postback.explanation;
    IF later THEN
        RETURN NEXT ('attribution', format('%s, later, by the network', postback.explain_party(publisher, offer)),
                     how)::postback.explanation;
    END IF;
END
$$;
COMMENT ON FUNCTION postback.explain_attribution(postback.receipt, postback.request, text, postback.ulid, postback.ulid, postback.ulid) IS
    'Steps of explain(): who was found to have earned the order';

CREATE FUNCTION postback.explain_rule(t postback.terms, currency text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws(', ',
        nullif(concat_ws(' + ', trim_scale(t.percent) || ' %', postback.explain_money(t.fixed, currency)), ''),
        (SELECT string_agg(format('from %s %s', postback.explain_money((e ->> 'from')::numeric, currency),
                                  concat_ws(' + ', trim_scale((e ->> 'percent')::numeric) || ' %',
                                            postback.explain_money((e ->> 'fixed')::numeric, currency))), ', ' ORDER BY n)
         FROM jsonb_array_elements(t.brackets) WITH ORDINALITY b (e, n)),
        'at least ' || postback.explain_money(t.min, currency),
        'at most ' || postback.explain_money(t.max, currency))
    || '; for ' || coalesce(nullif(concat_ws(' and ',
        (SELECT format('publisher "%s"', p.name) FROM postback.publisher p WHERE p.id = t.publisher_id),
        (SELECT format('goal "%s"', g.name) FROM postback.goal g WHERE g.id = t.goal_id)), ''), 'the offer')
$$;
COMMENT ON FUNCTION postback.explain_rule(postback.terms, text) IS 'Terms in words';

CREATE FUNCTION postback.explain_misfit(t postback.terms, c postback.conversion, at timestamptz) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT nullif(concat_ws('; ',
        CASE WHEN postback.ulid_time(t.id) > at THEN 'made later, at ' || postback.explain_time(postback.ulid_time(t.id)) END,
        CASE WHEN t.valid_from > at THEN 'valid from ' || postback.explain_time(t.valid_from) END,
        CASE WHEN t.valid_to <= at THEN 'ended at ' || postback.explain_time(t.valid_to) END,
        CASE WHEN t.publisher_id <> c.publisher_id THEN 'for another publisher' END,
        CASE WHEN t.goal_id IS NULL THEN NULL
             WHEN NOT o.goals_enabled THEN 'for a goal, and the offer has goals switched off'
             WHEN NOT EXISTS (SELECT FROM postback.goal g WHERE g.id = t.goal_id AND g.name = c.goal) THEN 'for another goal' END), '')
    FROM (SELECT bool_or(x.goals_enabled) AS goals_enabled FROM postback.offer x WHERE x.id = c.offer_id) o
$$;
COMMENT ON FUNCTION postback.explain_misfit(postback.terms, postback.conversion, timestamptz) IS
    'Why terms of the conversion''s offer could not apply to it at that time; null: they could';

CREATE FUNCTION postback.explain_rank(t postback.terms) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (t.publisher_id IS NOT NULL)::integer * 2 + (t.goal_id IS NOT NULL)::integer
$$;
COMMENT ON FUNCTION postback.explain_rank(postback.terms) IS 'How specific terms are: publisher and goal 3, publisher 2, goal 1, offer 0';

CREATE FUNCTION postback.explain_best(c postback.conversion, at timestamptz) RETURNS postback.terms
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t
    FROM postback.terms t
    WHERE t.offer_id = c.offer_id AND postback.explain_misfit(t, c, at) IS NULL
    ORDER BY postback.explain_rank(t) DESC, t.id DESC
    LIMIT 1
$$;
COMMENT ON FUNCTION postback.explain_best(postback.conversion, timestamptz) IS
    'The terms that should have applied to the conversion at that time, by the set-up of now; null: none';

CREATE FUNCTION postback.explain_terms(r postback.receipt, q postback.request, c postback.conversion)
    RETURNS SETOF postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz := postback.ulid_time(r.id);
    o postback.offer;
    applied postback.terms;
BEGIN
    SELECT * INTO o FROM postback.offer x WHERE x.id = c.offer_id;
    RETURN NEXT ('goal',
        concat_ws('; ', coalesce('sent: "' || q.goal || '"', 'none was sent'),
            CASE WHEN NOT o.goals_enabled THEN 'the offer has goals switched off'
                 WHEN q.goal IS NULL THEN coalesce(
                     (SELECT format('the offer''s default is "%s"', g.name) FROM postback.goal g WHERE g.offer_id = o.id AND g.is_default),
                     'the offer has no default')
                 WHEN NOT EXISTS (SELECT FROM postback.goal g WHERE g.offer_id = o.id AND g.name = c.goal)
                     THEN 'the offer does not define it: priced as without a goal' END),
        coalesce(nullif(c.goal, ''), 'none'))::postback.explanation;

    IF c.terms_id IS NULL THEN
        applied := postback.explain_best(c, at);
    ELSE
        SELECT * INTO applied FROM postback.terms t WHERE t.id = c.terms_id;
        IF NOT FOUND THEN
            RETURN NEXT ('terms', c.terms_id, 'applied; by now they are gone')::postback.explanation;
        END IF;
    END IF;
    RETURN QUERY
        SELECT 'terms', postback.explain_rule(t, c.commission_currency),
               CASE WHEN t.id <> applied.id OR applied.id IS NULL
                    THEN 'passed over: ' || coalesce(postback.explain_misfit(t, c, at),
                             CASE WHEN postback.explain_rank(t) < postback.explain_rank(applied) THEN 'less specific'
                                  WHEN postback.explain_rank(t) = postback.explain_rank(applied) AND t.id < applied.id THEN 'older'
                                  ELSE 'the set-up has changed since' END)
                    WHEN c.terms_id IS NULL THEN 'fit, and wait for the price'
                    WHEN postback.ulid_time(t.id) > at THEN 'apply: ' || postback.explain_misfit(t, c, at)
                    ELSE 'apply: ' || CASE postback.explain_rank(t) WHEN 3 THEN 'publisher and goal' WHEN 2 THEN 'publisher'
                                                                    WHEN 1 THEN 'goal' ELSE 'nothing more specific' END
                                   || ', the newest that fit' END
        FROM postback.terms t
        WHERE t.offer_id = c.offer_id
        ORDER BY t.id = applied.id DESC NULLS LAST, postback.explain_rank(t) DESC, t.id DESC
        LIMIT 10;
    IF NOT FOUND AND c.terms_id IS NULL THEN
        RETURN NEXT ('terms', format('offer "%s" has none', o.name), 'unpriced')::postback.explanation;
    END IF;
END
$$;
COMMENT ON FUNCTION postback.explain_terms(postback.receipt, postback.request, postback.conversion) IS
    'Steps of explain(): goal and terms of a conversion that the receipt created';

CREATE FUNCTION postback.explain_unattributed(c postback.conversion, h postback.history) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.attribution = 'none'
           OR EXISTS (SELECT FROM postback.history x
                      WHERE x.conversion_id = c.id AND x.id > h.id
                        AND x.actor = 'staff' AND x.from_status = x.to_status AND x.from_value = x.to_value)
$$;
COMMENT ON FUNCTION postback.explain_unattributed(postback.conversion, postback.history) IS
    'Was the conversion nobody''s at that change? attribute() alone leaves status and value as they are';

-- The arithmetic is done once more, in numeric; what was booked stands in the outcome.
CREATE FUNCTION postback.explain_price(c postback.conversion, h postback.history) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t postback.terms;
    from_exponent integer := (SELECT x.exponent FROM postback.currency x WHERE x.code = c.currency);
    to_exponent integer := (SELECT x.exponent FROM postback.currency x WHERE x.code = c.commission_currency);
    sale numeric := h.to_value;
    bracket jsonb;
    percent numeric;
    fixed bigint;
    exact numeric;
    bounded text := '';
    fee_of numeric;
BEGIN
    IF h.to_commission IS NULL THEN
        RETURN NEXT ('commission',
            concat_ws(' and ',
                CASE WHEN (postback.explain_best(c, postback.ulid_time(h.id))).id IS NULL THEN 'no terms' END,
                CASE WHEN c.currency <> c.commission_currency
                      AND NOT EXISTS (SELECT FROM postback.fx_rate x
                                      WHERE x.base = c.currency AND x.quote = c.commission_currency AND x.id < h.id)
                     THEN format('no rate from %s to %s', c.currency, c.commission_currency) END)
            || ' at that time; priced when there are', 'unpriced')::postback.explanation;
        RETURN;
    END IF;
    IF c.currency <> c.commission_currency AND c.fx_rate IS NOT NULL THEN
        exact := h.to_value * power(10::numeric, - from_exponent) * c.fx_rate * power(10::numeric, to_exponent);
        sale := round(exact);
        RETURN NEXT ('order value',
            format('%s x %s = %s', postback.explain_money(h.to_value, c.currency), trim_scale(c.fx_rate),
                   postback.explain_money(exact, c.commission_currency)),
            postback.explain_money(sale, c.commission_currency))::postback.explanation;
    END IF;
    IF postback.explain_unattributed(c, h) THEN
        RETURN NEXT ('commission', 'an unattributed order is charged nothing',
                     postback.explain_money(0, c.commission_currency))::postback.explanation;
        RETURN;
    END IF;

    SELECT * INTO t FROM postback.terms x WHERE x.id = c.terms_id;
    IF FOUND THEN
        SELECT b.e INTO bracket
        FROM jsonb_array_elements(t.brackets) b (e)
        WHERE (b.e ->> 'from')::numeric <= sale
        ORDER BY (b.e ->> 'from')::numeric DESC
        LIMIT 1;
        percent := CASE WHEN bracket IS NULL THEN t.percent ELSE (bracket ->> 'percent')::numeric END;
        fixed := CASE WHEN bracket IS NULL THEN t.fixed ELSE (bracket ->> 'fixed')::bigint END;
        exact := sale * coalesce(percent, 0) * 0.01 + coalesce(fixed, 0);
        bounded := CASE WHEN round(exact) > t.max THEN format(', at most %s', postback.explain_money(t.max, c.commission_currency))
                        WHEN round(exact) < t.min THEN format(', at least %s', postback.explain_money(t.min, c.commission_currency))
                        ELSE '' END;
        RETURN NEXT ('commission',
            coalesce(nullif(concat_ws(' + ',
                postback.explain_money(sale, c.commission_currency) || ' x ' || trim_scale(percent) || ' %',
                postback.explain_money(fixed, c.commission_currency)), ''), 'nothing')
            || CASE WHEN percent IS NOT NULL THEN ' = ' || postback.explain_money(exact, c.commission_currency) ELSE '' END
            || bounded
            || coalesce(' (bracket from ' || postback.explain_money((bracket ->> 'from')::numeric, c.commission_currency) || ')', ''),
            postback.explain_money(h.to_commission, c.commission_currency))::postback.explanation;
    ELSE
        RETURN NEXT ('commission', 'by terms that are gone by now',
                     postback.explain_money(h.to_commission, c.commission_currency))::postback.explanation;
    END IF;

    fee_of := CASE c.fee_of WHEN 'commission' THEN h.to_commission WHEN 'value' THEN sale END;
    RETURN NEXT ('fee',
        CASE WHEN fee_of IS NULL THEN 'the brand pays no fee'
             ELSE format('%s %% of the %s %s = %s', trim_scale(c.fee_percent),
                         CASE c.fee_of WHEN 'value' THEN 'order value' ELSE c.fee_of END,
                         postback.explain_money(fee_of, c.commission_currency),
                         postback.explain_money(fee_of * c.fee_percent * 0.01, c.commission_currency)) END,
        postback.explain_money(h.to_fee, c.commission_currency))::postback.explanation;
    RETURN NEXT ('revenue',
        format('%s + %s, what the brand is charged', postback.explain_money(h.to_commission, c.commission_currency),
               postback.explain_money(h.to_fee, c.commission_currency)),
        postback.explain_money(h.to_commission + h.to_fee, c.commission_currency))::postback.explanation;
END
$$;
COMMENT ON FUNCTION postback.explain_price(postback.conversion, postback.history) IS
    'Steps of explain(): the arithmetic of a change that priced the conversion';

CREATE FUNCTION postback.explain_position(status text, value bigint, commission bigint, c postback.conversion) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN status IS NULL THEN 'none'
                ELSE concat_ws(', ', status, postback.explain_money(value, c.currency),
                               'commission ' || coalesce(postback.explain_money(commission, c.commission_currency), 'not known yet')) END
$$;
COMMENT ON FUNCTION postback.explain_position(text, bigint, bigint, postback.conversion) IS 'Where a conversion stood, in words';

-- Ledger lines name the conversion, not the change.  Both are written in the same order, and how many lines a change has
-- follows from what it moved, so they are counted off against each other, from the end: what is gone is gone at the beginning.
CREATE FUNCTION postback.explain_ledger(c postback.conversion, history postback.ulid) RETURNS SETOF postback.ledger
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH component AS (
        SELECT h.id,
               CASE h.from_status WHEN 'pending' THEN m.before ELSE 0 END AS held_before,
               CASE h.to_status WHEN 'pending' THEN m.after ELSE 0 END AS held_after,
               CASE h.from_status WHEN 'approved' THEN m.before ELSE 0 END AS final_before,
               CASE h.to_status WHEN 'approved' THEN m.after ELSE 0 END AS final_after
        FROM postback.history h
        CROSS JOIN LATERAL (VALUES (coalesce(h.from_commission, 0), coalesce(h.to_commission, 0)),
                                   (coalesce(h.from_fee, 0), coalesce(h.to_fee, 0))) m (before, after)
        WHERE h.conversion_id = c.id AND NOT c.test
    ), change AS (
        SELECT k.id, sum((k.final_before > k.final_after)::integer
                         + (k.held_after + k.final_after <> k.held_before + least(k.final_before, k.final_after))::integer
                         + (k.final_after > k.final_before)::integer) AS lines
        FROM component k
        GROUP BY k.id
    ), span AS (
        SELECT n.id, coalesce(sum(n.lines) OVER (ORDER BY n.id DESC ROWS UNBOUNDED PRECEDING), 0) AS last, n.lines
        FROM change n
    )
    SELECT (l.line).*
    FROM (SELECT x AS line, row_number() OVER (ORDER BY x.id DESC) AS n
          FROM postback.ledger x WHERE x.conversion_id = c.id) l
    JOIN span s ON s.id = explain_ledger.history AND l.n > s.last - s.lines AND l.n <= s.last
    ORDER BY (l.line).id
$$;
COMMENT ON FUNCTION postback.explain_ledger(postback.conversion, postback.ulid) IS 'The ledger lines that a change of the conversion wrote';

CREATE FUNCTION postback.explain_callbacks(c postback.conversion, h postback.history) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz := postback.ulid_time(h.id);
    missing text := postback.explain_gone('delivery', h.id);
    most CONSTANT integer := 50;
    listed integer;
BEGIN
    RETURN QUERY
        SELECT 'callback', format('"%s" %s', k.name, k.id),
               CASE WHEN d.id IS NOT NULL
                    THEN format('fired: delivery %s, %s', d.id, concat_ws(', ', d.state, 'HTTP ' || d.http_code, d.error))
                    WHEN f.failing IS NOT NULL THEN 'not fired: ' || f.failing
                    WHEN k.created > at THEN 'not fired: made later, at ' || postback.explain_time(k.created)
                    WHEN missing IS NOT NULL THEN 'fired, if it was the same then; the delivery is ' || missing
                    ELSE 'not fired: changed since, at ' || postback.explain_time(k.updated) END
        FROM (SELECT x.* FROM postback.callback x
              WHERE (x.brand_id IS NULL OR x.brand_id = c.brand_id)
                AND (x.offer_id IS NULL OR x.offer_id = c.offer_id)
                AND (x.publisher_id IS NULL OR x.publisher_id = c.publisher_id)
              ORDER BY x.id
              LIMIT most) k
        LEFT JOIN LATERAL (
            SELECT string_agg(CASE x."check" WHEN 'enabled' THEN 'it is disabled'
                                             ELSE format('%s: %s, wanted: %s', x."check", x.found, x.wanted) END, '; ') AS failing
            FROM postback.callback_checks(c.id, k.id, h.id) x
            WHERE NOT x.ok) f ON true
        -- Deliveries are written right after the history of their change.
        LEFT JOIN LATERAL (
            SELECT x.* FROM postback.delivery x
            WHERE x.conversion_id = c.id AND x.callback_id = k.id
              AND x.id > h.id AND x.id < postback.ulid_floor(at + interval '10 seconds')
              AND x.status = CASE h.to_status WHEN 'reversed' THEN 'rejected' ELSE h.to_status END
              AND x.payout IS NOT DISTINCT FROM h.to_commission
            ORDER BY x.id
            LIMIT 1) d ON true
        ORDER BY k.id;
    GET DIAGNOSTICS listed = ROW_COUNT;
    IF listed = most THEN
        RETURN NEXT ('callback', 'further ones', 'not listed here; ask why_not()')::postback.explanation;
    ELSIF listed = 0 THEN
        RETURN NEXT ('callback', CASE WHEN c.attribution = 'none' THEN 'none: nobody has earned the order'
                                      ELSE 'none is set up for this brand, offer and publisher' END, 'nothing fired')::postback.explanation;
    END IF;
END
$$;

COMMENT ON FUNCTION postback.explain_callbacks(postback.conversion, postback.history) IS
    'Steps of explain(): the callbacks of the conversion''s brand, offer and publisher, and whether a change fired them';

CREATE FUNCTION postback.explain_change(r postback.receipt, c postback.conversion, h postback.history)
    RETURNS SETOF postback.explanation
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN NEXT ('state',
        format('%s -> %s', postback.explain_position(h.from_status, h.from_value, h.from_commission, c),
               postback.explain_position(h.to_status, h.to_value, h.to_commission, c)),
        CASE WHEN h.from_status IS NULL THEN 'created'
             WHEN h.from_status = 'reversed' AND h.to_status = 'pending' THEN 'reopened'
             WHEN h.from_status <> h.to_status THEN h.to_status
             WHEN h.from_value <> h.to_value THEN 'adjusted'
             ELSE 'noted' END
        || coalesce(', reason "' || h.reason || '"', ''))::postback.explanation;
    IF h.from_status IS NULL OR h.from_value <> h.to_value OR h.from_commission IS DISTINCT FROM h.to_commission THEN
        RETURN QUERY SELECT * FROM postback.explain_price(c, h);
    END IF;
    RETURN QUERY
        SELECT 'ledger', format('%s: %s -> %s', l.kind, l.from_account, l.to_account), postback.explain_money(l.amount, l.currency)
        FROM postback.explain_ledger(c, h.id) l
        ORDER BY l.id;
    IF NOT FOUND THEN
        RETURN NEXT ('ledger', CASE WHEN c.test THEN 'a test order never touches the ledger'
                                    ELSE coalesce(postback.explain_gone('ledger', h.id), 'no money moved') END,
                     'none')::postback.explanation;
    END IF;
    RETURN QUERY SELECT * FROM postback.explain_callbacks(c, h);
END
$$;
COMMENT ON FUNCTION postback.explain_change(postback.receipt, postback.conversion, postback.history) IS
    'Steps of explain(): one change of a conversion, its price, ledger lines and callbacks';

CREATE FUNCTION postback.explain_before(r postback.receipt) RETURNS postback.history
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    -- Of the same batch are earlier calls whose changes were written after all receipts had their ids.
    SELECT h
    FROM postback.history h
    LEFT JOIN postback.receipt x ON x.id = h.receipt_id
    WHERE h.conversion_id = r.conversion_id
      AND (h.id < r.id OR h.from_status IS NULL
           OR (h.receipt_id < r.id AND x.code IS NULL AND h.id < postback.ulid_floor(postback.ulid_time(r.id) + interval '1 second')))
    ORDER BY h.id DESC
    LIMIT 1
$$;
COMMENT ON FUNCTION postback.explain_before(postback.receipt) IS
    'How its conversion had come to stand when the receipt was judged that changed nothing';

CREATE FUNCTION postback.explain_refusal(r postback.receipt, q postback.request, c postback.conversion, b postback.history)
    RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN q.code = r.code THEN q.message
        WHEN r.code = 'token_revoked' THEN 'its token was revoked or had expired'
        WHEN r.code = 'ip_not_allowed' THEN 'its token may not be used from that address'
        WHEN r.code = 'bad_signature' THEN 'sig must be the last parameter: hex HMAC-SHA256 of everything before it'
        WHEN r.code = 'unknown_order' THEN format('order "%s" was not known', r.order_ref)
        WHEN r.code = 'locked' THEN format('the order was %s; only the network can change it', b.to_status)
        WHEN r.code = 'ambiguous_order' THEN
            format('the call names no goal, and the order has several: %s',
                   (SELECT string_agg(coalesce(nullif(x.goal, ''), 'none'), ', ' ORDER BY x.goal COLLATE "C") FROM postback.conversion x
                    WHERE x.brand_id = r.brand_id AND x.order_ref = r.order_ref))
        WHEN r.code = 'unpriced' THEN 'the order had no commission yet'
        WHEN r.code = 'value_above_current' THEN
            format('%s is more than %s; a partial can only lower the value',
                   postback.explain_money(q.value, q.currency), postback.explain_money(b.to_value, c.currency))
        WHEN r.code = 'value_mismatch' THEN
            format('%s is not %s; an approval carries the current value or none',
                   postback.explain_money(q.value, q.currency), postback.explain_money(b.to_value, c.currency))
        WHEN r.code = 'currency_mismatch' THEN format('the call says %s, the order is in %s', q.currency, c.currency)
        WHEN r.code = 'bad_value' AND q.value IS NULL THEN format('the value does not fit the order''s currency %s', c.currency)
        WHEN r.code = 'bad_value' THEN 'the value is too large for its commission to be computed'
        ELSE 'the call could not be read by the settings of then' END
$$;
COMMENT ON FUNCTION postback.explain_refusal(postback.receipt, postback.request, postback.conversion, postback.history) IS
    'Why the receipt was refused; the last argument is how its conversion stood';

CREATE FUNCTION postback.explain_warnings(r postback.receipt, q postback.request, c postback.conversion, b postback.history)
    RETURNS SETOF postback.explanation
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'warning',
           CASE w.word
               WHEN 'value_differs' THEN format('sent %s, kept %s', postback.explain_money(q.value, q.currency),
                                                postback.explain_money(coalesce(b.to_value, c.value), c.currency))
               WHEN 'bad_click_id' THEN 'the click id that was sent is none: the order is kept, unattributed'
               WHEN 'unknown_click_id' THEN 'the brand has no such click: the order is kept, unattributed'
               WHEN 'outside_window' THEN 'the click was too old or too young: the order is kept, unattributed'
               WHEN 'unknown_goal' THEN 'the offer does not define the goal: kept, and priced by the offer''s own terms'
               WHEN 'unpriced' THEN 'no terms or no rate yet: priced when there are'
               ELSE '' END,
           w.word
    FROM string_to_table(r.warning, ' ') w (word)
$$;
COMMENT ON FUNCTION postback.explain_warnings(postback.receipt, postback.request, postback.conversion, postback.history) IS
    'Steps of explain(): what was odd';

CREATE FUNCTION postback.explain_parked(r postback.receipt, applied boolean) RETURNS postback.explanation
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p postback.parked;
BEGIN
    IF applied THEN
        RETURN ('parked', 'kept until it could be applied', 'applied, see below')::postback.explanation;
    END IF;
    SELECT * INTO p FROM postback.parked x WHERE x.receipt_id = r.id;
    IF FOUND AND p.expires_at > now() THEN
        RETURN ('parked', CASE WHEN p.expires_at = 'infinity' THEN 'kept until the order has a price'
                               ELSE 'kept for its order until ' || postback.explain_time(p.expires_at) END, 'waiting')::postback.explanation;
    END IF;
    RETURN ('parked', 'not kept any more',
        CASE WHEN r.code = 'unknown_order'
              AND EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = r.brand_id AND c.order_ref = r.order_ref)
             THEN 'did not fit the order when it came'
             WHEN r.code = 'unknown_order' AND postback.ulid_time(r.id) < now() - interval '24 hours' THEN 'the 24 hours are over'
             WHEN r.code = 'unknown_order' THEN 'enough were waiting for the order already'
             ELSE 'another one was waiting already, or it did not fit' END)::postback.explanation;
END
$$;
COMMENT ON FUNCTION postback.explain_parked(postback.receipt, boolean) IS
    'Step of explain(): what became of a follow-up that had to wait; applied: its change is in history';

CREATE FUNCTION postback.explain(receipt postback.ulid) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r postback.receipt;
    q postback.request;
    c postback.conversion;
    e postback.event;
    b postback.history;
    h postback.history;
    p record;
    creation postback.ulid;
    own integer := 0;
BEGIN
    SELECT * INTO r FROM postback.receipt x WHERE x.id = explain.receipt;
    IF NOT FOUND THEN
        RETURN NEXT ('receipt', explain.receipt,
            CASE WHEN explain.receipt IS NULL THEN 'none is named'
                 ELSE coalesce(postback.explain_gone('receipt', explain.receipt), 'there is no such receipt') END)::postback.explanation;
        RETURN;
    END IF;
    SELECT * INTO c FROM postback.conversion x WHERE x.id = r.conversion_id;
    q := postback.receipt_request(r.id, c.currency);

    RETURN NEXT ('receipt', format('%s%s at %s', r.method, coalesce(' from ' || host(r.remote), ''),
                                   postback.explain_time(postback.ulid_time(r.id))),
                 coalesce('refused: ' || r.code, r.result))::postback.explanation;
    IF r.replay_of IS NOT NULL THEN
        RETURN NEXT ('receipt', format('a replay of receipt %s', r.replay_of),
                     'clicks are judged as at ' || postback.explain_time(q.received))::postback.explanation;
    END IF;
    RETURN QUERY SELECT * FROM postback.explain_token(r);
    IF r.code IS NULL OR r.code NOT IN ('token_revoked', 'ip_not_allowed', 'bad_signature') THEN
        RETURN QUERY SELECT * FROM postback.explain_request(r, q);
    END IF;

    IF r.event_id IS NOT NULL THEN
        SELECT * INTO e FROM postback.event x WHERE x.id = r.event_id;
        RETURN QUERY SELECT * FROM postback.explain_attribution(r, q, e.attribution, e.click_id, e.publisher_id, e.offer_id);
        RETURN NEXT ('event', format('"%s"', e.name),
                     CASE r.result WHEN 'duplicate' THEN 'recorded before' ELSE 'recorded' END)::postback.explanation;
    END IF;

    IF r.conversion_id IS NOT NULL AND c.id IS NULL THEN
        RETURN NEXT ('conversion', r.conversion_id, 'gone')::postback.explanation;
    END IF;
    IF r.code IN ('unknown_order', 'unpriced') OR (r.result = 'created' AND q.asks = 'approved') THEN
        RETURN NEXT postback.explain_parked(r, EXISTS (
            SELECT FROM postback.conversion x JOIN postback.history y ON y.conversion_id = x.id
            WHERE x.brand_id = r.brand_id AND x.order_ref = r.order_ref AND y.receipt_id = r.id AND y.from_status IS NOT NULL));
    END IF;

    -- Its own changes, at once or later, and those of parked calls that it set free by creating their order.
    creation := (SELECT y.id FROM postback.history y
                 WHERE y.conversion_id = r.conversion_id AND y.receipt_id = r.id AND y.from_status IS NULL);
    FOR p IN
        SELECT x AS conversion, y AS history, y.receipt_id
        FROM postback.conversion x
        JOIN postback.history y ON y.conversion_id = x.id
        LEFT JOIN postback.receipt z ON z.id = y.receipt_id
        WHERE x.brand_id = r.brand_id AND x.order_ref = r.order_ref
          AND (y.receipt_id = r.id
               OR (x.id = r.conversion_id AND y.id > creation AND z.code IS NOT NULL AND z.id < r.id
                   AND y.id < postback.ulid_floor(postback.ulid_time(creation) + interval '10 seconds')))
        ORDER BY y.id
    LOOP
        c := p.conversion;
        h := p.history;
        own := own + 1;
        IF h.id = creation THEN
            RETURN QUERY SELECT * FROM postback.explain_attribution(r, q, c.attribution, c.click_id, c.publisher_id, c.offer_id);
            IF NOT postback.explain_unattributed(c, h) THEN
                RETURN QUERY SELECT * FROM postback.explain_terms(r, q, c);
            END IF;
        ELSIF p.receipt_id <> r.id THEN
            RETURN NEXT ('applied', format('receipt %s, which had waited for the order', p.receipt_id), h.to_status)::postback.explanation;
        ELSIF r.code IS NOT NULL OR r.result = 'created' THEN
            RETURN NEXT ('applied', 'at ' || postback.explain_time(postback.ulid_time(h.id)), h.to_status)::postback.explanation;
        END IF;
        RETURN QUERY SELECT * FROM postback.explain_change(r, c, h);
    END LOOP;

    IF own = 0 AND r.conversion_id IS NOT NULL THEN
        b := postback.explain_before(r);
        RETURN NEXT ('state',
            CASE WHEN b.id IS NOT NULL THEN postback.explain_position(b.to_status, b.to_value, b.to_commission, c) END,
            CASE WHEN b.id IS NULL THEN coalesce(postback.explain_gone('history', r.id), 'its history is gone')
                 ELSE 'unchanged' END)::postback.explanation;
    END IF;
    RETURN QUERY SELECT * FROM postback.explain_warnings(r, q, c, b);
    RETURN NEXT ('answer',
        CASE WHEN r.code IS NOT NULL THEN postback.explain_refusal(r, q, c, b)
             WHEN r.result = 'duplicate' AND q.is_event THEN 'the event was recorded before'
             WHEN r.result = 'duplicate' THEN 'nothing new: the order stays as it is'
             ELSE '' END,
        format('HTTP %s, %s', r.http_status, coalesce(r.code, r.result)))::postback.explanation;

    RETURN QUERY
        SELECT 'replay', format('made again at %s as receipt %s', postback.explain_time(postback.ulid_time(x.id)), x.id),
               coalesce(x.code, x.result)
        FROM postback.receipt x
        WHERE x.brand_id = r.brand_id AND x.order_ref = r.order_ref AND x.id > r.id AND x.replay_of = r.id
        ORDER BY x.id;
END
$$;
COMMENT ON FUNCTION postback.explain(postback.ulid) IS
'What was made of an inbound postback, step by step: what was parsed, the clicks, code and terms that were looked at and why each won
or lost, the arithmetic, the state before and after, the ledger lines, the callbacks that fired or did not, and the answer.
Changes nothing. What happened is read from the records; the reasons come from the set-up as it is now.';

CREATE FUNCTION postback.simulate(token text, query text) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    answer postback.reply;
    steps postback.explanation[];
BEGIN
    BEGIN
        answer := postback.receive(token, query);
        steps := ARRAY(SELECT e FROM postback.explain(answer.receipt_id) e);
        -- Takes back all that the call wrote; what is in variables stays.
        RAISE EXCEPTION USING ERRCODE = 'PBSIM', MESSAGE = 'simulated';
    EXCEPTION WHEN SQLSTATE 'PBSIM' THEN
        NULL;
    END;
    IF answer.receipt_id IS NULL THEN
        RETURN NEXT ('token', answer.message, format('HTTP %s, %s', answer.http_status, answer.code))::postback.explanation;
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM unnest(steps);
END
$$;
COMMENT ON FUNCTION postback.simulate(text, text) IS
'What explain() would say of GET /p/TOKEN?query, which is not made: nothing of it remains, and the ids that it shows mean nothing.
The call has no address and no signature but the query''s: tokens that ask for an address refuse it.';

CREATE FUNCTION postback.replay(receipt postback.ulid) RETURNS postback.reply
    LANGUAGE C VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_replay';
COMMENT ON FUNCTION postback.replay(postback.ulid) IS
'Makes the receipt''s call again, after a fix, with its token (a revoked or expired one is refused) and what its address and signature
were worth then. Answers and writes as any call does; the new receipt has replay_of. Whether a click is in time is judged by when the
call first came; terms, rates, codes and the hold by now. An accepted one again changes nothing but by what it says: idempotent.';

-- Why a callback did not fire.

CREATE FUNCTION postback.callback_checks(
    conversion postback.ulid, callback postback.ulid, change postback.ulid DEFAULT NULL,
    OUT "check" text, OUT wanted text, OUT found text, OUT ok boolean)
    RETURNS SETOF record
    LANGUAGE C VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_callback_checks';
COMMENT ON FUNCTION postback.callback_checks(postback.ulid, postback.ulid, postback.ulid) IS
    'Every condition of a callback against a change of the conversion (a row of history; null: its latest), by the rule that decides';

CREATE FUNCTION postback.why_not(
    conversion postback.ulid, callback postback.ulid, OUT "check" text, OUT wanted text, OUT found text, OUT ok boolean)
    RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH change AS (
        SELECT postback.ulid_time(max(h.id)) AS at FROM postback.history h WHERE h.conversion_id = why_not.conversion
    ), called AS (
        SELECT k.created, k.updated, k.disabled_at, k.disabled_reason FROM postback.callback k WHERE k.id = why_not.callback
    ), sent AS (
        SELECT count(*) AS deliveries, string_agg(format('%s %s %s', d.id, d.status, d.state), ', ' ORDER BY d.id) AS list
        FROM postback.delivery d
        WHERE d.conversion_id = why_not.conversion AND d.callback_id = why_not.callback
    )
    SELECT v."check", v.wanted, v.found, v.ok
    FROM (SELECT x.n, x."check", x.wanted,
                 CASE WHEN x."check" = 'enabled' AND NOT x.ok
                      THEN concat_ws(', ', x.found, 'since ' || postback.explain_time(k.disabled_at), k.disabled_reason)
                      ELSE x.found END AS found,
                 x.ok
          FROM postback.callback_checks(why_not.conversion, why_not.callback) WITH ORDINALITY x ("check", wanted, found, ok, n)
          LEFT JOIN called k ON true
          UNION ALL
          SELECT 1000, 'made before', 'before the change of ' || postback.explain_time(c.at),
                 concat_ws(', ', 'made ' || postback.explain_time(k.created),
                           CASE WHEN k.updated > k.created THEN 'changed ' || postback.explain_time(k.updated) END),
                 k.created < c.at + interval '1 ms'
          FROM change c, called k
          UNION ALL
          SELECT 1001, 'deliveries', 'at least one', coalesce(s.list, 'none'), s.deliveries > 0 FROM sent s) v
    ORDER BY v.n
$$;
COMMENT ON FUNCTION postback.why_not(postback.ulid, postback.ulid) IS
'Why a conversion''s latest change did or did not fire a callback: each condition, what the callback wants, what was found, and
whether it holds; last whether there are deliveries. By the callback as it is now. Errors: invalid_parameter_value.';

-- Reconciliation: a brand's own list of its orders against ours; what differs is shown first, then applied.

CREATE FUNCTION postback.minor_units(amount text, currency text) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'postback_minor_units';
COMMENT ON FUNCTION postback.minor_units(text, text) IS
    'An order value in full units (digits, at most one period) in minor units: ''49.99'', EUR is 4999; null if it is none';

CREATE TYPE postback.reconciled AS (
    line          integer,
    "order"       text,
    goal          text,
    difference    text,
    our_status    text,
    their_status  text,
    our_value     bigint,
    their_value   bigint,
    currency      text,
    action        text,
    why_not       text,
    done          boolean,
    reason        text,
    notice        text,
    conversion_id postback.ulid
);
COMMENT ON TYPE postback.reconciled IS 'One order that a brand''s list and the conversions disagree on, and what follows';
COMMENT ON COLUMN postback.reconciled.line IS 'Line of the CSV where the row begins, or number of the JSON object; null: not in the list';
COMMENT ON COLUMN postback.reconciled.difference IS
    'missing here, missing there (the list lacks it), ambiguous, currency, amount, amount and status, or status';
COMMENT ON COLUMN postback.reconciled.their_status IS 'pending, approved, reversed or partial; null: the list does not say';
COMMENT ON COLUMN postback.reconciled.our_value IS 'Order value in minor units of currency; likewise their_value';
COMMENT ON COLUMN postback.reconciled.action IS
    'What is or would be done: approve, reverse, adjust (to their value), adjust and approve, claw back; null: nothing';
COMMENT ON COLUMN postback.reconciled.why_not IS 'Why nothing is done: an error code of inbound calls, and what would help';
COMMENT ON COLUMN postback.reconciled.done IS 'The action was carried out by this call';
COMMENT ON COLUMN postback.reconciled.reason IS 'From the list, as notice: what the conversion gets if it is changed';

CREATE FUNCTION postback.reconcile_list(
    csv text, rows jsonb, delimiter text, param_map jsonb, status_map jsonb, quiet boolean,
    OUT line integer, OUT "order" text, OUT goal text, OUT sent text, OUT value bigint, OUT amount text, OUT amount_place text,
    OUT currency text, OUT reason text, OUT notice text)
    RETURNS SETOF record
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'postback_reconcile_list';
COMMENT ON FUNCTION postback.reconcile_list(text, jsonb, text, jsonb, jsonb, boolean) IS
'The rows of a brand''s list, from CSV or (csv null) JSON, checked as far as they can be by themselves. sent: new, approved,
reversed, partial or null. value: minor units; amount: full units as written, amount_place: where it stands, for messages.
Unless quiet, a notice names the columns that are not read.
Errors: invalid_parameter_value, with line and column.';

CREATE FUNCTION postback.reconcile_apply(
    conversions postback.ulid[], statuses text[], "values" bigint[], reasons text[], notices text[])
    RETURNS bigint
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'postback_reconcile_apply';
COMMENT ON FUNCTION postback.reconcile_apply(postback.ulid[], text[], bigint[], text[], text[]) IS
'Gives each conversion a value (minor units) and then a status, with staff''s rights and all effects, or raises and changes none;
returns how many were changed. Reasons and notices: null = as they are. What reconcile() calls.';

CREATE FUNCTION postback.reconcile_compare(
    brand postback.ulid, csv text, rows jsonb, orders text[], since timestamptz, until timestamptz, claw_back boolean,
    delimiter text, param_map jsonb, status_map jsonb, quiet boolean,
    OUT found postback.reconciled, OUT message text, OUT detail text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
    SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    WITH list AS MATERIALIZED (
        SELECT r.* FROM postback.reconcile_list(csv, rows, delimiter, param_map, status_map, quiet) r
    ),
    -- A row without a goal means the order's only conversion. Amounts in full units are read by its currency.
    matched AS MATERIALIZED (
        SELECT l.*, c.id, c.goal AS our_goal, c.status, c.value AS our_value, c.currency AS our_currency,
               c.commission IS NOT NULL AS priced, k.candidates,
               t.currency AS their_currency, postback.minor_units(l.amount, t.currency) AS amount_value,
               coalesce(l.value, postback.minor_units(l.amount, t.currency)) AS their_value
        FROM list l
        CROSS JOIN LATERAL (
            SELECT count(*) AS candidates, min(x.id) AS id
            FROM postback.conversion x
            WHERE x.brand_id = reconcile_compare.brand AND x.order_ref = l."order"
              AND (l.goal IS NULL OR x.goal = l.goal COLLATE postback.nocase)) k
        LEFT JOIN LATERAL (
            SELECT * FROM postback.conversion x WHERE x.id = k.id AND k.candidates = 1 LIMIT 1) c ON true
        CROSS JOIN LATERAL (
            SELECT coalesce(l.currency, c.currency,
                            (SELECT b.currency FROM postback.brand b WHERE b.id = reconcile_compare.brand)) AS currency) t
    ),
    -- What is said of one conversion (or of an order that is not here) must be said once, or always the same.
    grouped AS (
        SELECT m.*, row_number() OVER same AS repetition, first_value(m.line) OVER same AS first_line,
               first_value(concat_ws(' ', coalesce(m.sent, '-'), m.their_currency, m.their_value)) OVER same
                   <> concat_ws(' ', coalesce(m.sent, '-'), m.their_currency, m.their_value) AS contradicts,
               CASE m.sent WHEN 'new' THEN 'pending' ELSE m.sent END AS their_status
        FROM matched m
        WINDOW same AS (PARTITION BY m."order", CASE m.candidates WHEN 1 THEN m.id::text ELSE lower(m.goal) END ORDER BY m.line)
    ),
    judged AS (
        SELECT g.*,
               CASE WHEN g.candidates <> 1 THEN false
                    WHEN g.their_status = 'partial' THEN g.status = 'reversed'
                    ELSE coalesce(g.status <> g.their_status, false) END AS status_differs,
               coalesce(g.status <> 'reversed' AND g.sent IS DISTINCT FROM 'reversed' AND g.their_value <> g.our_value, false)
                   AS value_differs
        FROM grouped g
    ),
    named AS (
        SELECT j.*,
               CASE WHEN j.candidates = 0 THEN 'missing here'
                    WHEN j.candidates > 1 THEN 'ambiguous'
                    WHEN j.their_currency <> j.our_currency THEN 'currency'
                    WHEN j.value_differs AND j.status_differs THEN 'amount and status'
                    WHEN j.value_differs THEN 'amount'
                    WHEN j.status_differs THEN 'status' END AS difference
        FROM judged j
    ),
    decided AS (
        SELECT n.*,
               CASE WHEN n.difference IN ('missing here', 'ambiguous', 'currency') THEN NULL
                    WHEN n.status = 'pending' AND n.their_status = 'reversed' THEN 'reverse'
                    WHEN n.status = 'pending' AND n.their_status = 'approved' AND NOT n.priced THEN NULL
                    WHEN n.status = 'pending' AND n.their_status = 'approved' AND n.value_differs THEN 'adjust and approve'
                    WHEN n.status = 'pending' AND n.their_status = 'approved' THEN 'approve'
                    WHEN n.status = 'pending' AND n.value_differs THEN 'adjust'
                    WHEN n.status = 'approved' AND n.their_status = 'reversed' AND claw_back THEN 'claw back' END AS action,
               CASE WHEN n.amount IS NOT NULL AND n.amount_value IS NULL
                        THEN format('%s: "%s" is no amount of %s', n.amount_place, left(n.amount, 64), n.their_currency)
                    WHEN n.amount_value <> n.value
                        THEN format('%s: %s %s is not the value %s', n.amount_place, n.amount, n.their_currency, n.value)
                    WHEN n.contradicts
                        THEN format('%1$s %2$s: order "%3$s" stands in %1$s %4$s too, with something else',
                                    CASE WHEN csv IS NULL THEN 'row' ELSE 'line' END, n.line, left(n."order", 64), n.first_line)
               END AS problem
        FROM named n
    )
    SELECT ROW(d.line, d."order", coalesce(d.our_goal, d.goal), d.difference, d.status, d.their_status, d.our_value,
               d.their_value, coalesce(d.our_currency, d.their_currency), d.action,
               CASE WHEN d.action IS NOT NULL THEN NULL
                    WHEN d.difference = 'missing here' THEN 'unknown_order: no such conversion was reported'
                    WHEN d.difference = 'ambiguous' THEN format('ambiguous_order: it has %s conversions; name the goal', d.candidates)
                    WHEN d.difference = 'currency' THEN format('currency_mismatch: theirs is in %s', d.their_currency)
                    WHEN d.status = 'pending' THEN 'unpriced: it has no commission yet; set terms or a rate'
                    WHEN d.status = 'approved' AND d.their_status = 'reversed'
                        THEN 'locked: it is approved; claw_back => true takes it back'
                    WHEN d.status = 'approved' THEN 'locked: it is approved, which is final'
                    ELSE 'locked: it is reversed; postback.reopen(conversion) opens it again' END,
               false, d.reason, d.notice, d.id)::postback.reconciled,
           d.problem,
           CASE WHEN d.problem IS NULL THEN NULL
                WHEN d.amount_value IS NULL AND d.amount IS NOT NULL
                    THEN format('Expected digits with at most one period and at most %s decimals, 10^15 in the smallest unit at most.',
                                (SELECT u.exponent FROM postback.currency u WHERE u.code = d.their_currency))
                WHEN d.amount_value <> d.value
                    THEN 'Expected amount (full units) and value (smallest unit) to agree where both are given.'
                ELSE 'Expected each order and goal once, or the same each time.' END,
           CASE WHEN d.problem IS NULL THEN NULL
                WHEN d.amount_value IS NULL AND d.amount IS NOT NULL
                    THEN 'No sign, no currency, no thousands separator. Values in the smallest unit belong into a column named value.'
                WHEN d.amount_value <> d.value THEN 'Give one of them.'
                ELSE 'Keep the row that is true now.' END
    FROM decided d
    WHERE d.problem IS NOT NULL
       OR (d.difference IS NOT NULL AND d.repetition = 1 AND (orders IS NULL OR d."order" = ANY (orders)))
    UNION ALL
    SELECT ROW(NULL, c.order_ref, c.goal, 'missing there', c.status, NULL, c.value, NULL, c.currency, NULL,
               'only shown; a row of the list with status reversed would reverse it', false, NULL, NULL, c.id)::postback.reconciled,
           NULL, NULL, NULL
    FROM postback.conversion c
    WHERE (since IS NOT NULL OR until IS NOT NULL)
      AND c.brand_id = reconcile_compare.brand
      AND c.id >= postback.ulid_floor(coalesce(since, '-infinity'))
      AND c.id < postback.ulid_floor(coalesce(until, 'infinity'))
      AND c.status <> 'reversed' AND NOT c.test
      AND (orders IS NULL OR c.order_ref = ANY (orders))
      AND NOT EXISTS (SELECT FROM list l
                      WHERE l."order" = c.order_ref AND (l.goal IS NULL OR l.goal COLLATE postback.nocase = c.goal));
END
$$;
COMMENT ON FUNCTION postback.reconcile_compare(
    postback.ulid, text, jsonb, text[], timestamptz, timestamptz, boolean, text, jsonb, jsonb, boolean) IS
'The orders that a list and the conversions disagree on, in no order; a row with a message is about a mistake in the list.
What reconcile() shows.';

CREATE FUNCTION postback.reconcile_run(
    brand postback.ulid, csv text, rows jsonb, apply boolean, orders text[], since timestamptz, until timestamptz,
    claw_back boolean, delimiter text, param_map jsonb, status_map jsonb)
    RETURNS SETOF postback.reconciled
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    one record;
    locked postback.ulid[];
    found_rows postback.reconciled[] := '{}';
BEGIN
    PERFORM postback.check_brand(brand);
    IF csv IS NULL AND rows IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'there is nothing to reconcile',
            DETAIL = 'Parameter csv (text with a header row) or rows (a JSON array of objects) holds the brand''s list.',
            HINT = 'In psql: \set list `cat orders.csv`, then csv => :''list''.';
    END IF;
    IF apply THEN
        -- What is to change is locked in the order in which batches lock, and then looked at again.
        SELECT array_agg(k.id) INTO locked
        FROM (SELECT (c.found).conversion_id AS id
              FROM postback.reconcile_compare(brand, csv, rows, orders, NULL, NULL, claw_back, delimiter, param_map, status_map,
                                               true) c
              WHERE (c.found).action IS NOT NULL
              ORDER BY (c.found)."order" COLLATE "C", (c.found).goal COLLATE postback.nocase) s
        CROSS JOIN LATERAL (SELECT x.id FROM postback.conversion x WHERE x.id = s.id LIMIT 1 FOR NO KEY UPDATE) k;
    END IF;
    FOR one IN
        SELECT c.*
        FROM postback.reconcile_compare(brand, csv, rows, orders, since, until, claw_back, delimiter, param_map, status_map,
                                        false) c
        ORDER BY c.message IS NULL,
                 array_position('{missing here,missing there,ambiguous,currency,amount,amount and status,status}',
                                (c.found).difference),
                 (c.found).line, (c.found).conversion_id
    LOOP
        IF one.message IS NOT NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_parameter_value', MESSAGE = one.message, DETAIL = one.detail, HINT = one.hint;
        END IF;
        found_rows := found_rows || one.found;
    END LOOP;
    IF apply THEN
        PERFORM postback.reconcile_apply(array_agg(f.conversion_id), array_agg(s.status), array_agg(s.value),
                                         array_agg(f.reason), array_agg(f.notice))
        FROM unnest(found_rows) f
        JOIN unnest(locked) k (id) ON k.id = f.conversion_id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN f.action IN ('reverse', 'claw back') THEN 'reversed'
                        WHEN f.action IN ('approve', 'adjust and approve') THEN 'approved'
                        ELSE f.our_status END AS status,
                   CASE WHEN f.action IN ('adjust', 'adjust and approve') THEN f.their_value ELSE f.our_value END AS value) s
        WHERE f.action IS NOT NULL
        HAVING count(*) > 0;
    END IF;
    RETURN QUERY
    SELECT f.line, f."order", f.goal, f.difference, f.our_status, f.their_status, f.our_value, f.their_value, f.currency,
           f.action, f.why_not, apply IS TRUE AND f.action IS NOT NULL AND k.id IS NOT NULL, f.reason, f.notice, f.conversion_id
    FROM unnest(found_rows) WITH ORDINALITY
        AS f (line, "order", goal, difference, our_status, their_status, our_value, their_value, currency, action, why_not,
              done, reason, notice, conversion_id, n)
    LEFT JOIN unnest(locked) k (id) ON k.id = f.conversion_id
    ORDER BY f.n;
END
$$;
COMMENT ON FUNCTION postback.reconcile_run(
    postback.ulid, text, jsonb, boolean, text[], timestamptz, timestamptz, boolean, text, jsonb, jsonb) IS
    'What both forms of reconcile() share';

CREATE FUNCTION postback.reconcile(
    brand postback.ulid, csv text, apply boolean DEFAULT false, orders text[] DEFAULT NULL, since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL, claw_back boolean DEFAULT false, param_map jsonb DEFAULT NULL, status_map jsonb DEFAULT NULL,
    delimiter text DEFAULT ',')
    RETURNS SETOF postback.reconciled
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM postback.reconcile_run(brand, csv, NULL, apply, orders, since, until, claw_back, delimiter,
                                                        param_map, status_map) r;
END
$$;
COMMENT ON FUNCTION postback.reconcile(
    postback.ulid, text, boolean, text[], timestamptz, timestamptz, boolean, jsonb, jsonb, text) IS
'A brand''s own list of its orders against ours: one row per order that differs, first what is missing, then amounts, then statuses.
csv: RFC 4180 with a header row of order, goal, status, value (minor units), amount (full units), currency, reason, notice, or
aliases of inbound parameters; only order is required, other columns are not read. Goals, status words and empty fields are read
as inbound ones are; a value above ours raises it. apply: does what action says, with staff''s rights and all effects, all or
nothing. orders: only these. since, until: also what was created in that time and is missing there (until is exclusive).
claw_back: takes approved conversions back that the list has reversed. param_map, status_map: as a token''s. delimiter: one byte.
Errors: invalid_parameter_value with line and column of the mistake.';

CREATE FUNCTION postback.reconcile(
    brand postback.ulid, rows jsonb, apply boolean DEFAULT false, orders text[] DEFAULT NULL, since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL, claw_back boolean DEFAULT false, param_map jsonb DEFAULT NULL, status_map jsonb DEFAULT NULL)
    RETURNS SETOF postback.reconciled
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM postback.reconcile_run(brand, NULL, rows, apply, orders, since, until, claw_back, NULL,
                                                        param_map, status_map) r;
END
$$;
COMMENT ON FUNCTION postback.reconcile(
    postback.ulid, jsonb, boolean, text[], timestamptz, timestamptz, boolean, jsonb, jsonb) IS
'The same with the list as a JSON array of objects: [{"order": "A-1", "status": "approved", "value": 4999}, ...];
rows of a table by SELECT jsonb_agg(t) FROM t. Errors name the row, counted from 1.';

-- Statements: what moved on an account in a time, with the balance after each line.

CREATE FUNCTION postback.ledger_statement(
    account text, "from" timestamptz DEFAULT '-infinity', "to" timestamptz DEFAULT 'infinity', brand postback.ulid DEFAULT NULL,
    publisher postback.ulid DEFAULT NULL, currency text DEFAULT NULL)
    RETURNS TABLE (
        at timestamptz, kind text, "order" text, amount bigint, balance bigint, in_currency text, reference text,
        other_account text, brand_id postback.ulid, publisher_id postback.ulid, conversion_id postback.ulid,
        ledger_id postback.ulid)
    LANGUAGE plpgsql STABLE ROWS 1000
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    lower postback.ulid := postback.ulid_floor(coalesce("from", '-infinity'));
    upper postback.ulid := postback.ulid_floor(coalesce("to", 'infinity'));
    code text := pg_catalog.upper(pg_catalog.btrim(ledger_statement.currency));
    -- Who sees a publisher's lines only (row-level security) sees the other side of them too, but no balance of that.
    any_brand boolean := account = 'payable' OR NOT row_security_active('postback.ledger')
                         OR pg_has_role('postback_operator', 'USAGE');
BEGIN
    IF account IS NULL OR account NOT IN ('available', 'held', 'payable', 'fees', 'topup', 'payout') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('account "%s" does not exist', coalesce(account, '')),
            DETAIL = 'Parameter account must be available, held, payable, fees, topup or payout.',
            HINT = 'available and held are a brand''s, payable a publisher''s, fees the network''s, topup and payout the outside.';
    END IF;
    IF publisher IS NOT NULL AND account <> 'payable' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('account %s is no publisher''s', account),
            DETAIL = 'Parameter publisher narrows payable, the only account that is kept per publisher.',
            HINT = 'Leave publisher out, or ask for payable.';
    END IF;
    RETURN QUERY
    -- What the account has now, less what came since, is what it had: nothing before that time need be read.
    WITH since AS MATERIALIZED (
        SELECT l.id, l.kind, l.conversion_id, l.reference, l.brand_id, l.publisher_id, l.currency,
               CASE l.from_account WHEN ledger_statement.account THEN - l.amount ELSE l.amount END AS amount,
               CASE l.from_account WHEN ledger_statement.account THEN l.to_account ELSE l.from_account END AS other_account
        FROM postback.ledger l
        WHERE l.id >= lower
          AND ledger_statement.account IN (l.from_account, l.to_account)
          AND (ledger_statement.brand IS NULL OR l.brand_id = ledger_statement.brand)
          AND (ledger_statement.publisher IS NULL OR l.publisher_id = ledger_statement.publisher)
          AND (code IS NULL OR l.currency = code)
          AND (any_brand OR l.brand_id IN (SELECT r.brand_id FROM postback.reader_scope r))
    ), opening AS (
        SELECT s.currency, sum(s.amount) AS balance
        FROM (SELECT m.currency, m.amount
              FROM postback.balance m
              WHERE m.account = ledger_statement.account
                AND (ledger_statement.brand IS NULL OR m.brand_id = ledger_statement.brand)
                AND (ledger_statement.publisher IS NULL OR m.publisher_id = ledger_statement.publisher)
                AND (code IS NULL OR m.currency = code)
                AND (any_brand OR m.brand_id IN (SELECT r.brand_id FROM postback.reader_scope r))
              UNION ALL
              SELECT e.currency, - e.amount FROM since e
              UNION ALL
              SELECT b.currency, 0 FROM postback.brand b
              WHERE b.id = ledger_statement.brand AND (code IS NULL OR b.currency = code)) s
        GROUP BY s.currency
    ), line (place, id, at, kind, amount, currency, reference, other_account, brand_id, publisher_id, conversion_id) AS (
        SELECT 1, NULL::postback.ulid, "from", 'opening', o.balance, o.currency, NULL, NULL, ledger_statement.brand,
               ledger_statement.publisher, NULL::postback.ulid
        FROM opening o
        UNION ALL
        SELECT 2, e.id, postback.ulid_time(e.id), e.kind, e.amount, e.currency, e.reference, e.other_account, e.brand_id,
               e.publisher_id, e.conversion_id
        FROM since e
        WHERE e.id < upper
        UNION ALL
        SELECT 3, NULL, "to", 'closing', 0, o.currency, NULL, NULL, ledger_statement.brand, ledger_statement.publisher, NULL
        FROM opening o
    )
    SELECT n.at, n.kind, c.order_ref, CASE n.place WHEN 2 THEN n.amount::bigint END,
           sum(n.amount) OVER (PARTITION BY n.currency ORDER BY n.place, n.id ROWS UNBOUNDED PRECEDING)::bigint,
           n.currency, n.reference, n.other_account, n.brand_id, n.publisher_id, n.conversion_id, n.id
    FROM line n
    LEFT JOIN postback.conversion c ON c.id = n.conversion_id
    ORDER BY n.currency, n.place, n.id;
END
$$;
COMMENT ON FUNCTION postback.ledger_statement(text, timestamptz, timestamptz, postback.ulid, postback.ulid, text) IS
'The lines of an account from "from" (inclusive) to "to" (exclusive), by the time they were booked, each with the balance after it,
between an opening and a closing line per currency; amounts in minor units, negative where money leaves the account.
account: available, held, payable, fees, topup or payout. brand, publisher (of payable) and currency narrow it.
Without "to" the closing balance is that of postback.balances. As CSV: \copy (SELECT * FROM postback.ledger_statement(...)) TO
''statement.csv'' CSV HEADER. Shows what its caller may see. Errors: invalid_parameter_value.';

-- Outbound, for people: a test of a callback, deliveries of a time past, and what the linter says of what is saved.

CREATE FUNCTION postback.delay_misfits(deliveries postback.ulid[], OUT delivery_id postback.ulid, OUT reason text)
    RETURNS SETOF record
    LANGUAGE C VOLATILE STRICT ROWS 10 AS 'MODULE_PATHNAME', 'postback_delay_misfits';
COMMENT ON FUNCTION postback.delay_misfits(postback.ulid[]) IS
'Of deliveries whose delay is over, those whose callback would not fire any more on their conversion as it is now, by the
conditions that decided on them, or on another status; and why. claim() skips them';

CREATE FUNCTION postback.write_test(callback postback.ulid) RETURNS postback.ulid
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'postback_write_test';
COMMENT ON FUNCTION postback.write_test(postback.ulid) IS 'Renders and queues a test delivery; send_test() is for people';

CREATE FUNCTION postback.send_test(callback postback.ulid) RETURNS postback.ulid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM postback.check_sendable(callback);
    RETURN postback.write_test(callback);
END
$$;
COMMENT ON FUNCTION postback.send_test(postback.ulid) IS
'Sends one delivery to the callback''s real URL now, whatever its delay, and returns its id: SELECT * FROM postback.deliveries
WHERE id = ... shows what came of it. It is rendered with the newest conversion (of the last 10,000) that fits the callback, or
with sample values if there is none. It is a test: {test} is 1, the column test true; conversion_id is null, so that it counts
in no seq and supersedes nothing. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.write_backfill(callback postback.ulid, since timestamptz, until timestamptz, preview boolean)
    RETURNS bigint
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'postback_write_backfill';
COMMENT ON FUNCTION postback.write_backfill(postback.ulid, timestamptz, timestamptz, boolean) IS
    'Renders and queues deliveries of conversions of a time; backfill() is for people';

CREATE FUNCTION postback.backfill(
    callback postback.ulid, since timestamptz, until timestamptz DEFAULT now(), preview boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    its_type text;
BEGIN
    PERFORM postback.check_sendable(callback);
    SELECT c.type INTO its_type FROM postback.callback c WHERE c.id = backfill.callback;
    IF its_type <> 'conversion' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('callback %s is of type %s', callback, its_type),
            DETAIL = 'Only conversions are delivered afterwards.',
            HINT = 'Choose a callback of type conversion.';
    END IF;
    IF since IS NULL OR until IS NULL OR since >= until THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('since %s is not before until %s', coalesce(since::text, 'null'), coalesce(until::text, 'null')),
            DETAIL = 'Parameters since and until say when the conversions were created: from since until before until.',
            HINT = 'For example since => now() - interval ''1 day''.';
    END IF;
    IF preview IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'preview is null',
            DETAIL = 'Parameter preview says whether deliveries are only counted.',
            HINT = 'Use true to count, false to send.';
    END IF;
    -- Of two at once the later one finds what the first has written.
    IF NOT preview THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('postback.backfill ' || callback, 0));
    END IF;
    RETURN postback.write_backfill(callback, since, until, preview);
END
$$;
COMMENT ON FUNCTION postback.backfill(postback.ulid, timestamptz, timestamptz, boolean) IS
'Sends the callback a delivery of each conversion that was created from since until before until (now), that the callback would
fire on if it were created as it is now, and of which the callback has no delivery yet, whatever became of it. Returns how
many. preview => true only counts them. A delay is counted from the conversion''s last change. One that is being changed at this
moment is left out. Changes of the others wait until the transaction ends (some seconds per 100,000): send a year in parts. What
was delivered longer ago than deliveries are kept (partition_policy) is not known any more.
Errors: invalid_parameter_value.';

CREATE FUNCTION postback.lint_callbacks(
    OUT callback postback.ulid, OUT field text, OUT finding text, OUT "position" integer, OUT what text, OUT hint text,
    OUT refused boolean)
    RETURNS SETOF record
    LANGUAGE C STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_lint_callbacks';
COMMENT ON FUNCTION postback.lint_callbacks() IS
'What saving would say of each callback as it is saved, one row per finding. field: url, auth, or params or headers and the name.
finding: unknown_macro, plain_http ... position: of what in the field, in bytes from 1; null: all of it. hint: what to do.
refused: true = it could not be saved so today, false = a doubt.';

-- Presentable views. They run with the reader's own rights, so row-level security holds in them (80-roles.sql).

CREATE VIEW postback.conversions WITH (security_invoker = true) AS
    SELECT c.id, c.brand_id, b.name AS brand, c.offer_id, o.name AS offer, c.publisher_id, p.name AS publisher,
           c.order_ref, c.goal, c.status, CASE c.status WHEN 'reversed' THEN 'rejected' ELSE c.status END AS public_status,
           c.test, c.attribution, c.click_id, c.value, c.currency, c.commission AS payout, c.fee,
           c.commission + c.fee AS revenue, c.commission_currency AS payout_currency, c.hold_until,
           c.external_transaction_id, c.sub_id, c.promo_code, c.reason, c.notice, c.created_at, c.updated_at
    FROM postback.conversion c
    LEFT JOIN postback.brand b ON b.id = c.brand_id
    LEFT JOIN postback.offer o ON o.id = c.offer_id
    LEFT JOIN postback.publisher p ON p.id = c.publisher_id;
COMMENT ON VIEW postback.conversions IS
    'Conversions with names; public_status is what the outside is told (reversed is rejected). Amounts in minor units';
COMMENT ON COLUMN postback.conversions.payout IS 'Commission, minor units of payout_currency; null: unpriced';
COMMENT ON COLUMN postback.conversions.revenue IS 'Commission and fee: what the brand is charged, minor units of payout_currency';

CREATE VIEW postback.deliveries WITH (security_invoker = true) AS
    SELECT d.id, d.callback_id, k.name AS callback, d.method, d.url AS postback_url, d.conversion_id,
           d.publisher_id, p.name AS publisher, d.offer_id, o.name AS offer, d.brand_id, d.goal, d.status,
           d.payout, d.revenue, d.currency, d.notice, d.http_code, d.error, coalesce(d.sent_at, postback.ulid_time(d.id)) AS date,
           d.state, d.attempts, d.due_at, d.seq, d.test
    FROM postback.delivery d
    LEFT JOIN postback.callback k ON k.id = d.callback_id
    LEFT JOIN postback.offer o ON o.id = d.offer_id
    LEFT JOIN postback.publisher p ON p.id = d.publisher_id;
COMMENT ON VIEW postback.deliveries IS 'The log of outbound postbacks: each with what came of it last. Amounts in minor units';
COMMENT ON COLUMN postback.deliveries.date IS 'When it was last sent; if it was not yet, when it was decided on';
COMMENT ON COLUMN postback.deliveries.due_at IS 'When it is or was to be sent, or sent again';

CREATE VIEW postback.attempts WITH (security_invoker = true) AS
    SELECT a.id, a.delivery_id, a.number, a.callback_id, k.name AS callback, d.method, d.url AS postback_url, d.conversion_id,
           d.publisher_id, p.name AS publisher, d.offer_id, o.name AS offer, a.brand_id, d.goal, d.status,
           d.payout, d.revenue, d.currency, d.notice, a.http_code, a.error, postback.ulid_time(a.id) AS date,
           a.outcome, a.milliseconds, a.address, a.sender, a.response
    FROM postback.attempt a
    LEFT JOIN postback.delivery d ON d.id = a.delivery_id
    LEFT JOIN postback.callback k ON k.id = a.callback_id
    LEFT JOIN postback.offer o ON o.id = d.offer_id
    LEFT JOIN postback.publisher p ON p.id = d.publisher_id;
COMMENT ON VIEW postback.attempts IS 'The log of outbound postbacks, try by try';
COMMENT ON COLUMN postback.attempts.date IS 'When the attempt was claimed';
COMMENT ON COLUMN postback.attempts.response IS 'The first 2 KB of the answer';

CREATE VIEW postback.callbacks WITH (security_invoker = true) AS
    SELECT k.id, k.name, k.type, k.publisher_id, p.name AS publisher, k.offer_id, o.name AS offer, k.brand_id, k.goal,
           k.statuses, k.reasons, k.delay, k.url, CASE k.method WHEN 'POST_FORM' THEN 'POST (form)'
                                                                WHEN 'POST_JSON' THEN 'POST (JSON)'
                                                                ELSE k.method END AS http_type,
           k.enabled, k.disabled_at, k.disabled_reason, k.created, k.updated
    FROM postback.callback k
    LEFT JOIN postback.offer o ON o.id = k.offer_id
    LEFT JOIN postback.publisher p ON p.id = k.publisher_id;
COMMENT ON VIEW postback.callbacks IS 'The configured outbound postbacks. Null publisher, offer, brand, goal or reasons: any';

CREATE VIEW postback.callback_health WITH (security_invoker = true) AS
    SELECT k.id, k.name, k.enabled, k.disabled_reason, k.failing_since,
           coalesce(a.attempts, 0) AS attempts, a.success_rate, coalesce(a.streak, 0) AS streak, a.p50_ms, a.p99_ms,
           a.last_error, a.last_error_at, a.last_success_at,
           coalesce(q.queued, 0) AS queued, coalesce(q.delayed, 0) AS delayed, q.oldest_due
    FROM postback.callback k
    LEFT JOIN (
        SELECT t.callback_id, count(*) AS attempts,
               round(count(*) FILTER (WHERE t.outcome = 'success')::numeric / count(*), 4) AS success_rate,
               count(*) FILTER (WHERE t.outcome <> 'success' AND (t.success_id IS NULL OR t.id > t.success_id)) AS streak,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY t.milliseconds) AS p50_ms,
               percentile_disc(0.99) WITHIN GROUP (ORDER BY t.milliseconds) AS p99_ms,
               (array_agg(coalesce(t.error, 'HTTP ' || t.http_code) ORDER BY t.id DESC)
                   FILTER (WHERE t.outcome <> 'success'))[1] AS last_error,
               postback.ulid_time(max(t.id) FILTER (WHERE t.outcome <> 'success')) AS last_error_at,
               postback.ulid_time(max(t.success_id)) AS last_success_at
        FROM (SELECT x.*, max(x.id) FILTER (WHERE x.outcome = 'success') OVER (PARTITION BY x.callback_id) AS success_id
              FROM postback.attempt x
              WHERE x.id >= postback.ulid_floor(now() - interval '1 day')) t
        GROUP BY t.callback_id) a ON a.callback_id = k.id
    LEFT JOIN (
        SELECT x.callback_id, count(*) AS queued, count(*) FILTER (WHERE x.attempts = 0 AND x.due_at > now()
                                                                         AND x.leased_until IS NULL) AS delayed,
               min(x.due_at) FILTER (WHERE isfinite(x.due_at)) AS oldest_due
        FROM postback.delivery_due x
        GROUP BY x.callback_id) q ON q.callback_id = k.id;
COMMENT ON VIEW postback.callback_health IS
    'How each callback fares: attempts of the last day, and what stands in the queue now';
COMMENT ON COLUMN postback.callback_health.failing_since IS 'First failed attempt since the last success, however long ago';
COMMENT ON COLUMN postback.callback_health.success_rate IS '0 to 1, of the last day''s attempts; null: none was made';
COMMENT ON COLUMN postback.callback_health.streak IS 'Attempts without success in a row, up to now, of the last day';
COMMENT ON COLUMN postback.callback_health.p50_ms IS 'Half of the last day''s attempts took at most so many milliseconds';
COMMENT ON COLUMN postback.callback_health.p99_ms IS '99 of 100 of the last day''s attempts took at most so many milliseconds';
COMMENT ON COLUMN postback.callback_health.queued IS 'Deliveries that are not finished, delayed and waiting ones too';
COMMENT ON COLUMN postback.callback_health.delayed IS 'Of them those that were never tried and are due later';
COMMENT ON COLUMN postback.callback_health.oldest_due IS 'Long past: nothing sends, or the endpoint is slow. Null: nothing is due';

CREATE VIEW postback.publisher_payable WITH (security_invoker = true) AS
    SELECT m.publisher_id, p.name AS publisher, m.currency, sum(m.amount)::bigint AS payable
    FROM postback.balance m
    LEFT JOIN postback.publisher p ON p.id = m.publisher_id
    WHERE m.account = 'payable'
    GROUP BY m.publisher_id, p.name, m.currency;
COMMENT ON VIEW postback.publisher_payable IS
    'What each publisher is owed now over all brands, per currency, in minor units; negative after claw-backs';

ALTER VIEW postback.balances SET (security_invoker = true);

-- Reports. Views named report_*, to be read by people: amounts in full units, ids last. They run with the reader's own
-- rights, so row-level security holds in them. Days are UTC.
--
-- Daily figures are rolled up. Everything that happened before a mark (an id, hence a moment) is in table daily, everything
-- after it is added by the view from the rows themselves, so that the sum is exact at every moment.  The mark is only ever
-- set where no transaction is under way any more that could still commit rows with ids below it.  So daily is right by the mark
-- alone, in whatever order transactions commit, and after a restore too.

CREATE FUNCTION postback.full_units(minor numeric, currency text) RETURNS numeric
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'postback_full_units';
COMMENT ON FUNCTION postback.full_units(numeric, text) IS
    'Minor units in full units, with the currency''s decimals: 4999, EUR is 49.99; null if there is no such currency';

CREATE TABLE postback.daily (
    brand_id        postback.ulid NOT NULL,
    day             date NOT NULL,
    offer_id        postback.ulid,
    publisher_id    postback.ulid,
    clicks          bigint NOT NULL,
    unique_clicks   bigint NOT NULL,
    pending         bigint NOT NULL,
    approved        bigint NOT NULL,
    reversed        bigint NOT NULL,
    pending_payout  numeric NOT NULL,
    pending_fee     numeric NOT NULL,
    approved_payout numeric NOT NULL,
    approved_fee    numeric NOT NULL,
    CONSTRAINT daily_key UNIQUE NULLS NOT DISTINCT (brand_id, day, offer_id, publisher_id)
) WITH (fillfactor = 80);
CREATE INDEX daily_day_idx ON postback.daily (day);
COMMENT ON TABLE postback.daily IS
'Clicks and conversions per day (UTC) as of the mark in daily_mark; see report_daily. A conversion counts on the day it was
created, with the status it has: later changes move it within its day. Test orders do not count';
COMMENT ON COLUMN postback.daily.offer_id IS 'Null, as publisher_id: unattributed';
COMMENT ON COLUMN postback.daily.unique_clicks IS
    'Visitors (address and user agent) of this offer through this publisher on this day; clicks without an address count each';
COMMENT ON COLUMN postback.daily.pending_payout IS 'Commission of pending conversions, minor units of the brand''s currency; so all amounts';

CREATE TABLE postback.daily_mark (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    upto      postback.ulid NOT NULL,
    rolled_at timestamptz NOT NULL
);
COMMENT ON TABLE postback.daily_mark IS 'How far daily goes: one row, none before the first roll_up()';
COMMENT ON COLUMN postback.daily_mark.upto IS 'All clicks and history with lower ids are in daily, none with this or a higher one is';

CREATE TABLE postback.daily_visitor (
    day     date NOT NULL,
    visitor bigint NOT NULL,
    PRIMARY KEY (day, visitor)
);
COMMENT ON TABLE postback.daily_visitor IS 'Who was counted as a unique click on the day of the mark';
COMMENT ON COLUMN postback.daily_visitor.visitor IS 'Hash of brand, offer, publisher and the click''s hashes of address and user agent';

CREATE FUNCTION postback.visitor_of(
    brand postback.ulid, offer postback.ulid, publisher postback.ulid, address_hash bigint, agent_hash bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN address_hash IS NOT NULL THEN
        pg_catalog.hash_record_extended(ROW(brand, offer, publisher, address_hash, agent_hash), 0) END;
COMMENT ON FUNCTION postback.visitor_of(postback.ulid, postback.ulid, postback.ulid, bigint, bigint) IS
    'Whom a click counts for in daily_visitor; null: nobody is known, it counts by itself';

-- Ids after .. before - 1. What a change of a conversion changes in the figures is its row of history, from and to, so that
-- the order of rows does not matter. Only one thing about a conversion's place changes, and once: staff can attribute it.
CREATE FUNCTION postback.daily_changes(after postback.ulid, before postback.ulid) RETURNS SETOF postback.daily
    LANGUAGE plpgsql STABLE ROWS 1000
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    WITH attributed_later AS MATERIALIZED (
        SELECT h.conversion_id
        FROM postback.history h
        WHERE h.id >= before AND h.actor = 'staff' AND h.from_status = h.to_status AND h.from_value = h.to_value
    ),
    change AS MATERIALIZED (
        SELECT h.conversion_id,
               bool_or(h.actor = 'staff' AND h.from_status = h.to_status AND h.from_value = h.to_value) AS attributed,
               sum(s.sign) FILTER (WHERE s.status = 'pending') AS pending,
               sum(s.sign) FILTER (WHERE s.status = 'approved') AS approved,
               sum(s.sign) FILTER (WHERE s.status = 'reversed') AS reversed,
               sum(s.sign * s.commission) FILTER (WHERE s.status = 'pending') AS pending_payout,
               sum(s.sign * s.fee) FILTER (WHERE s.status = 'pending') AS pending_fee,
               sum(s.sign * s.commission) FILTER (WHERE s.status = 'approved') AS approved_payout,
               sum(s.sign * s.fee) FILTER (WHERE s.status = 'approved') AS approved_fee
        FROM postback.history h
        CROSS JOIN LATERAL (VALUES (-1::numeric, h.from_status, h.from_commission, h.from_fee),
                                   (1, h.to_status, h.to_commission, h.to_fee)) AS s (sign, status, commission, fee)
        WHERE h.id >= after AND h.id < before
        GROUP BY h.conversion_id
    ),
    placed AS MATERIALIZED (
        SELECT c.brand_id, (postback.ulid_time(c.id) AT TIME ZONE 'UTC')::date AS day, c.id,
               CASE WHEN l.conversion_id IS NULL THEN c.offer_id END AS offer_id,
               CASE WHEN l.conversion_id IS NULL THEN c.publisher_id END AS publisher_id,
               k.attributed, c.status, c.commission, c.fee,
               coalesce(k.pending, 0) AS pending, coalesce(k.approved, 0) AS approved, coalesce(k.reversed, 0) AS reversed,
               coalesce(k.pending_payout, 0) AS pending_payout, coalesce(k.pending_fee, 0) AS pending_fee,
               coalesce(k.approved_payout, 0) AS approved_payout, coalesce(k.approved_fee, 0) AS approved_fee
        FROM change k
        CROSS JOIN LATERAL (SELECT * FROM postback.conversion x WHERE x.id = k.conversion_id LIMIT 1) c
        LEFT JOIN attributed_later l ON l.conversion_id = k.conversion_id
        WHERE NOT c.test
    ),
    -- What an attributed one amounted to, unattributed, before these ids: what it is now, less all changes since.
    moved AS MATERIALIZED (
        SELECT p.brand_id, p.day, p.offer_id, p.publisher_id,
               (p.status = 'pending')::int - coalesce(w.pending, 0) AS pending,
               (p.status = 'approved')::int - coalesce(w.approved, 0) AS approved,
               (p.status = 'reversed')::int - coalesce(w.reversed, 0) AS reversed
        FROM placed p
        CROSS JOIN LATERAL (
            SELECT sum(s.sign) FILTER (WHERE s.status = 'pending') AS pending,
                   sum(s.sign) FILTER (WHERE s.status = 'approved') AS approved,
                   sum(s.sign) FILTER (WHERE s.status = 'reversed') AS reversed
            FROM postback.history h
            CROSS JOIN LATERAL (VALUES (-1::numeric, h.from_status), (1, h.to_status)) AS s (sign, status)
            WHERE h.conversion_id = p.id AND h.id >= after) w
        WHERE p.attributed
    ),
    clicked AS MATERIALIZED (
        SELECT k.brand_id, (postback.ulid_time(k.id) AT TIME ZONE 'UTC')::date AS day, k.offer_id, k.publisher_id,
               postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash) AS visitor
        FROM postback.click k
        WHERE k.id >= after AND k.id < before
    ),
    part AS (
        SELECT p.brand_id, p.day, p.offer_id, p.publisher_id, 0::bigint AS clicks, 0::bigint AS unique_clicks, p.pending, p.approved,
               p.reversed, p.pending_payout, p.pending_fee, p.approved_payout, p.approved_fee
        FROM placed p
        UNION ALL  -- unattributed ones have neither commission nor fee
        SELECT m.brand_id, m.day, s.offer_id, s.publisher_id, 0, 0, s.sign * m.pending, s.sign * m.approved, s.sign * m.reversed,
               0, 0, 0, 0
        FROM moved m
        CROSS JOIN LATERAL (VALUES (1, m.offer_id, m.publisher_id), (-1, NULL, NULL)) AS s (sign, offer_id, publisher_id)
        UNION ALL
        SELECT k.brand_id, k.day, k.offer_id, k.publisher_id, count(*), count(*) FILTER (WHERE k.visitor IS NULL), 0, 0, 0, 0, 0, 0, 0
        FROM clicked k
        GROUP BY k.brand_id, k.day, k.offer_id, k.publisher_id
        UNION ALL
        SELECT u.brand_id, u.day, u.offer_id, u.publisher_id, 0, count(*), 0, 0, 0, 0, 0, 0, 0
        FROM (SELECT DISTINCT k.brand_id, k.day, k.offer_id, k.publisher_id, k.visitor
              FROM clicked k
              WHERE k.visitor IS NOT NULL) u
        LEFT JOIN LATERAL (SELECT true AS seen FROM postback.daily_visitor d
                           WHERE d.day = u.day AND d.visitor = u.visitor LIMIT 1) d ON true
        WHERE d.seen IS NULL
        GROUP BY u.brand_id, u.day, u.offer_id, u.publisher_id
    )
    SELECT p.brand_id, p.day, p.offer_id, p.publisher_id, sum(p.clicks)::bigint, sum(p.unique_clicks)::bigint,
           sum(p.pending)::bigint, sum(p.approved)::bigint, sum(p.reversed)::bigint,
           sum(p.pending_payout), sum(p.pending_fee), sum(p.approved_payout), sum(p.approved_fee)
    FROM part p
    GROUP BY p.brand_id, p.day, p.offer_id, p.publisher_id;
END
$$;
COMMENT ON FUNCTION postback.daily_changes(postback.ulid, postback.ulid) IS
'What the clicks and changes of conversions with ids from after (inclusive) to before (exclusive) add to daily, as differences,
given that daily and daily_visitor hold what was before after';

CREATE FUNCTION postback.daily_tail() RETURNS SETOF postback.daily
    LANGUAGE sql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.*
    FROM postback.daily_changes(
             coalesce((SELECT m.upto FROM postback.daily_mark m), postback.ulid_floor('-infinity')),
             postback.ulid_floor('infinity')) t
    -- Who sees one publisher only sees what was attributed to it, not what that took from the unattributed.
    WHERE t.offer_id IS NOT NULL
       OR least(t.pending, t.approved, t.reversed) >= 0
       OR EXISTS (SELECT FROM postback.daily d WHERE d.brand_id = t.brand_id AND d.day = t.day AND d.offer_id IS NULL)
$$;
COMMENT ON FUNCTION postback.daily_tail() IS 'What is not in daily yet, as differences to it';

-- A moment that no transaction under way began before, or null if that cannot be known now.  What has no transaction id
-- yet has written nothing, and its ids are made by the statement that writes them.
CREATE FUNCTION postback.settled_until() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz;
    earliest timestamptz;
    unknown boolean;
BEGIN
    IF NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('role %s may not see what other sessions do', current_user),
            DETAIL = 'Without that it cannot be known which transactions are under way.',
            HINT = format('GRANT pg_read_all_stats TO %I;', current_user);
    END IF;
    PERFORM pg_stat_clear_snapshot();
    at := clock_timestamp();
    SELECT min(CASE WHEN a.backend_xid IS NOT NULL THEN a.xact_start
                    WHEN a.state IN ('idle', 'idle in transaction', 'idle in transaction (aborted)') THEN NULL
                    ELSE greatest(a.query_start, a.xact_start) END) FILTER (WHERE a.xact_start IS NOT NULL),
           bool_or(a.xact_start IS NULL AND coalesce(a.state, 'disabled') = 'disabled'
                   AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL))
    INTO earliest, unknown
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND a.backend_type NOT IN ('autovacuum launcher', 'autovacuum worker', 'parallel worker', 'walsender');
    IF unknown OR EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.database = current_database()) THEN
        RETURN NULL;
    END IF;
    RETURN least(earliest, at);
END
$$;
COMMENT ON FUNCTION postback.settled_until() IS
'No transaction that is under way in this database will commit rows with ids before this moment. Null: not known now (a prepared
transaction, or a session with track_activities off). Errors: insufficient_privilege.';

CREATE FUNCTION postback.roll_up() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off SET enable_seqscan = off AS $$
DECLARE
    after postback.ulid;
    before postback.ulid;
    today date;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_transaction_state',
            MESSAGE = format('roll_up() cannot run in a transaction that is %s', current_setting('transaction_isolation')),
            DETAIL = 'It must see what was committed up to the moment it starts.',
            HINT = 'Call it in a transaction of its own.';
    END IF;
    -- A second one at the same time has nothing to do.
    IF NOT pg_try_advisory_xact_lock(hashtext('postback'), 4) THEN
        RETURN (SELECT postback.ulid_time(m.upto) FROM postback.daily_mark m);
    END IF;
    SELECT m.upto INTO after FROM postback.daily_mark m;
    after := coalesce(after, postback.ulid_floor('-infinity'));
    -- A second less: sessions' clocks are one clock, but it may be set back a little.
    before := postback.ulid_floor(postback.settled_until() - interval '1 second');
    IF before IS NULL OR before <= after THEN
        RETURN postback.ulid_time(after);
    END IF;
    today := (postback.ulid_time(before) AT TIME ZONE 'UTC')::date;

    INSERT INTO postback.daily AS d
    SELECT c.* FROM postback.daily_changes(after, before) c
    WHERE (c.clicks, c.unique_clicks, c.pending, c.approved, c.reversed, c.pending_payout, c.pending_fee, c.approved_payout,
           c.approved_fee) <> (0, 0, 0, 0, 0, 0, 0, 0, 0)
    ON CONFLICT ON CONSTRAINT daily_key DO UPDATE SET
        clicks = d.clicks + excluded.clicks, unique_clicks = d.unique_clicks + excluded.unique_clicks,
        pending = d.pending + excluded.pending, approved = d.approved + excluded.approved,
        reversed = d.reversed + excluded.reversed,
        pending_payout = d.pending_payout + excluded.pending_payout, pending_fee = d.pending_fee + excluded.pending_fee,
        approved_payout = d.approved_payout + excluded.approved_payout, approved_fee = d.approved_fee + excluded.approved_fee;

    -- Later clicks are of the mark's day or of later ones.
    DELETE FROM postback.daily_visitor v WHERE v.day < today;
    INSERT INTO postback.daily_visitor
    SELECT today, v.visitor
    FROM (SELECT postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash) AS visitor
          FROM postback.click k
          WHERE k.id >= greatest(after, postback.ulid_floor(today::timestamp AT TIME ZONE 'UTC')) AND k.id < before) v
    WHERE v.visitor IS NOT NULL
    ON CONFLICT DO NOTHING;

    INSERT INTO postback.daily_mark AS m (upto, rolled_at) VALUES (before, clock_timestamp())
    ON CONFLICT (one) DO UPDATE SET upto = excluded.upto, rolled_at = excluded.rolled_at;
    RETURN postback.ulid_time(before);
END
$$;
COMMENT ON FUNCTION postback.roll_up() IS
'Adds to daily what has happened since the last call; returns the moment up to which daily goes. That stays behind while a
transaction is under way that has written something: reports are exact all the same, they read what is not rolled up from the rows.
Errors: invalid_transaction_state, insufficient_privilege.';

CREATE FUNCTION postback.daily_facts(since date) RETURNS SETOF postback.daily
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT f.brand_id, f.day, f.offer_id, f.publisher_id, sum(f.clicks)::bigint, sum(f.unique_clicks)::bigint,
           sum(f.pending)::bigint, sum(f.approved)::bigint, sum(f.reversed)::bigint,
           coalesce(sum(f.pending_payout), 0), coalesce(sum(f.pending_fee), 0),
           coalesce(sum(f.approved_payout), 0), coalesce(sum(f.approved_fee), 0)
    FROM (SELECT c.brand_id, (postback.ulid_time(c.id) AT TIME ZONE 'UTC')::date AS day, c.offer_id, c.publisher_id,
                 0 AS clicks, 0 AS unique_clicks,
                 (c.status = 'pending')::int AS pending, (c.status = 'approved')::int AS approved,
                 (c.status = 'reversed')::int AS reversed,
                 CASE c.status WHEN 'pending' THEN c.commission END::numeric AS pending_payout,
                 CASE c.status WHEN 'pending' THEN c.fee END::numeric AS pending_fee,
                 CASE c.status WHEN 'approved' THEN c.commission END::numeric AS approved_payout,
                 CASE c.status WHEN 'approved' THEN c.fee END::numeric AS approved_fee
          FROM postback.conversion c
          WHERE NOT c.test AND c.id >= postback.ulid_floor(since::timestamp AT TIME ZONE 'UTC')
          UNION ALL
          SELECT k.brand_id, k.day, k.offer_id, k.publisher_id, count(*),
                 count(DISTINCT k.visitor) + count(*) FILTER (WHERE k.visitor IS NULL), 0, 0, 0, 0, 0, 0, 0
          FROM (SELECT x.brand_id, (postback.ulid_time(x.id) AT TIME ZONE 'UTC')::date AS day, x.offer_id, x.publisher_id,
                       postback.visitor_of(x.brand_id, x.offer_id, x.publisher_id, x.address_hash, x.agent_hash) AS visitor
                FROM postback.click x
                WHERE x.id >= postback.ulid_floor(since::timestamp AT TIME ZONE 'UTC')) k
          GROUP BY k.brand_id, k.day, k.offer_id, k.publisher_id) f
    GROUP BY f.brand_id, f.day, f.offer_id, f.publisher_id
$$;
COMMENT ON FUNCTION postback.daily_facts(date) IS 'The same figures counted from clicks and conversions themselves, for the days from since on';

CREATE FUNCTION postback.audit_daily(
    since date, OUT day date, OUT brand_id postback.ulid, OUT offer_id postback.ulid, OUT publisher_id postback.ulid,
    OUT expected text, OUT actual text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT s.day, s.brand_id, s.offer_id, s.publisher_id,
           concat_ws(' ', sum(s.clicks * s.fact), sum(s.unique_clicks * s.fact), sum(s.pending * s.fact), sum(s.approved * s.fact),
                     sum(s.reversed * s.fact), sum(s.pending_payout * s.fact), sum(s.pending_fee * s.fact),
                     sum(s.approved_payout * s.fact), sum(s.approved_fee * s.fact)),
           concat_ws(' ', sum(s.clicks * s.told), sum(s.unique_clicks * s.told), sum(s.pending * s.told), sum(s.approved * s.told),
                     sum(s.reversed * s.told), sum(s.pending_payout * s.told), sum(s.pending_fee * s.told),
                     sum(s.approved_payout * s.told), sum(s.approved_fee * s.told))
    FROM (SELECT f.*, 1 AS fact, 0 AS told FROM postback.daily_facts(since) f
          UNION ALL
          SELECT d.*, 0, 1 FROM postback.daily d WHERE d.day >= since
          UNION ALL
          SELECT t.*, 0, 1 FROM postback.daily_tail() t WHERE t.day >= since) s
    GROUP BY s.day, s.brand_id, s.offer_id, s.publisher_id
    HAVING (sum(s.clicks * s.fact), sum(s.unique_clicks * s.fact), sum(s.pending * s.fact), sum(s.approved * s.fact),
            sum(s.reversed * s.fact), sum(s.pending_payout * s.fact), sum(s.pending_fee * s.fact),
            sum(s.approved_payout * s.fact), sum(s.approved_fee * s.fact))
        <> (sum(s.clicks * s.told), sum(s.unique_clicks * s.told), sum(s.pending * s.told), sum(s.approved * s.told),
            sum(s.reversed * s.told), sum(s.pending_payout * s.told), sum(s.pending_fee * s.told),
            sum(s.approved_payout * s.told), sum(s.approved_fee * s.told))
    ORDER BY 1, 2, 3, 4
$$;
COMMENT ON FUNCTION postback.audit_daily(date) IS
'Counts the days from since on from clicks and conversions and returns where the daily reports say otherwise (nothing, if all is
well): clicks, unique clicks, pending, approved, reversed, payout and fee of pending, payout and fee of approved ones, in minor
units. Reads every row of those days: not further back than clicks are kept. rebuild_daily(since) mends what it finds.';

CREATE FUNCTION postback.rebuild_daily(since date) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rebuilt bigint;
BEGIN
    -- The mark stands still meanwhile.
    PERFORM pg_advisory_xact_lock(hashtext('postback'), 4);
    INSERT INTO postback.daily AS d
    SELECT s.brand_id, s.day, s.offer_id, s.publisher_id, sum(s.clicks * s.sign), sum(s.unique_clicks * s.sign),
           sum(s.pending * s.sign), sum(s.approved * s.sign), sum(s.reversed * s.sign), sum(s.pending_payout * s.sign),
           sum(s.pending_fee * s.sign), sum(s.approved_payout * s.sign), sum(s.approved_fee * s.sign)
    FROM (SELECT f.*, 1 AS sign FROM postback.daily_facts(since) f
          UNION ALL
          SELECT t.*, -1 FROM postback.daily_tail() t WHERE t.day >= since
          UNION ALL  -- rows that have lost all
          SELECT o.*, 0 FROM postback.daily o WHERE o.day >= since) s
    GROUP BY s.brand_id, s.day, s.offer_id, s.publisher_id
    ON CONFLICT ON CONSTRAINT daily_key DO UPDATE SET
        clicks = excluded.clicks, unique_clicks = excluded.unique_clicks, pending = excluded.pending,
        approved = excluded.approved, reversed = excluded.reversed, pending_payout = excluded.pending_payout,
        pending_fee = excluded.pending_fee, approved_payout = excluded.approved_payout, approved_fee = excluded.approved_fee
    WHERE (d.clicks, d.unique_clicks, d.pending, d.approved, d.reversed, d.pending_payout, d.pending_fee, d.approved_payout,
           d.approved_fee)
       <> (excluded.clicks, excluded.unique_clicks, excluded.pending, excluded.approved, excluded.reversed, excluded.pending_payout,
           excluded.pending_fee, excluded.approved_payout, excluded.approved_fee);
    GET DIAGNOSTICS rebuilt = ROW_COUNT;
    RETURN rebuilt;
END
$$;
COMMENT ON FUNCTION postback.rebuild_daily(date) IS
'Counts the days from since on again and mends daily; returns how many of its rows were wrong or missing. Needed only where rows
came without their effects (loaded or deleted by hand, or the clock set back). Not further back than clicks are kept.';

CREATE VIEW postback.daily_now WITH (security_invoker = true) AS
    SELECT d.* FROM postback.daily d
    UNION ALL
    SELECT t.* FROM postback.daily_tail() t;
COMMENT ON VIEW postback.daily_now IS 'daily, and what is not in it yet, to be summed up: what the report_daily views read. Minor units';

-- One view per level: what it is by, what it shows of that, and how it is called in its comment.
DO $$
DECLARE
    v record;
    c record;
BEGIN
    FOR v IN
        SELECT * FROM (VALUES
            ('report_daily',            '{brand,offer,publisher}', 'day, brand, offer and publisher'),
            ('report_daily_brands',     '{brand}',                 'day and brand'),
            ('report_daily_offers',     '{brand,offer}',           'day, brand and offer'),
            ('report_daily_publishers', '{publisher}',             'day and publisher, over all brands of one currency'))
            AS w (view, levels, title)
    LOOP
        EXECUTE pg_catalog.format('
            CREATE VIEW postback.%I WITH (security_invoker = true) AS
            SELECT d.day, %s, d.clicks::bigint AS clicks, d.unique_clicks::bigint AS unique_clicks,
                   (d.pending + d.approved + d.reversed)::bigint AS conversions, d.pending::bigint AS pending,
                   d.approved::bigint AS approved, d.reversed::bigint AS rejected,
                   pg_catalog.round(100 * (d.pending + d.approved) / nullif(d.clicks, 0), 2) AS cr,
                   pg_catalog.round(postback.full_units(d.payout, d.currency) / nullif(d.clicks, 0), 4) AS epc,
                   postback.full_units(d.payout, d.currency) AS payout,
                   postback.full_units(d.approved_payout, d.currency) AS approved_payout,
                   postback.full_units(d.payout + d.fee, d.currency) AS revenue,
                   postback.full_units(d.fee, d.currency) AS margin, d.currency, %s
            FROM (SELECT x.day, %s, y.currency, sum(x.clicks) AS clicks, sum(x.unique_clicks) AS unique_clicks,
                         sum(x.pending) AS pending, sum(x.approved) AS approved, sum(x.reversed) AS reversed,
                         sum(x.pending_payout) + sum(x.approved_payout) AS payout, sum(x.approved_payout) AS approved_payout,
                         sum(x.pending_fee) + sum(x.approved_fee) AS fee
                  FROM postback.daily_now x
                  LEFT JOIN postback.brand y ON y.id = x.brand_id
                  GROUP BY x.day, %4$s, y.currency
                  HAVING sum(x.clicks) <> 0 OR sum(x.pending) <> 0 OR sum(x.approved) <> 0 OR sum(x.reversed) <> 0) d %5$s',
            v.view,
            (SELECT pg_catalog.string_agg(pg_catalog.format('%I.name AS %1$I', l), ', ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)),
            (SELECT pg_catalog.string_agg(pg_catalog.format('d.%I_id', l), ', ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)),
            (SELECT pg_catalog.string_agg(pg_catalog.format('x.%I_id', l), ', ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)),
            (SELECT pg_catalog.string_agg(pg_catalog.format('LEFT JOIN postback.%I ON %1$I.id = d.%1$s_id', l), ' ' ORDER BY n)
             FROM pg_catalog.unnest(v.levels::text[]) WITH ORDINALITY AS u (l, n)));
        EXECUTE pg_catalog.format('COMMENT ON VIEW postback.%I IS %L', v.view, 'Figures per ' || v.title ||
            '; days are UTC, amounts in full units of currency. Exact at every moment. Conversions count on the day they were '
            'created, with the status they have now; test orders do not count');
        FOR c IN
            SELECT * FROM (VALUES
                ('unique_clicks',   'Visitors (address and user agent) per day, offer and publisher, added up'),
                ('rejected',        'Conversions that were reversed'),
                ('cr',              'Pending and approved conversions in percent of clicks'),
                ('epc',             'Payout per click'),
                ('payout',          'Commission of pending and approved conversions'),
                ('approved_payout', 'Commission of approved conversions'),
                ('revenue',         'What the brand is charged: payout and fee'),
                ('margin',          'What the network earns: revenue less payout, the fee')) AS w (name, meaning)
        LOOP
            EXECUTE pg_catalog.format('COMMENT ON COLUMN postback.%I.%I IS %L', v.view, c.name, c.meaning);
        END LOOP;
    END LOOP;
END
$$;

CREATE VIEW postback.report_conversions WITH (security_invoker = true) AS
    SELECT c.created_at, b.name AS brand, o.name AS offer, p.name AS publisher, c.order_ref AS "order", c.goal::text AS goal,
           CASE c.status WHEN 'reversed' THEN 'rejected' ELSE c.status END AS status,
           postback.full_units(c.value, c.currency) AS value, c.currency,
           postback.full_units(c.commission, c.commission_currency) AS payout,
           postback.full_units(c.commission + c.fee, c.commission_currency) AS revenue,
           postback.full_units(c.fee, c.commission_currency) AS margin, c.commission_currency AS payout_currency,
           c.attribution, pg_catalog.date_trunc('second', postback.ulid_time(c.id) - postback.ulid_time(c.click_id)) AS since_click,
           CASE c.status WHEN 'pending' THEN c.hold_until END AS approves_at, c.reason, c.notice, c.test, c.sub_id,
           c.external_transaction_id, c.promo_code, c.updated_at, c.id, c.brand_id, c.offer_id, c.publisher_id, c.click_id
    FROM postback.conversion c
    LEFT JOIN postback.brand b ON b.id = c.brand_id
    LEFT JOIN postback.offer o ON o.id = c.offer_id
    LEFT JOIN postback.publisher p ON p.id = c.publisher_id;
COMMENT ON VIEW postback.report_conversions IS
    'Conversions with names, as the outside calls their status, test orders too; amounts in full units. The newest: ORDER BY id DESC';
COMMENT ON COLUMN postback.report_conversions.value IS 'Order value in full units of currency';
COMMENT ON COLUMN postback.report_conversions.payout IS 'Commission in full units of payout_currency, as revenue and margin; null: unpriced';
COMMENT ON COLUMN postback.report_conversions.revenue IS 'What the brand is charged: payout and fee';
COMMENT ON COLUMN postback.report_conversions.margin IS 'What the network earns: the fee';
COMMENT ON COLUMN postback.report_conversions.since_click IS 'Time from the click to the conversion; null: no click';
COMMENT ON COLUMN postback.report_conversions.approves_at IS 'When its hold is over; null unless pending';

CREATE VIEW postback.report_pending WITH (security_invoker = true) AS
    SELECT b.name AS brand, d.days_left, d.conversions, d.unpriced, postback.full_units(d.payout, b.currency) AS payout,
           postback.full_units(d.payout + d.fee, b.currency) AS revenue, postback.full_units(d.fee, b.currency) AS margin,
           b.currency, d.brand_id
    FROM (SELECT c.brand_id,
                 greatest(pg_catalog.ceil(extract(epoch FROM c.hold_until - pg_catalog.now()) / 86400), 0)::integer AS days_left,
                 count(*) AS conversions, count(*) FILTER (WHERE c.commission IS NULL) AS unpriced,
                 coalesce(sum(c.commission), 0) AS payout, coalesce(sum(c.fee), 0) AS fee
          FROM postback.conversion c
          WHERE c.status = 'pending' AND NOT c.test
          GROUP BY 1, 2) d
    LEFT JOIN postback.brand b ON b.id = d.brand_id;
COMMENT ON VIEW postback.report_pending IS
    'Pending conversions of each brand by the days until they approve themselves; amounts in full units, test orders left out';
COMMENT ON COLUMN postback.report_pending.days_left IS 'Begun days until the hold is over: 0 it is over, 1 within a day, 2 within two ...';
COMMENT ON COLUMN postback.report_pending.unpriced IS 'Of these, how many have no commission yet and will wait for terms or a rate';

CREATE VIEW postback.report_rejections WITH (security_invoker = true) AS
    SELECT d.month, b.name AS brand,
           pg_catalog.rank() OVER (PARTITION BY d.brand_id, d.month ORDER BY d.conversions DESC)::integer AS rank,
           d.reason, d.conversions,
           pg_catalog.round(100.0 * d.conversions / sum(d.conversions) OVER (PARTITION BY d.brand_id, d.month), 1) AS share,
           postback.full_units(d.payout, b.currency) AS payout, postback.full_units(d.payout + d.fee, b.currency) AS revenue,
           b.currency, d.brand_id
    FROM (SELECT c.brand_id, pg_catalog.date_trunc('month', postback.ulid_time(c.id) AT TIME ZONE 'UTC')::date AS month,
                 coalesce(pg_catalog.lower(nullif(c.reason, '')), '(none)') AS reason, count(*) AS conversions,
                 coalesce(sum(c.commission), 0) AS payout, coalesce(sum(c.fee), 0) AS fee
          FROM postback.conversion c
          WHERE c.status = 'reversed' AND NOT c.test
          GROUP BY 1, 2, 3) d
    LEFT JOIN postback.brand b ON b.id = d.brand_id;
COMMENT ON VIEW postback.report_rejections IS
    'Why conversions were rejected, per brand and month (UTC) of their creation; the top five: WHERE rank <= 5. Test orders left out';
COMMENT ON COLUMN postback.report_rejections.month IS 'Its first day';
COMMENT ON COLUMN postback.report_rejections.reason IS 'In lower case, (none) where none was given';
COMMENT ON COLUMN postback.report_rejections.share IS 'Percent of the brand''s rejected conversions of the month';
COMMENT ON COLUMN postback.report_rejections.payout IS 'Commission that was not paid, full units of currency; likewise revenue';

CREATE VIEW postback.report_time_to_convert WITH (security_invoker = true) AS
    SELECT b.name AS brand, o.name AS offer, p.name AS publisher, d.conversions, d.fastest, d.median, d.percentile_90, d.slowest,
           d.under_10_seconds, d.under_10_minutes, d.under_1_hour, d.under_1_day, d.under_7_days, d.later,
           d.brand_id, d.offer_id, d.publisher_id
    FROM (SELECT t.brand_id, t.offer_id, t.publisher_id, count(*) AS conversions,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(min(t.seconds)))) AS fastest,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(
                     percentile_cont(0.5) WITHIN GROUP (ORDER BY t.seconds)))) AS median,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(
                     percentile_cont(0.9) WITHIN GROUP (ORDER BY t.seconds)))) AS percentile_90,
                 pg_catalog.justify_hours(pg_catalog.make_interval(secs => pg_catalog.floor(max(t.seconds)))) AS slowest,
                 count(*) FILTER (WHERE t.seconds < 10) AS under_10_seconds,
                 count(*) FILTER (WHERE t.seconds >= 10 AND t.seconds < 600) AS under_10_minutes,
                 count(*) FILTER (WHERE t.seconds >= 600 AND t.seconds < 3600) AS under_1_hour,
                 count(*) FILTER (WHERE t.seconds >= 3600 AND t.seconds < 86400) AS under_1_day,
                 count(*) FILTER (WHERE t.seconds >= 86400 AND t.seconds < 604800) AS under_7_days,
                 count(*) FILTER (WHERE t.seconds >= 604800) AS later
          FROM (SELECT c.brand_id, c.offer_id, c.publisher_id,
                       extract(epoch FROM postback.ulid_time(c.id) - postback.ulid_time(c.click_id))::double precision AS seconds
                FROM postback.conversion c
                WHERE c.click_id IS NOT NULL AND NOT c.test) t
          GROUP BY 1, 2, 3) d
    LEFT JOIN postback.brand b ON b.id = d.brand_id
    LEFT JOIN postback.offer o ON o.id = d.offer_id
    LEFT JOIN postback.publisher p ON p.id = d.publisher_id;
COMMENT ON VIEW postback.report_time_to_convert IS
    'How long after the click conversions come, per offer and publisher; conversions with a click only, test orders left out';
COMMENT ON COLUMN postback.report_time_to_convert.percentile_90 IS 'Nine of ten are as fast as this';
COMMENT ON COLUMN postback.report_time_to_convert.under_10_minutes IS
    'Conversions that took 10 seconds or more but under 10 minutes; so each of these columns begins where the one before ends';

-- Who may do what. The four roles are group roles: GRANT postback_operator TO anna.

CREATE TABLE postback.reader_scope (
    role         text NOT NULL CHECK (role <> ''),
    brand_id     postback.ulid REFERENCES postback.brand,
    publisher_id postback.ulid REFERENCES postback.publisher,
    CHECK ((brand_id IS NULL) <> (publisher_id IS NULL)),
    UNIQUE (role, brand_id),
    UNIQUE (role, publisher_id)
);
COMMENT ON TABLE postback.reader_scope IS
    'Whose rows a database role that is a member of postback_reader may see: those of a brand, or of a publisher';
COMMENT ON COLUMN postback.reader_scope.role IS 'Name of a database role; its members see the same';

-- Roles belong to the whole server: one that is there already is left as it is.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{postback_ingest,postback_sender,postback_operator,postback_reader}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA postback TO postback_ingest, postback_sender, postback_operator, postback_reader;

-- Tables. Columns listed after "without" are secret: nobody but the owner reads them.
DO $$
DECLARE
    t record;
    columns text;
BEGIN
    FOR t IN
        SELECT * FROM (VALUES
            -- relation           operator                          reader     without
            ('brand',             'SELECT, INSERT, UPDATE',         'SELECT',  '{address_key}'),
            ('token',             'SELECT, INSERT, UPDATE',         NULL,      '{secret_hash,hmac_secret}'),
            ('offer',             'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('goal',              'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('publisher',         'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('link',              'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('terms',             'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('promo_code',        'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('fx_rate',           'SELECT, INSERT, UPDATE, DELETE', NULL,      '{}'),
            ('callback',          'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{auth}'),
            ('callback_secret',   'SELECT, INSERT',                 NULL,      '{secret}'),
            ('partition_policy',  'SELECT, INSERT, UPDATE, DELETE', NULL,      '{}'),
            ('reader_scope',      'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('click',             'SELECT',                         'SELECT',  '{}'),
            ('click_detail',      'SELECT',                         NULL,      '{}'),
            ('receipt',           'SELECT',                         'SELECT',  '{}'),
            ('conversion',        'SELECT, UPDATE',                 'SELECT',  '{}'),
            ('history',           'SELECT',                         'SELECT',  '{}'),
            ('parked',            'SELECT, DELETE',                 NULL,      '{}'),
            ('event',             'SELECT',                         'SELECT',  '{}'),
            ('ledger',            'SELECT',                         'SELECT',  '{}'),
            ('balance',           'SELECT',                         'SELECT',  '{}'),
            ('daily',             'SELECT',                         'SELECT',  '{}'),
            ('daily_mark',        'SELECT',                         'SELECT',  '{}'),
            ('daily_visitor',     'SELECT',                         'SELECT',  '{}'),
            ('delivery',          'SELECT',                         'SELECT',  '{}'),
            ('delivery_due',      'SELECT',                         NULL,      '{}'),
            ('attempt',           'SELECT',                         'SELECT',  '{}'),
            ('currency',          'SELECT',                         'SELECT',  '{}'),
            ('balances',          'SELECT',                         'SELECT',  '{}'),
            ('conversions',       'SELECT',                         'SELECT',  '{}'),
            ('deliveries',        'SELECT',                         'SELECT',  '{}'),
            ('attempts',          'SELECT',                         'SELECT',  '{}'),
            ('callbacks',         'SELECT',                         'SELECT',  '{}'),
            ('callback_health',   'SELECT',                         NULL,      '{}'),
            ('publisher_payable', 'SELECT',                         'SELECT',  '{}'),
            ('daily_now',         'SELECT',                         'SELECT',  '{}'),
            ('report_daily',      'SELECT',                         'SELECT',  '{}'),
            ('report_daily_brands', 'SELECT',                       'SELECT',  '{}'),
            ('report_daily_offers', 'SELECT',                       'SELECT',  '{}'),
            ('report_daily_publishers', 'SELECT',                   'SELECT',  '{}'),
            ('report_conversions', 'SELECT',                        'SELECT',  '{}'),
            ('report_pending',    'SELECT',                         'SELECT',  '{}'),
            ('report_rejections', 'SELECT',                         'SELECT',  '{}'),
            ('report_time_to_convert', 'SELECT',                    'SELECT',  '{}'))
            AS g (relation, operator, reader, without)
    LOOP
        SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = pg_catalog.format('postback.%I', t.relation)::pg_catalog.regclass
          AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (t.without::text[]);
        EXECUTE pg_catalog.format('GRANT %s ON postback.%I TO postback_operator',
            pg_catalog.regexp_replace(t.operator, 'SELECT', pg_catalog.format('SELECT (%s)', columns)), t.relation);
        IF t.reader IS NOT NULL THEN
            EXECUTE pg_catalog.format('GRANT SELECT (%s) ON postback.%I TO postback_reader', columns, t.relation);
        END IF;
    END LOOP;
END
$$;

-- Row-level security. Operators see all rows, readers those of their scope. The owner, as whom the inbound, sending and
-- upkeep functions run, is not subject to it.
--
-- The policies themselves are made by keep_policies(), not by this script: some versions of pg_dump write the policies of
-- an extension's tables into the dump, where a restore would find them made already, and others do not.  create_brand(),
-- schedule_jobs() and a job of each hour call it.

DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY '{brand,offer,goal,publisher,link,terms,promo_code,callback,reader_scope,click,receipt,conversion,
                                history,event,ledger,balance,daily,delivery,attempt}'::text[] LOOP
        EXECUTE pg_catalog.format('ALTER TABLE postback.%I ENABLE ROW LEVEL SECURITY', relation);
    END LOOP;
END
$$;

CREATE FUNCTION postback.policy_list(OUT relation text, OUT condition text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 19 SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.relation, replace(replace(p.condition,
               '{brands}', 'ARRAY(SELECT s.brand_id FROM postback.reader_scope s WHERE s.brand_id IS NOT NULL)'),
               '{publishers}', 'ARRAY(SELECT s.publisher_id FROM postback.reader_scope s WHERE s.publisher_id IS NOT NULL)')
    FROM (VALUES
        -- The scopes that the current role has, by itself or as a member; all others follow from these.
        ('reader_scope', 'pg_has_role(current_user, to_regrole(quote_ident(role))::oid, ''USAGE'')'),
        ('link',       'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        -- A publisher sees the brands and offers that it has a link for, a brand its publishers.
        ('brand',      'id = ANY ({brands}) OR id IN (SELECT l.brand_id FROM postback.link l)'),
        ('offer',      'brand_id = ANY ({brands}) OR id IN (SELECT l.offer_id FROM postback.link l)'),
        ('publisher',  'id = ANY ({publishers}) OR id IN (SELECT l.publisher_id FROM postback.link l)'),
        ('goal',       'brand_id = ANY ({brands}) OR offer_id IN (SELECT l.offer_id FROM postback.link l)'),
        ('terms',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('promo_code', 'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('callback',   'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('click',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('receipt',    'brand_id = ANY ({brands})'),
        ('conversion', 'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('history',    'brand_id = ANY ({brands}) OR cardinality({publishers}) > 0
                        AND EXISTS (SELECT FROM postback.conversion c WHERE c.id = conversion_id)'),
        ('event',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('ledger',     'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('balance',    'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('daily',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('delivery',   'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('attempt',    'brand_id = ANY ({brands}) OR cardinality({publishers}) > 0
                        AND EXISTS (SELECT FROM postback.delivery d WHERE d.id = delivery_id)'))
        AS p (relation, condition)
$$;
COMMENT ON FUNCTION postback.policy_list() IS 'Which rows of each table a member of postback_reader sees';

CREATE FUNCTION postback.keep_policies() RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    p record;
    made integer := 0;
BEGIN
    FOR p IN
        SELECT l.relation, l.condition, n.name
        FROM postback.policy_list() l
        CROSS JOIN (VALUES ('postback_operator'), ('postback_reader')) AS n (name)
        WHERE NOT EXISTS (SELECT FROM pg_policy y
                          WHERE y.polname = n.name AND y.polrelid = format('postback.%I', l.relation)::regclass)
    LOOP
        IF p.name = 'postback_operator' THEN
            EXECUTE format('CREATE POLICY postback_operator ON postback.%I TO postback_operator USING (true) WITH CHECK (true)',
                           p.relation);
        ELSE
            EXECUTE format('CREATE POLICY postback_reader ON postback.%I FOR SELECT TO postback_reader USING (%s)',
                           p.relation, p.condition);
        END IF;
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION postback.keep_policies() IS
'Makes the row-level security policies of postback_operator and postback_reader where they are missing; returns how many.
create_brand() and schedule_jobs() call it; without policies neither role sees any row.';

-- Functions. PUBLIC keeps those of the type ulid, without which the type could not be used; the rest is listed here.
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure AS signature, p.proname, g.roles
        FROM pg_catalog.pg_proc p
        LEFT JOIN (VALUES
            ('version',          'postback_ingest, postback_sender, postback_operator, postback_reader'),
            ('receive_batch',    'postback_ingest'),
            ('receive',          'postback_ingest'),
            ('click_batch',      'postback_ingest'),
            ('click',            'postback_ingest'),
            ('claim',            'postback_sender'),
            ('settle',           'postback_sender'),
            ('create_brand',     'postback_operator'),
            ('issue_token',      'postback_operator'),
            ('revoke_token',     'postback_operator'),
            ('create_offer',     'postback_operator'),
            ('create_goal',      'postback_operator'),
            ('create_publisher', 'postback_operator'),
            ('create_link',      'postback_operator'),
            ('set_terms',        'postback_operator'),
            ('set_fx_rate',      'postback_operator'),
            ('create_promo_code', 'postback_operator'),
            ('create_callback',  'postback_operator'),
            ('enable_callback',  'postback_operator'),
            ('rotate_secret',    'postback_operator'),
            ('top_up',           'postback_operator'),
            ('book_payout',      'postback_operator'),
            ('approve',          'postback_operator'),
            ('reverse',          'postback_operator'),
            ('adjust',           'postback_operator'),
            ('reopen',           'postback_operator'),
            ('attribute',        'postback_operator'),
            ('resend',           'postback_operator'),
            ('explain',          'postback_operator'),
            ('simulate',         'postback_operator'),
            ('replay',           'postback_operator'),
            ('why_not',          'postback_operator, postback_reader'),
            ('requeue',          'postback_operator'),
            ('send_test',        'postback_operator'),
            ('backfill',         'postback_operator'),
            ('lint_callbacks',   'postback_operator'),
            ('audit',            'postback_operator'),
            ('approve_due',      'postback_operator'),
            ('fold_balances',    'postback_operator'),
            ('expire_parked',    'postback_operator'),
            ('reprice_brand',    'postback_operator'),
            ('reprice_unpriced', 'postback_operator'),
            ('keep_partitions',  'postback_operator'),
            ('keep_policies',    'postback_operator'),
            ('schedule_jobs',    'postback_operator'),
            ('unschedule_jobs',  'postback_operator'),
            ('job_list',         'postback_operator'),
            -- What those above call with their caller's rights, and what defaults and constraints of the tables call.
            ('check_cron',       'postback_operator'),
            ('check_text',       'postback_operator'),
            ('check_url',        'postback_operator'),
            ('check_period',     'postback_operator'),
            ('check_currency',   'postback_operator'),
            ('check_valid',      'postback_operator'),
            ('check_brand',      'postback_operator'),
            ('check_publisher',  'postback_operator'),
            ('brand_of_offer',   'postback_operator'),
            ('check_offer_of_brand', 'postback_operator'),
            ('find_goal',        'postback_operator'),
            ('check_map',        'postback_operator'),
            ('check_secret',     'postback_operator'),
            ('random_bytes',     'postback_operator'),
            ('random_key',       'postback_operator'),
            ('brackets_valid',   'postback_operator'),
            ('is_currency',      'postback_operator'),
            ('currency_list',    'postback_operator, postback_reader'),
            ('reconcile',        'postback_operator'),
            ('roll_up',          'postback_operator'),
            ('audit_daily',      'postback_operator'),
            ('rebuild_daily',    'postback_operator'),
            ('ledger_statement', 'postback_operator, postback_reader'),
            ('minor_units',      'postback_operator, postback_reader'),
            ('full_units',       'postback_operator, postback_reader'),
            ('visitor_of',       'postback_operator, postback_reader'),
            ('daily_changes',    'postback_operator, postback_reader'),
            ('daily_tail',       'postback_operator, postback_reader'),
            ('callback_checks',  'postback_operator, postback_reader'),
            ('explain_time',     'postback_operator, postback_reader')) AS g (name, roles) ON g.name = p.proname
        WHERE p.pronamespace = 'postback'::pg_catalog.regnamespace
          AND p.prokind IN ('f', 'p')
          AND p.proname !~ '(^|_)ulid(_|$)'
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', f.signature);
        IF f.roles IS NOT NULL THEN
            EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %s', f.signature, f.roles);
        END IF;
    END LOOP;
END
$$;

-- A dump of the database holds all rows: they are the users', not the script's.
--
-- The script itself writes no row and makes no dated partition (keep_partitions() does both at run time), so a restore
-- meets empty tables.  Parents of partitioned tables hold no rows; partitions made at run time are dumped as the
-- ordinary tables that they are.

DO $$
DECLARE
    relation pg_catalog.regclass;
BEGIN
    FOR relation IN
        SELECT c.oid
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'postback'::pg_catalog.regnamespace AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(relation, '');
    END LOOP;
END
$$;

