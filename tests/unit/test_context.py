"""The tenant of the running work."""

import asyncio
import contextvars
import functools
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

from mtdd_router import (
    CrossTenantError,
    InvalidTenantName,
    TenantLocked,
    TenantRequired,
    current_tenant,
    in_current_tenant,
    lift_tenant_lock,
    maintenance,
    tenant_context,
    tenant_lock,
)
from mtdd_router.context import ResumedScope, TenantScope, locked_tenant, maintenance_active


def test_there_is_no_tenant_to_begin_with() -> None:
    assert current_tenant() is None


def test_blocks_nest_and_each_puts_back_what_was_there() -> None:
    with tenant_context("abc") as name:
        assert name == current_tenant() == "abc"
        with tenant_context("xyz"):
            assert current_tenant() == "xyz"
        assert current_tenant() == "abc"
    assert current_tenant() is None


def test_an_exception_leaves_no_tenant_behind() -> None:
    with pytest.raises(ZeroDivisionError), tenant_context("abc"):
        _ = 1 / 0
    assert current_tenant() is None


@pytest.mark.parametrize("name", ["", "A", "a b", "default", "x" * 64, None])
def test_what_cannot_name_a_tenant_is_refused_at_once(name: str) -> None:
    with pytest.raises(InvalidTenantName):
        tenant_context(name)


def test_it_decorates_functions_and_each_call_is_its_own_block() -> None:
    @tenant_context("abc")
    def depth(n: int) -> list[str | None]:
        return [current_tenant(), *(depth(n - 1) if n else [])]

    assert depth(2) == ["abc"] * 3
    assert depth.__name__ == "depth"
    assert current_tenant() is None


def test_it_decorates_coroutine_functions() -> None:
    @tenant_context("abc")
    async def job() -> str | None:
        await asyncio.sleep(0)
        return current_tenant()

    async def both() -> tuple[str | None, str | None]:
        return await job(), current_tenant()

    assert asyncio.run(both()) == ("abc", None)


def test_it_refuses_generators_whose_tenant_would_leak() -> None:
    def numbers():  # type: ignore[no-untyped-def]
        yield 1

    with pytest.raises(TypeError, match="generator"):
        tenant_context("abc")(numbers)


def test_one_block_cannot_be_entered_twice_at_once() -> None:
    block = tenant_context("abc")
    with block, pytest.raises(RuntimeError, match="make a new one"):
        block.__enter__()
    assert current_tenant() is None
    with block:
        assert current_tenant() == "abc"


def test_tasks_do_not_see_each_others_tenant() -> None:
    async def work(name: str) -> str | None:
        with tenant_context(name):
            await asyncio.sleep(0.001)
            return current_tenant()

    async def main() -> list[str | None]:
        return await asyncio.gather(*(work(f"t{i}") for i in range(50)))

    assert asyncio.run(main()) == [f"t{i}" for i in range(50)]


def test_it_follows_into_threads_of_asgiref_and_back() -> None:
    async def main() -> str | None:
        with tenant_context("abc"):
            return await sync_to_async(current_tenant)()

    assert asyncio.run(main()) == "abc"

    async def inner() -> str | None:
        return current_tenant()

    with tenant_context("abc"):
        assert async_to_sync(inner)() == "abc"


def test_a_new_thread_has_no_tenant() -> None:
    seen: list[str | None] = []
    with tenant_context("abc"):
        thread = threading.Thread(
            target=contextvars.Context().run, args=(lambda: seen.append(current_tenant()),)
        )
        thread.start()
        thread.join()
    assert seen == [None]


def test_a_scope_without_a_tenant_hides_the_outer_one() -> None:
    with tenant_context("abc"):
        with TenantScope(None):
            assert current_tenant() is None
        assert current_tenant() == "abc"


def test_maintenance_is_a_block() -> None:
    assert not maintenance_active()
    with maintenance():
        assert maintenance_active()
    with pytest.raises(ZeroDivisionError), maintenance():
        _ = 1 / 0
    assert not maintenance_active()


def test_a_generator_that_is_closed_elsewhere_leaves_nothing_there() -> None:
    def numbers() -> Iterator[int]:
        with tenant_context("abc"):
            yield 1

    entered = contextvars.Context()
    half_way = numbers()
    assert entered.run(next, half_way) == 1
    with tenant_context("xyz"):
        half_way.close()
        assert current_tenant() == "xyz"


def test_what_goes_on_in_steps_finds_what_it_set_and_shows_it_to_nobody() -> None:
    seen = []

    def steps() -> Iterator[None]:
        seen.append(current_tenant())
        with tenant_context("xyz"):
            yield
            seen.append(current_tenant())
        yield
        seen.append(current_tenant())

    with tenant_context("abc"):
        scope = ResumedScope()
    work = steps()
    for _ in range(2):
        with scope.step():
            next(work)
        assert current_tenant() is None
    with scope.step():
        assert not list(work)
    assert seen == ["abc", "xyz", "abc"]


