-- audit() finds nothing where only the product has written, and finds each kind of planted difference.
\set SHOW_CONTEXT never
SET client_min_messages = error;
SELECT postback.create_brand(name => 'Audit', currency => 'EUR') AS brand \gset
SELECT postback.create_brand(name => 'Audit prepaid', currency => 'EUR', prepaid => true) AS prepaid \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_publisher('Blog') AS publisher \gset
SELECT postback.create_publisher('Forum') AS forum \gset
SELECT postback.set_terms(offer => :'offer', percent => 10) IS NOT NULL AS terms;
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT click_id FROM postback.click((SELECT code FROM postback.create_link(:'offer', :'publisher'))) \gset
CREATE FUNCTION pg_temp.send(token text, query text) RETURNS text LANGUAGE sql AS
    $$ SELECT outcome FROM postback.receive(token, query) $$;

-- one conversion in each state, each of 10.00 and so 1.00 of commission and 0.35 of fee; a claw-back, a partial, a payout
SELECT o, pg_temp.send(:'token', format('order=%s&value=1000&click_id=%s', o, :'click_id'))
FROM unnest('{PENDING,APPROVED,REVERSED,CLAWED,PARTIAL,TEST-1}'::text[]) o;
SELECT pg_temp.send(:'token', 'order=NOBODY&value=1000&click_id=clk_00000000000000000000000001');
SELECT o, pg_temp.send(:'token', format('order=%s&status=%s', o, s))
FROM (VALUES ('APPROVED', 'approved'), ('REVERSED', 'reversed'), ('CLAWED', 'approved'), ('TEST-1', 'approved')) v (o, s);
SELECT pg_temp.send(:'token', 'order=PARTIAL&status=partial&value=500');
SELECT outcome FROM postback.reverse((SELECT id FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'CLAWED'));
SELECT postback.top_up(:'brand', 10000) IS NOT NULL AS topped_up;
SELECT postback.book_payout(:'brand', :'publisher', 60) IS NOT NULL AS paid;
SELECT account, publisher_id = :'publisher' AS publisher, amount FROM postback.balances WHERE brand_id = :'brand' AND amount <> 0 ORDER BY account;
SELECT * FROM postback.publisher_payable WHERE publisher_id = :'publisher' AND (payable, currency) <> (40, 'EUR');
SELECT * FROM postback.audit();
SELECT postback.fold_balances() > 0 AS folded;
SELECT * FROM postback.audit();

-- what is planted is planted past the triggers; ids are shown by name
CREATE FUNCTION pg_temp.found() RETURNS TABLE (check_name text, subject text, expected text, actual text) LANGUAGE sql AS $$
    SELECT a.check_name,
           (SELECT coalesce(max(replace(a.subject, x.id::text, x.name)), a.subject)
            FROM (SELECT id, order_ref AS name FROM postback.conversion UNION ALL SELECT id, name FROM postback.publisher) x
            WHERE strpos(a.subject, x.id::text) > 0),
           a.expected, a.actual
    FROM postback.audit() a ORDER BY 1, 2, 3
$$;
SET session_replication_role = replica;
SELECT id AS pending FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'PENDING' \gset
SELECT id AS approved FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'APPROVED' \gset
SELECT id AS test FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'TEST-1' \gset
SELECT id AS nobody FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'NOBODY' \gset

-- the roll-up is wrong, lost, or has an account too many
BEGIN;
UPDATE postback.balance SET amount = amount + 1 WHERE brand_id = :'brand' AND account = 'payable';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
DELETE FROM postback.balance WHERE brand_id = :'brand' AND account = 'fees';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount) VALUES (:'brand', 'payable', :'forum', 'EUR', 1);
SELECT * FROM pg_temp.found();
ROLLBACK;

