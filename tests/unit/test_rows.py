"""Which tenant a row is of, and when two rows are one."""

import copy
import pickle
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import models
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Case, Exists, Q, Value, When
from django.test.utils import isolate_apps
from django.utils.functional import SimpleLazyObject

from mtdd_router import CrossTenantError, row_key, tenant_context
from mtdd_router.equality import give_equality
from mtdd_router.owners import FUNCTIONS, find_function
from mtdd_router.rows import alias_of, aliases_in, refuse_others
from mtdd_router.writes import check_saved
from tenants.models import Shard

with isolate_apps("demo.flights"):

    class Shelf(models.Model):
        class Meta:
            app_label = "flights"

    class TopShelf(Shelf):
        class Meta:
            app_label = "flights"
            proxy = True

    class Version(models.Model):
        number = models.IntegerField(default=1)

        class Meta:
            app_label = "flights"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Version) and self.number == other.number

        __hash__ = models.Model.__hash__

    class Draft(Version):
        class Meta:
            app_label = "flights"


for each in (Shelf, TopShelf, Version, Draft):
    give_equality(each)


def of(alias: str | None, model: type[models.Model] = Shelf, **values: Any) -> Any:
    row = model(**{"pk": 1, **values})
    row._state.db = alias
    return row


class TestEquality:
    def test_tells_rows_of_two_tenants_apart(self) -> None:
        assert of("abc") == of("abc")
        assert of("abc") != of("xyz")
        assert len({of("abc"), of("xyz"), of("abc")}) == 2
        assert {of("abc"): 1, of("xyz"): 2}[of("xyz")] == 2
        assert of("xyz") != of("abc")
        assert of("abc", pk=2) != of("abc")

    def test_is_djangos_for_new_rows_proxies_and_others(self) -> None:
        assert of(None) == of("abc")
        assert of("abc") == of(None)
        assert of(None, pk=None) != of(None, pk=None)
        new = of(None, pk=None)
        assert new == new  # noqa: PLR0124 - it is what is asked
        assert of("abc", TopShelf) == of("abc")
        assert of("abc", TopShelf) != of("xyz")
        assert of("abc") != of("abc", Group)
        assert of("abc") != 1
        assert of("abc").__eq__(1) is NotImplemented

    def test_has_a_hash_that_saving_does_not_change(self) -> None:
        row = of(None)
        members = {row}
        row._state.db = "abc"
        assert row in members
        assert hash(row) == hash(1)
        with pytest.raises(TypeError, match="unhashable"):
            hash(of("abc", pk=None))

    @pytest.mark.parametrize("model", [User, Group, Permission, ContentType, Session, LogEntry])
    def test_knows_tenants_for_models_of_others(self, model: Any) -> None:
        assert of("abc", model) == of("abc", model)
        assert of("abc", model) != of("xyz", model)
        assert of("abc", model) != of("default", model)
        assert of(None, model) == of("abc", model)
        assert len({of("abc", model), of("xyz", model), of("default", model)}) == 3

    def test_is_djangos_for_what_all_tenants_share(self) -> None:
        assert Shard.__eq__ is models.Model.__eq__
        assert models.Model.__eq__.__module__ == "django.db.models.base"

    @pytest.mark.parametrize("model", [Version, Draft])
    def test_is_the_models_own_if_it_has_one(self, model: Any) -> None:
        assert of("abc", model, number=2) == of("xyz", model, number=2)

    def test_of_historical_models_is_djangos(self) -> None:
        state = ProjectState.from_apps(apps)
        assert state.apps.get_model("auth", "User").__eq__ is models.Model.__eq__

    def test_has_a_key_for_those_who_want_one(self) -> None:
        assert row_key(of("abc", User)) != row_key(of("xyz", User))
        assert row_key(of("abc", User)) == row_key(of("abc", User)) == ("abc", "auth.User", 1)
        assert row_key(of("abc", TopShelf)) == row_key(of("abc"))
        with pytest.raises(TypeError):
            row_key(of("abc", User, pk=None))

    def test_is_not_in_migrations(self) -> None:
        assert ModelState.from_model(Shelf).bases == (models.Model,)


