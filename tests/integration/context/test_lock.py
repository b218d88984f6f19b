"""Work that is locked to a tenant reaches no other, however it names it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

from mtdd_router import (
    TenantLocked,
    TenantThreadPoolExecutor,
    current_tenant,
    lift_tenant_lock,
    tenant_context,
    tenant_lock,
)

pytestmark = pytest.mark.usefixtures("two_tenants")


def cursor_of(name: str) -> Any:
    cursor = connections[name].cursor()
    cursor.execute("SELECT 1")
    return cursor


def copy(name: str) -> None:
    with connections[name].cursor() as cursor, cursor.copy("COPY auth_user TO STDOUT") as lines:
        assert len(list(lines)) > 0


def by_server_side_cursor(name: str) -> None:
    with transaction.atomic(using=name):
        list(User.objects.using(name).iterator(chunk_size=1))


def in_a_transaction(name: str) -> None:
    with transaction.atomic(using=name):
        cursor_of(name)


def lend(name: str) -> None:
    with connections[name].connection.lent():
        pass


WAYS: dict[str, Callable[[str], Any]] = {
    "mtdd": lambda name: User.objects.mtdd(name).get(id=1),
    "mtdd at the end": lambda name: User.objects.filter(id=1).mtdd(name).get(),
    "using": lambda name: User.objects.using(name).count(),
    "db_manager": lambda name: User.objects.db_manager(name).create_user("made"),
    "save": lambda name: User(username="saved").save(using=name),
    "iterator": by_server_side_cursor,
    "context": lambda name: tenant_context(name).__enter__(),
    "cursor": cursor_of,
    "copy": copy,
    "atomic": in_a_transaction,
    "psycopg": lambda name: connections[name].connection.execute("SELECT 1"),
    "lent": lend,
    "tables": lambda name: connections[name].introspection.table_names(),
}


def attempt(way: str) -> None:
    connection = connections["xyz"]
    try:
        for opened in (False, True):
            if opened or way in {"psycopg", "lent"}:
                connection.ensure_connection()
            with tenant_lock("abc"), pytest.raises(TenantLocked, match=r"'abc'.*'xyz'"):
                WAYS[way]("xyz")
            connection.close()
        # The same once more without the lock: the way does lead there.
        connection.ensure_connection()
        WAYS[way]("xyz")
    finally:
        connections.close_all()


def test_no_way_to_name_another_tenant_leads_there() -> None:
    for way in WAYS:
        # In a thread of its own, whose context and connections end with it.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(attempt, way).result()
    made = User.objects.using("xyz").exclude(id=1).values_list("username", flat=True)
    assert sorted(made) == ["made", "saved"]


def test_ones_own_tenant_and_the_projects_database_are_there_as_ever() -> None:
    with tenant_lock("abc"):
        assert User.objects.get(id=1).username == "of-abc"
        assert User.objects.mtdd("abc").get(id=1).username == "of-abc"
        assert cursor_of("abc").fetchone() == (1,)
        assert User.objects.using("default").count() == 0


def test_a_cursor_that_was_open_before_is_closed_to_locked_work() -> None:
    other = connections["xyz"]
    with other.cursor() as cursor:
        cursor.execute("SELECT 1")
        with tenant_lock("abc"):
            with pytest.raises(TenantLocked):
                cursor.execute("SELECT 1")
            with pytest.raises(TenantLocked):
                cursor.executemany("SELECT %s", [(1,), (2,)])
        cursor.execute("SELECT username FROM auth_user")
        assert cursor.fetchall() == [("of-xyz",)]


def test_a_transaction_that_was_open_before_is_closed_to_locked_work_and_can_be_undone() -> None:
    with pytest.raises(TenantLocked), transaction.atomic(using="xyz"):
        User.objects.using("xyz").create(id=2, username="undone")
        with tenant_lock("abc"):
            User.objects.using("xyz").create(id=3, username="never-sent")
    assert not User.objects.using("xyz").filter(id__gt=1).exists()

    connection = connections["xyz"]
    connection.set_autocommit(False)
    User.objects.using("xyz").create(id=2, username="undone")
    with tenant_lock("abc"):
        with pytest.raises(TenantLocked):
            connection.commit()
        connection.rollback()
    connection.set_autocommit(True)
    assert not User.objects.using("xyz").filter(id__gt=1).exists()

    # What is refused was not sent, so it undoes nothing by itself.
    with transaction.atomic(using="xyz"):
        User.objects.using("xyz").create(id=2, username="kept")
        with tenant_lock("abc"), pytest.raises(TenantLocked):
            cursor_of("xyz")
        User.objects.using("xyz").create(id=3, username="kept-too")
    assert User.objects.using("xyz").count() == 3


def test_rows_of_another_tenant_that_are_there_already_cannot_be_saved_or_followed() -> None:
    stranger = User.objects.mtdd("xyz").get(id=1)
    lazy = User.objects.mtdd("xyz").all()
    with tenant_lock("abc"):
        for attempt in (stranger.save, stranger.delete, stranger.refresh_from_db):
            with pytest.raises(TenantLocked):
                attempt()
        with pytest.raises(TenantLocked):
            list(stranger.groups.all())
        with pytest.raises(TenantLocked):
            list(lazy)
    assert len(lazy) == 1


def test_the_lock_goes_along_into_threads_and_can_be_lifted() -> None:
    with TenantThreadPoolExecutor(1) as pool:
        with tenant_lock("abc"):
            refused = pool.submit(User.objects.mtdd("xyz").count)
        with tenant_context("xyz"):
            count = pool.submit(User.objects.count)
        pool.submit(connections.close_all)
    assert isinstance(refused.exception(), TenantLocked)
    assert count.result() == 1

    # The way out, and back.
    with tenant_lock("abc"):
        with lift_tenant_lock("the test is about it"), tenant_context("xyz"):
            assert User.objects.get(id=1).username == "of-xyz"
        assert current_tenant() == "abc"
        with pytest.raises(TenantLocked):
            User.objects.mtdd("xyz").count()
