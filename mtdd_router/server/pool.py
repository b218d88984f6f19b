"""The bounded pool of backend connections of one worker process.

Invariants: never more than ``size`` connections are open or opening; a
connection is idle in the pool or lent to one session, never both; one that has logged
in as a tenant serves that tenant alone; one that is lost, was cancelled, or is in doubt
is closed instead of lent again. One that has served many tenants takes no others, for
PostgreSQL never forgets a relation that it has seen.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg

from mtdd_router.errors import ShardUnavailable
from mtdd_router.server.logs import get_logger
from mtdd_router.server.postgres.connection import ConnectionLost, PostgresConnection
from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.server.postgres.startup import ConnectFailed
from mtdd_router.server.profile import TIMEZONE, Profile, Switch
from mtdd_router.server.tenant_logins import NO_SUCH_LOGIN, TenantLogins
from mtdd_router.wire import frontend

__all__ = ["Backend", "BackendPool", "DatabaseUnavailable", "PoolExhausted"]

_APPLICATION_NAME: Final = "mtdd_shard"
_CLEAN_SECONDS: Final = 5.0
_CLEAN: Final = frontend.simple_query(b"DISCARD ALL")
_ROLLBACK: Final = frontend.simple_query(b"ROLLBACK")

log = get_logger(__name__)


class PoolExhausted(Exception):
    """No backend connection became free in time, or too many wait already."""


class DatabaseUnavailable(Exception):
    """PostgreSQL could not be reached, or refused the login."""


class Backend(PostgresConnection):
    """A backend connection and the profile it is set to.

    ``profile`` is None while it is not known for certain.
    """

    profile: Profile | None = None
    login = ""
    _declared: frozenset[str] = frozenset()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._served: set[str] = set()

    @property
    def home(self) -> tuple[str, str]:
        """Its database, and the tenant's role that it has logged in as, if any."""
        return self.database, self.login

    @property
    def tenants(self) -> int:
        """How many tenants it has served."""
        return len(self._served)

    def has_served(self, profile: Profile) -> bool:
        """Whether PostgreSQL may still know there what the profile's tenant has."""
        return profile.tenant_role in self._served

    def start_switch(self, profile: Profile) -> Switch:
        """Return what switches to *profile*.

        ``profile`` is None from here until the switch is known to be committed.
        """
        switch = profile.switch(self._declared, self.parameters.get(TIMEZONE))
        self.profile = None
        self._declared |= {name for name, _ in profile.settings}
        self._served.add(profile.tenant_role)
        return switch


@dataclass(slots=True, eq=False)
class _Waiter:
    profile: Profile
    future: "asyncio.Future[Backend | None]"


