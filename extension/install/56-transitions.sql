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
    'Gives a pending, unattributed conversion to the publisher of a click of the same brand, and prices it; the offer''s own hold, if it has one, counts from when the order came';

CREATE FUNCTION postback.callback_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'postback_callback_check';
COMMENT ON FUNCTION postback.callback_check() IS
    'Before a callback is saved: lints its templates, refuses what is wrong (of one that a dump brings back it warns), notes what is doubtful';
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
        -- In the order in which batches lock prepaid brands.
        SELECT coalesce(sum(postback.reprice_brand(k.id)), 0)::bigint
        FROM (SELECT b.id
              FROM postback.brand b
              WHERE b.id = coalesce(reprice_unpriced.brand, b.id)
                AND EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = b.id AND c.commission IS NULL)
              ORDER BY b.id) k;
    END;
COMMENT ON FUNCTION postback.reprice_unpriced(postback.ulid) IS
    'reprice_brand for one brand, or for all (null); set_terms, set_fx_rate and a job of each minute call it';
