"""TenantTestCase and TransactionTenantTestCase, as a project's tests use them."""

import unittest
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connections, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.test.testcases import DatabaseOperationForbidden

from mtdd_router import current_tenant, last_write
from tenants.models import Shard, Tenant
from tenants.testing import TenantClient, TenantTestCase, TransactionTenantTestCase


class RollingBack(TenantTestCase):
    tenant_labels = ("tenant", "other")

    @classmethod
    def setUpTestData(cls) -> None:
        cls.group = Group.objects.create(name="of the class")

    def test_it_runs_in_the_first_tenant(self) -> None:
        assert current_tenant() == self.tenant == self.tenant_named("tenant")
        assert self.group._state.db == self.tenant
        assert [group.name for group in Group.objects.all()] == ["of the class"]
        assert isinstance(self.client, TenantClient)
        assert self.client.tenant == self.tenant

    def test_what_a_test_writes_is_rolled_back_a(self) -> None:
        self.write_and_see_nothing_of_others()

    def test_what_a_test_writes_is_rolled_back_b(self) -> None:
        self.write_and_see_nothing_of_others()

    def write_and_see_nothing_of_others(self) -> None:
        other = self.tenant_named("other")
        for name in (self.tenant, other):
            assert not User.objects.using(name).exists()
            User.objects.using(name).create(username="ann")
        assert self.group.name == "of the class"
        self.group.name = "changed"
        self.group.save()

    def test_a_failed_statement_fails_the_savepoint_only(self) -> None:
        with pytest.raises(IntegrityError), transaction.atomic(using=self.tenant):
            Group.objects.create(pk=self.group.pk, name="twin")
        assert Group.objects.count() == 1

    def test_a_durable_block_is_allowed(self) -> None:
        with transaction.atomic(using=self.tenant, durable=True):
            Group.objects.create(name="durable")

    def test_what_runs_on_commit_can_be_captured(self) -> None:
        done: list[int] = []
        with self.captureOnCommitCallbacks(using=self.tenant, execute=True):
            transaction.on_commit(lambda: done.append(1), using=self.tenant)
        assert done == [1]

    def test_round_trips_are_counted(self) -> None:
        with self.assertNumRPCs(1):
            Group.objects.count()
        assert self.assertNumRPCs(1, Group.objects.count) == 1
        with self.assertNumRPCs(3), transaction.atomic(using=self.tenant):
            Group.objects.count()
        with self.assertNumRPCs(0, tenant=self.tenant_named("other")):
            Group.objects.count()
        with pytest.raises(AssertionError, match="2 round trips to shards expected, 1 made"):
            self.assertNumRPCs(2, Group.objects.count)

    def test_a_tenant_that_is_not_declared_is_refused(self) -> None:
        with pytest.raises(DatabaseOperationForbidden, match="to 'abc' are not allowed"):
            Group.objects.using("abc").count()

    def test_a_label_that_is_not_declared_is_named(self) -> None:
        with pytest.raises(LookupError, match=r"RollingBack.tenant_labels has no 'third'"):
            self.tenant_named("third")

    async def test_an_asynchronous_test_is_in_the_tenant(self) -> None:
        assert current_tenant() == self.tenant
        assert await Group.objects.acount() == 1


class Flushing(TransactionTenantTestCase):
    tenant_labels = ("tenant", "other")

    def test_tables_are_emptied_after_each_test_a(self) -> None:
        self.write_and_see_nothing_of_others()

    def test_tables_are_emptied_after_each_test_b(self) -> None:
        self.write_and_see_nothing_of_others()

    def write_and_see_nothing_of_others(self) -> None:
        for name in (self.tenant, self.tenant_named("other")):
            assert not Group.objects.using(name).exists()
            with transaction.atomic(using=name, durable=True):
                Group.objects.using(name).create(name="committed")

    def test_the_registry_knows_the_tenants_although_it_was_flushed(self) -> None:
        names = {self.tenant, self.tenant_named("other")}
        assert set(Tenant.objects.values_list("name", flat=True)) == names

    def test_a_transaction_of_n_statements_is_n_and_one(self) -> None:
        Group.objects.count()
        with self.assertNumRPCs(2), transaction.atomic(using=self.tenant):
            Group.objects.count()


class NotDeclaring(TestCase):
    def test_a_tenant_is_refused_as_an_alias_is(self) -> None:
        for _ in range(2):
            with pytest.raises(DatabaseOperationForbidden, match=r"Add 'abc' to .*NotDeclaring"):
                Group.objects.using("abc").count()


class Simple(SimpleTestCase):
    def test_a_tenant_is_refused(self) -> None:
        with pytest.raises(DatabaseOperationForbidden, match="'abc'"):
            Group.objects.using("abc").count()


class FlushingOthers(TransactionTestCase):
    def test_a_tenant_is_refused(self) -> None:
        with pytest.raises(DatabaseOperationForbidden, match="'abc'"):
            Group.objects.using("abc").count()

    def test_the_registry_is_empty(self) -> None:
        assert not Shard.objects.exists()


def outcome(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_a_class_finds_its_tenants_after_another_has_flushed_the_registry(
    django_db_setup: None, django_db_blocker: Any
) -> None:
    with django_db_blocker.unblock():
        for case in (FlushingOthers, RollingBack):
            result = outcome(case)
            assert not result.errors, result.errors[0][1]
            assert not result.failures, result.failures[0][1]
            assert result.testsRun


def test_a_last_write_commits_nothing_of_what_a_class_sets_up(
    django_db_setup: None, django_db_blocker: Any
) -> None:
    class SettingUp(TenantTestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            with last_write():
                Group.objects.create(name="of the class")

        def test_it_is_there(self) -> None:
            with last_write():
                Group.objects.create(name="of the test")
            assert Group.objects.count() == 2

        def test_what_another_wrote_is_not(self) -> None:
            assert Group.objects.get().name == "of the class"

    class After(TenantTestCase):
        def test_nothing_is_left(self) -> None:
            assert not Group.objects.exists()

    with django_db_blocker.unblock():
        for case in (SettingUp, After):
            result = outcome(case)
            assert result.wasSuccessful(), [*result.errors, *result.failures][0][1]


def test_a_class_that_fails_to_set_up_leaves_no_tenant_and_nothing_open(
    django_db_setup: None, django_db_blocker: Any
) -> None:
    class Failing(TenantTestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            Group.objects.create(name="lost")
            raise ZeroDivisionError

        def test_nothing(self) -> None:
            raise AssertionError

    class After(TenantTestCase):
        def test_nothing_is_left(self) -> None:
            assert not Group.objects.exists()

    with django_db_blocker.unblock():
        (failed,) = outcome(Failing).errors
        assert "ZeroDivisionError" in failed[1]
        assert current_tenant() is None
        assert not [c for c in connections.all(initialized_only=True) if c.in_atomic_block]
        assert outcome(After).wasSuccessful()
