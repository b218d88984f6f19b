"""The tenant of the running work."""

import asyncio
import contextvars
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from mtdd_router import InvalidTenantName, current_tenant, maintenance, tenant_context
from mtdd_router.context import TenantScope, maintenance_active


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
