-- The programme that "make run" shows: one brand, its offer, a publisher with a link and a callback. Prints TOKEN=...
-- and LINK=... Variable receiver: the base URL of the server that plays the brand's shop and the publisher.

\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

BEGIN;

CREATE EXTENSION pg_cron;
CREATE EXTENSION postback;

SELECT postback.create_brand(name => 'Acme', currency => 'EUR') AS brand \gset
SELECT postback.create_offer(brand => :'brand', name => 'Acme shop', landing_url => :'receiver' || '/shop') AS offer \gset
SELECT postback.create_publisher(name => 'Example publisher') AS publisher \gset
SELECT postback.set_terms(offer => :'offer', percent => 8) AS terms \gset
SELECT postback.create_callback(
    name => 'tell the publisher',
    url => :'receiver' || '/postback?click_id={transaction_id}&payout={payout}&currency={currency}&status={status}',
    brand => :'brand',
    publisher => :'publisher') AS callback \gset
SELECT token FROM postback.issue_token(brand => :'brand', label => 'demo') \gset
SELECT code FROM postback.create_link(offer => :'offer', publisher => :'publisher') \gset

SELECT postback.schedule_jobs() \g /dev/null

-- The daemon's roles may do nothing but call its functions.
CREATE ROLE demo_serve LOGIN IN ROLE postback_ingest;
CREATE ROLE demo_send LOGIN IN ROLE postback_sender;
ALTER ROLE demo_serve SET log_parameter_max_length = 0;
ALTER ROLE demo_send SET log_parameter_max_length = 0;

COMMIT;

\echo TOKEN=:token
\echo LINK=:code
