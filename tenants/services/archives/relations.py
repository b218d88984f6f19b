"""The tables and sequences of a tenant, as its snapshot shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["Relation", "relations"]

# What an extension has brought is not the tenant's.
_RELATIONS: Final = r"""
SELECT n.nspname::text, c.relname::text, c.relkind = 'S', coalesce(o.relname::text, '')
  FROM pg_catalog.pg_namespace n
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'S')
  LEFT JOIN pg_catalog.pg_depend d
    ON c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
   AND d.objid = c.oid AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')
  LEFT JOIN pg_catalog.pg_class o ON o.oid = d.refobjid
 WHERE CASE WHEN %(schema)s = '' THEN n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            ELSE n.nspname = %(schema)s END
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                    WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
 ORDER BY n.nspname, c.relname
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table with rows of its own, or a sequence, and the table whose column has that."""

    schema: str
    name: str
    is_sequence: bool
    owner: str


def relations(snapshot: BaseDatabaseWrapper, schema: str) -> Sequence[Relation]:
    """Return those of *schema*; without one, those of the whole database."""
    with snapshot.cursor() as cursor:
        cursor.execute(_RELATIONS, {"schema": schema})
        return [Relation(*row) for row in cursor.fetchall()]
