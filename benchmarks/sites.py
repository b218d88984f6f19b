"""Where candidates work: tenants, and the shard server that has them.

A quick run has the same sites with fewer tenants and rows.
"""

import os
from dataclasses import dataclass

__all__ = ["PLANES", "QUICK", "SITES", "USERS", "Rows", "Site"]

QUICK = bool(os.environ.get("MTDD_BENCH_QUICK"))


def _scaled(full: int, quick: int) -> int:
    return quick if QUICK else full


@dataclass(frozen=True)
class Rows:
    """How many rows a table has."""

    rows: int


USERS = Rows(10_000)
PLANES = Rows(_scaled(1_000_000, 100_000))


@dataclass(frozen=True)
class Site:
    """The tenants of one shard server.

    Attributes:
        tenants: how many.
        users: how many users each has.
        planes: whether it has the planes that are iterated over.
        isolation: ``schema`` or ``database``.
        workers: of the shard server.
        pool: how many backend connections the shard server may hold.
    """

    tenants: int = 1
    users: int = 20
    planes: bool = False
    isolation: str = "schema"
    workers: int = 1
    pool: int = 20


SITES = {
    "one": Site(users=USERS.rows),
    "rows": Site(planes=True),
    "busy": Site(users=USERS.rows, workers=2, pool=24),
    "ten": Site(tenants=10),
    "thousand": Site(tenants=_scaled(1000, 100)),
    "ten thousand": Site(tenants=_scaled(10_000, 300)),
    "databases": Site(tenants=_scaled(200, 20), isolation="database", pool=250),
}
