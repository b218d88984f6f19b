"""The process-wide cache of domains, on a registry in memory."""

import threading
from collections.abc import Collection, Iterable
from typing import Any

import pytest
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory

from mtdd_router import ConfigurationError, RegistryUnavailable, resolution_checks
from mtdd_router import domains as module
from mtdd_router.directory import Directory
from mtdd_router.domains import DomainDirectory
from mtdd_router.resolvers import DomainResolver
from mtdd_router.types import Route, TenantState

PATH = "mtdd_router.resolvers.DomainResolver"


class Registry:
    """What MTDD_REGISTRY may name, with domains."""

    def __init__(self) -> None:
        self.names = {"a.example": "abc"}
        self.tenants = {"abc": TenantState.ACTIVE, "xyz": TenantState.ACTIVE}
        self.reads: list[str] = []
        self.down = False

    def tenant_of_domain(self, domain: str) -> str | None:
        self.reads.append(domain)
        if self.down:
            raise RegistryUnavailable("down")
        return self.names.get(domain)

    def route(self, tenant: str) -> Route | None:
        if self.down:
            raise RegistryUnavailable("down")
        return (
            Route(tenant, "s", "h:1", 1, self.tenants[tenant]) if tenant in self.tenants else None
        )

    def present_name(self, name: str) -> str | None:
        return None

    def routes(self) -> Iterable[Route]:
        return ()

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        return [route for tenant in tenants if (route := self.route(tenant))]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for name in ("mtdd_router.domains", "mtdd_router.directory"):
            monkeypatch.setattr(f"{name}.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def registry(settings: Any) -> Registry:
    settings.MTDD_ROUTE_TTL, settings.MTDD_NAME_REST = 60.0, 120.0
    return Registry()


@pytest.fixture
def routes(registry: Registry) -> Directory:
    return Directory(lambda: registry)


@pytest.fixture
def known(registry: Registry, routes: Directory, clock: Clock) -> DomainDirectory:
    return DomainDirectory(lambda: registry, routes)


def test_a_domain_is_read_once_while_it_is_fresh(
    known: DomainDirectory, registry: Registry, clock: Clock
) -> None:
    for _ in range(3):
        assert known.tenant("a.example") == "abc"
    assert registry.reads == ["a.example"]
    clock.now += 61
    registry.names["a.example"] = "xyz"
    assert known.tenant("a.example") == "xyz"


def test_a_host_that_is_nobodys_is_remembered_for_a_moment_only(
    known: DomainDirectory, registry: Registry, clock: Clock
) -> None:
    assert known.tenant("b.example") is known.tenant("b.example") is None
    assert registry.reads == ["b.example"]
    registry.names["b.example"] = "xyz"
    clock.now += 1.1
    assert known.tenant("b.example") == "xyz"


def test_hosts_that_are_nobodys_take_up_bounded_memory(
    known: DomainDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_UNKNOWN", 10)
    for number in range(100):
        known.tenant(f"{number}.example")
    assert len(known._unknown) <= 10


def test_a_domain_follows_its_tenants_renaming_also_while_it_is_fresh(
    known: DomainDirectory, registry: Registry, routes: Directory
) -> None:
    assert known.tenant("a.example") == "abc"
    registry.tenants["new"] = registry.tenants.pop("abc")
    registry.names["a.example"] = "new"
    routes.forget("abc")  # As the shard's refusal of the old name makes the process do.
    assert known.tenant("a.example") == "new"


def test_a_frozen_tenant_keeps_its_domain(known: DomainDirectory, registry: Registry) -> None:
    registry.tenants["abc"] = TenantState.FROZEN
    assert known.tenant("a.example") == known.tenant("a.example") == "abc"
    assert registry.reads == ["a.example"]


def test_while_the_registry_is_down_a_domain_stays_until_its_name_may_be_anothers(
    known: DomainDirectory, registry: Registry, clock: Clock
) -> None:
    assert known.tenant("a.example") == "abc"
    registry.down = True
    clock.now += 100
    assert known.tenant("a.example") == "abc"
    assert known.tenant("a.example") == "abc"
    assert len(registry.reads) == 2  # Not each request waits for it.
    with pytest.raises(RegistryUnavailable):
        known.tenant("b.example")
    clock.now += 21
    with pytest.raises(RegistryUnavailable):
        known.tenant("a.example")
    registry.down = False
    assert known.tenant("a.example") == "abc"


@pytest.mark.parametrize("rest", [0.0, 10.0])
def test_a_domain_is_never_believed_for_longer_than_names_rest(
    known: DomainDirectory, registry: Registry, clock: Clock, settings: Any, rest: float
) -> None:
    settings.MTDD_NAME_REST = rest
    assert known.tenant("a.example") == "abc"
    registry.names["a.example"] = "xyz"
    clock.now += rest + 0.1
    assert known.tenant("a.example") == "xyz"


def test_while_one_reads_a_domain_anew_the_others_go_on(
    known: DomainDirectory, registry: Registry, clock: Clock
) -> None:
    assert known.tenant("a.example") == "abc"
    clock.now += 61
    reading, go_on = threading.Event(), threading.Event()
    read = registry.tenant_of_domain

    def slow(domain: str) -> str | None:
        reading.set()
        assert go_on.wait(10)
        return read(domain)

    registry.tenant_of_domain = slow  # type: ignore[method-assign]
    reader = threading.Thread(target=known.tenant, args=("a.example",))
    reader.start()
    assert reading.wait(10)
    assert known.tenant("a.example") == "abc"
    go_on.set()
    reader.join()
    assert len(registry.reads) == 2


def test_what_was_read_before_a_change_is_not_kept_after_it(
    known: DomainDirectory, registry: Registry
) -> None:
    reading, changed = threading.Event(), threading.Event()
    read = registry.tenant_of_domain

    def slow(domain: str) -> str | None:
        found = read(domain)
        reading.set()
        assert changed.wait(10)
        return found

    registry.tenant_of_domain = slow  # type: ignore[method-assign]
    reader = threading.Thread(target=known.tenant, args=("a.example",))
    reader.start()
    assert reading.wait(10)
    registry.names["a.example"] = "xyz"
    known.forget()
    changed.set()
    reader.join()
    assert known.tenant("a.example") == "xyz"


# The resolver


def asked(resolver: DomainResolver, host: str) -> str | None:
    return resolver(RequestFactory().get("/", headers={"Host": host}))


@pytest.mark.parametrize(
    ("host", "tenant"),
    [
        ("a.example", "abc"),
        ("A.Example:8000", "abc"),
        ("a.example.", "abc"),
        ("a.example.:443", "abc"),
        ("www.a.example", None),
        ("a.example.evil.test", None),
        ("127.0.0.1:8000", None),
        ("[::1]:8000", None),
    ],
)
def test_a_host_is_looked_up_in_the_one_way_it_is_kept(
    known: DomainDirectory, host: str, tenant: str | None
) -> None:
    assert asked(DomainResolver(directory=known), host) == tenant


def test_hosts_that_are_neither_a_tenants_nor_the_projects_can_be_refused(
    known: DomainDirectory,
) -> None:
    resolver = DomainResolver([".project.example"], directory=known)
    assert asked(resolver, "a.example") == "abc"
    assert asked(resolver, "www.project.example") is None
    with pytest.raises(DisallowedHost, match="add_domain"):
        asked(resolver, "evil.test")


def test_others_is_a_list() -> None:
    with pytest.raises(ConfigurationError):
        DomainResolver("project.example")


class WithoutDomains:
    def route(self, tenant: str) -> None: ...

    def routes(self) -> tuple[()]:
        return ()

    def routes_of(self, tenants: Collection[str]) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("options", "registry", "hosts", "expected"),
    [
        ({}, "tenants.registry.DatabaseRegistry", ["*"], ["mtdd.W051"]),
        ({}, "tenants.registry.DatabaseRegistry", ["a.example"], []),
        ({"others": []}, "tenants.registry.DatabaseRegistry", ["*"], []),
        ({}, f"{__name__}.WithoutDomains", [], ["mtdd.E052"]),
    ],
)
def test_the_checks_look_for_domains_and_hosts(
    settings: Any, options: Any, registry: str, hosts: Any, expected: Any
) -> None:
    settings.MTDD_RESOLVERS = [(PATH, options)]
    settings.MTDD_REGISTRY = registry
    settings.ALLOWED_HOSTS = hosts
    assert [message.id for message in resolution_checks.check_domains()] == expected


@pytest.mark.parametrize(
    ("rest", "expected"), [(0.0, []), (30.0, ["mtdd.W053"]), (60.0, []), ("x", [])]
)
def test_names_rest_longer_than_routes_are_believed(
    settings: Any, rest: Any, expected: Any
) -> None:
    settings.MTDD_ROUTE_TTL, settings.MTDD_NAME_REST = 60.0, rest
    assert [message.id for message in resolution_checks.check_rest()] == expected
