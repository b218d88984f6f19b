"""What a backend connection must be set to before a statement may run on it.

Invariant: a switch that failed is never followed by the statement it was meant
for. The switch and the statement either share one Query, or one Sync, so that PostgreSQL
skips the statement after an error, or the switch's success is awaited first. A
switch never shares a transaction that the statement could roll back and go on
after: it would undo the switch.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mtdd_router.types import Isolation, Placement
from mtdd_router.wire import frontend

__all__ = ["TIMEZONE", "Profile", "Switch", "tenant_profile"]

TIMEZONE: Final = "TimeZone"
"""The setting whose changes PostgreSQL reports."""

_TEXT_OID: Final = 25
_SWITCHES_KEPT: Final = 8
_SET: Final = b"SELECT pg_catalog.set_config($1, $2, false)"
_DEFAULT_PATH: Final = "RESET search_path"


class Switch(NamedTuple):
    """What brings a backend connection to a profile.

    Attributes:
        messages: as extended queries, without Sync.
        commands: how many those are.
        text: the same as the beginning of a Query; empty if it sets, or sets back, what callers
            choose, which is nothing to make SQL of.
        characters: how many *text* has.
    """

    messages: bytes
    commands: int
    text: bytes
    characters: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Database, role, search path and settings of a context.

    Profiles are interned by their maker, so that being the same is being equal.
    An empty role is the login role; a search path is of quoted names, an empty one is the
    database's own; an empty login is the server's.
    """

    database: str
    role: str
    search_path: str
    settings: tuple[tuple[str, str], ...] = ()
    login: str = ""
    _switches: dict[tuple[frozenset[str], str | None], Switch] = field(
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

    def switch(self, declared: frozenset[str], timezone: str | None = None) -> Switch:
        """Return what switches to this profile.

        Args:
            declared: the settings that profiles may have left on the connection;
                those that this one does not set are reset.
            timezone: that of the connection, which is not set again; None if not known.
        """
        key = declared, timezone
        known = self._switches.get(key)
        if known is None:
            if len(self._switches) >= _SWITCHES_KEPT:
                self._switches.clear()
            known = self._switches[key] = self._compose_switch(declared, timezone)
        return known

    def _compose_switch(self, declared: frozenset[str], timezone: str | None) -> Switch:
        own = {name for name, _ in self.settings}
        settings: list[tuple[str, str | None]] = [
            (name, value)
            for name, value in self.settings
            if not (_is_timezone(name) and value == timezone)
        ]
        settings += [(n, None) for n in declared if n not in own and not _is_timezone(n)]
        if not any(map(_is_timezone, own)):
            settings.append((TIMEZONE, None))
        # Not a prepared SELECT of set_config: PostgreSQL plans that anew whenever the search
        # path has changed, which takes longer than the whole of this.
        role = f"SET ROLE {_quoted(self.role) if self.role else 'NONE'}"
        path = f"SET search_path = {self.search_path}" if self.search_path else _DEFAULT_PATH
        parts = [_command(role), _command(path), *(_setting(*item) for item in settings)]
        text = "" if settings else f"{role}; {path}; "
        return Switch(b"".join(parts), len(parts), text.encode(), len(text))


def _is_timezone(name: str) -> bool:
    return name.lower() == TIMEZONE.lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _command(text: str) -> bytes:
    return frontend.parse(b"", text.encode(), []) + frontend.bind(b"", []) + frontend.execute()


def _setting(name: str, value: str | None) -> bytes:
    """Return the messages that give a setting its value, or that of the connection's start."""
    given = [name.encode(), None if value is None else value.encode()]
    return (
        frontend.parse(b"", _SET, [_TEXT_OID] * 2) + frontend.bind(b"", given) + frontend.execute()
    )


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
