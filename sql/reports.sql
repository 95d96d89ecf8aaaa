-- Reports: daily figures that are exact whether rolled up or not, and the other views. Every figure is worked out by hand.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset null -

-- amounts in full units, and back
SELECT postback.full_units(4999, 'EUR') AS eur, postback.full_units(-5, 'EUR') AS negative, postback.full_units(150, 'JPY') AS jpy,
       postback.full_units(1234, 'KWD') AS kwd, postback.full_units(12345, 'CLF') AS clf, postback.full_units(1, 'XXX') AS none,
       postback.full_units(92233720368547758070, 'EUR') AS large;
SELECT postback.minor_units('49.99', 'EUR') AS eur, postback.minor_units('150.0', 'JPY') AS jpy, postback.minor_units('1.2', 'KWD') AS kwd,
       postback.minor_units('1.234', 'EUR') AS too_fine, postback.minor_units('-1', 'EUR') AS negative, postback.minor_units('1', 'XXX') AS none;

-- 10 % of the order value and a fee of 35 % of that
SELECT postback.create_brand('Reported', 'EUR') AS brand \gset
SELECT postback.create_brand('Reported in yen', 'JPY') AS yen_brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT token AS yen_token FROM postback.issue_token(:'yen_brand') \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS shop \gset
SELECT postback.create_offer(:'brand', 'Club', 'https://club.example/') AS club \gset
SELECT postback.create_offer(:'yen_brand', 'Mise', 'https://mise.example/') AS mise \gset
SELECT count(postback.set_terms(o, percent => 10)) AS terms FROM unnest(ARRAY[:'shop', :'club', :'mise']) o;
SELECT postback.create_publisher('Reported blog') AS blog \gset
SELECT postback.create_publisher('Reported forum') AS forum \gset

-- The past, as it would be if it had been recorded then: clicks, and pending conversions with their money.
CREATE FUNCTION pg_temp.past_click(at timestamptz, brand postback.ulid, offer postback.ulid, publisher postback.ulid, address bigint, agent bigint)
    RETURNS postback.ulid LANGUAGE sql AS $$
    INSERT INTO postback.click (id, brand_id, offer_id, publisher_id, address_hash, agent_hash)
    VALUES (postback.ulid_floor(at), brand, offer, publisher, address, agent) RETURNING id
$$;
CREATE FUNCTION pg_temp.past_order(at timestamptz, brand postback.ulid, order_ref text, value bigint, click postback.ulid, commission bigint, fee bigint)
    RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    k postback.click;
    id postback.ulid := postback.ulid_floor(at);
BEGIN
    SELECT * INTO k FROM postback.click x WHERE x.id = click;
    INSERT INTO postback.conversion (id, brand_id, order_ref, offer_id, publisher_id, click_id, attribution, value, currency, sale_value, commission, fee,
                                     commission_currency, terms_id, fee_percent, fee_of, hold_until, created_at)
    VALUES (id, brand, order_ref, k.offer_id, k.publisher_id, k.id, CASE WHEN k.id IS NULL THEN 'none' ELSE 'click' END, value, 'EUR', value, commission, fee,
            'EUR', (SELECT t.id FROM postback.terms t WHERE t.offer_id = k.offer_id), 35, 'commission', now() + interval '12 hours', at);
    INSERT INTO postback.history (id, brand_id, conversion_id, to_status, to_value, to_commission, to_fee, currency, actor, role)
    VALUES (id, brand, id, 'pending', value, commission, fee, 'EUR', 'receipt', current_user);
    INSERT INTO postback.ledger (brand_id, from_account, to_account, amount, currency, kind, conversion_id)
    SELECT brand, 'available', 'held', a, 'EUR', w, id FROM (VALUES (commission, 'commission_held'), (fee, 'fee_held')) AS l (a, w) WHERE a > 0;
    INSERT INTO postback.balance (brand_id, account, currency, amount)
    VALUES (brand, 'available', 'EUR', - commission - fee), (brand, 'held', 'EUR', commission + fee);
END
$$;
-- 1 February: the blog sends visitor 1 twice, visitor 2 and somebody unknown to the shop; the forum sends visitor 1 twice, once with another
-- browser; and visitor 1 to the club. 2 February: the blog sends visitor 1.
SELECT pg_temp.past_click('2026-02-01 00:00', :'brand', :'shop', :'blog', 1, 7) AS click \gset
SELECT count(pg_temp.past_click(k.at, :'brand', :'shop', :'blog', k.address, 7))
FROM (VALUES (timestamptz '2026-02-01 10:00', 1::bigint), ('2026-02-01 11:00', 2), ('2026-02-01 23:59:59.999', NULL)) AS k (at, address);
SELECT pg_temp.past_click('2026-02-01 12:00', :'brand', :'shop', :'forum', 1, 7) AS forum_click, pg_temp.past_click('2026-02-01 12:00:01', :'brand', :'shop', :'forum', 1, 8) AS forum_again,
       pg_temp.past_click('2026-02-01 12:00:02', :'brand', :'club', :'forum', 1, 8) AS club_click \gset
