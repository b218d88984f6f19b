"""Which migrations are the same SQL on every tenant."""

import uuid

import pytest
from django.db import migrations, models
from django.db.migrations import Migration
from django.db.migrations.state import ProjectState
from django.utils import timezone

from tenants.services.migrating.operations import is_reproducible, runs_sql


def given(*operations, app="flights", backwards=False):
    migration = Migration("0002", app)
    migration.operations = list(operations)
    state = ProjectState()
    first = Migration("0001", app)
    first.operations = [
        migrations.CreateModel(
            "Item",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("token", models.UUIDField(default=uuid.uuid4)),
                ("name", models.CharField(max_length=9)),
            ],
        )
    ]
    return is_reproducible(migration, first.mutate_state(state), "abc", backwards=backwards)


def code(apps, schema_editor):
    pass


class Own(migrations.AddField):
    pass


class OwnCode(migrations.RunPython):
    pass


class OwnField(models.IntegerField):
    def get_default(self):
        return 7


@pytest.mark.parametrize(
    "field",
    [
        models.IntegerField(null=True),
        models.IntegerField(default=1),
        models.CharField(max_length=3),
        models.JSONField(default=dict),
        models.ForeignKey("flights.Item", models.CASCADE, null=True),
        models.ManyToManyField("flights.Item"),
    ],
)
def test_a_field_whose_rows_get_one_value_is_the_same_everywhere(field):
    assert given(migrations.AddField("Item", "extra", field))


@pytest.mark.parametrize(
    "field",
    [
        models.UUIDField(default=uuid.uuid4),
        models.DateTimeField(default=timezone.now),
        models.DateTimeField(auto_now_add=True),
        models.DateTimeField(auto_now=True),
        OwnField(),
    ],
)
def test_a_field_whose_value_is_made_anew_is_not(field):
    assert not given(migrations.AddField("Item", "extra", field))
    # To drop it needs no value.
    assert given(migrations.AddField("Item", "extra", field), backwards=True)


def test_code_and_operations_of_others_are_not():
    assert not given(migrations.RunPython(code, migrations.RunPython.noop))
    assert given(migrations.RunPython(code, migrations.RunPython.noop), backwards=True)
    assert given(migrations.RunPython(migrations.RunPython.noop, code))
    assert not given(Own("Item", "extra", models.IntegerField(default=1)))


def test_what_is_inside_of_a_separated_operation_counts():
    both = migrations.SeparateDatabaseAndState
    assert given(both(database_operations=[migrations.RunSQL("SELECT 1")]))
    assert given(both(state_operations=[migrations.RunPython(code)]))
    assert not given(both(database_operations=[migrations.RunPython(code)]))


def test_backwards_a_removed_field_comes_back_with_its_default():
    assert given(migrations.RemoveField("Item", "token"))
    assert not given(migrations.RemoveField("Item", "token"), backwards=True)
    assert given(migrations.RemoveField("Item", "name"), backwards=True)


def test_one_operation_that_is_not_makes_its_migration_code():
    assert not given(
        migrations.AddField("Item", "extra", models.IntegerField(default=1)),
        migrations.RunPython(code),
    )


def test_code_of_an_app_that_is_only_shared_does_nothing_on_tenants():
    run = [migrations.RunPython(code), migrations.RunSQL("SELECT 1")]
    assert given(*run, app="tenants")
    # Whether somebody else's operations ask the routers is not known.
    assert not given(OwnCode(code), app="tenants")
    assert not given(Own("Item", "extra", models.IntegerField(default=1)), app="tenants")
    migration = Migration("0001", "tenants")
    migration.operations = run
    assert not runs_sql(migration, "abc")
    migration = Migration("0001", "flights")
    migration.operations = run
    assert runs_sql(migration, "abc")
