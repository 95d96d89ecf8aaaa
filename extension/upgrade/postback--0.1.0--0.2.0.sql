/* From postback 0.1.0 on. */

\echo Use "ALTER EXTENSION postback UPDATE" to load this file. \quit

-- The queue in two tables: what is due, and what is not.  What is claimed at this moment stays claimed.
DROP VIEW postback.callback_health;
ALTER TABLE postback.delivery_due RENAME TO delivery_due_before;
CREATE TABLE postback.delivery_due (
    waiting       boolean NOT NULL DEFAULT false,
    delivery_id   postback.ulid NOT NULL,
    callback_id   postback.ulid NOT NULL,
    conversion_id postback.ulid,
    seq           integer NOT NULL,
    endpoint      text COLLATE "C" NOT NULL,
    due_at        timestamptz NOT NULL,
    attempts      smallint NOT NULL DEFAULT 0,
    attempt_id    postback.ulid,
    leased_until  timestamptz,
    sender        text,
    unanswered    boolean NOT NULL DEFAULT false
) PARTITION BY LIST (waiting);
CREATE TABLE postback.delivery_due_now PARTITION OF postback.delivery_due FOR VALUES IN (false)
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE postback.delivery_due_now ADD PRIMARY KEY (delivery_id);
CREATE INDEX delivery_due_now_endpoint_idx ON postback.delivery_due_now (endpoint, due_at);
CREATE INDEX delivery_due_now_conversion_idx ON postback.delivery_due_now (conversion_id, callback_id, seq);
CREATE TABLE postback.delivery_due_later PARTITION OF postback.delivery_due FOR VALUES IN (true)
    WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE postback.delivery_due_later ADD PRIMARY KEY (delivery_id);
CREATE INDEX delivery_due_later_due_idx ON postback.delivery_due_later (due_at);
CREATE INDEX delivery_due_later_callback_idx ON postback.delivery_due_later (callback_id, conversion_id, seq);
INSERT INTO postback.delivery_due (waiting, delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts, attempt_id,
                                   leased_until, sender)
SELECT q.attempt_id IS NULL AND q.due_at > pg_catalog.now(), q.delivery_id, q.callback_id, q.conversion_id, q.seq, q.endpoint,
       CASE WHEN q.attempt_id IS NULL THEN q.due_at ELSE pg_catalog.now() END, q.attempts, q.attempt_id, q.leased_until, q.sender
FROM postback.delivery_due_before q;
DROP TABLE postback.delivery_due_before;

-- The visitors of the mark's day, counted again with their brands and publishers.
DROP TABLE postback.daily_visitor;
CREATE TABLE postback.daily_visitor (
    brand_id     postback.ulid NOT NULL,
    publisher_id postback.ulid NOT NULL,
    day          date NOT NULL,
    visitor      bigint NOT NULL,
    PRIMARY KEY (brand_id, day, visitor)
);
INSERT INTO postback.daily_visitor
SELECT DISTINCT ON (v.brand_id, v.visitor) v.brand_id, v.publisher_id, v.day, v.visitor
FROM (SELECT k.brand_id, k.publisher_id, d.day, postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash) AS visitor
      FROM postback.daily_mark m
      CROSS JOIN LATERAL (SELECT (postback.ulid_time(m.upto) AT TIME ZONE 'UTC')::date AS day) d
      JOIN postback.click k ON k.id >= postback.ulid_floor(d.day::timestamp AT TIME ZONE 'UTC') AND k.id < m.upto) v
WHERE v.visitor IS NOT NULL;

-- A percentage in a bracket is bounded as the one beside brackets.
ALTER TABLE postback.terms
    DROP CONSTRAINT terms_brackets_check,
    ADD CONSTRAINT terms_brackets_check CHECK (postback.brackets_valid(brackets) AND NOT brackets @? '$[*].percent ? (@ > 999)');

-- What a publisher sees of deliveries: keep_policies() at the end makes it anew.
DROP POLICY IF EXISTS postback_reader ON postback.delivery;

-- The daily figures of each brand.
CREATE TABLE postback.daily_brand (
    brand_id        postback.ulid NOT NULL,
    day             date NOT NULL,
    clicks          bigint NOT NULL,
    unique_clicks   bigint NOT NULL,
    pending         bigint NOT NULL,
    approved        bigint NOT NULL,
    reversed        bigint NOT NULL,
    pending_payout  numeric NOT NULL,
    pending_fee     numeric NOT NULL,
    approved_payout numeric NOT NULL,
    approved_fee    numeric NOT NULL,
    PRIMARY KEY (brand_id, day)
) WITH (fillfactor = 80);
CREATE INDEX daily_brand_day_idx ON postback.daily_brand (day);
INSERT INTO postback.daily_brand
SELECT d.brand_id, d.day, sum(d.clicks), sum(d.unique_clicks), sum(d.pending), sum(d.approved), sum(d.reversed), sum(d.pending_payout),
       sum(d.pending_fee), sum(d.approved_payout), sum(d.approved_fee)
FROM postback.daily d
GROUP BY d.brand_id, d.day;

-- Of two calls at once that name no goal one creates the order. Where two have created it, this says which: reverse one by staff and
-- name its goal as given.
CREATE UNIQUE INDEX conversion_goal_not_given_key ON postback.conversion (brand_id, order_ref) WHERE NOT goal_given;

-- Clicks from one address lie together in the index by visitor, those that are not unique too.  This writes every click anew.
DO $$
DECLARE
    partition record;
    old regclass;
BEGIN
    FOR partition IN
        SELECT i.inhrelid::regclass AS relation, c.relname
        FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'postback.click'::regclass
    LOOP
        FOR old IN
            SELECT x.indexrelid::regclass FROM pg_catalog.pg_index x
            WHERE x.indrelid = partition.relation AND pg_catalog.pg_get_expr(x.indpred, x.indrelid) = 'is_unique'
        LOOP
            EXECUTE pg_catalog.format('DROP INDEX %s', old);
        END LOOP;
        EXECUTE pg_catalog.format('UPDATE %s SET visitor_hash = (address_hash & -4294967296) | (visitor_hash & 4294967295)'
                                  ' WHERE visitor_hash IS NOT NULL', partition.relation);
        EXECUTE pg_catalog.format('CREATE INDEX %I ON %s (visitor_hash, is_unique, id) WHERE visitor_hash IS NOT NULL',
                                  partition.relname || '_visitor_hash_is_unique_id_idx', partition.relation);
        EXECUTE pg_catalog.format('CREATE INDEX %I ON %s (offer_id, publisher_id, id)',
                                  partition.relname || '_offer_id_publisher_id_id_idx', partition.relation);
    END LOOP;
END
$$;

-- Deliveries are updated on their own page.
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = 'postback.delivery'::regclass LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s SET (fillfactor = 50)', partition);
    END LOOP;
END
$$;

-- Periods have an end, and numbers are numbers: one brand's that could not be computed with failed the calls of all.
ALTER TABLE postback.brand
    DROP CONSTRAINT brand_hold_check, ADD CONSTRAINT brand_hold_check CHECK (hold BETWEEN '0' AND '1000 years'),
    DROP CONSTRAINT brand_attribution_window_check, ADD CONSTRAINT brand_attribution_window_check CHECK (attribution_window BETWEEN '0' AND '1000 years'),
    DROP CONSTRAINT brand_min_click_age_check, ADD CONSTRAINT brand_min_click_age_check CHECK (min_click_age BETWEEN '0' AND '1000 years'),
    DROP CONSTRAINT brand_unique_window_check, ADD CONSTRAINT brand_unique_window_check CHECK (unique_window BETWEEN '0' AND '1000 years');
ALTER TABLE postback.offer
    DROP CONSTRAINT offer_hold_check, ADD CONSTRAINT offer_hold_check CHECK (hold BETWEEN '0' AND '1000 years'),
    DROP CONSTRAINT offer_attribution_window_check, ADD CONSTRAINT offer_attribution_window_check CHECK (attribution_window BETWEEN '0' AND '1000 years'),
    DROP CONSTRAINT offer_min_click_age_check, ADD CONSTRAINT offer_min_click_age_check CHECK (min_click_age BETWEEN '0' AND '1000 years');
ALTER TABLE postback.terms
    DROP CONSTRAINT terms_percent_check, ADD CONSTRAINT terms_percent_check CHECK (percent BETWEEN 0 AND 999);
ALTER TABLE postback.fx_rate
    DROP CONSTRAINT fx_rate_rate_check, ADD CONSTRAINT fx_rate_rate_check CHECK (rate > 0 AND rate < 100000000);
ALTER TABLE postback.callback
    DROP CONSTRAINT callback_delay_check, ADD CONSTRAINT callback_delay_check CHECK (delay = '0' OR delay BETWEEN '2 minutes' AND '1000 years');

-- A callback for an offer of another brand never fired. Such a one is switched off, and says so.
UPDATE postback.callback c
SET brand_id = o.brand_id, enabled = false, disabled_reason = 'the offer is another brand''s than the callback was'
FROM postback.offer o
WHERE o.id = c.offer_id AND o.brand_id <> c.brand_id;
ALTER TABLE postback.callback ADD FOREIGN KEY (brand_id, offer_id) REFERENCES postback.offer (brand_id, id);

-- Where visitors are sent is an address.
ALTER TABLE postback.brand ADD CONSTRAINT brand_fallback_url_check CHECK (fallback_url ~* '^https?://[^/?#@[:space:]{}]+([/?#]|$)');
ALTER TABLE postback.offer ADD CONSTRAINT offer_landing_url_check CHECK (landing_url ~* '^https?://[^/?#@[:space:]{}]+([/?#]|$)');

-- From here on made by "make upgrade-script".

DROP ROUTINE postback.replay(postback.ulid);

DROP ROUTINE postback.settle(text,postback.ulid[],text[],integer[],text[],integer[],integer[],inet[],text[]);

SELECT pg_catalog.pg_extension_config_dump('postback.delivery_due_now', '');

SELECT pg_catalog.pg_extension_config_dump('postback.delivery_due_later', '');

CREATE OR REPLACE FUNCTION postback.reprice_unpriced(brand postback.ulid DEFAULT NULL::postback.ulid)
 RETURNS bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
BEGIN ATOMIC
 SELECT (COALESCE(sum(postback.reprice_brand(k.id)), (0)::numeric))::bigint AS "coalesce"
    FROM ( SELECT b.id
            FROM postback.brand b
           WHERE ((b.id = COALESCE(reprice_unpriced.brand, b.id)) AND (EXISTS ( SELECT
                    FROM postback.conversion c
                   WHERE ((c.brand_id = b.id) AND (c.commission IS NULL)))))
           ORDER BY b.id) k;
END
;

CREATE OR REPLACE FUNCTION postback.check_url(parameter text, value text)
 RETURNS void
 LANGUAGE plpgsql
 PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF octet_length(value) > 4096 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('%s is %s bytes long', parameter, octet_length(value)),
            DETAIL = pg_catalog.format('Parameter %s may have up to 4096 bytes: it is sent to each visitor in one header field.', parameter),
            HINT = 'Shorten it.';
    END IF;
    IF value ~* '^https?://[^/?#@[:space:]{}]+([/?#][^[:space:]]*)?$' THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('%s "%s" is not an http or https URL', parameter, value),
        DETAIL = pg_catalog.format('Parameter %s must be absolute, without spaces, user name or macros in scheme and host.', parameter),
        HINT = 'Write it out: https://shop.example/landing';
END
$function$
;

CREATE OR REPLACE FUNCTION postback.check_period(parameter text, value interval)
 RETURNS void
 LANGUAGE plpgsql
 PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF value BETWEEN '0' AND '1000 years' THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('%s %s is no period', parameter, coalesce(value::text, 'null')),
        DETAIL = pg_catalog.format('Parameter %s must be from zero to 1000 years.', parameter),
        HINT = pg_catalog.format('For example %s => ''14 days''.', parameter);
END
$function$
;

CREATE OR REPLACE FUNCTION postback.check_map(parameter text, map jsonb)
 RETURNS void
 LANGUAGE c
 PARALLEL SAFE STRICT
AS '$libdir/postback', $function$postback_check_map$function$
;

CREATE OR REPLACE FUNCTION postback.create_brand(name text, currency text, hold interval DEFAULT '14 days'::interval, attribution_window interval DEFAULT '30 days'::interval, fee_percent numeric DEFAULT 35, fee_of text DEFAULT 'commission'::text, prepaid boolean DEFAULT false, credit_limit bigint DEFAULT 0, fallback_url text DEFAULT NULL::text)
 RETURNS postback.ulid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    new_id postback.ulid := postback.new_ulid();
BEGIN
    PERFORM postback.check_text('name', name);
    PERFORM postback.check_period('hold', hold);
    PERFORM postback.check_period('attribution_window', attribution_window);
    IF fallback_url IS NOT NULL THEN
        PERFORM postback.check_url('fallback_url', fallback_url);
    END IF;
    IF fee_of IS NULL OR fee_of NOT IN ('commission', 'value', 'none') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('fee_of "%s" is unknown', coalesce(fee_of, '')),
            DETAIL = 'Parameter fee_of says what fee_percent is a percentage of.',
            HINT = 'Use commission, value or none.';
    END IF;
    IF fee_percent IS NULL OR fee_percent NOT BETWEEN 0 AND 999 OR fee_percent <> pg_catalog.round(fee_percent, 6) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('fee_percent %s is out of range', coalesce(fee_percent::text, 'null')),
            DETAIL = 'Parameter fee_percent must be from 0 to 999 with at most 6 decimals.',
            HINT = 'For no fee pass fee_percent => 0.';
    END IF;
    IF credit_limit IS NULL OR credit_limit < 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('credit_limit %s is out of range', coalesce(credit_limit::text, 'null')),
            DETAIL = 'Parameter credit_limit is how far below zero a prepaid brand may go, in minor units.',
            HINT = 'Pass 0 or more.';
    END IF;
    -- A prepaid brand without credit has nothing to spend before its first top-up.
    INSERT INTO postback.brand
        (id, name, currency, hold, attribution_window, fee_percent, fee_of, prepaid, credit_limit, exhausted, fallback_url)
    VALUES (new_id, create_brand.name, postback.check_currency('currency', create_brand.currency), create_brand.hold,
            create_brand.attribution_window, create_brand.fee_percent, create_brand.fee_of, create_brand.prepaid,
            create_brand.credit_limit, create_brand.prepaid AND create_brand.credit_limit = 0, create_brand.fallback_url);
    PERFORM postback.keep_policies();
    PERFORM postback.keep_partitions();
    RETURN new_id;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.set_terms(offer postback.ulid, goal text DEFAULT NULL::text, publisher postback.ulid DEFAULT NULL::postback.ulid, percent numeric DEFAULT NULL::numeric, fixed bigint DEFAULT NULL::bigint, min bigint DEFAULT NULL::bigint, max bigint DEFAULT NULL::bigint, brackets jsonb DEFAULT NULL::jsonb, valid_from timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, valid_to timestamp with time zone DEFAULT 'infinity'::timestamp with time zone)
 RETURNS postback.ulid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    new_id postback.ulid := postback.new_ulid();
    its_brand postback.ulid := postback.brand_of_offer(offer);
    its_goal postback.ulid;
    starts timestamptz := coalesce(valid_from, '-infinity');
    ends timestamptz := coalesce(valid_to, 'infinity');
BEGIN
    IF goal IS NOT NULL THEN
        its_goal := postback.find_goal(offer, goal);
    END IF;
    IF publisher IS NOT NULL THEN
        PERFORM postback.check_publisher(publisher);
    END IF;
    PERFORM postback.check_valid(starts, ends);
    IF percent IS NULL AND fixed IS NULL AND brackets IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the terms pay nothing',
            DETAIL = 'None of the parameters percent, fixed and brackets is given.',
            HINT = 'For terms that pay nothing on purpose pass fixed => 0.';
    END IF;
    IF percent NOT BETWEEN 0 AND 999 OR percent <> pg_catalog.round(percent, 6) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('percent %s is out of range', percent),
            DETAIL = 'Parameter percent must be from 0 to 999 with at most 6 decimals.',
            HINT = '8 percent is percent => 8.';
    END IF;
    IF fixed < 0 OR min < 0 OR max < 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'an amount is negative',
            DETAIL = 'Parameters fixed, min and max are minor units of the brand''s currency, 0 or more.',
            HINT = '5.00 EUR is fixed => 500.';
    END IF;
    IF max < coalesce(min, 0) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'max is below min',
            DETAIL = pg_catalog.format('Parameter min is %s, max is %s.', min, max),
            HINT = 'Leave max out for no upper bound.';
    END IF;
    IF NOT postback.brackets_valid(brackets) OR brackets @? '$[*].percent ? (@ > 999)' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'brackets are not valid',
            DETAIL = 'Parameter brackets must be a list of at most 64 objects ascending by "from", each with "percent" (0 to 999), "fixed" or both.',
            HINT = 'For example [{"from": 10000, "percent": 8}].';
    END IF;
    INSERT INTO postback.terms
        (id, brand_id, offer_id, goal_id, publisher_id, percent, fixed, min, max, brackets, valid_from, valid_to)
    VALUES (new_id, its_brand, set_terms.offer, its_goal, set_terms.publisher, set_terms.percent, set_terms.fixed,
            set_terms.min, set_terms.max, set_terms.brackets, starts, ends);
    PERFORM postback.reprice_unpriced(its_brand);
    RETURN new_id;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.terms_changed()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = OLD.brand_id AND c.terms_id = OLD.id) THEN
        RETURN NEW;
    END IF;
    IF OLD.valid_to <= now() THEN
        RAISE WARNING USING
            MESSAGE = format('terms %s ended at %s and stay as they are', OLD.id, OLD.valid_to),
            DETAIL = 'Conversions were priced with them.',
            HINT = format('Those that hold now: SELECT * FROM postback.terms WHERE offer_id = %L AND valid_to > now().', OLD.offer_id);
        RETURN NULL;
    END IF;
    NEW.id := postback.new_ulid();
    NEW.created_at := now();
    INSERT INTO postback.terms VALUES (NEW.*);
    OLD.valid_to := least(OLD.valid_to, greatest(now(), OLD.valid_from + interval '1 microsecond'));
    RETURN OLD;
