"""The process-wide cache of routes, on a registry in memory."""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

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
from mtdd_router.directory import Directory, alias_released, load_registry
from mtdd_router.types import Route, TenantState


class MemoryRegistry:
    """A registry of the kind that MTDD_REGISTRY may name."""

    def __init__(self) -> None:
        self.rows: dict[str, Route] = {}
        self.renamed: dict[str, str] = {}
        self.reads: list[str] = []
        self.together: list[set[str]] = []
        self.down = False
        self.delay = 0.0

    def put(
        self,
        tenant: str,
        epoch: int = 1,
        state: TenantState = TenantState.ACTIVE,
        shard: str = "shard1",
        key: int = 0,
    ) -> Route:
        # Strings of its own, as rows of a database have.
        address = str(b"127.0.0.1:7401", "ascii")
        self.rows[tenant] = Route(tenant, shard, address, epoch, state, key, "7")
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

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        self.together.append(set(tenants))
        if self.down:
            raise RegistryUnavailable("down")
        return [self.rows[tenant] for tenant in tenants if tenant in self.rows]


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def directory(registry: MemoryRegistry) -> Directory:
    return Directory(lambda: registry)


@pytest.fixture(params=["read", "preloaded", "preloaded twice"])
def learn(
    request: pytest.FixtureRequest, directory: Directory, registry: MemoryRegistry
) -> Callable[[str], None]:
    """How a tenant's route became known; the registry's list of reads is empty after that."""

    def learn(tenant: str) -> None:
        if request.param == "read":
            with maintenance():
                directory.route(tenant)
        else:
            directory.preload()
        if request.param == "preloaded twice":
            directory.preload()
        registry.reads.clear()

    return learn


@pytest.fixture
def released() -> Iterator[list[str | None]]:
    names: list[str | None] = []

    def note(*, alias: str | None, **_: object) -> None:
        names.append(alias)

    alias_released.connect(note)
    yield names
    alias_released.disconnect(note)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(directory_module, "monotonic", lambda: time.monotonic() + seconds)


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


@pytest.mark.parametrize("preloaded", [False, True])
def test_a_child_process_can_read_though_a_lock_was_held_at_the_fork(
    registry: MemoryRegistry, preloaded: bool
) -> None:
    child_directory = Directory(lambda: registry)
    registry.put("abc")
    if preloaded:
        child_directory.preload()
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


@pytest.mark.parametrize("epoch", [1, 2**31, 2**40])
@pytest.mark.parametrize("key", [0, 1, 2**30 - 1, 2**30, 2**63 - 1, 2**70, -1])
def test_whatever_a_route_says_is_kept(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    key: int,
    epoch: int,
) -> None:
    routes = [
        registry.put(f"{state}-{shard}", epoch, state, shard, key)
        for state in TenantState
        for shard in ("one", "two")
    ]
    for route in routes:
        learn(route.tenant)
        assert directory.known(route.tenant) == route
        assert type(directory.known(route.tenant).state) is TenantState  # type: ignore[union-attr]
        assert directory.key(route.tenant) == (str(key) if key else route.tenant)
    with maintenance():
        assert [directory.route(route.tenant) for route in routes] == routes


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        ("knows", True),
        ("present_name", "abc"),
        ("key", "5"),
        ("route", Route("abc", "shard1", "127.0.0.1:7401", 1, key=5, shard_id="7")),
        ("known", Route("abc", "shard1", "127.0.0.1:7401", 1, key=5, shard_id="7")),
    ],
)
def test_a_known_tenant_needs_no_registry(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    ask: str,
    answer: object,
) -> None:
    registry.put("abc", key=5)
    learn("abc")
    registry.down = True
    assert getattr(directory, ask)("abc") == answer
    assert registry.reads == []
    assert not directory.knows("abcd")
    assert directory.known("abcd") is None


