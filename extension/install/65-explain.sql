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
             WHEN r.code = 'unknown_order' THEN 'enough were waiting for the order already, or it was sent again'
             ELSE 'another one was waiting already, or a reversal came after it' END)::postback.explanation;
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

CREATE FUNCTION postback.replay_call(receipt postback.ulid) RETURNS postback.reply
    LANGUAGE C VOLATILE STRICT SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'postback_replay';
COMMENT ON FUNCTION postback.replay_call(postback.ulid) IS 'The call of replay()';

CREATE FUNCTION postback.replay(receipt postback.ulid) RETURNS SETOF postback.explanation
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    answer postback.reply := postback.replay_call(receipt);
BEGIN
    IF answer.receipt_id IS NOT NULL OR answer.code IS DISTINCT FROM 'unknown_token' THEN
        RETURN QUERY SELECT * FROM postback.explain(coalesce(answer.receipt_id, replay.receipt));
    ELSE
        RETURN NEXT ('token', 'it is gone', format('HTTP %s, %s', answer.http_status, answer.code))::postback.explanation;
    END IF;
END
$$;
COMMENT ON FUNCTION postback.replay(postback.ulid) IS
'Makes the receipt''s call again, after a fix, with its token (a revoked or expired one is refused) and what its address and signature
were worth then; returns what explain() says of it. Answers and writes as any call does; the new receipt has replay_of. Whether a click
is in time is judged by when the call first came; terms, rates, codes and the hold by now. An accepted one again changes nothing but by
what it says: idempotent.';

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
