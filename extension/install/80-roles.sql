-- Who may do what. The four roles are group roles: GRANT postback_operator TO anna.

-- Roles belong to the whole server: one that is there already is left as it is.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{postback_ingest,postback_sender,postback_operator,postback_reader}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA postback TO postback_ingest, postback_sender, postback_operator, postback_reader;

-- Tables. Columns listed after "without" are secret: nobody but the owner reads them.
DO $$
DECLARE
    t record;
    columns text;
BEGIN
    FOR t IN
        SELECT * FROM (VALUES
            -- relation           operator                          reader     without
            ('brand',             'SELECT, INSERT, UPDATE',         'SELECT',  '{address_key}'),
            ('token',             'SELECT, INSERT, UPDATE',         NULL,      '{secret_hash,hmac_secret}'),
            ('offer',             'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('goal',              'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('publisher',         'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('link',              'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('terms',             'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('promo_code',        'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('fx_rate',           'SELECT, INSERT, UPDATE, DELETE', NULL,      '{}'),
            ('callback',          'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{auth}'),
            ('callback_secret',   'SELECT, INSERT',                 NULL,      '{secret}'),
            ('partition_policy',  'SELECT, INSERT, UPDATE, DELETE', NULL,      '{}'),
            ('reader_scope',      'SELECT, INSERT, UPDATE, DELETE', 'SELECT',  '{}'),
            ('click',             'SELECT',                         'SELECT',  '{}'),
            ('click_detail',      'SELECT',                         NULL,      '{}'),
            ('receipt',           'SELECT',                         'SELECT',  '{}'),
            ('conversion',        'SELECT, UPDATE',                 'SELECT',  '{}'),
            ('history',           'SELECT',                         'SELECT',  '{}'),
            ('parked',            'SELECT, DELETE',                 NULL,      '{}'),
            ('event',             'SELECT',                         'SELECT',  '{}'),
            ('ledger',            'SELECT',                         'SELECT',  '{}'),
            ('balance',           'SELECT',                         'SELECT',  '{}'),
            ('daily',             'SELECT',                         'SELECT',  '{}'),
            ('daily_brand',       'SELECT',                         'SELECT',  '{}'),
            ('daily_mark',        'SELECT',                         'SELECT',  '{}'),
            ('daily_visitor',     'SELECT',                         'SELECT',  '{}'),
            ('delivery',          'SELECT',                         'SELECT',  '{}'),
            ('delivery_due',      'SELECT',                         NULL,      '{}'),
            ('attempt',           'SELECT',                         'SELECT',  '{}'),
            ('currency',          'SELECT',                         'SELECT',  '{}'),
            ('balances',          'SELECT',                         'SELECT',  '{}'),
            ('conversions',       'SELECT',                         'SELECT',  '{}'),
            ('deliveries',        'SELECT',                         'SELECT',  '{}'),
            ('attempts',          'SELECT',                         'SELECT',  '{}'),
            ('callbacks',         'SELECT',                         'SELECT',  '{}'),
            ('callback_health',   'SELECT',                         NULL,      '{}'),
            ('publisher_payable', 'SELECT',                         'SELECT',  '{}'),
            ('daily_now',         'SELECT',                         'SELECT',  '{}'),
            ('report_daily',      'SELECT',                         'SELECT',  '{}'),
            ('report_daily_brands', 'SELECT',                       'SELECT',  '{}'),
            ('report_daily_offers', 'SELECT',                       'SELECT',  '{}'),
            ('report_daily_publishers', 'SELECT',                   'SELECT',  '{}'),
            ('report_conversions', 'SELECT',                        'SELECT',  '{}'),
            ('report_pending',    'SELECT',                         'SELECT',  '{}'),
            ('report_rejections', 'SELECT',                         'SELECT',  '{}'),
            ('report_time_to_convert', 'SELECT',                    'SELECT',  '{}'))
            AS g (relation, operator, reader, without)
    LOOP
        SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = pg_catalog.format('postback.%I', t.relation)::pg_catalog.regclass
          AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (t.without::text[]);
        EXECUTE pg_catalog.format('GRANT %s ON postback.%I TO postback_operator',
            pg_catalog.regexp_replace(t.operator, 'SELECT', pg_catalog.format('SELECT (%s)', columns)), t.relation);
        IF t.reader IS NOT NULL THEN
            EXECUTE pg_catalog.format('GRANT SELECT (%s) ON postback.%I TO postback_reader', columns, t.relation);
        END IF;
    END LOOP;
END
$$;

-- Row-level security. Operators see all rows, readers those of their scope. The owner, as whom the inbound, sending and
-- upkeep functions run, is not subject to it.
--
-- The policies themselves are made by keep_policies(), not by this script: some versions of pg_dump write the policies of
-- an extension's tables into the dump, where a restore would find them made already, and others do not.  create_brand(),
-- schedule_jobs() and a job of each hour call it.

DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY '{brand,offer,goal,publisher,link,terms,promo_code,callback,reader_scope,click,receipt,conversion,
                                history,event,ledger,balance,daily,daily_brand,daily_visitor,delivery,attempt}'::text[] LOOP
        EXECUTE pg_catalog.format('ALTER TABLE postback.%I ENABLE ROW LEVEL SECURITY', relation);
    END LOOP;
END
$$;

CREATE FUNCTION postback.policy_list(OUT relation text, OUT condition text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
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
$$;
COMMENT ON FUNCTION postback.policy_list() IS 'Which rows of each table a member of postback_reader sees';

CREATE FUNCTION postback.keep_policies() RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    p record;
    made integer := 0;
BEGIN
    FOR p IN
        SELECT l.relation, l.condition, n.name
        FROM postback.policy_list() l
        CROSS JOIN (VALUES ('postback_operator'), ('postback_reader')) AS n (name)
        WHERE NOT EXISTS (SELECT FROM pg_policy y
                          WHERE y.polname = n.name AND y.polrelid = format('postback.%I', l.relation)::regclass)
    LOOP
        IF p.name = 'postback_operator' THEN
            EXECUTE format('CREATE POLICY postback_operator ON postback.%I TO postback_operator USING (true) WITH CHECK (true)',
                           p.relation);
        ELSE
            EXECUTE format('CREATE POLICY postback_reader ON postback.%I FOR SELECT TO postback_reader USING (%s)',
                           p.relation, p.condition);
        END IF;
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION postback.keep_policies() IS
'Makes the row-level security policies of postback_operator and postback_reader where they are missing; returns how many.
create_brand() and schedule_jobs() call it; without policies neither role sees any row.';

-- Functions. PUBLIC keeps those of the type ulid, without which the type could not be used; the rest is listed here.
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure AS signature, p.proname, g.roles
        FROM pg_catalog.pg_proc p
        LEFT JOIN (VALUES
            ('version',          'postback_ingest, postback_sender, postback_operator, postback_reader'),
            ('receive_batch',    'postback_ingest'),
            ('receive',          'postback_ingest'),
            ('click_batch',      'postback_ingest'),
            ('click',            'postback_ingest'),
            ('claim',            'postback_sender'),
            ('settle',           'postback_sender'),
            ('callback_metrics', 'postback_sender'),
            ('create_brand',     'postback_operator'),
            ('issue_token',      'postback_operator'),
            ('revoke_token',     'postback_operator'),
            ('create_offer',     'postback_operator'),
            ('create_goal',      'postback_operator'),
            ('create_publisher', 'postback_operator'),
            ('create_link',      'postback_operator'),
            ('set_terms',        'postback_operator'),
            ('set_fx_rate',      'postback_operator'),
            ('create_promo_code', 'postback_operator'),
            ('create_callback',  'postback_operator'),
            ('enable_callback',  'postback_operator'),
            ('rotate_secret',    'postback_operator'),
            ('top_up',           'postback_operator'),
            ('book_payout',      'postback_operator'),
            ('approve',          'postback_operator'),
            ('reverse',          'postback_operator'),
            ('adjust',           'postback_operator'),
            ('reopen',           'postback_operator'),
            ('attribute',        'postback_operator'),
            ('resend',           'postback_operator'),
            ('explain',          'postback_operator'),
            ('simulate',         'postback_operator'),
            ('replay',           'postback_operator'),
            ('why_not',          'postback_operator, postback_reader'),
            ('requeue',          'postback_operator'),
            ('send_test',        'postback_operator'),
            ('backfill',         'postback_operator'),
            ('lint_callbacks',   'postback_operator'),
            ('audit',            'postback_operator'),
            ('approve_due',      'postback_operator'),
            ('fold_balances',    'postback_operator'),
            ('expire_parked',    'postback_operator'),
            ('reprice_brand',    'postback_operator'),
            ('reprice_unpriced', 'postback_operator'),
            ('keep_partitions',  'postback_operator'),
            ('keep_policies',    'postback_operator'),
            ('schedule_jobs',    'postback_operator'),
            ('unschedule_jobs',  'postback_operator'),
            ('job_list',         'postback_operator'),
            -- What those above call with their caller's rights, and what defaults and constraints of the tables call.
            ('check_cron',       'postback_operator'),
            ('check_text',       'postback_operator'),
            ('check_url',        'postback_operator'),
            ('check_period',     'postback_operator'),
            ('check_currency',   'postback_operator'),
            ('check_valid',      'postback_operator'),
            ('check_brand',      'postback_operator'),
            ('check_publisher',  'postback_operator'),
            ('brand_of_offer',   'postback_operator'),
            ('check_offer_of_brand', 'postback_operator'),
            ('find_goal',        'postback_operator'),
            ('check_map',        'postback_operator'),
            ('check_secret',     'postback_operator'),
            ('random_bytes',     'postback_operator'),
            ('random_key',       'postback_operator'),
            ('brackets_valid',   'postback_operator'),
            ('is_currency',      'postback_operator'),
            ('currency_list',    'postback_operator, postback_reader'),
            ('reconcile',        'postback_operator'),
            ('roll_up',          'postback_operator'),
            ('audit_daily',      'postback_operator'),
            ('rebuild_daily',    'postback_operator'),
            ('ledger_statement', 'postback_operator, postback_reader'),
            ('minor_units',      'postback_operator, postback_reader'),
            ('full_units',       'postback_operator, postback_reader'),
            ('visitor_of',       'postback_operator, postback_reader'),
            ('daily_changes',    'postback_operator, postback_reader'),
            ('daily_tail',       'postback_operator, postback_reader'),
            ('callback_checks',  'postback_operator, postback_reader'),
            ('callback_figures', 'postback_operator'),
            ('explain_time',     'postback_operator, postback_reader')) AS g (name, roles) ON g.name = p.proname
        WHERE p.pronamespace = 'postback'::pg_catalog.regnamespace
          AND p.prokind IN ('f', 'p')
          AND p.proname !~ '(^|_)ulid(_|$)'
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', f.signature);
        IF f.roles IS NOT NULL THEN
            EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %s', f.signature, f.roles);
        END IF;
    END LOOP;
END
$$;
