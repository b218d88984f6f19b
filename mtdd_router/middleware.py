"""The middleware that gives each request its tenant.

Invariants: a request's tenant is what the resolvers say and nothing else, and it is
gone when the request ends, also after an exception. What a streaming response still
does after the view has returned happens in the same tenant, also if its client hangs up.
An answer about a wrong tenant tells nothing of which tenants there are beyond that it is
not served here.
"""

import functools
import logging
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Final, cast

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.db import DEFAULT_DB_ALIAS
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope
from mtdd_router.directory import directory
from mtdd_router.errors import (
    InvalidTenantName,
    InvalidToken,
    RegistryUnavailable,
    TenantDoesNotExist,
    TenantRequired,
    TenantsDisagree,
    TenantUnavailable,
    UntrustedHeader,
)
from mtdd_router.resolvers import is_blocking, load_resolvers, resolve
from mtdd_router.responses import resumed, script_prefix_kept

__all__ = [
    "REFUSALS",
    "RETRY_AFTER",
    "WORDS",
    "TenantMiddleware",
    "status_of",
]

logger = logging.getLogger("mtdd_router.middleware")

RETRY_AFTER: Final = 30
"""Seconds after which a client may ask again for a tenant that is not available."""

_STATUS: Final[dict[type[Exception], int]] = {
    TenantsDisagree: 400,
    InvalidToken: 401,
    UntrustedHeader: 403,
    InvalidTenantName: 404,
    TenantDoesNotExist: 404,
    TenantRequired: 404,
    TenantUnavailable: 503,
    RegistryUnavailable: 503,
}
REFUSALS: Final = tuple(_STATUS)
"""What is raised for a tenant that cannot be served."""
WORDS: Final = {
    400: "Bad request.\n",
    401: "The token is not valid.\n",
    403: "This client may not name a tenant.\n",
    404: "Not found.\n",
    503: "This service is not available at the moment.\n",
}
"""What a client is told, by the status."""


class TenantMiddleware:
    """Run each request in the tenant that MTDD_RESOLVERS finds; ``request.tenant`` is its name.

    A name that the tenant had before a renaming with a redirect counts as its present one.

    A request for which no resolver has an answer goes on without a tenant, unless a
    subclass says ``required = True``. Override `refused` for other error pages.

    Attributes:
        required: whether there must be a tenant.
        locked: whether a request can use no tenant but its own; by default as
            MTDD_LOCK_REQUESTS says. A request without a tenant is not locked.
    """

    sync_capable: ClassVar[bool] = True
    async_capable: ClassVar[bool] = True
    required: ClassVar[bool] = False
    locked: ClassVar[bool | None] = None

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.resolvers = load_resolvers(mtdd_settings.resolvers)
        self._blocking = any(map(is_blocking, self.resolvers))
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._serve_async(request)
        with script_prefix_kept():
            try:
                tenant = self.resolve(request)
            except REFUSALS as error:
                return self.refused(request, error)
            with self.scope(request, tenant):
                return resumed(cast(HttpResponseBase, self.get_response(request)))

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        with script_prefix_kept():
            try:
                tenant = await self.aresolve(request)
            except REFUSALS as error:
                return self.refused(request, error)
            with self.scope(request, tenant):
                return resumed(cast(HttpResponseBase, await self.get_response(request)))

    def resolve(self, request: HttpRequest) -> str | None:
        """Return the tenant that the request is to be served in, or None.

        Raises:
            InvalidTenantName, TenantDoesNotExist, TenantUnavailable, RegistryUnavailable
            TenantRequired: if there is none and one is required.
        """
        return self._admit(self.find(request))

    async def aresolve(self, request: HttpRequest) -> str | None:
        """Do what `resolve` does, and what may block in a thread."""
        tenant = await sync_to_async(self.find)(request) if self._blocking else self.find(request)
        if tenant is None or directory.knows(tenant):
            return self._admit(tenant)
        return await sync_to_async(self._admit)(tenant)

    def scope(self, request: HttpRequest, tenant: str | None) -> TenantScope:
        """Return the block in which the request is to be served."""
        request.tenant = tenant  # type: ignore[attr-defined]
        return TenantScope(
            tenant,
            locked=mtdd_settings.lock_requests if self.locked is None else self.locked,
            atomic=functools.partial(_is_atomic, request)
            if mtdd_settings.atomic_requests
            else None,
        )

    def find(self, request: HttpRequest) -> str | None:
        """Return what the resolvers say, or None.

        Raises: as `mtdd_router.resolvers.resolve`.
        """
        return resolve(self.resolvers, request)

    def check(self, tenant: str | None) -> None:
        """Make sure that *tenant* can be served.

        Raises:
            TenantDoesNotExist, TenantUnavailable, RegistryUnavailable
            TenantRequired: if there is none and one is required.
        """
        if tenant is not None:
            directory.route(tenant)
        elif self.required:
            raise TenantRequired

    def refused(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """Return the response to a request whose tenant cannot be served."""
        status = status_of(error)
        logger.info("Refused with %d: %s", status, error, extra={"request": request})
        if status == _STATUS[TenantUnavailable]:
            return HttpResponse(
                WORDS[status],
                content_type="text/plain",
                status=status,
                headers={"Retry-After": str(RETRY_AFTER)},
            )
        return HttpResponse(
            WORDS[status],
            content_type="text/plain",
            status=status,
            # RFC 6750, section 3.
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'} if status == 401 else {},
        )

    def _admit(self, tenant: str | None) -> str | None:
        """Return the present name of the tenant, if it can be served.

        Before anything else sees it: nothing of a request ever has a former name as alias.
        """
        if tenant is not None:
            tenant = directory.present_name(tenant)
        self.check(tenant)
        return tenant


def status_of(refusal: Exception) -> int:
    """Return the HTTP status of an answer to what is one of `REFUSALS`."""
    return next(status for kind, status in _STATUS.items() if isinstance(refusal, kind))


def _is_atomic(request: HttpRequest) -> bool:
    """Return whether the view that was found is to be one transaction of the tenant.

    ``@transaction.non_atomic_requests`` without an alias means `default`, in whose place the
    tenant is here; with the tenant's, Django itself acts on it.
    """
    if request.resolver_match is None:
        return False
    exempt: set[str] = getattr(request.resolver_match.func, "_non_atomic_requests", set())
    return DEFAULT_DB_ALIAS not in exempt
