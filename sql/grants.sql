-- Every object of the extension against every role: exactly what the table below allows, for which the reason is the role's
-- work. What is not in the table (a new function, table, view, type) shows up in a difference: add it here with what it needs.
\set SHOW_CONTEXT never
SET client_min_messages = error;
CREATE ROLE regress_nobody;
-- what is made at run time is there too
SELECT postback.keep_policies() >= 0 AS policies, count(*) >= 0 AS partitions FROM postback.keep_partitions();

-- Routines by who may call them: i = postback_ingest, s = postback_sender, o = postback_operator, r = postback_reader,
-- * = everybody. A reader's run with its own rights, so that row-level security holds in them.
CREATE TEMP TABLE routine AS
SELECT r.roles, pg_catalog.regexp_split_to_table(r.names, '\s+') AS name
FROM (VALUES
    -- the daemon asks which version it meets
    ('isor', 'version'),
    -- what "postbackd serve" calls
    ('i', 'receive receive_batch click click_batch'),
    -- what "postbackd send" calls
    ('s', 'claim settle callback_metrics'),
    -- set-up
    ('o', 'create_brand issue_token revoke_token create_offer create_goal create_publisher create_link set_terms set_fx_rate
           create_promo_code create_callback enable_callback rotate_secret lint_callbacks'),
    -- staff work
    ('o', 'approve reverse adjust reopen attribute reconcile top_up book_payout resend requeue send_test backfill'),
    ('o', 'explain simulate replay audit audit_daily rebuild_daily'),
    -- upkeep, which cron may run as an operator
    ('o', 'approve_due fold_balances expire_parked reprice_brand reprice_unpriced roll_up keep_partitions keep_policies
           schedule_jobs unschedule_jobs job_list'),
    -- what the view callback_health calls
    ('o', 'callback_figures'),
    -- what those call with their caller's rights, and what defaults and constraints of the tables call
    ('o', 'check_cron check_text check_url check_period check_currency check_valid check_brand check_publisher brand_of_offer
           check_offer_of_brand find_goal check_map check_secret random_bytes random_key brackets_valid is_currency'),
    -- asking, within row-level security
    ('or', 'why_not ledger_statement'),
    -- what those, and the views, call
    ('or', 'currency_list minor_units full_units visitor_of daily_changes daily_tail callback_checks explain_time'),
    -- the type ulid: a column of it could not be read or compared without these, and none of them reads or writes anything
    ('*', 'ulid_in ulid_out ulid_recv ulid_send ulid_eq ulid_ne ulid_lt ulid_le ulid_gt ulid_ge ulid_cmp ulid_hash
           ulid_hash_extended ulid_min_agg ulid_max_agg min max ulid_to_text ulid_to_uuid text_to_ulid uuid_to_ulid ulid_time
           ulid_floor new_ulid'),
    -- only from within, with the owner's rights
    ('', 'auth_header book_transfer brand_currency_changed brand_limit_changed callback_check callback_switched change_count check_sendable compact_due conversion_check
          conversion_effects daily_facts delay_misfits endpoint_of is_exhausted is_success make_partition mask_auth partition_bounds
          partition_defaults partition_floor partition_next policy_list receipt_parameters receipt_request reconcile_apply
           reconcile_compare reconcile_list reconcile_run replay_call retry_delay settled_until still_needed terms_changed terms_deleted
           wake_deliveries write_backfill write_test'),
    ('', 'explain_attribution explain_before explain_best explain_callbacks explain_change explain_click explain_click_row
          explain_gone explain_last_click explain_ledger explain_misfit explain_money explain_parked explain_party
          explain_position explain_price explain_promo_code explain_rank explain_refusal explain_request explain_rule
          explain_sent_click explain_terms explain_token explain_unattributed explain_warnings')) AS r (roles, names);

CREATE TEMP TABLE member AS
SELECT d.classid, d.objid
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'postback');

SELECT coalesce(e.name, a.name) AS routine, e.roles AS expected, a.roles AS found
FROM (SELECT name, roles FROM routine) e
FULL JOIN (
    SELECT DISTINCT p.proname::text AS name,
           CASE WHEN has_function_privilege('public', p.oid, 'EXECUTE') THEN '*'
                ELSE concat(CASE WHEN has_function_privilege('postback_ingest', p.oid, 'EXECUTE') THEN 'i' END,
                            CASE WHEN has_function_privilege('postback_sender', p.oid, 'EXECUTE') THEN 's' END,
                            CASE WHEN has_function_privilege('postback_operator', p.oid, 'EXECUTE') THEN 'o' END,
                            CASE WHEN has_function_privilege('postback_reader', p.oid, 'EXECUTE') THEN 'r' END,
                            CASE WHEN has_function_privilege('regress_nobody', p.oid, 'EXECUTE') THEN '?' END) END AS roles
    FROM pg_proc p
    WHERE p.pronamespace = 'postback'::regnamespace
       OR p.oid IN (SELECT m.objid FROM member m WHERE m.classid = 'pg_proc'::regclass)) a USING (name)
WHERE e.roles IS DISTINCT FROM a.roles
ORDER BY 1;

-- Relations: what an operator and a reader may do (S select, I insert, U update, D delete), and the columns that are secret,
-- which nobody but the owner reads. The daemon's roles and everybody else may do nothing with any of them.
CREATE TEMP TABLE relation (name text, operator text, reader text, secret text[]);
INSERT INTO relation VALUES
    ('brand',                   'SIU',  'S', '{address_key}'),
    ('token',                   'SIU',  '',  '{secret_hash,hmac_secret}'),
    ('offer',                   'SIUD', 'S', '{}'),
    ('goal',                    'SIUD', 'S', '{}'),
    ('publisher',               'SIUD', 'S', '{}'),
    ('link',                    'SIUD', 'S', '{}'),
    ('terms',                   'SIUD', 'S', '{}'),
    ('promo_code',              'SIUD', 'S', '{}'),
    ('fx_rate',                 'SIUD', '',  '{}'),     -- of the whole network
    ('callback',                'SIUD', 'S', '{auth}'),
    ('callback_secret',         'SI',   '',  '{secret}'),
    ('partition_policy',        'SIUD', '',  '{}'),
    ('reader_scope',            'SIUD', 'S', '{}'),     -- the policies of all other tables read it
    ('click',                   'S',    'S', '{}'),
    ('click_detail',            'S',    '',  '{}'),     -- personal data
    ('receipt',                 'S',    'S', '{}'),
    ('conversion',              'SU',   'S', '{}'),     -- its triggers decide what an update may do
    ('history',                 'S',    'S', '{}'),
    ('parked',                  'SD',   '',  '{}'),
    ('event',                   'S',    'S', '{}'),
    ('ledger',                  'S',    'S', '{}'),
    ('balance',                 'S',    'S', '{}'),
    ('delivery',                'S',    'S', '{}'),
    ('delivery_due',            'S',    '',  '{}'),
    ('attempt',                 'S',    'S', '{}'),
    ('daily',                   'S',    'S', '{}'),
    ('daily_brand',             'S',    'S', '{}'),
    ('daily_mark',              'S',    'S', '{}'),     -- the moment of the last roll-up, nobody's in particular
    ('daily_visitor',           'S',    'S', '{}'),
    ('currency',                'S',    'S', '{}'),
    ('balances',                'S',    'S', '{}'),
    ('conversions',             'S',    'S', '{}'),
    ('deliveries',              'S',    'S', '{}'),
    ('attempts',                'S',    'S', '{}'),
    ('callbacks',               'S',    'S', '{}'),
    ('callback_health',         'S',    '',  '{}'),     -- reads the queue
    ('publisher_payable',       'S',    'S', '{}'),
    ('daily_now',               'S',    'S', '{}'),
    ('report_daily',            'S',    'S', '{}'),
    ('report_daily_brands',     'S',    'S', '{}'),
    ('report_daily_offers',     'S',    'S', '{}'),
    ('report_daily_publishers', 'S',    'S', '{}'),
    ('report_conversions',      'S',    'S', '{}'),
    ('report_pending',          'S',    'S', '{}'),
    ('report_rejections',       'S',    'S', '{}'),
    ('report_time_to_convert',  'S',    'S', '{}');

-- What a role may do with a relation or with any of its columns; ! = truncate, references or trigger.
CREATE FUNCTION pg_temp.found(role text, relation oid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat(CASE WHEN has_any_column_privilege(role, relation, 'SELECT') THEN 'S' END,
                  CASE WHEN has_any_column_privilege(role, relation, 'INSERT') THEN 'I' END,
                  CASE WHEN has_any_column_privilege(role, relation, 'UPDATE') THEN 'U' END,
                  CASE WHEN has_table_privilege(role, relation, 'DELETE') THEN 'D' END,
                  CASE WHEN has_table_privilege(role, relation, 'TRUNCATE, TRIGGER')
                         OR has_any_column_privilege(role, relation, 'REFERENCES') THEN '!' END)
$$;

-- Partitions are not to be reached but through their parents, whose policies hold for them.
SELECT coalesce(e.name, a.name) AS relation, a.role, e.may AS expected, a.may AS found
FROM (SELECT c.relname::text AS name, r.role, pg_temp.found(r.role, c.oid) AS may
      FROM pg_class c
      CROSS JOIN (VALUES ('public'), ('regress_nobody'), ('postback_ingest'), ('postback_sender'), ('postback_operator'),
                         ('postback_reader')) AS r (role)
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND (c.relnamespace = 'postback'::regnamespace
             OR c.oid IN (SELECT m.objid FROM member m WHERE m.classid = 'pg_class'::regclass))
        AND NOT (c.relispartition AND pg_temp.found(r.role, c.oid) = '')) a
FULL JOIN (SELECT l.name, r.role, r.may
           FROM relation l
           CROSS JOIN LATERAL (VALUES ('public', ''), ('regress_nobody', ''), ('postback_ingest', ''), ('postback_sender', ''),
                                      ('postback_operator', l.operator), ('postback_reader', l.reader)) AS r (role, may)) e
    USING (name, role)
WHERE e.may IS DISTINCT FROM a.may
ORDER BY 1, 2;

-- Of what they may read they read every column but the secret ones, which nobody reads.
SELECT c.relname, a.attname, r.role, NOT r.expected AS found
FROM relation l
JOIN pg_class c ON c.relnamespace = 'postback'::regnamespace AND c.relname = l.name
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (VALUES ('postback_operator', a.attname <> ALL (l.secret)),
                           ('postback_reader', l.reader = 'S' AND a.attname <> ALL (l.secret))) AS r (role, expected)
WHERE has_column_privilege(r.role, c.oid, a.attnum, 'SELECT') <> r.expected
ORDER BY 1, 2, 3;

-- Row-level security: every table that a reader reads has it, or is nobody's in particular; views ask with the reader's rights.
SELECT c.relname, c.relkind
FROM relation l
JOIN pg_class c ON c.relnamespace = 'postback'::regnamespace AND c.relname = l.name
WHERE l.reader = 'S'
  AND CASE WHEN c.relkind = 'v' THEN NOT coalesce('security_invoker=true' = ANY (c.reloptions), false) ELSE NOT c.relrowsecurity END
ORDER BY 1;
-- to which each policy is for one of two roles, and only reading for readers
SELECT y.polname, y.polcmd, y.polpermissive, y.polroles::regrole[], count(*),
       count(*) = (SELECT count(*) FROM postback.policy_list()) AS all_of_them
FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid
WHERE c.relnamespace = 'postback'::regnamespace
GROUP BY 1, 2, 3, 4 ORDER BY 1;

-- The schema is for the four roles, and nobody makes anything in it.
SELECT r.role, has_schema_privilege(r.role, 'postback', 'USAGE') AS usage, has_schema_privilege(r.role, 'postback', 'CREATE') AS make
FROM (VALUES ('public'), ('regress_nobody'), ('postback_ingest'), ('postback_sender'), ('postback_operator'), ('postback_reader')) AS r (role);

-- Types have no rights of their own: composite ones describe results, and ulid is for everybody. No sequences: ids are ulids.
SELECT t.typname FROM pg_type t
WHERE t.typnamespace = 'postback'::regnamespace AND t.typelem = 0
  AND (t.typrelid = 0 OR (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) NOT IN ('r', 'p', 'v'))
ORDER BY 1;
SELECT t.typname, t.typacl FROM pg_type t WHERE t.typnamespace = 'postback'::regnamespace AND t.typacl IS NOT NULL;

-- What else the extension has, by kind: nothing that rights could be given on.
SELECT m.classid::regclass AS catalogue, count(*) > 0 AS some FROM member m GROUP BY 1 ORDER BY m.classid::regclass::text COLLATE "C";

-- What runs with the owner's rights, and why.
CREATE TEMP TABLE definer AS
SELECT r.reason, pg_catalog.regexp_split_to_table(r.names, '\s+') AS name
FROM (VALUES
    ('postback_ingest has no table',                        'receive receive_batch click click_batch'),
    ('postback_sender has no table',                        'claim settle callback_metrics'),
    ('effects of a change that its author may not write: history, ledger, balance, delivery', 'conversion_effects'),
    ('what an operator may not do by hand with facts, money and the queue',
     'approve reverse adjust reopen attribute reconcile top_up book_payout resend requeue send_test backfill replay
      brand_limit_changed callback_switched reprice_brand reprice_unpriced'),
    ('compares or writes a secret column',                  'revoke_token rotate_secret lint_callbacks'),
    ('recomputes from all rows, or follows one across tables, whose internals are nobody''s to call',
     'explain simulate receipt_parameters receipt_request audit audit_daily'),
    ('looks for rows of its table''s children, whoever may see them', 'brand_currency_changed terms_changed terms_deleted'),
    ('upkeep of tables that nobody else writes or owns',
     'fold_balances expire_parked keep_partitions keep_policies roll_up rebuild_daily')) AS r (reason, names);
SELECT coalesce(e.name, a.name) AS routine, e.reason
FROM definer e
FULL JOIN (SELECT DISTINCT p.proname::text AS name FROM pg_proc p WHERE p.pronamespace = 'postback'::regnamespace AND p.prosecdef) a
    USING (name)
WHERE e.name IS NULL OR a.name IS NULL;
SELECT p.proname, p.proconfig FROM pg_proc p
WHERE p.pronamespace = 'postback'::regnamespace AND p.prosecdef
  AND NOT coalesce(p.proconfig @> '{"search_path=pg_catalog, pg_temp"}', false);
-- Of the others those in SQL that pin none have nothing to look up: bound when they were made, or qualified because they commit.
SELECT p.proname, l.lanname, p.prosqlbody IS NOT NULL AS bound, p.prokind = 'p' AS commits
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'postback'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
  AND NOT coalesce(p.proconfig @> '{"search_path=pg_catalog, pg_temp"}', false)
ORDER BY 1;

DROP ROLE regress_nobody;
