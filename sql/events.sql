-- Events, and callbacks of type event and click: what is recorded, who is told, and what the macros say.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

SELECT postback.create_brand('Events', 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(:'brand') \gset
SELECT postback.create_offer(:'brand', 'Game', 'https://game.example/') AS offer \gset
SELECT postback.create_offer(:'brand', 'Other game', 'https://game.example/') AS other_offer \gset
SELECT postback.create_publisher('Events blog') AS publisher \gset
SELECT postback.create_publisher('Events forum') AS forum \gset
SELECT code FROM postback.create_link(:'offer', :'publisher') \gset
SELECT code AS other_code FROM postback.create_link(:'other_offer', :'forum') \gset

-- An event has no money and no status; it needs no order.
SELECT click_id AS click FROM postback.click(:'code', 'sub_id=news&external_transaction_id=ext-1&sub2=two') \gset
SELECT http_status, result, event_id IS NOT NULL AS event, conversion_id, attribution FROM postback.receive(:'token', 'event=install&click_id=clk_' || :'click');
SELECT name, order_ref, offer_id = :'offer' AS offer, publisher_id = :'publisher' AS publisher, click_id = :'click' AS click, attribution, sub_id, test FROM postback.event WHERE brand_id = :'brand';
SELECT count(*) AS deliveries FROM postback.delivery WHERE brand_id = :'brand';

-- Callbacks of type event: scope, name of the event (their goal, without case), test; statuses and reasons are of conversions only.
SELECT postback.create_callback('any', 'https://pub.example/any', type => 'event', brand => :'brand',
    params => '{"event": "{event}", "click": "{click_id}", "ext": "{external_id}", "sub": "{sub_id}", "sub2": "{sub2}", "order": "{order_id}", "offer": "{offer_name}", "notice": "{notice}", "test": "{test}",
                "seq": "{seq}", "none": "{payout}{revenue}{status}{conversion_id}{currency}{goal}{sale_amount}"}') AS any_event,
       postback.create_callback('of the offer', 'https://pub.example/offer?e={event}', type => 'event', offer => :'offer') AS of_offer,
       postback.create_callback('of the other offer', 'https://pub.example/other?e={event}', type => 'event', offer => :'other_offer') AS of_other,
       postback.create_callback('of the forum', 'https://pub.example/forum?e={event}', type => 'event', publisher => :'forum') AS of_forum,
       postback.create_callback('level 10', 'https://pub.example/level?e={event}', type => 'event', publisher => :'publisher', goal => 'Level-10') AS level,
       postback.create_callback('with tests', 'https://pub.example/tests?e={event}', type => 'event', brand => :'brand', include_test => true) AS with_tests,
       postback.create_callback('rejected', 'https://pub.example/rejected?e={event}', type => 'event', brand => :'brand', statuses => '{rejected}', reasons => '{fraud}') AS rejected,
       postback.create_callback('late', 'https://pub.example/late?e={event}', type => 'event', brand => :'brand', delay => '5 minutes') AS late,
       postback.create_callback('disabled', 'https://pub.example/disabled?e={event}', type => 'event', brand => :'brand') AS disabled,
       postback.create_callback('conversions', 'https://pub.example/conversion?e={event}', brand => :'brand', statuses => '{any}', include_test => true) AS conversions,
       postback.create_callback('clicks', 'https://pub.example/click', type => 'click', offer => :'other_offer') AS clicks \gset
UPDATE postback.callback SET enabled = false WHERE id = :'disabled';
CREATE FUNCTION pg_temp.told(after postback.ulid) RETURNS TABLE (callback text, url text, state text, queued boolean) LANGUAGE sql AS $$
    SELECT k.name, regexp_replace(regexp_replace(d.url, '^https://pub.example', ''), 'clk_\w{26}', 'CLICK'), d.state, q.delivery_id IS NOT NULL
    FROM postback.delivery d JOIN postback.callback k ON k.id = d.callback_id LEFT JOIN postback.delivery_due q ON q.delivery_id = d.id
    WHERE d.id > told.after ORDER BY k.name, d.id
$$;
SELECT postback.new_ulid() AS before \gset
SELECT result FROM postback.receive(:'token', 'event=Signed+up&order=U-1&notice=a%26b&click_id=' || :'click');
SELECT * FROM pg_temp.told(:'before');
SELECT DISTINCT d.conversion_id, d.event_id = e.id AS event, d.click_id = :'click' AS click, d.goal, d.status, d.payout, d.seq, q.conversion_id AS queue_conversion
FROM postback.delivery d JOIN postback.event e ON e.id = d.event_id JOIN postback.delivery_due q ON q.delivery_id = d.id WHERE d.id > :'before' AND e.name = 'signed up';
SELECT postback.new_ulid() AS before \gset
SELECT result FROM postback.receive(:'token', 'event=level-10&click_id=' || :'click');
SELECT callback FROM pg_temp.told(:'before');
-- of another publisher and offer
SELECT click_id AS other_click FROM postback.click(:'other_code') \gset
SELECT postback.new_ulid() AS before \gset
SELECT result FROM postback.receive(:'token', 'event=level-10&click_id=' || :'other_click');
SELECT callback FROM pg_temp.told(:'before');
-- a test, by its order
SELECT postback.new_ulid() AS before \gset
SELECT result FROM postback.receive(:'token', 'event=install&order=TEST-1&click_id=' || :'click');
SELECT callback FROM pg_temp.told(:'before');
-- nobody's: nobody is told
SELECT postback.new_ulid() AS before \gset
SELECT result, warning FROM postback.receive(:'token', 'event=install&order=U-2&click_id=nonsense');
SELECT callback FROM pg_temp.told(:'before');
-- a conversion does not fire them
SELECT postback.new_ulid() AS before \gset
SELECT result FROM postback.receive(:'token', 'order=U-3&value=100&click_id=' || :'click');
SELECT callback FROM pg_temp.told(:'before');
-- many in one batch: each its own, all with the number 1
SELECT postback.new_ulid() AS before \gset
SELECT array_agg(DISTINCT result) FROM postback.receive_batch('{1,2,3}', ARRAY[:'token', :'token', :'token'], '{GET,GET,GET}',
    ARRAY['event=install&click_id=' || :'click', 'event=install&click_id=' || :'click', 'event=level-10&click_id=' || :'click'], '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}');
SELECT k.name, count(*), min(d.seq), max(d.seq), count(DISTINCT d.event_id) FROM postback.delivery d JOIN postback.callback k ON k.id = d.callback_id WHERE d.id > :'before' GROUP BY k.name ORDER BY k.name;

-- With an order an event is recorded once: the repeat is answered with its id, in one statement for the whole batch, and tells nobody.
SELECT event_id AS recorded FROM postback.receive(:'token', 'event=purchase&order=U-9&click_id=' || :'click') \gset
SELECT postback.new_ulid() AS before \gset
SELECT result, event_id = :'recorded' AS same, http_status, attribution, (body::jsonb ->> 'event_id')::postback.ulid = :'recorded' AS in_the_answer FROM postback.receive(:'token', 'event_name=PURCHASE&order_id=U-9');
SELECT r.item, r.result, r.event_id = :'recorded' AS of_before, r.event_id = first_value(r.event_id) OVER (ORDER BY r.item) AS as_the_first
FROM postback.receive_batch('{1,2,3,4,5}', ARRAY[:'token', :'token', :'token', :'token', :'token'], '{GET,GET,GET,GET,GET}',
    '{event=refund&order=U-9,event=purchase&order=U-9,event=Refund&order=U-9,event=refund,event=refund}', '{NULL,NULL,NULL,NULL,NULL}', '{NULL,NULL,NULL,NULL,NULL}', '{NULL,NULL,NULL,NULL,NULL}') r ORDER BY r.item;
SELECT count(*), count(DISTINCT event_id) FROM postback.receipt WHERE brand_id = :'brand' AND order_ref = 'U-9';
SELECT k.name, count(*) FROM postback.delivery d JOIN postback.callback k ON k.id = d.callback_id WHERE d.id > :'before' AND d.event_id = :'recorded' GROUP BY 1;

-- Callbacks of type click: in the transaction of the click, with its details where the brand keeps them.
SELECT postback.create_callback('every click', 'https://pub.example/click?c={transaction_id}&e={external_transaction_id}&s={sub_id}&s3={sub3}&o={offer_name}&ip={ip}&ua={user_agent}&k={country|none}&event={event}&seq={seq}&goal={goal}',
    type => 'click', publisher => :'publisher', goal => 'ignored') AS every_click \gset
SELECT postback.new_ulid() AS before \gset
SELECT outcome FROM postback.click(:'code', 'sub_id=a%20b&external_id=x%26y&sub3=z', '192.0.2.1', 'Browser/1');
SELECT * FROM pg_temp.told(:'before');
SELECT d.conversion_id, d.event_id, d.click_id = c.id AS click, d.goal, d.status, d.payout, d.currency, d.test FROM postback.delivery d JOIN postback.click c ON c.id = d.click_id AND c.sub_id = 'a b' WHERE d.id > :'before';
UPDATE postback.brand SET keep_click_details = true WHERE id = :'brand';
SELECT postback.new_ulid() AS before \gset
SELECT outcome FROM postback.click(:'code', NULL, '192.0.2.1', 'Browser/1', NULL, 'SE');
SELECT url FROM pg_temp.told(:'before');
-- not for what is not recorded, and each of a batch once
SELECT postback.new_ulid() AS before \gset
SELECT r.item, r.outcome FROM postback.click_batch('{1,2,3,4,5}', ARRAY[:'code', :'code', :'other_code', :'code', 'aaaaaaaa-unknown'], '{sub_id=1,sub_id=2,sub_id=3,sub_id=4,NULL}', '{NULL,NULL,NULL,NULL,NULL}',
    counted => '{true,true,true,false,true}') r ORDER BY r.item;
SELECT k.name, c.sub_id, d.seq FROM postback.delivery d JOIN postback.callback k ON k.id = d.callback_id JOIN postback.click c ON c.id = d.click_id WHERE d.id > :'before' ORDER BY c.sub_id;

-- They go through the queue like all others.
UPDATE postback.delivery_due SET due_at = 'infinity' WHERE delivery_id <= :'before';
SELECT attempt, method, regexp_replace(url, 'clk_\w{26}', 'CLICK') AS url FROM postback.claim('events', 10) ORDER BY url;
SELECT postback.settle('events', ARRAY(SELECT delivery_id FROM postback.delivery_due WHERE sender = 'events' ORDER BY delivery_id), ARRAY(SELECT attempt_id FROM postback.delivery_due WHERE sender = 'events' ORDER BY delivery_id), '{response,response,response}', '{200,200,200}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{1,1,1}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}');
SELECT DISTINCT state, attempts, http_code FROM postback.deliveries WHERE id > :'before';
SELECT * FROM postback.audit();

-- A repeat is no conflict in a transaction that sees one moment only, whether the event is its own or was there before.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome FROM postback.receive(:'token', 'event=moment&order=one');
SELECT outcome FROM postback.receive(:'token', 'event=moment&order=one');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome FROM postback.receive(:'token', 'event=moment&order=one');
COMMIT;
SELECT count(*) FROM postback.event WHERE brand_id = :'brand' AND name = 'moment';
