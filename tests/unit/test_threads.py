"""Threads that know the tenant of whoever started them."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from mtdd_router import (
    TenantThread,
    TenantThreadPoolExecutor,
    current_tenant,
    tenant_context,
    tenant_lock,
)
from mtdd_router.context import locked_tenant


def in_a_thread(make: Any = TenantThread) -> str | None:
    seen: list[str | None] = []
    thread = make(target=lambda: seen.append(current_tenant()))
    with tenant_context("abc"):
        thread.start()
    thread.join()
    return seen[0]


def test_a_thread_runs_in_the_tenant_in_which_it_was_started() -> None:
    assert in_a_thread(threading.Thread) is None
    assert in_a_thread() == "abc"


def test_a_thread_of_a_subclass_does_so_too() -> None:
    class Own(TenantThread):
        def run(self) -> None:
            self.seen = current_tenant(), locked_tenant()

    thread = Own()
    with tenant_lock("abc"):
        thread.start()
    thread.join()
    assert thread.seen == ("abc", "abc")


def test_a_thread_takes_the_arguments_of_pythons_own() -> None:
    seen = []
    thread = TenantThread(None, lambda *a, **k: seen.append((a, k)), "name", (1,), {"b": 2})
    thread.start()
    thread.join()
    assert (seen, thread.name) == ([((1,), {"b": 2})], "name")


@pytest.fixture
def pool() -> Iterator[TenantThreadPoolExecutor]:
    with TenantThreadPoolExecutor(1) as pool:
        yield pool


def test_each_piece_of_work_has_the_tenant_in_which_it_was_submitted(
    pool: TenantThreadPoolExecutor,
) -> None:
    futures = []
    for name in ("abc", "xyz"):
        with tenant_context(name):
            futures.append(pool.submit(current_tenant))
            futures.append(pool.submit(current_tenant))
    with tenant_context("abc"):
        mapped = pool.map(lambda _: current_tenant(), range(2))
    futures.append(pool.submit(current_tenant))
    assert [future.result() for future in futures] == ["abc", "abc", "xyz", "xyz", None]
    assert list(mapped) == ["abc", "abc"]


def test_a_failure_leaves_no_tenant_in_the_thread(pool: TenantThreadPoolExecutor) -> None:
    with tenant_lock("abc"):
        failed = pool.submit(lambda: 1 / 0)
    assert isinstance(failed.exception(), ZeroDivisionError)
    assert pool.submit(lambda: (current_tenant(), locked_tenant())).result() == (None, None)


def test_a_submission_passes_arguments_on(pool: TenantThreadPoolExecutor) -> None:
    assert pool.submit(divmod, 7, 2).result() == (3, 1)
    assert pool.submit(lambda fn, scope: (fn, scope), fn=1, scope=2).result() == (1, 2)


def test_a_thread_closes_the_connections_that_it_opened(monkeypatch: Any) -> None:
    closed = []
    monkeypatch.setattr(
        type(connections), "close_all", lambda _: closed.append(threading.current_thread())
    )
    thread = TenantThread(target=lambda: None)
    thread.start()
    thread.join()
    assert closed == [thread]
