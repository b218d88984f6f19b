"""The process-wide cache of routes: which shard a tenant lives on.

Invariants: a known, fresh route costs one dict lookup and no lock. One thread reads
a missing tenant from the registry while the others wait for its answer. A route that
has outlived MTDD_ROUTE_TTL is served on while one thread reads it anew, and with it others
that were used lately: so tenants that are seldom asked for need not each ask. While the
registry cannot be reached, known routes stay good (a shard server refuses a wrong
one by its epoch). An unknown name is remembered for `NEGATIVE_TTL` only. What was read
ahead is packed until it is first used, and no name is in both places.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from math import inf
from time import monotonic
from typing import Final

from django.core.exceptions import SynchronousOnlyOperation
from django.core.signals import setting_changed
from django.dispatch import Signal
from django.utils.module_loading import import_string

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import maintenance_active
from mtdd_router.errors import (
    ConfigurationError,
    RegistryUnavailable,
    TenantDoesNotExist,
    TenantUnavailable,
)
from mtdd_router.preloaded import Preloaded
from mtdd_router.types import Registry, Route, TenantState, validate_tenant_name

__all__ = ["Directory", "alias_released", "directory", "load_registry"]

logger = logging.getLogger("mtdd_router.directory")

NEGATIVE_TTL: Final = 1.0
"""Seconds for which an unknown tenant name is not asked for again."""

RETRY_AFTER: Final = 2.0
"""Seconds between two attempts while the registry cannot be reached."""

FLIGHT_TIMEOUT: Final = 5.0
"""Seconds to wait for another thread's read before reading oneself."""

_MAX_UNKNOWN: Final = 10_000

_PRELOADED_AT_A_TIME: Final = 10_000

# With a route that is read anew go so many others, found among so many, ...
_RENEWED_TOGETHER: Final = 100
_LOOKED_AT: Final = 1000
# ... that were used in so many times of MTDD_ROUTE_TTL.
_IN_USE: Final = 10

# Python 3.11 takes a fifth of a lookup's time to find a member of an enum.
_ACTIVE: Final = TenantState.ACTIVE

alias_released: Final = Signal()
"""Sent with *alias* when this process forgets where that tenant is, or learns that the name is
another's or that it is on another shard; None stands for all."""


def load_registry() -> Registry:
    """Return a new instance of the registry that MTDD_REGISTRY names.

    Raises:
        ConfigurationError: if it cannot be imported or made, or its app is not installed.
    """
    path = mtdd_settings.registry
    try:
        registry: Registry = import_string(path)()
    except (ImportError, TypeError, AttributeError, RuntimeError) as exc:
        raise ConfigurationError(f"MTDD_REGISTRY = {path!r} cannot be used: {exc}") from exc
    return registry


class _Entry:
    """A route, until when it is fresh, and when it was used last; in monotonic seconds."""

    __slots__ = ("fresh_until", "route", "used_at")

    def __init__(self, route: Route, fresh_until: float, used_at: float) -> None:
        self.route = route
        self.fresh_until = fresh_until
        self.used_at = used_at


class _Flight:
    """One read of the registry, and who waits for it."""

    __slots__ = ("done", "error", "route")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.route: Route | None = None
        self.error: BaseException | None = None


