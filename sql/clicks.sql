-- Clicks: what is recorded, where the visitor goes, and which click an order goes to.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

SELECT postback.create_brand('Clicks', 'EUR') AS brand \gset
SELECT key AS key FROM postback.brand WHERE id = :'brand' \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_publisher('Clicks blog') AS publisher \gset
SELECT postback.set_terms(:'offer', percent => 10) AS terms \gset
SELECT code FROM postback.create_link(:'offer', :'publisher') \gset

-- where the visitor goes: the click id stands where {click_id} is, else it is added to the query
SELECT r.http_status, r.outcome, r.item, r.location = 'https://shop.example/?click_id=clk_' || r.click_id AS location,
       r.cookie = 'postback_click_' || :'key' || '=clk_' || r.click_id || '; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax' AS cookie_of_30_days,
       postback.ulid_time(r.click_id) BETWEEN now() - interval '1 minute' AND now() + interval '1 minute' AS of_now
FROM postback.click(:'code') r;
CREATE TEMP TABLE landing (url text, want text);
INSERT INTO landing VALUES
    ('https://shop.example',                          'https://shop.example?click_id=ID'),
    ('https://shop.example/a',                        'https://shop.example/a?click_id=ID'),
    ('https://shop.example/a?',                       'https://shop.example/a?click_id=ID'),
    ('https://shop.example/a?b=c',                    'https://shop.example/a?b=c&click_id=ID'),
    ('https://shop.example/a?b=c&',                   'https://shop.example/a?b=c&click_id=ID'),
    ('https://shop.example/a#top',                    'https://shop.example/a?click_id=ID#top'),
    ('https://shop.example/a?b=c#top',                'https://shop.example/a?b=c&click_id=ID#top'),
    ('https://shop.example/#/route?b=c',              'https://shop.example/?click_id=ID#/route?b=c'),
    ('https://shop.example/a?b=%7Bclick_id%7D',       'https://shop.example/a?b=%7Bclick_id%7D&click_id=ID'),
    ('https://shop.example/a?x={click_id}',           'https://shop.example/a?x=ID'),
    ('https://shop.example/{click_id}/a?b=c#top',     'https://shop.example/ID/a?b=c#top'),
    ('https://shop.example/a?x={click_id}&y={click_id}&z', 'https://shop.example/a?x=ID&y=ID&z'),
    ('https://shop.example/a|b?t={title}&q=<a>^`',    'https://shop.example/a%7Cb?t=%7Btitle%7D&q=%3Ca%3E%5E%60&click_id=ID'),
    ('https://shop.example/%7Eme?off=50%&x=%4&y=%zz&z=%', 'https://shop.example/%7Eme?off=50%25&x=%254&y=%25zz&z=%25&click_id=ID');
SELECT l.url, l.want, replace(r.location, 'clk_' || r.click_id, 'ID') AS got
FROM landing l
CROSS JOIN LATERAL postback.create_offer(:'brand', 'Landing', l.url) o (id)
CROSS JOIN LATERAL postback.create_link(o.id, :'publisher') k
CROSS JOIN LATERAL postback.click(k.code) r
WHERE replace(r.location, 'clk_' || r.click_id, 'ID') IS DISTINCT FROM l.want;

-- one header field must hold the address
SELECT postback.create_offer(:'brand', 'Long', rpad('https://shop.example/', 4097, 'x'));
SELECT postback.create_brand('Long', 'EUR', fallback_url => rpad('https://shop.example/', 4097, 'x'));
SELECT outcome, octet_length(location) FROM postback.create_offer(:'brand', 'Long', rpad('https://shop.example/', 4096, 'x')) o (id)
CROSS JOIN LATERAL postback.create_link(o.id, :'publisher') k CROSS JOIN LATERAL postback.click(k.code);

-- what is kept: the tracking values, whole to 1,024 bytes
CREATE FUNCTION pg_temp.kept(click_id postback.ulid) RETURNS TABLE (sub_id text, external_transaction_id text, subs text[], truncated boolean) LANGUAGE sql AS $$
    SELECT c.sub_id, c.external_transaction_id, c.subs, c.truncated FROM postback.click c WHERE c.id = kept.click_id
