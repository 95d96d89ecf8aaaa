-- The set-up functions: what they make, what they return, what they refuse. Ids and tokens are random: only what is
-- stable about them is shown.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
\set nobody '''00000000000000000000000001'''

-- brands
SELECT postback.create_brand(name => 'Setup', currency => 'eur') AS brand \gset
SELECT key ~ '^[a-z2-7]{8}$' AS key, name, currency, hold, attribution_window, fee_percent, fee_of, prepaid, credit_limit, exhausted
FROM postback.brand WHERE id = :'brand';
SELECT postback.create_brand('Other', 'JPY', hold => '7 days', attribution_window => '1 day', fee_percent => 12.5,
                             fee_of => 'value', prepaid => true, credit_limit => 500,
                             fallback_url => 'https://other.example/') AS other \gset
SELECT currency, hold, attribution_window, fee_percent, fee_of, prepaid, credit_limit, exhausted, fallback_url
FROM postback.brand WHERE id = :'other';
SELECT postback.create_brand(name => '', currency => 'EUR');
SELECT postback.create_brand(name => 'X', currency => 'EURO');
SELECT postback.create_brand(name => 'X', currency => NULL);
SELECT postback.create_brand(name => 'X', currency => 'EUR', hold => '-1 day');
SELECT postback.create_brand(name => 'X', currency => 'EUR', fee_of => 'turnover');
SELECT postback.create_brand(name => 'X', currency => 'EUR', fee_percent => 1000);
SELECT postback.create_brand(name => 'X', currency => 'EUR', fee_percent => 33.33333349); -- rounded it would be another one
SELECT postback.create_brand(name => 'X', currency => 'EUR', credit_limit => -1);
SELECT postback.create_brand(name => 'X', currency => 'EUR', fallback_url => 'ftp://x.example/');
\set VERBOSITY sqlstate
SELECT postback.create_brand(name => 'X', currency => 'EURO');
\set VERBOSITY default

-- tokens: KEY_SECRET with 160 random bits, of which the SHA-256 is kept
SELECT token, url_path FROM postback.issue_token(brand => :'brand', label => 'shop') \gset
SELECT :'token' ~ '^[a-z2-7]{8}_[a-z2-7]{32}$' AS form, :'url_path' = '/p/' || :'token' AS path,
       split_part(:'token', '_', 1) = key AS begins_with_key,
       secret_hash = sha256(split_part(:'token', '_', 2)::bytea) AS hash_of_secret,
       label, reply_style, test, revoked_at
FROM postback.token t JOIN postback.brand b ON b.id = t.brand_id WHERE t.brand_id = :'brand';
SELECT token AS full_token
FROM postback.issue_token(:'brand', 'full', '{"transaction_id": "click_id"}', '{"ok": "approved"}', 'text',
                          '{192.0.2.0/24}', 'key', 10, true, '2030-01-01 00:00:00+00') \gset
SELECT param_map, status_map, reply_style, allow_ips, hmac_secret, rate_limit, test, expires_at
FROM postback.token WHERE brand_id = :'brand' AND label = 'full';
SELECT postback.issue_token(:nobody);
SELECT postback.issue_token(:'brand', param_map => '{"a": 1}');
SELECT postback.issue_token(:'brand', status_map => '["ok"]');
SELECT postback.issue_token(:'brand', status_map => 'null');
-- a map leads to words of ours, in any spelling of calls: what would be refused at each call is refused here
SELECT postback.issue_token(:'brand', param_map => '{"ref": "order", "tid": "ordr"}');
SELECT postback.issue_token(:'brand', param_map => '{"tid": " order"}');
SELECT postback.issue_token(:'brand', param_map => '{"tid": "approved"}');
SELECT postback.issue_token(:'brand', status_map => '{"ok": "aproved"}');
SELECT postback.issue_token(:'brand', status_map => '{"ok": "order"}');
SELECT length(token) FROM postback.issue_token(:'brand', 'spelt',
    '{"a": "Order", "b": "TXID", "c": "clickid", "d": "rejection_reason", "transaction_id": ""}',
    '{"1": "New", "2": "Pending", "3": "", "4": "DONE", "5": "chargeback", "6": "adjusted", "7": "cancelled"}');
