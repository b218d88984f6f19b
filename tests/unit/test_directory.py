"""The process-wide cache of routes, on a registry in memory."""

import logging
import os
import threading
import time
from collections.abc import Iterable

import pytest

from mtdd_router import (
    ConfigurationError,
    InvalidTenantName,
    RegistryUnavailable,
    TenantDoesNotExist,
    TenantUnavailable,
    maintenance,
)
from mtdd_router import (
    directory as directory_module,
)
from mtdd_router.directory import Directory, load_registry
from mtdd_router.types import Route, TenantState


class MemoryRegistry:
    """A registry of the kind that MTDD_REGISTRY may name."""

    def __init__(self) -> None:
        self.rows: dict[str, Route] = {}
        self.renamed: dict[str, str] = {}
        self.reads: list[str] = []
        self.down = False
        self.delay = 0.0

    def put(self, tenant: str, epoch: int = 1, state: TenantState = TenantState.ACTIVE) -> Route:
        # Strings of its own, as rows of a database have.
        address = str(b"127.0.0.1:7401", "ascii")
        self.rows[tenant] = Route(tenant, "shard1", address, epoch, state)
        return self.rows[tenant]

    def route(self, tenant: str) -> Route | None:
        self.reads.append(tenant)
        found = self.rows.get(tenant)
        time.sleep(self.delay)
        if self.down:
            raise RegistryUnavailable("down")
        return found

    def present_name(self, name: str) -> str | None:
        self.reads.append(f"was {name}")
        if self.down:
            raise RegistryUnavailable("down")
        return self.renamed.get(name)

    def routes(self) -> Iterable[Route]:
        yield from self.rows.values()


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def directory(registry: MemoryRegistry) -> Directory:
    return Directory(lambda: registry)


def test_a_known_route_is_not_read_again(directory: Directory, registry: MemoryRegistry) -> None:
    route = registry.put("abc")
    assert directory.route("abc") == route
    assert directory.route("abc") == route
    assert registry.reads == ["abc"]


