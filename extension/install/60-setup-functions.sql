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
    IF octet_length(value) > 4096 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('%s is %s bytes long', parameter, octet_length(value)),
            DETAIL = pg_catalog.format('Parameter %s may have up to 4096 bytes: it is sent to each visitor in one header field.', parameter),
            HINT = 'Shorten it.';
    END IF;
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
COMMENT ON FUNCTION postback.check_url(text, text) IS 'Refuses what is not an absolute http or https URL of up to 4096 bytes';

CREATE FUNCTION postback.check_period(parameter text, value interval) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value BETWEEN '0' AND '1000 years' THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('%s %s is no period', parameter, coalesce(value::text, 'null')),
        DETAIL = pg_catalog.format('Parameter %s must be from zero to 1000 years.', parameter),
        HINT = pg_catalog.format('For example %s => ''14 days''.', parameter);
END
$$;
COMMENT ON FUNCTION postback.check_period(text, interval) IS 'Refuses null, negative and endless periods';

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
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'postback_check_map';
COMMENT ON FUNCTION postback.check_map(text, jsonb) IS
'Refuses what is not a flat JSON object from the brand''s words to ours. parameter: param_map or status_map, whose words differ';

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
    IF fee_percent IS NULL OR fee_percent NOT BETWEEN 0 AND 999 OR fee_percent <> pg_catalog.round(fee_percent, 6) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('fee_percent %s is out of range', coalesce(fee_percent::text, 'null')),
            DETAIL = 'Parameter fee_percent must be from 0 to 999 with at most 6 decimals.',
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
param_map, status_map: the brand''s words to ours (aliases too), {"transaction_id": "click_id"}. reply_style: json, text, always200.
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
    IF NOT postback.brackets_valid(brackets) OR brackets @? '$[*].percent ? (@ > 999)' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'brackets are not valid',
            DETAIL = 'Parameter brackets must be a list of at most 64 objects ascending by "from", each with "percent" (0 to 999), "fixed" or both.',
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

-- Conversions refer to the terms that they were priced with, so what these say of whom is never changed in place.

CREATE FUNCTION postback.terms_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = OLD.brand_id AND c.terms_id = OLD.id) THEN
        RETURN NEW;
    END IF;
    IF OLD.valid_to <= now() THEN
        RAISE WARNING USING
            MESSAGE = format('terms %s ended at %s and stay as they are', OLD.id, OLD.valid_to),
            DETAIL = 'Conversions were priced with them.',
            HINT = format('Those that hold now: SELECT * FROM postback.terms WHERE offer_id = %L AND valid_to > now().', OLD.offer_id);
        RETURN NULL;
    END IF;
    NEW.id := postback.new_ulid();
    NEW.created_at := now();
    INSERT INTO postback.terms VALUES (NEW.*);
    OLD.valid_to := least(OLD.valid_to, greatest(now(), OLD.valid_from + interval '1 microsecond'));
    RETURN OLD;
END
$$;
COMMENT ON FUNCTION postback.terms_changed() IS
'Makes a new version of terms that an UPDATE changes and conversions were priced with: a row of its own with a new id; the old one
ends now. Those that have ended are left as they are, with a warning; those that priced nothing are changed where they stand';
CREATE TRIGGER terms_changed
    BEFORE UPDATE OF id, brand_id, offer_id, goal_id, publisher_id, percent, fixed, min, max, brackets ON postback.terms
    FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.brand_id IS DISTINCT FROM NEW.brand_id OR OLD.offer_id IS DISTINCT FROM NEW.offer_id
          OR OLD.goal_id IS DISTINCT FROM NEW.goal_id OR OLD.publisher_id IS DISTINCT FROM NEW.publisher_id OR OLD.percent IS DISTINCT FROM NEW.percent
          OR OLD.fixed IS DISTINCT FROM NEW.fixed OR OLD.min IS DISTINCT FROM NEW.min OR OLD.max IS DISTINCT FROM NEW.max
          OR OLD.brackets IS DISTINCT FROM NEW.brackets)
    EXECUTE FUNCTION postback.terms_changed();

