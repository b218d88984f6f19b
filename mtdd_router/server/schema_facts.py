"""The facts of schemas, as one query over PostgreSQL's catalogs.

A fact is free of the schema's and its owner's names, of object ids, and of what
Django cannot change, so two tenants have equal facts exactly if the same migrations
made them. A column's place is its rank, for a dropped column leaves a gap.

Invariant: everything is found through pg_depend and other indexes of the catalogs,
so the cost follows the number of schemas asked for, not of those that are there.
"""

from typing import Final

__all__ = ["FACTS", "FINGERPRINTS", "FINGERPRINTS_FUNCTION", "FINGERPRINTS_ON_SHARD"]

# What determines the definition of a plain B-tree, as PostgreSQL keeps it: to write the definition
# takes several times as long. Access methods, operator classes and collations that are PostgreSQL's
# own have the same numbers, below 12,000, in every database of a major version.
_INDEX: Final = """
               CASE WHEN i.relam = 403 AND i.relkind = 'i'
                    AND x.indexprs IS NULL AND x.indpred IS NULL
                    AND 12000 > ALL (x.indclass) AND 12000 > ALL (x.indcollation)
               THEN pg_catalog.concat_ws(' ', x.indisunique, x.indnullsnotdistinct, x.indnkeyatts,
                        x.indclass, x.indcollation, x.indoption, i.reloptions,
                        ARRAY(SELECT (SELECT a.attname FROM pg_catalog.pg_attribute a
                                       WHERE a.attrelid = x.indrelid AND a.attnum = k.attnum)
                                FROM pg_catalog.unnest(x.indkey) AS k (attnum)))
               ELSE pg_catalog.replace(pg_catalog.pg_get_indexdef(x.indexrelid), r.prefix, '') END
"""
# What people read.
_INDEX_DEFINITION: Final = (
    "pg_catalog.replace(pg_catalog.pg_get_indexdef(x.indexrelid), r.prefix, '')"
)

