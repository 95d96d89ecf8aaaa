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
    -- By itself first: what is wrong with the list is told without the text of the comparison as context.
    PERFORM FROM postback.reconcile_list(csv, rows, delimiter, param_map, status_map, true);
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