def test_a_carried_function_runs_where_it_was_carried_from() -> None:
    with tenant_context("abc"):
        carried = in_current_tenant(current_tenant)
    nobodys = in_current_tenant(current_tenant)
    with tenant_context("xyz"):
        assert carried() == "abc"
        assert nobodys() is None
        assert current_tenant() == "xyz"
    assert carried() == "abc"
    assert pickle.loads(pickle.dumps(carried))() == "abc"  # noqa: S301


def test_a_carried_function_can_be_called_by_many_threads_at_once() -> None:
    everybody = threading.Barrier(8, timeout=30)

    def work() -> str | None:
        everybody.wait()
        return current_tenant()

    with tenant_context("abc"):
        carried = in_current_tenant(work)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: carried(), range(8))) == ["abc"] * 8


def test_a_coroutine_function_is_carried_as_one() -> None:
    async def work(value: int) -> tuple[int, str | None]:
        await asyncio.sleep(0)
        return value, current_tenant()

    with tenant_context("abc"):
        carried = in_current_tenant(work)
    assert iscoroutinefunction(carried)
    assert asyncio.run(carried(3)) == (3, "abc")


def test_a_carried_function_has_the_name_of_what_it_runs() -> None:
    carried = in_current_tenant(current_tenant)
    assert carried.__name__ == "current_tenant"
    assert in_current_tenant(functools.partial(print)).__qualname__ == "partial"


class TestLock:
    def test_nobody_is_locked_to_begin_with(self) -> None:
        with tenant_context("abc"):
            assert locked_tenant() is None

    def test_a_locked_block_cannot_enter_another_tenant(self) -> None:
        with tenant_lock("abc") as name:
            assert name == current_tenant() == locked_tenant() == "abc"
            with pytest.raises(TenantLocked, match=r"'abc'.*'xyz'.*lift_tenant_lock"):
                tenant_context("xyz").__enter__()
            with pytest.raises(TenantLocked), tenant_lock("xyz"):
                pass
            with tenant_context("abc"), pytest.raises(TenantLocked), tenant_context("xyz"):
                pass
            assert current_tenant() == "abc"
        assert locked_tenant() is None
        with tenant_context("xyz"):
            assert current_tenant() == "xyz"

    def test_it_is_a_crossing_of_tenants(self) -> None:
        assert issubclass(TenantLocked, CrossTenantError)

    def test_a_block_locks_to_the_tenant_that_it_is_in(self) -> None:
        with tenant_context("abc"), tenant_lock():
            assert locked_tenant() == "abc"
        with pytest.raises(TenantRequired, match="name it"), tenant_lock():
            pass

    def test_a_decorated_function_is_refused_where_it_is_called(self) -> None:
        @tenant_context("xyz")
        def elsewhere() -> None: ...

        with tenant_lock("abc"), pytest.raises(TenantLocked):
            elsewhere()
        elsewhere()

    def test_a_carried_function_of_another_tenant_is_refused(self) -> None:
        with tenant_context("xyz"):
            carried = in_current_tenant(current_tenant)
        nobodys = in_current_tenant(current_tenant)
        with tenant_lock("abc"):
            for function in (carried, nobodys):
                with pytest.raises(TenantLocked):
                    function()

    def test_the_lock_goes_along_with_what_is_carried(self) -> None:
        with tenant_lock("abc"):
            carried = in_current_tenant(locked_tenant)
        assert carried() == "abc"
        assert pickle.loads(pickle.dumps(carried))() == "abc"  # noqa: S301

    def test_it_follows_into_tasks_and_threads_of_asgiref(self) -> None:
        async def main() -> list[str | None]:
            with tenant_lock("abc"):
                one = asyncio.create_task(asyncio.to_thread(locked_tenant))
                return [await one, await sync_to_async(locked_tenant)()]

        assert asyncio.run(main()) == ["abc", "abc"]

    def test_it_is_lifted_for_a_reason_which_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with tenant_lock("abc"):
            with caplog.at_level("INFO", "mtdd_router"), lift_tenant_lock("support asked for it"):
                assert current_tenant() == "abc"
                with tenant_context("xyz"):
                    assert current_tenant() == "xyz"
            assert locked_tenant() == "abc"
        assert "'abc' is lifted: support asked for it" in caplog.text

    @pytest.mark.parametrize("reason", ["", " ", None, 3])
    def test_it_is_not_lifted_without_a_reason(self, reason: Any) -> None:
        with pytest.raises(TypeError, match="reason"):
            lift_tenant_lock(reason)

    def test_lifting_no_lock_says_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO", "mtdd_router"), lift_tenant_lock("none here"):
            pass
        assert not caplog.text

    def test_an_exception_leaves_no_lock_behind(self) -> None:
        for block in (tenant_lock("abc"), lift_tenant_lock("to fail")):
            with pytest.raises(ZeroDivisionError), block:
                _ = 1 / 0
        assert locked_tenant() is None