def test_a_known_route_is_read_anew_after_its_time_only(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    settings: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MTDD_ROUTE_TTL = 10.0  # type: ignore[attr-defined]
    registry.put("abc")
    learn("abc")
    registry.put("abc", epoch=2)
    later(monkeypatch, 9)
    assert directory.route("abc").epoch == 1
    later(monkeypatch, 11)
    assert not directory.knows("abc")
    assert directory.route("abc").epoch == 2
    assert registry.reads == ["abc"]


@pytest.mark.parametrize("state", [state for state in TenantState if state != TenantState.ACTIVE])
def test_a_known_tenant_that_is_not_active_is_asked_for_after_a_second(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    state: TenantState,
) -> None:
    registry.put("abc", state=state)
    learn("abc")
    with pytest.raises(TenantUnavailable, match=f"'abc'.*{state}"):
        directory.route("abc")
    assert registry.reads == []
    registry.put("abc", epoch=2)
    later(monkeypatch, 1.1)
    assert directory.route("abc").epoch == 2


def test_a_known_route_outlives_its_time_while_the_registry_is_down(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    route = registry.put("abc")
    learn("abc")
    registry.down = True
    later(monkeypatch, 3600)
    assert [directory.route("abc") for _ in range(3)] == [route] * 3
    assert registry.reads == ["abc"]


def test_refresh_reads_a_known_route_if_nothing_newer_is_known(
    directory: Directory, registry: MemoryRegistry, learn: Callable[[str], None]
) -> None:
    older, route = registry.put("abc"), registry.put("abc", epoch=2)
    learn("abc")
    assert directory.refresh("abc", older) == route
    assert registry.reads == []
    assert directory.refresh("abc", route) == route
    assert registry.reads == ["abc"]


def test_a_route_that_is_read_anew_brings_others_that_were_used_lately(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number}" for number in range(250)]
    for name in names:
        registry.put(name)
        directory.route(name)
    registry.reads.clear()
    for name in names:
        registry.put(name, epoch=2)
    later(monkeypatch, 61)
    assert [directory.route(name).epoch for name in names] == [2] * 250
    assert registry.reads == ["t0", "t101", "t202"]
    assert [len(together) for together in registry.together] == [100, 100, 47]
    # Nothing is read more than once a minute.
    assert [directory.route(name).epoch for name in names] == [2] * 250
    assert len(registry.reads) == 3


def test_routes_that_nobody_uses_are_not_read_with_others(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "_LOOKED_AT", 10)
    idle = [registry.put(f"idle{number}") for number in range(20)]
    used = [registry.put(f"used{number}") for number in range(5)]
    for route in [*idle, *used]:
        directory.route(route.tenant)
    for minute in range(1, 13):
        later(monkeypatch, minute * 50.0)
        for route in used:
            directory.route(route.tenant)
    registry.together.clear()
    # Those that are idle are passed over, a few at a time, ...
    for minute in range(13, 25):
        later(monkeypatch, minute * 61.0)
        for route in used:
            directory.route(route.tenant)
    read = set().union(*registry.together)
    assert read
    assert read <= {route.tenant for route in used}
    # ... and still known.
    registry.down = True
    assert [directory.route(route.tenant) for route in idle] == idle


def test_others_that_are_gone_or_elsewhere_are_noticed(
    directory: Directory,
    registry: MemoryRegistry,
    released: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("abc", "gone", "moved", "same"):
        directory.route(registry.put(name).tenant)
    del registry.rows["gone"]
    registry.put("moved", shard="shard2", epoch=2)
    later(monkeypatch, 61)
    directory.route("abc")
    assert sorted(filter(None, released)) == ["gone", "moved"]
    assert directory.known("gone") is None
    assert directory.route("moved").shard == "shard2"
    assert registry.reads.count("moved") == 1


def test_others_stay_in_use_while_they_are_read_anew_or_cannot_be(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("abc", "xyz"):
        directory.route(registry.put(name).tenant)
    registry.reads.clear()
    later(monkeypatch, 61)

    def routes_of(tenants: Collection[str]) -> Iterable[Route]:
        assert [directory.route(tenant).epoch for tenant in tenants] == [1]
        raise RegistryUnavailable("down")

    monkeypatch.setattr(registry, "routes_of", routes_of)
    registry.put("abc", epoch=2)
    assert directory.route("abc").epoch == 2
    assert registry.reads == ["abc"]
    # What could not be had with others is asked for by itself.
    registry.put("xyz", epoch=2)
    assert directory.route("xyz").epoch == 2
    assert registry.reads == ["abc", "xyz"]


@pytest.mark.parametrize("error", [AttributeError("routes_of"), RegistryUnavailable("no")])
def test_that_others_cannot_be_read_fails_nobody_and_makes_no_route_good_for_longer(
    directory: Directory,
    registry: MemoryRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    for name in ("abc", "xyz"):
        directory.route(registry.put(name).tenant)

    def routes_of(tenants: Collection[str]) -> Iterable[Route]:
        raise error

    monkeypatch.setattr(registry, "routes_of", routes_of)
    registry.put("xyz", epoch=2)
    for seconds in range(61, 600, 61):
        later(monkeypatch, seconds)
        assert directory.route("abc").tenant == "abc"
    mistake = isinstance(error, AttributeError)
    assert ("cannot be read together: routes_of" in caplog.text) is mistake
    assert not directory.knows("xyz")
    assert directory.route("xyz").epoch == 2


def test_what_was_read_with_others_never_replaces_what_was_read_meanwhile(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("abc", "moved", "gone"):
        directory.route(registry.put(name).tenant)
    later(monkeypatch, 61)

    def routes_of(tenants: Collection[str]) -> Iterable[Route]:
        found = [registry.rows[tenant] for tenant in tenants]
        moved, gone = registry.rows["moved"], registry.rows.pop("gone")
        registry.put("moved", epoch=2)
        assert directory.refresh("moved", moved).epoch == 2
        with pytest.raises(TenantDoesNotExist):
            directory.refresh("gone", gone)
        return found

    monkeypatch.setattr(registry, "routes_of", routes_of)
    directory.route("abc")
    assert directory.known("gone") is None
    known = directory.known("moved")
    assert known is not None
    assert known.epoch == 2


def test_what_was_forgotten_while_others_were_read_is_read_anew(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("abc", "xyz"):
        directory.route(registry.put(name).tenant)
    later(monkeypatch, 61)

    def routes_of(tenants: Collection[str]) -> Iterable[Route]:
        found = [registry.rows[tenant] for tenant in tenants]
        registry.put("xyz", epoch=2)
        directory.forget("xyz")
        return found

    monkeypatch.setattr(registry, "routes_of", routes_of)
    directory.route("abc")
    assert directory.route("xyz").epoch == 2


@pytest.mark.parametrize("again", ["refreshed", "preloaded"])
@pytest.mark.parametrize(
    ("change", "is_said"),
    [({}, False), ({"epoch": 2}, False), ({"key": 6}, True), ({"shard": "shard2"}, True)],
)
def test_it_is_said_once_that_a_known_name_leads_elsewhere(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    released: list[str | None],
    *,
    again: str,
    change: dict[str, object],
    is_said: bool,
) -> None:
    registry.put("other", key=1)
    route = registry.put("abc", key=5)
    learn("abc")
    registry.rows["abc"] = replace(route, **change)  # type: ignore[arg-type]
    for _ in range(2):
        directory.preload() if again == "preloaded" else directory.refresh("abc", route)
    assert directory.known("abc") == registry.rows["abc"]
    assert released == (["abc"] if is_said else [])


def test_a_known_tenant_that_is_gone_is_said(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    released: list[str | None],
) -> None:
    route = registry.put("abc")
    learn("abc")
    del registry.rows["abc"]
    with pytest.raises(TenantDoesNotExist):
        directory.refresh("abc", route)
    assert directory.known("abc") is None
    assert released == ["abc"]


@pytest.mark.parametrize("forgotten", ["abc", None])
def test_what_was_known_is_read_anew_when_it_is_forgotten(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    released: list[str | None],
    forgotten: str | None,
) -> None:
    registry.put("abc")
    registry.put("other")
    learn("abc")
    learn("other")
    directory.forget(forgotten)
    assert released == [forgotten]
    assert not directory.knows("abc")
    assert directory.known("abc") is None
    assert (directory.known("other") is None) is (forgotten is None)
    registry.put("abc", epoch=2)
    assert directory.route("abc").epoch == 2


def test_a_name_is_never_both_preloaded_and_in_use(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.put("abc")
    directory.preload()
    assert "abc" not in directory._entries
    directory.route("abc")
    assert directory._preloaded.pop("abc") is None
    directory.preload()
    assert directory._preloaded.pop("abc") is None


def test_a_tenant_that_is_preloaded_while_it_is_read_is_stored_once(
    directory: Directory,
    registry: MemoryRegistry,
    released: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.put("abc", key=1)

    def route(tenant: str) -> Route:
        directory.preload()
        return registry.put(tenant, key=2)

    monkeypatch.setattr(registry, "route", route)
    assert directory.key("abc") == "2"
    assert released == ["abc"]
    assert directory._preloaded.pop("abc") is None


def test_a_preloaded_tenant_that_is_forgotten_while_it_is_looked_up_is_read_anew(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.put("abc")
    directory.preload()
    found: list[Route] = []
    thread = threading.Thread(target=lambda: found.append(directory.route("abc")))
    with directory._lock:
        thread.start()
        thread.join(0.2)
        directory.forget("abc")
        registry.put("abc", epoch=2)
    thread.join()
    assert [route.epoch for route in found] == [2]
    assert directory.route("abc").epoch == 2


def test_preloading_again_and_again_takes_no_more(
    directory: Directory, registry: MemoryRegistry
) -> None:
    registry.put("abc")
    for _ in range(10):
        directory.preload()
    assert len(directory._preloaded._common) <= 2


def test_a_name_that_was_unknown_is_known_once_it_is_preloaded(
    directory: Directory, registry: MemoryRegistry
) -> None:
    with pytest.raises(TenantDoesNotExist):
        directory.route("abc")
    route = registry.put("abc")
    assert directory.preload() == 1
    assert directory.route("abc") == route


def test_nothing_that_was_read_ahead_before_forgetting_is_kept(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "_PRELOADED_AT_A_TIME", 2)
    rows = [registry.put(f"t{number}") for number in range(6)]

    def routes() -> Iterator[Route]:
        yield from rows[:3]
        directory.forget("t0")
        yield from rows[3:]

    monkeypatch.setattr(registry, "routes", routes)
    directory.preload()
    assert [row.tenant for row in rows if directory.known(row.tenant)] == ["t1"]


def test_the_first_ten_thousand_are_there_before_the_rest_is_read(
    directory: Directory, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [registry.put(f"t{number}") for number in range(10_001)]

    def routes() -> Iterator[Route]:
        yield from rows[:10_000]
        assert all(directory.knows(row.tenant) for row in rows[:10_000])
        yield rows[10_000]

    monkeypatch.setattr(registry, "routes", routes)
    assert directory.preload() == 10_001


def test_what_logs_may_ask_for_the_tenant(
    directory: Directory,
    registry: MemoryRegistry,
    learn: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A log record says the tenant's shard, also where the directory itself writes it."""
    registry.put("abc")
    registry.put("other")
    learn("abc")
    learn("other")
    registry.down = True
    later(monkeypatch, 3600)
    directory.route("abc")
    registry.down = False
    later(monkeypatch, 7200)
    known: list[Route | None] = []

    def note(_: logging.LogRecord) -> bool:
        known.append(directory.known("other"))
        return True

    monkeypatch.setattr(caplog.handler, "filters", [note])
    with caplog.at_level(logging.INFO, "mtdd_router.directory"):
        thread = threading.Thread(target=directory.route, args=["abc"], daemon=True)
        thread.start()
        thread.join(10)
    assert not thread.is_alive()
    assert known == [registry.rows["other"]]


def test_threads_that_use_a_preloaded_tenant_get_one_entry(
    directory: Directory, registry: MemoryRegistry
) -> None:
    names = [registry.put(f"t{number}", key=number).tenant for number in range(2000)]
    directory.preload()
    found: list[list[Route]] = []
    threads = [
        threading.Thread(target=lambda: found.append([directory.route(name) for name in names]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.reads == []
    assert all(routes == list(registry.rows.values()) for routes in found)
    assert all(one is two for one, two in zip(found[0], found[-1], strict=True))


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
