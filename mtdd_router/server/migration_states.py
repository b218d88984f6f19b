"""Which migrations tenants have, as a function of the shard's schema ``mtdd``.

Many tenants have the same ones, so only the first of them tells their names. The catalogs
are asked for each tenant by itself, by its schema's id: of a join with the schemas PostgreSQL
expects a single row, and compares each with all others.
"""

from typing import Final

__all__ = ["MIGRATION_STATES_FUNCTION"]

MIGRATION_STATES_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION mtdd.migration_states(tenants text[])
RETURNS TABLE (tenant text, digest text, applied text[])
LANGUAGE plpgsql SET search_path = '' AS $body$
DECLARE
    found record;
    seen text[] = '{}';
BEGIN
    FOR found IN
        SELECT p.tenant, p.role, p.namespace
          FROM mtdd.placement p
         WHERE p.tenant = ANY (tenants) AND p.isolation <> 'database'
           AND 2 = (SELECT pg_catalog.count(*)
                      FROM pg_catalog.pg_class c
                      JOIN pg_catalog.pg_attribute a
                        ON a.attrelid = c.oid AND a.attname IN ('app', 'name')
                     WHERE c.relname = 'django_migrations'
                       AND c.relnamespace
                           = pg_catalog.to_regnamespace(pg_catalog.quote_ident(p.namespace))
                       AND c.relkind = 'r' AND NOT c.relrowsecurity
                       AND a.atttypid IN ('text'::regtype, 'varchar'::regtype)
                       AND a.attgenerated = '')
    LOOP
        PERFORM pg_catalog.set_config('role', found.role, true);
        EXECUTE pg_catalog.format(
            'SELECT pg_catalog.array_agg(m.key ORDER BY m.key COLLATE "C") FROM ('
            'SELECT app || ''.'' || name AS key FROM ONLY %I.django_migrations) AS m',
            found.namespace
        ) INTO applied;
        PERFORM pg_catalog.set_config('role', 'none', true);
        tenant := found.tenant;
        digest := pg_catalog.md5(pg_catalog.array_to_string(applied, E'\n'));
        IF digest = ANY (seen) THEN
            applied := NULL;
        ELSE
            seen := seen || digest;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION mtdd.migration_states(text[]) FROM PUBLIC;
"""