$$;
SELECT click_id AS click FROM postback.click(:'code', 'sub_id=news+%26%20more&external_transaction_id=ext-%C3%A9&sub1=one&sub3=three&sub10=ten&sub11=none&utm=x') \gset
SELECT * FROM pg_temp.kept(:'click');
SELECT brand_id = :'brand' AS brand, offer_id = :'offer' AS offer, publisher_id = :'publisher' AS publisher, link_code = :'code' AS link, address_hash, agent_hash
FROM postback.click WHERE id = :'click';
SELECT click_id AS click FROM postback.click(:'code', 'SubId=alias&EXTERNAL_ID=alias') \gset
SELECT * FROM pg_temp.kept(:'click');
SELECT click_id AS click FROM postback.click(:'code', 'aff_sub=alias&sub2=') \gset
SELECT * FROM pg_temp.kept(:'click');
SELECT click_id AS click FROM postback.click(:'code', 'sub_id=' || repeat('x', 1024)) \gset
SELECT octet_length(sub_id), truncated FROM pg_temp.kept(:'click');
SELECT click_id AS click FROM postback.click(:'code', 'sub_id=' || repeat('x', 1025) || '&sub1=' || repeat('%C3%A9', 513) || '&sub2=x' || repeat('%C3%A9', 600)) \gset
SELECT octet_length(sub_id) AS sub_id, octet_length(subs[1]) AS sub1, octet_length(subs[2]) AS sub2, right(subs[2], 1) AS sub2_ends_with, truncated FROM pg_temp.kept(:'click');
-- never refused for them
SELECT r.http_status, r.outcome FROM unnest(ARRAY['sub_id=%FF', 'sub_id=%00', 'sub1=%', '&&&', '=', '%FF=%FF', repeat('sub1=x&', 5000)]) AS q CROSS JOIN LATERAL postback.click(:'code', q) r;

-- personal details only where the brand wants them; keyed hashes always
SELECT click_id AS click FROM postback.click(:'code', remote => '192.0.2.1', user_agent => 'Browser/1', referrer => 'https://blog.example/', country => 'SE') \gset
SELECT count(*) AS details FROM postback.click_detail WHERE id = :'click';
UPDATE postback.brand SET keep_click_details = true WHERE id = :'brand';
SELECT click_id AS detailed FROM postback.click(:'code', remote => '192.0.2.1', user_agent => 'Browser/1', referrer => 'https://blog.example/', country => 'SE') \gset
SELECT brand_id = :'brand' AS brand, ip, user_agent, referrer, country FROM postback.click_detail WHERE id = :'detailed';
SELECT click_id AS another FROM postback.click(:'code', remote => '192.0.2.2', user_agent => 'Browser/2') \gset
SELECT a.address_hash = b.address_hash AS same_address, a.agent_hash = b.agent_hash AS same_agent,
       a.address_hash = c.address_hash AS another_address, a.agent_hash = c.agent_hash AS another_agent
FROM postback.click a, postback.click b, postback.click c WHERE a.id = :'click' AND b.id = :'detailed' AND c.id = :'another';
UPDATE postback.brand SET keep_click_details = false WHERE id = :'brand';
SELECT postback.create_brand('Clicks too', 'EUR') AS other \gset
SELECT postback.create_offer(:'other', 'Shop', 'https://shop.example/') AS other_offer \gset
SELECT code AS other_code FROM postback.create_link(:'other_offer', :'publisher') \gset
SELECT click_id AS other_click FROM postback.click(:'other_code', remote => '192.0.2.1') \gset
SELECT a.address_hash = b.address_hash AS same_for_another_brand FROM postback.click a, postback.click b WHERE a.id = :'click' AND b.id = :'other_click';

