-- The outbound queue: what senders claim and settle.
--
-- A delivery in the queue has a row in delivery_due: in delivery_due_later until it falls due, then in delivery_due_now.  A
-- claim leases it: until the lease ends it is out of the way, then it comes back by itself, should the sender have been killed.
-- Rows change sides by DELETE and INSERT, not by UPDATE of waiting: who waits for a row finds it gone, where an UPDATE would
-- have him fail.
--
-- The planner settings of claim(), wake_deliveries() and settle() pin the one plan that is right at any size: index look-ups,
-- row by row, planned once.  Without them an empty or never analysed table would be read as a whole.  OFFSET 0 keeps a condition
-- on other rows a look-up of its own: made a join, it might read any index from end to end when the table was empty once.

-- The queue is short and turns over quickly.
ALTER TABLE postback.balance SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE FUNCTION postback.retry_delay(attempts integer) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (ARRAY[interval '5 seconds', '5 minutes', '30 minutes', '2 hours', '5 hours', '10 hours', '10 hours'])[attempts]
$$;
COMMENT ON FUNCTION postback.retry_delay(integer) IS
    'How long after that many attempts the next one is made, before jitter; null: none is made';

CREATE FUNCTION postback.is_success(success_codes text, http_code integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(http_code BETWEEN SYMMETRIC split_part(r, '-', 1)::integer
                                      AND coalesce(nullif(split_part(r, '-', 2), ''), r)::integer), false)
    FROM string_to_table(success_codes, ',') r
$$;
COMMENT ON FUNCTION postback.is_success(text, integer) IS 'Is the HTTP code among success_codes (200-299,302)?';

