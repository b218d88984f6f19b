"""The plain values that cross the layers, and the protocols between them."""

import enum
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from mtdd_router.errors import InvalidTenantName

__all__ = [
    "DOMAIN_MAX_LENGTH",
    "TRANSITIONS",
    "Filled",
    "Isolation",
    "Placement",
    "Registry",
    "Route",
    "SchemaDetail",
    "SchemaFact",
    "SchemaState",
    "ScriptOutcome",
    "ScriptPart",
    "Settled",
    "ShardInfo",
    "ShardPlacements",
    "TenantState",
    "applied_digest",
    "validate_tenant_name",
]

TENANT_NAME_MAX_LENGTH: Final = 63
DOMAIN_MAX_LENGTH: Final = 253
"""Characters of a domain, of RFC 1035's 255 bytes."""

_TENANT_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*\Z")


def validate_tenant_name(name: str) -> str:
    """Return *name* if it may name a tenant.

    A tenant's name is a Django alias, a DNS label and a path segment at once:
    a lower-case ASCII letter, then letters, digits, ``-`` and ``_``, 63
    characters at most. That it is no static alias is up to the settings.

    Raises:
        InvalidTenantName: naming the name and the rule it breaks.
    """
    if not isinstance(name, str) or not name:
        raise InvalidTenantName("A tenant's name cannot be empty.")
    if len(name) > TENANT_NAME_MAX_LENGTH:
        raise InvalidTenantName(
            f"The tenant name {name[:20] + '...'!r} has {len(name)} characters; "
            f"{TENANT_NAME_MAX_LENGTH} are allowed."
        )
    if not _TENANT_NAME.match(name):
        raise InvalidTenantName(
            f"{name!r} is not a tenant name: start with a lower-case letter a-z, "
            "then use a-z, 0-9, '-' and '_' only."
        )
    return name


class Isolation(enum.StrEnum):
    """How the rows of a tenant are kept apart from others'."""

    SCHEMA = "schema"
    DATABASE = "database"
    STRICT = "strict"

    @property
    def has_schema(self) -> bool:
        """Whether its tables are in a schema of the shard's own database."""
        return self is not Isolation.DATABASE


class TenantState(enum.StrEnum):
    """The state of a tenant; only an active one answers ordinary queries."""

    CREATING = "creating"
    ACTIVE = "active"
    FROZEN = "frozen"
    DELETED = "deleted"
    DELETING = "deleting"


TRANSITIONS: Final[Mapping[TenantState, frozenset[TenantState]]] = {
    TenantState.CREATING: frozenset({TenantState.ACTIVE, TenantState.FROZEN, TenantState.DELETING}),
    TenantState.ACTIVE: frozenset({TenantState.FROZEN, TenantState.DELETED, TenantState.DELETING}),
    TenantState.FROZEN: frozenset({TenantState.ACTIVE, TenantState.DELETED, TenantState.DELETING}),
    TenantState.DELETED: frozenset({TenantState.ACTIVE, TenantState.FROZEN, TenantState.DELETING}),
    TenantState.DELETING: frozenset({TenantState.FROZEN}),
}
"""Which states may follow each, in the registry and on its shard.

A deleted tenant has all its data and may come back; of one that is being deleted, data may
be gone already. Only repair freezes what is creating or deleting: where the other side says
that the tenant was in use.
"""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a tenant lives, as the registry knows it.

    *key* stays the tenant's when it is renamed, and is never another's, not even if that is
    given its name; 0 if the registry has none.
    """

    tenant: str
    shard: str
    address: str
    epoch: int
    state: TenantState = TenantState.ACTIVE
    key: int = 0
    shard_id: str = ""


class Registry(Protocol):
    """The source of routes, named by the setting MTDD_REGISTRY."""

    def route(self, tenant: str) -> Route | None:
        """Return the tenant's current route, or None if there is no such tenant.

        Raises:
            RegistryUnavailable: if the registry's database cannot be asked.
        """

    def present_name(self, name: str) -> str | None:
        """Return the name of the tenant that *name* leads to since its renaming, or None.

        Raises:
            RegistryUnavailable: if the registry's database cannot be asked.
        """

    def routes(self) -> Iterable[Route]:
        """Return the routes of all tenants, streamed."""

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        """Return the current routes of those of *tenants* that there are, some hundred at most.

        Raises:
            RegistryUnavailable: if the registry's database cannot be asked, or not now.
        """


@dataclass(frozen=True, slots=True)
class Placement:
    """A shard's own record of a tenant that lives on it."""

    tenant: str
    isolation: Isolation
    namespace: str
    role: str
    epoch: int
    state: TenantState


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What a shard server tells of itself; the size, in bytes, is zero if it was not asked for."""

    shard_id: str
    server_version: str
    postgres_version: str
    database_name: str
    database_bytes: int
    tenants: int
    pool_size: int
    pool_open: int
    pool_busy: int
    sessions: int


@dataclass(frozen=True, slots=True)
class ShardPlacements:
    """What lives on a shard, and what does not fit together there."""

    placements: Mapping[str, Placement]
    orphans: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class SchemaDetail(enum.Enum):
    """How closely to look at a schema; each level includes the ones before."""

    APPLIED = enum.auto()
    FINGERPRINT = enum.auto()
    FACTS = enum.auto()


@dataclass(frozen=True, slots=True, order=True)
class SchemaFact:
    """One fact about one object of a schema, free of the schema's and the role's name."""

    kind: str
    object: str
    definition: str


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Which migrations a tenant has, and what its catalog holds.

    Attributes:
        applied: the migrations in order, as ``app.name``.
        fingerprint: equal for two tenants exactly if their facts are.
        facts: what the fingerprint is made of, in order.
        postgres_major: the major version of the shard's PostgreSQL.
    """

    tenant: str
    applied: tuple[str, ...]
    postgres_major: int
    fingerprint: str = ""
    facts: tuple[SchemaFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """What tells where the last statements of a script have nothing to do.

    Attributes:
        statements: how many of them, from the end.
        query: is asked before, as the tenant, and gives one text.
        answer: that text where they are not run.
    """

    statements: int
    query: str
    answer: str


@dataclass(frozen=True, slots=True)
class ScriptPart:
    """What belongs together of a script.

    Attributes:
        statements: run in order, as the tenant.
        atomic: in one transaction; otherwise each in its own, or outside of any if it
            must be, and a repetition goes on where the last one stopped.
        expected: the digest of the migrations that must be applied before.
        fingerprint: what an atomic part must lead to, or it is rolled back.
        settled: what may spare its last statements, if it is atomic and *expected* is given.
    """

    statements: tuple[str, ...]
    atomic: bool = True
    expected: str = ""
    fingerprint: str = ""
    settled: Settled | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """A new tenant whose schema a script has filled.

    Attributes:
        placement: as the shard has stored it.
        ran: the script was run now; otherwise it was before, by an earlier call for this tenant or
            before anybody asked for it.
    """

    placement: Placement
    ran: bool


@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """What became of a script on one tenant.

    Attributes:
        parts_done: how many parts are committed.
        seconds: how long it took.
        failure: why the next part is not; empty if there is none.
        sqlstate: PostgreSQL's error code, if it refused a statement.
        differs: the schema was, or became, another one than expected.
    """

    tenant: str
    parts_done: int
    seconds: float
    failure: str = ""
    sqlstate: str = ""
    differs: bool = False


def applied_digest(names: Iterable[str]) -> str:
    """Return the digest of a set of migrations, ``app.name``, as shards compute it."""
    return hashlib.md5("\n".join(sorted(names)).encode(), usedforsecurity=False).hexdigest()
