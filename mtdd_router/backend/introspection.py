"""Django's introspection, where thousands of other tenants' tables are in the same catalogs."""

from typing import Any, Final

from django.db.backends.postgresql import introspection as postgresql

__all__ = ["DatabaseIntrospection"]

# What Django asks, but found by indexes from the schemas of the search path. Django's own
# query looks at each relation of the database, and whether it is visible: 0.1 s for 250,000.
_TABLES: Final = """
    SELECT c.relname,
           CASE WHEN c.relispartition THEN 'p'
                WHEN c.relkind IN ('m', 'v') THEN 'v'
                ELSE 't' END,
           pg_catalog.obj_description(c.oid, 'pg_class')
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
           AND d.classid = 'pg_catalog.pg_class'::regclass
      JOIN pg_catalog.pg_class c ON c.oid = d.objid
     WHERE n.nspname = ANY(pg_catalog.current_schemas(true))
       AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
       AND c.relkind IN ('f', 'm', 'p', 'r', 'v')
       AND pg_catalog.pg_table_is_visible(c.oid)
"""


class DatabaseIntrospection(postgresql.DatabaseIntrospection):
    """As Django's for PostgreSQL."""

    def get_table_list(self, cursor: Any) -> list[Any]:
        """Return the tables and views that are visible, as Django's TableInfo."""
        cursor.execute(_TABLES)
        return [
            postgresql.TableInfo(*row)
            for row in cursor.fetchall()
            if row[0] not in self.ignored_tables
        ]
