-- What the four roles do, and what they are refused; readers by brand and by publisher. The whole list of rights is in
-- grants.sql, row-level security as a whole in tenants.sql.
\set SHOW_CONTEXT never
SET client_min_messages = error;
SET datestyle = 'ISO';
SET timezone = 'UTC';
SELECT postback.create_brand(name => 'Mine', currency => 'EUR') AS mine \gset
SELECT postback.create_brand(name => 'Theirs', currency => 'EUR') AS theirs \gset
SELECT postback.create_offer(:'mine', 'My shop', 'https://mine.example/') AS my_offer \gset
SELECT postback.create_offer(:'theirs', 'Their shop', 'https://theirs.example/') AS their_offer \gset
SELECT postback.create_publisher('Blog of roles') AS blog \gset
SELECT postback.create_publisher('Forum of roles') AS forum \gset
SELECT postback.set_terms(offer => o, percent => 10) IS NOT NULL AS terms FROM unnest(ARRAY[:'my_offer', :'their_offer']) o;
SELECT token AS my_token FROM postback.issue_token(:'mine', hmac_secret => NULL) \gset
SELECT token AS their_token FROM postback.issue_token(:'theirs') \gset
SELECT click_id AS my_click FROM postback.click((SELECT code FROM postback.create_link(:'my_offer', :'blog'))) \gset
SELECT click_id AS their_click FROM postback.click((SELECT code FROM postback.create_link(:'their_offer', :'blog'))) \gset
SELECT click_id AS forum_click FROM postback.click((SELECT code FROM postback.create_link(:'their_offer', :'forum'))) \gset
SELECT postback.create_callback('Hook of roles', 'https://p.example/', offer => :'my_offer', statuses => '{any}', secret => 'c2VjcmV0') AS callback \gset
SELECT outcome FROM postback.receive(:'my_token', 'order=MINE&value=1000&click_id=' || :'my_click');
SELECT outcome FROM postback.receive(:'their_token', 'order=BLOG&value=1000&click_id=' || :'their_click');
SELECT outcome FROM postback.receive(:'their_token', 'order=FORUM&value=1000&click_id=' || :'forum_click');
SELECT outcome FROM postback.receive(:'their_token', 'order=FORUM&status=approved');

SELECT rolname, rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname LIKE 'postback\_%' ORDER BY 1;
-- everything public is documented
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'postback'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname !~ '_(default|p\d+)$'
  AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT p.proname FROM pg_proc p
WHERE p.pronamespace = 'postback'::regnamespace AND p.proname !~ 'ulid' AND obj_description(p.oid, 'pg_proc') IS NULL;

CREATE ROLE regress_ingest IN ROLE postback_ingest;
CREATE ROLE regress_sender IN ROLE postback_sender;
CREATE ROLE regress_operator IN ROLE postback_operator;
CREATE ROLE regress_brand IN ROLE postback_reader;
CREATE ROLE regress_publisher IN ROLE postback_reader;
CREATE ROLE regress_stranger;
INSERT INTO postback.reader_scope (role, brand_id) VALUES ('regress_brand', :'mine');
INSERT INTO postback.reader_scope (role, publisher_id) VALUES ('regress_publisher', :'blog');
INSERT INTO postback.reader_scope (role) VALUES ('regress_brand');

-- nobody in particular: not even the schema
SET ROLE regress_stranger;
SELECT postback.version();
SELECT count(*) FROM postback.conversion;
RESET ROLE;

-- postback_ingest: the inbound calls and nothing else
SET ROLE regress_ingest;
SELECT outcome FROM postback.receive(:'my_token', 'order=MINE&status=approved');
SELECT http_status FROM postback.receive_batch('{1}', ARRAY[:'my_token'], '{GET}', '{order=MINE2&value=1}', '{NULL}', '{NULL}', '{NULL}');
SELECT http_status FROM postback.click_batch('{1}', '{none}', '{NULL}', '{NULL}');
SELECT postback.version() IS NOT NULL AS version;
SELECT count(*) FROM postback.conversion;
SELECT * FROM postback.claim('s', 1);
SELECT postback.create_publisher('X');
SELECT postback.top_up(:'mine', 1);
SELECT postback.audit();
RESET ROLE;

