"""A block that leaves a tenant behind, or works in another one, is told so."""

import asyncio
import threading
from contextlib import ExitStack

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connections, transaction

from mtdd_router import current_tenant, tenant_context
from mtdd_router.testing import TenantLeak, assert_no_tenant_leak


def test_work_in_one_tenant_that_ends_is_no_leak(abc: str) -> None:
    with assert_no_tenant_leak(), tenant_context(abc), transaction.atomic(using=abc):
        Group.objects.create(name="staff")
        assert [group.name for group in Group.objects.all()] == ["staff"]


def test_a_tenant_that_stays_in_the_context_leaks(abc: str) -> None:
    left = ExitStack()
    with pytest.raises(TenantLeak, match=f"left in tenant '{abc}', and was in no tenant"):
        with assert_no_tenant_leak():
            left.enter_context(tenant_context(abc))
    left.close()
    assert current_tenant() is None


def test_a_transaction_that_stays_open_leaks(abc: str) -> None:
    left = ExitStack()
    with pytest.raises(TenantLeak, match=f"a transaction of tenant '{abc}' is left open"):
        with assert_no_tenant_leak():
            left.enter_context(transaction.atomic(using=abc))
    left.close()


def test_a_session_that_stays_pinned_leaks(abc: str) -> None:
    with pytest.raises(TenantLeak, match=f"a session of tenant '{abc}' is left open"):
        with assert_no_tenant_leak(), connections[abc].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(1)")


def test_what_was_open_before_is_no_leak(abc: str) -> None:
    with transaction.atomic(using=abc):
        Group.objects.mtdd(abc).create(name="staff")
        with assert_no_tenant_leak(abc):
            Group.objects.mtdd(abc).get()


def test_a_statement_to_another_tenant_leaks(abc: str, xyz: str) -> None:
    with pytest.raises(TenantLeak, match=f"was sent to tenant '{xyz}', not to tenant '{abc}'"):
        with assert_no_tenant_leak(abc):
            Group.objects.mtdd(xyz).values_list("name").first()


def test_the_contexts_tenant_is_the_one_expected(abc: str, xyz: str) -> None:
    with tenant_context(abc), pytest.raises(TenantLeak, match=f"sent to tenant '{xyz}'"):
        with assert_no_tenant_leak():
            Group.objects.mtdd(xyz).count()


def test_without_any_expected_there_may_be_one_but_not_two(abc: str, xyz: str) -> None:
    with pytest.raises(TenantLeak, match=f"work in tenant '{abc}', tenant '{xyz}'"):
        with assert_no_tenant_leak():
            Group.objects.mtdd(abc).count()
            Group.objects.mtdd(xyz).count()


def test_a_row_of_the_project_among_those_of_a_tenant_leaks(abc: str) -> None:
    Group.objects.using("default").create(name="of the project")
    with pytest.raises(TenantLeak, match=r"auth.Group is of database 'default', not of tenant"):
        with assert_no_tenant_leak(abc):
            Group.objects.mtdd(abc).create(name="of abc")
            Group.objects.using("default").get()


def test_a_foreign_row_that_was_read_before_and_is_saved_leaks(abc: str, xyz: str) -> None:
    group = Group.objects.mtdd(xyz).create(name="of xyz")
    with pytest.raises(TenantLeak, match=f"sent to tenant '{xyz}'"):
        with tenant_context(abc), assert_no_tenant_leak():
            group.save()


def test_an_exception_of_the_block_is_not_hidden(abc: str, xyz: str) -> None:
    with pytest.raises(ZeroDivisionError), assert_no_tenant_leak(abc):
        Group.objects.mtdd(xyz).count()
        raise ZeroDivisionError


def test_what_other_threads_do_is_none_of_the_blocks(abc: str, xyz: str) -> None:
    def work() -> None:
        Group.objects.mtdd(xyz).create(name="of xyz")
        connections.close_all()

    with assert_no_tenant_leak(abc):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert not Group.objects.mtdd(abc).exists()


def test_what_the_blocks_own_threads_do_is(abc: str, xyz: str) -> None:
    async def work() -> None:
        await sync_to_async(Group.objects.mtdd(xyz).create)(name="of xyz")

    with pytest.raises(TenantLeak, match=f"sent to tenant '{xyz}'"), assert_no_tenant_leak(abc):
        asyncio.run(work())


def test_blocks_nest(abc: str, xyz: str) -> None:
    Group.objects.mtdd(xyz).create(name="of xyz")
    with pytest.raises(TenantLeak, match=f"auth.Group is of tenant '{xyz}'"):
        with assert_no_tenant_leak(abc):
            with assert_no_tenant_leak(xyz):
                Group.objects.mtdd(xyz).get()
            assert not Group.objects.mtdd(abc).exists()
