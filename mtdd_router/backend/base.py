"""The database wrapper: Django's own for PostgreSQL, over a shard server.

A wrapper is for one tenant, or for a whole database of a shard. It connects to
no PostgreSQL: a shard server is reached when a statement runs, and while
nothing runs nothing is held.
"""

from collections.abc import Callable
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base as postgresql
from django.utils.asyncio import async_unsafe
from django.views.decorators.debug import sensitive_variables

from mtdd_router import dbapi
from mtdd_router.backend.client import DatabaseClient
from mtdd_router.backend.defaults import defaults
from mtdd_router.backend.introspection import DatabaseIntrospection
from mtdd_router.backend.locators import DatabaseLocator, TenantLocator
from mtdd_router.backend.operations import DatabaseOperations
from mtdd_router.backend.pool import PooledConnection
from mtdd_router.backend.routes import note_closed, note_created, note_open, opening, wrapper_made
from mtdd_router.backend.work import running_work
from mtdd_router.client.endpoint import TLS
from mtdd_router.client.location import Locator
from mtdd_router.client.tokens import TokenSigner

__all__ = ["DatabaseWrapper"]

# Of what Django's backend makes of OPTIONS, psycopg's part; the rest is for libpq.
_FOR_PSYCOPG: Final = ("context", "cursor_factory", "prepare_threshold")
_OWN_OPTIONS: Final = ("tenant", "token", "key", "tls", "connect_timeout", "statement_timeout")
_FROM_DJANGO: Final = frozenset(
    (*_FOR_PSYCOPG, *_OWN_OPTIONS, "dbname", "host", "port", "user", "password", "client_encoding")
)


class DatabaseWrapper(postgresql.DatabaseWrapper):
    """A tenant's database, or a database of a shard.

    OPTIONS, besides those of Django's own backend that do not concern libpq:
        tenant: the tenant's name; ``databases()`` sets it.
        token: the shard server's bearer token; default MTDD_SHARD_TOKEN.
        key: who signs tokens with which key, as MTDD_SHARD_KEY, which is the default.
        tls: the PEM files for TLS, as MTDD_SHARD_TLS, which is the default.
        connect_timeout: how long to try to reach the shard server, in seconds;
            default MTDD_CONNECT_TIMEOUT.
        statement_timeout: bounds each statement, in seconds; default
            MTDD_STATEMENT_TIMEOUT.
    """

    Database = dbapi
    client_class = DatabaseClient
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations
    _ensuring = False

    def __init__(self, settings_dict: dict[str, Any], alias: str = "default") -> None:
        super().__init__(settings_dict, alias)
        self.tenant: str = settings_dict["OPTIONS"].get("tenant", "")
        if self.tenant:
            note_created(alias)
            wrapper_made.send(DatabaseWrapper, connection=self)

    @sensitive_variables("given")
    def get_connection_params(self) -> dict[str, Any]:
        """Return the arguments of ``dbapi.connect``.

        Raises:
            ImproperlyConfigured: naming an option that a shard server cannot honour.
        """
        given = super().get_connection_params()
        unknown = sorted(given.keys() - _FROM_DJANGO)
        if self.tenant and self.settings_dict["OPTIONS"].get("pool"):
            # All tenants of a shard share its sessions already.
            unknown.append("pool")
        if unknown:
            raise ImproperlyConfigured(
                f"OPTIONS of the database {self.alias!r} cannot have {', '.join(unknown)}: "
                "the shard server makes the connections to PostgreSQL. Configure it there."
            )
        otherwise = defaults()
        return {
            "locator": self._locator(given),
            # One name for all tenants, so that they use each other's loopbacks again.
            "database": "tenants" if self.tenant else given["dbname"],
            "settings": {"TimeZone": self.timezone_name} if self.timezone_name else {},
            "connect_timeout": given.get("connect_timeout", otherwise.connect_timeout),
            "statement_timeout": given.get("statement_timeout", otherwise.statement_timeout),
            **{name: given[name] for name in _FOR_PSYCOPG if name in given},
        }

    @property
    def pool(self) -> Any:
        """Django's pool, of connections to the shard; None without the option ``pool``."""
        options = self.settings_dict["OPTIONS"]
        if wanted := options.get("pool"):
            given = {} if wanted is True else wanted
            options["pool"] = {"connection_class": PooledConnection, **given}
        return super().pool

    @sensitive_variables("given", "token")
    def _locator(self, given: dict[str, Any]) -> Locator:
        otherwise = defaults()
        token = given.get("token", otherwise.token)
        tls = TLS.of(given.get("tls", otherwise.tls))
        signer = TokenSigner.of(given.get("key", otherwise.key))
        if self.tenant:
            return TenantLocator(self.tenant, token, tls, signer)
        host = given.get("host", "")
        if not host:
            raise ImproperlyConfigured(
                f"The database {self.alias!r} names no shard server: set HOST and PORT to its "
                "address, or HOST to unix:/path."
            )
        address = host if host.startswith("unix:") else f"{host}:{given.get('port', '')}"
        return DatabaseLocator(address, given["dbname"], token, tls, signer)

    def ensure_connection(self) -> None:
        """Open the connection unless it is; Django's tests forbid that here.

        Called for each statement: it is Django's own that looks for a running event loop.
        Tests put something else in its place, which may come back here.
        """
        if self._ensuring:
            if self.connection is None and not self.in_atomic_block:
                with self.wrap_database_errors:
                    self.connect()
            return
        self._ensuring = True
        try:
            if self.connection is not None or not self.tenant:
                super().ensure_connection()
                return
            with opening(self.alias):
                super().ensure_connection()
        finally:
            self._ensuring = False

    @async_unsafe
    def connect(self) -> None:
        """Open the connection: look up where the tenant lives, and reach that shard server."""
        super().connect()
        if self.tenant:
            note_open(self.alias)

    @async_unsafe
    def close(self) -> None:
        """Close the connection; what is open is rolled back."""
        try:
            super().close()
        finally:
            # Also in an atomic block, where Django drops the connection itself, later.
            if self.tenant:
                note_closed(self.alias)

    @async_unsafe
    def set_autocommit(
        self,
        autocommit: bool,  # noqa: FBT001 - Django's signature
        force_begin_transaction_with_broken_autocommit: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Set the mode; a connection that is lost is not made anew for that.

        Otherwise the end of an atomic block would report that the shard cannot be reached,
        instead of what became of its COMMIT.
        """
        if autocommit and self.connection is None and not self.in_atomic_block:
            self.autocommit = True
            self.run_commit_hooks_on_set_autocommit_on = False
            return
        super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)

    def on_commit(
        self,
        func: Callable[[], Any],
        robust: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> None:
        """Call *func* after the commit, in the tenant whose transaction it is.

        At the end of the transaction the context may be another tenant's, or nobody's.
        """
        if self.tenant and callable(func):
            func = running_work().carried_into(self.tenant, func)
        super().on_commit(func, robust)

    def check_constraints(self, table_names: Any = None) -> None:  # noqa: ARG002 - Django's
        """Check deferred constraints, in one round trip; each test ends with it."""
        with self.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")

    def ensure_timezone(self) -> bool:
        """Declare the current time zone, which costs no statement outside a transaction."""
        if self.pool or self.connection is None or self.connection.busy:
            return bool(super().ensure_timezone())
        if self.timezone_name:
            self.connection.declare({"TimeZone": self.timezone_name})
        return False

    def is_idle(self) -> bool:
        """Whether closing the connection now would lose nothing."""
        return self.connection is None or not self.connection.busy
