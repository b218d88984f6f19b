"""What is a round trip to a shard, and what is not."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connections, transaction

from mtdd_router import tenant_context
from mtdd_router.client.round_trips import record_round_trips
from mtdd_router.testing import assert_num_rpcs


@pytest.mark.parametrize("statements", [1, 2, 7])
def test_a_statement_in_autocommit_is_one(statements: int, abc: str) -> None:
    with assert_num_rpcs(statements), tenant_context(abc):
        for _ in range(statements):
            Group.objects.filter(name="staff").exists()


def test_a_write_in_autocommit_is_one(abc: str) -> None:
    with assert_num_rpcs(1):
        Group.objects.mtdd(abc).filter(name="staff").update(name="people")


@pytest.mark.parametrize("statements", [1, 2, 7])
def test_a_transaction_of_n_statements_is_n_and_one(statements: int, abc: str) -> None:
    with assert_num_rpcs(statements + 1), tenant_context(abc), transaction.atomic(using=abc):
        for number in range(statements):
            Group.objects.create(name=f"staff {number}")


def test_a_transaction_in_which_nothing_runs_is_none(abc: str) -> None:
    with assert_num_rpcs(0), transaction.atomic(using=abc):
        pass


def test_changing_tenants_adds_none(abc: str, xyz: str) -> None:
    with assert_num_rpcs(20):
        for _ in range(10):
            Group.objects.mtdd(abc).count()
            Group.objects.mtdd(xyz).count()


def test_a_rollback_costs_what_a_commit_does(abc: str) -> None:
    with assert_num_rpcs(2), pytest.raises(ZeroDivisionError), transaction.atomic(using=abc):
        Group.objects.mtdd(abc).create(name="staff")
        raise ZeroDivisionError


def test_opening_a_session_is_not_counted(abc: str, xyz: str) -> None:
    first = transaction.atomic(using=abc)
    with first, assert_num_rpcs(1):
        Group.objects.mtdd(abc).count()
        # Its session is held by the transaction, so this one opens another.
    with transaction.atomic(using=abc):
        Group.objects.mtdd(abc).count()
        with assert_num_rpcs(1):
            Group.objects.mtdd(xyz).count()


@pytest.mark.usefixtures("both")
def test_queries_on_default_are_none() -> None:
    with assert_num_rpcs(0):
        Group.objects.using("default").count()


def test_only_those_of_one_tenant_are_counted_on_demand(abc: str, xyz: str) -> None:
    with assert_num_rpcs(2, tenant=xyz):
        Group.objects.mtdd(abc).count()
        Group.objects.mtdd(xyz).count()
        Group.objects.mtdd(xyz).count()


def test_blocks_nest_and_leave_nothing_behind(abc: str) -> None:
    with assert_num_rpcs(3):
        Group.objects.mtdd(abc).count()
        with assert_num_rpcs(1):
            Group.objects.mtdd(abc).count()
        Group.objects.mtdd(abc).count()
    with record_round_trips() as recorded:
        pass
    Group.objects.mtdd(abc).count()
    assert len(recorded) == 0


def test_a_failure_lists_what_was_sent_without_any_value(abc: str, xyz: str) -> None:
    with pytest.raises(AssertionError) as failure, assert_num_rpcs(1):
        list(Group.objects.mtdd(abc).filter(name="a secret", id=4711))
        with transaction.atomic(using=xyz):
            Group.objects.mtdd(xyz).create(name="another secret")
    assert str(failure.value) == (
        "1 round trip to shards expected, 3 made:\n"
        f'  1. {abc}: SELECT "auth_group"\n'
        f'  2. {xyz}: INSERT "auth_group"\n'
        f"  3. {xyz}: COMMIT"
    )


def test_an_exception_of_the_block_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), assert_num_rpcs(5):
        raise ZeroDivisionError


def test_what_the_blocks_tasks_and_their_threads_do_is_counted(abc: str, xyz: str) -> None:
    async def both() -> None:
        counts = (sync_to_async(Group.objects.mtdd(name).count)() for name in (abc, xyz))
        await asyncio.gather(*counts)

    with assert_num_rpcs(2):
        asyncio.run(both())


def test_what_other_threads_do_is_not_counted(abc: str) -> None:
    def work() -> None:
        Group.objects.mtdd(abc).count()
        connections.close_all()

    with assert_num_rpcs(0):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def test_a_copy_is_counted_by_its_messages(abc: str) -> None:
    with connections[abc].cursor() as cursor, assert_num_rpcs(2):
        with cursor.copy("COPY auth_group (name) FROM STDIN") as copy:
            copy.write_row(["staff"])