DELETE FROM postback.token WHERE brand_id = :'brand' AND label = 'spelt';
SELECT length(token) FROM postback.issue_token(:'brand', 'empty', '{}', '{}');
DELETE FROM postback.token WHERE brand_id = :'brand' AND label = 'empty';
SELECT postback.issue_token(:'brand', reply_style => 'xml');
SELECT postback.issue_token(:'brand', rate_limit => 0);
SELECT postback.issue_token(:'brand', hmac_secret => '');

-- revoked by text, as URL, or by brand and label
SELECT postback.revoke_token(:'token');
SELECT label, revoked_at IS NOT NULL AS revoked FROM postback.token WHERE brand_id = :'brand' ORDER BY label;
SELECT revoked_at AS first FROM postback.token WHERE brand_id = :'brand' AND label = 'shop' \gset
SELECT postback.revoke_token('https://t.example/p/' || :'token' || '.gif');
SELECT revoked_at = :'first' AS unchanged FROM postback.token WHERE brand_id = :'brand' AND label = 'shop';
SELECT postback.revoke_token(brand => :'brand', label => 'full');
SELECT label, revoked_at IS NOT NULL AS revoked FROM postback.token WHERE brand_id = :'brand' ORDER BY label;
SELECT postback.revoke_token('abcdefgh_secretsecret');
SELECT postback.revoke_token(brand => :'brand', label => 'none');
SELECT postback.revoke_token();
SELECT postback.revoke_token(brand => :'brand');
SELECT postback.revoke_token(:'token', :'brand', 'shop');

-- offers, goals, publishers
SELECT postback.create_offer(brand => :'brand', name => 'Shop', landing_url => 'https://shop.example/l?c={click_id}') AS offer \gset
SELECT postback.create_offer(:'other', 'Games', 'http://games.example', '1 day', '2 days', false) AS other_offer \gset
SELECT name, landing_url, hold, attribution_window, goals_enabled FROM postback.offer
WHERE id IN (:'offer', :'other_offer') ORDER BY name;
SELECT postback.create_offer(:nobody, 'Shop', 'https://shop.example/');
SELECT postback.create_offer(:'brand', ' ', 'https://shop.example/');
SELECT postback.create_offer(:'brand', 'Shop', 'shop.example');
SELECT postback.create_offer(:'brand', 'Shop', 'https://{sub_id}.example/');
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/', hold => '-1 s');
SELECT postback.create_goal(offer => :'offer', name => 'Lead', is_default => true) AS lead \gset
SELECT postback.create_goal(:'offer', 'Sale') AS sale \gset
SELECT postback.create_goal(:'offer', 'LEAD');
SELECT postback.create_goal(:'offer', '');
SELECT postback.create_goal(:'offer', repeat('x', 65));
SELECT postback.create_goal(:nobody, 'Lead');
SELECT name, is_default FROM postback.goal WHERE offer_id = :'offer' ORDER BY name COLLATE "C";
-- a new default takes the place of the former one
SELECT postback.create_goal(:'offer', 'Visit', true) IS NOT NULL AS made;
SELECT name, is_default FROM postback.goal WHERE offer_id = :'offer' ORDER BY name COLLATE "C";
SELECT postback.create_publisher(name => 'Blog') AS publisher \gset
SELECT postback.create_publisher('Forum') AS forum \gset
SELECT postback.create_publisher(NULL);

-- links: KEY-code, the same one for the same offer and publisher
SELECT code, url_path FROM postback.create_link(offer => :'offer', publisher => :'publisher') \gset
SELECT :'code' ~ ('^' || key || '-[a-z2-7]{8}$') AS form, :'url_path' = '/c/' || :'code' AS path FROM postback.brand WHERE id = :'brand';
SELECT code = :'code' AS same FROM postback.create_link(:'offer', :'publisher');
SELECT code = :'code' AS same FROM postback.create_link(:'offer', :'forum');
SELECT count(*) FROM postback.link WHERE offer_id = :'offer';
SELECT postback.create_link(:'offer', :nobody);
SELECT postback.create_link(:nobody, :'publisher');

-- terms: the goal by name without case, by id as text, or by id
SELECT postback.set_terms(offer => :'offer', percent => 8.123456) AS t1 \gset
SELECT postback.set_terms(offer => :'offer', goal => 'lEAD', fixed => 500) AS t2 \gset
SELECT postback.set_terms(:'offer', :'lead', percent => 1) AS t3 \gset
SELECT postback.set_terms(offer => :'offer', goal => :'sale'::postback.ulid, publisher => :'publisher', percent => 10, fixed => 5,
                          min => 100, max => 1000, brackets => '[{"from": 10000, "percent": 8}]',
                          valid_from => '2030-01-01 00:00:00+00', valid_to => '2031-01-01 00:00:00+00') AS t4 \gset
