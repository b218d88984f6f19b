"""The connections on which operations hold their locks."""

import pytest
from django.db import connections

from tenants.services.locks import many_operations, tenant_lock

pytestmark = pytest.mark.django_db(transaction=True)


def with_locks() -> set[int]:
    """The backends that hold locks of operations."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        return {row[0] for row in cursor.fetchall()}


def pid_of(name: str) -> int:
    with tenant_lock(name):
        (pid,) = with_locks()
    assert not with_locks()
    return pid


def test_each_operation_takes_its_lock_on_a_connection_of_its_own():
    assert pid_of("abc") != pid_of("abc")


def test_many_operations_one_after_another_take_theirs_on_one():
    with many_operations():
        assert pid_of("abc") == pid_of("xyz") == pid_of("abc")


def test_the_connection_is_kept_until_the_outermost_block_ends():
    with many_operations():
        with many_operations():
            first = pid_of("abc")
        assert pid_of("abc") == first
    assert pid_of("abc") != first


def test_a_lock_within_a_lock_has_a_connection_of_its_own_all_the_same():
    with many_operations(), tenant_lock("abc"), tenant_lock("xyz"):
        assert len(with_locks()) == 2
    assert not with_locks()


def test_a_kept_connection_that_postgresql_has_ended_is_replaced():
    with many_operations():
        ended = pid_of("abc")
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 2000)", [ended])
        assert pid_of("abc") != ended
