"""Requests over real web servers: each has its tenant to its end, and nothing after it."""

import asyncio
import io
import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.test import AsyncClient

from tests.integration.context import views
from tests.integration.context.serving import exchange, half_read, serve_asgi, serve_wsgi

pytestmark = [
    pytest.mark.usefixtures("two_tenants", "_served"),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning"),
]


@pytest.fixture
def _served(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = views.__name__
    settings.ALLOWED_HOSTS = ["*"]
    settings.MIDDLEWARE = [f"{views.__name__}.outermost", *settings.MIDDLEWARE]
    views.outside.clear()
    views.closed.clear()
    views.ended.clear()
    yield
    # No request began, or ended, in a tenant.
    assert set(views.outside) == {None}
    connections.close_all()


@pytest.fixture(params=["wsgi", "asgi"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    errors = io.StringIO()
    if request.param == "asgi":
        with serve_asgi(ASGIHandler()) as port:
            yield port
    else:
        with serve_wsgi(WSGIHandler(), errors) as port:
            yield port
    assert "Traceback" not in errors.getvalue()


def is_clean(port: int) -> bool:
    """Whether the next request, on the same thread, finds no tenant but its own."""
    found = [exchange(port, path)[1] for path in ("/plain/", "/t/xyz/plain/", "/aplain/")]
    return found == ["None None None", "xyz xyz xyz", "None None None"]


def test_a_request_has_its_own_tenant_whatever_came_before(port: int) -> None:
    for name in ("abc", "xyz", "abc"):
        for path in ("plain", "aplain"):
            assert exchange(port, f"/t/{name}/{path}/") == (200, f"{name} {name} {name}")
        assert is_clean(port)
    assert exchange(port, "/t/nobody/plain/")[0] == 404
    # What a view did not leave is left for it.
    assert exchange(port, "/t/abc/forgets/") == (200, "xyz xyz")
    assert exchange(port, "/forgets/") == (200, "xyz xyz")
    assert is_clean(port)


def test_error_pages_are_the_tenants_and_leave_nothing_behind(port: int) -> None:
    for path, answer in {
        "fails": (500, "500 abc abc"),
        "afails": (500, "500 abc abc"),
        "missing": (404, "404 abc abc"),
        "no-such-page": (404, "404 abc abc"),
    }.items():
        assert exchange(port, f"/t/abc/{path}/") == answer
        assert is_clean(port)
    assert exchange(port, "/missing/") == (404, "404 None None")


def test_a_stream_is_the_tenants_to_its_end_and_in_each_of_its_blocks(port: int) -> None:
    for path in ("stream", "astream"):
        views.closed.clear()
        status, body = exchange(port, f"/t/abc/{path}/3/")
        assert (status, body) == (200, "[xyz xyz](abc abc /t/abc/)" * 3)
        assert views.closed == ["abc abc"]
        assert is_clean(port)


def test_a_file_that_asks_as_it_is_read_asks_its_own_tenant(port: int) -> None:
    assert exchange(port, "/t/abc/file/") == (200, "[abc abc]" * 3)
    assert views.ended.wait(20)
    assert views.closed == ["abc abc"]
    assert is_clean(port)


@pytest.mark.parametrize("last", ["[xyz xyz]", ")"])
def test_a_client_that_hangs_up_in_the_middle_leaves_nothing_behind(last: str) -> None:
    errors = io.StringIO()
    with serve_wsgi(WSGIHandler(), errors) as port:
        half_read(port, "/t/abc/stream/1000000/", last.encode())
        assert views.ended.wait(20)
        assert is_clean(port)
    # Whether the generator was left in its inner block or outside of it, it ended in its own.
    assert views.closed in (["abc abc"], ["xyz xyz"])

    views.closed.clear()
    views.ended.clear()
    with serve_asgi(ASGIHandler()) as port:
        half_read(port, "/t/abc/astream/1000000/", last.encode())
        assert views.ended.wait(20)
        assert is_clean(port)
    assert views.closed in (["abc abc"], ["xyz xyz"])


def test_two_hundred_concurrent_requests_are_answered_from_their_own_tenants(
    settings: Any,
) -> None:
    lot = random.Random(7)
    names = [lot.choice(("abc", "xyz", "")) for _ in range(200)]

    def expected(name: str) -> str:
        return " ".join([name or "None"] * 3)

    async def ask(client: AsyncClient, name: str) -> bool:
        path = lot.choice(("plain", "aplain", "stream", "astream", "fails"))
        prefix = f"/t/{name}" if name else ""
        where = f"{prefix}/{path}/" + ("2/" if "stream" in path else "")
        answer = await client.get(where)
        if answer.streaming:
            body = b"".join([part async for part in answer]).decode()
            who = f"{name or 'None'} {name or 'None'}"
            return body == f"[xyz xyz]({who} {prefix}/)" * 2
        if path == "fails":
            return answer.content.decode() == f"500 {name or 'None'} {name or 'None'}"
        return answer.content.decode() == expected(name)

    async def main() -> Counter[bool]:
        client = AsyncClient(raise_request_exception=False)
        asked = await asyncio.gather(*(ask(client, name) for name in names))
        # The test's client keeps what a server would close.
        await sync_to_async(connections.close_all)()
        return Counter(asked)

    assert asyncio.run(main()) == {True: 200}


def test_many_clients_of_one_server_each_get_their_own(port: int) -> None:
    lot = random.Random(11)

    def ask(_: int) -> bool:
        name = lot.choice(("abc", "xyz"))
        path = lot.choice(("plain/", "aplain/", "fails/", "stream/2/", "forgets/"))
        body = exchange(port, f"/t/{name}/{path}")[1]
        if path == "forgets/":
            return body == "xyz xyz"
        return set(re.findall(r"abc|xyz", re.sub(r"\[.*?\]", "", body))) == {name}

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(60)))
    assert is_clean(port)
