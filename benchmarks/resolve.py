"""The time to resolve a known name among 10,000 tenants: ``python -m benchmarks.resolve``.

No database is asked: the directory is filled from memory, as a running process is from
the registry. Prints the median of many runs, in microseconds; exits 1 above the limit.
"""

import os
import random
import statistics
import sys
import timeit
from collections.abc import Iterable

import django

from mtdd_router.types import Route, TenantState

TENANTS, LOOKUPS, RUNS = 10_000, 20_000, 15
LIMIT_US = 2.0


class Memory:
    """A registry that knows its tenants by heart."""

    def __init__(self) -> None:
        self._routes = {
            name: Route(name, f"shard{number % 2}", "127.0.0.1:7401", 1, TenantState.ACTIVE)
            for number, name in enumerate(names())
        }

    def route(self, tenant: str) -> Route | None:
        """Return the tenant's route."""
        return self._routes.get(tenant)

    def present_name(self, name: str) -> str | None:
        """Return nothing: nobody was renamed."""

    def routes(self) -> Iterable[Route]:
        """Return all routes."""
        return self._routes.values()


def names() -> list[str]:
    """Return the tenants' names."""
    return [f"customer-{number:05}" for number in range(TENANTS)]


def main() -> int:
    """Measure and print."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.test")
    django.setup()
    from mtdd_router.directory import Directory

    directory = Directory(Memory)
    directory.preload()
    asked = random.Random(1).choices(names(), k=LOOKUPS)
    resolve = directory.route

    def lookups() -> None:
        for name in asked:
            resolve(name)

    lookups()
    runs = [seconds / LOOKUPS * 1e6 for seconds in timeit.repeat(lookups, number=1, repeat=RUNS)]
    median = statistics.median(runs)
    print(
        f"resolving one of {TENANTS:,} known names: {median:.3f} us "
        f"(best {min(runs):.3f}, worst {max(runs):.3f}; limit {LIMIT_US:g})"
    )
    return 0 if median < LIMIT_US else 1


if __name__ == "__main__":
    sys.exit(main())
