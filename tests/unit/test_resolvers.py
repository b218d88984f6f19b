"""How the tenant of a request is found."""

from typing import Any

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import get_script_prefix, set_script_prefix

from mtdd_router import ConfigurationError
from mtdd_router.resolvers import (
    HeaderResolver,
    PathResolver,
    SessionResolver,
    SubdomainResolver,
    load_resolvers,
)

factory = RequestFactory()


def always(_request: HttpRequest) -> str:
    return "abc"


async def always_async(_request: HttpRequest) -> str:
    return "abc"


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ({"X-Tenant": "abc"}, "abc"),
        ({"X-Tenant": " abc "}, "abc"),
        ({"X-Tenant": ""}, None),
        ({}, None),
    ],
)
def test_a_header_names_the_tenant(
    headers: dict[str, str], tenant: str | None, settings: Any
) -> None:
    settings.MTDD_TRUSTED_PROXIES = ["127.0.0.1"]
    assert HeaderResolver()(factory.get("/", headers=headers)) == tenant


@pytest.mark.parametrize(
    ("host", "tenant"),
    [
        ("abc.example.com", "abc"),
        ("ABC.Example.COM:8000", "abc"),
        ("abc.example.com.", "abc"),
        ("abc.other.org", "abc"),
        ("www.example.com", None),
        ("example.com", None),
        ("abc.elsewhere.net", None),
        ("evilexample.com", None),
        ("127.0.0.1", None),
        ("a.b.example.com", "a.b"),
    ],
)
def test_a_subdomain_names_the_tenant(host: str, tenant: str | None) -> None:
    resolver = SubdomainResolver(["example.com", ".other.org"])
    assert resolver(factory.get("/", headers={"Host": host})) == tenant


@pytest.mark.parametrize(
    ("prefix", "path", "tenant", "seen", "script"),
    [
        ("t", "/t/abc/orders/", "abc", "/orders/", "/t/abc/"),
        ("/t/", "/t/abc/", "abc", "/", "/t/abc/"),
        ("t", "/t/abc", None, "/t/abc", "/"),
        ("t", "/t/", None, "/t/", "/"),
        ("t", "/tea/abc/", None, "/tea/abc/", "/"),
        ("t", "/", None, "/", "/"),
        ("", "/abc/orders/", "abc", "/orders/", "/abc/"),
        ("", "/", None, "/", "/"),
    ],
)
def test_a_path_prefix_names_the_tenant_and_becomes_the_script_prefix(
    prefix: str, path: str, tenant: str | None, seen: str, script: str
) -> None:
    request = factory.get(path)
    try:
        assert PathResolver(prefix)(request) == tenant
        assert request.path_info == seen
        assert request.path == path
        assert get_script_prefix() == script
    finally:
        set_script_prefix("/")


def test_a_path_prefix_comes_after_the_servers_own() -> None:
    set_script_prefix("/app/")
    try:
        PathResolver()(factory.get("/t/abc/"))
        assert get_script_prefix() == "/app/t/abc/"
    finally:
        set_script_prefix("/")


@pytest.mark.parametrize("server", ["/", "/app/"])
def test_urls_of_static_files_never_get_a_tenants_path(settings: Any, server: str) -> None:
    settings.STATIC_URL, settings.MEDIA_URL = "static/", "media/"
    for tenant in ("abc", "xyz"):
        set_script_prefix(server)
        try:
            PathResolver()(factory.get(f"/t/{tenant}/"))
            assert get_script_prefix() == f"{server}t/{tenant}/"
            assert f"{server}static/" == settings.STATIC_URL
            assert f"{server}media/" == settings.MEDIA_URL
        finally:
            set_script_prefix("/")


def test_the_session_names_the_tenant() -> None:
    request: Any = factory.get("/")
    request.session = {"tenant": "abc", "bad": 3}
    assert SessionResolver()(request) == "abc"
    assert SessionResolver("bad")(request) is None
    assert SessionResolver("missing")(request) is None


def test_a_missing_session_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="SessionMiddleware"):
        SessionResolver()(factory.get("/"))


def test_the_setting_takes_paths_pairs_and_callables() -> None:
    resolvers = load_resolvers(
        [
            "mtdd_router.resolvers.HeaderResolver",
            ("mtdd_router.resolvers.PathResolver", {"prefix": "x"}),
            always,
            always_async,
            SessionResolver("key"),
        ]
    )
    assert isinstance(resolvers[0], HeaderResolver)
    assert isinstance(resolvers[1], PathResolver)
    assert resolvers[1].start == "/x/"
    assert resolvers[2:3] == (always,)
    assert resolvers[3](factory.get("/")) == "abc"


@pytest.mark.parametrize(
    "wrong",
    [
        "mtdd_router.resolvers.HeaderResolver",
        None,
        ["nothing.at.all"],
        ["no_dot"],
        [3],
        [("mtdd_router.resolvers.PathResolver", {"no_such_option": 1})],
        [("mtdd_router.resolvers.PathResolver", "t")],
        [(always, {"x": 1})],
        ["mtdd_router.resolvers.SubdomainResolver"],
        [("mtdd_router.resolvers.SubdomainResolver", {"domain": ""})],
    ],
)
def test_a_wrong_setting_is_named(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        load_resolvers(wrong)
