"""What the row about resolving measures, inside a candidate's process."""

import gc
import random
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import psutil
from django.test import override_settings

from mtdd_router.directory import Directory, load_registry
from mtdd_router.types import Route

__all__ = ["resolve"]

_FIRST = 10_000
_RUNS = 15
_TTL = 3600.0


class _Watched:
    """The registry, and the moment at which the first routes were there."""

    def __init__(self) -> None:
        self._registry = load_registry()
        self.route, self.present_name = self._registry.route, self._registry.present_name
        self.routes_of = self._registry.routes_of
        self.first_at = 0.0

    def routes(self) -> Iterator[Route]:
        """Return all routes."""
        for number, route in enumerate(self._registry.routes()):
            if number == _FIRST:
                self.first_at = perf_counter()
            yield route


def resolve(lookups: int, customers: int) -> dict[str, Any]:
    """Load all routes; return how long that and each lookup took, and the memory it took.

    Args:
        lookups: how many names are resolved in each run.
        customers: how many tenants there are by the name of ``customer-NUMBER``, from 1.
    """
    watched = _Watched()
    directory = Directory(lambda: watched)
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    started = perf_counter()
    # However long it takes: what is measured are lookups, not renewals.
    with override_settings(MTDD_ROUTE_TTL=_TTL):
        directory.preload()
    gc.collect()
    grown = process.memory_info().rss - before
    chosen = random.Random(1)
    numbers = [chosen.randint(1, customers) for _ in range(lookups)]
    find = directory.route
    durations = []
    for _ in range(_RUNS):
        # Each request brings a string of its own, whose hash is not known yet.
        names = [f"customer-{number}" for number in numbers]
        begun = perf_counter()
        for name in names:
            find(name)
        durations.append((perf_counter() - begun) / lookups * 1e6)
    return {
        # In the first run most names are looked up for the first time.
        "first_lookup": durations[0],
        "durations": durations,
        "first_seconds": (watched.first_at or perf_counter()) - started,
        "bytes": grown,
    }