END
$function$
;

CREATE OR REPLACE TRIGGER terms_changed BEFORE UPDATE OF id, brand_id, offer_id, goal_id, publisher_id, percent, fixed, min, max, brackets ON postback.terms FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.brand_id IS DISTINCT FROM new.brand_id) OR (old.offer_id IS DISTINCT FROM new.offer_id) OR (old.goal_id IS DISTINCT FROM new.goal_id) OR (old.publisher_id IS DISTINCT FROM new.publisher_id) OR (old.percent IS DISTINCT FROM new.percent) OR (old.fixed IS DISTINCT FROM new.fixed) OR (old.min IS DISTINCT FROM new.min) OR (old.max IS DISTINCT FROM new.max) OR (old.brackets IS DISTINCT FROM new.brackets))) EXECUTE FUNCTION postback.terms_changed();

CREATE OR REPLACE FUNCTION postback.terms_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = OLD.brand_id AND c.terms_id = OLD.id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('terms %s cannot be deleted', OLD.id),
            DETAIL = 'Conversions were priced with them.',
            HINT = format('To end them: UPDATE postback.terms SET valid_to = now() WHERE id = %L.', OLD.id);
    END IF;
    RETURN OLD;
END
$function$
;

CREATE OR REPLACE TRIGGER terms_deleted BEFORE DELETE ON postback.terms FOR EACH ROW EXECUTE FUNCTION postback.terms_deleted();

CREATE OR REPLACE FUNCTION postback.set_fx_rate(base text, quote text, rate numeric, valid_from timestamp with time zone DEFAULT now())
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    base_code text := postback.check_currency('base', base);
    quote_code text := postback.check_currency('quote', quote);
BEGIN
    IF base_code = quote_code THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('base and quote are both %s', base_code),
            DETAIL = 'Parameters base and quote must be two currencies.',
            HINT = '1 base = rate quote, in full units.';
    END IF;
    IF rate IS NULL OR pg_catalog.round(rate, 10) <= 0 OR pg_catalog.round(rate, 10) >= 1e8 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('rate %s is out of range', coalesce(rate::text, 'null')),
            DETAIL = 'Parameter rate must be above 0 and below 100,000,000; 10 decimals are kept.',
            HINT = '1 base = rate quote, in full units.';
    END IF;
    INSERT INTO postback.fx_rate (base, quote, rate, valid_from)
    VALUES (base_code, quote_code, set_fx_rate.rate, coalesce(set_fx_rate.valid_from, pg_catalog.now()));
    PERFORM postback.reprice_unpriced();
END
$function$
;

CREATE OR REPLACE FUNCTION postback.create_callback(name text, url text, type text DEFAULT 'conversion'::text, brand postback.ulid DEFAULT NULL::postback.ulid, offer postback.ulid DEFAULT NULL::postback.ulid, publisher postback.ulid DEFAULT NULL::postback.ulid, goal text DEFAULT NULL::text, statuses text[] DEFAULT '{approved}'::text[], reasons text[] DEFAULT NULL::text[], delay interval DEFAULT '00:00:00'::interval, method text DEFAULT 'GET'::text, params jsonb DEFAULT NULL::jsonb, headers jsonb DEFAULT NULL::jsonb, auth jsonb DEFAULT NULL::jsonb, secret text DEFAULT NULL::text, success_codes text DEFAULT '200-299'::text, include_test boolean DEFAULT false, on_adjust boolean DEFAULT false, every_status boolean DEFAULT false)
 RETURNS postback.ulid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    new_id postback.ulid := postback.new_ulid();
    its_brand postback.ulid := brand;
    its_goal text := nullif(pg_catalog.btrim(goal), '');
    its_statuses text[];
    word text;
BEGIN
    PERFORM postback.check_text('name', name);
    PERFORM postback.check_text('url', url);
    IF type IS NULL OR type NOT IN ('click', 'conversion', 'event') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('type "%s" is unknown', coalesce(type, '')),
            DETAIL = 'Parameter type says what the callback tells of.',
            HINT = 'Use click, conversion or event.';
    END IF;
    IF offer IS NOT NULL THEN
        its_brand := postback.brand_of_offer(offer);
        IF brand IS NOT NULL THEN
            PERFORM postback.check_offer_of_brand(offer, brand);
        END IF;
        -- A goal may be one that the offer does not define; an id is kept as its name.
        SELECT coalesce(pg_catalog.max(g.name COLLATE "C"), its_goal) INTO its_goal
        FROM postback.goal g
        WHERE g.offer_id = create_callback.offer AND g.id::text = pg_catalog.upper(its_goal);
    ELSIF brand IS NOT NULL THEN
        PERFORM postback.check_brand(brand);
    END IF;
    IF publisher IS NOT NULL THEN
        PERFORM postback.check_publisher(publisher);
    END IF;
    IF pg_catalog.octet_length(its_goal) > 64 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('goal "%s..." is too long', pg_catalog.left(its_goal, 20)),
            DETAIL = 'Parameter goal is the name of a goal, up to 64 bytes.',
            HINT = 'Leave it out for any goal.';
    END IF;
    FOREACH word IN ARRAY coalesce(statuses, '{}') LOOP
        its_statuses := its_statuses || CASE pg_catalog.lower(pg_catalog.btrim(word))
            WHEN 'pending' THEN '{pending}'::text[]
            WHEN 'approved' THEN '{approved}'
            WHEN 'rejected' THEN '{rejected}'
            WHEN 'reversed' THEN '{rejected}'
            WHEN 'any' THEN '{pending,approved,rejected}'
            ELSE ARRAY[word] END;
    END LOOP;
    IF its_statuses IS NULL OR NOT its_statuses <@ '{pending,approved,rejected}' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('statuses %s are not all known', coalesce(statuses::text, 'null')),
            DETAIL = 'Parameter statuses says on which the callback fires.',
            HINT = 'Use any of pending, approved, rejected; or any for all three.';
    END IF;
    its_statuses := ARRAY(SELECT s FROM pg_catalog.unnest('{pending,approved,rejected}'::text[]) WITH ORDINALITY AS k (s, n)
                          WHERE s = ANY (its_statuses) ORDER BY n);
    IF pg_catalog.cardinality(reasons) = 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'reasons is an empty list',
            DETAIL = 'Parameter reasons narrows rejected conversions to those with one of these reasons.',
            HINT = 'Leave it out for any reason.';
    END IF;
    IF delay IS NULL OR (delay <> '0' AND delay NOT BETWEEN '2 minutes' AND '1000 years') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('delay %s is too %s', coalesce(delay::text, 'null'), CASE WHEN delay > '2 minutes' THEN 'long' ELSE 'short' END),
            DETAIL = 'Parameter delay must be 0 or from 2 minutes to 1000 years.',
            HINT = 'For example delay => ''5 minutes''.';
    END IF;
    IF method IS NULL OR method NOT IN ('GET', 'POST_FORM', 'POST_JSON') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('method "%s" is unknown', coalesce(method, '')),
            DETAIL = 'Parameter method says how the request is made.',
            HINT = 'Use GET, POST_FORM or POST_JSON.';
    END IF;
    IF (CASE auth ->> 'type'
            WHEN 'basic' THEN pg_catalog.jsonb_typeof(auth -> 'user') = 'string' AND auth ->> 'user' !~ ':'
                              AND pg_catalog.jsonb_typeof(auth -> 'password') = 'string'
            WHEN 'bearer' THEN pg_catalog.jsonb_typeof(auth -> 'token') = 'string' AND auth ->> 'token' ~ '^[!-~]+$'
            ELSE auth IS NULL
        END) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'auth is not understood',
            DETAIL = 'Parameter auth must be of type basic with user and password, or of type bearer with token.',
            HINT = '{"type":"basic","user":"...","password":"..."} or {"type":"bearer","token":"..."}';
    END IF;
    IF success_codes IS NULL
       OR success_codes !~ '^[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*$' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('success_codes "%s" is not a list of HTTP codes', coalesce(success_codes, '')),
            DETAIL = 'Parameter success_codes lists codes and ranges of codes, separated by commas.',
            HINT = 'For example 200-299,302.';
    END IF;
    INSERT INTO postback.callback
        (id, name, type, brand_id, offer_id, publisher_id, goal, statuses, reasons, delay, method, url, params, headers, auth,
         success_codes, include_test, on_adjust, every_status)
    VALUES (new_id, create_callback.name, create_callback.type, its_brand, create_callback.offer, create_callback.publisher,
            its_goal, its_statuses, create_callback.reasons, create_callback.delay, create_callback.method,
            create_callback.url, create_callback.params, create_callback.headers, create_callback.auth,
            create_callback.success_codes, coalesce(create_callback.include_test, false),
            coalesce(create_callback.on_adjust, false), coalesce(create_callback.every_status, false));
    IF secret IS NOT NULL THEN
        INSERT INTO postback.callback_secret (callback_id, secret) VALUES (new_id, postback.check_secret(create_callback.secret));
    END IF;
    RETURN new_id;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.rotate_secret(callback postback.ulid, secret text DEFAULT NULL::text)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    fresh text := postback.check_secret(coalesce(secret, pg_catalog.encode(postback.random_bytes(32), 'base64')));
BEGIN
    -- Locks the callback: of two at once the later one's secret is the lasting one.
    PERFORM FROM postback.callback c WHERE c.id = rotate_secret.callback FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('callback %s does not exist', coalesce(callback::text, 'null')),
            DETAIL = 'Parameter callback must be the id of a row of postback.callback.',
            HINT = 'SELECT id, name FROM postback.callback lists them.';
    END IF;
    -- Two sign at most: the newest of the others beside it.
    DELETE FROM postback.callback_secret s
    WHERE s.callback_id = rotate_secret.callback AND s.secret <> fresh
      AND (s.valid_to <= pg_catalog.now()
           OR s.secret <> (SELECT x.secret FROM postback.callback_secret x
                           WHERE x.callback_id = rotate_secret.callback AND x.secret <> fresh
                           ORDER BY x.valid_to DESC, x.secret
                           LIMIT 1));
    UPDATE postback.callback_secret s SET valid_to = pg_catalog.now() + interval '24 hours'
    WHERE s.callback_id = rotate_secret.callback AND s.secret <> fresh
      AND s.valid_to > pg_catalog.now() + interval '24 hours';
    INSERT INTO postback.callback_secret (callback_id, secret) VALUES (rotate_secret.callback, fresh)
    ON CONFLICT ON CONSTRAINT callback_secret_pkey DO UPDATE SET valid_to = 'infinity';
    RETURN fresh;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.book_transfer(brand postback.ulid, publisher postback.ulid, from_account text, to_account text, amount bigint, currency text, kind text, reference text)
 RETURNS postback.ulid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    new_id postback.ulid := postback.new_ulid();
    brand_currency text;
BEGIN
    IF amount IS NULL OR amount <= 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('amount %s is out of range', coalesce(amount::text, 'null')),
            DETAIL = 'Parameter amount must be above 0, in minor units of the brand''s currency.',
            HINT = '10.00 EUR is amount => 1000.';
    END IF;
    -- Locks the brand, as conversions of prepaid brands do: the balance that decides on exhausted is exact.
    SELECT b.currency INTO brand_currency FROM postback.brand b WHERE b.id = book_transfer.brand FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM postback.check_brand(brand);
    END IF;
    IF currency IS NOT NULL AND postback.check_currency('currency', currency) <> brand_currency THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('currency %s is not the brand''s', pg_catalog.upper(pg_catalog.btrim(currency))),
            DETAIL = pg_catalog.format('Parameter currency must be %s, in which the brand''s ledger is kept.', brand_currency),
            HINT = 'Convert the amount first, or leave currency out.';
    END IF;
    INSERT INTO postback.ledger (id, brand_id, publisher_id, from_account, to_account, amount, currency, kind, reference)
    VALUES (new_id, book_transfer.brand, book_transfer.publisher, book_transfer.from_account, book_transfer.to_account,
            book_transfer.amount, brand_currency, book_transfer.kind, book_transfer.reference);
    INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount)
    VALUES (book_transfer.brand, from_account, CASE from_account WHEN 'payable' THEN publisher END, brand_currency, - amount),
           (book_transfer.brand, to_account, CASE to_account WHEN 'payable' THEN publisher END, brand_currency, amount);
    IF EXISTS (SELECT FROM postback.balance m
               WHERE m.brand_id = book_transfer.brand AND m.account IN (from_account, to_account)
               GROUP BY m.account, m.publisher_id
               HAVING pg_catalog.abs(pg_catalog.sum(m.amount)) > 9223372036854775807) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'numeric_value_out_of_range',
            MESSAGE = pg_catalog.format('amount %s is too large for the balance', amount),
            DETAIL = pg_catalog.format('Accounts %s and %s hold at most 9223372036854775807 minor units.', from_account, to_account),
            HINT = '10.00 EUR is amount => 1000.';
    END IF;
    UPDATE postback.brand b SET exhausted = NOT b.exhausted
    WHERE b.id = book_transfer.brand
      AND b.exhausted <> postback.is_exhausted(b.id, b.prepaid, b.credit_limit);
    RETURN new_id;
END
$function$
;

CREATE OR REPLACE TRIGGER brand_limit_set BEFORE INSERT ON postback.brand FOR EACH ROW WHEN ((new.prepaid AND (new.created_at = now()))) EXECUTE FUNCTION postback.brand_limit_changed();

