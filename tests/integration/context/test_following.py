"""The tenant follows work that runs later, elsewhere, or in steps; every answer is a real row."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections, transaction
from django.db.models.signals import post_save
from django.test import TestCase

from mtdd_router import (
    TenantLocked,
    TenantRequired,
    TenantThread,
    TenantThreadPoolExecutor,
    current_tenant,
    in_current_tenant,
    tenant_context,
    tenant_lock,
)

pytestmark = pytest.mark.usefixtures("two_tenants")


def whose() -> str:
    """Ask the tenant's own table whose it is."""
    return User.objects.get(id=1).username.removeprefix("of-")


async def awhose() -> str:
    return (await User.objects.aget(id=1)).username.removeprefix("of-")


class Seen(list[str | None]):
    """What callbacks found."""

    def note(self, *_: Any, **__: Any) -> None:
        self.append(whose())


class TestOnCommit:
    def test_a_callback_runs_in_the_tenant_whose_transaction_it_is(self) -> None:
        seen = Seen()
        with tenant_context("xyz"), transaction.atomic(using="abc"):
            transaction.on_commit(seen.note, using="abc")
            transaction.on_commit(seen.note, using="abc", robust=True)
        assert seen == ["abc", "abc"]
        # Without a transaction it runs at once, and not in the context's tenant either.
        with tenant_context("xyz"):
            transaction.on_commit(seen.note, using="abc")
        transaction.on_commit(seen.note, using="xyz")
        assert seen == ["abc", "abc", "abc", "xyz"]
        assert current_tenant() is None

        # The context in which the transaction was begun has been left when it ends.
        seen.clear()
        with tenant_context("abc"):
            block = transaction.atomic(using="abc")
            block.__enter__()
            transaction.on_commit(seen.note, using=current_tenant())
        with tenant_context("xyz"):
            block.__exit__(None, None, None)
            assert current_tenant() == "xyz"
        assert seen == ["abc"]

    def test_a_rollback_calls_nobody_and_a_failing_callback_leaves_nothing_behind(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen = Seen()
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="abc"):
            transaction.on_commit(seen.note, using="abc")
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="abc"):
            transaction.on_commit(lambda: 1 / 0, using="abc")
        assert current_tenant() is None

        def fails() -> None:
            raise ZeroDivisionError

        with transaction.atomic(using="abc"):
            transaction.on_commit(fails, using="abc", robust=True)
            transaction.on_commit(seen.note, using="abc")
        assert "fails in on_commit()" in caplog.text
        assert seen == ["abc"]
        with pytest.raises(TypeError, match="callable"):
            transaction.on_commit("nothing", using="abc")  # type: ignore[arg-type]

    def test_a_callback_of_the_projects_database_can_be_carried(self) -> None:
        seen = Seen()
        with transaction.atomic():
            with tenant_context("abc"):
                transaction.on_commit(in_current_tenant(seen.note))
            with tenant_context("xyz"):
                transaction.on_commit(in_current_tenant(seen.note))
        assert seen == ["abc", "xyz"]

    def test_a_callback_of_locked_work_is_locked(self) -> None:
        def stray() -> None:
            User.objects.mtdd("xyz").count()

        with pytest.raises(TenantLocked), transaction.atomic(using="abc"):
            with tenant_lock("abc"):
                transaction.on_commit(stray, using="abc")

        # Django's tests call them otherwise.
        with transaction.atomic(using="abc"):
            with TestCase.captureOnCommitCallbacks(using="abc", execute=True) as callbacks:
                seen = Seen()
                transaction.on_commit(seen.note, using="abc")
        assert len(callbacks) == 1
        assert seen[0] == "abc"


class TestThreads:
    def test_threads_with_ours_know_the_tenant_and_with_pythons_own_are_refused(self) -> None:
        with tenant_context("abc"):
            seen = Seen()
            threads: list[threading.Thread] = [TenantThread(target=seen.note) for _ in range(3)]
            threads.append(threading.Timer(0, in_current_tenant(seen.note)))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert seen == ["abc"] * 4
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(Group.objects.using("default").model.objects.count)
                carried = pool.submit(in_current_tenant(whose))
                refused = pool.submit(_of_a_tenant_only)
                pool.submit(connections.close_all)
            # A model that is only in tenants is refused; one that is in both is the project's.
            assert isinstance(refused.exception(), TenantRequired)
            assert asked.result() == 0
            assert carried.result() == "abc"

    def test_a_pool_serves_whoever_submits(self) -> None:
        with TenantThreadPoolExecutor(3) as pool:
            expected, futures = [], []
            for number in range(30):
                name = ("abc", "xyz")[number % 2]
                with tenant_context(name):
                    futures.append(pool.submit(whose))
                    expected.append(name)
            assert [future.result() for future in futures] == expected
            for _ in range(10):
                pool.submit(connections.close_all)

        async def main() -> str:
            with TenantThreadPoolExecutor(1) as pool, tenant_context("xyz"):
                return await asyncio.get_running_loop().run_in_executor(pool, whose)

        assert asyncio.run(main()) == "xyz"