CREATE FUNCTION postback.terms_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = OLD.brand_id AND c.terms_id = OLD.id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('terms %s cannot be deleted', OLD.id),
            DETAIL = 'Conversions were priced with them.',
            HINT = format('To end them: UPDATE postback.terms SET valid_to = now() WHERE id = %L.', OLD.id);
    END IF;
    RETURN OLD;
END
$$;
COMMENT ON FUNCTION postback.terms_deleted() IS 'Refuses to delete terms that conversions were priced with';
CREATE TRIGGER terms_deleted BEFORE DELETE ON postback.terms FOR EACH ROW EXECUTE FUNCTION postback.terms_deleted();

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
    IF rate IS NULL OR pg_catalog.round(rate, 10) <= 0 OR pg_catalog.round(rate, 10) >= 1e8 THEN
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
    IF delay IS NULL OR (delay <> '0' AND delay NOT BETWEEN '2 minutes' AND '1000 years') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('delay %s is too %s', coalesce(delay::text, 'null'), CASE WHEN delay > '2 minutes' THEN 'long' ELSE 'short' END),
            DETAIL = 'Parameter delay must be 0 or from 2 minutes to 1000 years.',
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
    -- Two sign at most: the newest of the others beside it.
    DELETE FROM postback.callback_secret s
    WHERE s.callback_id = rotate_secret.callback AND s.secret <> fresh
      AND (s.valid_to <= pg_catalog.now()
           OR s.secret <> (SELECT x.secret FROM postback.callback_secret x
                           WHERE x.callback_id = rotate_secret.callback AND x.secret <> fresh
                           ORDER BY x.valid_to DESC, x.secret
                           LIMIT 1));
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
Requests are signed with the former one too for 24 hours; one before that ends at once. Errors: invalid_parameter_value.';

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
    IF EXISTS (SELECT FROM postback.balance m
               WHERE m.brand_id = book_transfer.brand AND m.account IN (from_account, to_account)
               GROUP BY m.account, m.publisher_id
               HAVING pg_catalog.abs(pg_catalog.sum(m.amount)) > 9223372036854775807) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'numeric_value_out_of_range',
            MESSAGE = pg_catalog.format('amount %s is too large for the balance', amount),
            DETAIL = pg_catalog.format('Accounts %s and %s hold at most 9223372036854775807 minor units.', from_account, to_account),
            HINT = '10.00 EUR is amount => 1000.';
    END IF;
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
COMMENT ON FUNCTION postback.brand_limit_changed() IS 'Keeps brand.exhausted true to the limit of a new brand, and to a changed one';
CREATE TRIGGER brand_limit_changed BEFORE UPDATE OF prepaid, credit_limit ON postback.brand
    FOR EACH ROW EXECUTE FUNCTION postback.brand_limit_changed();
-- Not for a brand that a dump brings back, with its balance after it or before.
CREATE TRIGGER brand_limit_set BEFORE INSERT ON postback.brand
    FOR EACH ROW WHEN (NEW.prepaid AND NEW.created_at = pg_catalog.now()) EXECUTE FUNCTION postback.brand_limit_changed();

CREATE FUNCTION postback.brand_currency_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = NEW.id)
       OR EXISTS (SELECT FROM postback.ledger l WHERE l.brand_id = NEW.id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('the currency of brand %s cannot be changed any more', NEW.id),
            DETAIL = format('Its conversions and its ledger are kept in %s.', OLD.currency),
            HINT = 'Make another brand with postback.create_brand(...).';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION postback.brand_currency_changed() IS 'Refuses another currency for a brand that has conversions or money';
CREATE TRIGGER brand_currency_changed BEFORE UPDATE OF currency ON postback.brand
    FOR EACH ROW WHEN (NEW.currency <> OLD.currency) EXECUTE FUNCTION postback.brand_currency_changed();

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