CREATE OR REPLACE FUNCTION postback.brand_currency_changed()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = NEW.id)
       OR EXISTS (SELECT FROM postback.ledger l WHERE l.brand_id = NEW.id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('the currency of brand %s cannot be changed any more', NEW.id),
            DETAIL = format('Its conversions and its ledger are kept in %s.', OLD.currency),
            HINT = 'Make another brand with postback.create_brand(...).';
    END IF;
    RETURN NEW;
END
$function$
;

CREATE OR REPLACE TRIGGER brand_currency_changed BEFORE UPDATE OF currency ON postback.brand FOR EACH ROW WHEN ((new.currency <> old.currency)) EXECUTE FUNCTION postback.brand_currency_changed();

CREATE OR REPLACE FUNCTION postback.make_partition(table_name text, starts timestamp with time zone, ends timestamp with time zone)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    partition text := table_name || '_p' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDDHH24MI');
    default_table text := table_name || '_default';
    lower postback.ulid := postback.ulid_floor(starts);
    upper postback.ulid := postback.ulid_floor(ends);
    options text;
BEGIN
    -- click_p20260101, with the hour and minute only if it does not begin at midnight
    partition := regexp_replace(regexp_replace(partition, '(_p\d{10})00$', '\1'), '(_p\d{8})00$', '\1');

    -- Until this is committed nothing is written to the default partition, whose rows of this range move.
    EXECUTE format('LOCK TABLE postback.%I IN ACCESS EXCLUSIVE MODE', default_table);
    -- Whoever writes now goes there so far: he must not wait for it, and fail, but for the table, and find the new partition.
    IF starts <= clock_timestamp() THEN
        EXECUTE format('LOCK TABLE ONLY postback.%I IN SHARE ROW EXCLUSIVE MODE', table_name);
    END IF;
    EXECUTE format('CREATE TABLE postback.%I (LIKE postback.%I INCLUDING ALL)', partition, default_table);
    SELECT array_to_string(c.reloptions, ', ') INTO options
    FROM pg_class c
    WHERE c.oid = format('postback.%I', default_table)::regclass;
    IF options IS NOT NULL THEN
        EXECUTE format('ALTER TABLE postback.%I SET (%s)', partition, options);
    END IF;
    EXECUTE format('WITH moved AS (DELETE FROM postback.%I WHERE id >= $1 AND id < $2 RETURNING *)
                    INSERT INTO postback.%I SELECT * FROM moved', default_table, partition)
        USING lower, upper;
    EXECUTE format('ALTER TABLE postback.%I ATTACH PARTITION postback.%I FOR VALUES FROM (%L) TO (%L)',
                   table_name, partition, lower, upper);
    RETURN partition;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.still_needed(table_name text, lower postback.ulid, upper postback.ulid, at timestamp with time zone)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF table_name = 'delivery' AND EXISTS (SELECT FROM postback.delivery_due q
                                           WHERE q.delivery_id >= lower AND q.delivery_id < upper) THEN
        RETURN 'deliveries to be sent';
    END IF;
    IF table_name = 'click' AND upper > postback.ulid_floor(
           at - (SELECT max(w.attribution_window)
                 FROM (SELECT b.attribution_window FROM postback.brand b
                       UNION ALL SELECT o.attribution_window FROM postback.offer o) w)) THEN
        RETURN 'an attribution window';
    END IF;
    IF table_name IN ('click', 'history') AND NOT EXISTS (SELECT FROM postback.daily_mark m WHERE m.upto >= upper) THEN
        RETURN 'the daily reports';
    END IF;
    RETURN NULL;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.keep_partitions(at timestamp with time zone DEFAULT now(), OUT table_name text, OUT partition text, OUT action text)
 RETURNS SETOF record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '200ms'
AS $function$
#variable_conflict use_column
DECLARE
    policy record;
    existing record;
    starts timestamptz;
    ends timestamptz;
    covered timestamptz;
    next_lower timestamptz;
    until timestamptz;
    oldest postback.ulid;
    need text;
    purged bigint;
BEGIN
    -- Two at once would make the same partitions.
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('postback'), 1);
    EXCEPTION WHEN lock_not_available THEN
        action := 'busy';
        RETURN NEXT;
        RETURN;
    END;

    -- Policies are kept as rows by this function, not by the extension's script, so that a dump holds all of them.
    INSERT INTO postback.partition_policy (table_name, width, ahead, retention)
    SELECT d.table_name, d.width, d.ahead, d.retention FROM postback.partition_defaults() d
    ON CONFLICT DO NOTHING;

    FOR policy IN
        SELECT p.table_name, p.width, p.ahead, p.retention
        FROM postback.partition_policy p
        JOIN postback.partition_defaults() d ON d.table_name = p.table_name
        ORDER BY p.table_name COLLATE "C"
    LOOP
        table_name := policy.table_name;

        -- The current partition and those ahead.  Bounds that are there stay, whatever width they were made with; what is
        -- made begins where they end, or fills the gaps between them.
        starts := postback.partition_floor(policy.width, at);
        until := starts;
        FOR i IN 0 .. policy.ahead LOOP
            until := postback.partition_next(policy.width, until);
        END LOOP;
        WHILE starts < until LOOP
            SELECT max(postback.ulid_time(b.upper)) FILTER (WHERE b.lower <= postback.ulid_floor(starts)),
                   min(postback.ulid_time(b.lower)) FILTER (WHERE b.lower > postback.ulid_floor(starts))
            INTO covered, next_lower
            FROM postback.partition_bounds(format('postback.%I', table_name)::regclass) b
            WHERE b.upper > postback.ulid_floor(starts);
            IF covered IS NOT NULL THEN
                starts := covered;
                CONTINUE;
            END IF;
            ends := least(postback.partition_next(policy.width, starts), next_lower);
            BEGIN
                partition := postback.make_partition(table_name, starts, ends);
                action := 'created';
            EXCEPTION WHEN lock_not_available THEN
                partition := NULL;
                action := 'busy';
            END;
            RETURN NEXT;
            EXIT WHEN action = 'busy';
            starts := ends;
        END LOOP;

        CONTINUE WHEN policy.retention IS NULL;
        oldest := postback.ulid_floor(at - policy.retention);
        FOR existing IN
            SELECT b.partition AS relation, c.relname::text AS name, b.lower, b.upper
            FROM postback.partition_bounds(format('postback.%I', table_name)::regclass) b
            JOIN pg_class c ON c.oid = b.partition
            WHERE b.upper <= oldest
        LOOP
            partition := existing.name;
            need := postback.still_needed(table_name, existing.lower, existing.upper, at);
            IF need IS NOT NULL THEN
                action := 'kept for ' || need;
                RETURN NEXT;
                CONTINUE;
            END IF;
            BEGIN
                EXECUTE format('DROP TABLE %s', existing.relation);
                action := 'dropped';
            EXCEPTION WHEN lock_not_available THEN
                action := 'busy';
            END;
            RETURN NEXT;
        END LOOP;

        -- Rows that came when no partition had been made for them.
        partition := table_name || '_default';
        EXECUTE format('DELETE FROM postback.%I d WHERE d.id < $1
                          AND postback.still_needed($2, d.id, postback.ulid_floor(postback.ulid_time(d.id) + interval ''1 ms''), $3) IS NULL',
                       partition)
            USING oldest, table_name, at;
        GET DIAGNOSTICS purged = ROW_COUNT;
        IF purged > 0 THEN
            action := 'purged';
            RETURN NEXT;
        END IF;
    END LOOP;
END
$function$
;

CREATE OR REPLACE PROCEDURE postback.approve_due(IN chunk integer DEFAULT 1000)
 LANGUAGE plpgsql
AS $procedure$
DECLARE
    until pg_catalog.timestamptz := pg_catalog.clock_timestamp();
    last_hold pg_catalog.timestamptz := '-infinity';
    last_id postback.ulid := '00000000000000000000000000';
    due postback.ulid[];
    one postback.ulid;
    problem pg_catalog.text;
    size integer := GREATEST(chunk OPERATOR(pg_catalog./) 16, 1);
    began pg_catalog.timestamptz;
    ended pg_catalog.xid8; -- the transaction after the last that has ended
    crowded boolean;
BEGIN
    IF chunk OPERATOR(pg_catalog.<) 1 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('chunk %s is out of range', chunk),
            DETAIL = 'Parameter chunk is how many conversions are approved per transaction at most.',
            HINT = 'Leave it out for 1000.';
    END IF;
    LOOP
        began := pg_catalog.clock_timestamp();
        ended := pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot());
        -- Goes on after the last key, never back: what cannot be approved now is left to the next call.
        SELECT pg_catalog.array_agg(d.id), pg_catalog.max(d.hold_until)
        INTO due, last_hold
        FROM (SELECT c.id, c.hold_until
              FROM postback.conversion c
              WHERE c.status OPERATOR(pg_catalog.=) 'pending'
                AND c.commission IS NOT NULL
                AND c.hold_until OPERATOR(pg_catalog.<=) until
                AND (c.hold_until, c.id) OPERATOR(pg_catalog.>) (last_hold, last_id)
              ORDER BY c.hold_until, c.id
              LIMIT size
              FOR NO KEY UPDATE SKIP LOCKED) d;
        EXIT WHEN due IS NULL;
        last_id := due[pg_catalog.array_upper(due, 1)];

        PERFORM pg_catalog.set_config('postback.actor', 'cron', true);
        BEGIN
            UPDATE postback.conversion c SET status = 'approved' WHERE c.id OPERATOR(pg_catalog.=) ANY (due);
            problem := NULL;
        EXCEPTION WHEN OTHERS THEN
            problem := SQLERRM;
        END;
        IF problem IS NOT NULL THEN
            -- One of them cannot be approved; the others are not to wait for it.
            FOREACH one IN ARRAY due LOOP
                BEGIN
                    UPDATE postback.conversion c SET status = 'approved' WHERE c.id OPERATOR(pg_catalog.=) one;
                EXCEPTION WHEN OTHERS THEN
                    RAISE WARNING 'conversion % could not be approved: %', one, SQLERRM;
                END;
            END LOOP;
        END IF;
        crowded := pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) OPERATOR(pg_catalog.<>) ended;
        COMMIT;
        EXIT WHEN pg_catalog.cardinality(due) OPERATOR(pg_catalog.<) size;
        -- Who else writes shall not wait long, neither for a processor nor for the log: small chunks then, and half of the time.
        IF crowded THEN
            size := GREATEST(chunk OPERATOR(pg_catalog./) 16, 1);
            PERFORM pg_catalog.pg_sleep(
                LEAST(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began), 1));
        ELSE
            size := LEAST(size::bigint OPERATOR(pg_catalog.*) 2, chunk);
        END IF;
    END LOOP;
END
$procedure$
;

CREATE OR REPLACE FUNCTION postback.fold_balances()
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    folded bigint;
BEGIN
    -- A second one at the same time has nothing to do.
    IF NOT pg_try_advisory_xact_lock(hashtext('postback'), 3) THEN
        RETURN 0;
    END IF;
    -- One statement: whoever reads sees the rows before it or the row after it, and the same sum.
    WITH gone AS (
        DELETE FROM postback.balance b
        USING (SELECT m.id, count(*) OVER account AS rows, sum(m.amount) OVER account AS total
               FROM postback.balance m
               WINDOW account AS (PARTITION BY m.brand_id, m.account, m.publisher_id, m.currency)) k
        -- A sum that no row can hold stays in rows: the other accounts are not to wait for it.
        WHERE b.id = k.id AND k.rows > 1 AND abs(k.total) <= 9223372036854775807
        RETURNING b.brand_id, b.account, b.publisher_id, b.currency, b.amount
    ), kept AS (
        INSERT INTO postback.balance (brand_id, account, publisher_id, currency, amount)
        SELECT g.brand_id, g.account, g.publisher_id, g.currency, sum(g.amount)
        FROM gone g
        GROUP BY g.brand_id, g.account, g.publisher_id, g.currency
        HAVING sum(g.amount) <> 0
    )
    SELECT count(*) INTO folded FROM gone;
    RETURN folded;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.is_success(success_codes text, http_code integer)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(bool_or(http_code BETWEEN SYMMETRIC split_part(r, '-', 1)::integer
                                      AND coalesce(nullif(split_part(r, '-', 2), ''), r)::integer), false)
    FROM string_to_table(success_codes, ',') r
$function$
;

CREATE OR REPLACE FUNCTION postback.wake_deliveries(at timestamp with time zone, at_least integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.compact_due()
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.mask_auth(response text, auth jsonb)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.claim(sender text, max_items integer, lease interval DEFAULT '00:01:00'::interval, full_endpoints text[] DEFAULT NULL::text[], per_endpoint integer DEFAULT 64)
 RETURNS TABLE(attempt_id postback.ulid, delivery_id postback.ulid, endpoint text, method text, url text, headers text[], body text, secrets text[], attempt integer, timeout_ms integer)
 LANGUAGE plpgsql
 SECURITY DEFINER ROWS 256
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_sort TO 'on'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.settle(sender text, delivery_ids postback.ulid[], attempt_ids postback.ulid[], outcomes text[], http_codes integer[], errors text[], retry_afters integer[], milliseconds integer[], addresses inet[], responses text[])
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.callback_switched()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.requeue(callback postback.ulid, since timestamp with time zone, until timestamp with time zone DEFAULT now(), states text[] DEFAULT '{failed}'::text[])
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.resend(delivery postback.ulid)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION postback.audit(OUT check_name text, OUT brand_id postback.ulid, OUT subject text, OUT expected text, OUT actual text)
 RETURNS SETOF record
 LANGUAGE sql
 STABLE SECURITY DEFINER ROWS 10
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET jit TO 'off'
 SET work_mem TO '64MB'
AS $function$
    WITH
    -- Each transfer twice: what it does to the account it comes from, and to the one it goes to.
    entry AS MATERIALIZED (
        SELECT l.brand_id, a.account, CASE a.account WHEN 'payable' THEN l.publisher_id END AS publisher_id, l.currency,
               a.amount, l.conversion_id
        FROM postback.ledger l
        CROSS JOIN LATERAL (VALUES (l.from_account, - l.amount), (l.to_account, l.amount)) AS a (account, amount)
    ),
    -- Where the money of each conversion stands by its own row.
    due AS MATERIALIZED (
        SELECT c.id, c.brand_id, c.publisher_id, c.commission_currency AS currency, c.status,
               CASE WHEN c.test OR c.offer_id IS NULL THEN 0 ELSE coalesce(c.commission, 0) END::numeric AS commission,
               CASE WHEN c.test OR c.offer_id IS NULL THEN 0 ELSE coalesce(c.fee, 0) END::numeric AS fee
        FROM postback.conversion c
    ),
    account AS MATERIALIZED (
        SELECT e.brand_id, e.account, e.publisher_id, e.currency, sum(e.amount) AS amount
        FROM entry e
        GROUP BY e.brand_id, e.account, e.publisher_id, e.currency
    ),
    rolled AS (
        SELECT b.brand_id, b.account, b.publisher_id, b.currency, sum(b.amount) AS amount
        FROM postback.balance b
        GROUP BY b.brand_id, b.account, b.publisher_id, b.currency
    ),
    difference (check_name, brand_id, subject, expected, actual) AS (
        -- The roll-up is the ledger's sum, account by account.
        SELECT 'balance', coalesce(a.brand_id, r.brand_id),
               concat_ws(' ', coalesce(a.account, r.account), coalesce(a.publisher_id, r.publisher_id), coalesce(a.currency, r.currency)),
               coalesce(a.amount, 0)::text, coalesce(r.amount, 0)::text
        FROM account a
        FULL JOIN rolled r
            ON (r.brand_id, r.account, coalesce(r.publisher_id, r.brand_id), r.currency)
             = (a.brand_id, a.account, coalesce(a.publisher_id, a.brand_id), a.currency)
        WHERE coalesce(a.amount, 0) <> coalesce(r.amount, 0)

        UNION ALL  -- held = commission and fee of what is pending
        SELECT 'held', brand_id, concat_ws(' ', 'held', currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.currency, d.commission + d.fee AS expected, 0 AS actual FROM due d WHERE d.status = 'pending'
              UNION ALL
              SELECT a.brand_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'held') s
        GROUP BY brand_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL
        SELECT 'held_negative', a.brand_id, concat_ws(' ', 'held', a.currency), '>= 0', a.amount::text
        FROM account a
        WHERE a.account = 'held' AND a.amount < 0

        UNION ALL  -- payable and paid out = commission of what is approved, per publisher
        SELECT 'payable', brand_id, concat_ws(' ', 'payable', publisher_id, currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.publisher_id, d.currency, d.commission AS expected, 0 AS actual
              FROM due d
              WHERE d.status = 'approved' AND d.commission <> 0
              UNION ALL
              SELECT a.brand_id, a.publisher_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'payable'
              UNION ALL
              SELECT l.brand_id, l.publisher_id, l.currency, 0, l.amount FROM postback.ledger l WHERE l.to_account = 'payout') s
        GROUP BY brand_id, publisher_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- fees = fee of what is approved
        SELECT 'fees', brand_id, concat_ws(' ', 'fees', currency), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.currency, d.fee AS expected, 0 AS actual FROM due d WHERE d.status = 'approved'
              UNION ALL
              SELECT a.brand_id, a.currency, 0, a.amount FROM account a WHERE a.account = 'fees') s
        GROUP BY brand_id, currency
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- each conversion's own lines net to its own state
        SELECT 'conversion', brand_id, concat_ws(' ', 'conversion', id, account), sum(expected)::text, sum(actual)::text
        FROM (SELECT d.brand_id, d.id, d.publisher_id, p.account, p.expected, 0 AS actual
              FROM due d
              CROSS JOIN LATERAL (VALUES ('held', d.commission + d.fee, NULL::postback.ulid, 'pending'),
                                         ('payable', d.commission, d.publisher_id, 'approved'),
                                         ('fees', d.fee, NULL, 'approved')) AS p (account, expected, publisher_id, status)
              WHERE p.status = d.status AND p.expected <> 0
              UNION ALL
              SELECT e.brand_id, e.conversion_id, e.publisher_id, e.account, 0, e.amount
              FROM entry e
              WHERE e.conversion_id IS NOT NULL AND e.account IN ('held', 'payable', 'fees')) s
        GROUP BY brand_id, id, account, CASE account WHEN 'payable' THEN publisher_id END
        HAVING sum(expected) <> sum(actual)

        UNION ALL  -- test and unattributed orders, and none at all, have no lines
        SELECT 'no_ledger', l.brand_id,
               concat_ws(' ', CASE WHEN c.test THEN 'test' WHEN c.id IS NOT NULL THEN 'unattributed' ELSE 'missing' END,
                         'conversion', l.conversion_id),
               '0 lines', count(*) || ' lines'
        FROM postback.ledger l
        LEFT JOIN postback.conversion c ON c.id = l.conversion_id
        WHERE l.conversion_id IS NOT NULL AND (c.id IS NULL OR c.test OR c.offer_id IS NULL)
        GROUP BY l.brand_id, l.conversion_id, c.id, c.test

        UNION ALL  -- each kind of line joins its own two accounts
        SELECT 'kind', l.brand_id, concat_ws(' ', 'ledger', l.id, l.kind),
               coalesce(k.from_account || ' -> ' || k.to_account, 'no such kind'), l.from_account || ' -> ' || l.to_account
        FROM postback.ledger l
        LEFT JOIN (VALUES ('commission_held',     'available', 'held'),
                          ('fee_held',            'available', 'held'),
                          ('commission_released', 'held',      'available'),
                          ('fee_released',        'held',      'available'),
                          ('commission_approved', 'held',      'payable'),
                          ('fee_approved',        'held',      'fees'),
                          ('commission_clawback', 'payable',   'available'),
                          ('fee_clawback',        'fees',      'available'),
                          ('topup',               'topup',     'available'),
                          ('payout',              'payable',   'payout')) AS k (kind, from_account, to_account)
            ON k.kind = l.kind
        WHERE (l.from_account, l.to_account) IS DISTINCT FROM (k.from_account, k.to_account)

        UNION ALL  -- a prepaid brand at its limit is exhausted, and no other
        SELECT 'exhausted', b.id, 'brand', e.exhausted::text, b.exhausted::text
        FROM postback.brand b
        LEFT JOIN account a ON a.brand_id = b.id AND a.account = 'available' AND a.currency = b.currency
        CROSS JOIN LATERAL (SELECT b.prepaid AND coalesce(a.amount, 0) <= - b.credit_limit AS exhausted) e
        WHERE b.exhausted <> e.exhausted

        UNION ALL  -- history, whatever the order of its rows, leads from nothing to what the conversion is now
        SELECT 'history', h.brand_id, concat_ws(' ', 'conversion', h.id, h.what), h.expected, h.actual
        FROM (SELECT c.brand_id, c.id, w.what, w.expected, w.actual
              FROM postback.conversion c
              LEFT JOIN (SELECT x.conversion_id, x.brand_id,
                                count(*) FILTER (WHERE x.to_status = 'pending')
                                    - count(*) FILTER (WHERE x.from_status = 'pending') AS pending,
                                count(*) FILTER (WHERE x.to_status = 'approved')
                                    - count(*) FILTER (WHERE x.from_status = 'approved') AS approved,
                                count(*) FILTER (WHERE x.to_status = 'reversed')
                                    - count(*) FILTER (WHERE x.from_status = 'reversed') AS reversed,
                                sum(x.to_value - coalesce(x.from_value, 0)) AS value,
                                sum(coalesce(x.to_commission, 0) - coalesce(x.from_commission, 0)) AS commission,
                                sum(coalesce(x.to_fee, 0) - coalesce(x.from_fee, 0)) AS fee
                         FROM postback.history x
                         GROUP BY x.conversion_id, x.brand_id) h ON h.conversion_id = c.id AND h.brand_id = c.brand_id
              CROSS JOIN LATERAL (VALUES
                  ('status', c.status,
                   CASE format('%s %s %s', h.pending, h.approved, h.reversed)
                       WHEN '1 0 0' THEN 'pending' WHEN '0 1 0' THEN 'approved' WHEN '0 0 1' THEN 'reversed'
                       ELSE 'broken' END),
                  ('value', c.value::text, coalesce(h.value, 0)::text),
                  ('commission', coalesce(c.commission, 0)::text, coalesce(h.commission, 0)::text),
                  ('fee', coalesce(c.fee, 0)::text, coalesce(h.fee, 0)::text)) AS w (what, expected, actual)) h
        WHERE h.expected <> h.actual

        UNION ALL  -- and is of conversions that are there
        SELECT 'history', x.brand_id, concat_ws(' ', 'missing conversion', x.conversion_id), '0 changes', count(*) || ' changes'
        FROM postback.history x
        LEFT JOIN postback.conversion c ON c.id = x.conversion_id AND c.brand_id = x.brand_id
        WHERE c.id IS NULL
        GROUP BY x.brand_id, x.conversion_id

        UNION ALL  -- one currency per brand
        SELECT 'currency', s.brand_id, s.subject, coalesce(b.currency, 'no such brand'), s.currency
        FROM (SELECT c.brand_id, 'conversion ' || c.id::text AS subject, c.commission_currency AS currency FROM postback.conversion c
              UNION ALL
              SELECT a.brand_id, 'ledger ' || a.account, a.currency FROM account a
              UNION ALL
              SELECT r.brand_id, 'balance ' || r.account, r.currency FROM rolled r) s
        LEFT JOIN postback.brand b ON b.id = s.brand_id
        WHERE s.currency IS DISTINCT FROM b.currency
    )
    SELECT d.check_name, d.brand_id, d.subject, d.expected, d.actual FROM difference d ORDER BY 1, 2, 3, 4
