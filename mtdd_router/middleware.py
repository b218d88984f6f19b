"""The middleware that gives each request its tenant.

Invariants: a request's tenant is what the resolvers say and nothing else, and it is
gone when the request ends, also after an exception. What a streaming response still
does after the view has returned happens in the same tenant. An answer about a wrong
tenant tells nothing of which tenants there are beyond that it is not served here.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Final, cast

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, set_script_prefix

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope
from mtdd_router.directory import directory
from mtdd_router.errors import (
    InvalidTenantName,
    RegistryUnavailable,
    TenantDoesNotExist,
    TenantRequired,
    TenantUnavailable,
)
from mtdd_router.resolvers import is_blocking, load_resolvers

__all__ = ["RETRY_AFTER", "TenantMiddleware"]

logger = logging.getLogger("mtdd_router.middleware")

RETRY_AFTER: Final = 30
"""Seconds after which a client may ask again for a tenant that is not available."""

_STATUS: Final[dict[type[Exception], int]] = {
    InvalidTenantName: 404,
    TenantDoesNotExist: 404,
    TenantRequired: 404,
    TenantUnavailable: 503,
    RegistryUnavailable: 503,
}
_REFUSALS: Final = tuple(_STATUS)


class TenantMiddleware:
    """Run each request in the tenant that MTDD_RESOLVERS finds; ``request.tenant`` is its name.

    A name that the tenant had before a renaming with a redirect counts as its present one.

    A request for which no resolver has an answer goes on without a tenant, unless a
    subclass says ``required = True``. Override `refused` for other error pages.
    """

    sync_capable: ClassVar[bool] = True
    async_capable: ClassVar[bool] = True
    required: ClassVar[bool] = False

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
        with _script_prefix_kept():
            try:
                tenant = self._admit(self.find(request))
            except _REFUSALS as error:
                return self.refused(request, error)
            with self._inside(request, tenant):
                response = cast(HttpResponseBase, self.get_response(request))
            return _stay_in(tenant, response)

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        with _script_prefix_kept():
            try:
                find = sync_to_async(self.find) if self._blocking else None
                tenant = await find(request) if find else self.find(request)
                if tenant is None or directory.knows(tenant):
                    tenant = self._admit(tenant)
                else:
                    tenant = await sync_to_async(self._admit)(tenant)
            except _REFUSALS as error:
                return self.refused(request, error)
            with self._inside(request, tenant):
                response = cast(HttpResponseBase, await self.get_response(request))
            return _stay_in(tenant, response)

    def find(self, request: HttpRequest) -> str | None:
        """Return the first resolver's answer, or None.

        Raises:
            InvalidTenantName: if the answer cannot name a tenant.
        """
        for resolver in self.resolvers:
            tenant = resolver(request)
            if tenant is not None:
                return mtdd_settings.check_tenant_name(tenant)
        return None

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
        status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
        logger.info("Refused with %d: %s", status, error, extra={"request": request})
        if status == _STATUS[TenantUnavailable]:
            return HttpResponse(
                "This service is not available at the moment.\n",
                content_type="text/plain",
                status=status,
                headers={"Retry-After": str(RETRY_AFTER)},
            )
        return HttpResponse("Not found.\n", content_type="text/plain", status=status)

    def _admit(self, tenant: str | None) -> str | None:
        """Return the present name of the tenant, if it can be served.

        Before anything else sees it: nothing of a request ever has a former name as alias.
        """
        if tenant is not None:
            tenant = directory.present_name(tenant)
        self.check(tenant)
        return tenant

    @contextmanager
    def _inside(self, request: HttpRequest, tenant: str | None) -> Iterator[None]:
        request.tenant = tenant  # type: ignore[attr-defined]
        with TenantScope(tenant):
            yield


@contextmanager
def _script_prefix_kept() -> Iterator[None]:
    before = get_script_prefix()
    try:
        yield
    finally:
        set_script_prefix(before)


class _Stay:
    """Whatever a response does later, in the tenant and under the path of its request."""

    def __init__(self, tenant: str | None) -> None:
        self.tenant = tenant
        self.prefix = get_script_prefix()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(TenantScope(self.tenant))
            stack.enter_context(_script_prefix_kept())
            set_script_prefix(self.prefix)
            yield

    def iterate(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        # Not `for`: the context must be left while the consumer has the item.
        while True:
            with self():
                try:
                    part = next(parts)
                except StopIteration:
                    return
            yield part

    async def iterate_async(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            with self():
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part


def _stay_in(tenant: str | None, response: HttpResponseBase) -> HttpResponseBase:
    """Make a streaming response produce its content, and close, in the tenant."""
    if not isinstance(response, StreamingHttpResponse):
        return response
    if isinstance(response, FileResponse) and response.file_to_stream is not None:
        return response  # A file; wrapped, it could not be sent by the web server itself.
    stay = _Stay(tenant)
    content: Any = response.streaming_content
    if response.is_async:
        response.streaming_content = stay.iterate_async(aiter(content))
    else:
        response.streaming_content = stay.iterate(iter(content))
    close = response.close

    def close_in_tenant() -> None:
        with stay():
            close()

    response.close = close_in_tenant  # type: ignore[method-assign]
    return response