_FACTS: Final = """
WITH spaces AS MATERIALIZED (
    SELECT n.oid, n.nspname AS namespace, n.nspowner AS owner, r.rolname::text AS role,
           pg_catalog.quote_ident(n.nspname) || '.' AS prefix
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_roles r ON r.rolname = ANY({roles})
     WHERE n.nspname = ANY({namespaces})
       AND (r.oid = n.nspowner OR n.nspname = 'public')
),
members AS MATERIALIZED (
    SELECT s.*, d.classid, d.objid
      FROM spaces s
      JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = s.oid
),
relations AS MATERIALIZED (
    SELECT m.namespace, m.prefix, m.role, c.oid, c.relname, c.relkind, c.relowner,
           c.relpersistence, c.relacl, c.reloptions, c.relrowsecurity, c.relforcerowsecurity,
           c.relreplident, c.relispartition, c.relpartbound, c.relhasindex, c.relhastriggers,
           c.relhasrules
      FROM members m
      JOIN pg_catalog.pg_class c ON c.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_class'::regclass
       AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
),
facts (namespace, kind, object, definition) AS (
    SELECT r.namespace,
           CASE r.relkind
           WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
           WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table' ELSE 'table' END,
           r.relname::text,
           pg_catalog.concat_ws(' ',
               'OWNER ' || nullif(pg_catalog.pg_get_userbyid(r.relowner)::text, r.role),
               CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' END,
               'GRANT ' || pg_catalog.replace(r.relacl::text, r.role, 'OWNER'),
               'WITH ' || r.reloptions::text,
               CASE WHEN r.relrowsecurity THEN 'ROW LEVEL SECURITY' END,
               CASE WHEN r.relforcerowsecurity THEN 'FORCED' END,
               CASE WHEN r.relreplident NOT IN ('d', 'n')
                    THEN 'REPLICA IDENTITY ' || r.relreplident::text END,
               CASE WHEN r.relispartition
                    THEN pg_catalog.pg_get_expr(r.relpartbound, r.oid) END,
               CASE r.relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(r.oid) END,
               CASE WHEN r.relkind IN ('v', 'm')
                    THEN pg_catalog.replace(pg_catalog.pg_get_viewdef(r.oid), r.prefix, '') END,
               CASE r.relkind WHEN 'S' THEN
               (SELECT pg_catalog.concat_ws(' ', q.seqtypid::regtype, 'START', q.seqstart,
                           'INCREMENT', q.seqincrement, 'MIN', q.seqmin, 'MAX', q.seqmax,
                           'CACHE', q.seqcache, CASE WHEN q.seqcycle THEN 'CYCLE' END)
                  FROM pg_catalog.pg_sequence q WHERE q.seqrelid = r.oid) END,
               CASE r.relkind WHEN 'S' THEN
               (SELECT 'OWNED BY ' || o.relname || '.' ||
                       (SELECT a.attname FROM pg_catalog.pg_attribute a
                         WHERE a.attrelid = d.refobjid AND a.attnum = d.refobjsubid)
                  FROM pg_catalog.pg_depend d
                  JOIN pg_catalog.pg_class o ON o.oid = d.refobjid
                 WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = r.oid
                   AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
                 LIMIT 1) END)
      FROM relations r
    UNION ALL
    SELECT r.namespace, 'column', r.relname || '.' || a.attname,
           pg_catalog.concat_ws(' ',
               '#' || pg_catalog.row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
               pg_catalog.replace(pg_catalog.format_type(a.atttypid, a.atttypmod), r.prefix, ''),
               CASE WHEN a.attnotnull THEN 'NOT NULL' END,
               CASE a.attidentity WHEN 'a' THEN 'IDENTITY ALWAYS' WHEN 'd' THEN 'IDENTITY' END,
               CASE a.attgenerated WHEN 's' THEN 'STORED' WHEN 'v' THEN 'VIRTUAL' END,
               CASE WHEN a.atthasdef THEN
               (SELECT 'DEFAULT ' || pg_catalog.replace(
                           pg_catalog.pg_get_expr(d.adbin, d.adrelid), r.prefix, '')
                  FROM pg_catalog.pg_attrdef d
                 WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
               CASE WHEN a.attcollation NOT IN (0, 100) THEN 'COLLATE ' ||
                   pg_catalog.replace(a.attcollation::regcollation::text, r.prefix, '') END,
               CASE WHEN a.attcompression <> '' THEN 'COMPRESSION ' || a.attcompression::text END,
               'GRANT ' || pg_catalog.replace(a.attacl::text, r.role, 'OWNER'))
      FROM relations r
      JOIN pg_catalog.pg_attribute a
        ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE r.relkind <> 'S'
    UNION ALL
    -- That a column is NOT NULL is said above.
    SELECT r.namespace, 'constraint', r.relname || '.' || c.conname,
           pg_catalog.replace(pg_catalog.pg_get_constraintdef(c.oid), r.prefix, '')
      FROM relations r
      JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid AND c.contype <> 'n'
     WHERE r.relkind <> 'S'
    UNION ALL
    SELECT r.namespace, 'index', r.relname || '.' || i.relname,
           pg_catalog.concat_ws(' ', {index},
               CASE WHEN NOT x.indisvalid THEN 'INVALID' END,
               CASE WHEN x.indisclustered THEN 'CLUSTERED' END,
               CASE WHEN x.indisreplident THEN 'REPLICA IDENTITY' END)
      FROM relations r
      JOIN pg_catalog.pg_index x ON x.indrelid = r.oid
      JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
     -- A primary key, as a rule, says all of its index.
     WHERE r.relhasindex
       AND (NOT (x.indisprimary AND x.indisvalid) OR x.indisclustered OR x.indisreplident)
    UNION ALL
    SELECT r.namespace, 'trigger', r.relname || '.' || t.tgname,
           pg_catalog.concat_ws(' ', t.tgenabled,
               pg_catalog.replace(pg_catalog.pg_get_triggerdef(t.oid), r.prefix, ''))
      FROM relations r
      JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
     WHERE r.relhastriggers
    UNION ALL
    SELECT r.namespace, 'policy', r.relname || '.' || p.polname,
           pg_catalog.concat_ws(' ', p.polcmd, CASE WHEN p.polpermissive THEN 'PERMISSIVE' END,
               'USING ' || pg_catalog.pg_get_expr(p.polqual, p.polrelid),
               'CHECK ' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
      FROM relations r
      JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT r.namespace, 'rule', r.relname || '.' || w.rulename,
           pg_catalog.replace(pg_catalog.pg_get_ruledef(w.oid), r.prefix, '')
      FROM relations r
      JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid AND r.relkind IN ('r', 'p')
     WHERE r.relhasrules
    UNION ALL
    SELECT r.namespace, 'comment', pg_catalog.concat_ws('.', r.relname, a.attname), c.description
      FROM relations r
      JOIN pg_catalog.pg_description c
        ON c.objoid = r.oid AND c.classoid = 'pg_catalog.pg_class'::regclass
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum = c.objsubid
           AND c.objsubid > 0
    UNION ALL
    SELECT m.namespace, 'type', t.typname::text,
           pg_catalog.concat_ws(' ',
               'OWNER ' || nullif(pg_catalog.pg_get_userbyid(t.typowner)::text, m.role),
               pg_catalog.format_type(nullif(t.typbasetype, 0), t.typtypmod),
               CASE WHEN t.typnotnull THEN 'NOT NULL' END,
               'DEFAULT ' || t.typdefault,
               (SELECT 'ENUM ' || pg_catalog.string_agg(
                           pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                  FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
               (SELECT pg_catalog.string_agg(
                           c.conname || ' ' || pg_catalog.pg_get_constraintdef(c.oid), ', '
                           ORDER BY c.conname)
                  FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid))
      FROM members m
      JOIN pg_catalog.pg_type t ON t.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_type'::regclass
    UNION ALL
    SELECT m.namespace, 'function', pg_catalog.replace(p.oid::regprocedure::text, m.prefix, ''),
           pg_catalog.concat_ws(' ',
               'OWNER ' || nullif(pg_catalog.pg_get_userbyid(p.proowner)::text, m.role),
               CASE p.prokind WHEN 'a' THEN 'AGGREGATE' ELSE
               pg_catalog.replace(pg_catalog.pg_get_functiondef(p.oid), m.prefix, '') END)
      FROM members m
      JOIN pg_catalog.pg_proc p ON p.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_proc'::regclass
    UNION ALL
    SELECT m.namespace, 'collation', c.collname::text,
           pg_catalog.concat_ws(' ', c.collprovider, c.collcollate, c.collctype,
               CASE WHEN NOT c.collisdeterministic THEN 'NOT DETERMINISTIC' END)
      FROM members m
      JOIN pg_catalog.pg_collation c ON c.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_collation'::regclass
    UNION ALL
    SELECT m.namespace, 'statistics', s.stxname::text,
           pg_catalog.replace(pg_catalog.pg_get_statisticsobjdef(s.oid), m.prefix, '')
      FROM members m
      JOIN pg_catalog.pg_statistic_ext s ON s.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_statistic_ext'::regclass
)
"""

