-- A dump of the database holds all rows: they are the users', not the script's.
--
-- The script itself writes no row and makes no dated partition (keep_partitions() does both at run time), so a restore
-- meets empty tables.  Parents of partitioned tables hold no rows; partitions made at run time are dumped as the
-- ordinary tables that they are.

DO $$
DECLARE
    relation pg_catalog.regclass;
BEGIN
    FOR relation IN
        SELECT c.oid
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'postback'::pg_catalog.regnamespace AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(relation, '');
    END LOOP;
END
$$;
