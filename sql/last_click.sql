-- The last click, narrowed or not: what is chosen among thousands of clicks against the rule, written as one plain query.
-- Windows and ages are of the offer, else of the brand; more than the newest few hundred clicks have to be looked at in many cases.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

SELECT postback.create_brand('Last click', 'EUR') AS brand, postback.create_brand('Another of last click', 'EUR') AS another \gset
UPDATE postback.brand SET attribution_window = '30 days', min_click_age = '10 minutes' WHERE id = :'brand';
SELECT token FROM postback.issue_token(brand => :'brand', label => 'shop') \gset
CREATE TEMP TABLE offer (no int, id postback.ulid);
INSERT INTO offer SELECT n, postback.create_offer(CASE WHEN n < 5 THEN :'brand' ELSE :'another' END, 'Last click ' || n, 'https://shop.example/') FROM generate_series(1, 5) n;
-- one as the brand has it, one with a short window, one whose clicks must be old, one with a window longer than the brand's
UPDATE postback.offer o SET attribution_window = k.attribution_window, min_click_age = k.min_click_age
FROM (VALUES (2, interval '1 day', NULL::interval), (3, NULL, '3 days'), (4, '60 days', '0 s')) AS k (no, attribution_window, min_click_age), offer t
WHERE t.no = k.no AND o.id = t.id;
CREATE TEMP TABLE publisher AS SELECT n AS no, postback.create_publisher('Last click ' || n) AS id FROM generate_series(1, 4) n;
-- the fourth publisher has links, and clicks only long ago
SELECT count(postback.create_link(o.id, p.id)) AS links FROM offer o, publisher p;

-- 6,000 clicks of 70 days, three of four in the last five; offers 1 and 5 have most
SELECT setseed(0.28);
INSERT INTO postback.click (id, brand_id, offer_id, publisher_id, link_code)
SELECT postback.uuid_to_ulid(overlay(postback.ulid_to_uuid(postback.ulid_floor(now() - k.age))::text placing lpad(to_hex(n), 12, '0') from 25)::uuid),
       CASE WHEN o.no < 5 THEN :'brand' ELSE :'another' END::postback.ulid, o.id, p.id, l.code
FROM (SELECT n, CASE WHEN n % 4 = 0 THEN random() * interval '70 days' ELSE random() * interval '5 days' END AS age, random() AS r, random() AS s
      FROM generate_series(1, 6000) n) k
JOIN offer o ON o.no = CASE WHEN k.r < 0.5 THEN 1 WHEN k.r < 0.6 THEN 2 WHEN k.r < 0.65 THEN 3 WHEN k.r < 0.66 THEN 4 ELSE 5 END
JOIN publisher p ON p.no = CASE WHEN k.age > interval '12 days' AND k.s < 0.3 THEN 4 WHEN k.s < 0.98 THEN 1 WHEN k.s < 0.995 THEN 2 ELSE 3 END
JOIN postback.link l ON l.offer_id = o.id AND l.publisher_id = p.id;
SELECT count(*) FROM postback.click WHERE brand_id IN (:'brand', :'another');

CREATE FUNCTION pg_temp.by_the_rule(brand postback.ulid, offer postback.ulid, publisher postback.ulid, at timestamptz) RETURNS postback.ulid LANGUAGE sql AS $$
    SELECT c.id FROM postback.click c JOIN postback.offer o ON o.id = c.offer_id JOIN postback.brand b ON b.id = c.brand_id
    WHERE c.brand_id = brand AND (offer IS NULL OR c.offer_id = offer) AND (publisher IS NULL OR c.publisher_id = publisher)
      AND postback.ulid_time(c.id) >= date_trunc('milliseconds', at - coalesce(o.attribution_window, b.attribution_window))
      AND postback.ulid_time(c.id) <= at - coalesce(o.min_click_age, b.min_click_age)
    ORDER BY c.id DESC LIMIT 1
