"""What requests of the tests are served by; each answer is stamped by a row of the tenant."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connections, transaction
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.urls import get_script_prefix, path
from django.utils.decorators import sync_and_async_middleware

from mtdd_router import current_tenant, lift_tenant_lock, tenant_context

closed: list[str | None] = []
"""Whose rows the streams that have ended found last."""
ended = threading.Event()


outside: list[str | None] = []
"""The context's tenant before each request on its thread, or in its task, and after it."""


@sync_and_async_middleware
def outermost(get_response: Any) -> Any:
    """Look at what is there outside of TenantMiddleware."""
    if iscoroutinefunction(get_response):

        async def look_async(request: Any) -> Any:
            outside.append(current_tenant())
            response = await get_response(request)
            outside.append(current_tenant())
            return response

        return look_async

    def look(request: Any) -> Any:
        outside.append(current_tenant())
        response = get_response(request)
        outside.append(current_tenant())
        return response

    return look


def whose() -> str | None:
    """Ask the tables themselves; the project's have no such row."""
    name = User.objects.filter(id=1).values_list("username", flat=True).first()
    return None if name is None else str(name.removeprefix("of-"))


def stamp() -> str:
    return f"{current_tenant()} {whose()}"


def stamp_apart() -> str:
    """Do so in a thread whose connections nobody closes: Django runs error pages in such."""
    try:
        return stamp()
    finally:
        connections.close_all()


def plain(request: Any) -> HttpResponse:
    return HttpResponse(f"{request.tenant} {stamp()}")


async def aplain(request: Any) -> HttpResponse:
    before = await sync_to_async(stamp)()
    await asyncio.sleep(0)
    results = await asyncio.gather(
        sync_to_async(stamp)(), sync_to_async(stamp_apart, thread_sensitive=False)()
    )
    assert set(results) == {before}
    return HttpResponse(f"{request.tenant} {before}")


def fails(_request: Any) -> HttpResponse:
    stamp()
    raise ZeroDivisionError


async def afails(_request: Any) -> HttpResponse:
    await sync_to_async(stamp)()
    raise ZeroDivisionError


def missing(_request: Any) -> HttpResponse:
    raise Http404


def forgets(_request: Any) -> HttpResponse:
    """Enter another tenant, and go."""
    tenant_context("xyz").__enter__()
    return HttpResponse(stamp())


def parts(count: int) -> Iterator[str]:
    try:
        for _ in range(count):
            # The block is left half way, between two items.
            with tenant_context("xyz"):
                yield f"[{stamp()}]"
            yield f"({stamp()} {get_script_prefix()})"
    finally:
        closed.append(stamp())
        ended.set()


async def aparts(count: int) -> AsyncIterator[str]:
    try:
        for _ in range(count):
            with tenant_context("xyz"):
                yield f"[{await sync_to_async(stamp)()}]"
            yield f"({await sync_to_async(stamp)()} {get_script_prefix()})"
            await asyncio.sleep(0)
    finally:
        closed.append(await sync_to_async(stamp)())
        ended.set()


def stream(_request: Any, count: int) -> StreamingHttpResponse:
    return StreamingHttpResponse(parts(count))


async def astream(_request: Any, count: int) -> StreamingHttpResponse:
    return StreamingHttpResponse(aparts(count))


class Report(io.RawIOBase):
    """A file that asks the tenant as it is read."""

    name = "report.txt"

    def __init__(self) -> None:
        self.left = 3

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        return f"[{stamp()}]".encode() if self.left >= 0 else b""

    def close(self) -> None:
        if not self.closed:
            closed.append(stamp())
            ended.set()
        super().close()


def file(_request: Any) -> FileResponse:
    return FileResponse(Report())


def switches(_request: Any) -> HttpResponse:
    return HttpResponse(str(User.objects.mtdd("xyz").count()))


def supports(_request: Any) -> HttpResponse:
    with lift_tenant_lock("support looks at another tenant"), tenant_context("xyz"):
        return HttpResponse(stamp())


def writes(_request: Any, outcome: str) -> HttpResponse:
    Group.objects.create(name=outcome)
    if outcome == "fails":
        raise ZeroDivisionError
    in_block = [name for name in ("abc", "xyz", "default") if connections[name].in_atomic_block]
    return HttpResponse(" ".join(in_block))


@transaction.non_atomic_requests
def writes_apart(request: Any, outcome: str) -> HttpResponse:
    return writes(request, outcome)


@transaction.non_atomic_requests(using="abc")
def writes_apart_in_abc(request: Any, outcome: str) -> HttpResponse:
    return writes(request, outcome)


async def awrites(_request: Any) -> HttpResponse:
    return HttpResponse()


def handler404(_request: Any, exception: Exception) -> HttpResponse:
    return HttpResponse(f"404 {stamp_apart()}", status=404)


def handler500(_request: Any) -> HttpResponse:
    return HttpResponse(f"500 {stamp_apart()}", status=500)


urlpatterns = [
    path("plain/", plain),
    path("aplain/", aplain),
    path("fails/", fails),
    path("afails/", afails),
    path("missing/", missing),
    path("forgets/", forgets),
    path("stream/<int:count>/", stream),
    path("astream/<int:count>/", astream),
    path("file/", file),
    path("switches/", switches),
    path("supports/", supports),
    path("writes/<outcome>/", writes),
    path("writes-apart/<outcome>/", writes_apart),
    path("writes-apart-in-abc/<outcome>/", writes_apart_in_abc),
    path("awrites/", awrites),
]
