-- Outbound, for people: a test of a callback, deliveries of a time past, and what the linter says of what is saved.

CREATE FUNCTION postback.delay_misfits(deliveries postback.ulid[], OUT delivery_id postback.ulid, OUT reason text)
    RETURNS SETOF record
    LANGUAGE C VOLATILE STRICT ROWS 10 AS 'MODULE_PATHNAME', 'postback_delay_misfits';
COMMENT ON FUNCTION postback.delay_misfits(postback.ulid[]) IS
'Of deliveries whose delay is over, those whose callback would not fire any more on their conversion as it is now, by the
conditions that decided on them, or on another status; and why. Likewise of events and clicks. claim() skips them';

CREATE FUNCTION postback.change_count(conversion postback.ulid) RETURNS integer
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(*)::integer FROM postback.history h
    WHERE h.conversion_id = change_count.conversion AND h.id >= change_count.conversion
$$;
COMMENT ON FUNCTION postback.change_count(postback.ulid) IS
    'How often a conversion was changed, its creation included: where seq goes on once its deliveries were dropped';

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
WHERE id = ... shows what came of it. It is rendered with the newest conversion, event or click, by the callback''s type, that fits
it (of the last 10,000), or with sample values if there is none. It is a test: {test} is 1, the column test true; conversion_id,
event_id and click_id are null, so that it counts in no seq and supersedes nothing. Errors: invalid_parameter_value.';

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
'What saving would say of each callback as it is saved, one row per finding. finding: unknown_macro, plain_http ...
field: reasons, url, auth, or params or headers and the name. position: of what in the field, in bytes from 1; null: all of it.
hint: what to do. refused: true = it could not be saved so today, false = a doubt.';