$function$
;

CREATE OR REPLACE FUNCTION postback.explain_parked(r postback.receipt, applied boolean)
 RETURNS postback.explanation
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    p postback.parked;
BEGIN
    IF applied THEN
        RETURN ('parked', 'kept until it could be applied', 'applied, see below')::postback.explanation;
    END IF;
    SELECT * INTO p FROM postback.parked x WHERE x.receipt_id = r.id;
    IF FOUND AND p.expires_at > now() THEN
        RETURN ('parked', CASE WHEN p.expires_at = 'infinity' THEN 'kept until the order has a price'
                               ELSE 'kept for its order until ' || postback.explain_time(p.expires_at) END, 'waiting')::postback.explanation;
    END IF;
    RETURN ('parked', 'not kept any more',
        CASE WHEN r.code = 'unknown_order'
              AND EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = r.brand_id AND c.order_ref = r.order_ref)
             THEN 'did not fit the order when it came'
             WHEN r.code = 'unknown_order' AND postback.ulid_time(r.id) < now() - interval '24 hours' THEN 'the 24 hours are over'
             WHEN r.code = 'unknown_order' THEN 'enough were waiting for the order already, or it was sent again'
             ELSE 'another one was waiting already, or a reversal came after it' END)::postback.explanation;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.replay_call(receipt postback.ulid)
 RETURNS postback.reply
 LANGUAGE c
 STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS '$libdir/postback', $function$postback_replay$function$
;

CREATE OR REPLACE FUNCTION postback.replay(receipt postback.ulid)
 RETURNS SETOF postback.explanation
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    answer postback.reply := postback.replay_call(receipt);
BEGIN
    IF answer.receipt_id IS NOT NULL OR answer.code IS DISTINCT FROM 'unknown_token' THEN
        RETURN QUERY SELECT * FROM postback.explain(coalesce(answer.receipt_id, replay.receipt));
    ELSE
        RETURN NEXT ('token', 'it is gone', format('HTTP %s, %s', answer.http_status, answer.code))::postback.explanation;
    END IF;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.reconcile_run(brand postback.ulid, csv text, rows jsonb, apply boolean, orders text[], since timestamp with time zone, until timestamp with time zone, claw_back boolean, delimiter text, param_map jsonb, status_map jsonb)
 RETURNS SETOF postback.reconciled
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET jit TO 'off'
AS $function$
DECLARE
    one record;
    locked postback.ulid[];
    found_rows postback.reconciled[] := '{}';
BEGIN
    PERFORM postback.check_brand(brand);
    IF csv IS NULL AND rows IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'there is nothing to reconcile',
            DETAIL = 'Parameter csv (text with a header row) or rows (a JSON array of objects) holds the brand''s list.',
            HINT = 'In psql: \set list `cat orders.csv`, then csv => :''list''.';
    END IF;
    -- By itself first: what is wrong with the list is told without the text of the comparison as context.
    PERFORM FROM postback.reconcile_list(csv, rows, delimiter, param_map, status_map, true);
    IF apply THEN
        -- What is to change is locked in the order in which batches lock, and then looked at again.
        SELECT array_agg(k.id) INTO locked
        FROM (SELECT (c.found).conversion_id AS id
              FROM postback.reconcile_compare(brand, csv, rows, orders, NULL, NULL, claw_back, delimiter, param_map, status_map,
                                               true) c
              WHERE (c.found).action IS NOT NULL
              ORDER BY (c.found)."order" COLLATE "C", (c.found).goal COLLATE postback.nocase) s
        CROSS JOIN LATERAL (SELECT x.id FROM postback.conversion x WHERE x.id = s.id LIMIT 1 FOR NO KEY UPDATE) k;
    END IF;
    FOR one IN
        SELECT c.*
        FROM postback.reconcile_compare(brand, csv, rows, orders, since, until, claw_back, delimiter, param_map, status_map,
                                        false) c
        ORDER BY c.message IS NULL,
                 array_position('{missing here,missing there,ambiguous,currency,amount,amount and status,status}',
                                (c.found).difference),
                 (c.found).line, (c.found).conversion_id
    LOOP
        IF one.message IS NOT NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_parameter_value', MESSAGE = one.message, DETAIL = one.detail, HINT = one.hint;
        END IF;
        found_rows := found_rows || one.found;
    END LOOP;
    IF apply THEN
        PERFORM postback.reconcile_apply(array_agg(f.conversion_id), array_agg(s.status), array_agg(s.value),
                                         array_agg(f.reason), array_agg(f.notice))
        FROM unnest(found_rows) f
        JOIN unnest(locked) k (id) ON k.id = f.conversion_id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN f.action IN ('reverse', 'claw back') THEN 'reversed'
                        WHEN f.action IN ('approve', 'adjust and approve') THEN 'approved'
                        ELSE f.our_status END AS status,
                   CASE WHEN f.action IN ('adjust', 'adjust and approve') THEN f.their_value ELSE f.our_value END AS value) s
        WHERE f.action IS NOT NULL
        HAVING count(*) > 0;
    END IF;
    RETURN QUERY
    SELECT f.line, f."order", f.goal, f.difference, f.our_status, f.their_status, f.our_value, f.their_value, f.currency,
           f.action, f.why_not, apply IS TRUE AND f.action IS NOT NULL AND k.id IS NOT NULL, f.reason, f.notice, f.conversion_id
    FROM unnest(found_rows) WITH ORDINALITY
        AS f (line, "order", goal, difference, our_status, their_status, our_value, their_value, currency, action, why_not,
              done, reason, notice, conversion_id, n)
    LEFT JOIN unnest(locked) k (id) ON k.id = f.conversion_id
    ORDER BY f.n;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.change_count(conversion postback.ulid)
 RETURNS integer
 LANGUAGE sql
 STABLE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT count(*)::integer FROM postback.history h
    WHERE h.conversion_id = change_count.conversion AND h.id >= change_count.conversion
$function$
;

CREATE OR REPLACE FUNCTION postback.callback_figures(since interval, newest bigint)
 RETURNS TABLE(id postback.ulid, name text, enabled boolean, disabled_reason text, failing_since timestamp with time zone, attempts bigint, success_rate numeric, streak bigint, p50_ms integer, p99_ms integer, last_error text, last_error_at timestamp with time zone, last_success_at timestamp with time zone, queued bigint, delayed bigint, oldest_due timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT k.id,
     k.name,
     k.enabled,
     k.disabled_reason,
     k.failing_since,
     COALESCE(a.attempts, (0)::bigint) AS attempts,
     a.success_rate,
     COALESCE(a.streak, (0)::bigint) AS streak,
     a.p50_ms,
     a.p99_ms,
     a.last_error,
     a.last_error_at,
     a.last_success_at,
     COALESCE(q.queued, (0)::bigint) AS queued,
     COALESCE(q.delayed, (0)::bigint) AS delayed,
     q.oldest_due
    FROM ((postback.callback k
      LEFT JOIN ( SELECT t.callback_id,
             count(*) AS attempts,
             round(((count(*) FILTER (WHERE (t.outcome = 'success'::text)))::numeric / (count(*))::numeric), 4) AS success_rate,
             count(*) FILTER (WHERE ((t.outcome <> 'success'::text) AND ((t.success_id IS NULL) OR (t.id > t.success_id)))) AS streak,
             percentile_disc((0.5)::double precision) WITHIN GROUP (ORDER BY t.milliseconds) AS p50_ms,
             percentile_disc((0.99)::double precision) WITHIN GROUP (ORDER BY t.milliseconds) AS p99_ms,
             (array_agg(COALESCE(t.error, ('HTTP '::text || t.http_code)) ORDER BY t.id DESC) FILTER (WHERE (t.outcome <> 'success'::text)))[1] AS last_error,
             postback.ulid_time(max(t.id) FILTER (WHERE (t.outcome <> 'success'::text))) AS last_error_at,
             postback.ulid_time(max(t.success_id)) AS last_success_at
            FROM ( SELECT x.id,
                     x.brand_id,
                     x.delivery_id,
                     x.callback_id,
                     x.number,
                     x.sender,
                     x.outcome,
                     x.http_code,
                     x.error,
                     x.milliseconds,
                     x.address,
                     x.response,
                     max(x.id) FILTER (WHERE (x.outcome = 'success'::text)) OVER (PARTITION BY x.callback_id) AS success_id
                    FROM ( SELECT y.id,
                             y.brand_id,
                             y.delivery_id,
                             y.callback_id,
                             y.number,
                             y.sender,
                             y.outcome,
                             y.http_code,
                             y.error,
                             y.milliseconds,
                             y.address,
                             y.response
                            FROM postback.attempt y
                           WHERE (y.id >= postback.ulid_floor((now() - callback_figures.since)))
                           ORDER BY y.id DESC
                          LIMIT callback_figures.newest) x) t
           GROUP BY t.callback_id) a ON ((a.callback_id = k.id)))
      LEFT JOIN ( SELECT x.callback_id,
             count(*) AS queued,
             count(*) FILTER (WHERE ((x.attempts = 0) AND (x.due_at > now()) AND (x.leased_until IS NULL))) AS delayed,
             min(x.due_at) FILTER (WHERE isfinite(x.due_at)) AS oldest_due
            FROM postback.delivery_due x
           GROUP BY x.callback_id) q ON ((q.callback_id = k.id)));
END
;

CREATE OR REPLACE VIEW postback.callback_health WITH (security_invoker=true) AS
 SELECT f.id,
    f.name,
    f.enabled,
    f.disabled_reason,
    f.failing_since,
    f.attempts,
    f.success_rate,
    f.streak,
    f.p50_ms,
    f.p99_ms,
    f.last_error,
    f.last_error_at,
    f.last_success_at,
    f.queued,
    f.delayed,
    f.oldest_due
   FROM postback.callback_figures('1 day'::interval, NULL::bigint) f(id, name, enabled, disabled_reason, failing_since, attempts, success_rate, streak, p50_ms, p99_ms, last_error, last_error_at, last_success_at, queued, delayed, oldest_due);

CREATE OR REPLACE FUNCTION postback.callback_metrics(max_items integer DEFAULT 50, OUT callback postback.ulid, OUT name text, OUT enabled boolean, OUT attempts bigint, OUT success_ratio numeric, OUT p50_seconds numeric, OUT p99_seconds numeric, OUT streak bigint, OUT last_error_age numeric, OUT failing_age numeric, OUT queued bigint, OUT overdue numeric, OUT all_enabled bigint, OUT all_failing bigint, OUT all_disabled bigint)
 RETURNS SETOF record
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
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
$function$
;

SELECT pg_catalog.pg_extension_config_dump('postback.daily_brand', '');

ALTER TABLE postback.daily_brand ENABLE ROW LEVEL SECURITY;

SELECT pg_catalog.pg_extension_config_dump('postback.daily_visitor', '');

ALTER TABLE postback.daily_visitor ENABLE ROW LEVEL SECURITY;

CREATE OR REPLACE FUNCTION postback.daily_changes(after postback.ulid, before postback.ulid)
 RETURNS SETOF postback.daily
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
BEGIN
    RETURN QUERY
    WITH attributed_later AS MATERIALIZED (
        SELECT h.conversion_id
        FROM postback.history h
        WHERE h.id >= before AND h.actor = 'staff' AND h.from_status = h.to_status AND h.from_value = h.to_value
    ),
    change AS MATERIALIZED (
        SELECT h.conversion_id,
               bool_or(h.actor = 'staff' AND h.from_status = h.to_status AND h.from_value = h.to_value) AS attributed,
               sum(s.sign) FILTER (WHERE s.status = 'pending') AS pending,
               sum(s.sign) FILTER (WHERE s.status = 'approved') AS approved,
               sum(s.sign) FILTER (WHERE s.status = 'reversed') AS reversed,
               sum(s.sign * s.commission) FILTER (WHERE s.status = 'pending') AS pending_payout,
               sum(s.sign * s.fee) FILTER (WHERE s.status = 'pending') AS pending_fee,
               sum(s.sign * s.commission) FILTER (WHERE s.status = 'approved') AS approved_payout,
               sum(s.sign * s.fee) FILTER (WHERE s.status = 'approved') AS approved_fee
        FROM postback.history h
        CROSS JOIN LATERAL (VALUES (-1::numeric, h.from_status, h.from_commission, h.from_fee),
                                   (1, h.to_status, h.to_commission, h.to_fee)) AS s (sign, status, commission, fee)
        WHERE h.id >= after AND h.id < before
        GROUP BY h.conversion_id
    ),
    placed AS MATERIALIZED (
        SELECT c.brand_id, (postback.ulid_time(c.id) AT TIME ZONE 'UTC')::date AS day, c.id,
               CASE WHEN l.conversion_id IS NULL THEN c.offer_id END AS offer_id,
               CASE WHEN l.conversion_id IS NULL THEN c.publisher_id END AS publisher_id,
               k.attributed, c.status, c.commission, c.fee,
               coalesce(k.pending, 0) AS pending, coalesce(k.approved, 0) AS approved, coalesce(k.reversed, 0) AS reversed,
               coalesce(k.pending_payout, 0) AS pending_payout, coalesce(k.pending_fee, 0) AS pending_fee,
               coalesce(k.approved_payout, 0) AS approved_payout, coalesce(k.approved_fee, 0) AS approved_fee
        FROM change k
        CROSS JOIN LATERAL (SELECT * FROM postback.conversion x WHERE x.id = k.conversion_id LIMIT 1) c
        LEFT JOIN attributed_later l ON l.conversion_id = k.conversion_id
        WHERE NOT c.test
    ),
    -- What an attributed one amounted to, unattributed, before these ids: what it is now, less all changes since.
    moved AS MATERIALIZED (
        SELECT p.brand_id, p.day, p.offer_id, p.publisher_id,
               (p.status = 'pending')::int - coalesce(w.pending, 0) AS pending,
               (p.status = 'approved')::int - coalesce(w.approved, 0) AS approved,
               (p.status = 'reversed')::int - coalesce(w.reversed, 0) AS reversed
        FROM placed p
        CROSS JOIN LATERAL (
            SELECT sum(s.sign) FILTER (WHERE s.status = 'pending') AS pending,
                   sum(s.sign) FILTER (WHERE s.status = 'approved') AS approved,
                   sum(s.sign) FILTER (WHERE s.status = 'reversed') AS reversed
            FROM postback.history h
            CROSS JOIN LATERAL (VALUES (-1::numeric, h.from_status), (1, h.to_status)) AS s (sign, status)
            WHERE h.conversion_id = p.id AND h.id >= after) w
        WHERE p.attributed
    ),
    clicked AS MATERIALIZED (
        SELECT k.brand_id, (postback.ulid_time(k.id) AT TIME ZONE 'UTC')::date AS day, k.offer_id, k.publisher_id,
               postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash) AS visitor
        FROM postback.click k
        WHERE k.id >= after AND k.id < before
    ),
    part AS (
        SELECT p.brand_id, p.day, p.offer_id, p.publisher_id, 0::bigint AS clicks, 0::bigint AS unique_clicks, p.pending, p.approved,
               p.reversed, p.pending_payout, p.pending_fee, p.approved_payout, p.approved_fee
        FROM placed p
        UNION ALL  -- unattributed ones have neither commission nor fee
        SELECT m.brand_id, m.day, s.offer_id, s.publisher_id, 0, 0, s.sign * m.pending, s.sign * m.approved, s.sign * m.reversed,
               0, 0, 0, 0
        FROM moved m
        CROSS JOIN LATERAL (VALUES (1, m.offer_id, m.publisher_id), (-1, NULL, NULL)) AS s (sign, offer_id, publisher_id)
        UNION ALL
        SELECT k.brand_id, k.day, k.offer_id, k.publisher_id, count(*), count(*) FILTER (WHERE k.visitor IS NULL), 0, 0, 0, 0, 0, 0, 0
        FROM clicked k
        GROUP BY k.brand_id, k.day, k.offer_id, k.publisher_id
        UNION ALL
        SELECT u.brand_id, u.day, u.offer_id, u.publisher_id, 0, count(*), 0, 0, 0, 0, 0, 0, 0
        FROM (SELECT DISTINCT k.brand_id, k.day, k.offer_id, k.publisher_id, k.visitor
              FROM clicked k
              WHERE k.visitor IS NOT NULL) u
        LEFT JOIN LATERAL (SELECT true AS seen FROM postback.daily_visitor d
                           WHERE d.brand_id = u.brand_id AND d.day = u.day AND d.visitor = u.visitor LIMIT 1) d ON true
        WHERE d.seen IS NULL
        GROUP BY u.brand_id, u.day, u.offer_id, u.publisher_id
    )
    SELECT p.brand_id, p.day, p.offer_id, p.publisher_id, sum(p.clicks)::bigint, sum(p.unique_clicks)::bigint,
           sum(p.pending)::bigint, sum(p.approved)::bigint, sum(p.reversed)::bigint,
           sum(p.pending_payout), sum(p.pending_fee), sum(p.approved_payout), sum(p.approved_fee)
    FROM part p
    GROUP BY p.brand_id, p.day, p.offer_id, p.publisher_id;