class TestTheTenantOfARow:
    @pytest.mark.parametrize(
        ("alias", "model", "expected"),
        [
            ("abc", User, "abc"),
            ("default", User, "default"),
            ("default", Shard, None),
            (None, User, None),
        ],
    )
    def test_is_its_alias_unless_it_is_shared(self, alias: Any, model: Any, expected: Any) -> None:
        assert alias_of(of(alias, model)) == expected

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
    def test_is_copied_and_pickled(self, duplicate: Any) -> None:
        row = of("abc", User)
        assert alias_of(duplicate(row)) == "abc"
        assert alias_of(pickle.loads(pickle.dumps(row))) == "abc"  # noqa: S301 - our own

    @pytest.mark.parametrize(
        "value",
        [
            of("abc", User),
            SimpleLazyObject(lambda: of("abc", User)),
            [1, of("abc", User)],
            {of("abc", User)},
            {1: of("abc", User)}.values(),
            [[of("abc", User)]],
            Value(of("abc", User)),
            Q(user=of("abc", User)),
            ~Q(pk=1) | Q(Q(user=of("abc", User))),
            Case(When(user=of("abc", User), then=1)),
            Case(When(pk=1, then=Value(of("abc", User)))),
        ],
    )
    def test_is_found_in_whatever_holds_it(self, value: Any) -> None:
        assert aliases_in(value) == {"abc"}

    @pytest.mark.parametrize("value", [1, "abc", b"abc", None, {"a": 1}, [1, "a"], Q(pk=1), 1.5])
    def test_is_not_found_in_anything_else(self, value: Any) -> None:
        assert aliases_in(value) == set()


def test_rows_of_others_are_refused_without_their_values() -> None:
    secret = of("xyz", User, username="secret")
    refuse_others(
        of("abc", User), [1, of("abc", User), of(None, User), of("default", Shard)], "add"
    )
    with pytest.raises(CrossTenantError, match="'abc'.*'xyz'") as caught:
        refuse_others(of("abc", User), [secret], "add")
    assert "secret" not in str(caught.value)
    with pytest.raises(CrossTenantError, match="'xyz'.*'abc'") as caught:
        check_saved(secret, "abc")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("module", "name"), [entry[1:3] for entry in FUNCTIONS])
def test_django_still_has_the_function_that_asks_for_a_row(module: str, name: str) -> None:
    function = find_function(module, name)
    assert function is not None
    variable = next(entry[3] for entry in FUNCTIONS if entry[1:3] == (module, name))
    assert variable in function.__code__.co_varnames


class TestAppsThatAreInBoth:
    """The rows of `default` are another project's people, as far as a tenant is concerned."""

    @pytest.mark.parametrize(("one", "other"), [("abc", "default"), ("default", "abc")])
    def test_have_rows_that_do_not_meet(self, one: str, other: str) -> None:
        group = of(other, Group)
        for queryset in (
            User.objects.using(one).filter(groups=group),
            User.objects.using(one).filter(groups__in=Group.objects.using(other)),
            User.objects.using(one).filter(Exists(Group.objects.using(other))),
            User.objects.using(one).union(User.objects.using(other)),
            Group.objects.filter(user=of(other, User)).using(one),
        ):
            with pytest.raises(CrossTenantError, match=f"'{one}'") as caught:
                queryset.query.get_compiler(one).as_sql()
            assert f"'{other}'" in str(caught.value)
        with pytest.raises(CrossTenantError):
            of(other, User).groups.using(one)

    def test_follow_a_row_of_default_whatever_the_context_is(self) -> None:
        user = of("default", User)
        with tenant_context("abc"):
            assert user.groups.all().db == "default"
            statement, _ = user.groups.all().query.get_compiler("default").as_sql()
        assert statement.startswith("SELECT")