-- unique or not: by address, user agent and link, once in the brand's window
CREATE FUNCTION pg_temp.is_unique(code text, remote inet, user_agent text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    r postback.click_reply := postback.click(code, NULL, remote, user_agent);
BEGIN
    RETURN (SELECT c.is_unique FROM postback.click c WHERE c.id = r.click_id);
END
$$;
SELECT code AS third_code FROM postback.create_link(:'offer', postback.create_publisher('Clicks third')) \gset
SELECT n, pg_temp.is_unique(k.code, k.remote, k.user_agent)
FROM (VALUES (1, :'code', inet '198.51.100.1', 'Browser/1'), (2, :'code', '198.51.100.1', 'Browser/1'), (3, :'code', '198.51.100.1', 'Browser/2'),
             (4, :'code', '198.51.100.2', 'Browser/1'), (5, :'third_code', '198.51.100.1', 'Browser/1'), (6, :'code', '198.51.100.1', 'Browser/1'),
             (7, :'code', '198.51.100.1', NULL), (8, :'code', '198.51.100.1', NULL), (9, :'code', NULL, 'Browser/1'), (10, :'code', NULL, 'Browser/1'))
     AS k (n, code, remote, user_agent);
-- two in one batch, and one of before
CREATE TEMP TABLE batch AS SELECT * FROM postback.click_batch('{1,2,3,4}', ARRAY[:'code', :'code', :'third_code', :'code'], '{NULL,NULL,NULL,NULL}',
    '{203.0.113.1,203.0.113.1,203.0.113.1,198.51.100.2}', '{A,A,A,Browser/1}');
SELECT r.item, c.is_unique FROM batch r JOIN postback.click c ON c.id = r.click_id ORDER BY r.item;
-- the window is 24 hours from the last unique one, unless the brand has another
SELECT code AS fourth_code FROM postback.create_link(:'offer', postback.create_publisher('Clicks fourth')) \gset
SELECT pg_temp.is_unique(:'fourth_code', '198.51.100.1', 'A') AS first;
UPDATE postback.click SET id = postback.ulid_floor(now() - interval '23 hours 59 minutes') WHERE link_code = :'fourth_code';
SELECT pg_temp.is_unique(:'fourth_code', '198.51.100.1', 'A') AS after_a_day_less_a_minute;
UPDATE postback.click SET id = postback.ulid_floor(now() - interval '24 hours 1 minute') WHERE link_code = :'fourth_code' AND is_unique;
SELECT pg_temp.is_unique(:'fourth_code', '198.51.100.1', 'A') AS after_a_day_and_a_minute;
SELECT pg_temp.is_unique(:'fourth_code', '198.51.100.1', 'A') AS at_once;
UPDATE postback.brand SET unique_window = '0' WHERE id = :'brand';
SELECT pg_temp.is_unique(:'fourth_code', '198.51.100.1', 'A') AS without_a_window;
UPDATE postback.brand SET unique_window = DEFAULT WHERE id = :'brand';

-- a HEAD, a prefetch: to the landing page, but nothing is recorded and there is no click id
SELECT count(*) AS clicks FROM postback.click \gset
SELECT r.item, r.http_status, r.outcome, regexp_replace(r.location, 'clk_\w+', 'ID') AS location, r.cookie IS NULL AS no_cookie, r.click_id IS NULL AS no_click_id
FROM postback.create_offer(:'brand', 'Landing', 'https://shop.example/a?x={click_id}&y=1#top') o (id)
CROSS JOIN LATERAL postback.create_link(o.id, :'publisher') k
CROSS JOIN LATERAL postback.click_batch('{1,2,3,4,5}', ARRAY[k.code, :'code', k.code, k.code, :'key' || '-unknown'], '{sub_id=a,sub_id=a,sub_id=a,sub_id=a,NULL}', '{NULL,NULL,NULL,NULL,NULL}',
     counted => '{false,false,true,NULL,false}') r ORDER BY r.item;
SELECT count(*) - :clicks AS recorded FROM postback.click;
SELECT count(*) FROM postback.click_batch('{1,2}', ARRAY[:'code', :'code'], '{NULL,NULL}', '{NULL,NULL}', counted => '{true}');

-- what may not stand in a URL is percent-encoded in the address, whatever was set up by hand
UPDATE postback.offer SET landing_url = E'https://shop.example/k\u00F6p "x"?a=b c\\d%20\r\n#\u00E9' WHERE id = :'offer';
SELECT replace(r.location, 'clk_' || r.click_id, 'ID') AS location FROM postback.click(:'code') r;
SELECT r.location FROM postback.click_batch('{1}', ARRAY[:'code'], '{NULL}', '{NULL}', counted => '{false}') r;
UPDATE postback.offer SET landing_url = 'https://shop.example/' WHERE id = :'offer';

-- paused, by hand or because the money is used up: to the fallback URL, and no click
UPDATE postback.brand SET fallback_url = 'https://elsewhere.example/' WHERE id = :'brand';
CREATE FUNCTION pg_temp.paused(code text) RETURNS TABLE (http_status integer, outcome text, location text, nothing_else boolean, new_clicks bigint) LANGUAGE plpgsql AS $$
DECLARE
    before bigint := (SELECT count(*) FROM postback.click);
    r postback.click_reply := postback.click(code);
BEGIN
    RETURN QUERY SELECT r.http_status, r.outcome, split_part(r.location, '?', 1), r.cookie IS NULL AND r.click_id IS NULL, (SELECT count(*) FROM postback.click) - before;
END
$$;
SELECT * FROM pg_temp.paused(:'code');
UPDATE postback.brand SET paused = true WHERE id = :'brand';
SELECT * FROM pg_temp.paused(:'code');
UPDATE postback.brand SET paused = false WHERE id = :'brand';
UPDATE postback.offer SET paused = true WHERE id = :'offer';
SELECT * FROM pg_temp.paused(:'code');
UPDATE postback.offer SET paused = false WHERE id = :'offer';
UPDATE postback.publisher SET paused = true WHERE id = :'publisher';
SELECT * FROM pg_temp.paused(:'code');
UPDATE postback.publisher SET paused = false WHERE id = :'publisher';
SELECT * FROM pg_temp.paused(:'code');

-- unknown: to the fallback URL of the brand whose key it begins with, else to the global one, else 404
SELECT * FROM pg_temp.paused(:'key' || '-unknown');
SELECT * FROM pg_temp.paused('aaaaaaaa-unknown');
SELECT * FROM pg_temp.paused('');
SELECT * FROM pg_temp.paused(NULL);
UPDATE postback.brand SET fallback_url = NULL WHERE id = :'brand';
SELECT * FROM pg_temp.paused(:'key' || '-unknown');
SET postback.fallback_url = 'https://network.example/';
SELECT * FROM pg_temp.paused(:'key' || '-unknown');
SELECT * FROM pg_temp.paused('aaaaaaaa-unknown');
RESET postback.fallback_url;

-- many in one call
SELECT r.item, r.http_status, r.outcome, split_part(r.location, '?', 1) AS location, r.click_id IS NOT NULL AS click
FROM postback.click_batch('{7,8,9,10}', ARRAY[:'code', 'aaaaaaaa-unknown', :'other_code', :'code'], '{sub_id=a,sub_id=b,sub_id=c,NULL}', '{192.0.2.1,NULL,NULL,::1}') r
ORDER BY r.item;
SELECT sub_id, count(*) FROM postback.click WHERE link_code IN (:'code', :'other_code') AND sub_id IN ('a', 'b', 'c') GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM postback.click_batch('{1,2}', ARRAY[:'code'], '{NULL,NULL}', '{NULL,NULL}');
SELECT count(*) FROM postback.click_batch('{}', '{}', '{}', '{}');

-- Which click an order goes to that names none: the last one that is valid, of those that the order's other parameters leave.
-- One brand with two offers and two publishers; the clicks are named by their sub id.
SELECT postback.create_brand('Clicks last', 'EUR') AS last \gset
SELECT token AS last_token FROM postback.issue_token(:'last') \gset
SELECT postback.create_offer(:'last', 'Offer 1', 'https://shop.example/') AS offer1 \gset
SELECT postback.create_offer(:'last', 'Offer 2', 'https://shop.example/') AS offer2 \gset
SELECT postback.create_publisher('Clicks forum') AS forum \gset
SELECT postback.set_terms(:'offer1', percent => 10) AS terms1, postback.set_terms(:'offer2', percent => 10) AS terms2 \gset
SELECT code AS code11 FROM postback.create_link(:'offer1', :'publisher') \gset
SELECT code AS code12 FROM postback.create_link(:'offer1', :'forum') \gset
SELECT code AS code21 FROM postback.create_link(:'offer2', :'publisher') \gset
SELECT attribution FROM postback.receive(:'last_token', 'order=L-0&value=1000');
SELECT outcome FROM postback.click(:'code11', 'sub_id=first', '192.0.2.1');
SELECT outcome FROM postback.click(:'code11', 'sub_id=again', '192.0.2.1');
SELECT outcome FROM postback.click(:'code12', 'sub_id=second', '192.0.2.2');
SELECT outcome FROM postback.click(:'code21', 'sub_id=third', '2001:db8::1');
SELECT outcome FROM postback.click(:'other_code', 'sub_id=of another brand', '192.0.2.1');
CREATE FUNCTION pg_temp.goes_to(token text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r postback.reply := postback.receive(token, format('order=%s&value=1000&%s', postback.new_ulid(), query));
BEGIN
    RETURN (SELECT concat_ws(' ', c.attribution, c.sub_id, r.warning) FROM postback.conversion c WHERE c.id = r.conversion_id);
END
$$;
CREATE TEMP TABLE narrowing (n serial, query text, want text);
INSERT INTO narrowing (query, want) VALUES
    ('',                                                                   'last_click third'),
    ('offer_id=' || :'offer1',                                             'last_click second'),
    ('offer_id=' || lower(:'offer2'),                                      'last_click third'),
    ('publisher_id=' || :'publisher',                                      'last_click third'),
    ('publisher_id=' || :'forum',                                          'last_click second'),
    ('offer_id=' || :'offer1' || '&publisher_id=' || :'publisher',         'last_click again'),
    ('offer_id=' || :'offer2' || '&publisher_id=' || :'forum',             'none'),
    ('offer_id=' || :'other_offer',                                        'none'),
    ('offer_id=nonsense',                                                  'none'),
    ('publisher_id=nonsense',                                              'none'),
    ('ip=192.0.2.1',                                                       'last_click again'),
    ('ip=192.0.2.2',                                                       'last_click second'),
    ('ip=192.0.2.3',                                                       'none'),
    ('ip=2001:db8::1',                                                     'last_click third'),
    ('ip=2001:DB8:0:0::0001',                                              'last_click third'),
    ('ip=::ffff:192.0.2.2',                                                'last_click second'),
    ('ip=::FFFF:C000:0202',                                                'last_click second'),
    ('ip=192.0.2.2&offer_id=' || :'offer2',                                'none'),
    ('click_id=nonsense',                                                  'none bad_click_id'),
    ('click_id=' || :'other_click',                                        'none unknown_click_id'),
    ('offer_id=&publisher_id=&ip=&click_id=',                              'last_click third');
SELECT n.query, n.want, g.got FROM narrowing n CROSS JOIN LATERAL pg_temp.goes_to(:'last_token', n.query) g (got) WHERE g.got IS DISTINCT FROM n.want;

-- explain compares addresses however they are spelled: "first" and "again" are of this one
SELECT receipt_id AS spelling FROM postback.receive(:'last_token', 'order=SPELLING&value=1000&ip=::FFFF:192.0.2.1') \gset
SELECT c.sub_id, regexp_replace(x.outcome, 'chosen: .*', 'chosen') AS outcome FROM postback.explain(:'spelling') x
JOIN postback.click c ON x.detail LIKE 'clk_' || c.id || '%' WHERE x.step = 'last click' ORDER BY c.id;

-- windows: the brand's, an offer's own, and the least age
UPDATE postback.offer SET min_click_age = '1 hour' WHERE id = :'offer2';
SELECT pg_temp.goes_to(:'last_token', '') AS of_the_other_offer, pg_temp.goes_to(:'last_token', 'offer_id=' || :'offer2') AS too_young;
SELECT pg_temp.goes_to(:'last_token', 'click_id=' || max(c.id)) AS named_too_young FROM postback.click c WHERE c.offer_id = :'offer2';
UPDATE postback.offer SET min_click_age = NULL, attribution_window = '0' WHERE id = :'offer2';
SELECT pg_temp.goes_to(:'last_token', '') AS of_the_other_offer, pg_temp.goes_to(:'last_token', 'offer_id=' || :'offer2') AS too_old;
UPDATE postback.offer SET attribution_window = NULL WHERE id = :'offer2';
UPDATE postback.brand SET min_click_age = '1 hour' WHERE id = :'last';
SELECT pg_temp.goes_to(:'last_token', '') AS too_young;
UPDATE postback.brand SET min_click_age = '0', attribution_window = '0' WHERE id = :'last';
SELECT pg_temp.goes_to(:'last_token', '') AS too_old;
UPDATE postback.brand SET attribution_window = '30 days' WHERE id = :'last';
-- only within the window: 30 days back, less a minute and more by a minute; an offer's own window may be the longer one
SELECT postback.create_brand('Clicks window', 'EUR') AS aged \gset
SELECT token AS aged_token FROM postback.issue_token(:'aged') \gset
SELECT postback.create_offer(:'aged', 'Shop', 'https://shop.example/') AS aged_offer \gset
SELECT postback.ulid_floor(now() - interval '30 days 1 minute') AS too_old, postback.ulid_floor(now() - interval '29 days 23 hours 59 minutes') AS old \gset
INSERT INTO postback.click (id, brand_id, offer_id, publisher_id, sub_id) VALUES (:'too_old', :'aged', :'aged_offer', :'publisher', 'too old');
SELECT pg_temp.goes_to(:'aged_token', '') AS none, pg_temp.goes_to(:'aged_token', 'click_id=' || :'too_old') AS named;
UPDATE postback.offer SET attribution_window = '31 days' WHERE id = :'aged_offer';
SELECT pg_temp.goes_to(:'aged_token', 'click_id=' || :'too_old') AS named, pg_temp.goes_to(:'aged_token', '') AS last;
UPDATE postback.offer SET attribution_window = NULL WHERE id = :'aged_offer';
INSERT INTO postback.click (id, brand_id, offer_id, publisher_id, sub_id) VALUES (:'old', :'aged', :'aged_offer', :'publisher', 'old');
SELECT pg_temp.goes_to(:'aged_token', '') AS last;

-- a promo code comes before the last click, a click id before both
SELECT postback.create_promo_code(:'last', 'SUMMER', :'forum', :'offer1'), postback.create_promo_code(:'last', 'SPRING', :'forum', :'offer1', valid_to => now() - interval '1 day') \gset
SELECT click_id AS named FROM postback.click(:'code11', 'sub_id=named') \gset
SELECT pg_temp.goes_to(:'last_token', 'promo_code=summer') AS code, pg_temp.goes_to(:'last_token', 'coupon=SPRING') AS no_longer_valid,
       pg_temp.goes_to(:'last_token', 'voucher=WINTER') AS unknown, pg_temp.goes_to(:'last_token', 'promo_code=summer&click_id=' || :'named') AS click,
       pg_temp.goes_to(:'last_token', 'promo_code=summer&click_id=nonsense') AS no_guess;
SELECT publisher_id = :'forum' AS publisher, offer_id = :'offer1' AS offer, click_id, promo_code, commission
FROM postback.conversion WHERE brand_id = :'last' AND attribution = 'promo_code';

SELECT * FROM postback.audit();