$$;
-- Each way to narrow.
CREATE TEMP TABLE tried AS
SELECT row_number() OVER () AS n, o.no AS offer_no, o.id AS offer, p.no AS publisher_no, p.id AS publisher
FROM (SELECT * FROM offer UNION ALL SELECT NULL, NULL) o, (SELECT * FROM publisher UNION ALL SELECT NULL, NULL) p;
CREATE FUNCTION pg_temp.differences(brand postback.ulid, token text) RETURNS TABLE (offer_no int, publisher_no int, chosen boolean, expected boolean) LANGUAGE plpgsql AS $$
DECLARE
    t record;
    got postback.ulid;
    want postback.ulid;
BEGIN
    FOR t IN SELECT * FROM tried ORDER BY n LOOP
        want := pg_temp.by_the_rule(brand, t.offer, t.publisher, now());
        PERFORM postback.receive(token, format('order=L-%s&value=1000', t.n) || coalesce('&offer_id=' || t.offer, '') || coalesce('&publisher_id=' || t.publisher, ''));
        SELECT c.click_id INTO got FROM postback.conversion c WHERE c.brand_id = brand AND c.order_ref = 'L-' || t.n;
        IF got IS DISTINCT FROM want THEN
            offer_no := t.offer_no;
            publisher_no := t.publisher_no;
            chosen := got IS NOT NULL;
            expected := want IS NOT NULL;
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
BEGIN; -- one now for all
SELECT * FROM pg_temp.differences(:'brand', :'token');
-- what was tried: found among the newest, found further back, not found
SELECT CASE WHEN c.click_id IS NULL THEN 'none'
            WHEN c.click_id >= (SELECT k.id FROM postback.click k WHERE k.brand_id = :'brand' AND k.id < postback.ulid_floor(now()) ORDER BY k.id DESC OFFSET 300 LIMIT 1)
            THEN 'among the newest' ELSE 'further back' END AS found, count(*) >= 5 AS several
FROM postback.conversion c WHERE c.brand_id = :'brand' GROUP BY 1 ORDER BY 1;
ROLLBACK;
-- an id that is nobody's, or no id
SELECT q, r.outcome, r.attribution
FROM unnest('{order=L-a&value=1&offer_id=00000000000000000000000001,order=L-b&value=1&publisher_id=nobody,order=L-c&value=1&offer_id=17}'::text[]) q
CROSS JOIN LATERAL postback.receive(:'token', q) r;

-- an address is that of a visitor up to a thousand clicks
UPDATE postback.brand SET min_click_age = '0 s' WHERE id = :'brand';
SELECT code FROM postback.link l JOIN offer o ON o.id = l.offer_id AND o.no = 1 JOIN publisher p ON p.id = l.publisher_id AND p.no = 2 \gset
SELECT click_id AS first_click FROM postback.click(:'code', remote => '192.0.2.9', user_agent => 'A') \gset
SELECT pg_sleep(0.01) \gset gone_
INSERT INTO postback.click (brand_id, offer_id, publisher_id, link_code, address_hash, agent_hash, visitor_hash, is_unique)
SELECT c.brand_id, c.offer_id, c.publisher_id, c.link_code, c.address_hash, c.agent_hash, c.visitor_hash & -4294967296 | n, false
FROM postback.click c, generate_series(1, 999) n WHERE c.id = :'first_click';
SELECT pg_sleep(0.01) \gset gone_
SELECT attribution FROM postback.receive(:'token', 'order=L-thousand&value=1&ip=192.0.2.9');
SELECT c.click_id = (SELECT max(k.id) FROM postback.click k WHERE k.brand_id = :'brand') AS the_newest
FROM postback.conversion c WHERE c.brand_id = :'brand' AND c.order_ref = 'L-thousand';
SELECT outcome FROM postback.click(:'code', remote => '192.0.2.9', user_agent => 'B');
SELECT pg_sleep(0.01) \gset gone_
SELECT attribution FROM postback.receive(:'token', 'order=L-more&value=1&ip=192.0.2.9');
SELECT * FROM postback.audit();