class BackendPool:
    """At most *size* backend connections, shared by the sessions of this process.

    Args:
        dsn: where PostgreSQL is, and as whom to log in.
        logins: how to log in as a tenant.
        size: the bound on connections.
        queue_size: how many requests may wait for one.
        tenants: how many tenants one serves, and no others after that.
        settings: startup parameters of each connection.
    """

    def __init__(
        self,
        dsn: Dsn,
        logins: TenantLogins,
        *,
        size: int,
        queue_size: int,
        tenants: int,
        settings: Mapping[str, str],
    ) -> None:
        self._dsn = dsn
        self._logins = logins
        self._size = size
        self._queue_size = queue_size
        self._tenants = tenants
        self._settings = {"application_name": _APPLICATION_NAME, **settings}
        self._idle: OrderedDict[Backend, None] = OrderedDict()
        self._waiters: deque[_Waiter] = deque()
        self._lent: set[Backend] = set()
        self._leaving: set[Backend] = set()
        self._opening = 0
        self._parameters: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def size(self) -> int:
        """The bound on connections."""
        return self._size

    @property
    def open_count(self) -> int:
        """How many connections are open, opening, or not ended yet by PostgreSQL."""
        return len(self._idle) + len(self._lent) + len(self._leaving) + self._opening

    @property
    def busy_count(self) -> int:
        """How many connections are lent to sessions."""
        return len(self._lent)

    async def acquire(self, profile: Profile, limit: float) -> Backend:
        """Return a connection of the profile's home, the best one for the profile.

        It is not switched yet: its own ``profile`` tells what it is set to.

        Args:
            profile: what the connection is wanted for.
            limit: how long to wait, in seconds.

        Raises:
            PoolExhausted: if the queue is full, or none became free in time.
            DatabaseUnavailable: if PostgreSQL cannot be reached.
        """
        if (backend := self.take(profile)) is not None:
            return backend
        if not self._waiters and self._reserve():
            return await self._open(profile)
        self._make_room()
        return await self._queue(profile, limit)

    def take(self, profile: Profile) -> Backend | None:
        """Return what ``acquire`` would, or None if that had to wait."""
        backend = self._pick(profile)
        if backend is not None:
            self._lent.add(backend)
        return backend

    def release(self, backend: Backend) -> None:
        """Take back a connection that is idle and clean."""
        self._lent.discard(backend)
        in_doubt = backend.lost is not None or backend.cancelled or backend.status != b"I"
        if in_doubt:
            self._close(backend)
            return
        if self._waiters and self._serve(backend):
            return
        self._idle[backend] = None

    def discard(self, backend: Backend) -> None:
        """Close a connection that is in doubt."""
        self._lent.discard(backend)
        self._close(backend)

    def clean(self, backend: Backend) -> None:
        """Take back a connection whose session left a transaction or other state behind."""
        if backend.batch_open:
            self.discard(backend)
            return
        self.keep(asyncio.get_running_loop().create_task(self._clean(backend)))

    def keep(self, task: "asyncio.Task[Any]") -> None:
        """Hold on to a task until it is done; ``close`` cancels it."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self, database: str) -> None:
        """Close the idle connections to *database*."""
        for backend in [item for item in self._idle if item.database == database]:
            del self._idle[backend]
            self._close(backend)

    async def parameters(self, database: str) -> Mapping[str, str]:
        """Return the parameter statuses of a fresh connection, opening one the first time.

        Raises:
            DatabaseUnavailable: if PostgreSQL cannot be reached.
            PoolExhausted: if every connection is in use.
        """
        if not self._parameters:
            profile = Profile(database, "", "")
            self.release(await self.acquire(profile, self._dsn.connect_timeout))
        return self._parameters

    async def close(self) -> None:
        """Close every connection."""
        for task in list(self._tasks):
            task.cancel()
        for backend in [*self._idle, *self._lent]:
            backend.close()
        self._idle.clear()
        self._lent.clear()

    # internals

    def _lend(self, backend: Backend) -> Backend:
        self._lent.add(backend)
        return backend

    def _pick(self, profile: Profile) -> Backend | None:
        """Take the idle connection that suits best, if any does.

        Best is one that is set to the profile, then one that has served its tenant: what
        PostgreSQL knows of it there need not be read again. Then the least recently used.
        """
        served = other = None
        # Newest first, so that the few warm connections serve a calm load.
        for backend in reversed(self._idle):
            if backend.lost is not None:
                continue
            if backend.profile is profile:
                del self._idle[backend]
                return backend
            if self._may_serve(backend, profile):
                if served is None and backend.has_served(profile):
                    served = backend
                other = backend
        if (found := served or other) is not None:
            del self._idle[found]
        self._forget_lost()
        return found

    def _may_serve(self, backend: Backend, profile: Profile) -> bool:
        return backend.home == profile.home and (
            backend.tenants < self._tenants or backend.has_served(profile)
        )

    def _forget_lost(self) -> None:
        for backend in [item for item in self._idle if item.lost is not None]:
            del self._idle[backend]

    def _reserve(self) -> bool:
        """Reserve the right to open a connection, if there is room for one."""
        self._forget_lost()
        if self.open_count >= self._size:
            return False
        self._opening += 1
        return True

    def _make_room(self) -> None:
        """Close the idle connection that has rested longest, since none suits who asks.

        The first in the queue may open one as soon as PostgreSQL has ended that.
        """
        if self._idle:
            backend, _ = self._idle.popitem(last=False)
            self._close(backend)

    async def _open(self, profile: Profile) -> Backend:
        """Open and lend a connection; the right to do so is reserved."""
        backend = None
        try:
            backend = await self._connect(profile)
            self._parameters = dict(backend.parameters)
            return self._lend(backend)
        except ConnectFailed as exc:
            raise DatabaseUnavailable(f"{exc} ({self._dsn.describe()})") from exc
        except ConnectionLost as exc:
            raise DatabaseUnavailable(str(exc)) from exc
        finally:
            self._opening -= 1
            if backend is None or backend not in self._lent:
                if backend is not None:
                    self._close(backend)
                else:
                    self._next()

    async def _connect(self, profile: Profile) -> Backend:
        """Open a connection of the profile's home.

        Raises:
            ConnectFailed: in PostgreSQL's words, or the system's.
        """
        database, login = profile.home
        try:
            backend = await Backend.connect(self._logins.dsn(login), database, self._settings)
        except ConnectFailed as exc:
            if not login or exc.sqlstate not in NO_SUCH_LOGIN or not await self._renew(login):
                raise
            backend = await Backend.connect(self._logins.dsn(login), database, self._settings)
        backend.login = login
        return backend

    async def _renew(self, login: str) -> bool:
        try:
            return await self._logins.renew(login)
        except (ShardUnavailable, psycopg.Error) as exc:
            log.warning("tenant_login_lost", role=login, reason=str(exc))
            return False

    async def _queue(self, profile: Profile, limit: float) -> Backend:
        if len(self._waiters) >= self._queue_size:
            raise PoolExhausted(f"{len(self._waiters)} requests wait already")
        waiter = _Waiter(profile, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(limit):
                backend = await waiter.future
        except BaseException as exc:
            self._withdraw(waiter)
            if isinstance(exc, TimeoutError):
                raise PoolExhausted(f"none became free within {limit:g} s") from None
            raise
        return backend if backend is not None else await self._open(profile)

    def _withdraw(self, waiter: _Waiter) -> None:
        """Give up waiting, and give back what was granted in the same moment."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.future.done() and not waiter.future.cancelled():
            if (backend := waiter.future.result()) is not None:
                self.release(backend)
            else:
                self._opening -= 1
                self._next()

    def _first_waiter(self) -> _Waiter | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.future.done():
                return waiter
        return None

    def _serve(self, backend: Backend) -> bool:
        """Give *backend* to the first waiter; return False if nobody waits."""
        waiter = self._first_waiter()
        if waiter is None:
            return False
        if self._may_serve(backend, waiter.profile):
            waiter.future.set_result(self._lend(backend))
        else:
            self._waiters.appendleft(waiter)
            self._close(backend)
        return True

    def _close(self, backend: Backend) -> None:
        backend.close()
        if backend.gone:
            self._next()
        else:
            self._leaving.add(backend)
            backend.when_gone = partial(self._gone, backend)

    def _gone(self, backend: Backend) -> None:
        self._leaving.discard(backend)
        self._next()

    def _next(self) -> None:
        """A connection is gone: let the first waiter open another."""
        if self.open_count < self._size and (waiter := self._first_waiter()) is not None:
            self._opening += 1
            waiter.future.set_result(None)

    async def _clean(self, backend: Backend) -> None:
        backend.profile = None
        clean = False
        try:
            async with asyncio.timeout(_CLEAN_SECONDS):
                if backend.status != b"I":
                    await backend.ask(_ROLLBACK)
                clean = await backend.ask(_CLEAN)
        except (ConnectionLost, TimeoutError):
            pass
        finally:
            if clean:
                self.release(backend)
            else:
                self.discard(backend)
