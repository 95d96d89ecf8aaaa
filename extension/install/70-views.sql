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

CREATE VIEW postback.callbacks WITH (security_invoker = true) AS
    SELECT k.id, k.name, k.type, k.publisher_id, p.name AS publisher, k.offer_id, o.name AS offer, k.brand_id, k.goal,
           k.statuses, k.reasons, k.delay, k.url, CASE k.method WHEN 'POST_FORM' THEN 'POST (form)'
                                                                WHEN 'POST_JSON' THEN 'POST (JSON)'
                                                                ELSE k.method END AS http_type,
           k.enabled, k.disabled_at, k.disabled_reason, k.created, k.updated
    FROM postback.callback k
    LEFT JOIN postback.offer o ON o.id = k.offer_id
    LEFT JOIN postback.publisher p ON p.id = k.publisher_id;
COMMENT ON VIEW postback.callbacks IS 'The configured outbound postbacks. Null publisher, offer, brand, goal or reasons: any';

CREATE FUNCTION postback.callback_figures(since interval, newest bigint)
    RETURNS TABLE (
        id postback.ulid, name text, enabled boolean, disabled_reason text, failing_since timestamptz, attempts bigint,
        success_rate numeric, streak bigint, p50_ms integer, p99_ms integer, last_error text, last_error_at timestamptz,
        last_success_at timestamptz, queued bigint, delayed bigint, oldest_due timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
    SELECT k.id, k.name, k.enabled, k.disabled_reason, k.failing_since,
           coalesce(a.attempts, 0) AS attempts, a.success_rate, coalesce(a.streak, 0) AS streak, a.p50_ms, a.p99_ms,
           a.last_error, a.last_error_at, a.last_success_at,
           coalesce(q.queued, 0) AS queued, coalesce(q.delayed, 0) AS delayed, q.oldest_due
    FROM postback.callback k
    LEFT JOIN (
        SELECT t.callback_id, count(*) AS attempts,
               round(count(*) FILTER (WHERE t.outcome = 'success')::numeric / count(*), 4) AS success_rate,
               count(*) FILTER (WHERE t.outcome <> 'success' AND (t.success_id IS NULL OR t.id > t.success_id)) AS streak,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY t.milliseconds) AS p50_ms,
               percentile_disc(0.99) WITHIN GROUP (ORDER BY t.milliseconds) AS p99_ms,
               (array_agg(coalesce(t.error, 'HTTP ' || t.http_code) ORDER BY t.id DESC)
                   FILTER (WHERE t.outcome <> 'success'))[1] AS last_error,
               postback.ulid_time(max(t.id) FILTER (WHERE t.outcome <> 'success')) AS last_error_at,
               postback.ulid_time(max(t.success_id)) AS last_success_at
        FROM (SELECT x.*, max(x.id) FILTER (WHERE x.outcome = 'success') OVER (PARTITION BY x.callback_id) AS success_id
              FROM (SELECT y.* FROM postback.attempt y
                    WHERE y.id >= postback.ulid_floor(now() - since) ORDER BY y.id DESC LIMIT newest) x) t
        GROUP BY t.callback_id) a ON a.callback_id = k.id
    LEFT JOIN (
        SELECT x.callback_id, count(*) AS queued, count(*) FILTER (WHERE x.attempts = 0 AND x.due_at > now()
                                                                         AND x.leased_until IS NULL) AS delayed,
               min(x.due_at) FILTER (WHERE isfinite(x.due_at)) AS oldest_due
        FROM postback.delivery_due x
        GROUP BY x.callback_id) q ON q.callback_id = k.id;
    END;
COMMENT ON FUNCTION postback.callback_figures(interval, bigint) IS
'How each callback fares, by its attempts among the newest (null: all) of so long a time; columns as in postback.callback_health';

CREATE VIEW postback.callback_health WITH (security_invoker = true) AS
    SELECT f.* FROM postback.callback_figures('1 day', NULL) f;
COMMENT ON VIEW postback.callback_health IS
    'How each callback fares: attempts of the last day, and what stands in the queue now';
COMMENT ON COLUMN postback.callback_health.failing_since IS 'First failed attempt since the last success, however long ago';
COMMENT ON COLUMN postback.callback_health.success_rate IS '0 to 1, of the last day''s attempts; null: none was made';
COMMENT ON COLUMN postback.callback_health.streak IS 'Attempts without success in a row, up to now, of the last day';
COMMENT ON COLUMN postback.callback_health.p50_ms IS 'Half of the last day''s attempts took at most so many milliseconds';
COMMENT ON COLUMN postback.callback_health.p99_ms IS '99 of 100 of the last day''s attempts took at most so many milliseconds';
COMMENT ON COLUMN postback.callback_health.queued IS 'Deliveries that are not finished, delayed and waiting ones too';
COMMENT ON COLUMN postback.callback_health.delayed IS 'Of them those that were never tried and are due later';
COMMENT ON COLUMN postback.callback_health.oldest_due IS 'Long past: nothing sends, or the endpoint is slow. Null: nothing is due';

CREATE FUNCTION postback.callback_metrics(
    max_items integer DEFAULT 50,
    OUT callback postback.ulid, OUT name text, OUT enabled boolean, OUT attempts bigint, OUT success_ratio numeric,
    OUT p50_seconds numeric, OUT p99_seconds numeric, OUT streak bigint, OUT last_error_age numeric, OUT failing_age numeric,
    OUT queued bigint, OUT overdue numeric, OUT all_enabled bigint, OUT all_failing bigint, OUT all_disabled bigint)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off AS $$
    -- The newest attempts are read by their index, however many there are and whatever the statistics say.
    SELECT f.id, f.name, f.enabled, f.attempts, f.success_rate, round(f.p50_ms / 1000.0, 3), round(f.p99_ms / 1000.0, 3),
           f.streak, round(extract(epoch FROM now() - f.last_error_at)), round(extract(epoch FROM now() - f.failing_since)),
           f.queued, round(greatest(extract(epoch FROM now() - f.oldest_due), 0)),
           count(*) FILTER (WHERE f.enabled) OVER (),
           count(*) FILTER (WHERE f.enabled AND f.failing_since IS NOT NULL) OVER (),
           count(*) FILTER (WHERE NOT f.enabled) OVER ()
    FROM postback.callback_figures('1 hour', 100000) f
    ORDER BY (f.enabled AND f.failing_since IS NOT NULL) DESC, f.attempts + f.queued DESC, f.id
    LIMIT greatest(max_items, 1)
$$;
COMMENT ON FUNCTION postback.callback_metrics(integer) IS
'What the sender shows in /metrics: how the callbacks fare that need to be looked at, at most max_items, failing ones first, then the
busiest. Of the last hour, or of its newest 100,000 attempts if it has more. overdue: seconds since the oldest delivery fell due.
The last three columns count all callbacks';

CREATE VIEW postback.publisher_payable WITH (security_invoker = true) AS
    SELECT m.publisher_id, p.name AS publisher, m.currency, sum(m.amount)::bigint AS payable
    FROM postback.balance m
    LEFT JOIN postback.publisher p ON p.id = m.publisher_id
    WHERE m.account = 'payable'
    GROUP BY m.publisher_id, p.name, m.currency;
COMMENT ON VIEW postback.publisher_payable IS
    'What each publisher is owed now over all brands, per currency, in minor units; negative after claw-backs';

ALTER VIEW postback.balances SET (security_invoker = true);