END
$function$
;

CREATE OR REPLACE FUNCTION postback.roll_up()
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    after postback.ulid;
    before postback.ulid;
    today date;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_transaction_state',
            MESSAGE = format('roll_up() cannot run in a transaction that is %s', current_setting('transaction_isolation')),
            DETAIL = 'It must see what was committed up to the moment it starts.',
            HINT = 'Call it in a transaction of its own.';
    END IF;
    -- A second one at the same time has nothing to do.
    IF NOT pg_try_advisory_xact_lock(hashtext('postback'), 4) THEN
        RETURN (SELECT postback.ulid_time(m.upto) FROM postback.daily_mark m);
    END IF;
    SELECT m.upto INTO after FROM postback.daily_mark m;
    after := coalesce(after, postback.ulid_floor('-infinity'));
    -- A second less: sessions' clocks are one clock, but it may be set back a little.
    before := postback.ulid_floor(postback.settled_until() - interval '1 second');
    IF before IS NULL OR before <= after THEN
        RETURN postback.ulid_time(after);
    END IF;
    today := (postback.ulid_time(before) AT TIME ZONE 'UTC')::date;

    WITH change AS MATERIALIZED (
        SELECT c.* FROM postback.daily_changes(after, before) c
        WHERE (c.clicks, c.unique_clicks, c.pending, c.approved, c.reversed, c.pending_payout, c.pending_fee, c.approved_payout,
               c.approved_fee) <> (0, 0, 0, 0, 0, 0, 0, 0, 0)
    ), of_brand AS (
        INSERT INTO postback.daily_brand AS d
        SELECT c.brand_id, c.day, sum(c.clicks)::bigint, sum(c.unique_clicks)::bigint, sum(c.pending)::bigint, sum(c.approved)::bigint,
               sum(c.reversed)::bigint, sum(c.pending_payout), sum(c.pending_fee), sum(c.approved_payout), sum(c.approved_fee)
        FROM change c
        GROUP BY c.brand_id, c.day
        ON CONFLICT ON CONSTRAINT daily_brand_pkey DO UPDATE SET
            clicks = d.clicks + excluded.clicks, unique_clicks = d.unique_clicks + excluded.unique_clicks,
            pending = d.pending + excluded.pending, approved = d.approved + excluded.approved,
            reversed = d.reversed + excluded.reversed,
            pending_payout = d.pending_payout + excluded.pending_payout, pending_fee = d.pending_fee + excluded.pending_fee,
            approved_payout = d.approved_payout + excluded.approved_payout, approved_fee = d.approved_fee + excluded.approved_fee
    )
    INSERT INTO postback.daily AS d
    SELECT c.* FROM change c
    ON CONFLICT ON CONSTRAINT daily_key DO UPDATE SET
        clicks = d.clicks + excluded.clicks, unique_clicks = d.unique_clicks + excluded.unique_clicks,
        pending = d.pending + excluded.pending, approved = d.approved + excluded.approved,
        reversed = d.reversed + excluded.reversed,
        pending_payout = d.pending_payout + excluded.pending_payout, pending_fee = d.pending_fee + excluded.pending_fee,
        approved_payout = d.approved_payout + excluded.approved_payout, approved_fee = d.approved_fee + excluded.approved_fee;

    -- Later clicks are of the mark's day or of later ones.
    DELETE FROM postback.daily_visitor v WHERE v.day < today;
    INSERT INTO postback.daily_visitor
    SELECT v.brand_id, v.publisher_id, today, v.visitor
    FROM (SELECT k.brand_id, k.publisher_id,
                 postback.visitor_of(k.brand_id, k.offer_id, k.publisher_id, k.address_hash, k.agent_hash) AS visitor
          FROM postback.click k
          WHERE k.id >= greatest(after, postback.ulid_floor(today::timestamp AT TIME ZONE 'UTC')) AND k.id < before) v
    WHERE v.visitor IS NOT NULL
    ON CONFLICT DO NOTHING;

    INSERT INTO postback.daily_mark AS m (upto, rolled_at) VALUES (before, clock_timestamp())
    ON CONFLICT (one) DO UPDATE SET upto = excluded.upto, rolled_at = excluded.rolled_at;
    RETURN postback.ulid_time(before);
END
$function$
;

CREATE OR REPLACE FUNCTION postback.audit_daily(since date, OUT day date, OUT brand_id postback.ulid, OUT offer_id postback.ulid, OUT publisher_id postback.ulid, OUT expected text, OUT actual text)
 RETURNS SETOF record
 LANGUAGE sql
 STABLE SECURITY DEFINER ROWS 10
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET jit TO 'off'
AS $function$
    SELECT s.day, s.brand_id, s.offer_id, s.publisher_id,
           concat_ws(' ', s.of, sum(s.clicks * s.fact), sum(s.unique_clicks * s.fact), sum(s.pending * s.fact), sum(s.approved * s.fact),
                     sum(s.reversed * s.fact), sum(s.pending_payout * s.fact), sum(s.pending_fee * s.fact),
                     sum(s.approved_payout * s.fact), sum(s.approved_fee * s.fact)),
           concat_ws(' ', s.of, sum(s.clicks * s.told), sum(s.unique_clicks * s.told), sum(s.pending * s.told), sum(s.approved * s.told),
                     sum(s.reversed * s.told), sum(s.pending_payout * s.told), sum(s.pending_fee * s.told),
                     sum(s.approved_payout * s.told), sum(s.approved_fee * s.told))
    FROM (SELECT f.*, 1 AS fact, 0 AS told, NULL AS of FROM postback.daily_facts(since) f
          UNION ALL
          SELECT d.*, 0, 1, NULL FROM postback.daily d WHERE d.day >= since
          UNION ALL
          SELECT t.*, 0, 1, NULL FROM postback.daily_tail() t WHERE t.day >= since
          UNION ALL
          SELECT d.brand_id, d.day, NULL, NULL, d.clicks, d.unique_clicks, d.pending, d.approved, d.reversed, d.pending_payout,
                 d.pending_fee, d.approved_payout, d.approved_fee, 1, 0, 'daily_brand:'
          FROM postback.daily d WHERE d.day >= since
          UNION ALL
          SELECT b.brand_id, b.day, NULL, NULL, b.clicks, b.unique_clicks, b.pending, b.approved, b.reversed, b.pending_payout,
                 b.pending_fee, b.approved_payout, b.approved_fee, 0, 1, 'daily_brand:'
          FROM postback.daily_brand b WHERE b.day >= since) s
    GROUP BY s.day, s.brand_id, s.offer_id, s.publisher_id, s.of
    HAVING (sum(s.clicks * s.fact), sum(s.unique_clicks * s.fact), sum(s.pending * s.fact), sum(s.approved * s.fact),
            sum(s.reversed * s.fact), sum(s.pending_payout * s.fact), sum(s.pending_fee * s.fact),
            sum(s.approved_payout * s.fact), sum(s.approved_fee * s.fact))
        <> (sum(s.clicks * s.told), sum(s.unique_clicks * s.told), sum(s.pending * s.told), sum(s.approved * s.told),
            sum(s.reversed * s.told), sum(s.pending_payout * s.told), sum(s.pending_fee * s.told),
            sum(s.approved_payout * s.told), sum(s.approved_fee * s.told))
    ORDER BY 1, 2, 3, 4, 5
$function$
;

CREATE OR REPLACE FUNCTION postback.rebuild_daily(since date)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    rebuilt bigint;
    of_brands bigint;
BEGIN
    -- The mark stands still meanwhile.
    PERFORM pg_advisory_xact_lock(hashtext('postback'), 4);
    INSERT INTO postback.daily AS d
    SELECT s.brand_id, s.day, s.offer_id, s.publisher_id, sum(s.clicks * s.sign), sum(s.unique_clicks * s.sign),
           sum(s.pending * s.sign), sum(s.approved * s.sign), sum(s.reversed * s.sign), sum(s.pending_payout * s.sign),
           sum(s.pending_fee * s.sign), sum(s.approved_payout * s.sign), sum(s.approved_fee * s.sign)
    FROM (SELECT f.*, 1 AS sign FROM postback.daily_facts(since) f
          UNION ALL
          SELECT t.*, -1 FROM postback.daily_tail() t WHERE t.day >= since
          UNION ALL  -- rows that have lost all
          SELECT o.*, 0 FROM postback.daily o WHERE o.day >= since) s
    GROUP BY s.brand_id, s.day, s.offer_id, s.publisher_id
    ON CONFLICT ON CONSTRAINT daily_key DO UPDATE SET
        clicks = excluded.clicks, unique_clicks = excluded.unique_clicks, pending = excluded.pending,
        approved = excluded.approved, reversed = excluded.reversed, pending_payout = excluded.pending_payout,
        pending_fee = excluded.pending_fee, approved_payout = excluded.approved_payout, approved_fee = excluded.approved_fee
    WHERE (d.clicks, d.unique_clicks, d.pending, d.approved, d.reversed, d.pending_payout, d.pending_fee, d.approved_payout,
           d.approved_fee)
       <> (excluded.clicks, excluded.unique_clicks, excluded.pending, excluded.approved, excluded.reversed, excluded.pending_payout,
           excluded.pending_fee, excluded.approved_payout, excluded.approved_fee);
    GET DIAGNOSTICS rebuilt = ROW_COUNT;

    INSERT INTO postback.daily_brand AS d
    SELECT s.brand_id, s.day, sum(s.clicks * s.sign), sum(s.unique_clicks * s.sign), sum(s.pending * s.sign), sum(s.approved * s.sign),
           sum(s.reversed * s.sign), sum(s.pending_payout * s.sign), sum(s.pending_fee * s.sign), sum(s.approved_payout * s.sign),
           sum(s.approved_fee * s.sign)
    FROM (SELECT o.brand_id, o.day, o.clicks, o.unique_clicks, o.pending, o.approved, o.reversed, o.pending_payout, o.pending_fee,
                 o.approved_payout, o.approved_fee, 1 AS sign
          FROM postback.daily o WHERE o.day >= since
          UNION ALL
          SELECT b.*, 0 FROM postback.daily_brand b WHERE b.day >= since) s
    GROUP BY s.brand_id, s.day
    ON CONFLICT ON CONSTRAINT daily_brand_pkey DO UPDATE SET
        clicks = excluded.clicks, unique_clicks = excluded.unique_clicks, pending = excluded.pending,
        approved = excluded.approved, reversed = excluded.reversed, pending_payout = excluded.pending_payout,
        pending_fee = excluded.pending_fee, approved_payout = excluded.approved_payout, approved_fee = excluded.approved_fee
    WHERE (d.clicks, d.unique_clicks, d.pending, d.approved, d.reversed, d.pending_payout, d.pending_fee, d.approved_payout,
           d.approved_fee)
       <> (excluded.clicks, excluded.unique_clicks, excluded.pending, excluded.approved, excluded.reversed, excluded.pending_payout,
           excluded.pending_fee, excluded.approved_payout, excluded.approved_fee);
    GET DIAGNOSTICS of_brands = ROW_COUNT;
    RETURN rebuilt + of_brands;
END
$function$
;

CREATE OR REPLACE VIEW postback.report_daily_brands WITH (security_invoker=true) AS
 SELECT d.day,
    brand.name AS brand,
    (d.clicks)::bigint AS clicks,
    (d.unique_clicks)::bigint AS unique_clicks,
    (((d.pending + d.approved) + d.reversed))::bigint AS conversions,
    (d.pending)::bigint AS pending,
    (d.approved)::bigint AS approved,
    (d.reversed)::bigint AS rejected,
    round((((100)::numeric * (d.pending + d.approved)) / NULLIF(d.clicks, (0)::numeric)), 2) AS cr,
    round((postback.full_units(d.payout, d.currency) / NULLIF(d.clicks, (0)::numeric)), 4) AS epc,
    postback.full_units(d.payout, d.currency) AS payout,
    postback.full_units(d.approved_payout, d.currency) AS approved_payout,
    postback.full_units((d.payout + d.fee), d.currency) AS revenue,
    postback.full_units(d.fee, d.currency) AS margin,
    d.currency,
    d.brand_id
   FROM (( SELECT x.day,
            x.brand_id,
            y.currency,
            sum(x.clicks) AS clicks,
            sum(x.unique_clicks) AS unique_clicks,
            sum(x.pending) AS pending,
            sum(x.approved) AS approved,
            sum(x.reversed) AS reversed,
            (sum(x.pending_payout) + sum(x.approved_payout)) AS payout,
            sum(x.approved_payout) AS approved_payout,
            (sum(x.pending_fee) + sum(x.approved_fee)) AS fee
           FROM (( SELECT b.brand_id,
                    b.day,
                    b.clicks,
                    b.unique_clicks,
                    b.pending,
                    b.approved,
                    b.reversed,
                    b.pending_payout,
                    b.pending_fee,
                    b.approved_payout,
                    b.approved_fee
                   FROM postback.daily_brand b
                UNION ALL
                 SELECT a.brand_id,
                    a.day,
                    a.clicks,
                    a.unique_clicks,
                    a.pending,
                    a.approved,
                    a.reversed,
                    a.pending_payout,
                    a.pending_fee,
                    a.approved_payout,
                    a.approved_fee
                   FROM postback.daily a
                  WHERE ((EXISTS ( SELECT
                           FROM postback.reader_scope s
                          WHERE ((s.publisher_id IS NOT NULL) AND row_security_active('postback.daily'::text) AND (NOT pg_has_role(CURRENT_USER, 'postback_operator'::name, 'USAGE'::text))))) AND (a.brand_id <> ALL (ARRAY( SELECT s.brand_id
                           FROM postback.reader_scope s
                          WHERE (s.brand_id IS NOT NULL)))))
                UNION ALL
                 SELECT t.brand_id,
                    t.day,
                    t.clicks,
                    t.unique_clicks,
                    t.pending,
                    t.approved,
                    t.reversed,
                    t.pending_payout,
                    t.pending_fee,
                    t.approved_payout,
                    t.approved_fee
                   FROM postback.daily_tail() t(brand_id, day, offer_id, publisher_id, clicks, unique_clicks, pending, approved, reversed, pending_payout, pending_fee, approved_payout, approved_fee)) x
             LEFT JOIN postback.brand y ON ((y.id = x.brand_id)))
          GROUP BY x.day, x.brand_id, y.currency
         HAVING ((sum(x.clicks) <> (0)::numeric) OR (sum(x.pending) <> (0)::numeric) OR (sum(x.approved) <> (0)::numeric) OR (sum(x.reversed) <> (0)::numeric))) d
     LEFT JOIN postback.brand ON ((brand.id = d.brand_id)));

