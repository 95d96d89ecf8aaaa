-- Statements of accounts: every line with the balance after it, from an opening to a closing one that balances says too.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset null -

-- 10 % of the order value and a fee of 35 % of that: an order of 10.00 is 1.00 + 0.35
SELECT postback.create_brand('Stated', 'EUR') AS brand \gset
SELECT postback.create_brand('Stated in yen', 'JPY') AS yen_brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT token AS yen_token FROM postback.issue_token(:'yen_brand') \gset
SELECT postback.create_publisher('Blog of statements') AS blog \gset
SELECT postback.create_publisher('Forum of statements') AS forum \gset
CREATE FUNCTION pg_temp.click(brand postback.ulid, publisher postback.ulid) RETURNS postback.ulid LANGUAGE sql AS $$
    SELECT (postback.click((postback.create_link((SELECT id FROM postback.offer WHERE brand_id = brand), publisher)).code)).click_id
$$;
SELECT count(postback.set_terms(postback.create_offer(b, 'Shop', 'https://shop.example/'), percent => 10)) AS offers
FROM unnest(ARRAY[:'brand', :'yen_brand']) b;
SELECT pg_temp.click(:'brand', :'blog') AS click, pg_temp.click(:'brand', :'forum') AS forum_click, pg_temp.click(:'yen_brand', :'blog') AS yen_click \gset

-- three times, with a moment between them
SELECT pg_sleep(0.01), clock_timestamp() AS t0, pg_sleep(0.01) \gset
SELECT postback.top_up(:'brand', 1000, reference => 'invoice 1') IS NOT NULL AS topped_up;
SELECT outcome FROM postback.receive(:'token', 'order=S-1&value=1000&click_id=' || :'click');
SELECT pg_sleep(0.01), clock_timestamp() AS t1, pg_sleep(0.01) \gset
SELECT outcome FROM postback.receive(:'token', 'order=S-1&status=approved');
SELECT outcome FROM postback.receive(:'token', 'order=S-2&value=1000&click_id=' || :'click');
SELECT outcome FROM postback.receive(:'token', 'order=F-1&value=2000&status=approved&click_id=' || :'forum_click');
SELECT outcome FROM postback.receive(:'yen_token', 'order=Y-1&value=500&status=approved&click_id=' || :'yen_click');
SELECT pg_sleep(0.01), clock_timestamp() AS t2, pg_sleep(0.01) \gset
SELECT outcome FROM postback.receive(:'token', 'order=S-2&status=reversed');
SELECT postback.book_payout(:'brand', :'blog', 60, reference => 'transfer 7') IS NOT NULL AS paid_out;
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reverse(c.id, 'fraud') r WHERE c.brand_id = :'brand' AND c.order_ref = 'S-1';
SELECT outcome FROM postback.receive(:'token', 'order=TEST-S&value=1000&click_id=' || :'click');
SELECT pg_sleep(0.01), clock_timestamp() AS t3, pg_sleep(0.01) \gset

