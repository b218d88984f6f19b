"""What several resolvers say together, and how a refusal is answered."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytest
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path, set_script_prefix

from mtdd_router import TenantMiddleware, TenantsDisagree, current_tenant, resolution_checks
from mtdd_router.asgi import TenantConnectionMiddleware
from mtdd_router.directory import directory
from mtdd_router.resolvers import HeaderResolver, PathResolver, SubdomainResolver, resolve
from mtdd_router.types import Route

factory = RequestFactory()


class Registry:
    """Tenants abc and xyz; abc was called old."""

    def route(self, tenant: str) -> Route | None:
        return Route(tenant, "s", "h:1", 1) if tenant in {"abc", "xyz"} else None

    def present_name(self, name: str) -> str | None:
        return "abc" if name == "old" else None

    def routes(self) -> Iterable[Route]:
        return ()

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        return [route for tenant in tenants if (route := self.route(tenant))]


def where(request: Any) -> HttpResponse:
    return HttpResponse(f"{current_tenant()} {request.path_info}")


urlpatterns = [path("", where), path("here/", where)]
SUBDOMAINS = SubdomainResolver("example.com")


@pytest.fixture(autouse=True)
def _configured(settings: Any) -> Iterator[None]:
    settings.MTDD_REGISTRY = f"{__name__}.Registry"
    settings.MTDD_TRUSTED_PROXIES = ["127.0.0.1"]
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["mtdd_router.TenantMiddleware"]
    yield
    set_script_prefix("/")
    directory.forget()


def request(host: str, path: str = "/", tenant: str = "") -> HttpRequest:
    return factory.get(path, headers={"Host": host, **({"X-Tenant": tenant} if tenant else {})})


def test_the_order_of_the_setting_decides() -> None:
    both = request("abc.example.com", tenant="xyz")
    assert resolve([SUBDOMAINS, HeaderResolver()], both) == "abc"
    assert resolve([HeaderResolver(), SUBDOMAINS], both) == "xyz"


def test_resolvers_behind_the_first_answer_are_not_asked() -> None:
    def never(_request: HttpRequest) -> str:
        raise AssertionError

    assert resolve([SUBDOMAINS, never], request("abc.example.com")) == "abc"


@pytest.mark.parametrize("order", [1, -1])
def test_two_different_answers_can_be_refused(settings: Any, order: int) -> None:
    settings.MTDD_RESOLVERS_MUST_AGREE = True
    resolvers = [SUBDOMAINS, HeaderResolver()][::order]
    with pytest.raises(TenantsDisagree):
        resolve(resolvers, request("abc.example.com", tenant="xyz"))
    assert resolve(resolvers, request("abc.example.com", tenant="abc")) == "abc"
    assert resolve(resolvers, request("abc.example.com")) == "abc"
    assert resolve(resolvers, request("example.com", tenant="abc")) == "abc"
    assert resolve(resolvers, request("example.com")) is None


def test_the_name_before_a_renaming_agrees_with_the_present_one(settings: Any) -> None:
    settings.MTDD_RESOLVERS_MUST_AGREE = True
    found = resolve([SUBDOMAINS, HeaderResolver()], request("old.example.com", tenant="abc"))
    assert found == "old"
    with pytest.raises(TenantsDisagree):
        resolve([SUBDOMAINS, HeaderResolver()], request("old.example.com", tenant="xyz"))


async def nothing(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Tenant": "xyz", "Host": "abc.example.com"}, 400),
        ({"X-Tenant": "abc", "Host": "abc.example.com"}, 200),
        ({"Authorization": "Bearer x.y.z"}, 401),
    ],
)
def test_a_refusal_is_plain_and_tells_no_tenant(
    settings: Any, headers: dict[str, str], status: int, asynchronous: bool
) -> None:
    settings.MTDD_RESOLVERS_MUST_AGREE = True
    settings.MTDD_RESOLVERS = [
        SUBDOMAINS,
        HeaderResolver(),
        ("mtdd_router.resolvers.JWTResolver", {"algorithms": ["HS256"], "key": "k" * 32}),
    ]
    middleware = TenantMiddleware(nothing if asynchronous else where)
    answer: Any = middleware(factory.get("/", headers=headers))
    response = asyncio.run(answer) if asynchronous else answer
    assert response.status_code == status
    if status == 200:
        return
    assert "abc" not in response.content.decode()
    assert response.headers.get("WWW-Authenticate", "").startswith("Bearer") == (status == 401)


def test_a_header_from_an_untrusted_client_is_answered_with_403(settings: Any) -> None:
    settings.MTDD_TRUSTED_PROXIES = ["10.0.0.0/8"]
    settings.MTDD_RESOLVERS = ["mtdd_router.resolvers.HeaderResolver"]
    response = Client().get("/here/", headers={"X-Tenant": "abc"})
    assert (response.status_code, response.content) == (
        403,
        b"This client may not name a tenant.\n",
    )
    assert Client().get("/here/").content == b"None /here/"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([(b"host", b"abc.example.com"), (b"x-tenant", b"xyz")], 1008),
        ([(b"host", b"example.com"), (b"x-tenant", b"abc")], None),
        ([(b"host", b"evil.test"), (b"x-tenant", b"abc")], 1008),
    ],
)
def test_a_websocket_is_refused_for_the_same_reasons(
    settings: Any, headers: Any, code: int | None
) -> None:
    settings.MTDD_RESOLVERS_MUST_AGREE = True
    settings.ALLOWED_HOSTS = [".example.com"]
    settings.MTDD_RESOLVERS = [SUBDOMAINS, HeaderResolver()]
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "tenant": current_tenant()})

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/",
        "headers": headers,
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(TenantConnectionMiddleware(app)(scope, receive, send))
    if code is None:
        assert sent == [{"type": "websocket.accept", "tenant": "abc"}]
    else:
        assert sent == [{"type": "websocket.close", "code": code}]


# A host that is not allowed


@pytest.mark.parametrize("resolver", [PathResolver(), SUBDOMAINS])
def test_no_tenant_is_served_under_a_host_that_is_not_allowed(settings: Any, resolver: Any) -> None:
    settings.ALLOWED_HOSTS = ["good.example"]
    settings.MTDD_RESOLVERS = [resolver]
    path = "/t/abc/here/"
    for host in ("evil.test", "abc.example.com", "good.example.evil.test", "bad host"):
        assert Client().get(path, headers={"Host": host}).status_code == 400
        with pytest.raises(DisallowedHost):
            resolve([resolver], request(host, path))
    answer = Client().get(path, headers={"Host": "good.example"})
    assert answer.status_code == (200 if isinstance(resolver, PathResolver) else 404)


def test_a_forwarded_host_counts_only_where_django_hears_it(settings: Any) -> None:
    asked = factory.get(
        "/", headers={"Host": "abc.example.com", "X-Forwarded-Host": "xyz.example.com"}
    )
    assert resolve([SUBDOMAINS], asked) == "abc"
    settings.USE_X_FORWARDED_HOST = True
    assert resolve([SUBDOMAINS], asked) == "xyz"
    settings.ALLOWED_HOSTS = ["abc.example.com"]
    with pytest.raises(DisallowedHost):
        resolve([SUBDOMAINS], asked)


@pytest.mark.parametrize(("value", "expected"), [(True, []), (False, []), ("yes", ["mtdd.E054"])])
def test_the_setting_is_a_bool(settings: Any, value: Any, expected: list[str]) -> None:
    settings.MTDD_RESOLVERS_MUST_AGREE = value
    assert [message.id for message in resolution_checks.check_agreement()] == expected