def _of_a_tenant_only() -> int:
    from demo.flights.models import Plane

    return Plane.objects.count()


class TestAsync:
    def test_tasks_gathered_and_grouped_each_stay_in_their_own(self) -> None:
        async def request(number: int) -> tuple[str, str | None, str]:
            name = ("abc", "xyz")[number % 2]
            async with ThreadSensitiveContext():
                with tenant_context(name):
                    before = await awhose()
                    await asyncio.sleep(0)
                    async with asyncio.TaskGroup() as group:
                        child = group.create_task(awhose())
                    after = await sync_to_async(whose, thread_sensitive=False)()
                    assert {before, after} == {name}
                    await sync_to_async(connections.close_all)()
                    return name, current_tenant(), child.result()

        async def main() -> list[tuple[str, str | None, str]]:
            return await asyncio.gather(*(request(number) for number in range(40)))

        for name, context, child in asyncio.run(main()):
            assert name == context == child
        assert current_tenant() is None

    def test_sync_and_async_code_call_each_other_in_the_same_tenant(self) -> None:
        async def inner() -> list[str]:
            return [await awhose(), await sync_to_async(whose)()]

        def middle() -> list[str]:
            return [whose(), *async_to_sync(inner)()]

        async def outer() -> list[str]:
            found = await sync_to_async(middle)()
            return [*found, await asyncio.create_task(awhose())]

        with tenant_context("abc"):
            assert async_to_sync(outer)() == ["abc"] * 4

    def test_a_cancelled_task_leaves_its_tenant_to_nobody(self) -> None:
        async def work() -> None:
            with tenant_context("abc"):
                await awhose()
                await asyncio.sleep(60)

        async def main() -> str:
            task = asyncio.create_task(work())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert current_tenant() is None
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await work()
            assert current_tenant() is None
            with tenant_context("xyz"):
                return await awhose()

        assert asyncio.run(main()) == "xyz"

    def test_a_generator_left_half_way_leaves_its_tenant_to_nobody(self) -> None:
        closed = asyncio.Event()

        async def rows() -> AsyncIterator[str]:
            try:
                with tenant_context("abc"):
                    yield await awhose()
                    yield "never asked for"
            finally:
                closed.set()

        async def main() -> None:
            with tenant_context("xyz"):
                async for row in rows():
                    assert row == "abc"
                    break
            assert current_tenant() is None
            # The event loop closes it, in some other context.
            await closed.wait()
            assert current_tenant() is None

        asyncio.run(main())


class TestSignalsAndCommands:
    def test_receivers_of_signals_run_where_the_signal_was_sent(self) -> None:
        seen: Counter[str] = Counter()

        def on_save(sender: Any, instance: Any, using: str, **_: Any) -> None:
            with tenant_context(using):
                seen[f"{using} {whose()} {instance._state.db}"] += 1

        def in_context(**_: Any) -> None:
            seen[f"context {whose()}"] += 1

        post_save.connect(on_save, sender=Group)
        post_save.connect(in_context, sender=Group)
        try:
            with tenant_context("abc"):
                Group.objects.create(name="one")
                with tenant_context("xyz"):
                    Group.objects.mtdd("abc").create(name="two")
        finally:
            post_save.disconnect(on_save, sender=Group)
            post_save.disconnect(in_context, sender=Group)
        # What is saved elsewhere than in the context says so by `using`.
        assert seen == {"abc abc abc": 2, "context abc": 1, "context xyz": 1}

    def test_a_command_runs_in_the_tenant_of_its_caller_or_of_tenant_command(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = Seen()

        class Command(BaseCommand):
            def handle(self, *args: Any, **options: Any) -> None:
                seen.note()

        with tenant_context("abc"):
            call_command(Command())
        from django.core import management

        monkeypatch.setattr(
            "tenants.services.execution.get_commands",
            lambda: {**management.get_commands(), "whose": Command()},
        )
        call_command("tenant_command", "xyz", "whose")
        assert seen == ["abc", "xyz"]
        assert current_tenant() is None