SELECT g.name AS goal, t.publisher_id = :'publisher' AS publisher, t.percent, t.fixed, t.min, t.max, t.brackets, t.valid_from, t.valid_to
FROM postback.terms t LEFT JOIN postback.goal g ON g.id = t.goal_id
WHERE t.id IN (:'t1', :'t2', :'t3', :'t4') ORDER BY t.id;
SELECT postback.set_terms(offer => :nobody, percent => 1);
SELECT postback.set_terms(offer => :'offer');
SELECT postback.set_terms(offer => :'offer', goal => 'Install', percent => 1);
SELECT postback.set_terms(offer => :'other_offer', goal => 'Install', percent => 1);
\set VERBOSITY sqlstate
SELECT postback.set_terms(offer => :'other_offer', goal => :'lead'::postback.ulid, percent => 1); -- another offer's goal
\set VERBOSITY default
SELECT postback.set_terms(offer => :'offer', publisher => :nobody, percent => 1);
SELECT postback.set_terms(offer => :'offer', percent => -1);
SELECT postback.set_terms(offer => :'offer', percent => 0.0000001);
SELECT postback.set_terms(offer => :'offer', fixed => -1);
SELECT postback.set_terms(offer => :'offer', percent => 1, min => 2, max => 1);
SELECT postback.set_terms(offer => :'offer', percent => 1, valid_from => '2030-01-01', valid_to => '2030-01-01');
SELECT postback.set_terms(offer => :'offer', brackets => '[{"percent": 8}]');
-- what a bracket pays has the bounds of percent, in plain SQL too
SELECT postback.set_terms(offer => :'offer', brackets => '[{"from": 0, "percent": 8}, {"from": 1, "percent": 999.000001}]');
BEGIN;
SELECT postback.set_terms(offer => :'offer', brackets => '[{"from": 0, "percent": 999}, {"from": 1, "percent": 1, "fixed": 5000}]') IS NOT NULL AS as_much;
\set VERBOSITY sqlstate
UPDATE postback.terms SET brackets = '[{"from": 0, "percent": 5000}]' WHERE id = :'t1';
\set VERBOSITY default
ROLLBACK;

-- rates
SELECT postback.set_fx_rate(base => 'usd', quote => 'EUR', rate => 0.9123456789, valid_from => '2030-01-01 00:00:00+00');
SELECT base, quote, rate, valid_from FROM postback.fx_rate WHERE valid_from = '2030-01-01 00:00:00+00';
DELETE FROM postback.fx_rate WHERE valid_from = '2030-01-01 00:00:00+00';
SELECT postback.set_fx_rate('EUR', 'eur', 1);
SELECT postback.set_fx_rate('EUR', 'USD', 0);
SELECT postback.set_fx_rate('EUR', 'USD', 99999999.99999999999);
SELECT postback.set_fx_rate('EUR', 'XYZ', 1);

-- promo codes: the offer may be left out when there is one
SELECT postback.create_promo_code(brand => :'brand', code => ' Summer ', publisher => :'publisher', valid_to => '2030-01-01 00:00:00+00');
SELECT code, offer_id = :'offer' AS offer, publisher_id = :'publisher' AS publisher, valid_from, valid_to
FROM postback.promo_code WHERE brand_id = :'brand';
SELECT postback.create_promo_code(:'brand', 'SUMMER', :'forum');
SELECT postback.create_promo_code(:'brand', 'SUMMER', :'forum', :'offer', '2030-01-01 00:00:00+00');
SELECT postback.create_promo_code(:'brand', '', :'publisher');
SELECT postback.create_promo_code(:'brand', repeat('x', 129), :'publisher');
SELECT postback.create_promo_code(:nobody, 'X', :'publisher');
SELECT postback.create_promo_code(:'brand', 'X', :nobody);
SELECT postback.create_offer(:'brand', 'Second', 'https://shop.example/2') IS NOT NULL AS second;
SELECT postback.create_promo_code(:'brand', 'X', :'publisher');
SELECT postback.create_brand('Empty', 'EUR') AS empty \gset
SELECT postback.create_promo_code(:'empty', 'X', :'publisher');

