-- Presentable views. They run with the reader's own rights, so row-level security holds in them (80-roles.sql).

CREATE VIEW postback.conversions WITH (security_invoker = true) AS
    SELECT c.id, c.brand_id, b.name AS brand, c.offer_id, o.name AS offer, c.publisher_id, p.name AS publisher,
           c.order_ref, c.goal, c.status, CASE c.status WHEN 'reversed' THEN 'rejected' ELSE c.status END AS public_status,
           c.test, c.attribution, c.click_id, c.value, c.currency, c.commission AS payout, c.fee,
           c.commission + c.fee AS revenue, c.commission_currency AS payout_currency, c.hold_until,
           c.external_transaction_id, c.sub_id, c.promo_code, c.reason, c.notice, c.created_at, c.updated_at
    FROM postback.conversion c
    LEFT JOIN postback.brand b ON b.id = c.brand_id
    LEFT JOIN postback.offer o ON o.id = c.offer_id
    LEFT JOIN postback.publisher p ON p.id = c.publisher_id;
COMMENT ON VIEW postback.conversions IS
    'Conversions with names; public_status is what the outside is told (reversed is rejected). Amounts in minor units';
COMMENT ON COLUMN postback.conversions.payout IS 'Commission, minor units of payout_currency; null: unpriced';
COMMENT ON COLUMN postback.conversions.revenue IS 'Commission and fee: what the brand is charged, minor units of payout_currency';

CREATE VIEW postback.deliveries WITH (security_invoker = true) AS
    SELECT d.id, d.callback_id, k.name AS callback, d.method, d.url AS postback_url, d.conversion_id,
           d.publisher_id, p.name AS publisher, d.offer_id, o.name AS offer, d.brand_id, d.goal, d.status,
           d.payout, d.revenue, d.currency, d.notice, d.http_code, d.error, coalesce(d.sent_at, postback.ulid_time(d.id)) AS date,
           d.state, d.attempts, d.due_at, d.seq, d.test
    FROM postback.delivery d
    LEFT JOIN postback.callback k ON k.id = d.callback_id
    LEFT JOIN postback.offer o ON o.id = d.offer_id
    LEFT JOIN postback.publisher p ON p.id = d.publisher_id;
COMMENT ON VIEW postback.deliveries IS 'The log of outbound postbacks: each with what came of it last. Amounts in minor units';
COMMENT ON COLUMN postback.deliveries.date IS 'When it was last sent; if it was not yet, when it was decided on';
COMMENT ON COLUMN postback.deliveries.due_at IS 'When it is or was to be sent, or sent again';

CREATE VIEW postback.attempts WITH (security_invoker = true) AS
    SELECT a.id, a.delivery_id, a.number, a.callback_id, k.name AS callback, d.method, d.url AS postback_url, d.conversion_id,
           d.publisher_id, p.name AS publisher, d.offer_id, o.name AS offer, a.brand_id, d.goal, d.status,
           d.payout, d.revenue, d.currency, d.notice, a.http_code, a.error, postback.ulid_time(a.id) AS date,
           a.outcome, a.milliseconds, a.address, a.sender, a.response
    FROM postback.attempt a
    LEFT JOIN postback.delivery d ON d.id = a.delivery_id
    LEFT JOIN postback.callback k ON k.id = a.callback_id
    LEFT JOIN postback.offer o ON o.id = d.offer_id
    LEFT JOIN postback.publisher p ON p.id = d.publisher_id;
COMMENT ON VIEW postback.attempts IS 'The log of outbound postbacks, try by try';
COMMENT ON COLUMN postback.attempts.date IS 'When the attempt was claimed';
COMMENT ON COLUMN postback.attempts.response IS 'The first 2 KB of the answer';

CREATE VIEW postback.publisher_payable WITH (security_invoker = true) AS
    SELECT m.publisher_id, p.name AS publisher, m.currency, sum(m.amount)::bigint AS payable
    FROM postback.balance m
    LEFT JOIN postback.publisher p ON p.id = m.publisher_id
    WHERE m.account = 'payable'
    GROUP BY m.publisher_id, p.name, m.currency;
COMMENT ON VIEW postback.publisher_payable IS
    'What each publisher is owed now over all brands, per currency, in minor units; negative after claw-backs';

ALTER VIEW postback.balances SET (security_invoker = true);
