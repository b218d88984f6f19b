"""What a backend connection must be set to before a statement may run on it.

Invariant: a switch that failed is never followed by the statement it was meant
for. The switch and the statement either share one Sync, so that PostgreSQL
skips the statement after an error, or the switch's success is awaited first. A
switch never shares a transaction that the statement could roll back and go on
after: it would undo the switch.
"""

from dataclasses import dataclass, field
from typing import Final

from mtdd_router.types import Isolation, Placement
from mtdd_router.wire import frontend

__all__ = ["PREPARE_SWITCH", "Profile", "tenant_profile"]

_NAME: Final = b"mtdd_switch"
_STATEMENT: Final = (
    b"SELECT pg_catalog.set_config('role', $1, false),"
    b" pg_catalog.set_config('search_path', $2, false),"
    b" pg_catalog.set_config('TimeZone', $3, false)"
)
_TEXT_OID: Final = 25
_SWITCHES_KEPT: Final = 4
_SET: Final = b"SELECT pg_catalog.set_config($1, $2, false)"

# Prepared once on each backend connection; a switch then only binds.
PREPARE_SWITCH: Final = frontend.parse(_NAME, _STATEMENT, [_TEXT_OID] * 3) + frontend.SYNC


@dataclass(frozen=True, slots=True)
class Profile:
    """Database, role, search path and settings of a context.

    Profiles are interned by their maker, so that being the same is being equal.
    An empty role is the login role; an empty search path is the database's own; an
    empty login is the server's.
    """

    database: str
    role: str
    search_path: str
    settings: tuple[tuple[str, str], ...] = ()
    login: str = ""
    _switches: dict[frozenset[str], tuple[bytes, int]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def home(self) -> tuple[str, str]:
        """What no switch changes on a connection: its database, and who has logged in."""
        return self.database, self.login

    @property
    def tenant_role(self) -> str:
        """The role that is the tenant's own, whether switched to or logged in as."""
        return self.role or self.login

    def switch(self, declared: frozenset[str]) -> tuple[bytes, int]:
        """Return the messages that switch to this profile, and their number of commands.

        Args:
            declared: the settings that profiles may have left on the connection;
                those that this one does not set are reset.
        """
        known = self._switches.get(declared)
        if known is None:
            if len(self._switches) >= _SWITCHES_KEPT:
                self._switches.clear()
            known = self._switches[declared] = self._compose_switch(declared)
        return known

    def _compose_switch(self, declared: frozenset[str]) -> tuple[bytes, int]:
        timezone = None
        others: list[tuple[str, bytes | None]] = []
        for name, value in self.settings:
            if name.lower() == "timezone":
                timezone = value.encode()
            else:
                others.append((name, value.encode()))
        kept = {name for name, _ in self.settings}
        others += [(n, None) for n in declared if n not in kept and n.lower() != "timezone"]
        path = self.search_path.encode() if self.search_path else None
        parts = [
            frontend.bind(_NAME, [self.role.encode() or b"none", path, timezone]),
            frontend.execute(),
        ]
        for name, setting in others:
            parts.append(frontend.parse(b"", _SET, [_TEXT_OID] * 2))
            parts.append(frontend.bind(b"", [name.encode(), setting]))
            parts.append(frontend.execute())
        return b"".join(parts), 1 + len(others)


def tenant_profile(
    placement: Placement,
    database: str,
    extension_schema: str,
    settings: tuple[tuple[str, str], ...],
    *,
    maintenance: bool,
) -> Profile:
    """Return the profile of the tenant that *placement* places.

    Args:
        placement: the shard's own record of the tenant.
        database: the shard's own database, which holds the schemas.
        extension_schema: where extensions live, behind the tenant's own schema.
        settings: what the context declares.
        maintenance: whether an operator is at work, who may need more than the tenant's
            rights and reaches each tenant as the server.
    """
    if placement.isolation is Isolation.DATABASE:
        return Profile(
            placement.namespace, placement.role, f'"public", "{extension_schema}"', settings
        )
    path = f'"{placement.namespace}", "{extension_schema}"'
    if placement.isolation is Isolation.STRICT and not maintenance:
        return Profile(database, "", path, settings, login=placement.role)
    return Profile(database, placement.role, path, settings)