-- the whole account
SELECT kind, "order", amount, balance, in_currency AS currency, reference, other_account FROM postback.ledger_statement('available', brand => :'brand');
-- a part of it
SELECT kind, "order", amount, balance FROM postback.ledger_statement('available', "from" => :'t1', "to" => :'t2', brand => :'brand');
SELECT kind, "order", amount, balance FROM postback.ledger_statement('available', :'t2', brand => :'brand');
-- before it began and after it ended
SELECT kind, amount, balance FROM postback.ledger_statement('available', "to" => :'t0', brand => :'brand');
SELECT kind, amount, balance FROM postback.ledger_statement('available', :'t3', brand => :'brand');
-- the times are those of the lines; opening and closing say what was asked for
SELECT kind, count(*), bool_and(CASE kind WHEN 'opening' THEN at = :'t1' WHEN 'closing' THEN at = :'t2' ELSE at >= :'t1' AND at < :'t2' END) AS at_its_time
FROM postback.ledger_statement('held', :'t1', :'t2', :'brand') GROUP BY kind ORDER BY kind COLLATE "C";
-- a publisher's, in all brands and in one; per currency
SELECT kind, "order", amount, balance, in_currency AS currency, reference FROM postback.ledger_statement('payable', publisher => :'blog');
SELECT kind, "order", amount, balance, in_currency AS currency FROM postback.ledger_statement('payable', publisher => :'blog', currency => 'jpy');
SELECT kind, "order", amount, balance FROM postback.ledger_statement('payable', brand => :'brand', publisher => :'forum');
SELECT kind, "order", amount, balance FROM postback.ledger_statement('payable', brand => :'brand');
-- no account that was ever used: still two lines, in the brand's currency
SELECT kind, amount, balance, in_currency AS currency FROM postback.ledger_statement('payout', brand => :'yen_brand');
-- a day has a beginning and an end: each follows from the one before
SELECT a.balance AS closed, b.balance AS opened
FROM postback.ledger_statement('fees', "to" => :'t2', brand => :'brand') a, postback.ledger_statement('fees', "from" => :'t2', brand => :'brand') b
WHERE a.kind = 'closing' AND b.kind = 'opening';

-- every closing balance is that of balances, folded or not, and that of the ledger's lines
CREATE VIEW pg_temp.closing AS
    SELECT a.account, s.balance, coalesce((SELECT sum(b.amount) FROM postback.balances b WHERE b.account = a.account AND b.brand_id = w.id), 0) AS balances,
           (SELECT coalesce(sum(CASE a.account WHEN l.to_account THEN l.amount WHEN l.from_account THEN - l.amount END), 0) FROM postback.ledger l
            WHERE l.brand_id = w.id) AS lines
    FROM postback.brand w
    CROSS JOIN unnest('{available,held,payable,fees,topup,payout}'::text[]) WITH ORDINALITY AS a (account, n)
    CROSS JOIN LATERAL postback.ledger_statement(a.account, brand => w.id) s
    WHERE w.name = 'Stated' AND s.kind = 'closing'
    ORDER BY a.n;
SELECT * FROM pg_temp.closing;
SELECT postback.fold_balances() > 0 AS folded;
SELECT * FROM pg_temp.closing WHERE balance <> balances OR balance <> lines;
SELECT kind, amount, balance FROM postback.ledger_statement('available', :'t1', :'t2', :'brand') WHERE kind IN ('opening', 'closing');
SELECT * FROM postback.audit();

-- as CSV
\copy (SELECT kind, "order", amount, balance FROM postback.ledger_statement('topup', brand => (SELECT id FROM postback.brand WHERE name = 'Stated'))) TO STDOUT CSV HEADER

-- mistakes
SELECT * FROM postback.ledger_statement('savings');
SELECT * FROM postback.ledger_statement(NULL);
SELECT * FROM postback.ledger_statement('available', publisher => :'blog');

-- who may see a publisher's lines sees its account, and nothing that looks like somebody else's
CREATE ROLE regress_stated_brand IN ROLE postback_reader;
CREATE ROLE regress_stated_publisher IN ROLE postback_reader;
INSERT INTO postback.reader_scope (role, brand_id) VALUES ('regress_stated_brand', :'brand');
INSERT INTO postback.reader_scope (role, publisher_id) VALUES ('regress_stated_publisher', :'forum');
SET ROLE regress_stated_brand;
SELECT kind, balance, in_currency AS currency FROM postback.ledger_statement('available') WHERE kind IN ('opening', 'closing');
SELECT count(*) FROM postback.ledger_statement('available', brand => :'yen_brand');
RESET ROLE;
SET ROLE regress_stated_publisher;
SELECT kind, "order", amount, balance FROM postback.ledger_statement('payable');
SELECT kind, amount, balance FROM postback.ledger_statement('held');
RESET ROLE;
DELETE FROM postback.reader_scope WHERE role ~ '^regress_stated';
DROP ROLE regress_stated_brand, regress_stated_publisher;
