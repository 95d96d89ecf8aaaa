-- Statements: what moved on an account in a time, with the balance after each line.

CREATE FUNCTION postback.ledger_statement(
    account text, "from" timestamptz DEFAULT '-infinity', "to" timestamptz DEFAULT 'infinity', brand postback.ulid DEFAULT NULL,
    publisher postback.ulid DEFAULT NULL, currency text DEFAULT NULL)
    RETURNS TABLE (
        at timestamptz, kind text, "order" text, amount bigint, balance bigint, in_currency text, reference text,
        other_account text, brand_id postback.ulid, publisher_id postback.ulid, conversion_id postback.ulid,
        ledger_id postback.ulid)
    LANGUAGE plpgsql STABLE ROWS 1000
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    lower postback.ulid := postback.ulid_floor(coalesce("from", '-infinity'));
    upper postback.ulid := postback.ulid_floor(coalesce("to", 'infinity'));
    code text := pg_catalog.upper(pg_catalog.btrim(ledger_statement.currency));
    -- Who sees a publisher's lines only (row-level security) sees the other side of them too, but no balance of that.
    any_brand boolean := account = 'payable' OR NOT row_security_active('postback.ledger')
                         OR pg_has_role('postback_operator', 'USAGE');
BEGIN
    IF account IS NULL OR account NOT IN ('available', 'held', 'payable', 'fees', 'topup', 'payout') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('account "%s" does not exist', coalesce(account, '')),
            DETAIL = 'Parameter account must be available, held, payable, fees, topup or payout.',
            HINT = 'available and held are a brand''s, payable a publisher''s, fees the network''s, topup and payout the outside.';
    END IF;
    IF publisher IS NOT NULL AND account <> 'payable' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('account %s is no publisher''s', account),
            DETAIL = 'Parameter publisher narrows payable, the only account that is kept per publisher.',
            HINT = 'Leave publisher out, or ask for payable.';
    END IF;
    RETURN QUERY
    -- What the account has now, less what came since, is what it had: nothing before that time need be read.
    WITH since AS MATERIALIZED (
        SELECT l.id, l.kind, l.conversion_id, l.reference, l.brand_id, l.publisher_id, l.currency,
               CASE l.from_account WHEN ledger_statement.account THEN - l.amount ELSE l.amount END AS amount,
               CASE l.from_account WHEN ledger_statement.account THEN l.to_account ELSE l.from_account END AS other_account
        FROM postback.ledger l
        WHERE l.id >= lower
          AND ledger_statement.account IN (l.from_account, l.to_account)
          AND (ledger_statement.brand IS NULL OR l.brand_id = ledger_statement.brand)
          AND (ledger_statement.publisher IS NULL OR l.publisher_id = ledger_statement.publisher)
          AND (code IS NULL OR l.currency = code)
          AND (any_brand OR l.brand_id IN (SELECT r.brand_id FROM postback.reader_scope r))
    ), opening AS (
        SELECT s.currency, sum(s.amount) AS balance
        FROM (SELECT m.currency, m.amount
              FROM postback.balance m
              WHERE m.account = ledger_statement.account
                AND (ledger_statement.brand IS NULL OR m.brand_id = ledger_statement.brand)
                AND (ledger_statement.publisher IS NULL OR m.publisher_id = ledger_statement.publisher)
                AND (code IS NULL OR m.currency = code)
                AND (any_brand OR m.brand_id IN (SELECT r.brand_id FROM postback.reader_scope r))
              UNION ALL
              SELECT e.currency, - e.amount FROM since e
              UNION ALL
              SELECT b.currency, 0 FROM postback.brand b
              WHERE b.id = ledger_statement.brand AND (code IS NULL OR b.currency = code)) s
        GROUP BY s.currency
    ), line (place, id, at, kind, amount, currency, reference, other_account, brand_id, publisher_id, conversion_id) AS (
        SELECT 1, NULL::postback.ulid, "from", 'opening', o.balance, o.currency, NULL, NULL, ledger_statement.brand,
               ledger_statement.publisher, NULL::postback.ulid
        FROM opening o
        UNION ALL
        SELECT 2, e.id, postback.ulid_time(e.id), e.kind, e.amount, e.currency, e.reference, e.other_account, e.brand_id,
               e.publisher_id, e.conversion_id
        FROM since e
        WHERE e.id < upper
        UNION ALL
        SELECT 3, NULL, "to", 'closing', 0, o.currency, NULL, NULL, ledger_statement.brand, ledger_statement.publisher, NULL
        FROM opening o
    )
    SELECT n.at, n.kind, c.order_ref, CASE n.place WHEN 2 THEN n.amount::bigint END,
           sum(n.amount) OVER (PARTITION BY n.currency ORDER BY n.place, n.id ROWS UNBOUNDED PRECEDING)::bigint,
           n.currency, n.reference, n.other_account, n.brand_id, n.publisher_id, n.conversion_id, n.id
    FROM line n
    LEFT JOIN postback.conversion c ON c.id = n.conversion_id
    ORDER BY n.currency, n.place, n.id;
END
$$;
COMMENT ON FUNCTION postback.ledger_statement(text, timestamptz, timestamptz, postback.ulid, postback.ulid, text) IS
'The lines of an account from "from" (inclusive) to "to" (exclusive), by the time they were booked, each with the balance after it,
between an opening and a closing line per currency; amounts in minor units, negative where money leaves the account.
account: available, held, payable, fees, topup or payout. brand, publisher (of payable) and currency narrow it.
Without "to" the closing balance is that of postback.balances. As CSV: \copy (SELECT * FROM postback.ledger_statement(...)) TO
''statement.csv'' CSV HEADER. Shows what its caller may see. Errors: invalid_parameter_value.';