CREATE FUNCTION postback.endpoint_of(url text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT lower(m[2]) || ':' || coalesce(m[3], CASE lower(m[1]) WHEN 'https' THEN '443' ELSE '80' END)
    FROM regexp_match(url, '^(https?)://(\[[^]]+\]|[^/?#:]*[^/?#:.])\.?(?::(\d+))?(?:[/?#]|$)', 'i') AS m
$$;
COMMENT ON FUNCTION postback.endpoint_of(text) IS 'host:port of a URL, in lower case: what connection caps and the breaker go by';

CREATE FUNCTION postback.auth_header(auth jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE auth ->> 'type'
        WHEN 'basic' THEN 'Authorization: Basic ' || translate(encode(convert_to(
            coalesce(auth ->> 'user', '') || ':' || coalesce(auth ->> 'password', ''), 'UTF8'), 'base64'), E'\n', '')
        WHEN 'bearer' THEN 'Authorization: Bearer ' || regexp_replace(auth ->> 'token', '[^!-~]', '', 'g')
    END
$$;
COMMENT ON FUNCTION postback.auth_header(jsonb) IS 'The Authorization header of callback.auth, or null';

CREATE FUNCTION postback.wake_deliveries(at timestamptz, at_least integer) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH due AS (
        DELETE FROM postback.delivery_due_later q
        WHERE q.delivery_id = ANY (ARRAY(
            SELECT x.delivery_id
            FROM postback.delivery_due_later x
            WHERE x.due_at <= wake_deliveries.at
              -- Not while a newer one of its callback and conversion is out: settle() must find it unlocked, to supersede it.
              AND NOT EXISTS (
                  SELECT FROM postback.delivery_due_now n
                  WHERE n.conversion_id = x.conversion_id AND n.callback_id = x.callback_id
                    AND n.seq > x.seq AND n.attempt_id IS NOT NULL
                    AND EXISTS (SELECT FROM postback.callback c WHERE c.id = n.callback_id AND NOT c.every_status)
                  OFFSET 0)
            ORDER BY x.due_at
            LIMIT greatest(4096, at_least)
            FOR UPDATE SKIP LOCKED))
        RETURNING q.*
    )
    INSERT INTO postback.delivery_due_now (delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts, unanswered)
    SELECT d.delivery_id, d.callback_id, d.conversion_id, d.seq, d.endpoint, d.due_at, d.attempts, d.unanswered
    FROM due d;
END
$$;
COMMENT ON FUNCTION postback.wake_deliveries(timestamptz, integer) IS
'Moves what has fallen due by then from delivery_due_later to delivery_due_now, some thousand at a time, oldest first, but for
what a newer one in flight may supersede';

CREATE FUNCTION postback.compact_due() RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    size bigint := pg_relation_size('postback.delivery_due_now');
    floor bigint := 32 * 1024 * 1024;
    live postback.delivery_due_now[];
BEGIN
    -- A snapshot from before the lock would miss what was queued since, and TRUNCATE would not.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
       OR size <= greatest(floor, coalesce(nullif(current_setting('postback_queue.compact_above', true), '')::bigint, 0)) THEN
        RETURN false;
    END IF;
    -- What cannot be compacted now is looked at again when it has grown by half.
    PERFORM set_config('postback_queue.compact_above', (size + size / 2)::text, false);
    IF (SELECT count(*) FROM (SELECT FROM postback.delivery_due_now LIMIT 20001) q) > 20000 THEN
        RETURN false;
    END IF;
    BEGIN
        LOCK TABLE ONLY postback.delivery_due_now IN ACCESS EXCLUSIVE MODE;
        SELECT array_agg(q) INTO live FROM postback.delivery_due_now q;
        TRUNCATE postback.delivery_due_now;
        INSERT INTO postback.delivery_due_now SELECT * FROM unnest(live);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    PERFORM set_config('postback_queue.compact_above', '', false);
    RETURN true;
END
$$;
COMMENT ON FUNCTION postback.compact_due() IS
'Writes delivery_due_now anew when it is over 32 MB for at most 20,000 rows: a snapshot that stays open, a long report''s, keeps
vacuum from using the space of finished deliveries again, and every claim would read past them. Returns whether it did. Waits at
most 100 ms for those who are at the table; what such a snapshot''s owner reads of the queue later is empty.';

CREATE FUNCTION postback.mask_auth(response text, auth jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    secret text;
BEGIN
    IF auth IS NULL THEN
        RETURN response;
    END IF;
    FOREACH secret IN ARRAY ARRAY[regexp_replace(postback.auth_header(auth), '^Authorization: \w+ ', ''), auth ->> 'password'] LOOP
        CONTINUE WHEN length(secret) < 4 OR secret IS NULL;
        response := replace(response, secret, '***');
        -- A response is cut: its end may be a secret's beginning.
        FOR n IN REVERSE length(secret) - 1 .. 4 LOOP
            IF right(response, n) = left(secret, n) THEN
                response := left(response, - n) || '***';
                EXIT;
            END IF;
        END LOOP;
    END LOOP;
    RETURN response;
END
$$;
COMMENT ON FUNCTION postback.mask_auth(text, jsonb) IS
    'What a server answered, without the credentials of callback.auth, which some echo: attempts are kept and shown';

CREATE FUNCTION postback.claim(
    sender text, max_items integer, lease interval DEFAULT '60 s', full_endpoints text[] DEFAULT NULL,
    per_endpoint integer DEFAULT 64)
    RETURNS TABLE (
        attempt_id postback.ulid, delivery_id postback.ulid, endpoint text, method text, url text, headers text[], body text,
        secrets text[], attempt integer, timeout_ms integer)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = on
    ROWS 256 AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    start text := coalesce(current_setting('postback_queue.last_endpoint', true), '');
BEGIN
    -- One claim at a time: what is in flight is then known exactly.
    PERFORM pg_advisory_xact_lock(hashtext('postback'), 2);
    at := clock_timestamp();
    PERFORM postback.compact_due();
    PERFORM postback.wake_deliveries(at, max_items);

    RETURN QUERY
    -- Endpoint after endpoint in a ring that goes on where this session's last claim ended, so that none is starved.
    WITH RECURSIVE onwards AS (
        (SELECT q.endpoint FROM postback.delivery_due_now q WHERE q.endpoint > start ORDER BY q.endpoint LIMIT 1)
        UNION ALL
        SELECT n.endpoint
        FROM onwards o
        CROSS JOIN LATERAL (SELECT q.endpoint FROM postback.delivery_due_now q
                            WHERE q.endpoint > o.endpoint ORDER BY q.endpoint LIMIT 1) n
    ), around AS (
        (SELECT q.endpoint FROM postback.delivery_due_now q WHERE q.endpoint <= start ORDER BY q.endpoint LIMIT 1)
        UNION ALL
        SELECT n.endpoint
        FROM around o
        CROSS JOIN LATERAL (SELECT q.endpoint FROM postback.delivery_due_now q
                            WHERE q.endpoint > o.endpoint AND q.endpoint <= start ORDER BY q.endpoint LIMIT 1) n
    ), picked AS MATERIALIZED (
        SELECT q.*
        FROM (SELECT o.endpoint FROM onwards o UNION ALL SELECT a.endpoint FROM around a) e
        CROSS JOIN LATERAL (
            SELECT q.ctid AS place, q.*
            FROM postback.delivery_due_now q
            WHERE q.endpoint = e.endpoint
              AND q.due_at <= at AND (q.leased_until IS NULL OR q.leased_until <= at)
              -- Of one callback and conversion one at a time, and of those that are due the oldest; but an older one never
              -- follows a newer one whose lease ended without an answer, for the receiver may have accepted that.
              AND NOT EXISTS (
                  SELECT FROM postback.delivery_due s
                  WHERE s.conversion_id = q.conversion_id AND s.callback_id = q.callback_id
                    AND s.delivery_id <> q.delivery_id
                    AND (s.leased_until > at
                         OR s.seq < q.seq AND s.due_at <= at
                            AND NOT ((q.unanswered OR q.attempt_id IS NOT NULL)
                                     AND EXISTS (SELECT FROM postback.callback c WHERE c.id = q.callback_id AND NOT c.every_status))
                         OR s.seq > q.seq AND (s.unanswered OR s.attempt_id IS NOT NULL)
                            AND EXISTS (SELECT FROM postback.callback c WHERE c.id = q.callback_id AND NOT c.every_status))
                  OFFSET 0)
              AND EXISTS (SELECT FROM postback.callback c WHERE c.id = q.callback_id AND c.enabled)
            ORDER BY q.due_at
            LIMIT per_endpoint
            FOR UPDATE SKIP LOCKED) q
        WHERE e.endpoint NOT IN (SELECT unnest(full_endpoints)) -- hashed, where <> ALL would compare each with each
        LIMIT max_items
    ), item AS MATERIALIZED (
        SELECT q.place, q.delivery_id, q.endpoint, q.attempts + 1 AS number, q.attempt_id AS lost_attempt_id,
               q.sender AS lost_sender, d.brand_id, d.callback_id, d.method, d.url, d.headers, d.body, d.state
        FROM picked q
        CROSS JOIN LATERAL (SELECT * FROM postback.delivery x WHERE x.id = q.delivery_id LIMIT 1) d
    ), gone AS (
        -- Of deliveries that somebody has deleted: enough of them would hide what else is due to their endpoint.
        DELETE FROM postback.delivery_due_now q
        USING picked p
        WHERE (SELECT count(*) FROM picked) > (SELECT count(*) FROM item)
          AND q.ctid = p.place AND NOT EXISTS (SELECT FROM postback.delivery x WHERE x.id = p.delivery_id)
    ), misfit AS MATERIALIZED (
        -- After a delay the conditions are looked at again.
        SELECT m.delivery_id, m.reason
        FROM postback.delay_misfits(ARRAY(SELECT i.delivery_id FROM item i WHERE i.state = 'waiting')) m
    ), lost AS (
        -- A lease that ended without an answer is an attempt too: what came of it is not known.
        INSERT INTO postback.attempt (id, brand_id, delivery_id, callback_id, number, sender, outcome, error)
        SELECT i.lost_attempt_id, i.brand_id, i.delivery_id, i.callback_id, i.number, coalesce(i.lost_sender, ''), 'error',
               'no answer from the sender before its lease ended'
        FROM item i
        WHERE i.lost_attempt_id IS NOT NULL
    ), skipped AS (
        UPDATE postback.delivery d SET state = 'skipped', error = m.reason
        FROM misfit m
        WHERE d.id = m.delivery_id
    ), unqueued AS (
        DELETE FROM postback.delivery_due_now q
        USING misfit m
        WHERE q.delivery_id = m.delivery_id
    ), begun AS (
        UPDATE postback.delivery d SET state = 'queued'
        FROM item i
        WHERE i.state = 'waiting' AND d.id = i.delivery_id
          AND NOT EXISTS (SELECT FROM misfit m WHERE m.delivery_id = i.delivery_id)
    ), leased AS (
        UPDATE postback.delivery_due_now q
        SET attempt_id = postback.new_ulid(), leased_until = at + claim.lease, sender = claim.sender,
            unanswered = q.unanswered OR q.attempt_id IS NOT NULL
        FROM item i
        WHERE q.ctid = i.place AND NOT EXISTS (SELECT FROM misfit m WHERE m.delivery_id = i.delivery_id)
        RETURNING q.attempt_id, q.delivery_id, q.endpoint, i.number, i.callback_id, i.method, i.url, i.headers, i.body
    ), place AS MATERIALIZED (
        SELECT set_config('postback_queue.last_endpoint', (array_agg(p.endpoint))[count(*)], false) FROM picked p
    )
    SELECT l.attempt_id, l.delivery_id, l.endpoint,
           CASE l.method WHEN 'GET' THEN 'GET' ELSE 'POST' END,
           l.url,
           coalesce(l.headers, '{}')
               || CASE WHEN l.method <> 'GET' AND NOT EXISTS (SELECT FROM unnest(l.headers) h WHERE h ~* '^content-type\s*:')
                       THEN CASE l.method WHEN 'POST_JSON' THEN '{Content-Type: application/json}'::text[]
                                          ELSE '{Content-Type: application/x-www-form-urlencoded}' END
                       ELSE '{}' END
               -- Not to where the callback pointed before: that server has no business with what was agreed with the new one.
               || CASE WHEN c.auth IS NULL THEN '{}'
                       WHEN l.endpoint = postback.endpoint_of(c.url) AND (l.url ~* '^https:') = (c.url ~* '^https:')
                       THEN ARRAY[postback.auth_header(c.auth)]
                       ELSE '{}' END,
           l.body,
           ARRAY(SELECT s.secret FROM postback.callback_secret s
                 WHERE s.callback_id = l.callback_id AND s.valid_to > at
                 ORDER BY s.valid_to DESC, s.secret
                 LIMIT 2),
           l.number, 10000
    FROM place
    CROSS JOIN leased l
    CROSS JOIN LATERAL (SELECT x.auth, x.url FROM postback.callback x WHERE x.id = l.callback_id LIMIT 1) c;
END
$$;
COMMENT ON FUNCTION postback.claim(text, integer, interval, text[], integer) IS
'Leases deliveries that are due to a sender, at most max_items, at most per_endpoint for one endpoint (host:port), none for
full_endpoints; oldest first within an endpoint, endpoints by turns. Of one callback and conversion at most one is in flight,
and none older than one that a killed sender may have delivered (but with every_status).
Each row is a request ready to send and the secrets to sign it with (the newest two at most); attempt_id names the claim to
settle(). What is not settled when the lease ends comes back. Never call it in a transaction that stays open: other senders wait for it.';

CREATE FUNCTION postback.settle(
    sender text, delivery_ids postback.ulid[], attempt_ids postback.ulid[], outcomes text[], http_codes integer[], errors text[], retry_afters integer[],
    milliseconds integer[], addresses inet[], responses text[])
    RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    at timestamptz := clock_timestamp();
    settled integer;
    sent integer := coalesce(cardinality(attempt_ids), 0);
BEGIN
    WITH item AS MATERIALIZED (
        SELECT q.ctid AS place, k.attempt_id, k.outcome, k.http_code, left(k.error, 1000) AS error, k.milliseconds, k.address,
               left(CASE WHEN c.auth IS NULL THEN k.response ELSE postback.mask_auth(k.response, c.auth) END, 2048) AS response,
               k.retry_after,
               q.delivery_id, q.callback_id, q.conversion_id, q.seq, q.attempts + 1 AS number, q.endpoint, q.unanswered,
               c.enabled, c.every_status, c.failing_since,
               k.outcome = 'response' AND k.http_code IS NOT NULL
               AND CASE c.success_codes WHEN '200-299' THEN k.http_code BETWEEN 200 AND 299
                                        ELSE postback.is_success(c.success_codes, k.http_code) END AS success
        FROM ROWS FROM (unnest(settle.delivery_ids), unnest(settle.attempt_ids), unnest(settle.outcomes), unnest(settle.http_codes),
                        unnest(settle.errors), unnest(settle.retry_afters), unnest(settle.milliseconds), unnest(settle.addresses),
                        unnest(settle.responses))
             AS k (delivery_id, attempt_id, outcome, http_code, error, retry_after, milliseconds, address, response)
        CROSS JOIN LATERAL (SELECT x.ctid, x.* FROM postback.delivery_due_now x
                            WHERE x.delivery_id = k.delivery_id AND x.attempt_id = k.attempt_id FOR UPDATE) q
        LEFT JOIN LATERAL (SELECT * FROM postback.callback x WHERE x.id = q.callback_id LIMIT 1) c ON true
    ), awake AS MATERIALIZED (
        -- Callbacks that were disabled when this began and are enabled now: who enables one has moved on what waited for it, and
        -- does not see what we put off.
        SELECT c.id
        FROM (SELECT DISTINCT i.callback_id FROM item i WHERE NOT i.enabled ORDER BY i.callback_id) k
        CROSS JOIN LATERAL (SELECT x.id, x.enabled FROM postback.callback x WHERE x.id = k.callback_id LIMIT 1 FOR NO KEY UPDATE) c
        WHERE c.enabled -- as it is under the lock: the LIMIT keeps this out of the look-up
    ), judged AS MATERIALIZED (
        SELECT i.*,
               CASE WHEN i.success THEN 'delivered'
                    WHEN i.outcome = 'blocked' THEN 'blocked'
                    WHEN i.outcome = 'released' THEN 'released'
                    WHEN i.http_code = 410 OR r.pause IS NULL THEN 'failed'
                    ELSE 'queued' END AS state,
               CASE WHEN i.outcome = 'released' THEN at
                    WHEN NOT i.enabled AND NOT EXISTS (SELECT FROM awake a WHERE a.id = i.callback_id) THEN 'infinity'
                    ELSE at + greatest(r.pause * (0.8 + 0.4 * random()),
                                       least(coalesce(i.retry_after, 0), 86400) * interval '1 second') END AS next_at
        FROM item i
        CROSS JOIN LATERAL (SELECT postback.retry_delay(i.number) AS pause) r
    ), older AS MATERIALIZED (
        -- Skips what another settle() has locked: that one decides.
        SELECT o.delivery_id, o.callback_id, o.attempts + 1 AS number, o.attempt_id, o.sender
        FROM judged j
        CROSS JOIN LATERAL (SELECT * FROM postback.delivery_due x
                            WHERE x.conversion_id = j.conversion_id AND x.callback_id = j.callback_id AND x.seq < j.seq
                            FOR UPDATE SKIP LOCKED) o
        WHERE j.state = 'delivered' AND NOT j.every_status
          AND NOT EXISTS (SELECT FROM judged t WHERE t.delivery_id = o.delivery_id AND t.state IN ('delivered', 'failed', 'blocked'))
    ), left_queue AS (
        DELETE FROM postback.delivery_due_now q USING judged j WHERE q.ctid = j.place AND j.state <> 'released'
    ), superseded_left AS (
        DELETE FROM postback.delivery_due q USING older o WHERE q.delivery_id = o.delivery_id
    ), released AS (
        UPDATE postback.delivery_due_now q SET attempt_id = NULL, leased_until = NULL, sender = NULL
        FROM judged j
        WHERE q.ctid = j.place AND j.state = 'released'
          AND NOT EXISTS (SELECT FROM older o WHERE o.delivery_id = j.delivery_id)
    ), put_off AS (
        INSERT INTO postback.delivery_due_later
            (waiting, delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts, unanswered)
        SELECT true, j.delivery_id, j.callback_id, j.conversion_id, j.seq, j.endpoint, j.next_at, j.number, j.unanswered
        FROM judged j
        WHERE j.state = 'queued' AND NOT EXISTS (SELECT FROM older o WHERE o.delivery_id = j.delivery_id)
    ), told AS (
        UPDATE postback.delivery d
        SET state = CASE WHEN j.superseded THEN 'superseded' ELSE j.state END,
            attempts = j.number, http_code = j.http_code, error = j.error, sent_at = at,
            due_at = CASE WHEN j.state = 'queued' AND isfinite(j.next_at) THEN j.next_at ELSE d.due_at END
        FROM (SELECT t.*, EXISTS (SELECT FROM older o WHERE o.delivery_id = t.delivery_id) AS superseded
              FROM judged t WHERE t.state <> 'released') j
        WHERE d.id = j.delivery_id
        RETURNING j.attempt_id, d.brand_id, j.delivery_id, j.callback_id, j.number, j.success, j.outcome, j.http_code, j.error,
                  j.milliseconds, j.address, j.response
    ), logged AS (
        INSERT INTO postback.attempt
            (id, brand_id, delivery_id, callback_id, number, sender, outcome, http_code, error, milliseconds, address, response)
        SELECT t.attempt_id, t.brand_id, t.delivery_id, t.callback_id, t.number, settle.sender,
               CASE WHEN t.success THEN 'success' WHEN t.outcome = 'response' THEN 'failure'
                    WHEN t.outcome = 'blocked' THEN 'blocked' ELSE 'error' END,
               t.http_code, t.error, t.milliseconds, t.address, t.response
        FROM told t
    ), superseded AS (
        UPDATE postback.delivery d SET state = 'superseded'
        FROM older o
        WHERE d.id = o.delivery_id
          AND NOT EXISTS (SELECT FROM judged j WHERE j.delivery_id = o.delivery_id AND j.state <> 'released')
        RETURNING d.brand_id, o.*
    ), lost AS (
        INSERT INTO postback.attempt (id, brand_id, delivery_id, callback_id, number, sender, outcome, error)
        SELECT s.attempt_id, s.brand_id, s.delivery_id, s.callback_id, s.number, coalesce(s.sender, ''), 'error',
               'no answer from the sender before its lease ended'
        FROM superseded s
        WHERE s.attempt_id IS NOT NULL AND s.attempt_id <> ALL (settle.attempt_ids)
    ), verdict AS MATERIALIZED (
        -- Per callback, and only where its row must change; in the order of ids, so that two senders never wait in a circle.
        SELECT v.*
        FROM (SELECT j.callback_id, bool_or(j.success) AS success,
                     bool_or(NOT j.success AND j.outcome = 'response' AND j.http_code = 410) AS gone,
                     max(j.endpoint) AS endpoint
              FROM judged j
              WHERE j.success AND j.failing_since IS NOT NULL
                 OR NOT j.success AND j.outcome IN ('response', 'error') AND j.enabled
                    AND (j.failing_since IS NULL OR j.failing_since <= at - interval '5 days' OR j.http_code = 410)
              GROUP BY j.callback_id) v
        WHERE v.success OR v.gone OR NOT EXISTS (SELECT FROM judged j WHERE j.callback_id = v.callback_id AND j.success)
    ), locked AS MATERIALIZED (
        SELECT v.*, c.id, c.failing_since
        FROM (SELECT * FROM verdict ORDER BY callback_id) v
        CROSS JOIN LATERAL (SELECT * FROM postback.callback x WHERE x.id = v.callback_id FOR NO KEY UPDATE) c
    ), noted AS (
        UPDATE postback.callback c
        SET failing_since = CASE WHEN l.success THEN NULL ELSE coalesce(l.failing_since, at) END,
            enabled = NOT (l.gone OR l.stale),
            disabled_at = CASE WHEN l.gone OR l.stale THEN at END,
            disabled_reason = CASE WHEN l.gone THEN format('%s answered 410 Gone', l.endpoint)
                                   WHEN l.stale THEN format('no success since %s',
                                       to_char(l.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')) END
        FROM (SELECT k.*, NOT k.success AND coalesce(k.failing_since <= at - interval '5 days', false) AS stale FROM locked k) l
        WHERE c.id = l.id AND c.enabled
    )
    SELECT count(*) INTO settled FROM judged;

    -- Claims that another sender has taken over since, or that a success superseded: their outcome is put into the log.
    IF settled < sent THEN
        UPDATE postback.attempt a
        SET outcome = CASE WHEN k.outcome = 'response' THEN
                               CASE WHEN postback.is_success(coalesce(c.success_codes, '200-299'), k.http_code)
                                    THEN 'success' ELSE 'failure' END
                           WHEN k.outcome = 'blocked' THEN 'blocked' ELSE 'error' END,
            http_code = k.http_code, error = coalesce(left(k.error, 1000), 'answered after its lease had ended'),
            milliseconds = k.milliseconds, address = k.address, response = left(postback.mask_auth(k.response, c.auth), 2048)
        FROM ROWS FROM (unnest(settle.attempt_ids), unnest(settle.outcomes), unnest(settle.http_codes), unnest(settle.errors),
                        unnest(settle.milliseconds), unnest(settle.addresses), unnest(settle.responses))
             AS k (attempt_id, outcome, http_code, error, milliseconds, address, response)
        CROSS JOIN LATERAL (SELECT x.callback_id FROM postback.attempt x WHERE x.id = k.attempt_id) l
        LEFT JOIN LATERAL (SELECT x.success_codes, x.auth FROM postback.callback x WHERE x.id = l.callback_id) c ON true
        WHERE a.id = k.attempt_id AND k.outcome <> 'released'
          AND a.outcome = 'error' AND a.error = 'no answer from the sender before its lease ended';
    END IF;
    RETURN settled;
END
$$;
COMMENT ON FUNCTION postback.settle(text, postback.ulid[], postback.ulid[], text[], integer[], text[], integer[], integer[], inet[], text[]) IS
'Tells what came of claims, one element of each array per attempt: outcome response (with http_code), error, blocked (final)
or released (not sent). Decides on delivered, retry (5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h, +-20 %, Retry-After seconds if
later, at most a day) or failed; disables callbacks on 410 and after five days without success; a success supersedes the
older ones of its callback and conversion. Returns how many claims were still the sender''s: settling twice changes nothing,
settling after another sender has taken the claim over only completes the log.';

-- Enabling and disabling a callback, by whatever UPDATE: what waits for it stays in the queue, out of the senders' way.

CREATE FUNCTION postback.callback_switched() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        WITH gone AS (
            DELETE FROM postback.delivery_due q WHERE q.callback_id = OLD.id RETURNING q.delivery_id
        )
        UPDATE postback.delivery d SET state = 'skipped', error = 'the callback was deleted'
        FROM gone g
        WHERE d.id = g.delivery_id;
    ELSIF NEW.enabled = OLD.enabled THEN
        NULL;
    ELSIF TG_WHEN = 'BEFORE' THEN
        NEW.updated := now();
        IF NEW.enabled THEN
            NEW.disabled_at := NULL;
            NEW.disabled_reason := NULL;
            NEW.failing_since := NULL;
        ELSE
            NEW.disabled_at := coalesce(NEW.disabled_at, now());
            NEW.disabled_reason := coalesce(NEW.disabled_reason, format('by %s', session_user));
        END IF;
    ELSIF NEW.enabled THEN
        WITH awake AS (
            DELETE FROM postback.delivery_due_later q
            USING postback.delivery d
            WHERE q.callback_id = NEW.id AND q.due_at = 'infinity' AND d.id = q.delivery_id
            RETURNING d.due_at AS due_then, q.*
        )
        INSERT INTO postback.delivery_due
            (waiting, delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts, unanswered)
        SELECT a.due_then > now(), a.delivery_id, a.callback_id, a.conversion_id, a.seq, a.endpoint, a.due_then, a.attempts,
               a.unanswered
        FROM awake a;
    ELSE
        UPDATE postback.delivery_due_later q SET due_at = 'infinity' WHERE q.callback_id = NEW.id AND q.due_at < 'infinity';
        -- What is in flight or being settled is left alone; settle() puts it off.
        WITH asleep AS (
            DELETE FROM postback.delivery_due_now q
            WHERE q.delivery_id = ANY (ARRAY(
                SELECT x.delivery_id FROM postback.delivery_due_now x
                WHERE x.callback_id = NEW.id AND x.attempt_id IS NULL
                FOR UPDATE SKIP LOCKED))
            RETURNING q.*
        )
        INSERT INTO postback.delivery_due_later
            (waiting, delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts, unanswered)
        SELECT true, a.delivery_id, a.callback_id, a.conversion_id, a.seq, a.endpoint, 'infinity', a.attempts, a.unanswered
        FROM asleep a;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION postback.callback_switched() IS
    'When a callback is disabled its deliveries wait (due_at infinity), when it is enabled they are due again';
CREATE TRIGGER callback_switching BEFORE UPDATE OF enabled ON postback.callback
    FOR EACH ROW EXECUTE FUNCTION postback.callback_switched();
CREATE TRIGGER callback_switched AFTER DELETE OR UPDATE OF enabled ON postback.callback
    FOR EACH ROW EXECUTE FUNCTION postback.callback_switched();

CREATE FUNCTION postback.enable_callback(callback postback.ulid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE postback.callback c SET enabled = true WHERE c.id = enable_callback.callback;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('callback %s does not exist', coalesce(callback::text, 'null')),
            DETAIL = 'Parameter callback must be the id of a row of postback.callback.',
            HINT = 'SELECT id, name, disabled_reason FROM postback.callback WHERE NOT enabled lists the disabled ones.';
    END IF;
END
$$;
COMMENT ON FUNCTION postback.enable_callback(postback.ulid) IS
    'Enables a callback that was disabled, by hand or after failures; what waited for it is sent. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.requeue(
    callback postback.ulid, since timestamptz, until timestamptz DEFAULT now(), states text[] DEFAULT '{failed}')
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    queued bigint;
BEGIN
    IF NOT states <@ '{delivered,failed,skipped,superseded,blocked}' OR states IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('states %s are not all known', coalesce(states::text, 'null')),
            DETAIL = 'Parameter states says which finished deliveries are sent again.',
            HINT = 'Use any of failed, blocked, delivered, skipped, superseded.';
    END IF;
    PERFORM postback.check_sendable(callback);
    WITH again AS (
        UPDATE postback.delivery d SET state = 'queued', due_at = now()
        WHERE d.id >= postback.ulid_floor(since) AND d.id < postback.ulid_floor(until)
          AND d.callback_id = requeue.callback AND d.state = ANY (states)
          AND postback.endpoint_of(d.url) IS NOT NULL
        RETURNING d.id, d.callback_id, d.conversion_id, d.seq, d.url, d.attempts
    ), due AS (
        INSERT INTO postback.delivery_due (delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts)
        SELECT a.id, a.callback_id, a.conversion_id, a.seq, postback.endpoint_of(a.url), now(), a.attempts
        FROM again a
    )
    SELECT count(*) INTO queued FROM again;
    RETURN queued;
END
$$;
COMMENT ON FUNCTION postback.requeue(postback.ulid, timestamptz, timestamptz, text[]) IS
'Sends the callback''s finished deliveries of that time (from since until before until, when they were made) again that are in
one of states (failed unless said otherwise); they keep their ids and get further attempts. Returns how many. What was too long
to be rendered stays failed. Errors: invalid_parameter_value.';

CREATE FUNCTION postback.check_sendable(callback postback.ulid) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_enabled boolean;
BEGIN
    SELECT c.enabled INTO is_enabled FROM postback.callback c WHERE c.id = check_sendable.callback;
    IF is_enabled THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = format('callback %s %s', coalesce(callback::text, 'null'), CASE WHEN FOUND THEN 'is disabled' ELSE 'does not exist' END),
        DETAIL = 'Only an enabled callback''s deliveries can be sent.',
        HINT = CASE WHEN FOUND THEN format('SELECT postback.enable_callback(%L);', callback)
             ELSE 'SELECT id, name FROM postback.callback lists them.' END;
END
$$;
COMMENT ON FUNCTION postback.check_sendable(postback.ulid) IS 'Refuses a callback that is disabled or gone';

CREATE FUNCTION postback.resend(delivery postback.ulid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_delivery record;
    was_unanswered boolean;
BEGIN
    -- Locks the place in the queue, then the delivery, as settle() does.
    PERFORM FROM postback.delivery_due q WHERE q.delivery_id = resend.delivery FOR UPDATE;
    SELECT d.callback_id, d.conversion_id, d.seq, d.url, d.attempts INTO found_delivery
    FROM postback.delivery d
    WHERE d.id = resend.delivery
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('delivery %s does not exist', coalesce(delivery::text, 'null')),
            DETAIL = 'Parameter delivery must be the id of a row of postback.delivery.',
            HINT = 'SELECT id, state FROM postback.deliveries lists them.';
    END IF;
    PERFORM postback.check_sendable(found_delivery.callback_id);
    IF postback.endpoint_of(found_delivery.url) IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('delivery %s cannot be sent', delivery),
            DETAIL = 'The rendered request was longer than 64 KB and was not kept.',
            HINT = format('Shorten the templates of callback %s: it will be told of further changes.', found_delivery.callback_id);
    END IF;
    DELETE FROM postback.delivery_due_later q WHERE q.delivery_id = resend.delivery RETURNING q.unanswered INTO was_unanswered;
    INSERT INTO postback.delivery_due_now (delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts, unanswered)
    VALUES (resend.delivery, found_delivery.callback_id, found_delivery.conversion_id, found_delivery.seq,
            postback.endpoint_of(found_delivery.url), now(), found_delivery.attempts, coalesce(was_unanswered, false))
    -- Due already, or in flight.  Left as it is: settle(), which may wait for us, goes by the row's place.
    ON CONFLICT ON CONSTRAINT delivery_due_now_pkey DO NOTHING;
    UPDATE postback.delivery d SET state = 'queued', due_at = now() WHERE d.id = resend.delivery;
END
$$;
COMMENT ON FUNCTION postback.resend(postback.ulid) IS
'Sends a delivery again now, whatever became of it: it keeps its id and gets a further attempt. One that still waits for its
next attempt has it now. Errors: invalid_parameter_value.';