SELECT pg_temp.past_click('2026-02-02 00:00', :'brand', :'shop', :'blog', 1, 7) AS late_click \gset
SELECT pg_temp.past_order('2026-02-01 00:00:05', :'brand', 'D-1', 1000, :'click', 100, 35),
       pg_temp.past_order('2026-02-01 13:00', :'brand', 'D-2', 2000, :'forum_click', 200, 70),
       pg_temp.past_order('2026-02-01 14:00', :'brand', 'D-3', 700, NULL, 0, 0),
       pg_temp.past_order('2026-02-02 00:30', :'brand', 'D-4', 500, :'late_click', 50, 18),
       pg_temp.past_order('2026-02-02 12:00', :'brand', 'D-5', 500, :'forum_click', 50, 18) \gset gone_
SELECT * FROM postback.audit();

CREATE VIEW pg_temp.days AS
    SELECT to_char(day, 'DD Mon') AS day, offer, publisher, clicks, unique_clicks AS uniq, conversions AS conv, pending AS pend, approved AS appr, rejected AS rej,
           cr, epc, payout, approved_payout AS approved, revenue, margin
    FROM postback.report_daily
    WHERE brand = 'Reported' AND day < '2026-03-01'
    ORDER BY report_daily.day, offer, publisher;
-- what was loaded by hand is counted by hand, and then told
SELECT postback.rebuild_daily('2026-01-01') >= 0 AS rebuilt;
SELECT * FROM postback.audit_daily('2026-01-01');
SELECT * FROM pg_temp.days;
SELECT postback.rebuild_daily('2026-01-01') AS rebuilt_again;

-- The mark is a second behind; afterwards all of the above is before it.
SELECT pg_sleep(1.1) \gset gone_
SELECT clock_timestamp() AS before \gset
SELECT postback.roll_up() > timestamptz :'before' - interval '2 seconds' AS rolled_up;
SELECT upto AS mark FROM postback.daily_mark \gset

-- later changes count on the day of the conversion: D-1 approved, D-2 reversed, D-4 lowered to 3.00 (0.30 + 0.11),
-- D-3 given to the club's click of the forum (0.70 + 0.25); told at once, from the rows
UPDATE postback.conversion SET status = 'approved' WHERE brand_id = :'brand' AND order_ref = 'D-1';
SELECT outcome FROM postback.receive(:'token', 'order=D-2&status=reversed&reason=Fraud');
SELECT outcome FROM postback.receive(:'token', 'order=D-4&status=partial&value=300');
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.attribute(c.id, :'club_click') r WHERE c.brand_id = :'brand' AND c.order_ref = 'D-3';
SELECT * FROM pg_temp.days;
SELECT * FROM postback.audit_daily('2026-01-01');
SELECT upto = :'mark' AS not_rolled_up FROM postback.daily_mark;
-- and rolled up
SELECT pg_sleep(1.1) \gset gone_
CREATE TEMP TABLE told AS SELECT * FROM pg_temp.days;
SELECT postback.roll_up() IS NOT NULL AS rolled_up;
SELECT count(*) FROM postback.daily_tail() WHERE day < '2026-03-01';
TABLE told EXCEPT TABLE pg_temp.days;
SELECT * FROM postback.audit_daily('2026-01-01');
-- the figures of a brand are the sum of those: where they are not, it is found and mended, as one that is missing
UPDATE postback.daily_brand SET approved_fee = approved_fee + 1 WHERE brand_id = :'brand' AND day = '2026-02-01';
DELETE FROM postback.daily_brand WHERE brand_id = :'brand' AND day = '2026-02-02';
SELECT a.day, a.offer_id IS NULL AND a.publisher_id IS NULL AS all, a.expected, a.actual FROM postback.audit_daily('2026-01-01') a WHERE a.brand_id = :'brand' ORDER BY 1;
SELECT postback.rebuild_daily('2026-01-01') AS rebuilt;
SELECT * FROM postback.audit_daily('2026-01-01');
-- on from there: D-2 opened again, D-3 approved; a conversion that nobody brought stays nobody's
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.reopen(c.id) r WHERE c.brand_id = :'brand' AND c.order_ref = 'D-2';
SELECT outcome FROM postback.receive(:'token', 'order=D-3&status=approved');
SELECT outcome FROM postback.receive(:'token', 'order=T-1&value=1000&click_id=clk_00000000000000000000000000');
SELECT * FROM pg_temp.days;
SELECT clicks, conversions, payout FROM postback.report_daily WHERE brand_id = :'brand' AND offer_id IS NULL AND day > '2026-03-01';
SELECT * FROM postback.audit_daily('2026-01-01');

