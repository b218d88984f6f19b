"""The connections on which operations hold their locks."""

import os
import threading
import time

import pytest
from django.db import connection, connections

from tenants.services import kept_connections
from tenants.services.locks import tenant_lock

pytestmark = pytest.mark.django_db(transaction=True)


def with_locks() -> set[int]:
    """The backends that hold locks of operations."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        return {row[0] for row in cursor.fetchall()}


def pid_of(name: str) -> int:
    with tenant_lock(name):
        (pid,) = with_locks()
    assert not with_locks()
    return pid


def connected(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT true FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.fetchone() is not None


def until_all_are_closed() -> None:
    time.sleep(kept_connections.IDLE + 0.5)


def test_operations_one_after_another_hold_theirs_on_one():
    assert pid_of("abc") == pid_of("xyz") == pid_of("abc")


def test_an_operation_of_another_thread_may_have_it():
    found = []

    def elsewhere() -> None:
        found.append(pid_of("xyz"))
        connections.close_all()

    first = pid_of("abc")
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [first]


def test_it_is_closed_a_second_after_the_last_operation_without_being_told():
    before, kept = pid_of("abc"), pid_of("abc")
    assert connected(kept)
    until_all_are_closed()
    assert not connected(kept)
    # And so is the next one.
    after = pid_of("abc")
    assert after != before
    until_all_are_closed()
    assert not connected(after)


def test_a_lock_within_a_lock_has_a_connection_of_its_own():
    with tenant_lock("abc"), tenant_lock("xyz"):
        assert len(with_locks()) == 2
    assert not with_locks()


def test_a_kept_connection_that_postgresql_has_ended_is_replaced():
    ended = pid_of("abc")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 2000)", [ended])
    assert pid_of("abc") != ended


def test_a_database_can_be_dropped_at_once_after_an_operation(monkeypatch):
    other = connection.settings_dict["NAME"] + "_dropped"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(other)}")
        try:
            with monkeypatch.context() as patched:
                connection.close()
                patched.setitem(connection.settings_dict, "NAME", other)
                kept = pid_of("abc")
                connection.close()
            # It is not taken for a lock in a database that is called otherwise.
            assert pid_of("abc") != kept
        finally:
            cursor.execute(f"DROP DATABASE {connection.ops.quote_name(other)}")


def test_a_forked_process_opens_its_own_and_leaves_that_of_its_parent_alone():
    kept = pid_of("abc")
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            taken = kept_connections.take(connection.settings_dict)
            os.write(writer, b"none" if taken is None else b"taken")
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reader, 10) == b"none"
    assert pid_of("abc") == kept
