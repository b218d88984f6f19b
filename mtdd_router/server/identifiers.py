"""The names and marks of what a shard server makes in PostgreSQL.

Invariant: nothing is ever dropped that does not carry the mark of this shard.
The mark is a comment on the role, schema or database, and names the shard:
roles and databases are shared by all databases of a PostgreSQL, so another
shard's may stand beside ours.
"""

import re
from typing import Final
from uuid import UUID

__all__ = ["InvalidIdentifier", "check_identifier", "mark"]

_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_RESERVED: Final = frozenset(
    {"mtdd", "public", "information_schema", "postgres", "none", "template0", "template1"}
)


class InvalidIdentifier(ValueError):
    """That name cannot be used for a namespace or role."""


def check_identifier(kind: str, name: str) -> str:
    """Return *name* if a namespace or role may be called so.

    Raises:
        InvalidIdentifier: naming *kind*, the name and the rule.
    """
    if not _IDENTIFIER.match(name):
        raise InvalidIdentifier(
            f"{kind} {name[:80]!r} is not a valid name: start with a-z, then use a-z, 0-9 and '_', "
            "63 characters at most."
        )
    if name in _RESERVED or name.startswith("pg_"):
        raise InvalidIdentifier(f"{kind} {name!r} is a reserved name.")
    return name


def mark(shard_id: UUID) -> str:
    """Return the comment that marks what the shard *shard_id* made for its tenants."""
    return f"django-mtdd tenant namespace of shard {shard_id}"