-- how long after the click: the blog's D-1 5 s and D-4 30 min; the forum's D-2 1 h, D-5 24 h and D-3 1 h 59 m 58 s
SELECT offer, publisher, conversions, fastest, median, percentile_90, slowest, under_10_seconds AS s10, under_10_minutes AS m10, under_1_hour AS h1, under_1_day AS d1,
       under_7_days AS d7, later
FROM postback.report_time_to_convert WHERE brand_id = :'brand' ORDER BY 1, 2;

-- attributed and approved within the last second, of which a roll-up takes nothing: it is nobody's until then
SELECT outcome FROM postback.receive(:'token', 'order=T-2&value=1000&click_id=clk_00000000000000000000000000');
SELECT pg_sleep(1.1) \gset gone_
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.attribute(c.id, :'club_click') r WHERE c.brand_id = :'brand' AND c.order_ref = 'T-2';
SELECT outcome FROM postback.receive(:'token', 'order=T-2&status=approved');
SELECT postback.roll_up() IS NOT NULL AS rolled_up;
SELECT sum(pending) AS pending FROM postback.daily WHERE brand_id = :'brand' AND offer_id IS NULL AND day > '2026-03-01';
SELECT offer, publisher, pending, approved, payout FROM postback.report_daily WHERE brand_id = :'brand' AND day > '2026-03-01' ORDER BY offer;
SELECT * FROM postback.audit_daily('2026-01-01');
SELECT pg_sleep(1.1) \gset gone_
SELECT postback.roll_up() IS NOT NULL AS rolled_up;
SELECT sum(pending) AS pending FROM postback.daily WHERE brand_id = :'brand' AND offer_id IS NULL AND day > '2026-03-01';
SELECT offer, publisher, pending, approved, payout FROM postback.report_daily WHERE brand_id = :'brand' AND day > '2026-03-01' ORDER BY offer;
SELECT * FROM postback.audit_daily('2026-01-01');

-- today: a visitor counts once, whether rolled up between or not; test orders do not count
CREATE FUNCTION pg_temp.today(brand postback.ulid) RETURNS TABLE (clicks numeric, unique_clicks numeric, conversions numeric, payout numeric) LANGUAGE sql AS $$
    SELECT sum(r.clicks), sum(r.unique_clicks), sum(r.conversions), sum(r.payout) FROM postback.report_daily r WHERE r.brand_id = $1 AND r.day > '2026-03-01'
$$;
SELECT code FROM postback.create_link(:'mise', :'blog') \gset
SELECT click_id AS yen_click FROM postback.click(:'code', remote => '192.0.2.1', user_agent => 'A') \gset
SELECT outcome FROM postback.click(:'code', remote => '192.0.2.1', user_agent => 'A');
SELECT outcome FROM postback.receive(:'yen_token', 'order=Y-1&value=500&click_id=' || :'yen_click');
SELECT outcome FROM postback.receive(:'yen_token', 'order=TEST-Y&value=500&click_id=' || :'yen_click');
SELECT outcome FROM postback.receive(:'yen_token', 'order=Y-2&value=500&click_id=clk_00000000000000000000000000');
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.attribute(c.id, :'yen_click') r WHERE c.brand_id = :'yen_brand' AND c.order_ref = 'Y-2';
SELECT * FROM pg_temp.today(:'yen_brand');
SELECT pg_sleep(1.1) \gset gone_
SELECT postback.roll_up() IS NOT NULL AS rolled_up;
SELECT * FROM pg_temp.today(:'yen_brand');
SELECT outcome FROM postback.click(:'code', remote => '192.0.2.1', user_agent => 'A');
SELECT outcome FROM postback.click(:'code', remote => '192.0.2.1', user_agent => 'B');
SELECT outcome FROM postback.click(:'code');
SELECT * FROM pg_temp.today(:'yen_brand');
SELECT pg_sleep(1.1) \gset gone_
SELECT postback.roll_up() IS NOT NULL AS rolled_up;
SELECT * FROM pg_temp.today(:'yen_brand');
SELECT count(*) FROM postback.daily_tail() t WHERE t.brand_id = :'yen_brand';
SELECT * FROM postback.audit_daily('2026-01-01');
-- it is not run where it could not see everything
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT postback.roll_up();
ROLLBACK;