CREATE OR REPLACE FUNCTION postback.policy_list(OUT relation text, OUT condition text)
 RETURNS SETOF record
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE ROWS 20
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT p.relation, replace(replace(p.condition,
               '{brands}', 'ARRAY(SELECT s.brand_id FROM postback.reader_scope s WHERE s.brand_id IS NOT NULL)'),
               '{publishers}', 'ARRAY(SELECT s.publisher_id FROM postback.reader_scope s WHERE s.publisher_id IS NOT NULL)')
    FROM (VALUES
        -- The scopes that the current role has, by itself or as a member; all others follow from these.
        ('reader_scope', 'pg_has_role(current_user, to_regrole(quote_ident(role))::oid, ''USAGE'')'),
        ('link',       'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        -- A publisher sees the brands and offers that it has a link for, a brand its publishers.
        ('brand',      'id = ANY ({brands}) OR id IN (SELECT l.brand_id FROM postback.link l)'),
        ('offer',      'brand_id = ANY ({brands}) OR id IN (SELECT l.offer_id FROM postback.link l)'),
        ('publisher',  'id = ANY ({publishers}) OR id IN (SELECT l.publisher_id FROM postback.link l)'),
        ('goal',       'brand_id = ANY ({brands}) OR offer_id IN (SELECT l.offer_id FROM postback.link l)'),
        ('terms',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('promo_code', 'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('callback',   'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('click',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('receipt',    'brand_id = ANY ({brands})'),
        ('conversion', 'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('history',    'brand_id = ANY ({brands}) OR cardinality({publishers}) > 0
                        AND EXISTS (SELECT FROM postback.conversion c WHERE c.id = conversion_id)'),
        ('event',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('ledger',     'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('balance',    'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('daily',      'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        ('daily_brand', 'brand_id = ANY ({brands})'),
        ('daily_visitor', 'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})'),
        -- A publisher's conversion is told to others too, with keys that are theirs: of a delivery it sees what it sees the callback of.
        ('delivery',   'brand_id = ANY ({brands}) OR publisher_id = ANY ({publishers})
                        AND callback_id IN (SELECT k.id FROM postback.callback k)'),
        ('attempt',    'brand_id = ANY ({brands}) OR cardinality({publishers}) > 0
                        AND EXISTS (SELECT FROM postback.delivery d WHERE d.id = delivery_id)'))
        AS p (relation, condition)
$function$
;

COMMENT ON ROUTINE postback.ulid_in(cstring) IS 'Reads 26 characters of Crockford base 32 in any case, with or without clk_; 22P02 if it is none';

COMMENT ON ROUTINE postback.ulid_out(postback.ulid) IS '26 characters, in capitals, without prefix';

COMMENT ON ROUTINE postback.ulid_recv(internal) IS 'Binary form: the 16 bytes';

COMMENT ON ROUTINE postback.ulid_send(postback.ulid) IS 'Binary form: the 16 bytes';

COMMENT ON ROUTINE postback.ulid_eq(postback.ulid,postback.ulid) IS 'Operator =';

COMMENT ON ROUTINE postback.ulid_ne(postback.ulid,postback.ulid) IS 'Operator <>';

COMMENT ON ROUTINE postback.ulid_lt(postback.ulid,postback.ulid) IS 'Operator <: made earlier, to the millisecond';

COMMENT ON ROUTINE postback.ulid_le(postback.ulid,postback.ulid) IS 'Operator <=';

COMMENT ON ROUTINE postback.ulid_gt(postback.ulid,postback.ulid) IS 'Operator >: made later, to the millisecond';

COMMENT ON ROUTINE postback.ulid_ge(postback.ulid,postback.ulid) IS 'Operator >=';

COMMENT ON ROUTINE postback.ulid_cmp(postback.ulid,postback.ulid) IS 'Less than, equal to or greater than zero; for btree indexes';

COMMENT ON ROUTINE postback.ulid_hash(postback.ulid) IS 'For hash joins and indexes';

COMMENT ON ROUTINE postback.ulid_hash_extended(postback.ulid,bigint) IS 'For hash partitions: hash with a seed';

COMMENT ON ROUTINE postback.ulid_to_uuid(postback.ulid) IS 'Cast: the same 16 bytes as a uuid';

COMMENT ON ROUTINE postback.uuid_to_ulid(uuid) IS 'Cast: the same 16 bytes as a ulid';

COMMENT ON ROUTINE postback.ulid_to_text(postback.ulid) IS 'Cast: 26 characters';

COMMENT ON ROUTINE postback.text_to_ulid(text) IS 'Cast: as ulid_in';

COMMENT ON ROUTINE postback.ulid_min_agg(postback.ulid,postback.ulid) IS 'The smaller one; for min()';

COMMENT ON ROUTINE postback.ulid_max_agg(postback.ulid,postback.ulid) IS 'The larger one; for max()';

COMMENT ON COLUMN postback.currency.code IS 'ISO 4217';

COMMENT ON COLUMN postback.currency.exponent IS 'Digits of the minor unit: JPY 0, EUR 2, KWD 3';

COMMENT ON COLUMN postback.brand.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.brand.fallback_url IS 'Where clicks go while they are paused, and those through unknown links of the brand; null: the setting postback.fallback_url';

COMMENT ON COLUMN postback.brand.fee_of IS 'commission (rounded), value (of the order, in the brand''s currency) or none';

COMMENT ON COLUMN postback.brand.id IS 'As create_brand() returns it';

COMMENT ON COLUMN postback.brand.name IS 'As reports show it';

COMMENT ON COLUMN postback.token.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.token.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.token.expires_at IS 'From then on calls are answered 403 token_revoked; null: never';

COMMENT ON COLUMN postback.token.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.token.label IS 'For people; revoke_token() finds it by brand and label';

COMMENT ON COLUMN postback.token.revoked_at IS 'Since then calls are answered 403 token_revoked; null: it is not revoked';

COMMENT ON COLUMN postback.token.secret_hash IS 'SHA-256 of SECRET; secret';

COMMENT ON COLUMN postback.offer.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.offer.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.offer.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.offer.min_click_age IS 'Null: the brand''s';

COMMENT ON COLUMN postback.offer.name IS 'As reports and {offer_name} show it';

COMMENT ON COLUMN postback.offer.paused IS 'Set by hand: new clicks go to the fallback URL';

COMMENT ON COLUMN postback.goal.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.goal.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.goal.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.goal.name IS '1 to 64 bytes, compared without case';

COMMENT ON COLUMN postback.goal.offer_id IS 'Whose goal it is';

COMMENT ON COLUMN postback.publisher.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.publisher.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.publisher.name IS 'As reports show it';

COMMENT ON COLUMN postback.publisher.paused IS 'Set by hand: new clicks go to the fallback URL';

COMMENT ON COLUMN postback.link.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.link.code IS 'Brand key, hyphen, short code: /c/CODE';

COMMENT ON COLUMN postback.link.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.link.offer_id IS 'Whose landing page the link leads to';

COMMENT ON COLUMN postback.link.publisher_id IS 'For whom its clicks count';

COMMENT ON COLUMN postback.terms.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.terms.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.terms.goal_id IS 'Null: all goals, and orders without one';

COMMENT ON COLUMN postback.terms.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.terms.offer_id IS 'Whose conversions they price';

COMMENT ON COLUMN postback.terms.publisher_id IS 'Null: all publishers';

COMMENT ON COLUMN postback.terms.valid_from IS 'Inclusive; what counts is when a conversion is priced';

COMMENT ON TABLE postback.terms IS 'Commission rules; a change is a new row, by UPDATE too once a conversion was priced with it. Publisher and goal, then publisher, then goal, then offer; of equals the newest';

COMMENT ON COLUMN postback.promo_code.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.promo_code.code IS '1 to 128 bytes, compared without case';

COMMENT ON COLUMN postback.promo_code.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.promo_code.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.promo_code.offer_id IS 'By whose terms';

COMMENT ON COLUMN postback.promo_code.publisher_id IS 'Who is credited';

COMMENT ON COLUMN postback.promo_code.valid_from IS 'Inclusive';

COMMENT ON COLUMN postback.promo_code.valid_to IS 'Exclusive';

COMMENT ON COLUMN postback.fx_rate.base IS 'ISO 4217: the currency of orders';

COMMENT ON COLUMN postback.fx_rate.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.fx_rate.quote IS 'ISO 4217: the currency of brands';

COMMENT ON COLUMN postback.fx_rate.rate IS '1 base = rate quote, in full units';

COMMENT ON COLUMN postback.fx_rate.valid_from IS 'Inclusive; the newest that is not in the future is used';

COMMENT ON COLUMN postback.callback.created IS 'When the row was made';

COMMENT ON COLUMN postback.callback.disabled_at IS 'When it was switched off; null: it is on';

COMMENT ON COLUMN postback.callback.disabled_reason IS 'Why it was switched off';

COMMENT ON COLUMN postback.callback.enabled IS 'Off: nothing new is queued, what is queued waits';

COMMENT ON COLUMN postback.callback.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.callback.include_test IS 'Fire for test orders too';

COMMENT ON COLUMN postback.callback.method IS 'GET, POST_FORM or POST_JSON';

COMMENT ON COLUMN postback.callback.name IS 'For people';

COMMENT ON COLUMN postback.callback.updated IS 'When it was last changed';

COMMENT ON COLUMN postback.callback_secret.callback_id IS 'Of the callback';

COMMENT ON COLUMN postback.callback_secret.secret IS 'whsec_ and base64; secret';

COMMENT ON COLUMN postback.callback_secret.valid_to IS 'Exclusive; infinity: until it is rotated';

COMMENT ON COLUMN postback.reader_scope.brand_id IS 'The brand whose rows it sees';

COMMENT ON COLUMN postback.reader_scope.publisher_id IS 'Or the publisher';

COMMENT ON COLUMN postback.click.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.click.id IS 'Shown outside as clk_ and this; carries the time';

COMMENT ON COLUMN postback.click.link_code IS 'The link that was followed';

COMMENT ON COLUMN postback.click.offer_id IS 'The link''s';

COMMENT ON COLUMN postback.click.publisher_id IS 'The link''s';

COMMENT ON COLUMN postback.click.sub_id IS 'The publisher''s own tracking value';

COMMENT ON COLUMN postback.click.visitor_hash IS 'Upper half: that of address_hash; lower half: of link and the two keyed hashes. Null if the address is not known';

COMMENT ON COLUMN postback.click_detail.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.click_detail.country IS 'Two letters, as the proxy in front says';

COMMENT ON COLUMN postback.click_detail.id IS 'The click''s';

COMMENT ON COLUMN postback.click_detail.ip IS 'The visitor''s address';

COMMENT ON COLUMN postback.click_detail.referrer IS 'The page that the visitor came from';

COMMENT ON COLUMN postback.click_detail.user_agent IS 'Of the visitor''s browser';

COMMENT ON COLUMN postback.receipt.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.receipt.content_type IS 'Of the body';

COMMENT ON COLUMN postback.receipt.conversion_id IS 'The conversion that it made, changed or repeats';

COMMENT ON COLUMN postback.receipt.http_status IS 'Of the answer';

COMMENT ON COLUMN postback.receipt.id IS 'As the answer gives it; carries the time';

COMMENT ON COLUMN postback.receipt.method IS 'GET or POST; SQL callers say what they like';

COMMENT ON COLUMN postback.receipt.order_ref IS 'The brand''s own reference';

COMMENT ON COLUMN postback.receipt.parameter IS 'The one to blame if it was refused';

COMMENT ON COLUMN postback.receipt.remote IS 'Sender''s address';

COMMENT ON COLUMN postback.receipt.token_id IS 'The token that was called';

COMMENT ON COLUMN postback.receipt.warning IS 'Words of the answer, separated by spaces';

COMMENT ON COLUMN postback.conversion.attribution IS 'click, promo_code, last_click or none';

COMMENT ON COLUMN postback.conversion.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.conversion.click_id IS 'Of the click; null: none';

COMMENT ON COLUMN postback.conversion.created_at IS 'The id''s time is the finer one';

COMMENT ON COLUMN postback.conversion.currency IS 'ISO 4217; as sent, else the brand''s';

COMMENT ON COLUMN postback.conversion.external_transaction_id IS 'The publisher''s own click id, of the click';

COMMENT ON COLUMN postback.conversion.fee_of IS 'The brand''s when it was made, frozen';

COMMENT ON COLUMN postback.conversion.fee_percent IS 'The brand''s when it was made, frozen';

COMMENT ON COLUMN postback.conversion.id IS 'Made with it; carries the time';

COMMENT ON COLUMN postback.conversion.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.conversion.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.conversion.promo_code IS 'As sent';

COMMENT ON COLUMN postback.conversion.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.conversion.sub_id IS 'The publisher''s own tracking value';

COMMENT ON COLUMN postback.conversion.subs IS 'sub1 .. sub10 of the click, by position';

COMMENT ON COLUMN postback.conversion.updated_at IS 'Of the last change';

COMMENT ON COLUMN postback.history.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.history.conversion_id IS 'What changed';

COMMENT ON COLUMN postback.history.currency IS 'Of the order value';

COMMENT ON COLUMN postback.history.from_commission IS 'Minor units of the brand''s currency; null: unpriced, or created';

COMMENT ON COLUMN postback.history.from_fee IS 'As from_commission';

COMMENT ON COLUMN postback.history.from_value IS 'Order value, minor units of currency; null: it was created';

COMMENT ON COLUMN postback.history.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.history.notice IS 'Of the conversion after the change';

COMMENT ON COLUMN postback.history.reason IS 'Of the conversion after the change';

COMMENT ON COLUMN postback.history.receipt_id IS 'The postback that made the change; null: none did';

COMMENT ON COLUMN postback.history.to_fee IS 'As to_commission';

COMMENT ON COLUMN postback.history.to_status IS 'pending, approved or reversed; as before where something else changed';

COMMENT ON COLUMN postback.parked.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.parked.expires_at IS 'When it is forgotten; infinity: it waits for a price';

COMMENT ON COLUMN postback.parked.goal IS 'As sent, null if none was; once the order is there, the conversion''s';

COMMENT ON COLUMN postback.parked.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.parked.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.parked.order_ref IS 'The brand''s own reference';

COMMENT ON COLUMN postback.parked.reason IS 'Rejection reason';

COMMENT ON COLUMN postback.parked.receipt_id IS 'The postback that is kept';

COMMENT ON COLUMN postback.parked.status IS 'What was asked for: approved, reversed or partial';

COMMENT ON COLUMN postback.event.attribution IS 'click, promo_code, last_click or none';

COMMENT ON COLUMN postback.event.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.event.click_id IS 'Of the click; null: none';

COMMENT ON COLUMN postback.event.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.event.name IS '1 to 64 bytes, compared without case';

COMMENT ON COLUMN postback.event.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.event.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.event.order_ref IS 'The brand''s own reference';

COMMENT ON COLUMN postback.event.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.event.receipt_id IS 'The postback that recorded it';

COMMENT ON COLUMN postback.event.sub_id IS 'The publisher''s own tracking value';

COMMENT ON COLUMN postback.event.test IS 'A test order''s';

COMMENT ON COLUMN postback.ledger.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.ledger.conversion_id IS 'Whose money moves; null: a top-up or payout';

COMMENT ON COLUMN postback.ledger.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.ledger.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.ledger.to_account IS 'As from_account';

COMMENT ON COLUMN postback.balance.account IS 'available, held, payable, fees, topup or payout; as in ledger';

COMMENT ON COLUMN postback.balance.amount IS 'Minor units of currency; rows of an account add up';

COMMENT ON COLUMN postback.balance.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.balance.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.balance.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.balance.publisher_id IS 'Of payable; null of the others';

COMMENT ON COLUMN postback.balances.account IS 'available, held, payable, fees, topup or payout';

COMMENT ON COLUMN postback.balances.amount IS 'Minor units of currency; what the outside accounts gave is negative';

COMMENT ON COLUMN postback.balances.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.balances.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.balances.publisher_id IS 'Of payable; null of the others';

COMMENT ON COLUMN postback.delivery.attempts IS 'How many were made';

COMMENT ON COLUMN postback.delivery.body IS 'Rendered; null for GET';

COMMENT ON COLUMN postback.delivery.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.delivery.callback_id IS 'Of the callback';

COMMENT ON COLUMN postback.delivery.click_id IS 'Of the click; null: none';

COMMENT ON COLUMN postback.delivery.conversion_id IS 'Of the conversion; null: none';

COMMENT ON COLUMN postback.delivery.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.delivery.due_at IS 'When it is or was to be sent, or sent again';

COMMENT ON COLUMN postback.delivery.event_id IS 'Of the event; null: none';

COMMENT ON COLUMN postback.delivery.goal IS 'Name of the goal; empty or null: none';

COMMENT ON COLUMN postback.delivery.id IS 'Sent as webhook-id, the same on retries; carries the time of the decision';

COMMENT ON COLUMN postback.delivery.method IS 'GET, POST_FORM or POST_JSON';

COMMENT ON COLUMN postback.delivery.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.delivery.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.delivery.publisher_id IS 'Who is told, or whose conversion a third party is told of';

COMMENT ON COLUMN postback.delivery.seq IS '1, 2, 3 ... per callback and conversion; after earlier ones were dropped it goes on above the number of changes';

COMMENT ON COLUMN postback.delivery.test IS 'A test order''s';

COMMENT ON COLUMN postback.delivery.url IS 'Rendered';

COMMENT ON COLUMN postback.delivery_due.attempt_id IS 'Names the current lease; settle() answers to it';

COMMENT ON COLUMN postback.delivery_due.attempts IS 'How many were made';

COMMENT ON COLUMN postback.delivery_due.callback_id IS 'Of the callback';

COMMENT ON COLUMN postback.delivery_due.conversion_id IS 'Of the conversion; null: none';

COMMENT ON COLUMN postback.delivery_due.delivery_id IS 'Of the delivery';

COMMENT ON COLUMN postback.delivery_due.due_at IS 'When it is to be sent; infinity: its callback is disabled';

COMMENT ON COLUMN postback.delivery_due.endpoint IS 'host:port, what connection caps and the breaker go by';

COMMENT ON COLUMN postback.delivery_due.leased_until IS 'In flight until then; null: it is not';

COMMENT ON COLUMN postback.delivery_due.sender IS 'Who has the lease';

COMMENT ON COLUMN postback.delivery_due.seq IS 'As in delivery; older ones go first';

COMMENT ON COLUMN postback.delivery_due.unanswered IS 'A lease ended without an answer: the receiver may have accepted it, so older ones wait for its end';

COMMENT ON COLUMN postback.delivery_due.waiting IS 'Was not due when it was last looked at: claim() sets it to false when due_at has come';

COMMENT ON TABLE postback.delivery_due IS 'The queue: one short row per delivery that is not finished; claim() leases, settle() removes or moves on';

GRANT SELECT (waiting, delivery_id, callback_id, conversion_id, seq, endpoint, due_at, attempts, attempt_id, leased_until, sender, unanswered) ON TABLE postback.delivery_due TO postback_operator;

COMMENT ON TABLE postback.delivery_due_now IS 'The deliveries that are due, those in flight among them';

COMMENT ON TABLE postback.delivery_due_later IS 'The deliveries that are due later: delayed, backing off, or of a disabled callback (infinity)';

COMMENT ON COLUMN postback.attempt.address IS 'The address that was connected to';

COMMENT ON COLUMN postback.attempt.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.attempt.callback_id IS 'Of the callback';

COMMENT ON COLUMN postback.attempt.delivery_id IS 'Of the delivery';

COMMENT ON COLUMN postback.attempt.error IS 'Why it did not succeed';

COMMENT ON COLUMN postback.attempt.http_code IS 'Of the answer; null: there was none';

COMMENT ON COLUMN postback.attempt.id IS 'Carries the time of the claim';

COMMENT ON COLUMN postback.attempt.milliseconds IS 'How long it took';

COMMENT ON COLUMN postback.attempt.number IS '1, 2, 3 ... of the delivery';

COMMENT ON COLUMN postback.attempt.outcome IS 'success, failure (the server said no), error (no answer) or blocked';

COMMENT ON COLUMN postback.attempt.sender IS 'Which postbackd made it';

COMMENT ON COLUMN postback.partition_policy.ahead IS 'How many partitions there are beyond the current one';

COMMENT ON COLUMN postback.partition_policy.retention IS 'Partitions wholly older than this are dropped, unless still needed; null: never';

COMMENT ON COLUMN postback.partition_policy.table_name IS 'Without schema';

COMMENT ON COLUMN postback.partition_policy.width IS 'Of a partition; a change holds for those yet to be made';

COMMENT ON COLUMN postback.reply."order" IS 'The brand''s reference';

COMMENT ON COLUMN postback.reply.applied IS 'What was parked and done now';

COMMENT ON COLUMN postback.reply.attribution IS 'click, promo_code, last_click or none';

COMMENT ON COLUMN postback.reply.body IS 'Ready to send, in the token''s reply style';

COMMENT ON COLUMN postback.reply.code IS 'Error code; null if not refused';

COMMENT ON COLUMN postback.reply.commission IS 'Minor units of commission_currency; null: unpriced';

COMMENT ON COLUMN postback.reply.commission_currency IS 'The brand''s';

COMMENT ON COLUMN postback.reply.content_type IS 'Of body';

COMMENT ON COLUMN postback.reply.conversion_id IS 'Of the conversion; null: none';

COMMENT ON COLUMN postback.reply.created IS 'The conversion was made by this call';

COMMENT ON COLUMN postback.reply.currency IS 'Of value';

COMMENT ON COLUMN postback.reply.event_id IS 'The event recorded, or repeated';

COMMENT ON COLUMN postback.reply.fee IS 'Minor units of commission_currency; null: unpriced';

COMMENT ON COLUMN postback.reply.goal IS 'The conversion''s; empty: none';

COMMENT ON COLUMN postback.reply.hold_until IS 'When it approves itself; null unless pending';

COMMENT ON COLUMN postback.reply.http_status IS 'Ready to send';

COMMENT ON COLUMN postback.reply.item IS 'Number of the item in the batch that it answers';

COMMENT ON COLUMN postback.reply.message IS 'What is wrong, for people';

COMMENT ON COLUMN postback.reply.ok IS 'Not refused';

COMMENT ON COLUMN postback.reply.outcome IS 'The error code, else result';

COMMENT ON COLUMN postback.reply.parameter IS 'The one to blame';

COMMENT ON COLUMN postback.reply.receipt_id IS 'The call''s row in receipt';

COMMENT ON COLUMN postback.reply.result IS 'created, duplicate, approved, reversed, adjusted, event or reopened; null if refused';

COMMENT ON COLUMN postback.reply.retry_after IS 'Seconds; null: the header is not sent';

COMMENT ON COLUMN postback.reply.status IS 'Of the conversion now: pending, approved or reversed';

COMMENT ON COLUMN postback.reply.test IS 'A test order''s';

COMMENT ON COLUMN postback.reply.value IS 'Order value, minor units of currency';

COMMENT ON COLUMN postback.reply.warning IS 'Words separated by spaces';

COMMENT ON COLUMN postback.click_reply.click_id IS 'Null: none was recorded';

COMMENT ON COLUMN postback.click_reply.cookie IS 'Value of Set-Cookie';

COMMENT ON COLUMN postback.click_reply.http_status IS '302, or 404: there is nowhere to send the visitor';

COMMENT ON COLUMN postback.click_reply.item IS 'Number of the item in the batch that it answers';

COMMENT ON COLUMN postback.click_reply.location IS 'Where the visitor is sent';

COMMENT ON ROUTINE postback.attribute(postback.ulid,postback.ulid,text,text) IS 'Gives a pending, unattributed conversion to the publisher of a click of the same brand, and prices it; the offer''s own hold, if it has one, counts from when the order came';

COMMENT ON ROUTINE postback.callback_check() IS 'Before a callback is saved: lints its templates, refuses what is wrong (of one that a dump brings back it warns), notes what is doubtful';

COMMENT ON ROUTINE postback.check_url(text,text) IS 'Refuses what is not an absolute http or https URL of up to 4096 bytes';

COMMENT ON ROUTINE postback.check_period(text,interval) IS 'Refuses null, negative and endless periods';

COMMENT ON ROUTINE postback.check_map(text,jsonb) IS 'Refuses what is not a flat JSON object from the brand''s words to ours. parameter: param_map or status_map, whose words differ';

COMMENT ON ROUTINE postback.issue_token(postback.ulid,text,jsonb,jsonb,text,cidr[],text,integer,boolean,timestamp with time zone) IS 'A postback URL for the brand; returns the token, which is shown only here (its SHA-256 is kept), and its path.
param_map, status_map: the brand''s words to ours (aliases too), {"transaction_id": "click_id"}. reply_style: json, text, always200.
allow_ips: who may call. hmac_secret: calls must be signed. rate_limit: calls per second. test: every order is a test.
Errors: invalid_parameter_value.';

COMMENT ON ROUTINE postback.terms_changed() IS 'Makes a new version of terms that an UPDATE changes and conversions were priced with: a row of its own with a new id; the old one
ends now. Those that have ended are left as they are, with a warning; those that priced nothing are changed where they stand';

REVOKE ALL ON ROUTINE postback.terms_changed() FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.terms_deleted() IS 'Refuses to delete terms that conversions were priced with';

REVOKE ALL ON ROUTINE postback.terms_deleted() FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.rotate_secret(postback.ulid,text) IS 'A new signing secret for the callback, returned as whsec_...; generated (32 bytes) unless given in base64.
Requests are signed with the former one too for 24 hours; one before that ends at once. Errors: invalid_parameter_value.';

COMMENT ON ROUTINE postback.brand_limit_changed() IS 'Keeps brand.exhausted true to the limit of a new brand, and to a changed one';

COMMENT ON ROUTINE postback.brand_currency_changed() IS 'Refuses another currency for a brand that has conversions or money';

REVOKE ALL ON ROUTINE postback.brand_currency_changed() FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.still_needed(text,postback.ulid,postback.ulid,timestamp with time zone) IS 'What the table''s rows with ids from lower to upper (exclusive) are needed for, however old they are; null: nothing';

REVOKE ALL ON ROUTINE postback.still_needed(text,postback.ulid,postback.ulid,timestamp with time zone) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.keep_partitions(timestamp with time zone) IS 'Makes the partitions for now and for the time ahead, and drops those past their retention, as partition_policy says;
returns what was done: created, dropped, purged (rows in the default partition), kept (past its retention, but still needed:
for deliveries to be sent, an attribution window, the daily reports), or busy (a lock was not to be had within 200 ms: the next
call tries again). Safe to call at any time; schedule_jobs() has it called hourly.';

COMMENT ON ROUTINE postback.approve_due(integer) IS 'Approves the pending conversions whose hold is over, at most chunk of them per transaction, oldest hold first; history says cron.
While other transactions write it takes a sixteenth of that, and rests after each for as long as that took, a second at most: calls
are not to wait for it.
Skips locked ones (a postback is at work on them) and unpriced ones; the next call takes what is left.
A conversion that cannot be approved is a warning and does not stop the others. Must not be called inside a transaction block.';

COMMENT ON ROUTINE postback.wake_deliveries(timestamp with time zone,integer) IS 'Moves what has fallen due by then from delivery_due_later to delivery_due_now, some thousand at a time, oldest first, but for
what a newer one in flight may supersede';

REVOKE ALL ON ROUTINE postback.wake_deliveries(timestamp with time zone,integer) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.compact_due() IS 'Writes delivery_due_now anew when it is over 32 MB for at most 20,000 rows: a snapshot that stays open, a long report''s, keeps
vacuum from using the space of finished deliveries again, and every claim would read past them. Returns whether it did. Waits at
most 100 ms for those who are at the table; what such a snapshot''s owner reads of the queue later is empty.';

REVOKE ALL ON ROUTINE postback.compact_due() FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.mask_auth(text,jsonb) IS 'What a server answered, without the credentials of callback.auth, which some echo: attempts are kept and shown';

REVOKE ALL ON ROUTINE postback.mask_auth(text,jsonb) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.claim(text,integer,interval,text[],integer) IS 'Leases deliveries that are due to a sender, at most max_items, at most per_endpoint for one endpoint (host:port), none for
full_endpoints; oldest first within an endpoint, endpoints by turns. Of one callback and conversion at most one is in flight,
and none older than one that a killed sender may have delivered (but with every_status).
Each row is a request ready to send and the secrets to sign it with (the newest two at most); attempt_id names the claim to
settle(). What is not settled when the lease ends comes back. Never call it in a transaction that stays open: other senders wait for it.';

COMMENT ON ROUTINE postback.settle(text,postback.ulid[],postback.ulid[],text[],integer[],text[],integer[],integer[],inet[],text[]) IS 'Tells what came of claims, one element of each array per attempt: outcome response (with http_code), error, blocked (final)
or released (not sent). Decides on delivered, retry (5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h, +-20 %, Retry-After seconds if
later, at most a day) or failed; disables callbacks on 410 and after five days without success; a success supersedes the
older ones of its callback and conversion. Returns how many claims were still the sender''s: settling twice changes nothing,
settling after another sender has taken the claim over only completes the log.';

REVOKE ALL ON ROUTINE postback.settle(text,postback.ulid[],postback.ulid[],text[],integer[],text[],integer[],integer[],inet[],text[]) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;
GRANT EXECUTE ON ROUTINE postback.settle(text,postback.ulid[],postback.ulid[],text[],integer[],text[],integer[],integer[],inet[],text[]) TO postback_sender;

COMMENT ON ROUTINE postback.requeue(postback.ulid,timestamp with time zone,timestamp with time zone,text[]) IS 'Sends the callback''s finished deliveries of that time (from since until before until, when they were made) again that are in
one of states (failed unless said otherwise); they keep their ids and get further attempts. Returns how many. What was too long
to be rendered stays failed. Errors: invalid_parameter_value.';

COMMENT ON COLUMN postback.explanation.detail IS 'Which';

COMMENT ON COLUMN postback.explanation.outcome IS 'What came of it';

COMMENT ON COLUMN postback.explanation.step IS 'What was looked at';

COMMENT ON COLUMN postback.request."order" IS 'The brand''s reference';

COMMENT ON COLUMN postback.request.address_hash IS 'Of ip';

COMMENT ON COLUMN postback.request.asks IS 'new, approved, reversed or partial';

COMMENT ON COLUMN postback.request.click_id IS 'Of the click; null: none';

COMMENT ON COLUMN postback.request.click_sent IS 'The click id as sent';

COMMENT ON COLUMN postback.request.code IS 'Why it cannot be read';

COMMENT ON COLUMN postback.request.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.request.event IS 'Name of the event';

COMMENT ON COLUMN postback.request.goal IS 'Name of the goal; empty or null: none';

COMMENT ON COLUMN postback.request.ip IS 'As sent, to narrow the last click';

COMMENT ON COLUMN postback.request.is_event IS 'Records an event';

COMMENT ON COLUMN postback.request.message IS 'Why it cannot be read, for people';

COMMENT ON COLUMN postback.request.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.request.promo_code IS 'As sent';

COMMENT ON COLUMN postback.request.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.request.received IS 'When it first came';

COMMENT ON COLUMN postback.request.status IS 'As sent';

COMMENT ON COLUMN postback.request.test IS 'A test order''s';

COMMENT ON COLUMN postback.request.value IS 'Minor units of currency';

COMMENT ON ROUTINE postback.replay_call(postback.ulid) IS 'The call of replay()';

REVOKE ALL ON ROUTINE postback.replay_call(postback.ulid) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.replay(postback.ulid) IS 'Makes the receipt''s call again, after a fix, with its token (a revoked or expired one is refused) and what its address and signature
were worth then; returns what explain() says of it. Answers and writes as any call does; the new receipt has replay_of. Whether a click
is in time is judged by when the call first came; terms, rates, codes and the hold by now. An accepted one again changes nothing but by
what it says: idempotent.';

REVOKE ALL ON ROUTINE postback.replay(postback.ulid) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;
GRANT EXECUTE ON ROUTINE postback.replay(postback.ulid) TO postback_operator;

COMMENT ON COLUMN postback.reconciled."order" IS 'The brand''s reference';

COMMENT ON COLUMN postback.reconciled.conversion_id IS 'Of the conversion; null: none';

COMMENT ON COLUMN postback.reconciled.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.reconciled.goal IS 'Name of the goal; empty or null: none';

COMMENT ON COLUMN postback.reconciled.notice IS 'From the list';

COMMENT ON COLUMN postback.reconciled.our_status IS 'pending, approved or reversed; null: we have no such conversion';

COMMENT ON COLUMN postback.reconciled.their_value IS 'As our_value; null: the list does not say';

COMMENT ON ROUTINE postback.delay_misfits(postback.ulid[]) IS 'Of deliveries whose delay is over, those whose callback would not fire any more on their conversion as it is now, by the
conditions that decided on them, or on another status; and why. Likewise of events and clicks. claim() skips them';

COMMENT ON ROUTINE postback.change_count(postback.ulid) IS 'How often a conversion was changed, its creation included: where seq goes on once its deliveries were dropped';

REVOKE ALL ON ROUTINE postback.change_count(postback.ulid) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;

COMMENT ON ROUTINE postback.send_test(postback.ulid) IS 'Sends one delivery to the callback''s real URL now, whatever its delay, and returns its id: SELECT * FROM postback.deliveries
WHERE id = ... shows what came of it. It is rendered with the newest conversion, event or click, by the callback''s type, that fits
it (of the last 10,000), or with sample values if there is none. It is a test: {test} is 1, the column test true; conversion_id,
event_id and click_id are null, so that it counts in no seq and supersedes nothing. Errors: invalid_parameter_value.';

COMMENT ON ROUTINE postback.lint_callbacks() IS 'What saving would say of each callback as it is saved, one row per finding. finding: unknown_macro, plain_http ...
field: reasons, url, auth, or params or headers and the name. position: of what in the field, in bytes from 1; null: all of it.
hint: what to do. refused: true = it could not be saved so today, false = a doubt.';

COMMENT ON COLUMN postback.conversions.attribution IS 'click, promo_code, last_click or none';

COMMENT ON COLUMN postback.conversions.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.conversions.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.conversions.click_id IS 'Of the click; null: none';

COMMENT ON COLUMN postback.conversions.created_at IS 'When the row was made';

COMMENT ON COLUMN postback.conversions.currency IS 'ISO 4217, of value';

COMMENT ON COLUMN postback.conversions.external_transaction_id IS 'The publisher''s own click id';

COMMENT ON COLUMN postback.conversions.fee IS 'What the network earns, minor units of payout_currency; null: unpriced';

COMMENT ON COLUMN postback.conversions.goal IS 'Name of the goal; empty or null: none';

COMMENT ON COLUMN postback.conversions.hold_until IS 'When approve_due() approves it';

COMMENT ON COLUMN postback.conversions.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.conversions.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.conversions.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.conversions.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.conversions.order_ref IS 'The brand''s own reference';

COMMENT ON COLUMN postback.conversions.payout_currency IS 'ISO 4217: the brand''s, of payout, fee, revenue and margin';

COMMENT ON COLUMN postback.conversions.promo_code IS 'As sent';

COMMENT ON COLUMN postback.conversions.public_status IS 'As the outside is told: pending, approved or rejected';

COMMENT ON COLUMN postback.conversions.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.conversions.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.conversions.reason IS 'Rejection reason';

COMMENT ON COLUMN postback.conversions.status IS 'pending, approved or reversed';

COMMENT ON COLUMN postback.conversions.sub_id IS 'The publisher''s own tracking value';

COMMENT ON COLUMN postback.conversions.test IS 'A test order''s';

COMMENT ON COLUMN postback.conversions.updated_at IS 'When it was last changed';

COMMENT ON COLUMN postback.conversions.value IS 'Order value, minor units of currency';

COMMENT ON COLUMN postback.deliveries.attempts IS 'How many were made';

COMMENT ON COLUMN postback.deliveries.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.deliveries.callback IS 'Name of the callback';

COMMENT ON COLUMN postback.deliveries.callback_id IS 'Of the callback';

COMMENT ON COLUMN postback.deliveries.conversion_id IS 'Of the conversion; null: none';

COMMENT ON COLUMN postback.deliveries.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.deliveries.error IS 'Why it did not succeed';

COMMENT ON COLUMN postback.deliveries.goal IS 'Name of the goal; empty or null: none';

COMMENT ON COLUMN postback.deliveries.http_code IS 'Of the answer; null: there was none';

COMMENT ON COLUMN postback.deliveries.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.deliveries.method IS 'GET, POST_FORM or POST_JSON';

COMMENT ON COLUMN postback.deliveries.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.deliveries.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.deliveries.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.deliveries.payout IS 'Commission, minor units of currency';

COMMENT ON COLUMN postback.deliveries.postback_url IS 'As it is sent';

COMMENT ON COLUMN postback.deliveries.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.deliveries.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.deliveries.revenue IS 'Commission and fee, minor units of currency';

COMMENT ON COLUMN postback.deliveries.seq IS '1, 2, 3 ... per callback and conversion';

COMMENT ON COLUMN postback.deliveries.state IS 'waiting, queued, delivered, failed, skipped, superseded or blocked';

COMMENT ON COLUMN postback.deliveries.status IS 'pending, approved or rejected, as the outside is told';

COMMENT ON COLUMN postback.deliveries.test IS 'A test order''s';

COMMENT ON COLUMN postback.attempts.address IS 'The address that was connected to';

COMMENT ON COLUMN postback.attempts.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.attempts.callback IS 'Name of the callback';

COMMENT ON COLUMN postback.attempts.callback_id IS 'Of the callback';

COMMENT ON COLUMN postback.attempts.conversion_id IS 'Of the conversion; null: none';

COMMENT ON COLUMN postback.attempts.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.attempts.delivery_id IS 'Of the delivery';

COMMENT ON COLUMN postback.attempts.error IS 'Why it did not succeed';

COMMENT ON COLUMN postback.attempts.goal IS 'Name of the goal; empty or null: none';

COMMENT ON COLUMN postback.attempts.http_code IS 'Of the answer; null: there was none';

COMMENT ON COLUMN postback.attempts.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.attempts.method IS 'GET, POST_FORM or POST_JSON';

COMMENT ON COLUMN postback.attempts.milliseconds IS 'How long it took';

COMMENT ON COLUMN postback.attempts.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.attempts.number IS '1, 2, 3 ... of the delivery';

COMMENT ON COLUMN postback.attempts.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.attempts.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.attempts.outcome IS 'success, failure, error or blocked';

COMMENT ON COLUMN postback.attempts.payout IS 'Commission, minor units of currency';

COMMENT ON COLUMN postback.attempts.postback_url IS 'As it is sent';

COMMENT ON COLUMN postback.attempts.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.attempts.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.attempts.revenue IS 'Commission and fee, minor units of currency';

COMMENT ON COLUMN postback.attempts.sender IS 'Which postbackd made it';

COMMENT ON COLUMN postback.attempts.status IS 'pending, approved or rejected, as the outside is told';

COMMENT ON COLUMN postback.callbacks.brand_id IS 'Null: any brand';

COMMENT ON COLUMN postback.callbacks.created IS 'When the row was made';

COMMENT ON COLUMN postback.callbacks.delay IS 'Between the change and its delivery';

COMMENT ON COLUMN postback.callbacks.disabled_at IS 'When it was switched off';

COMMENT ON COLUMN postback.callbacks.disabled_reason IS 'Why it was switched off';

COMMENT ON COLUMN postback.callbacks.enabled IS 'Off: nothing is sent';

COMMENT ON COLUMN postback.callbacks.goal IS 'Null: any goal';

COMMENT ON COLUMN postback.callbacks.http_type IS 'GET, POST (form) or POST (JSON)';

COMMENT ON COLUMN postback.callbacks.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.callbacks.name IS 'For people';

COMMENT ON COLUMN postback.callbacks.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.callbacks.offer_id IS 'Null: any offer';

COMMENT ON COLUMN postback.callbacks.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.callbacks.publisher_id IS 'Null: any publisher';

COMMENT ON COLUMN postback.callbacks.reasons IS 'Rejection reasons that fire; null: any';

COMMENT ON COLUMN postback.callbacks.statuses IS 'Firing status';

COMMENT ON COLUMN postback.callbacks.type IS 'click, conversion or event';

COMMENT ON COLUMN postback.callbacks.updated IS 'When it was last changed';

COMMENT ON COLUMN postback.callbacks.url IS 'Template with {macros}';

COMMENT ON ROUTINE postback.callback_figures(interval,bigint) IS 'How each callback fares, by its attempts among the newest (null: all) of so long a time; columns as in postback.callback_health';

REVOKE ALL ON ROUTINE postback.callback_figures(interval,bigint) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;
GRANT EXECUTE ON ROUTINE postback.callback_figures(interval,bigint) TO postback_operator;

COMMENT ON COLUMN postback.callback_health.attempts IS 'Made in the last day';

COMMENT ON COLUMN postback.callback_health.delayed IS 'Of them those that were never tried and are due later';

COMMENT ON COLUMN postback.callback_health.disabled_reason IS 'Why it was switched off';

COMMENT ON COLUMN postback.callback_health.enabled IS 'Off: nothing is sent';

COMMENT ON COLUMN postback.callback_health.failing_since IS 'First failed attempt since the last success, however long ago';

COMMENT ON COLUMN postback.callback_health.id IS 'Of the callback';

COMMENT ON COLUMN postback.callback_health.last_error IS 'Of the last day';

COMMENT ON COLUMN postback.callback_health.last_error_at IS 'Of the last day';

COMMENT ON COLUMN postback.callback_health.last_success_at IS 'Of the last day';

COMMENT ON COLUMN postback.callback_health.name IS 'For people';

COMMENT ON COLUMN postback.callback_health.oldest_due IS 'Long past: nothing sends, or the endpoint is slow. Null: nothing is due';

COMMENT ON COLUMN postback.callback_health.p50_ms IS 'Half of the last day''s attempts took at most so many milliseconds';

COMMENT ON COLUMN postback.callback_health.p99_ms IS '99 of 100 of the last day''s attempts took at most so many milliseconds';

COMMENT ON COLUMN postback.callback_health.queued IS 'Deliveries that are not finished, delayed and waiting ones too';

COMMENT ON COLUMN postback.callback_health.streak IS 'Attempts without success in a row, up to now, of the last day';

COMMENT ON COLUMN postback.callback_health.success_rate IS '0 to 1, of the last day''s attempts; null: none was made';

COMMENT ON VIEW postback.callback_health IS 'How each callback fares: attempts of the last day, and what stands in the queue now';

GRANT SELECT (id, name, enabled, disabled_reason, failing_since, attempts, success_rate, streak, p50_ms, p99_ms, last_error, last_error_at, last_success_at, queued, delayed, oldest_due) ON TABLE postback.callback_health TO postback_operator;

COMMENT ON ROUTINE postback.callback_metrics(integer) IS 'What the sender shows in /metrics: how the callbacks fare that need to be looked at, at most max_items, failing ones first, then the
busiest. Of the last hour, or of its newest 100,000 attempts if it has more. overdue: seconds since the oldest delivery fell due.
The last three columns count all callbacks';

REVOKE ALL ON ROUTINE postback.callback_metrics(integer) FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;
GRANT EXECUTE ON ROUTINE postback.callback_metrics(integer) TO postback_sender;

COMMENT ON COLUMN postback.publisher_payable.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.publisher_payable.payable IS 'Minor units of currency';

COMMENT ON COLUMN postback.publisher_payable.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.publisher_payable.publisher_id IS 'Who is owed it';

COMMENT ON COLUMN postback.daily.approved IS 'Approved conversions';

COMMENT ON COLUMN postback.daily.approved_fee IS 'Fee of approved conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily.approved_payout IS 'Commission of approved conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.daily.clicks IS 'Recorded clicks';

COMMENT ON COLUMN postback.daily.day IS 'UTC';

COMMENT ON COLUMN postback.daily.pending IS 'Pending conversions';

COMMENT ON COLUMN postback.daily.pending_fee IS 'Fee of pending conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily.publisher_id IS 'Null, as offer_id: unattributed';

COMMENT ON COLUMN postback.daily.reversed IS 'Reversed conversions';

COMMENT ON COLUMN postback.daily_brand.approved IS 'Approved conversions';

COMMENT ON COLUMN postback.daily_brand.approved_fee IS 'Fee of approved conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily_brand.approved_payout IS 'Commission of approved conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily_brand.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.daily_brand.clicks IS 'Recorded clicks';

COMMENT ON COLUMN postback.daily_brand.day IS 'UTC';

COMMENT ON COLUMN postback.daily_brand.pending IS 'Pending conversions';

COMMENT ON COLUMN postback.daily_brand.pending_fee IS 'Fee of pending conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily_brand.pending_payout IS 'Commission of pending conversions, minor units of the brand''s currency; so all amounts';

COMMENT ON COLUMN postback.daily_brand.reversed IS 'Reversed conversions';

COMMENT ON COLUMN postback.daily_brand.unique_clicks IS 'As in daily, added up';

COMMENT ON TABLE postback.daily_brand IS 'The rows of daily added up over offers and publishers, so that a month of all brands is a few hundred rows; written with them';

GRANT SELECT (brand_id, day, clicks, unique_clicks, pending, approved, reversed, pending_payout, pending_fee, approved_payout, approved_fee) ON TABLE postback.daily_brand TO postback_operator;
GRANT SELECT (brand_id, day, clicks, unique_clicks, pending, approved, reversed, pending_payout, pending_fee, approved_payout, approved_fee) ON TABLE postback.daily_brand TO postback_reader;

COMMENT ON COLUMN postback.daily_mark.one IS 'There is one row';

COMMENT ON COLUMN postback.daily_mark.rolled_at IS 'When roll_up() moved it last';

COMMENT ON COLUMN postback.daily_visitor.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.daily_visitor.day IS 'UTC';

COMMENT ON COLUMN postback.daily_visitor.publisher_id IS 'Whose click it was';

COMMENT ON COLUMN postback.daily_visitor.visitor IS 'Hash of brand, offer, publisher and the click''s hashes of address and user agent';

COMMENT ON TABLE postback.daily_visitor IS 'Who was counted as a unique click on the day of the mark';

GRANT SELECT (brand_id, publisher_id, day, visitor) ON TABLE postback.daily_visitor TO postback_operator;
GRANT SELECT (brand_id, publisher_id, day, visitor) ON TABLE postback.daily_visitor TO postback_reader;

COMMENT ON ROUTINE postback.audit_daily(date) IS 'Counts the days from since on from clicks and conversions and returns where the daily reports say otherwise (nothing, if all is
well): clicks, unique clicks, pending, approved, reversed, payout and fee of pending, payout and fee of approved ones, in minor
units. And where daily_brand is not the sum of daily, marked with its name. Reads every row of those days: not further back than
clicks are kept. rebuild_daily(since) mends what it finds.';

COMMENT ON ROUTINE postback.rebuild_daily(date) IS 'Counts the days from since on again and mends daily and daily_brand; returns how many of their rows were wrong or missing. Needed
only where rows came without their effects (loaded or deleted by hand, or the clock set back). Not further back than clicks are kept.';

COMMENT ON COLUMN postback.daily_now.approved IS 'Approved conversions';

COMMENT ON COLUMN postback.daily_now.approved_fee IS 'Fee of approved conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily_now.approved_payout IS 'Commission of approved conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily_now.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.daily_now.clicks IS 'Recorded clicks';

COMMENT ON COLUMN postback.daily_now.day IS 'UTC';

COMMENT ON COLUMN postback.daily_now.offer_id IS 'Null, as publisher_id: unattributed';

COMMENT ON COLUMN postback.daily_now.pending IS 'Pending conversions';

COMMENT ON COLUMN postback.daily_now.pending_fee IS 'Fee of pending conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily_now.pending_payout IS 'Commission of pending conversions, minor units of the brand''s currency';

COMMENT ON COLUMN postback.daily_now.publisher_id IS 'Null, as offer_id: unattributed';

COMMENT ON COLUMN postback.daily_now.reversed IS 'Reversed conversions';

COMMENT ON COLUMN postback.daily_now.unique_clicks IS 'As in daily';

COMMENT ON COLUMN postback.report_daily.approved IS 'Approved conversions';

COMMENT ON COLUMN postback.report_daily.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.report_daily.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.report_daily.clicks IS 'Recorded clicks';

COMMENT ON COLUMN postback.report_daily.conversions IS 'pending, approved and rejected';

COMMENT ON COLUMN postback.report_daily.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.report_daily.day IS 'UTC';

COMMENT ON COLUMN postback.report_daily.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.report_daily.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.report_daily.pending IS 'Pending conversions';

COMMENT ON COLUMN postback.report_daily.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.report_daily.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.report_daily_brands.approved IS 'Approved conversions';

COMMENT ON COLUMN postback.report_daily_brands.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.report_daily_brands.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.report_daily_brands.clicks IS 'Recorded clicks';

COMMENT ON COLUMN postback.report_daily_brands.conversions IS 'pending, approved and rejected';

COMMENT ON COLUMN postback.report_daily_brands.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.report_daily_brands.day IS 'UTC';

COMMENT ON COLUMN postback.report_daily_brands.pending IS 'Pending conversions';

COMMENT ON COLUMN postback.report_daily_offers.approved IS 'Approved conversions';

COMMENT ON COLUMN postback.report_daily_offers.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.report_daily_offers.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.report_daily_offers.clicks IS 'Recorded clicks';

COMMENT ON COLUMN postback.report_daily_offers.conversions IS 'pending, approved and rejected';

COMMENT ON COLUMN postback.report_daily_offers.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.report_daily_offers.day IS 'UTC';

COMMENT ON COLUMN postback.report_daily_offers.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.report_daily_offers.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.report_daily_offers.pending IS 'Pending conversions';

COMMENT ON COLUMN postback.report_daily_publishers.approved IS 'Approved conversions';

COMMENT ON COLUMN postback.report_daily_publishers.clicks IS 'Recorded clicks';

COMMENT ON COLUMN postback.report_daily_publishers.conversions IS 'pending, approved and rejected';

COMMENT ON COLUMN postback.report_daily_publishers.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.report_daily_publishers.day IS 'UTC';

COMMENT ON COLUMN postback.report_daily_publishers.pending IS 'Pending conversions';

COMMENT ON COLUMN postback.report_daily_publishers.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.report_daily_publishers.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.report_conversions."order" IS 'The brand''s own reference';

COMMENT ON COLUMN postback.report_conversions.attribution IS 'click, promo_code, last_click or none';

COMMENT ON COLUMN postback.report_conversions.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.report_conversions.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.report_conversions.click_id IS 'Of the click; null: none';

COMMENT ON COLUMN postback.report_conversions.created_at IS 'When the order came';

COMMENT ON COLUMN postback.report_conversions.currency IS 'ISO 4217, of value';

COMMENT ON COLUMN postback.report_conversions.external_transaction_id IS 'The publisher''s own click id';

COMMENT ON COLUMN postback.report_conversions.goal IS 'Name of the goal; empty or null: none';

COMMENT ON COLUMN postback.report_conversions.id IS 'Made with the row; carries the time';

COMMENT ON COLUMN postback.report_conversions.notice IS 'Free text, as sent';

COMMENT ON COLUMN postback.report_conversions.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.report_conversions.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.report_conversions.payout_currency IS 'ISO 4217: the brand''s, of payout, fee, revenue and margin';

COMMENT ON COLUMN postback.report_conversions.promo_code IS 'As sent';

COMMENT ON COLUMN postback.report_conversions.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.report_conversions.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.report_conversions.reason IS 'Rejection reason';

COMMENT ON COLUMN postback.report_conversions.status IS 'pending, approved or rejected, as the outside is told';

COMMENT ON COLUMN postback.report_conversions.sub_id IS 'The publisher''s own tracking value';

COMMENT ON COLUMN postback.report_conversions.test IS 'A test order''s';

COMMENT ON COLUMN postback.report_conversions.updated_at IS 'When it was last changed';

COMMENT ON COLUMN postback.report_pending.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.report_pending.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.report_pending.conversions IS 'Pending ones';

COMMENT ON COLUMN postback.report_pending.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.report_pending.margin IS 'Their fee';

COMMENT ON COLUMN postback.report_pending.payout IS 'Their commission, full units of currency; likewise revenue and margin';

COMMENT ON COLUMN postback.report_pending.revenue IS 'Their commission and fee';

COMMENT ON COLUMN postback.report_rejections.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.report_rejections.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.report_rejections.conversions IS 'How many were rejected for it';

COMMENT ON COLUMN postback.report_rejections.currency IS 'ISO 4217, of the amounts beside it';

COMMENT ON COLUMN postback.report_rejections.rank IS 'Among the reasons of brand and month; 1 is the most frequent';

COMMENT ON COLUMN postback.report_rejections.revenue IS 'Commission and fee that were not charged';

COMMENT ON COLUMN postback.report_time_to_convert.brand IS 'Name of the brand';

COMMENT ON COLUMN postback.report_time_to_convert.brand_id IS 'The brand that the row belongs to';

COMMENT ON COLUMN postback.report_time_to_convert.conversions IS 'With a click';

COMMENT ON COLUMN postback.report_time_to_convert.fastest IS 'From click to conversion';

COMMENT ON COLUMN postback.report_time_to_convert.later IS 'After seven days or more';

COMMENT ON COLUMN postback.report_time_to_convert.median IS 'Half of them are as fast as this';

COMMENT ON COLUMN postback.report_time_to_convert.offer IS 'Name of the offer';

COMMENT ON COLUMN postback.report_time_to_convert.offer_id IS 'Of the offer; null: none';

COMMENT ON COLUMN postback.report_time_to_convert.publisher IS 'Name of the publisher';

COMMENT ON COLUMN postback.report_time_to_convert.publisher_id IS 'Of the publisher; null: none';

COMMENT ON COLUMN postback.report_time_to_convert.slowest IS 'From click to conversion';

COMMENT ON COLUMN postback.report_time_to_convert.under_10_seconds IS 'Conversions that took so long; suspicious if many';

COMMENT ON COLUMN postback.report_time_to_convert.under_1_day IS 'After an hour or more';

COMMENT ON COLUMN postback.report_time_to_convert.under_1_hour IS 'After 10 minutes or more';

COMMENT ON COLUMN postback.report_time_to_convert.under_7_days IS 'After a day or more';

SELECT postback.keep_policies();
