-- Everything that the extension is made of, as rows (kind, object, place, definition): what an updated database must have in
-- common with a fresh one. The definition is the SQL that makes the object, where "make upgrade-script" can use it; place
-- is the order in which the objects were made. Oids, grantors and owners are left out.

SET search_path = pg_catalog;
SET quote_all_identifiers = off;

CREATE FUNCTION pg_temp.rights(what text, acl aclitem[], otherwise aclitem[], owner oid) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\n', format('REVOKE ALL ON %s FROM PUBLIC, postback_ingest, postback_sender, postback_operator, postback_reader;', what),
                     string_agg(format('GRANT %s ON %s TO %s;', x.privileges, what, x.grantee), E'\n' ORDER BY x.grantee))
    FROM (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee,
                 string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN ' (grantable)' ELSE '' END, ', ' ORDER BY a.privilege_type) AS privileges
          FROM aclexplode(coalesce(acl, otherwise)) a
          WHERE a.grantee <> owner
          GROUP BY 1) x
$$;

CREATE TEMP VIEW relation AS
    SELECT format('postback.%I', c.relname) AS name, c.*
    FROM pg_class c WHERE c.relnamespace = 'postback'::regnamespace;

-- \copy and the like take one line each; this is a view so that a query can be put around it.
CREATE TEMP VIEW catalogue AS
    SELECT 'schema' AS kind, 'postback' AS object, 0::bigint AS place, obj_description(n.oid, 'pg_namespace') AS definition
    FROM pg_namespace n WHERE n.nspname = 'postback'
    UNION ALL
    SELECT 'rights', 'schema postback', 0, pg_temp.rights('SCHEMA postback', n.nspacl, acldefault('n', n.nspowner), n.nspowner)
    FROM pg_namespace n WHERE n.nspname = 'postback'
    UNION ALL
    SELECT 'extension', 'postback', 0, concat_ws(' ', e.extrelocatable, n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'postback'
    UNION ALL
    SELECT 'member', pg_describe_object(d.classid, d.objid, 0), 0, ''
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'postback'
    WHERE d.deptype = 'e'
    UNION ALL
    SELECT 'dumped', r.name, r.oid::bigint, format('SELECT pg_catalog.pg_extension_config_dump(%L, %L);', r.name, e.extcondition[n.i])
    FROM pg_extension e CROSS JOIN generate_subscripts(e.extconfig, 1) AS n (i) JOIN relation r ON r.oid = e.extconfig[n.i]
    WHERE e.extname = 'postback'
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, p.oid::bigint, pg_get_functiondef(p.oid) || ';'
    FROM pg_proc p WHERE p.pronamespace = 'postback'::regnamespace AND p.prokind IN ('f', 'p')
    UNION ALL
    SELECT 'aggregate', p.oid::regprocedure::text, p.oid::bigint,
           concat_ws(' ', a.aggtransfn, a.aggcombinefn, a.aggfinalfn, a.aggsortop::regoperator, a.aggtranstype::regtype, p.proparallel)
    FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.oid::regprocedure::text ~ 'postback\.'
    UNION ALL
    SELECT 'rights', 'routine ' || p.oid::regprocedure, p.oid::bigint,
           pg_temp.rights('ROUTINE ' || p.oid::regprocedure, p.proacl, acldefault('f', p.proowner), p.proowner)
    FROM pg_proc p WHERE p.pronamespace = 'postback'::regnamespace
    UNION ALL
    SELECT 'comment', 'routine ' || p.oid::regprocedure, p.oid::bigint,
           format('COMMENT ON ROUTINE %s IS %L;', p.oid::regprocedure, obj_description(p.oid, 'pg_proc'))
    FROM pg_proc p WHERE p.pronamespace = 'postback'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    UNION ALL
    SELECT 'initial rights', pg_describe_object(i.classoid, i.objoid, i.objsubid), 0, pg_temp.rights('', i.initprivs, NULL, 10)
    FROM pg_init_privs i
    WHERE i.privtype = 'e' AND ((i.classoid = 'pg_class'::regclass AND i.objoid IN (SELECT r.oid FROM relation r))
          OR (i.classoid = 'pg_proc'::regclass AND i.objoid IN (SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'postback'::regnamespace)))
    UNION ALL
    SELECT CASE r.relkind WHEN 'v' THEN 'view' WHEN 'c' THEN 'type' ELSE 'table' END, r.name, r.oid::bigint,
           CASE r.relkind WHEN 'v' THEN format('CREATE OR REPLACE VIEW %s%s AS%s%s', r.name, ' WITH (' || array_to_string(r.reloptions, ', ') || ')', E'\n', pg_get_viewdef(r.oid))
                ELSE concat_ws(' ', r.relkind, r.relpersistence, pg_get_partkeydef(r.oid), (SELECT i.inhparent::regclass FROM pg_inherits i WHERE i.inhrelid = r.oid),
                               pg_get_expr(r.relpartbound, r.oid), r.relreplident, (SELECT a.amname FROM pg_am a WHERE a.oid = r.relam)) END
    FROM relation r WHERE r.relkind NOT IN ('i', 'I', 't')
    UNION ALL
    SELECT 'options', r.name, r.oid::bigint, format('ALTER TABLE %s SET (%s);', r.name, array_to_string(r.reloptions, ', '))
    FROM relation r WHERE r.relkind IN ('r', 'p') AND r.reloptions IS NOT NULL
    UNION ALL
    SELECT 'row security', r.name, r.oid::bigint, format('ALTER TABLE %s %s ROW LEVEL SECURITY;', r.name, CASE WHEN r.relforcerowsecurity THEN 'FORCE' ELSE 'ENABLE' END)
    FROM relation r WHERE r.relrowsecurity
    UNION ALL
    SELECT 'columns', r.name, r.oid::bigint,
           string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), 'COLLATE ' || nullif(a.attcollation, 0)::regcollation,
                                CASE WHEN a.attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity, ''),
                                nullif(a.attgenerated, ''), nullif(a.attcompression, ''), a.attstorage), E'\n' ORDER BY a.attnum)
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p', 'v', 'c')
    GROUP BY r.name, r.oid
    UNION ALL
    SELECT 'constraint', format('%s of %s', k.conname, coalesce(r.name, t.typname)), k.oid::bigint, pg_get_constraintdef(k.oid) || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
    FROM pg_constraint k LEFT JOIN relation r ON r.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
    WHERE k.connamespace = 'postback'::regnamespace AND k.contype <> 'n' -- of 18, and said by the columns
    UNION ALL
    SELECT 'index', r.name, r.oid::bigint, concat_ws(' ', pg_get_indexdef(r.oid), CASE WHEN i.indisvalid THEN '' ELSE 'invalid' END)
    FROM relation r JOIN pg_index i ON i.indexrelid = r.oid
    UNION ALL
    SELECT 'trigger', format('%s of %s', t.tgname, r.name), t.oid::bigint, regexp_replace(pg_get_triggerdef(t.oid), '^CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER') || ';'
    FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'rights', 'table ' || r.name, r.oid::bigint,
           concat_ws(E'\n', pg_temp.rights('TABLE ' || r.name, r.relacl, acldefault('r', r.relowner), r.relowner),
                     (SELECT string_agg(format('GRANT %s (%s) ON TABLE %s TO %s;', c.privilege_type, c.columns, r.name, c.grantee), E'\n' ORDER BY c.grantee, c.privilege_type)
                      FROM (SELECT x.privilege_type, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee,
                                   string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
                            FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) x
                            WHERE a.attrelid = r.oid AND NOT a.attisdropped
                            GROUP BY 1, 2) c))
    FROM relation r WHERE r.relkind IN ('r', 'p', 'v')
    UNION ALL
    SELECT 'comment', CASE r.relkind WHEN 'v' THEN 'view ' WHEN 'c' THEN 'type ' ELSE 'table ' END || r.name, r.oid::bigint,
           format('COMMENT ON %s %s IS %L;', CASE r.relkind WHEN 'v' THEN 'VIEW' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, r.name, d.description)
    FROM relation r JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid AND d.objsubid = 0
    UNION ALL
    SELECT 'comment', format('column %s.%I', r.name, a.attname), r.oid::bigint, format('COMMENT ON COLUMN %s.%I IS %L;', r.name, a.attname, d.description)
    FROM relation r JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.objsubid
    WHERE d.objsubid > 0
    UNION ALL
    SELECT 'comment', 'type ' || t.oid::regtype, t.oid::bigint, format('COMMENT ON TYPE %s IS %L;', t.oid::regtype, obj_description(t.oid, 'pg_type'))
    FROM pg_type t WHERE t.typnamespace = 'postback'::regnamespace AND obj_description(t.oid, 'pg_type') IS NOT NULL
    UNION ALL
    SELECT 'base type', t.typname, t.oid::bigint, concat_ws(' ', t.typlen, t.typbyval, t.typalign, t.typstorage, t.typinput, t.typoutput, t.typreceive, t.typsend, t.typacl)
    FROM pg_type t WHERE t.typnamespace = 'postback'::regnamespace AND t.typtype <> 'c' AND t.typelem = 0
    UNION ALL
    SELECT 'policy', format('%s of %s', y.polname, r.name), y.oid::bigint,
           concat_ws(' ', y.polcmd, y.polpermissive, y.polroles::regrole[], pg_get_expr(y.polqual, y.polrelid), pg_get_expr(y.polwithcheck, y.polrelid))
    FROM pg_policy y JOIN relation r ON r.oid = y.polrelid
    UNION ALL
    SELECT 'operator', o.oid::regoperator::text, o.oid::bigint, concat_ws(' ', o.oprcode, o.oprcom::regoperator, o.oprnegate::regoperator, o.oprrest, o.oprjoin, o.oprcanmerge, o.oprcanhash)
    FROM pg_operator o WHERE o.oprcode::text ~ 'postback\.'
    UNION ALL
    SELECT 'operator class', c.opcname, c.oid::bigint,
           concat_ws(' ', c.opcintype::regtype, c.opcdefault, m.amname,
                     (SELECT string_agg(concat_ws(' ', a.amopstrategy, a.amopopr::regoperator), ', ' ORDER BY a.amopstrategy) FROM pg_amop a WHERE a.amopfamily = c.opcfamily),
                     (SELECT string_agg(concat_ws(' ', a.amprocnum, a.amproc), ', ' ORDER BY a.amprocnum) FROM pg_amproc a WHERE a.amprocfamily = c.opcfamily))
    FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod WHERE c.opcnamespace = 'postback'::regnamespace
    UNION ALL
    SELECT 'cast', format('%s to %s', c.castsource::regtype, c.casttarget::regtype), c.oid::bigint, concat_ws(' ', c.castfunc::regprocedure, c.castcontext, c.castmethod)
    FROM pg_cast c WHERE 'postback.ulid'::regtype IN (c.castsource, c.casttarget)
    UNION ALL
    SELECT 'collation', l.collname, l.oid::bigint, concat_ws(' ', l.collprovider, l.collisdeterministic, to_jsonb(l) ->> 'colliculocale', to_jsonb(l) ->> 'colllocale')
    FROM pg_collation l WHERE l.collnamespace = 'postback'::regnamespace;

SELECT json_agg(json_build_object('kind', c.kind, 'object', c.object, 'place', c.place, 'definition', c.definition) ORDER BY c.place, c.kind, c.object)
FROM catalogue c;
