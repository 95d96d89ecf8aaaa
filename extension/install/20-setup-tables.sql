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
    hold               interval NOT NULL DEFAULT '14 days' CHECK (hold BETWEEN '0' AND '1000 years'),
    attribution_window interval NOT NULL DEFAULT '30 days' CHECK (attribution_window BETWEEN '0' AND '1000 years'),
    min_click_age      interval NOT NULL DEFAULT '0' CHECK (min_click_age BETWEEN '0' AND '1000 years'),
    fee_percent        numeric(9,6) NOT NULL DEFAULT 35 CHECK (fee_percent BETWEEN 0 AND 999),
    fee_of             text NOT NULL DEFAULT 'commission' CHECK (fee_of IN ('commission', 'value', 'none')),
    prepaid            boolean NOT NULL DEFAULT false,
    credit_limit       bigint NOT NULL DEFAULT 0 CHECK (credit_limit >= 0),
    exhausted          boolean NOT NULL DEFAULT false,
    paused             boolean NOT NULL DEFAULT false,
    fallback_url       text CHECK (fallback_url ~* '^https?://[^/?#@[:space:]{}]+([/?#]|$)'),
    unique_window      interval NOT NULL DEFAULT '24 hours' CHECK (unique_window BETWEEN '0' AND '1000 years'),
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
    landing_url        text NOT NULL CHECK (landing_url ~* '^https?://[^/?#@[:space:]{}]+([/?#]|$)'),
    hold               interval CHECK (hold BETWEEN '0' AND '1000 years'),
    attribution_window interval CHECK (attribution_window BETWEEN '0' AND '1000 years'),
    min_click_age      interval CHECK (min_click_age BETWEEN '0' AND '1000 years'),
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
    percent      numeric(9,6) CHECK (percent BETWEEN 0 AND 999),
    fixed        bigint CHECK (fixed >= 0),
    min          bigint CHECK (min >= 0),
    max          bigint CHECK (max >= coalesce(min, 0)),
    brackets     jsonb CHECK (postback.brackets_valid(brackets) AND NOT brackets @? '$[*].percent ? (@ > 999)'),
    valid_from   timestamptz NOT NULL DEFAULT '-infinity',
    valid_to     timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
    created_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (brand_id, offer_id) REFERENCES postback.offer (brand_id, id),
    FOREIGN KEY (offer_id, goal_id) REFERENCES postback.goal (offer_id, id),
    CHECK (percent IS NOT NULL OR fixed IS NOT NULL OR brackets IS NOT NULL)
);
CREATE INDEX terms_offer_id_idx ON postback.terms (offer_id, publisher_id, goal_id);
COMMENT ON TABLE postback.terms IS
    'Commission rules; a change is a new row, by UPDATE too once a conversion was priced with it. Publisher and goal, then publisher, then goal, then offer; of equals the newest';
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
    rate       numeric(18,10) NOT NULL CHECK (rate > 0 AND rate < 100000000),
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
    delay           interval NOT NULL DEFAULT '0' CHECK (delay = '0' OR delay BETWEEN '2 minutes' AND '1000 years'),
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
    updated         timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (brand_id, offer_id) REFERENCES postback.offer (brand_id, id) -- that of another brand would never fire
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
