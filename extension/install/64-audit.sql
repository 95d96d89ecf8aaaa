-- What must hold about money and state, recomputed from the rows.

CREATE FUNCTION postback.audit(
    OUT check_name text, OUT brand_id postback.ulid, OUT subject text, OUT expected text, OUT actual text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp SET jit = off SET work_mem = '64MB' AS $$
    WITH
    -- Each transfer twice: what it does to the account it comes from, and to the one it goes to.
    entry AS MATERIALIZED (
        SELECT l.brand_id, a.account, CASE a.account WHEN 'payable' THEN l.publisher_id END AS publisher_id, l.currency,
               a.amount, l.conversion_id
        FROM postback.ledger l
        CROSS JOIN LATERAL (VALUES (l.from_account, - l.amount), (l.to_account, l.amount)) AS a (account, amount)
    ),
    -- Where the money of each conversion stands by its own row.
    due AS MATERIALIZED (
        SELECT c.id, c.brand_id, c.publisher_id, c.commission_currency AS currency, c.status,
               CASE WHEN c.test OR c.offer_id IS NULL THEN 0 ELSE coalesce(c.commission, 0) END::numeric AS commission,
               CASE WHEN c.test OR c.offer_id IS NULL THEN 0 ELSE coalesce(c.fee, 0) END::numeric AS fee
        FROM postback.conversion c
    ),
    account AS MATERIALIZED (
        SELECT e.brand_id, e.account, e.publisher_id, e.currency, sum(e.amount) AS amount
        FROM entry e
        GROUP BY e.brand_id, e.account, e.publisher_id, e.currency
    ),
    rolled AS (
        SELECT b.brand_id, b.account, b.publisher_id, b.currency, sum(b.amount) AS amount
        FROM postback.balance b
        GROUP BY b.brand_id, b.account, b.publisher_id, b.currency
    ),
    difference (check_name, brand_id, subject, expected, actual) AS (
        -- The roll-up is the ledger's sum, account by account.
        SELECT 'balance', coalesce(a.brand_id, r.brand_id),
               concat_ws(' ', coalesce(a.account, r.account), coalesce(a.publisher_id, r.publisher_id), coalesce(a.currency, r.currency)),
               coalesce(a.amount, 0)::text, coalesce(r.amount, 0)::text
        FROM account a
        FULL JOIN rolled r
            ON (r.brand_id, r.account, coalesce(r.publisher_id, r.brand_id), r.currency)
             = (a.brand_id, a.account, coalesce(a.publisher_id, a.brand_id), a.currency)
        WHERE coalesce(a.amount, 0) <> coalesce(r.amount, 0)

        UNION ALL  -- held = commission and fee of what is pending
        SELECT 'held', brand_id, concat_ws(' ', 'held', currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.currency, d.commission + d.fee AS expected, 0 AS actual FROM due d WHERE d.status = 'pending'
              UNION ALL
              SELECT a.brand_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'held') s
        GROUP BY brand_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL
        SELECT 'held_negative', a.brand_id, concat_ws(' ', 'held', a.currency), '>= 0', a.amount::text
        FROM account a
        WHERE a.account = 'held' AND a.amount < 0

        UNION ALL  -- payable and paid out = commission of what is approved, per publisher
        SELECT 'payable', brand_id, concat_ws(' ', 'payable', publisher_id, currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.publisher_id, d.currency, d.commission AS expected, 0 AS actual
              FROM due d
              WHERE d.status = 'approved' AND d.commission <> 0
              UNION ALL
              SELECT a.brand_id, a.publisher_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'payable'
              UNION ALL
              SELECT l.brand_id, l.publisher_id, l.currency, 0, l.amount FROM postback.ledger l WHERE l.to_account = 'payout') s
        GROUP BY brand_id, publisher_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- fees = fee of what is approved
        SELECT 'fees', brand_id, concat_ws(' ', 'fees', currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.currency, d.fee AS expected, 0 AS actual FROM due d WHERE d.status = 'approved'
              UNION ALL
              SELECT a.brand_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'fees') s
        GROUP BY brand_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- each conversion's own lines net to its own state
        SELECT 'conversion', brand_id, concat_ws(' ', 'conversion', id, account), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.id, d.publisher_id, p.account, p.expected, 0 AS actual
              FROM due d
              CROSS JOIN LATERAL (VALUES ('held', d.commission + d.fee, NULL::postback.ulid, 'pending'),
                                         ('payable', d.commission, d.publisher_id, 'approved'),
                                         ('fees', d.fee, NULL, 'approved')) AS p (account, expected, publisher_id, status)
              WHERE p.status = d.status AND p.expected <> 0
              UNION ALL
              SELECT e.brand_id, e.conversion_id, e.publisher_id, e.account, 0, e.amount
              FROM entry e
              WHERE e.conversion_id IS NOT NULL AND e.account IN ('held', 'payable', 'fees')) s
        GROUP BY brand_id, id, account, CASE account WHEN 'payable' THEN publisher_id END
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- test and unattributed orders, and none at all, have no lines
        SELECT 'no_ledger', l.brand_id,
               concat_ws(' ', CASE WHEN c.test THEN 'test' WHEN c.id IS NOT NULL THEN 'unattributed' ELSE 'missing' END,
                         'conversion', l.conversion_id),
               '0 lines', count(*) || ' lines'
        FROM postback.ledger l
        LEFT JOIN postback.conversion c ON c.id = l.conversion_id
        WHERE l.conversion_id IS NOT NULL AND (c.id IS NULL OR c.test OR c.offer_id IS NULL)
        GROUP BY l.brand_id, l.conversion_id, c.id, c.test

        UNION ALL  -- each kind of line joins its own two accounts
        SELECT 'kind', l.brand_id, concat_ws(' ', 'ledger', l.id, l.kind),
               coalesce(k.from_account || ' -> ' || k.to_account, 'no such kind'), l.from_account || ' -> ' || l.to_account
        FROM postback.ledger l
        LEFT JOIN (VALUES ('commission_held',     'available', 'held'),
                          ('fee_held',            'available', 'held'),
                          ('commission_released', 'held',      'available'),
                          ('fee_released',        'held',      'available'),
                          ('commission_approved', 'held',      'payable'),
                          ('fee_approved',        'held',      'fees'),
                          ('commission_clawback', 'payable',   'available'),
                          ('fee_clawback',        'fees',      'available'),
                          ('topup',               'topup',     'available'),
                          ('payout',              'payable',   'payout')) AS k (kind, from_account, to_account)
            ON k.kind = l.kind
        WHERE (l.from_account, l.to_account) IS DISTINCT FROM (k.from_account, k.to_account)

        UNION ALL  -- a prepaid brand at its limit is exhausted, and no other
        SELECT 'exhausted', b.id, 'brand', e.exhausted::text, b.exhausted::text
        FROM postback.brand b
        LEFT JOIN account a ON a.brand_id = b.id AND a.account = 'available' AND a.currency = b.currency
        CROSS JOIN LATERAL (SELECT b.prepaid AND coalesce(a.amount, 0) <= - b.credit_limit AS exhausted) e
        WHERE b.exhausted <> e.exhausted

        UNION ALL  -- history, whatever the order of its rows, leads from nothing to what the conversion is now
        SELECT 'history', h.brand_id, concat_ws(' ', 'conversion', h.id, h.what), h.expected, h.actual
        FROM (SELECT c.brand_id, c.id, w.what, w.expected, w.actual
              FROM postback.conversion c
              LEFT JOIN (SELECT x.conversion_id, x.brand_id,
                                count(*) FILTER (WHERE x.to_status = 'pending')
                                    - count(*) FILTER (WHERE x.from_status = 'pending') AS pending,
                                count(*) FILTER (WHERE x.to_status = 'approved')
                                    - count(*) FILTER (WHERE x.from_status = 'approved') AS approved,
                                count(*) FILTER (WHERE x.to_status = 'reversed')
                                    - count(*) FILTER (WHERE x.from_status = 'reversed') AS reversed,
                                sum(x.to_value - coalesce(x.from_value, 0)) AS value,
                                sum(coalesce(x.to_commission, 0) - coalesce(x.from_commission, 0)) AS commission,
                                sum(coalesce(x.to_fee, 0) - coalesce(x.from_fee, 0)) AS fee
                         FROM postback.history x
                         GROUP BY x.conversion_id, x.brand_id) h ON h.conversion_id = c.id AND h.brand_id = c.brand_id
              CROSS JOIN LATERAL (VALUES
                  ('status', c.status,
                   CASE format('%s %s %s', h.pending, h.approved, h.reversed)
                       WHEN '1 0 0' THEN 'pending' WHEN '0 1 0' THEN 'approved' WHEN '0 0 1' THEN 'reversed'
                       ELSE 'broken' END),
                  ('value', c.value::text, coalesce(h.value, 0)::text),
                  ('commission', coalesce(c.commission, 0)::text, coalesce(h.commission, 0)::text),
                  ('fee', coalesce(c.fee, 0)::text, coalesce(h.fee, 0)::text)) AS w (what, expected, actual)) h
        WHERE h.expected <> h.actual

        UNION ALL  -- and is of conversions that are there
        SELECT 'history', x.brand_id, concat_ws(' ', 'missing conversion', x.conversion_id), '0 changes', count(*) || ' changes'
        FROM postback.history x
        LEFT JOIN postback.conversion c ON c.id = x.conversion_id AND c.brand_id = x.brand_id
        WHERE c.id IS NULL
        GROUP BY x.brand_id, x.conversion_id

        UNION ALL  -- one currency per brand
        SELECT 'currency', s.brand_id, s.subject, coalesce(b.currency, 'no such brand'), s.currency
        FROM (SELECT c.brand_id, 'conversion ' || c.id::text AS subject, c.commission_currency AS currency FROM postback.conversion c
              UNION ALL
              SELECT a.brand_id, 'ledger ' || a.account, a.currency FROM account a
              UNION ALL
              SELECT r.brand_id, 'balance ' || r.account, r.currency FROM rolled r) s
        LEFT JOIN postback.brand b ON b.id = s.brand_id
        WHERE s.currency IS DISTINCT FROM b.currency
    )
    SELECT d.check_name, d.brand_id, d.subject, d.expected, d.actual FROM difference d ORDER BY 1, 2, 3, 4
$$;
COMMENT ON FUNCTION postback.audit() IS
'Recomputes from the rows what must hold about money and state, and returns what does not (nothing, if all is well):
balance, held, held_negative, payable, fees, conversion, no_ledger, kind, exhausted, history, currency.
expected is what follows from conversions and ledger, actual what was found; amounts in minor units. Reads every row.
Needs all of ledger and history: it reports their loss where a retention was set for them.';
