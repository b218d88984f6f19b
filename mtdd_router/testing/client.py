"""Django's test clients, whose requests are those of one tenant.

Invariants: the tenant comes from the client, whatever MTDD_RESOLVERS says, but by way of
TenantMiddleware: a project without it has no tenant in these requests either. Around a
request there is no tenant, as on a server.
"""

from typing import Any, ClassVar, Final

from django.contrib.sessions.backends.base import SessionBase
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.test import AsyncClient, Client, override_settings
from django.test.client import AsyncClientHandler, ClientHandler

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope, current_tenant, tenant_context
from mtdd_router.errors import CrossTenantError, TenantRequired

__all__ = ["AsyncTenantClient", "TenantClient"]

_AT_THE_STORE: Final = tuple(
    prefix + name
    for prefix in ("", "a")
    for name in ("create", "cycle_key", "delete", "exists", "flush", "load", "save")
)


class _Resolver:
    """Answers with the tenant of the client."""

    blocking: ClassVar[bool] = False

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant

    def __call__(self, request: HttpRequest) -> str:  # noqa: ARG002 - each is this tenant's
        return self.tenant


class _WithResolver(BaseHandler):
    """Loads the project's middleware, with a resolver of its own."""

    def __init__(self, tenant: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resolver = _Resolver(tenant)

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's
        with override_settings(MTDD_RESOLVERS=[self._resolver]):
            super().load_middleware(is_async)


class _Handler(_WithResolver, ClientHandler):
    """What serves the requests of `TenantClient`."""


class _AsyncHandler(_WithResolver, AsyncClientHandler):
    """What serves the requests of `AsyncTenantClient`."""


def _tenant_of(tenant: str | None) -> str:
    name = tenant or current_tenant()
    if name is None:
        raise TenantRequired(
            'Whose client is it? Give it a tenant, as in TenantClient("abc"), or make it in '
            "tenant_context()."
        )
    return mtdd_settings.check_tenant_name(name)


def _bound(session: SessionBase, tenant: str) -> SessionBase:
    """Make *session*, which reads and writes its row late, do so in the tenant."""
    for name in _AT_THE_STORE:
        if (method := getattr(session, name, None)) is not None:
            setattr(session, name, tenant_context(tenant)(method))
    return session


def _refuse_foreign(user: Any, tenant: str) -> None:
    home = user._state.db
    if home not in {None, tenant}:
        raise CrossTenantError(
            f"This {type(user)._meta.label} is of {home!r} and cannot log in to tenant {tenant!r}."
        )


class TenantClient(Client):
    """Django's Client in one tenant: its requests, its session, its users.

    Paths are those of the URLconf. To test resolvers themselves, use Django's Client.

    Args:
        tenant: the tenant's name; by default the context's.
        options: as for Django's Client.

    Raises:
        TenantRequired: if no tenant is named.
        InvalidTenantName: if that is no tenant's name.
    """

    def __init__(
        self, tenant: str | None = None, *, enforce_csrf_checks: bool = False, **options: Any
    ) -> None:
        super().__init__(enforce_csrf_checks, **options)
        self.tenant = _tenant_of(tenant)
        self.handler = _Handler(self.tenant, enforce_csrf_checks)

    def request(self, **request: Any) -> Any:
        """Make a request; see Django's Client."""
        with TenantScope(None):
            return super().request(**request)

    @property
    def session(self) -> SessionBase:
        """The client's session, which is in the tenant."""
        with tenant_context(self.tenant):
            return _bound(super().session, self.tenant)

    def login(self, **credentials: Any) -> bool:
        """Log in a user of the tenant; see Django's Client."""
        with tenant_context(self.tenant):
            return super().login(**credentials)

    def force_login(self, user: Any, backend: str | None = None) -> None:
        """Log in *user*; see Django's Client.

        Raises:
            CrossTenantError: if *user* is not the tenant's.
        """
        _refuse_foreign(user, self.tenant)
        with tenant_context(self.tenant):
            super().force_login(user, backend)

    def logout(self) -> None:
        """Log out, and forget the session."""
        with tenant_context(self.tenant):
            super().logout()


class AsyncTenantClient(AsyncClient):
    """Django's AsyncClient in one tenant; as `TenantClient`."""

    def __init__(
        self, tenant: str | None = None, *, enforce_csrf_checks: bool = False, **options: Any
    ) -> None:
        super().__init__(enforce_csrf_checks, **options)
        self.tenant = _tenant_of(tenant)
        self.handler = _AsyncHandler(self.tenant, enforce_csrf_checks)

    async def request(self, **request: Any) -> Any:
        """Make a request; see Django's AsyncClient."""
        with TenantScope(None):
            return await super().request(**request)

    async def asession(self) -> SessionBase:
        """Return the client's session, which is in the tenant."""
        with tenant_context(self.tenant):
            return _bound(await super().asession(), self.tenant)

    async def alogin(self, **credentials: Any) -> bool:
        """Log in a user of the tenant; see Django's AsyncClient."""
        with tenant_context(self.tenant):
            return await super().alogin(**credentials)

    async def aforce_login(self, user: Any, backend: str | None = None) -> None:
        """Log in *user*; see Django's AsyncClient.

        Raises:
            CrossTenantError: if *user* is not the tenant's.
        """
        _refuse_foreign(user, self.tenant)
        with tenant_context(self.tenant):
            await super().aforce_login(user, backend)

    async def alogout(self) -> None:
        """Log out, and forget the session."""
        with tenant_context(self.tenant):
            await super().alogout()