def test_an_unknown_tenant_is_named_and_asked_for_once_in_a_while(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        with pytest.raises(TenantDoesNotExist, match="'nobody'"):
            directory.route("nobody")
    assert registry.reads == ["nobody"]
    monkeypatch.setattr(directory_module, "monotonic", lambda: time.monotonic() + 2)
    registry.put("nobody")
    assert directory.route("nobody").tenant == "nobody"


def test_a_tenant_created_here_is_visible_at_once(
    directory: Directory, registry: MemoryRegistry
) -> None:
    with pytest.raises(TenantDoesNotExist):
        directory.route("abc")
    registry.put("abc")
    directory.forget("abc")
    assert directory.route("abc").tenant == "abc"


@pytest.mark.parametrize("name", ["", "A", "a b", "'; --", "x" * 64])
def test_an_invalid_name_never_reaches_the_registry(
    directory: Directory, registry: MemoryRegistry, name: str
) -> None:
    with pytest.raises(InvalidTenantName):
        directory.route(name)
    assert registry.reads == []


@pytest.mark.parametrize("state", [state for state in TenantState if state != TenantState.ACTIVE])
def test_a_tenant_that_is_not_active_is_refused_by_name_and_state_except_in_maintenance(
    directory: Directory, registry: MemoryRegistry, state: TenantState
) -> None:
    route = registry.put("abc", state=state)
    with pytest.raises(TenantUnavailable, match=f"'abc'.*{state}"):
        directory.route("abc")
    with maintenance():
        assert directory.route("abc") == route


def test_a_tenant_that_becomes_active_is_seen_within_a_second(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.put("abc", state=TenantState.CREATING)
    with pytest.raises(TenantUnavailable):
        directory.route("abc")
    registry.put("abc", epoch=2)
    monkeypatch.setattr(directory_module, "monotonic", lambda: time.monotonic() + 1.1)
    assert directory.route("abc").epoch == 2


def test_a_route_is_read_anew_after_its_time_to_live(
    directory: Directory, registry: MemoryRegistry, settings: object
) -> None:
    settings.MTDD_ROUTE_TTL = 0.0  # type: ignore[attr-defined]
    registry.put("abc")
    directory.route("abc")
    registry.put("abc", epoch=2)
    assert directory.route("abc").epoch == 2


def test_refresh_reads_only_if_nothing_newer_is_known(
    directory: Directory, registry: MemoryRegistry
) -> None:
    stale = registry.put("abc")
    directory.route("abc")
    registry.put("abc", epoch=2)
    assert directory.refresh("abc", stale).epoch == 2
    assert directory.refresh("abc", stale).epoch == 2
    assert registry.reads == ["abc", "abc"]


def test_refresh_may_give_the_stale_route_while_the_registry_lags(
    directory: Directory, registry: MemoryRegistry
) -> None:
    stale = registry.put("abc")
    assert directory.refresh("abc", stale) == stale


def test_a_deleted_tenant_is_gone_after_refresh(
    directory: Directory, registry: MemoryRegistry
) -> None:
    stale = registry.put("abc")
    directory.route("abc")
    del registry.rows["abc"]
    with pytest.raises(TenantDoesNotExist):
        directory.refresh("abc", stale)
    with pytest.raises(TenantDoesNotExist):
        directory.route("abc")


def test_known_routes_are_served_while_the_registry_is_down_and_it_is_logged_once(
    directory: Directory,
    registry: MemoryRegistry,
    settings: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.MTDD_ROUTE_TTL = 1.0  # type: ignore[attr-defined]
    route = registry.put("abc")
    directory.route("abc")
    registry.down = True
    with caplog.at_level(logging.INFO, "mtdd_router.directory"):
        for later in (2, 10, 20):
            monkeypatch.setattr(
                directory_module, "monotonic", lambda later=later: time.monotonic() + later
            )
            assert directory.route("abc") == route
        assert len(registry.reads) == 4
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        with pytest.raises(RegistryUnavailable):
            directory.route("unknown")
        with pytest.raises(RegistryUnavailable):
            directory.refresh("abc", route)
        registry.down = False
        monkeypatch.setattr(directory_module, "monotonic", lambda: time.monotonic() + 30)
        directory.route("abc")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_many_threads_share_one_read_of_a_tenant(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.put("abc")
    registry.delay = 0.05
    found: list[Route] = []
    threads = [
        threading.Thread(target=lambda: found.append(directory.route("abc"))) for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 30
    assert registry.reads == ["abc"]


def test_waiting_threads_get_the_readers_error(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.down = True
    registry.delay = 0.05
    errors: list[Exception] = []

    def ask() -> None:
        try:
            directory.route("abc")
        except RegistryUnavailable as exc:
            errors.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 10


def test_what_was_read_before_forgetting_is_not_kept(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.delay = 0.1
    errors: list[Exception] = []

    def ask_early() -> None:
        try:
            directory.route("abc")
        except TenantDoesNotExist as exc:
            errors.append(exc)

    thread = threading.Thread(target=ask_early)
    thread.start()
    time.sleep(0.03)
    registry.put("abc")
    directory.forget("abc")
    assert directory.route("abc").epoch == 1
    thread.join()
    assert len(errors) == 1
    assert directory.route("abc").epoch == 1


def test_preload_reads_all_at_once(directory: Directory, registry: MemoryRegistry) -> None:
    for number in range(100):
        registry.put(f"t{number}")
    assert directory.preload() == 100
    assert directory.route("t42").tenant == "t42"
    assert registry.reads == []


def test_shard_names_and_addresses_are_shared_between_routes(
    directory: Directory, registry: MemoryRegistry
) -> None:
    one, two = registry.put("one"), registry.put("two")
    assert one.address is not two.address
    assert directory.route("one").address is directory.route("two").address


def test_a_child_process_can_read_though_a_lock_was_held_at_the_fork(
    registry: MemoryRegistry,
) -> None:
    child_directory = Directory(lambda: registry)
    registry.put("abc")
    child_directory._lock.acquire()
    pid = os.fork()
    if pid == 0:
        child_directory.after_fork()
        os._exit(0 if child_directory.route("abc").epoch == 1 else 1)
    child_directory._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_ten_thousand_routes_take_less_than_five_megabytes(registry: MemoryRegistry) -> None:
    import tracemalloc

    for number in range(10_000):
        registry.put(f"tenant-{number}")
    directory = Directory(lambda: registry)
    tracemalloc.start()
    try:
        for name in registry.rows:
            directory.route(name)
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_registry_that_cannot_be_imported_is_named(settings: object) -> None:
    settings.MTDD_REGISTRY = "nothing.here.Registry"  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=r"MTDD_REGISTRY = 'nothing\.here\.Registry'"):
        load_registry()


def test_a_former_name_is_asked_for_each_time_and_a_present_one_never(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.put("new")
    registry.renamed["old"] = "new"
    assert [directory.present_name("old") for _ in range(2)] == ["new", "new"]
    assert registry.reads == ["old", "was old", "was old"]
    registry.renamed.clear()
    assert directory.present_name("old") == "old"
    registry.reads.clear()
    assert [directory.present_name("new") for _ in range(2)] == ["new", "new"]
    assert registry.reads == ["new"]


def test_a_name_that_leads_nowhere_is_asked_for_once_in_a_while(
    directory: Directory, registry: MemoryRegistry
) -> None:
    for _ in range(3):
        assert directory.present_name("nobody") == "nobody"
    assert registry.reads == ["nobody", "was nobody"]
    assert directory.knows("nobody")
    registry.renamed["nobody"] = "somebody"
    directory.forget("nobody")
    assert not directory.knows("nobody")
    assert directory.present_name("nobody") == "somebody"


def test_a_name_that_is_a_tenants_leads_to_no_other(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.put("old")
    registry.renamed["old"] = "new"
    assert directory.present_name("old") == "old"


def test_while_the_registry_is_down_a_former_name_leads_nowhere(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.renamed["old"] = "new"
    assert directory.present_name("old") == "new"
    registry.down = True
    with pytest.raises(RegistryUnavailable):
        directory.present_name("old")