-- a ledger line is lost
BEGIN;
DELETE FROM postback.ledger WHERE conversion_id = :'pending' AND kind = 'fee_held';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
DELETE FROM postback.ledger WHERE conversion_id = :'approved' AND kind = 'commission_approved';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
DELETE FROM postback.ledger WHERE brand_id = :'brand' AND kind = 'payout';
SELECT * FROM pg_temp.found();
ROLLBACK;
-- a line is doubled, with its balances: only held, payable and fees tell
BEGIN;
INSERT INTO postback.ledger (brand_id, from_account, to_account, amount, currency, kind, conversion_id)
SELECT brand_id, from_account, to_account, amount, currency, kind, conversion_id FROM postback.ledger
WHERE conversion_id = :'approved' AND kind = 'fee_approved';
INSERT INTO postback.balance (brand_id, account, currency, amount) VALUES (:'brand', 'held', 'EUR', -35), (:'brand', 'fees', 'EUR', 35);
SELECT * FROM pg_temp.found();
ROLLBACK;
-- two conversions' mistakes that cancel out in the sums
BEGIN;
UPDATE postback.ledger SET conversion_id = :'pending' WHERE conversion_id = :'approved' AND kind = 'commission_approved';
SELECT * FROM pg_temp.found();
ROLLBACK;
-- the commission goes to another publisher, balances too
BEGIN;
UPDATE postback.ledger SET publisher_id = :'forum' WHERE conversion_id = :'approved' AND publisher_id IS NOT NULL;
INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount)
VALUES (:'brand', 'payable', :'publisher', 'EUR', -100), (:'brand', 'payable', :'forum', 'EUR', 100);
SELECT * FROM pg_temp.found();
ROLLBACK;
-- held below zero
BEGIN;
DELETE FROM postback.ledger WHERE conversion_id = :'pending';
UPDATE postback.ledger SET amount = amount + 1000 WHERE brand_id = :'brand' AND kind = 'fee_released'
  AND conversion_id = (SELECT id FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'REVERSED');
SELECT * FROM pg_temp.found() WHERE check_name LIKE 'held%';
ROLLBACK;
-- the wrong accounts for the kind, or an unknown kind
BEGIN;
UPDATE postback.ledger SET kind = 'fee_held' WHERE conversion_id = :'approved' AND kind = 'fee_approved';
SELECT check_name, substr(subject, 35) AS subject, expected, actual FROM pg_temp.found();
ROLLBACK;
BEGIN;
UPDATE postback.ledger SET kind = 'gift' WHERE conversion_id = :'approved' AND kind = 'fee_approved';
SELECT check_name, substr(subject, 35) AS subject, expected, actual FROM pg_temp.found();
ROLLBACK;
-- test and unattributed orders, and such as there are not, have no lines
BEGIN;
UPDATE postback.ledger SET conversion_id = :'test' WHERE conversion_id = :'pending';
SELECT * FROM pg_temp.found() WHERE check_name = 'no_ledger';
UPDATE postback.ledger SET conversion_id = :'nobody' WHERE conversion_id = :'test';
SELECT * FROM pg_temp.found() WHERE check_name = 'no_ledger';
UPDATE postback.ledger SET conversion_id = '00000000000000000000000001' WHERE conversion_id = :'nobody';
SELECT * FROM pg_temp.found() WHERE check_name = 'no_ledger';
ROLLBACK;

-- a conversion's status, price, value or history is changed past the trigger
BEGIN;
UPDATE postback.conversion SET status = 'reversed' WHERE id = :'approved';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
UPDATE postback.conversion SET commission = 101 WHERE id = :'pending';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
UPDATE postback.conversion SET value = 999 WHERE id = :'pending';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
DELETE FROM postback.history WHERE conversion_id = :'approved' AND to_status = 'approved';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
UPDATE postback.history SET to_status = 'reversed' WHERE conversion_id = :'approved' AND to_status = 'approved';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
DELETE FROM postback.history WHERE conversion_id = :'nobody';
SELECT * FROM pg_temp.found();
ROLLBACK;
-- a conversion is deleted, be it one that has no money
BEGIN;
DELETE FROM postback.conversion WHERE id IN (:'nobody', :'test');
SELECT check_name, left(subject, -27) AS subject, right(subject, 26) IN (:'nobody', :'test') AS its_own, expected, actual FROM pg_temp.found()
ORDER BY actual;
ROLLBACK;

-- a prepaid brand's flag
BEGIN;
UPDATE postback.brand SET exhausted = false WHERE id = :'prepaid';
SELECT * FROM pg_temp.found();
UPDATE postback.brand SET exhausted = true WHERE id IN (:'prepaid', :'brand');
SELECT * FROM pg_temp.found();
ROLLBACK;

-- another currency than the brand's
BEGIN;
UPDATE postback.conversion SET commission_currency = 'USD' WHERE id = :'nobody';
SELECT * FROM pg_temp.found();
ROLLBACK;
BEGIN;
UPDATE postback.ledger SET currency = 'USD' WHERE brand_id = :'brand' AND kind = 'topup';
UPDATE postback.balance SET currency = 'USD' WHERE brand_id = :'brand' AND account = 'topup';
SELECT * FROM pg_temp.found();
ROLLBACK;

RESET session_replication_role;
SELECT * FROM postback.audit();
