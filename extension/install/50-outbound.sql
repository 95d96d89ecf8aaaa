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
CREATE TABLE postback.delivery_default PARTITION OF postback.delivery DEFAULT WITH (fillfactor = 50);
ALTER TABLE postback.delivery_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.delivery_default (conversion_id, callback_id);
COMMENT ON TABLE postback.delivery IS 'One postback to be sent: decided and rendered in the transaction that caused it; the id is the stable delivery id';
COMMENT ON COLUMN postback.delivery.status IS 'Conversion status as told outside: pending, approved or rejected';
COMMENT ON COLUMN postback.delivery.payout IS 'Commission, minor units of currency';
COMMENT ON COLUMN postback.delivery.revenue IS 'Commission and fee, minor units of currency';
COMMENT ON COLUMN postback.delivery.seq IS '1, 2, 3 ... per callback and conversion; after earlier ones were dropped it goes on above the number of changes';
COMMENT ON COLUMN postback.delivery.headers IS 'Rendered "Name: value" lines, without the callback''s auth';
COMMENT ON COLUMN postback.delivery.state IS 'waiting (delayed), queued (due or being retried), delivered, failed, skipped, superseded or blocked';
COMMENT ON COLUMN postback.delivery.http_code IS 'Of the last attempt';
COMMENT ON COLUMN postback.delivery.error IS 'Of the last attempt, or why it was skipped or blocked';
COMMENT ON COLUMN postback.delivery.sent_at IS 'When the last attempt ended';

CREATE TABLE postback.delivery_due (
    waiting       boolean NOT NULL DEFAULT false,
    delivery_id   postback.ulid NOT NULL,
    callback_id   postback.ulid NOT NULL,
    conversion_id postback.ulid,
    seq           integer NOT NULL,
    endpoint      text COLLATE "C" NOT NULL,
    due_at        timestamptz NOT NULL,
    attempts      smallint NOT NULL DEFAULT 0,
    attempt_id    postback.ulid,
    leased_until  timestamptz,
    sender        text,
    unanswered    boolean NOT NULL DEFAULT false
) PARTITION BY LIST (waiting);

-- What is due, and in flight.  Every row is updated once, by its claim: the page has room for that beside it, and no indexed
-- column changes.
CREATE TABLE postback.delivery_due_now PARTITION OF postback.delivery_due FOR VALUES IN (false)
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE postback.delivery_due_now ADD PRIMARY KEY (delivery_id);
CREATE INDEX delivery_due_now_endpoint_idx ON postback.delivery_due_now (endpoint, due_at);
CREATE INDEX delivery_due_now_conversion_idx ON postback.delivery_due_now (conversion_id, callback_id, seq);

-- What is delayed, backs off or is paused, however much: claim() looks at what has fallen due alone.
CREATE TABLE postback.delivery_due_later PARTITION OF postback.delivery_due FOR VALUES IN (true)
    WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE postback.delivery_due_later ADD PRIMARY KEY (delivery_id);
CREATE INDEX delivery_due_later_due_idx ON postback.delivery_due_later (due_at);
CREATE INDEX delivery_due_later_callback_idx ON postback.delivery_due_later (callback_id, conversion_id, seq);

COMMENT ON TABLE postback.delivery_due IS 'The queue: one short row per delivery that is not finished; claim() leases, settle() removes or moves on';
COMMENT ON COLUMN postback.delivery_due.waiting IS 'Was not due when it was last looked at: claim() sets it to false when due_at has come';
COMMENT ON TABLE postback.delivery_due_now IS 'The deliveries that are due, those in flight among them';
COMMENT ON TABLE postback.delivery_due_later IS 'The deliveries that are due later: delayed, backing off, or of a disabled callback (infinity)';
COMMENT ON COLUMN postback.delivery_due.endpoint IS 'host:port, what connection caps and the breaker go by';
COMMENT ON COLUMN postback.delivery_due.attempt_id IS 'Names the current lease; settle() answers to it';
COMMENT ON COLUMN postback.delivery_due.unanswered IS 'A lease ended without an answer: the receiver may have accepted it, so older ones wait for its end';

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
COMMENT ON COLUMN postback.partition_policy.retention IS 'Partitions wholly older than this are dropped, unless still needed; null: never';