# All have the places {namespaces} and {roles}, for arrays of names; a namespace's facts
# are told from its owner's point of view.
FACTS: Final = (
    _FACTS.replace("{index}", _INDEX_DEFINITION)
    + """
SELECT namespace::text, kind, object, definition FROM facts
 ORDER BY kind COLLATE "C", object COLLATE "C", definition COLLATE "C"
"""
)

FINGERPRINTS: Final = (
    _FACTS.replace("{index}", _INDEX)
    + """
SELECT namespace::text, pg_catalog.md5(pg_catalog.string_agg(
           pg_catalog.concat_ws(E'\\t', kind, object, definition), E'\\n'
           ORDER BY kind COLLATE "C", object COLLATE "C", definition COLLATE "C"))
  FROM facts GROUP BY namespace
"""
)

# The same on the shard's own database, where PostgreSQL keeps the plan: to find it takes
# several times as long as to follow it. What one tenant has in the catalogs is little, and
# found by indexes. Whoever changes the query adds a script that makes this function anew.
FINGERPRINTS_FUNCTION: Final = f"""
CREATE OR REPLACE FUNCTION mtdd.fingerprints(namespaces text[], roles text[])
RETURNS TABLE (namespace text, fingerprint text)
LANGUAGE plpgsql STABLE
SET search_path = '' SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
AS $body$
#variable_conflict use_column
BEGIN
    RETURN QUERY {FINGERPRINTS.format(namespaces="$1", roles="$2")};
END
$body$;
REVOKE ALL ON FUNCTION mtdd.fingerprints(text[], text[]) FROM PUBLIC;
"""
FINGERPRINTS_ON_SHARD: Final = "SELECT * FROM mtdd.fingerprints({namespaces}, {roles})"
