"""The hook between backend and routing, and the wrappers that a thread keeps."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from django.db import connections

from mtdd_router.backend import routes
from mtdd_router.conf import mtdd_settings
from mtdd_router.context import maintenance
from mtdd_router.directory import directory
from mtdd_router.errors import ConfigurationError


def in_a_new_thread(work: Any) -> None:
    """Run with no wrappers to begin with."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture
def _no_source() -> Iterator[None]:
    routes.set_route_source(None)
    yield
    from mtdd_router.context import maintenance_active

    routes.set_route_source(directory, maintenance=maintenance_active)


def test_the_app_registers_the_directory_and_maintenance() -> None:
    assert routes.route_source() is directory
    assert not routes.maintenance_allowed()
    with maintenance():
        assert routes.maintenance_allowed()


@pytest.mark.usefixtures("_no_source")
def test_without_the_app_it_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match="INSTALLED_APPS"):
        routes.route_source()


def test_open_tenants_are_those_of_the_thread() -> None:
    def work() -> None:
        routes.note_open("abc")
        assert routes.thread_aliases() == ["abc"]
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(routes.thread_aliases).result() == []
        routes.note_closed("abc")
        assert routes.thread_aliases() == []
        routes.note_closed("never-opened")

    in_a_new_thread(work)


def test_ten_thousand_tenants_leave_few_wrappers_and_little_memory() -> None:
    def work() -> None:
        for number in range(200):
            _ = connections[f"warm{number}"].ops
        gc.collect()
        before = resident_bytes()
        for number in range(10_000):
            _ = connections[f"t{number}"].ops
        assert resident_bytes() - before < 5_000_000
        assert len(routes._wrappers().known) <= mtdd_settings.kept_connections

    in_a_new_thread(work)


@pytest.mark.parametrize("kept", [1, 2, 100])
def test_a_setting_says_how_many_wrappers_a_thread_keeps(settings: Any, kept: int) -> None:
    settings.MTDD_KEPT_CONNECTIONS = kept

    def work() -> None:
        for number in range(150):
            connections[f"t{number}"].ensure_timezone()
            assert len(routes._wrappers().known) <= kept
        assert len(routes._wrappers().known) >= kept * 3 // 4

    in_a_new_thread(work)


def test_a_thread_that_has_more_than_a_setting_allows_now_puts_them_away(settings: Any) -> None:
    def work() -> None:
        for number in range(60):
            _ = connections[f"t{number}"]
        settings.MTDD_KEPT_CONNECTIONS = 10
        _ = connections["another"]
        assert len(routes._wrappers().known) <= 10

    in_a_new_thread(work)


def test_the_least_recently_opened_go_first() -> None:
    def work() -> None:
        first, second = id(connections["first"].ops), connections["second"].ops
        for number in range(40):
            _ = connections[f"t{number}"]
        routes.note_open("first")
        routes.note_closed("first")
        del second
        for number in range(40, 70):
            _ = connections[f"t{number}"]
        assert id(connections["first"].ops) == first
        assert "second" not in routes._wrappers().known

    in_a_new_thread(work)


@pytest.mark.parametrize(
    "busy",
    [
        lambda wrapper: setattr(wrapper, "in_atomic_block", True),
        lambda wrapper: wrapper.run_on_commit.append((set(), print, False)),
        lambda wrapper: wrapper.execute_wrappers.append(print),
        lambda wrapper: setattr(wrapper, "force_debug_cursor", True),
        lambda wrapper: wrapper.inc_thread_sharing(),
    ],
)
def test_a_wrapper_with_something_to_lose_stays(busy: Any) -> None:
    def work() -> None:
        busy(connections["abc"])
        kept = id(connections["abc"])
        for number in range(200):
            _ = connections[f"t{number}"]
        assert id(connections["abc"]) == kept

    in_a_new_thread(work)


def test_a_wrapper_that_somebody_holds_stays_the_aliass_own() -> None:
    def work() -> None:
        held = connections["abc"]
        for number in range(200):
            _ = connections[f"t{number}"]
        assert connections["abc"] is held
        del held
        for number in range(200):
            _ = connections[f"u{number}"]
        assert "abc" not in routes._wrappers().known

    in_a_new_thread(work)


def test_a_copy_of_a_wrapper_does_not_take_its_place() -> None:
    def work() -> None:
        connections["abc"].copy()
        for number in range(200):
            _ = connections[f"t{number}"]
        assert all(alias.startswith("t") for alias in routes._wrappers().known)

    in_a_new_thread(work)
