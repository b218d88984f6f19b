"""The connections on which operations hold their locks."""

import os
import time
import weakref

import pytest
from django.db import connections

from tenants.services import locks
from tenants.services.locks import tenant_lock

pytestmark = pytest.mark.django_db(transaction=True)


def with_locks() -> set[int]:
    """The backends that hold locks of operations."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        return {row[0] for row in cursor.fetchall()}


def is_there(pid: int) -> bool:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        return bool(cursor.fetchone()[0])


def test_operations_one_after_another_take_their_locks_on_one_connection():
    seen = []
    for name in ("abc", "xyz", "abc"):
        with tenant_lock(name):
            seen.append(with_locks())
        assert not with_locks()
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 1


def test_a_lock_within_a_lock_has_a_connection_of_its_own():
    with tenant_lock("abc"), tenant_lock("xyz"):
        assert len(with_locks()) == 2
    assert not with_locks()


def test_it_is_closed_with_the_threads_own_connection():
    with tenant_lock("abc"):
        (pid,) = with_locks()
    assert is_there(pid)
    connections["default"].close()
    deadline = time.monotonic() + 20
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_there(pid)
    with tenant_lock("abc"):
        assert with_locks() != {pid}


def test_one_that_postgresql_has_ended_is_replaced():
    with tenant_lock("abc"):
        (pid,) = with_locks()
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
    with tenant_lock("abc"):
        (other,) = with_locks()
    assert other != pid


def test_it_is_closed_only_by_the_process_that_opened_it():
    with connections["default"].cursor():
        connection = connections["default"].connection
    locks._close(weakref.ref(connection), os.getpid() + 1)
    assert not connection.closed
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")


def test_many_operations_leave_no_more_behind_than_one():
    with tenant_lock("abc"):
        pass
    before = locks._kept._tied
    for _ in range(5):
        with tenant_lock("abc"):
            pass
    assert locks._kept._tied is before
