-- What orders cost and pay: terms, fees, rounding, currencies, prepaid balances. All amounts are minor units; every expected
-- commission and fee is worked out by hand. Only differences are printed.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

CREATE TEMP TABLE brands (name text PRIMARY KEY, id postback.ulid, token text);
CREATE FUNCTION pg_temp.brand(name text, currency text, fee_percent numeric DEFAULT 35, fee_of text DEFAULT 'commission') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    id postback.ulid := postback.create_brand('Money ' || name, currency, fee_percent => fee_percent, fee_of => fee_of);
BEGIN
    INSERT INTO brands SELECT name, id, t.token FROM postback.issue_token(id) t;
END
$$;
SELECT pg_temp.brand('EUR', 'EUR'), pg_temp.brand('of value', 'EUR', 2, 'value'), pg_temp.brand('no fee', 'EUR', fee_of => 'none'),
       pg_temp.brand('0 %', 'EUR', 0), pg_temp.brand('12.345678 %', 'EUR', 12.345678), pg_temp.brand('JPY', 'JPY'), pg_temp.brand('KWD', 'KWD');
SELECT postback.create_publisher('Money blog') AS publisher \gset
SELECT postback.create_publisher('Money forum') AS forum \gset
SELECT set_config('money.publisher', :'publisher', false) IS NOT NULL AS publisher;

