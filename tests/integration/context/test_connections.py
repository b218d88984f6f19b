"""Websockets over uvicorn: one tenant from the first message to the last."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.urls import path
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mtdd_router import (
    TenantConnectionMiddleware,
    TenantLocked,
    TenantMiddleware,
    current_tenant,
    tenant_context,
)
from mtdd_router.context import locked_tenant
from tests.integration.context import views
from tests.integration.context.serving import exchange, serve_asgi

pytestmark = [
    pytest.mark.usefixtures("two_tenants"),
    # Channels imports what asgiref and Django have deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:channels.*"),
]
left = threading.Event()
"""Set when a connection has ended."""


def whose() -> list[str | None]:
    try:
        return [current_tenant(), views.whose()]
    finally:
        connections.close_all()


def crosses() -> str:
    try:
        with tenant_context("xyz"):
            User.objects.count()
    except TenantLocked:
        return "locked"
    finally:
        connections.close_all()
    return "crossed"


class Async(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    async def receive_json(self, content: Any) -> None:
        if content == "fail":
            raise ZeroDivisionError
        task = asyncio.create_task(sync_to_async(whose, thread_sensitive=False)())
        await self.send_json([self.scope["tenant"], *await task, await sync_to_async(crosses)()])

    async def disconnect(self, code: int) -> None:
        views.closed.append((await sync_to_async(whose)())[1])
        left.set()


class Sync(JsonWebsocketConsumer):  # type: ignore[misc]
    def receive_json(self, content: Any) -> None:
        self.send_json([self.scope["tenant"], *whose(), crosses()])

    def disconnect(self, code: int) -> None:
        views.closed.append(whose()[1])
        left.set()


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """An application without Channels."""
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            found = [scope["tenant"], *await sync_to_async(whose)(), scope["root_path"]]
            await send({"type": "websocket.send", "text": json.dumps(found)})
        else:
            left.set()
            return


class Locked(TenantMiddleware):
    locked = True
    required = True


@pytest.fixture
def port(settings: Any) -> Iterator[int]:
    settings.ROOT_URLCONF = views.__name__
    views.closed.clear()
    left.clear()
    routes = URLRouter(
        [path("async/", Async.as_asgi()), path("sync/", Sync.as_asgi()), path("plain/", plain)]
    )
    websockets = TenantConnectionMiddleware(routes, middleware=Locked)
    with serve_asgi(ProtocolTypeRouter({"http": ASGIHandler(), "websocket": websockets})) as port:
        yield port


def ask(client: Any, question: object = "whose") -> Any:
    client.send(json.dumps(question))
    return json.loads(client.recv(timeout=20))


@pytest.mark.parametrize("consumer", ["async", "sync"])
def test_a_connection_stays_in_its_tenant_while_others_are_served(port: int, consumer: str) -> None:
    url = f"ws://127.0.0.1:{port}/t/{{}}/{consumer}/"
    with connect(url.format("abc")) as one, connect(url.format("xyz")) as two:
        for _ in range(3):
            assert ask(one) == ["abc", "abc", "abc", "locked"]
            # It may enter what it is in already.
            assert ask(two) == ["xyz", "xyz", "xyz", "crossed"]
            assert exchange(port, "/plain/") == (200, "None None None")
            assert exchange(port, "/t/xyz/plain/") == (200, "xyz xyz xyz")
    assert left.wait(20)
    assert current_tenant() is None
    assert locked_tenant() is None


def test_many_connections_at_once_are_each_their_own(port: int) -> None:
    def converse(number: int) -> bool:
        name = ("abc", "xyz")[number % 2]
        kind = ("async", "sync", "plain")[number % 3]
        with connect(f"ws://127.0.0.1:{port}/t/{name}/{kind}/") as client:
            return all(ask(client)[:3] == [name] * 3 for _ in range(4))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(converse, range(18)))


def test_a_connection_that_breaks_or_fails_ends_in_its_tenant_and_leaves_nothing(
    port: int,
) -> None:
    with connect(f"ws://127.0.0.1:{port}/t/abc/async/") as client:
        assert ask(client)[2] == "abc"
        # Without a farewell.
        client.socket.shutdown(socket.SHUT_RDWR)
        assert left.wait(20)
    assert views.closed == ["abc"]
    with connect(f"ws://127.0.0.1:{port}/t/abc/async/") as failing:
        failing.send('"fail"')
        with pytest.raises(Exception, match="1011|internal error|no close frame"):
            failing.recv(timeout=20)
    assert exchange(port, "/plain/") == (200, "None None None")


def test_an_application_finds_itself_under_the_path_of_the_tenant(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/t/abc/plain/") as client:
        assert ask(client) == ["abc", "abc", "abc", "/t/abc"]


@pytest.mark.parametrize(("where", "status"), [("/t/nobody/plain/", 404), ("/plain/", 404)])
def test_a_connection_whose_tenant_cannot_be_served_is_refused(
    port: int, where: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        with connect(f"ws://127.0.0.1:{port}{where}"):
            pass
    assert refused.value.response.status_code == status


def test_without_the_extension_a_connection_is_closed_before_it_is_accepted() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/t/nobody/plain/", "headers": [], "query_string": b""}
    application = TenantConnectionMiddleware(plain)
    asyncio.run(application(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_other_connections_are_passed_on_as_they_are() -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, current_tenant()))

    scope = {"type": "lifespan"}
    asyncio.run(TenantConnectionMiddleware(application)(scope, None, None))  # type: ignore[arg-type]
    assert seen == [(scope, None)]
    assert seen[0][0] is scope
