"""The middleware, over the process's directory with a registry in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import get_script_prefix, reverse

from mtdd_router import RegistryUnavailable, TenantMiddleware, current_tenant, tenant_context
from mtdd_router.directory import directory
from mtdd_router.types import Route, TenantState

factory = RequestFactory()


class FewTenants:
    """A registry with an active tenant and one of each other kind."""

    def route(self, tenant: str) -> Route | None:
        if tenant == "nodb":
            raise RegistryUnavailable("down")
        state = {"abc": TenantState.ACTIVE, "xyz": TenantState.ACTIVE, "cold": TenantState.FROZEN}
        return Route(tenant, "s", "h:1", 1, state[tenant]) if tenant in state else None

    def present_name(self, name: str) -> str | None:
        return {"was-abc": "abc", "was-cold": "cold"}.get(name)

    def routes(self) -> Iterable[Route]:
        return ()

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        return [route for tenant in tenants if (route := self.route(tenant))]


@pytest.fixture(autouse=True)
def _configured(settings: Any) -> Iterator[None]:
    settings.MTDD_REGISTRY = f"{__name__}.FewTenants"
    settings.MTDD_RESOLVERS = [
        "mtdd_router.resolvers.HeaderResolver",
        "mtdd_router.resolvers.PathResolver",
    ]
    settings.MTDD_TRUSTED_PROXIES = ["127.0.0.1"]  # Where RequestFactory's requests come from.
    yield
    directory.forget()


def view(request: Any) -> HttpResponse:
    return HttpResponse(f"{current_tenant()} {request.tenant} {get_script_prefix()}")


async def async_view(request: Any) -> HttpResponse:
    await asyncio.sleep(0)
    return view(request)


def ask(
    view: Callable[..., Any], path: str = "/", tenant: str | None = None, **options: Any
) -> Any:
    """Serve one request, synchronously or not as the view is."""
    middleware = type("Under", (TenantMiddleware,), options)(view)
    request = factory.get(path, headers={"X-Tenant": tenant} if tenant else {})
    answer = middleware(request)
    if asyncio.iscoroutine(answer):

        async def run() -> Any:
            response = await answer
            assert current_tenant() is None
            assert get_script_prefix() == "/"
            return response

        answer = asyncio.run(run())
    assert current_tenant() is None
    assert get_script_prefix() == "/"
    return answer


both = pytest.mark.parametrize("view", [view, async_view])


@both
def test_a_request_runs_in_its_tenant(view: Any) -> None:
    assert ask(view, tenant="abc").content == b"abc abc /"


@both
def test_the_first_resolver_with_an_answer_wins(view: Any) -> None:
    assert ask(view, "/t/xyz/", tenant="abc").content == b"abc abc /"
    assert ask(view, "/t/xyz/").content == b"xyz xyz /t/xyz/"


@both
def test_a_request_without_a_tenant_goes_on_without_one(view: Any) -> None:
    assert ask(view).content == b"None None /"


@both
def test_a_request_does_not_inherit_a_tenant(view: Any) -> None:
    middleware = TenantMiddleware(view)

    async def run() -> Any:
        with tenant_context("abc"):
            answer = middleware(factory.get("/"))
            return await answer if asyncio.iscoroutine(answer) else answer

    assert asyncio.run(run()).content == b"None None /"


@both
def test_a_tenant_can_be_required(view: Any) -> None:
    assert ask(view, required=True).status_code == 404


@both
@pytest.mark.parametrize(
    ("tenant", "status"),
    [("nobody", 404), ("Not A Name", 404), ("default", 404), ("cold", 503), ("nodb", 503)],
)
def test_a_tenant_that_cannot_be_served_is_answered_without_telling_why(
    view: Any, tenant: str, status: int
) -> None:
    response = ask(view, tenant=tenant)
    assert response.status_code == status
    assert tenant.encode() not in response.content
    assert (response.headers.get("Retry-After") == "30") is (status == 503)


@both
def test_the_error_pages_can_be_ones_own(view: Any) -> None:
    def refused(self: Any, request: HttpRequest, error: Exception) -> HttpResponse:
        return HttpResponse(f"{type(error).__name__}", status=410)

    response = ask(view, tenant="nobody", refused=refused)
    assert (response.status_code, response.content) == (410, b"TenantDoesNotExist")


@both
def test_an_exception_leaves_nothing_behind(view: Any) -> None:
    def broken(_request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    async def async_broken(request: HttpRequest) -> HttpResponse:
        return broken(request)

    with pytest.raises(ZeroDivisionError):
        ask(async_broken if view is async_view else broken, "/t/abc/")
    assert current_tenant() is None
    assert get_script_prefix() == "/"


@both
def test_a_blocking_resolver_works_with_both(view: Any, settings: Any) -> None:
    def in_a_thread(request: HttpRequest) -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return "abc"

    async def async_resolver(request: HttpRequest) -> str:
        await asyncio.sleep(0)
        return "abc"

    for resolver in (in_a_thread, async_resolver):
        settings.MTDD_RESOLVERS = [resolver]
        assert ask(view).content == b"abc abc /"


@both
def test_a_path_prefix_works_after_a_blocking_resolver(view: Any, settings: Any) -> None:
    settings.MTDD_RESOLVERS = [lambda _request: None, "mtdd_router.resolvers.PathResolver"]
    assert ask(view, "/t/abc/").content == b"abc abc /t/abc/"


def test_links_lead_back_to_the_tenant() -> None:
    def link(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(reverse("admin:index"))

    assert ask(link, "/t/abc/").content.startswith(b"/t/abc/")


def test_a_streaming_response_produces_and_closes_in_the_tenant() -> None:
    closed: list[str | None] = []

    def parts() -> Iterator[str]:
        try:
            yield f"{current_tenant()} "
            yield f"{current_tenant()} {get_script_prefix()}"
        finally:
            closed.append(current_tenant())

    response = ask(lambda _request: StreamingHttpResponse(parts()), "/t/abc/")
    seen = []
    for part in response:
        assert current_tenant() is None
        seen.append(part)
    response.close()
    assert b"".join(seen) == b"abc abc /t/abc/"
    assert closed == ["abc"]


def test_a_streaming_response_that_nobody_reads_to_the_end_closes_in_the_tenant() -> None:
    closed: list[str | None] = []

    def parts() -> Iterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.append(current_tenant())

    response = ask(lambda _request: StreamingHttpResponse(parts()), tenant="abc")
    next(iter(response))
    response.close()
    assert closed == ["abc"]


def test_an_async_stream_produces_in_the_tenant() -> None:
    async def parts() -> AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield f"{current_tenant()} "

    async def streaming(_request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts())

    response = ask(streaming, tenant="abc")

    async def read() -> bytes:
        seen = []
        async for part in response:
            assert current_tenant() is None
            seen.append(part)
        return b"".join(seen)

    assert asyncio.run(read()) == b"abc abc "


def test_a_file_is_left_to_the_web_server(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb") as file:
        response = ask(lambda _request: FileResponse(file), tenant="abc")
        assert response.file_to_stream is file
        response.close()


@pytest.mark.parametrize("served", [view, async_view])
def test_a_former_name_counts_as_the_present_one(served: Any) -> None:
    assert ask(served, tenant="was-abc").content == b"abc abc /"
    assert ask(served, "/t/was-abc/page/").content == b"abc abc /t/was-abc/"
    assert ask(served, tenant="was-cold").status_code == 503
    assert ask(served, tenant="was-nobody").status_code == 404
