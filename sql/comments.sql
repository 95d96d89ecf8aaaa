-- \d+, \df+ and \do+ read like a manual: everything that is not internal to a table has a comment.
CREATE TEMP TABLE member AS
SELECT d.classid, d.objid FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'postback');

SELECT c.oid::regclass AS relation FROM pg_class c JOIN member m ON (m.classid, m.objid) = ('pg_class'::regclass, c.oid)
WHERE c.relkind <> 'i' AND NOT c.relispartition
  AND coalesce(obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type')) IS NULL;
SELECT c.relname, a.attname
FROM pg_class c JOIN member m ON (m.classid, m.objid) = ('pg_class'::regclass, c.oid)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind <> 'i' AND NOT c.relispartition AND col_description(c.oid, a.attnum) IS NULL
ORDER BY 1, a.attnum;
SELECT pg_describe_object(m.classid, m.objid, 0) AS object FROM member m
WHERE m.classid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_cast'::regclass,
                    'pg_collation'::regclass, 'pg_namespace'::regclass)
  AND NOT EXISTS (SELECT FROM pg_description d WHERE (d.classoid, d.objoid, d.objsubid) = (m.classid, m.objid, 0))
  -- types of rows and arrays go with what they are of
  AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                  WHERE m.classid = 'pg_type'::regclass AND t.oid = m.objid AND (t.typcategory = 'A' OR c.relkind <> 'c'))
ORDER BY 1;
-- what stands in the list of columns by name is not said of what it does not fit
SELECT c.relname, a.attname, col_description(c.oid, a.attnum) AS says
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'postback'::regnamespace AND c.relname IN ('ledger', 'deliveries', 'report_pending', 'callbacks', 'conversions')
  AND a.attname IN ('amount', 'currency', 'payout', 'revenue', 'brand_id', 'days_left', 'conversion_id', 'status', 'goal')
ORDER BY 1, a.attnum;
