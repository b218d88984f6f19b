"""A transaction that ends with its last write, because the caller says so; decision 0110."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, ProgrammingError, connections, transaction
from django.db.models.signals import pre_save

from mtdd_router import TenantRequired, TransactionEnded, dbapi, last_write, tenant_context
from mtdd_router.testing import assert_num_rpcs

NOBODY = 10_000_000
LINK = "INSERT INTO auth_group_permissions (group_id, permission_id) VALUES (%s, %s)"


@pytest.fixture
def group(abc: str) -> Group:
    """A row of a tenant's that is committed."""
    return Group.objects.using(abc).create(name="staff")


@pytest.fixture
def committed(abc: str) -> Iterator[Callable[[], set[str]]]:
    """What another connection sees of the tenant's groups."""
    other = dbapi.connect(**connections[abc].get_connection_params())
    other.autocommit = True
    with other:
        yield lambda: {name for (name,) in other.execute("SELECT name FROM auth_group")}


def after_the_end() -> pytest.RaisesExc[ProgrammingError]:
    return pytest.RaisesExc(
        ProgrammingError,
        match="came after its transaction's last_write",
        check=lambda exc: isinstance(exc.__cause__, TransactionEnded),
    )


def test_commit_travels_with_the_last_write(
    abc: str, group: Group, committed: Callable[[], set[str]]
) -> None:
    with assert_num_rpcs(2) as trips, tenant_context(abc), transaction.atomic(using=abc):
        row = Group.objects.get(pk=group.pk)
        row.name = "people"
        with last_write():
            row.save()
        assert len(trips) == 2
    with tenant_context(abc), transaction.atomic(using=abc):
        row.name = "persons"
        with last_write():
            row.save()
        assert committed() == {"persons"}


@pytest.mark.parametrize("isolation", ["", " ISOLATION LEVEL SERIALIZABLE"])
def test_a_transaction_of_one_write_is_one_round_trip(abc: str, isolation: str) -> None:
    connection = connections[abc]
    with assert_num_rpcs(1 + bool(isolation)), transaction.atomic(using=abc):
        if isolation:
            with connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION{isolation}")
        with last_write(using=abc):
            made = Group.objects.using(abc).create(name="staff")
    assert made.pk
    assert Group.objects.using(abc).get() == made


def test_a_save_that_becomes_an_insert_commits_once_with_what_was_before(
    abc: str, group: Group, committed: Callable[[], set[str]]
) -> None:
    with transaction.atomic(using=abc):
        Group.objects.using(abc).create(name="before")
        gone = Group.objects.using(abc).get(pk=group.pk)
        Group.objects.using(abc).filter(pk=group.pk).delete()
        with last_write(using=abc), assert_num_rpcs(2):
            gone.save()
    assert committed() == {"staff", "before"}


def test_a_write_that_changes_no_row_commits_nothing(
    abc: str, committed: Callable[[], set[str]]
) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=abc):
        Group.objects.using(abc).create(name="never")
        with last_write(using=abc):
            assert Group.objects.using(abc).filter(pk=NOBODY).update(name="x") == 0
            assert Group.objects.using(abc).filter(pk=NOBODY).delete()[0] == 0
        raise ZeroDivisionError
    assert committed() == set()


def test_reading_commits_nothing(abc: str, committed: Callable[[], set[str]]) -> None:
    with transaction.atomic(using=abc):
        Group.objects.using(abc).create(name="staff")
        with last_write(using=abc):
            assert Group.objects.using(abc).select_for_update().get().name == "staff"
        assert committed() == set()
    assert committed() == {"staff"}


def test_an_error_of_the_write_rolls_all_back(
    abc: str, group: Group, committed: Callable[[], set[str]]
) -> None:
    with pytest.raises(IntegrityError, match="auth_group_name"), transaction.atomic(using=abc):
        Group.objects.using(abc).create(name="never")
        with last_write(using=abc):
            Group.objects.using(abc).create(name=group.name)
    assert committed() == {"staff"}


def test_an_error_of_the_commit_is_raised_in_the_block(
    abc: str, group: Group, committed: Callable[[], set[str]]
) -> None:
    with transaction.atomic(using=abc), connections[abc].cursor() as cursor:
        Group.objects.using(abc).create(name="never")
        with last_write(using=abc), pytest.raises(IntegrityError, match="not present in table"):
            cursor.execute(LINK, [group.pk, NOBODY])
        # It has rolled back, and nothing more can become a part of it.
        with pytest.raises(transaction.TransactionManagementError):
            cursor.execute("SELECT 1")
    assert committed() == {"staff"}


def test_whoever_catches_the_error_of_the_commit_sees_no_hook_called(
    abc: str, group: Group, committed: Callable[[], set[str]]
) -> None:
    told: list[str] = []
    with transaction.atomic(using=abc), connections[abc].cursor() as cursor:
        Group.objects.using(abc).create(name="never")
        transaction.on_commit(lambda: told.append("committed"), using=abc)
        with contextlib.suppress(IntegrityError), last_write(using=abc):
            cursor.execute(LINK, [group.pk, NOBODY])
    assert told == []
    assert committed() == {"staff"}


