"""What there is already of the role and the schema that a placement names.

It is columns of a query, so that the statement which inserts the placement can return them too:
a round trip of their own would take longer than reading them.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["GRANTS_HAVE_OPTIONS", "PREEXISTING", "Preexisting"]

GRANTS_HAVE_OPTIONS: Final = 160000
"""The version from which on a role may be granted WITH SET and INHERIT."""

# Names are looked up in PostgreSQL's caches where that can be, which needs no planning. What
# PostgreSQL 16 calls SET is MEMBER before. Both rights are null where there is no role.
_ROLE: Final = "pg_catalog.to_regrole(pg_catalog.quote_ident({role}))::oid"
PREEXISTING: Final = f"""
       coalesce((SELECT d.description FROM pg_catalog.pg_shdescription d
                  WHERE d.objoid = {_ROLE} AND d.classoid = 'pg_catalog.pg_authid'::regclass), ''),
       pg_catalog.pg_has_role({_ROLE},
           CASE WHEN current_setting('server_version_num')::int >= {GRANTS_HAVE_OPTIONS}
                THEN 'SET' ELSE 'MEMBER' END),
       pg_catalog.has_database_privilege({_ROLE}, current_database(), 'CONNECT'),
       {_ROLE} IS NOT NULL AND EXISTS (SELECT FROM mtdd.retired_role t WHERE t.role = {{role}}),
       (SELECT pg_catalog.pg_get_userbyid(n.nspowner)::text FROM pg_catalog.pg_namespace n
         WHERE n.nspname = {{schema}})
"""
"""The columns, which are the attributes of `Preexisting`; {role} and {schema} give the names."""


@dataclass(frozen=True, slots=True)
class Preexisting:
    """What there is of a role and a schema.

    Attributes:
        comment: the role's; empty if it has none, or there is no such role.
        may_switch: whether the login role may become the role; None if there is no such role.
        may_connect: whether the role may connect to this database; likewise.
        retired: whether the role is that of a tenant that is gone.
        owner: the role that owns the schema; None if there is no such schema.
    """

    comment: str
    may_switch: bool | None
    may_connect: bool | None
    retired: bool
    owner: str | None
