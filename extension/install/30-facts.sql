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
CREATE INDEX ON postback.click_default (offer_id, publisher_id, id);
-- A visitor's unique clicks, and all clicks from an address.
CREATE INDEX ON postback.click_default (visitor_hash, is_unique, id) WHERE visitor_hash IS NOT NULL;
COMMENT ON TABLE postback.click IS 'One visit through a link; the id is shown outside as clk_ID and carries the time';
COMMENT ON COLUMN postback.click.address_hash IS 'Keyed hash of the visitor''s address';
COMMENT ON COLUMN postback.click.agent_hash IS 'Keyed hash of the visitor''s user agent';
COMMENT ON COLUMN postback.click.visitor_hash IS
    'Upper half: that of address_hash; lower half: of link and the two keyed hashes. Null if the address is not known';
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
-- Of two calls at once that name no goal one creates the order, whichever goal it then has.
CREATE UNIQUE INDEX conversion_goal_not_given_key ON postback.conversion (brand_id, order_ref) WHERE NOT goal_given;
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