def test_many_rows_at_once_are_refused_after_it_as_well(
    abc: str, committed: Callable[[], set[str]]
) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=abc):
        with last_write(using=abc):
            Group.objects.using(abc).create(name="staff")
        with after_the_end(), connections[abc].cursor() as cursor:
            cursor.executemany("INSERT INTO auth_group (name) VALUES (%s)", [["two"], ["three"]])
        raise ZeroDivisionError
    assert committed() == {"staff"}


def test_a_handler_that_writes_before_the_save_is_told_as_the_mistake(
    abc: str, group: Group
) -> None:
    def note(sender: object, instance: Group, **_: object) -> None:
        if instance.name != "audit":
            Group.objects.using(abc).create(name="audit")

    pre_save.connect(note, sender=Group)
    try:
        # Also where nothing is committed early, as in most tests.
        with after_the_end(), transaction.atomic(using=abc), transaction.atomic(using=abc):
            with last_write(using=abc):
                group.save()
    finally:
        pre_save.disconnect(note, sender=Group)
    assert Group.objects.using(abc).get().name == "staff"


def test_a_statement_after_the_block_is_refused_and_what_was_committed_stays(
    abc: str, committed: Callable[[], set[str]]
) -> None:
    with transaction.atomic(using=abc):
        with last_write(using=abc):
            Group.objects.using(abc).create(name="staff")
        with after_the_end():
            Group.objects.using(abc).count()
        with after_the_end():
            Group.objects.using(abc).create(name="never")
    assert committed() == {"staff"}
    with transaction.atomic(using=abc):
        Group.objects.using(abc).create(name="next")
    assert committed() == {"staff", "next"}


def test_an_exception_after_the_block_undoes_nothing_and_the_next_transaction_works(
    abc: str, committed: Callable[[], set[str]]
) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=abc):
        with last_write(using=abc):
            Group.objects.using(abc).create(name="staff")
        raise ZeroDivisionError
    with transaction.atomic(using=abc):
        Group.objects.using(abc).create(name="next")
    assert committed() == {"staff", "next"}


@pytest.mark.parametrize("savepoint", [True, False])
def test_an_inner_block_leaves_the_end_to_the_outer_one(
    abc: str,
    savepoint: bool,
    committed: Callable[[], set[str]],
) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=abc):
        with transaction.atomic(using=abc, savepoint=savepoint), last_write(using=abc):
            Group.objects.using(abc).create(name="never")
        assert Group.objects.using(abc).count() == 1
        raise ZeroDivisionError
    assert committed() == set()


def test_two_writes_in_the_block_are_an_error_also_where_nothing_is_committed(
    abc: str, committed: Callable[[], set[str]]
) -> None:
    with after_the_end(), transaction.atomic(using=abc), transaction.atomic(using=abc):
        with last_write(using=abc):
            Group.objects.using(abc).create(name="never")
            Group.objects.using(abc).create(name="never either")
    assert committed() == set()


def test_a_save_of_several_tables_is_not_torn(abc: str) -> None:
    kind = ContentType.objects.db_manager(abc).get_for_model(Group)
    with after_the_end(), transaction.atomic(using=abc), last_write(using=abc):
        # Many rows at once are a transaction of Django's own in this one.
        Permission.objects.using(abc).bulk_create(
            [Permission(name=name, codename=name, content_type=kind) for name in ("a", "b")],
            batch_size=1,
        )
    assert not Permission.objects.using(abc).filter(codename__in=["a", "b"]).exists()


def test_without_a_transaction_nothing_changes(abc: str, group: Group) -> None:
    group.name = "people"
    with assert_num_rpcs(1), tenant_context(abc), last_write():
        group.save()
    with assert_num_rpcs(3), tenant_context(abc), transaction.atomic(using=abc):
        assert Group.objects.count() == 1
        Group.objects.create(name="others")


def test_other_tenants_transactions_go_on(abc: str, xyz: str) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=xyz):
        Group.objects.using(xyz).create(name="never")
        with transaction.atomic(using=abc), last_write(using=abc):
            Group.objects.using(abc).create(name="staff")
            Group.objects.using(xyz).create(name="never either")
        raise ZeroDivisionError
    assert Group.objects.using(abc).count() == 1
    assert not Group.objects.using(xyz).exists()


def test_hooks_run_when_the_block_ends(abc: str) -> None:
    told: list[int] = []
    with transaction.atomic(using=abc):
        transaction.on_commit(lambda: told.append(Group.objects.using(abc).count()), using=abc)
        with last_write(using=abc):
            Group.objects.using(abc).create(name="staff")
        assert told == []
    assert told == [1]


@pytest.mark.usefixtures("abc")
def test_it_needs_a_tenant_and_lets_other_databases_be() -> None:
    with pytest.raises(TenantRequired), last_write():
        pass
    with last_write(using="default"):
        Group.objects.using("default").create(name="staff")
    assert Group.objects.using("default").get().name == "staff"


def test_an_answer_in_many_parts_is_whole(abc: str, committed: Callable[[], set[str]]) -> None:
    query = """INSERT INTO auth_group (name) SELECT 'group ' || n FROM generate_series(1, 20000) n
               RETURNING repeat('x', 500)"""
    with transaction.atomic(using=abc), connections[abc].cursor() as cursor:
        with last_write(using=abc):
            cursor.execute(query)
        assert cursor.rowcount == 20_000
        assert {text for (text,) in cursor.fetchall()} == {"x" * 500}
        assert len(committed()) == 20_000
