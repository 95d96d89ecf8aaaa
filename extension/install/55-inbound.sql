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