class Directory:
    """Where every tenant lives, as far as this process knows."""

    def __init__(self, make_registry: Callable[[], Registry] = load_registry) -> None:
        self._make_registry = make_registry
        self._registry: Registry | None = None
        # In the order in which they were read, or found unused.
        self._entries: dict[str, _Entry] = {}
        self._preloaded = Preloaded()
        self._unknown: dict[str, float] = {}
        self._leads_nowhere: dict[str, float] = {}
        self._flights: dict[str, _Flight] = {}
        # Of the kind that a thread may hold twice: a line logged under it may ask `known`.
        self._lock = threading.RLock()
        # Rises with forget(): what was read before must not be stored after.
        self._generation = 0
        self._down = False

    def route(self, tenant: str) -> Route:
        """Return where *tenant* lives.

        Raises:
            InvalidTenantName: if no tenant can have this name.
            TenantDoesNotExist: if it is not registered.
            TenantUnavailable: if it is not active, outside of ``maintenance()``.
            RegistryUnavailable: if it is not known here and the registry is down.
        """
        entry = self._entries.get(tenant) or self._unpack(tenant)
        now = monotonic()
        if entry is not None and entry.fresh_until > now:
            entry.used_at = now
            route = entry.route
        else:
            route = self._look_up(tenant, entry)
        if route.state is not _ACTIVE and not maintenance_active():
            raise TenantUnavailable(f"Tenant {tenant!r} is not available: it is {route.state}.")
        return route

    def refresh(self, tenant: str, stale: Route) -> Route:
        """Return the route after a shard server called *stale* outdated.

        Nothing is read if this process knows a later epoch already. The answer may
        equal *stale* while the registry has not caught up with the shard.

        Raises:
            The same as `route`; RegistryUnavailable also for a known tenant.
        """
        entry = self._entries.get(tenant) or self._unpack(tenant)
        if entry is None or entry.route.epoch <= stale.epoch:
            self._read(tenant)
        return self.route(tenant)

    def present_name(self, name: str) -> str:
        """Return the name of the tenant that was renamed from *name*; *name* itself if none was.

        The former is never taken from a cache: the name may be another's at any moment.

        Raises:
            InvalidTenantName: if no tenant can have this name.
            RegistryUnavailable: if neither is known here and the registry is down.
        """
        now = monotonic()
        if self.known(name) is not None or self._leads_nowhere.get(name, 0.0) > now:
            return name
        if self._unknown.get(name, 0.0) <= now:
            with suppress(TenantDoesNotExist):
                self._read(name)
                return name
        present = self._source().present_name(name)
        if present is not None:
            return present
        with self._lock:
            if len(self._leads_nowhere) >= _MAX_UNKNOWN:
                self._leads_nowhere.clear()
            self._leads_nowhere[name] = monotonic() + NEGATIVE_TTL
        return name

    def known(self, tenant: str) -> Route | None:
        """Return the route that this process has, fresh or not, and never ask the registry."""
        entry = self._entries.get(tenant) or self._unpack(tenant)
        return None if entry is None else entry.route

    def key(self, tenant: str) -> str:
        """Return what stands for the tenant where its name will not do (`Route.key`).

        It is the name, where the registry has no keys.

        Raises:
            InvalidTenantName, TenantDoesNotExist, RegistryUnavailable
        """
        entry = self._entries.get(tenant) or self._unpack(tenant)
        if entry is not None and entry.fresh_until > monotonic():
            route = entry.route
        else:
            try:
                route = self._look_up(tenant, entry)
            except SynchronousOnlyOperation:
                # In an event loop; the route was fresh when its request began.
                if entry is None:
                    raise
                route = entry.route
        return str(route.key) if route.key else tenant

    def knows(self, tenant: str) -> bool:
        """Return whether `present_name` and `route` would answer without the registry."""
        now = monotonic()
        entry = self._entries.get(tenant) or self._unpack(tenant)
        if entry is not None:
            return entry.fresh_until > now
        return min(self._unknown.get(tenant, 0.0), self._leads_nowhere.get(tenant, 0.0)) > now

    def forget(self, tenant: str | None = None) -> None:
        """Drop what is known of *tenant*, or of all: the next lookup reads it anew."""
        with self._lock:
            self._generation += 1
            self._flights.clear()
            if tenant is None:
                self._entries.clear()
                self._preloaded.clear()
                self._unknown.clear()
                self._leads_nowhere.clear()
                self._registry = None
            else:
                self._entries.pop(tenant, None)
                self._preloaded.pop(tenant)
                self._unknown.pop(tenant, None)
                self._leads_nowhere.pop(tenant, None)
        alias_released.send(Directory, alias=tenant)

    def preload(self) -> int:
        """Read the routes of all tenants, and return how many there are.

        Raises:
            RegistryUnavailable: if the registry cannot be reached.
        """
        count = 0
        with self._lock:
            generation = self._generation
            self._preloaded.reuse()
        routes = iter(self._source().routes())
        while some := {route.tenant: route for route in islice(routes, _PRELOADED_AT_A_TIME)}:
            count += len(some)
            self._store_ahead(some, generation)
        return count

    def _unpack(self, tenant: str) -> _Entry | None:
        """Return what is known of *tenant*, which is no longer only preloaded then."""
        with self._lock:
            entry = self._entries.get(tenant)
            if entry is None and (found := self._preloaded.pop(tenant)):
                entry = self._entries[tenant] = _Entry(*found, used_at=monotonic())
            return entry

    def _look_up(self, tenant: str, entry: _Entry | None) -> Route:
        if entry is None:
            if self._unknown.get(tenant, 0.0) > monotonic():
                raise _does_not_exist(tenant)
            return self._read(tenant)
        # The others go on with the old route while this thread reads the new one.
        entry.used_at = monotonic()
        entry.fresh_until = entry.used_at + RETRY_AFTER
        try:
            route = self._read(tenant)
        except RegistryUnavailable as exc:
            if not self._down:
                self._down = True
                logger.warning("The registry is unavailable; known routes stay in use: %s", exc)
            return entry.route
        self._renew_others()
        return route

    def _renew_others(self) -> None:
        """Read anew some of the routes that are stale and were used lately."""
        with self._lock:
            generation = self._generation
            due = self._due()
        if not due:
            return
        try:
            found = {route.tenant: route for route in self._source().routes_of(due.keys())}
            for name, entry in due.items():
                self._store(name, found.get(name), generation, instead_of=entry)
        except RegistryUnavailable:
            pass
        except Exception as exc:  # noqa: BLE001 - whoever asked for another has his route
            logger.warning("Stale routes cannot be read together: %s", exc)
        finally:
            # What was not stored is read by whoever asks for it.
            with self._lock:
                for name, entry in due.items():
                    if self._entries.get(name) is entry:
                        entry.fresh_until = -inf

    def _due(self) -> dict[str, _Entry]:
        """Return which routes to read anew, and let them be used meanwhile."""
        now, ttl = monotonic(), mtdd_settings.route_ttl
        due: dict[str, _Entry] = {}
        unused = []
        if not ttl:
            return due
        for name, entry in islice(self._entries.items(), _LOOKED_AT):
            if entry.fresh_until > now or len(due) == _RENEWED_TOGETHER:
                break
            if entry.used_at > now - _IN_USE * ttl:
                entry.fresh_until = now + RETRY_AFTER
                due[name] = entry
            else:
                unused.append(name)
        for name in unused:
            self._entries[name] = self._entries.pop(name)
        return due

    def _read(self, tenant: str) -> Route:
        """Read *tenant* from the registry, or share the answer of a read that runs."""
        validate_tenant_name(tenant)
        with self._lock:
            generation = self._generation
            flight = self._flights.get(tenant)
            mine = flight is None
            if flight is None:
                flight = self._flights[tenant] = _Flight()
        if not mine:
            if flight.done.wait(FLIGHT_TIMEOUT):
                if flight.error is not None:
                    raise flight.error
                if flight.route is None:
                    raise _does_not_exist(tenant)
                return flight.route
            flight = _Flight()
        try:
            route = self._source().route(tenant)
            flight.route = route = self._store(tenant, route, generation)
        except BaseException as exc:
            flight.error = exc if isinstance(exc, Exception) else RegistryUnavailable()
            raise
        finally:
            flight.done.set()
            with self._lock:
                if self._flights.get(tenant) is flight:
                    del self._flights[tenant]
        if route is None:
            raise _does_not_exist(tenant)
        return route

    def _store(
        self,
        tenant: str,
        route: Route | None,
        generation: int,
        *,
        instead_of: _Entry | None = None,
    ) -> Route | None:
        """Keep what was read, unless something was forgotten meanwhile.

        Nor if *instead_of* is given, and is no longer what is kept.
        """
        now = monotonic()
        if route is not None:
            route = Route(
                tenant=tenant,
                shard=sys.intern(route.shard),
                address=sys.intern(route.address),
                epoch=route.epoch,
                state=TenantState(route.state),
                key=route.key,
                shard_id=sys.intern(route.shard_id),
            )
        with self._lock:
            if not self._may_store(generation):
                return route
            before = self._unpack(tenant)
            if instead_of is not None and before is not instead_of:
                return route
            self._entries.pop(tenant, None)
            if route is None:
                if len(self._unknown) >= _MAX_UNKNOWN:
                    self._unknown.clear()
                self._unknown[tenant] = now + NEGATIVE_TTL
            else:
                self._unknown.pop(tenant, None)
                used_at = now if before is None else before.used_at
                self._entries[tenant] = _Entry(route, now + _fresh_for(route.state), used_at)
        if before is not None and _is_another(before.route, route):
            alias_released.send(Directory, alias=tenant)
        return route

    def _store_ahead(self, routes: dict[str, Route], generation: int) -> None:
        """Keep *routes*, by name, as `_store` does, but packed where a tenant is not in use."""
        now = monotonic()
        fresh_until = {state: now + _fresh_for(state) for state in TenantState}
        with self._lock:
            if not self._may_store(generation):
                return
            in_use = [routes.pop(name) for name in routes.keys() & self._entries.keys()]
            others = self._preloaded.add(routes.values(), fresh_until)
        for route in in_use:
            self._store(route.tenant, route, generation)
        for name in others:
            alias_released.send(Directory, alias=name)

    def _may_store(self, generation: int) -> bool:
        """Note that the registry answered; return whether nothing was forgotten since."""
        if self._down:
            self._down = False
            logger.info("The registry is available again.")
        return generation == self._generation

    def _source(self) -> Registry:
        registry = self._registry
        if registry is None:
            registry = self._registry = self._make_registry()
        return registry

    def after_fork(self) -> None:
        """Make locks anew in a child process; what is known stays known."""
        # The parent's other threads, and what they held, are not in the child.
        self._lock = threading.RLock()
        self._flights = {}


def _fresh_for(state: TenantState) -> float:
    """Return the seconds for which a route is fresh once it was read."""
    # A tenant that is being made or frozen is asked for again soon.
    ttl = mtdd_settings.route_ttl
    return ttl if state is _ACTIVE else min(ttl, NEGATIVE_TTL)


def _is_another(before: Route, now: Route | None) -> bool:
    return now is None or (before.key, before.shard) != (now.key, now.shard)


def _does_not_exist(tenant: str) -> TenantDoesNotExist:
    return TenantDoesNotExist(f"There is no tenant {tenant!r}.")


directory: Final = Directory()
"""The directory of this process."""

os.register_at_fork(after_in_child=directory.after_fork)


def _forget_on_change(*, setting: str, **_: object) -> None:
    if setting in {"MTDD_REGISTRY", "MTDD_ROUTE_TTL"}:
        directory.forget()


setting_changed.connect(_forget_on_change, dispatch_uid="mtdd_router.directory")
