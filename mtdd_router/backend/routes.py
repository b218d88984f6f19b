"""Where the backend gets a tenant's route from, and which tenants a thread has open.

The routing layer lies above the backend and registers itself here, so that imports
point downward only.

Invariants: a thread keeps at most `Defaults.kept_connections` idle DatabaseWrappers of
tenants (Django itself would keep one per alias and thread for ever); a wrapper in use, or
held by somebody else than Django's ConnectionHandler, is never put away. The book-keeping is
as local as Django's own: per thread, per task in an event loop.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from asgiref.local import Local
from django.dispatch import Signal

from mtdd_router.backend.defaults import defaults
from mtdd_router.backend.showing import is_left_out, shown_aliases
from mtdd_router.errors import ConfigurationError
from mtdd_router.types import Route

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = [
    "RouteSource",
    "known_aliases",
    "maintenance_allowed",
    "note_closed",
    "note_created",
    "note_open",
    "opening",
    "route_source",
    "set_route_source",
    "shown_and_open",
    "thread_aliases",
    "wrapper_made",
]

wrapper_made: Final = Signal()
"""Sent with *connection* for each new wrapper of a tenant, before Django has stored it."""


class RouteSource(Protocol):
    """What knows where tenants live."""

    def route(self, tenant: str) -> Route:
        """Return the tenant's route.

        Raises:
            TenantDoesNotExist, TenantUnavailable, RegistryUnavailable
        """

    def refresh(self, tenant: str, stale: Route) -> Route:
        """Return a route read after a shard server called *stale* outdated.

        It may equal *stale* when the registry has not caught up with the shard yet.

        Raises:
            TenantDoesNotExist, TenantUnavailable, RegistryUnavailable
        """


_source: RouteSource | None = None
_maintenance: Callable[[], bool] = bool


def set_route_source(source: RouteSource | None, maintenance: Callable[[], bool] = bool) -> None:
    """Let the backend ask *source* for routes, and *maintenance* whether it is allowed."""
    global _source, _maintenance
    _source, _maintenance = source, maintenance


def route_source() -> RouteSource:
    """Return the registered source.

    Raises:
        ConfigurationError: if "mtdd_router" is not in INSTALLED_APPS.
    """
    if _source is None:
        raise ConfigurationError(
            'No source of routes: add "mtdd_router" to INSTALLED_APPS, and call django.setup().'
        )
    return _source


def maintenance_allowed() -> bool:
    """Return whether the running work may use a tenant that is not active."""
    return _maintenance()


class _Wrappers:
    """The tenants whose wrapper this thread has, least recently used first."""

    __slots__ = ("hidden", "known", "open")

    def __init__(self) -> None:
        self.known: dict[str, None] = {}
        self.open: dict[str, None] = {}
        self.hidden = ""


_local: Final = Local(thread_critical=True)


def _wrappers() -> _Wrappers:
    try:
        found = _local.wrappers
    except AttributeError:
        found = _local.wrappers = _Wrappers()
    assert isinstance(found, _Wrappers)
    return found


def thread_aliases() -> list[str]:
    """Return the tenants whose connection this thread has open, oldest first."""
    return list(_wrappers().open)


def known_aliases() -> list[str]:
    """Return the tenants whose wrapper this thread has, open or not, oldest first."""
    return list(_wrappers().known)


def shown_and_open() -> tuple[list[str], list[str]]:
    """Return the tenants that tests show, and the others that this thread has open."""
    mine, shown = _wrappers(), shown_aliases()
    if not shown:
        return [], list(mine.open)
    return (
        [alias for alias in shown if alias != mine.hidden],
        [alias for alias in mine.open if alias not in shown],
    )


def note_created(alias: str) -> None:
    """Say that a tenant's wrapper is being made in this thread; put idle ones away.

    Called from the wrapper's ``__init__``, before Django has stored it.
    """
    mine = _wrappers()
    kept = defaults().kept_connections
    if len(mine.known) >= kept:
        # Many at once, for it costs a pass.
        _put_idle_away(mine, kept - max(1, kept // 4))
    _touch(mine.known, alias)


def note_open(alias: str) -> None:
    """Say that this thread has opened the connection of a tenant."""
    mine = _wrappers()
    _touch(mine.known, alias)
    mine.open[alias] = None


@contextmanager
def opening(alias: str) -> Iterator[None]:
    """Open the connection of a tenant in the block, during which it counts as open.

    So Django's test cases refuse it as they do any alias that a test has not declared. One
    that is to be left out is hidden from them instead.
    """
    if is_left_out(alias):
        mine = _wrappers()
        mine.hidden = alias
        try:
            yield
        finally:
            mine.hidden = ""
        return
    note_open(alias)
    try:
        yield
    except BaseException:
        note_closed(alias)
        raise


def note_closed(alias: str) -> None:
    """Say that this thread has closed the connection of a tenant."""
    _wrappers().open.pop(alias, None)


def _touch(known: dict[str, None], alias: str) -> None:
    known.pop(alias, None)
    known[alias] = None


def _put_idle_away(mine: _Wrappers, down_to: int) -> None:
    """Drop the least recently used idle wrappers, until *down_to* are left."""
    from django.db import connections

    excess = len(mine.known) - down_to
    aliases = iter(list(mine.known))
    while excess > 0 and (batch := list(islice(aliases, excess))):
        stored = _stored(mine, batch)
        for alias in batch:
            wrapper = stored.pop(alias, None)
            if wrapper is not None:
                if not _is_idle(wrapper):
                    continue
                if wrapper.connection is not None:
                    wrapper.close()
                # Whoever holds a wrapper must go on sharing its transactions with the alias.
                # A reference that is not recognised counts as somebody's: the wrapper stays.
                if _references(wrapper) > _ALONE:
                    continue
                del connections[alias]
                # It is in cycles with its own parts: free it now, not at the next full
                # collection, which thousands of wrappers may be away.
                vars(wrapper).clear()
            mine.known.pop(alias, None)
            mine.open.pop(alias, None)
            excess -= 1


def _stored(mine: _Wrappers, aliases: Iterable[str]) -> dict[str, "BaseDatabaseWrapper"]:
    """Return the wrappers that Django has for *aliases*, without making any."""
    from django.db import connections

    # What `all()` iterates: static aliases and `open`.
    shown, mine.open = mine.open, dict.fromkeys(aliases)
    try:
        return {conn.alias: conn for conn in connections.all(initialized_only=True)}
    finally:
        mine.open = shown


def _is_idle(wrapper: "BaseDatabaseWrapper") -> bool:
    """Return whether nobody would miss the wrapper's state."""
    if (
        wrapper.in_atomic_block
        or wrapper.run_on_commit
        or wrapper.execute_wrappers
        or wrapper.force_debug_cursor
        or wrapper.allow_thread_sharing
    ):
        return False
    if wrapper.connection is None:
        return True
    is_idle: Callable[[], bool] | None = getattr(wrapper, "is_idle", None)
    return wrapper.autocommit and is_idle is not None and is_idle()


def _references(wrapper: object) -> int:
    """Return how many references there are, without those of the wrapper's own parts."""
    count = sys.getrefcount(wrapper)
    for part in vars(wrapper).values():
        for value in getattr(part, "__dict__", {}).values():
            count -= value is wrapper
    return count


def _references_when_alone() -> int:
    class Probe:
        pass

    probe = Probe()
    handler = {"alias": probe}
    count = _references(probe)
    handler.clear()
    return count


# What `_put_idle_away` and Django's handler account for; how the interpreter counts
# differs between versions, so it is measured.
_ALONE: Final = _references_when_alone()
