-- Set-up tables edited by plain SQL: what was sold under them stays as it was, what makes no sense is refused.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

SELECT postback.create_brand(name => 'Edits', currency => 'EUR') AS brand \gset
SELECT postback.create_offer(brand => :'brand', name => 'Shop', landing_url => 'https://shop.example/') AS offer \gset
SELECT postback.create_publisher(name => 'Edits blog') AS publisher \gset
SELECT postback.set_terms(offer => :'offer', percent => 10) AS terms \gset
SELECT token FROM postback.issue_token(brand => :'brand') \gset
SELECT code AS link FROM postback.create_link(offer => :'offer', publisher => :'publisher') \gset
SELECT click_id AS click FROM postback.click(:'link') \gset

-- a conversion keeps the terms that it was priced with: an UPDATE of them is a new version
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-1&value=10000&click_id=' || :'click');
UPDATE postback.terms SET percent = 20 WHERE id = :'terms';
SELECT percent, id = :'terms' AS the_old_one, valid_to = 'infinity' AS holds, valid_to <= now() AS ended
FROM postback.terms WHERE offer_id = :'offer' ORDER BY id;
SELECT outcome, commission, fee FROM postback.receive(:'token', 'order=E-1&value=5000&status=partial');
SELECT outcome, commission, fee FROM postback.receive(:'token', 'order=E-2&value=5000&click_id=' || :'click');
-- narrowed to another publisher they are over for this one
SELECT postback.create_publisher(name => 'Edits other') AS other \gset
UPDATE postback.terms SET publisher_id = :'other' WHERE offer_id = :'offer' AND valid_to = 'infinity';
SELECT outcome, commission, warning FROM postback.receive(:'token', 'order=E-3&value=5000&click_id=' || :'click');
UPDATE postback.terms SET publisher_id = :'publisher', fixed = 7 WHERE offer_id = :'offer' AND valid_to = 'infinity';
SELECT postback.reprice_unpriced(:'brand');
SELECT order_ref, commission, fee FROM postback.conversion WHERE brand_id = :'brand' ORDER BY id;
-- the time that they hold may be set, and nothing changed is no version
UPDATE postback.terms SET valid_to = now() WHERE offer_id = :'offer' AND valid_to = 'infinity';
UPDATE postback.terms SET percent = percent WHERE offer_id = :'offer';
SELECT percent, fixed, publisher_id = :'publisher' AS publisher, publisher_id = :'other' AS other, valid_to <= now() AS ended
FROM postback.terms WHERE offer_id = :'offer' ORDER BY id;
-- those that have ended are left alone; of all of an offer the one that holds is changed
SELECT postback.set_terms(offer => :'offer', percent => 25) IS NOT NULL AS set;
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-6&value=10000&click_id=' || :'click');
SET client_min_messages = error; -- its warning names id and time
WITH u AS (UPDATE postback.terms SET percent = 26 WHERE id = :'terms' RETURNING 1) SELECT count(*) AS changed FROM u;
UPDATE postback.terms SET percent = 27 WHERE offer_id = :'offer';
RESET client_min_messages;
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-7&value=10000&click_id=' || :'click');
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-6&value=5000&status=partial');
SELECT percent, fixed, publisher_id = :'publisher' AS publisher, publisher_id = :'other' AS other, valid_to <= now() AS ended
FROM postback.terms WHERE offer_id = :'offer' ORDER BY id;
-- those that priced nothing are changed where they stand
SELECT postback.set_terms(offer => :'offer', percent => 30, valid_from => now() + interval '1 day') AS later \gset
UPDATE postback.terms SET percent = 31 WHERE id = :'later';
SELECT percent, valid_to FROM postback.terms WHERE id = :'later';
-- in the transaction that they were made in they end as soon as they can
BEGIN;
SELECT postback.set_terms(offer => :'offer', percent => 40, valid_from => now()) AS today \gset
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-4&value=10000&click_id=' || :'click');
UPDATE postback.terms SET percent = 50 WHERE id = :'today';
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-4&value=5000&status=partial');
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-5&value=10000&click_id=' || :'click');
ROLLBACK;
-- what prices conversions is not deleted, what does not is
DELETE FROM postback.terms WHERE id = :'later';
SELECT outcome, commission FROM postback.receive(:'token', 'order=E-1&value=4000&status=partial');
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS TABLE (refusal text) LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN QUERY SELECT 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN QUERY SELECT regexp_replace(line, '[0-9A-HJKMNP-TV-Z]{26}', 'ID', 'g')
                 FROM unnest(ARRAY[SQLSTATE || ' ' || message,
                                   'DETAIL ' || nullif(regexp_replace(detail, '^Failing row.*', ''), ''), 'HINT ' || nullif(hint, '')]) line
                 WHERE line IS NOT NULL;
END
$$;
SELECT * FROM pg_temp.refusal(format('DELETE FROM postback.terms WHERE id = %L', :'terms'));

-- the currency that money is kept in stays; before there is any it may be mended
SELECT * FROM pg_temp.refusal(format('UPDATE postback.brand SET currency = ''JPY'' WHERE id = %L', :'brand'));
UPDATE postback.brand SET currency = 'EUR', hold = '3 days' WHERE id = :'brand';
SELECT postback.create_brand(name => 'Edits new', currency => 'EUR') AS new_brand \gset
UPDATE postback.brand SET currency = 'USD' WHERE id = :'new_brand' RETURNING currency;
SELECT postback.top_up(:'new_brand', 100) IS NOT NULL AS topped_up;
SELECT * FROM pg_temp.refusal(format('UPDATE postback.brand SET currency = ''EUR'' WHERE id = %L', :'new_brand'));

-- a prepaid brand has to top up first, however it was made; one with credit need not, and a restored one is what it was
INSERT INTO postback.brand (name, currency, prepaid) VALUES ('Edits prepaid', 'EUR', true) RETURNING exhausted;
INSERT INTO postback.brand (name, currency, prepaid, credit_limit) VALUES ('Edits credit', 'EUR', true, 1000) RETURNING exhausted;
INSERT INTO postback.brand (name, currency, prepaid, created_at) VALUES ('Edits restored', 'EUR', true, '2026-01-01') RETURNING exhausted;
DELETE FROM postback.brand WHERE name = 'Edits restored';

-- visitors are sent to web pages only
SELECT * FROM pg_temp.refusal(format('UPDATE postback.offer SET landing_url = ''javascript:alert(1)'' WHERE id = %L', :'offer'));
SELECT * FROM pg_temp.refusal(format('UPDATE postback.offer SET landing_url = ''https://{click_id}.example/'' WHERE id = %L', :'offer'));
SELECT * FROM pg_temp.refusal(format('UPDATE postback.brand SET fallback_url = ''shop.example'' WHERE id = %L', :'brand'));
UPDATE postback.offer SET landing_url = 'HTTPS://shop.example?a=b c' WHERE id = :'offer';

SELECT a.* FROM postback.audit() a JOIN postback.brand b ON b.id = a.brand_id WHERE b.name LIKE 'Edits%';
