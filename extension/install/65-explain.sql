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
                       ELSE format('status "%s"', q.status) || coalesce(format(' (the token''s map: %s)', renamed), '') END,
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
            CASE WHEN q.click_id = chosen THEN 'chosen; by now it is ' ELSE 'passed over: ' END
            || coalesce(postback.explain_gone('click', q.click_id), 'unknown'))::postback.explanation;
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
        EXIT WHEN outside OR seen = 10;
        RETURN NEXT ('last click', postback.explain_click_row(x),
                     postback.explain_click(brand, q, x, chosen, at))::postback.explanation;
        seen := seen + 1;
        chosen_seen := chosen_seen OR x.id = chosen;
        outside := postback.ulid_time(x.id) < at - (
            SELECT greatest(b.attribution_window, max(o.attribution_window))
            FROM postback.brand b LEFT JOIN postback.offer o ON o.brand_id = b.id
            WHERE b.id = explain_last_click.brand GROUP BY b.id);
    END LOOP;
    IF seen = 10 THEN
        RETURN NEXT ('last click', 'older ones', 'not listed here')::postback.explanation;
    ELSIF seen = 0 AND chosen_seen THEN
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
                                        OR r.warning ~ 'bad_click_id|unknown_click_id|outside_window');
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
    || ' for ' || coalesce(nullif(concat_ws(' and ',
        format('publisher "%s"', (SELECT p.name FROM postback.publisher p WHERE p.id = t.publisher_id)),
        format('goal "%s"', (SELECT g.name FROM postback.goal g WHERE g.id = t.goal_id))), ''), 'the offer')
$$;