-- One order through a fresh offer with these terms: commission and fee.
CREATE FUNCTION pg_temp.price(brand text, terms jsonb, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    b record;
    offer postback.ulid;
    r postback.reply;
BEGIN
    SELECT * INTO b FROM brands x WHERE x.name = brand;
    offer := postback.create_offer(b.id, 'Offer', 'https://shop.example/');
    PERFORM postback.set_terms(offer, percent => (terms ->> 'percent')::numeric, fixed => (terms ->> 'fixed')::bigint, min => (terms ->> 'min')::bigint,
                               max => (terms ->> 'max')::bigint, brackets => terms -> 'brackets');
    r := postback.receive(b.token, format('order=%s&click_id=%s&%s', postback.new_ulid(),
                          (postback.click((postback.create_link(offer, current_setting('money.publisher')::postback.ulid)).code)).click_id, query));
    RETURN CASE WHEN r.ok THEN concat_ws(' ', r.commission, r.fee, r.warning) ELSE r.code END;
END
$$;
CREATE TEMP TABLE cases (n serial, brand text DEFAULT 'EUR', terms jsonb, query text, want text);
CREATE FUNCTION pg_temp.differences() RETURNS TABLE (brand text, terms jsonb, query text, want text, got text) LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% cases', (SELECT count(*) FROM cases);
    FOR brand, terms, query, want IN SELECT c.brand, c.terms, c.query, c.want FROM cases c ORDER BY c.n LOOP
        got := pg_temp.price(brand, terms, query);
        IF got IS DISTINCT FROM want THEN
            RETURN NEXT;
        END IF;
    END LOOP;
    DELETE FROM cases;
END
$$;

-- percent, fixed, min, max: half away from zero, rounded once; the fee is 35 % of the rounded commission
INSERT INTO cases (terms, query, want) VALUES
    ('{"percent": 8}',              'value=4999',             '400 140'),            -- 399.92; 140
    ('{"percent": 8}',              'value=0',                '0 0'),
    ('{"percent": 10}',             'value=4',                '0 0'),                -- 0.4
    ('{"percent": 10}',             'value=5',                '1 0'),                -- 0.5; 0.35
    ('{"percent": 10}',             'value=14',               '1 0'),                -- 1.4
    ('{"percent": 10}',             'value=15',               '2 1'),                -- 1.5; 0.7
    ('{"percent": 10}',             'value=25',               '3 1'),                -- 2.5, not to the even 2; 1.05
    ('{"percent": 10}',             'value=100',              '10 4'),               -- 10; 3.5
    ('{"percent": 10}',             'value=300',              '30 11'),              -- 30; 10.5
    ('{"percent": 10}',             'value=296',              '30 11'),              -- 29.6: of the rounded 30 and not of 29.6, 10.36
    ('{"percent": 0}',              'value=4999',             '0 0'),
    ('{"percent": 100}',            'value=4999',             '4999 1750'),          -- 1749.65
    ('{"percent": 999}',            'value=1000000000000000', '9990000000000000 3496500000000000'),
    ('{"percent": 33.333333}',      'value=1000000',          '333333 116667'),      -- 333333.33; 116666.55
    ('{"percent": 0.000001}',       'value=49999999',         '0 0'),                -- 0.49999999
    ('{"percent": 0.000001}',       'value=50000000',         '1 0'),                -- 0.5
    ('{"percent": 0.000001}',       'value=1000000000000000', '10000000 3500000'),
    ('{"fixed": 500}',              'value=4999',             '500 175'),
    ('{"fixed": 500}',              'value=0',                '500 175'),
    ('{"fixed": 0}',                'value=4999',             '0 0'),
    ('{"percent": 5, "fixed": 30}', 'value=1990',             '130 46'),             -- 99.5 + 30; 45.5
    ('{"percent": 5, "fixed": 30}', 'value=1989',             '129 45'),             -- 129.45; 45.15
    ('{"percent": 5, "min": 100}',  'value=1000',             '100 35'),
    ('{"percent": 5, "min": 100}',  'value=0',                '100 35'),
    ('{"percent": 5, "min": 100}',  'value=2010',             '101 35'),             -- 100.5; 35.35
    ('{"percent": 5, "max": 200}',  'value=10000',            '200 70'),
    ('{"percent": 5, "max": 200}',  'value=3990',             '200 70'),             -- 199.5
    ('{"percent": 5, "max": 200}',  'value=3989',             '199 70'),             -- 199.45; 69.65
    ('{"percent": 5, "min": 77, "max": 77}', 'value=4999',    '77 27'),              -- 26.95
    ('{"percent": 5, "max": 0}',    'value=4999',             '0 0'),
    ('{"percent": 5, "brackets": [{"from": 1000, "percent": 6}, {"from": 10000, "percent": 8}]}', 'value=999',   '50 18'),   -- 49.95; 17.5
    ('{"percent": 5, "brackets": [{"from": 1000, "percent": 6}, {"from": 10000, "percent": 8}]}', 'value=1000',  '60 21'),
    ('{"percent": 5, "brackets": [{"from": 1000, "percent": 6}, {"from": 10000, "percent": 8}]}', 'value=9999',  '600 210'), -- 599.94
    ('{"percent": 5, "brackets": [{"from": 1000, "percent": 6}, {"from": 10000, "percent": 8}]}', 'value=10000', '800 280');
SELECT * FROM pg_temp.differences();

-- fees: of the order value, none, 0 %, with decimals
INSERT INTO cases (brand, terms, query, want) VALUES
    ('of value',    '{"percent": 8}',   'value=4999',         '400 100'),            -- 99.98
    ('of value',    '{"percent": 8}',   'value=1025',         '82 21'),              -- 20.5
    ('of value',    '{"fixed": 0}',     'value=1024',         '0 20'),               -- 20.48
    ('no fee',      '{"percent": 8}',   'value=4999',         '400 0'),
    ('0 %',         '{"percent": 8}',   'value=4999',         '400 0'),
    ('12.345678 %', '{"percent": 10}',  'value=1000000',      '100000 12346'),       -- 12345.678
    ('12.345678 %', '{"percent": 10}',  'value=50',           '5 1'),                -- 0.61728390
    ('12.345678 %', '{"percent": 10}',  'value=40',           '4 0');                -- 0.49382712
SELECT * FROM pg_temp.differences();

-- currencies without decimals and with three: the brand's unit is what counts
INSERT INTO cases (brand, terms, query, want) VALUES
    ('JPY', '{"percent": 8}',               'value=1234',                       '99 35'),      -- 98.72; 34.65
    ('JPY', '{"percent": 8}',               'amount=1234',                      '99 35'),
    ('JPY', '{"fixed": 500}',               'amount=1234.0',                    '500 175'),
    ('JPY', '{"percent": 8}',               'amount=1234.5',                    'bad_value'),
    ('KWD', '{"percent": 8}',               'amount=1.234',                     '99 35'),      -- 0.09872
    ('KWD', '{"percent": 8}',               'value=1.234&value_format=currency', '99 35'),
    ('KWD', '{"percent": 8}',               'amount=12.34',                     '987 345'),    -- 12340: 987.2; 345.45
    ('KWD', '{"percent": 8}',               'amount=1.2345',                    'bad_value');
SELECT * FROM pg_temp.differences();

-- other currencies than the brand's: the value is converted and rounded, then the commission, then the fee
SELECT postback.set_fx_rate('SEK', 'EUR', 0.05, now() - interval '2 days'), postback.set_fx_rate('SEK', 'EUR', 0.0912345678, now() - interval '1 day'),
       postback.set_fx_rate('SEK', 'EUR', 7, now() + interval '1 day'), postback.set_fx_rate('ISK', 'EUR', 0.0067), postback.set_fx_rate('TND', 'EUR', 0.3),
       postback.set_fx_rate('DKK', 'EUR', 0.5), postback.set_fx_rate('SEK', 'JPY', 14.5), postback.set_fx_rate('ISK', 'KWD', 0.0023456789);
INSERT INTO cases (brand, terms, query, want) VALUES
    ('EUR', '{"percent": 10}', 'value=10000&currency=SEK',     '91 32'),      -- 912.345678, so 912; 91.2; 31.85
    ('EUR', '{"percent": 10}', 'amount=100&currency=SEK',      '91 32'),
    ('EUR', '{"percent": 10}', 'value=12345&currency=ISK',     '827 289'),    -- 82.7115 EUR, so 8271; 827.1; 289.45
    ('EUR', '{"percent": 10}', 'amount=1.235&currency=TND',    '4 1'),        -- 0.3705 EUR, so 37; 3.7; 1.4
    ('EUR', '{"percent": 100}', 'value=1&currency=DKK',        '1 0'),        -- 0.5
    ('EUR', '{"percent": 100}', 'value=3&currency=DKK',        '2 1'),        -- 1.5; 0.7
    ('EUR', '{"percent": 50}', 'value=3&currency=DKK',         '1 0'),        -- of the rounded 2, not of 1.5; 0.35
    ('EUR', '{"percent": 10, "min": 100}', 'value=100&currency=SEK', '100 35'),
    ('of value', '{"percent": 10}', 'value=10000&currency=SEK', '91 18'),     -- 2 % of 912 is 18.24
    ('JPY', '{"percent": 100}', 'value=100&currency=SEK',      '15 5'),       -- 1.00 SEK is 14.5 JPY, so 15; 5.25
    ('KWD', '{"percent": 100}', 'value=1000&currency=ISK',     '2346 821'),   -- 2.3456789 KWD, so 2346; 821.1
    ('EUR', '{"percent": 10}', 'value=1000&currency=VUV',      'unpriced');
SELECT * FROM pg_temp.differences();
SELECT * FROM postback.audit();

-- which terms: publisher and goal, then publisher, then goal, then the offer's; then the newest, if it is valid
SELECT id AS brand, token FROM brands WHERE name = 'EUR' \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_goal(:'offer', 'Lead', true) AS lead \gset
SELECT postback.create_goal(:'offer', 'Sale') AS sale \gset
SELECT postback.create_goal(:'offer', 'Visit') AS visit \gset
SELECT count(postback.set_terms(:'offer', percent => p, goal => g, publisher => w::postback.ulid))
FROM (VALUES (1, 4, 'Sale', :'publisher'), (2, 3, NULL, :'publisher'), (3, 2, 'Sale', NULL), (4, 9, NULL, NULL), (5, 1, NULL, NULL)) AS k (n, p, g, w);
SELECT count(postback.set_terms(:'offer', percent => 50, valid_from => v, valid_to => w))
FROM (VALUES (now() + interval '1 hour', timestamptz 'infinity'), ('-infinity', now() - interval '1 hour')) AS k (v, w);
SELECT (SELECT click_id FROM postback.click(l.code)) AS click FROM postback.create_link(:'offer', :'publisher') l \gset
SELECT (SELECT click_id FROM postback.click(l.code)) AS forum_click FROM postback.create_link(:'offer', :'forum') l \gset
SELECT k.who, k.goal, k.percent, r.commission, r.goal AS kept_as, r.warning
FROM (VALUES (1, 'blog', 'sale', '4 %', :'click'), (2, 'blog', 'Lead', '3 %', :'click'), (3, 'blog', '', '3 %', :'click'), (4, 'blog', 'Upsell', '3 %', :'click'),
             (5, 'forum', 'SALE', '2 %', :'forum_click'), (6, 'forum', 'Visit', '1 %', :'forum_click'), (7, 'forum', '', '1 %', :'forum_click'),
             (8, 'forum', 'Upsell', '1 %', :'forum_click')) AS k (n, who, goal, percent, click)
CROSS JOIN LATERAL postback.receive(:'token', format('order=W-%s&value=1000&goal=%s&click_id=%s', k.n, k.goal, k.click)) r
ORDER BY k.n;
-- the default goal's terms are those of an order that names none
SELECT postback.set_terms(:'offer', goal => 'Lead', percent => 7) IS NOT NULL AS set;
SELECT r.commission, r.goal FROM postback.receive(:'token', format('order=W-9&value=1000&click_id=%s', :'forum_click')) r;
-- but a publisher's own come before a goal's
SELECT r.commission, r.goal FROM postback.receive(:'token', format('order=W-11&value=1000&click_id=%s', :'click')) r;
-- with goals switched off they price nothing
UPDATE postback.offer SET goals_enabled = false WHERE id = :'offer';
SELECT k.goal, r.commission, r.goal AS kept_as, r.warning
FROM (VALUES ('Sale'), (''), ('Upsell')) AS k (goal)
CROSS JOIN LATERAL postback.receive(:'token', format('order=V-%s&value=1000&goal=%1$s&click_id=%s', k.goal, :'forum_click')) r;
UPDATE postback.offer SET goals_enabled = true WHERE id = :'offer';
-- of the same kind the newest
SELECT postback.set_terms(:'offer', percent => 6) IS NOT NULL AS set;
SELECT r.commission FROM postback.receive(:'token', format('order=W-10&value=1000&goal=Visit&click_id=%s', :'forum_click')) r;

-- what it was priced by stays, whatever changes afterwards: terms, fee, rate
SELECT r.commission, r.fee FROM postback.receive(:'token', format('order=Z-1&value=10000&currency=SEK&goal=Visit&click_id=%s', :'forum_click')) r; -- 912: 54.72; 19.25
SELECT postback.set_terms(:'offer', percent => 20), postback.set_fx_rate('SEK', 'EUR', 1, now() - interval '1 hour') \gset
UPDATE postback.brand SET fee_percent = 50, fee_of = 'value' WHERE id = :'brand';
SELECT r.commission, r.fee FROM postback.receive(:'token', 'order=Z-1&status=partial&value=5000') r; -- 456.17, so 456: 27.36; 9.45
UPDATE postback.conversion SET value = 2500 WHERE brand_id = :'brand' AND order_ref = 'Z-1' RETURNING sale_value, commission, fee; -- 228.09: 13.68; 4.9
SELECT r.commission, r.fee FROM postback.conversion c CROSS JOIN LATERAL postback.adjust(c.id, 10000) r WHERE c.brand_id = :'brand' AND c.order_ref = 'Z-1';
SELECT c.fx_rate, c.fee_percent, c.fee_of, t.percent FROM postback.conversion c JOIN postback.terms t ON t.id = c.terms_id WHERE c.brand_id = :'brand' AND c.order_ref = 'Z-1';
SELECT r.commission, r.fee FROM postback.receive(:'token', format('order=Z-2&value=10000&currency=SEK&goal=Visit&click_id=%s', :'forum_click')) r; -- 10000: 2000; 5000
UPDATE postback.brand SET fee_percent = 35, fee_of = 'commission' WHERE id = :'brand';
SELECT * FROM postback.audit();

-- nobody's order is charged nothing and has no line
SELECT r.attribution, r.commission, r.fee, r.warning FROM postback.receive(:'token', 'order=Y-1&value=1000&click_id=nonsense') r;
SELECT r.status FROM postback.receive(:'token', 'order=Y-1&status=approved') r;
SELECT count(*) AS lines FROM postback.ledger l JOIN postback.conversion c ON c.id = l.conversion_id WHERE c.brand_id = :'brand' AND c.order_ref = 'Y-1';

-- balances, after 4 orders of 100 + 35: one pending, one approved, one reversed, one lowered to 40 + 14; a top-up and a payout
SELECT postback.create_brand('Money balances', 'EUR') AS balanced \gset
SELECT token AS balanced_token FROM postback.issue_token(:'balanced') \gset
SELECT postback.create_offer(:'balanced', 'Shop', 'https://shop.example/') AS balanced_offer \gset
SELECT postback.set_terms(:'balanced_offer', percent => 10) AS balanced_terms \gset
SELECT outcome FROM postback.create_link(:'balanced_offer', :'publisher') l CROSS JOIN LATERAL postback.click(l.code);
SELECT postback.top_up(:'balanced', 1000) IS NOT NULL AS topped_up;
SELECT r.outcome
FROM unnest('{order=B-1&value=1000,order=B-2&value=1000,order=B-3&value=1000,order=B-4&value=1000,order=B-2&status=approved,order=B-3&status=reversed,
              order=B-4&status=partial&value=400}'::text[]) WITH ORDINALITY AS k (query, n)
CROSS JOIN LATERAL postback.receive(:'balanced_token', k.query) r
ORDER BY n;
SELECT postback.book_payout(:'balanced', :'publisher', 60) IS NOT NULL AS paid_out;
SELECT account, publisher_id = :'publisher' AS publisher, currency, amount FROM postback.balances WHERE brand_id = :'balanced' ORDER BY account;
SELECT postback.fold_balances() > 0 AS folded;
SELECT account, publisher_id = :'publisher' AS publisher, currency, amount FROM postback.balances WHERE brand_id = :'balanced' ORDER BY account;
SELECT * FROM postback.audit();

-- prepaid: at minus the credit limit or below new clicks go elsewhere; orders of earlier clicks are still taken
SELECT postback.create_brand('Money prepaid', 'EUR', prepaid => true, fallback_url => 'https://elsewhere.example/') AS prepaid \gset
SELECT token AS prepaid_token FROM postback.issue_token(:'prepaid') \gset
SELECT postback.create_offer(:'prepaid', 'Shop', 'https://shop.example/') AS prepaid_offer \gset
SELECT postback.set_terms(:'prepaid_offer', percent => 10) AS prepaid_terms \gset
SELECT code AS prepaid_code FROM postback.create_link(:'prepaid_offer', :'publisher') \gset
CREATE FUNCTION pg_temp.prepaid(brand postback.ulid, code text) RETURNS TABLE (available bigint, exhausted boolean, click text, goes_to text) LANGUAGE sql AS $$
    SELECT coalesce((SELECT amount FROM postback.balances b WHERE b.brand_id = brand AND b.account = 'available'), 0),
           (SELECT b.exhausted FROM postback.brand b WHERE b.id = brand), c.outcome, split_part(c.location, '?', 1)
    FROM postback.click(code) c
$$;
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
SELECT postback.top_up(:'prepaid', 270) IS NOT NULL AS topped_up;
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
SELECT outcome FROM postback.receive(:'prepaid_token', 'order=P-1&value=1000');
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
SELECT outcome FROM postback.receive(:'prepaid_token', 'order=P-2&value=1000');
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
SELECT outcome, attribution, commission FROM postback.receive(:'prepaid_token', 'order=P-3&value=1000');
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
-- a top-up has to bring it above the limit; a refund can too
SELECT postback.top_up(:'prepaid', 135) IS NOT NULL AS topped_up;
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
SELECT postback.top_up(:'prepaid', 1) IS NOT NULL AS topped_up;
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
SELECT outcome FROM postback.receive(:'prepaid_token', 'order=P-4&value=1000');
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
UPDATE postback.conversion SET status = 'reversed' WHERE brand_id = :'prepaid' AND order_ref = 'P-4';
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
-- approving moves nothing of it; test orders neither
UPDATE postback.conversion SET status = 'approved' WHERE brand_id = :'prepaid' AND order_ref = 'P-1';
SELECT outcome, commission FROM postback.receive(:'prepaid_token', 'order=TEST-P&value=1000');
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
-- 1 is available: with a credit of 134 the next 135 bring it to the limit, one more below
UPDATE postback.brand SET credit_limit = 134 WHERE id = :'prepaid';
SELECT outcome FROM postback.receive(:'prepaid_token', 'order=P-5&value=996'); -- 99.6, so 100; 35
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
UPDATE postback.brand SET credit_limit = 135 WHERE id = :'prepaid';
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
SELECT outcome FROM postback.receive(:'prepaid_token', 'order=P-6&value=8'); -- 0.8, so 1; 0.35, so 0
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');
-- the whole batch at once: what crosses the limit back and forth ends where it ends
SELECT string_agg(r.outcome, ' ' ORDER BY r.item) AS outcomes
FROM postback.receive_batch('{1,2,3}', array_fill(:'prepaid_token'::text, '{3}'), '{GET,GET,GET}', '{order=P-7&value=1000,order=P-6&status=reversed,order=P-7&status=reversed}',
    array_fill(NULL::text, '{3}'), array_fill(NULL::text, '{3}'), array_fill(NULL::inet, '{3}')) r;
SELECT * FROM pg_temp.prepaid(:'prepaid', :'prepaid_code');

SELECT * FROM postback.audit();

-- An account whose sum no row can hold keeps none of the others from being folded.
BEGIN;
SELECT postback.create_brand('Sums', 'EUR') AS sums \gset
INSERT INTO postback.balance (brand_id, account, currency, amount)
VALUES (:'sums', 'held', 'EUR', 9223372036854775807), (:'sums', 'held', 'EUR', 1), (:'sums', 'fees', 'EUR', 9223372036854775806), (:'sums', 'fees', 'EUR', 1);
SELECT postback.fold_balances() >= 2 AS folded;
SELECT account, amount FROM postback.balance WHERE brand_id = :'sums' ORDER BY account, amount;
ROLLBACK;