-- callbacks: the offer's brand is filled in
SELECT postback.create_callback(name => 'approved only', url => 'https://p.example/pb?c={click_id}') AS c1 \gset
SELECT postback.create_callback('all', 'https://p.example/pb', offer => :'offer', publisher => :'publisher', goal => ' sale ',
                                statuses => '{Reversed,pending,approved,PENDING}', reasons => '{fraud}', delay => '5 minutes',
                                method => 'POST_JSON', params => '{"c": "{click_id}"}', headers => '{"X-A": "b"}',
                                auth => '{"type":"bearer","token":"t"}', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
                                success_codes => '200-299,302', include_test => true, on_adjust => true, every_status => true) AS c2 \gset
SELECT postback.create_callback('any', 'https://p.example/pb', brand => :'brand', offer => :'offer', goal => :'lead',
                                statuses => '{any}', auth => '{"type":"basic","user":"u","password":"p"}') AS c3 \gset
SELECT name, type, brand_id = :'brand' AS brand, offer_id = :'offer' AS offer, publisher_id = :'publisher' AS publisher, goal,
       statuses, reasons, delay, method, params, headers, auth ->> 'type' AS auth, success_codes,
       include_test, on_adjust, every_status, enabled
FROM postback.callback WHERE id IN (:'c1', :'c2', :'c3') ORDER BY id;
SELECT postback.create_callback('', 'https://p.example/');
SELECT postback.create_callback('X', NULL);
SELECT postback.create_callback('X', 'https://p.example/', type => 'sale');
SELECT postback.create_callback('X', 'https://p.example/', brand => :nobody);
SELECT postback.create_callback('X', 'https://p.example/', offer => :nobody);
SELECT postback.create_callback('X', 'https://p.example/', publisher => :nobody);
SELECT postback.create_callback('X', 'https://p.example/', goal => repeat('x', 65));
SELECT postback.create_callback('X', 'https://p.example/', statuses => '{approved,paid}');
SELECT postback.create_callback('X', 'https://p.example/', statuses => '{}');
SELECT postback.create_callback('X', 'https://p.example/', reasons => '{}');
SELECT postback.create_callback('X', 'https://p.example/', delay => '1 minute');
SELECT postback.create_callback('X', 'https://p.example/', method => 'PUT');
SELECT postback.create_callback('X', 'https://p.example/', auth => '{"type":"basic","user":"u"}');
SELECT postback.create_callback('X', 'https://p.example/', auth => '{"type":"digest"}');
SELECT postback.create_callback('X', 'https://p.example/', success_codes => '2xx');
SELECT postback.create_callback('X', 'https://p.example/', secret => 'not base64!');
SELECT count(*) FROM postback.callback WHERE name = 'X';
-- an offer of another brand
\set VERBOSITY sqlstate
SELECT postback.create_callback('X', 'https://p.example/', brand => :'other', offer => :'offer');
SELECT postback.create_promo_code(:'other', 'X', :'publisher', :'offer');
INSERT INTO postback.callback (name, url, brand_id, offer_id) VALUES ('X', 'https://p.example/', :'other', :'offer');
\set VERBOSITY default

-- secrets: the former one stays valid for 24 hours
SELECT secret, valid_to FROM postback.callback_secret WHERE callback_id = :'c2';
SELECT postback.rotate_secret(callback => :'c2', secret => 'dGhlIHNlY29uZCBzZWNyZXQh') AS secret;
SELECT secret, valid_to = 'infinity' AS lasting, valid_to BETWEEN now() + interval '23 hours 59 minutes' AND now() + interval '24 hours' AS a_day
FROM postback.callback_secret WHERE callback_id = :'c2' ORDER BY valid_to;
-- two at most: the next one ends the oldest at once, and what was once the secret may be it again
SELECT count(postback.rotate_secret(:'c2', secret)) FROM unnest('{dGhpcmQ=,Zm91cnRo}'::text[]) secret;
SELECT secret, valid_to = 'infinity' AS lasting FROM postback.callback_secret WHERE callback_id = :'c2' AND valid_to > now() ORDER BY valid_to;
SELECT postback.rotate_secret(:'c2', 'dGhpcmQ=');
SELECT secret, valid_to = 'infinity' AS lasting FROM postback.callback_secret WHERE callback_id = :'c2' AND valid_to > now() ORDER BY valid_to;
SELECT postback.rotate_secret(:'c2', 'dGhpcmQ=');
SELECT secret, valid_to = 'infinity' AS lasting FROM postback.callback_secret WHERE callback_id = :'c2' AND valid_to > now() ORDER BY valid_to;
SELECT postback.rotate_secret(:'c1') ~ '^whsec_[A-Za-z0-9+/]{43}=$' AS generated;
SELECT postback.rotate_secret(:'c1', 'whsec_###');
SELECT postback.rotate_secret(:nobody);
-- the one for all brands would fire in other tests
DELETE FROM postback.callback WHERE id = :'c1';