-- postback_sender: claims and settles
SET ROLE regress_sender;
SELECT count(*) > 0 AS claimed FROM postback.claim('s', 1000);
SELECT postback.settle('s', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
SELECT count(*) FROM postback.delivery_due;
SELECT * FROM postback.receive(:'my_token', 'order=X&value=1');
RESET ROLE;
UPDATE postback.delivery_due SET due_at = now(), leased_until = NULL, attempt_id = NULL, sender = NULL;

-- postback_operator: set-up, staff work, everything but secrets
SET ROLE regress_operator;
SELECT postback.create_brand('Made by an operator', 'EUR') AS made \gset
SELECT postback.create_offer(:'made', 'Shop', 'https://made.example/') AS made_offer \gset
SELECT postback.create_publisher('Made by an operator') AS made_publisher \gset
SELECT postback.create_goal(:'made_offer', 'Lead', true) IS NOT NULL AS goal;
SELECT token AS made_token FROM postback.issue_token(:'made', hmac_secret => 'key') \gset
SELECT postback.revoke_token(:'made_token');
SELECT postback.set_terms(offer => :'made_offer', goal => 'lead', percent => 1) IS NOT NULL AS terms;
SELECT postback.set_fx_rate('USD', 'EUR', 0.9, '2031-01-01');
SELECT code IS NOT NULL AS link FROM postback.create_link(:'made_offer', :'made_publisher');
SELECT postback.create_promo_code(:'made', 'OPERATOR', :'made_publisher');
SELECT postback.create_callback('Made', 'https://p.example/', offer => :'made_offer', secret => 'c2VjcmV0',
                                auth => '{"type":"bearer","token":"t"}') AS made_callback \gset
SELECT postback.rotate_secret(:'made_callback', 'c2VjcmV0Mg==');
SELECT postback.top_up(:'made', 1000) IS NOT NULL AS topped_up, postback.book_payout(:'made', :'made_publisher', 1) IS NOT NULL AS paid;
UPDATE postback.brand SET paused = true WHERE id = :'made' RETURNING name, paused;
UPDATE postback.callback SET enabled = false WHERE id = :'made_callback' RETURNING enabled;
SELECT postback.enable_callback(:'made_callback');
SELECT order_ref, public_status, brand, publisher, payout FROM postback.conversions WHERE brand_id IN (:'mine', :'theirs') ORDER BY 1;
UPDATE postback.conversion SET status = 'approved' WHERE brand_id = :'theirs' AND order_ref = 'BLOG';
SELECT outcome FROM postback.reverse((SELECT id FROM postback.conversion WHERE brand_id = :'theirs' AND order_ref = 'FORUM'));
SELECT order_ref, status FROM postback.conversion WHERE brand_id = :'theirs' ORDER BY 1;
CALL postback.approve_due();
SELECT postback.fold_balances() >= 0 AS folded;
SELECT count(*) FROM postback.keep_partitions();
SELECT * FROM postback.audit();
SELECT postback.resend(id) FROM postback.deliveries WHERE brand_id = :'mine' AND seq = 1;
-- secrets
SELECT address_key FROM postback.brand;
SELECT secret_hash FROM postback.token;
SELECT hmac_secret FROM postback.token;
SELECT auth FROM postback.callback;
SELECT secret FROM postback.callback_secret;
SELECT count(callback_id) > 0 AS that_there_are_some FROM postback.callback_secret;
-- facts and money are not written by hand
INSERT INTO postback.ledger (brand_id, from_account, to_account, amount, currency, kind) VALUES (:'mine', 'topup', 'available', 1, 'EUR', 'topup');
UPDATE postback.balance SET amount = 0;
DELETE FROM postback.conversion;
UPDATE postback.history SET actor = 'cron';
DELETE FROM postback.receipt;
SELECT * FROM postback.claim('s', 1);
SELECT postback.book_transfer(:'mine', NULL, 'topup', 'available', 1, NULL, 'topup', NULL);
RESET ROLE;

-- postback_reader with the scope of a brand
SET ROLE regress_brand;
SELECT order_ref, status, brand, offer, publisher, payout FROM postback.conversions ORDER BY 1;
SELECT name FROM postback.brand;
SELECT name FROM postback.offer;
SELECT name FROM postback.publisher;
SELECT count(*), count(*) FILTER (WHERE brand_id = :'mine') AS mine FROM postback.click;
SELECT count(*), count(*) FILTER (WHERE brand_id = :'mine') AS mine FROM postback.receipt;
SELECT count(*) > 0 AS some, bool_and(brand_id = :'mine') AS mine FROM postback.ledger;
SELECT count(*) > 0 AS some, bool_and(brand_id = :'mine') AS mine FROM postback.balances;
SELECT count(*) > 0 AS some, bool_and(brand_id = :'mine') AS mine FROM postback.history;
SELECT callback, publisher, offer, status, payout FROM postback.deliveries ORDER BY status COLLATE "C" DESC;
SELECT count(*) FROM postback.attempts;
SELECT role FROM postback.reader_scope;
-- no setting widens it, nor does asking by another name
SET postback_reader.brand = 'anything';
SELECT count(*) FROM postback.conversion WHERE brand_id = :'theirs';
SELECT count(*) FROM postback.click_default;
SELECT count(*) FROM postback.conversion c, postback.reader_scope s WHERE c.brand_id <> s.brand_id;
-- it reads only
UPDATE postback.conversion SET status = 'reversed';
INSERT INTO postback.reader_scope (role, brand_id) VALUES ('regress_brand', :'theirs');
SELECT ip FROM postback.click_detail;
SELECT secret_hash FROM postback.token;
SELECT auth FROM postback.callback;
SELECT address_key FROM postback.brand;
SELECT * FROM postback.receive(:'my_token', 'order=X&value=1');
SELECT postback.approve(id) FROM postback.conversion;
RESET ROLE;

-- postback_reader with the scope of a publisher: of every brand, but only what is its own
SET ROLE regress_publisher;
SELECT order_ref, status, brand, offer, publisher, payout FROM postback.conversions ORDER BY 1;
SELECT name FROM postback.brand ORDER BY 1;
SELECT name FROM postback.offer ORDER BY 1;
SELECT name FROM postback.publisher;
SELECT count(*), count(*) FILTER (WHERE publisher_id = :'blog') AS own FROM postback.click;
SELECT count(*) FROM postback.receipt;
SELECT kind, amount FROM postback.ledger ORDER BY id;
SELECT account, amount FROM postback.balances WHERE amount <> 0 ORDER BY amount;
SELECT publisher, currency, payable FROM postback.publisher_payable;
RESET ROLE;
-- roles inherit scopes from roles
CREATE ROLE regress_both IN ROLE regress_brand, regress_publisher;
SET ROLE regress_both;
SELECT order_ref FROM postback.conversions ORDER BY 1;
RESET ROLE;
-- a scope of a role that is gone is nobody's and harms nobody
DROP ROLE regress_both, regress_publisher;
SET ROLE regress_brand;
SELECT count(*) FROM postback.conversions;
RESET ROLE;
-- without a scope nothing
DELETE FROM postback.reader_scope WHERE role LIKE 'regress\_%';
SET ROLE regress_brand;
SELECT count(*) FROM postback.conversions;
RESET ROLE;

-- policies are made once
SELECT postback.keep_policies();
SELECT count(*) FROM pg_policy WHERE polrelid::regclass::text LIKE 'postback.%';
SELECT l.relation FROM postback.policy_list() l JOIN pg_class c ON c.oid = ('postback.' || l.relation)::regclass WHERE NOT c.relrowsecurity;

DROP ROLE regress_ingest, regress_sender, regress_operator, regress_brand, regress_stranger;
DELETE FROM postback.callback WHERE id IN (:'callback', :'made_callback');
SELECT * FROM postback.audit();