-- the other levels add up: by brand, by offer, by publisher over all brands of a currency
SELECT to_char(day, 'DD Mon') AS day, clicks, unique_clicks, conversions, pending, approved, rejected, cr, epc, payout, approved_payout, revenue, margin, currency
FROM postback.report_daily_brands WHERE brand = 'Reported' AND day < '2026-03-01' ORDER BY 1;
SELECT to_char(day, 'DD Mon') AS day, offer, clicks, conversions, cr, payout
FROM postback.report_daily_offers WHERE brand = 'Reported' AND day < '2026-03-01' ORDER BY 1, 2;
SELECT to_char(day, 'DD Mon') AS day, publisher, clicks, unique_clicks, conversions, cr, payout, currency
FROM postback.report_daily_publishers WHERE publisher LIKE 'Reported%' AND day < '2026-03-01' ORDER BY 1, 2;
SELECT publisher, currency, clicks, unique_clicks, conversions, payout
FROM postback.report_daily_publishers WHERE publisher = 'Reported blog' AND day > '2026-03-01';

-- who may see a brand sees its figures, who may see a publisher sees that publisher's
CREATE ROLE regress_reported_brand IN ROLE postback_reader;
CREATE ROLE regress_reported_publisher IN ROLE postback_reader;
INSERT INTO postback.reader_scope (role, brand_id) VALUES ('regress_reported_brand', :'brand');
INSERT INTO postback.reader_scope (role, publisher_id) VALUES ('regress_reported_publisher', :'forum');
SELECT count(postback.create_link(o, p)) AS links FROM (VALUES (:'shop', :'blog'), (:'shop', :'forum'), (:'club', :'forum')) AS k (o, p);
SELECT outcome FROM postback.receive(:'token', 'order=U-1&value=100&click_id=clk_00000000000000000000000000');
SELECT pg_sleep(1.1) \gset gone_
SELECT postback.roll_up() IS NOT NULL AS rolled_up;
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.attribute(c.id, :'forum_click') r WHERE c.brand_id = :'brand' AND c.order_ref = 'U-1';
SET ROLE regress_reported_brand;
SELECT brand, offer, publisher, sum(clicks) AS clicks, sum(conversions) AS conversions, sum(payout) AS payout FROM postback.report_daily GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
RESET ROLE;
SET ROLE regress_reported_publisher;
SELECT brand, offer, publisher, sum(clicks) AS clicks, sum(conversions) AS conversions, sum(payout) AS payout FROM postback.report_daily GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT "order" FROM postback.report_conversions ORDER BY 1;
SELECT postback.roll_up();
RESET ROLE;
DELETE FROM postback.reader_scope WHERE role ~ '^regress_reported';
DROP ROLE regress_reported_brand, regress_reported_publisher;

-- conversions with names, in full units
SELECT "order", offer, publisher, status, value, currency, payout, revenue, margin, payout_currency, since_click, approves_at IS NOT NULL AS approves, reason
FROM postback.report_conversions WHERE brand = 'Reported' AND created_at < '2026-03-01' ORDER BY id;
SELECT "order", status, value, currency, payout, test FROM postback.report_conversions WHERE brand_id = :'yen_brand' ORDER BY "order";

-- pending ones by days left: over, within a day, within three; one without a price
SELECT outcome FROM postback.receive(:'token', 'order=P-1&value=1000&currency=MRU&click_id=' || :'late_click') \gset gone_
SELECT r.outcome FROM postback.conversion c CROSS JOIN LATERAL postback.attribute(c.id, :'late_click') r WHERE c.brand_id = :'brand' AND c.order_ref = 'P-1';
UPDATE postback.conversion SET hold_until = now() + CASE order_ref WHEN 'D-2' THEN interval '-1 hour' WHEN 'D-4' THEN interval '23 hours'
                                                                    WHEN 'D-5' THEN interval '24 hours' ELSE interval '49 hours' END
WHERE brand_id = :'brand' AND status = 'pending' \gset gone_
SELECT brand, days_left, conversions, unpriced, payout, revenue, margin, currency FROM postback.report_pending WHERE brand_id = :'brand' ORDER BY days_left;

-- why, per month; reasons differ not by case
SELECT r.outcome, count(*)
FROM (VALUES ('D-2', 'Fraud'), ('D-4', 'fraud'), ('D-5', 'returned'), ('T-1', '')) AS k (o, reason)
CROSS JOIN LATERAL postback.receive(:'token', format('order=%s&status=reversed&reason=%s', k.o, k.reason)) r GROUP BY 1;
SELECT month > '2026-03-01' AS this_month, rank, reason, conversions, share, payout, revenue, currency
FROM postback.report_rejections WHERE brand_id = :'brand' ORDER BY month, rank;

SELECT * FROM postback.audit_daily('2026-01-01');
SELECT * FROM postback.audit();