-- money from and to the outside
SELECT postback.top_up(brand => :'other', amount => 1000, currency => 'jpy', reference => 'INV-1') AS ledger \gset
SELECT from_account, to_account, amount, currency, kind, reference, publisher_id FROM postback.ledger WHERE id = :'ledger';
SELECT postback.book_payout(brand => :'other', publisher => :'publisher', amount => 300, reference => 'PAY-1') AS ledger \gset
SELECT from_account, to_account, amount, currency, kind, reference, publisher_id = :'publisher' AS publisher
FROM postback.ledger WHERE id = :'ledger';
SELECT account, publisher_id = :'publisher' AS publisher, amount FROM postback.balances WHERE brand_id = :'other' ORDER BY 1;
SELECT postback.top_up(:'other', 0);
SELECT postback.top_up(:'other', 9223372036854775807);
SELECT postback.top_up(:'other', 1, 'EUR');
SELECT postback.top_up(:nobody, 1);
SELECT postback.book_payout(:'other', :nobody, 1);

-- prepaid: exhausted at minus the credit limit or below, whatever changes
SELECT postback.create_brand('Prepaid', 'EUR', prepaid => true) AS prepaid \gset
SELECT exhausted FROM postback.brand WHERE id = :'prepaid';
SELECT postback.top_up(:'prepaid', 1) IS NOT NULL AS topped_up;
SELECT exhausted FROM postback.brand WHERE id = :'prepaid';
UPDATE postback.brand SET prepaid = false WHERE id = :'prepaid' RETURNING exhausted;
SELECT postback.create_brand('Credit', 'EUR', prepaid => true, credit_limit => 1) AS credit \gset
SELECT exhausted FROM postback.brand WHERE id = :'credit';
UPDATE postback.brand SET credit_limit = 0 WHERE id = :'credit' RETURNING exhausted;
UPDATE postback.brand SET credit_limit = 1 WHERE id = :'credit' RETURNING exhausted;

SELECT * FROM postback.audit();

-- Nor do the tables take what one cannot compute with: it would fail the calls of all brands in a batch.
\set VERBOSITY terse
\set QUIET on
BEGIN;
SELECT postback.create_brand('Endless', 'EUR') AS endless \gset
SELECT postback.create_offer(:'endless', 'Endless', 'https://shop.example/') AS endless_offer \gset
SELECT postback.create_callback('Endless', 'https://p.example/', brand => :'endless') AS endless_callback \gset
\set ON_ERROR_ROLLBACK on
UPDATE postback.brand SET hold = '200000 years' WHERE id = :'endless';
UPDATE postback.brand SET attribution_window = '200000 years' WHERE id = :'endless';
UPDATE postback.brand SET min_click_age = '200000 years' WHERE id = :'endless';
UPDATE postback.brand SET unique_window = '200000 years' WHERE id = :'endless';
UPDATE postback.offer SET hold = '200000 years' WHERE id = :'endless_offer';
UPDATE postback.offer SET attribution_window = '200000 years' WHERE id = :'endless_offer';
UPDATE postback.offer SET min_click_age = '200000 years' WHERE id = :'endless_offer';
UPDATE postback.callback SET delay = '200000 years' WHERE id = :'endless_callback';
INSERT INTO postback.terms (brand_id, offer_id, percent) VALUES (:'endless', :'endless_offer', 'NaN');
INSERT INTO postback.fx_rate (base, quote, rate) VALUES ('USD', 'EUR', 'NaN');
SELECT postback.create_offer(:'endless', 'Longer', 'https://shop.example/', hold => '1001 years');
SELECT postback.create_callback('Longer', 'https://p.example/', brand => :'endless', delay => '1001 years');
SELECT postback.create_offer(:'endless', 'Long', 'https://shop.example/', hold => '1000 years') IS NOT NULL AS made;
\set ON_ERROR_ROLLBACK off
ROLLBACK;
