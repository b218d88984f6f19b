"""The ASGI middleware that gives a whole connection its tenant: websockets, in the first place.

Django serves HTTP only, with `TenantMiddleware`; this is for what stands beside Django in an
ASGI application, such as Channels. Invariants: the tenant is what the resolvers of
MTDD_RESOLVERS say, found once, when the connection is opened; tasks, threads and consumers
that it starts have it, until it ends.
"""

import io
import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final, TypeAlias

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import get_script_prefix, set_script_prefix

from mtdd_router.middleware import (
    REFUSALS,
    WORDS,
    TenantMiddleware,
    status_of,
)
from mtdd_router.responses import script_prefix_kept

__all__ = ["TenantConnectionMiddleware"]

logger = logging.getLogger("mtdd_router.asgi")

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_App: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_REFUSED: Final[tuple[type[Exception], ...]] = (*REFUSALS, DisallowedHost)
_HTTP_OF: Final = {"ws": "http", "wss": "https"}
_DENIAL: Final = "websocket.http.response"
# RFC 6455 and its registry: a policy is violated; try again later.
_CLOSE_CODES: Final = {503: 1013}
_POLICY_VIOLATED: Final = 1008


class TenantConnectionMiddleware:
    """Run each websocket of an ASGI application in the tenant that MTDD_RESOLVERS finds.

    ``scope["tenant"]`` is its name. A connection whose tenant cannot be served is refused
    before it is accepted. Put what the resolvers need around it, such as Channels'
    ``SessionMiddlewareStack`` for `SessionResolver`::

        application = ProtocolTypeRouter(
            {
                "http": get_asgi_application(),
                "websocket": TenantConnectionMiddleware(URLRouter(websocket_urlpatterns)),
            }
        )

    Args:
        app: the ASGI application.
        types: which connections are run in a tenant; all others are passed on as they are.
            Django's own handler of HTTP needs none of it.
        middleware: a subclass of TenantMiddleware, of which `find`, `check`, ``required``
            and ``locked`` count here as well.
    """

    def __init__(
        self,
        app: _App,
        *,
        types: Collection[str] = ("websocket",),
        middleware: type[TenantMiddleware] = TenantMiddleware,
    ) -> None:
        self.app = app
        self.types = types
        self._rules = middleware(_no_response)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        if scope["type"] not in self.types:
            await self.app(scope, receive, send)
            return
        with script_prefix_kept():
            root = scope.get("root_path", "")
            set_script_prefix(root)
            request = _request_of(scope)
            before = request.path_info
            try:
                tenant = await self._resolve(request)
            except _REFUSED as error:
                status = 400 if isinstance(error, DisallowedHost) else status_of(error)
                logger.info("Refused a connection with %d: %s", status, error)
                await _refuse(scope, receive, send, status)
                return
            if request.path_info != before:
                # The resolver took the tenant out of the path; it is where the application is.
                root = get_script_prefix().rstrip("/")
            with self._rules.scope(request, tenant):
                await self.app({**scope, "root_path": root, "tenant": tenant}, receive, send)

    async def _resolve(self, request: HttpRequest) -> str | None:
        # In a thread of its own, whose connections nobody else would close: Django does so at
        # the end of a request, and this is none.
        async with ThreadSensitiveContext():
            try:
                return await self._rules.aresolve(request)
            finally:
                await sync_to_async(connections.close_all)()


def _request_of(scope: _Message) -> HttpRequest:
    """Return the request that opens the connection, as resolvers know it."""
    scheme = scope.get("scheme", "ws")
    as_http = {**scope, "type": "http", "method": "GET", "scheme": _HTTP_OF.get(scheme, scheme)}
    request = ASGIRequest(as_http, io.BytesIO())
    for name in ("session", "user"):
        if name in scope:
            setattr(request, name, scope[name])
    return request


async def _refuse(scope: _Message, receive: _Receive, send: _Send, status: int) -> None:
    """Answer who opens a connection that it is not served."""
    if scope["type"] == "websocket" and _DENIAL not in scope.get("extensions", {}):
        await receive()
        await send({"type": "websocket.close", "code": _CLOSE_CODES.get(status, _POLICY_VIOLATED)})
        return
    kind = _DENIAL if scope["type"] == "websocket" else "http.response"
    await send(
        {"type": f"{kind}.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
    )
    await send({"type": f"{kind}.body", "body": WORDS[status].encode()})


def _no_response(_request: HttpRequest) -> HttpResponse:
    raise NotImplementedError("A connection is no request.")
