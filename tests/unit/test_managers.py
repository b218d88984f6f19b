"""``.mtdd()`` on managers and querysets, theirs and third parties'."""

import copy
import operator
import pickle
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User, UserManager
from django.db import connections, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.manager import BaseManager
from django.test.utils import isolate_apps

from demo.flights.models import Flight
from mtdd_router import CrossTenantError, InvalidTenantName, TenantRequired, tenant_context
from mtdd_router.generated import plain_class
from mtdd_router.managers import TenantManager, install, is_wanted
from mtdd_router.querysets import TenantQuerySet
from tenants.models import Shard


class CheapQuerySet(models.QuerySet):
    def cheap(self):
        return self.filter(price__lt=10)


class NamedManager(models.Manager):
    use_in_migrations = True

    def __init__(self, name: str = "x") -> None:
        super().__init__()
        self.label = name

    def get_queryset(self):
        return super().get_queryset().filter(name=self.label)


class CachedManager(models.Manager):
    """Gives everybody the same queryset, as some projects do."""

    shared: Any = None

    def get_queryset(self):
        if CachedManager.shared is None:
            CachedManager.shared = super().get_queryset()
        return CachedManager.shared


with isolate_apps("demo.flights"):

    class Priced(models.Model):
        name = models.CharField(max_length=10)
        price = models.IntegerField(default=0)

        objects = models.Manager()
        named = NamedManager("y")

        class Meta:
            app_label = "flights"
            abstract = True

    class Book(Priced):
        authors = models.ManyToManyField("flights.Author", related_name="books")

        cheap = CheapQuerySet.as_manager()
        from_queryset = models.Manager.from_queryset(CheapQuerySet)()
        cached = CachedManager()

        class Meta:
            app_label = "flights"

    class Author(models.Model):
        book = models.ForeignKey(Book, models.CASCADE, related_name="main_of")

        class Meta:
            app_label = "flights"

    class Novel(Book):
        class Meta:
            app_label = "flights"

    class BookProxy(Book):
        class Meta:
            app_label = "flights"
            proxy = True

    class Plain(Priced):
        class Meta:
            app_label = "flights"

    SHOP = [Book, Author, Novel, BookProxy, Book.authors.through]
    BEFORE = {model: [(m.name, type(m)) for m in model._meta.managers] for model in [*SHOP, Plain]}
    install(SHOP)


def repickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


def of_tenant(model: type[models.Model], alias: str, **values: Any) -> Any:
    instance = model(**values)
    instance._state.db = alias
    return instance


class TestThirdPartyModels:
    def test_name_the_tenant_on_the_manager_or_anywhere_in_the_chain(self) -> None:
        for queryset in (
            User.objects.mtdd("abc").filter(id=1),
            User.objects.filter(id=1).mtdd("abc"),
            User.objects.filter(id=1).mtdd("abc").order_by("id").values("id"),
            User.objects.values_list("id").distinct().mtdd("abc"),
            User.objects.none().mtdd("abc"),
            User.objects.all().union(User.objects.all()).mtdd("abc"),
            User._default_manager.mtdd("abc"),
            User._base_manager.mtdd("abc"),
            User.objects.using("xyz").mtdd("abc"),
            User.objects.mtdd("xyz").mtdd("abc"),
        ):
            assert queryset.db == "abc"

    def test_keep_their_own_manager_methods(self) -> None:
        assert isinstance(User.objects, UserManager)
        assert callable(User.objects.create_user)
        assert callable(User.objects.db_manager("abc").create_user)

    def test_are_served_in_the_context_and_not_without_a_tenant(self) -> None:
        with pytest.raises(TenantRequired, match=r"flights\.Flight"):
            _ = Flight.objects.all().db
        with tenant_context("abc"):
            assert Flight.objects.all().db == "abc"

    def test_of_shared_apps_are_left_alone(self) -> None:
        assert type(Shard.objects).__mro__[0] is plain_class(type(Shard.objects))
        assert not hasattr(Shard.objects, "mtdd")
        assert not hasattr(Shard.objects.all(), "mtdd")

    def test_leave_djangos_classes_as_they_were(self) -> None:
        for cls in (models.Manager, BaseManager, models.QuerySet, UserManager):
            assert not hasattr(cls, "mtdd")


class TestTheName:
    @pytest.mark.parametrize("name", ["", "A", "a b", "default", "a'b", "x" * 64])
    def test_is_checked_at_once(self, name: str) -> None:
        for target in (User.objects, User.objects.all()):
            with pytest.raises(InvalidTenantName):
                target.mtdd(name)

    def test_is_needed_as_yet(self) -> None:
        for target in (User.objects, User.objects.all()):
            with pytest.raises(TenantRequired, match=r"auth\.User.*not available yet"):
                target.mtdd()


class TestLazyQuerysets:
    def test_stay_in_the_tenant_they_were_made_in(self) -> None:
        with tenant_context("abc"):
            querysets = [Flight.objects.all(), Flight.objects.filter(id=1).order_by("id")]
        for queryset in querysets:
            assert queryset.db == "abc"
            with tenant_context("xyz"):
                assert queryset.db == "abc"
                assert queryset.filter(id=2).db == "abc"
                assert repickled(queryset.query) is not None

    def test_made_outside_take_the_tenant_at_evaluation(self) -> None:
        queryset = Flight.objects.all()
        for name in ("abc", "xyz"):
            with tenant_context(name):
                assert queryset.all().db == name

    def test_an_explicit_choice_wins(self) -> None:
        with tenant_context("abc"):
            assert Flight.objects.using("xyz").db == "xyz"
            assert Flight.objects.mtdd("xyz").db == "xyz"
            assert Flight.objects.db_manager("xyz").all().db == "xyz"

    def test_writes_go_to_the_same_tenant(self) -> None:
        with tenant_context("abc"):
            queryset = Flight.objects.all()
        queryset._for_write = True
        assert queryset.db == "abc"

    def test_a_prefetch_made_in_another_context_follows_the_rows(self) -> None:
        with tenant_context("abc"):
            inner = Author.objects.all()
        inner._add_hints(instance=of_tenant(Book, "xyz"))
        assert inner.db == "xyz"

    def test_a_queryset_that_a_manager_gives_to_everybody_is_not_bound(self) -> None:
        with tenant_context("abc"):
            first = Book.cached.all()
        with tenant_context("xyz"):
            assert Book.cached.all().db == "xyz"
        assert first.db == "abc"

    def test_made_while_a_module_is_imported_are_not_bound(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "imported_in_a_request.py").write_text(
            "from demo.flights.models import Flight\n"
            "class View:\n"
            "    queryset = Flight.objects.all()\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        with tenant_context("abc"):
            import imported_in_a_request as module
        assert "tenant" not in module.View.queryset._hints
        with tenant_context("xyz"):
            assert module.View.queryset.all().db == "xyz"


class TestRelations:
    def test_follow_the_tenant_of_the_row_whatever_the_context_is(self) -> None:
        user, book = of_tenant(User, "abc", id=1), of_tenant(Book, "abc", id=1)
        for name in ("abc", "xyz"):
            with tenant_context(name):
                assert user.groups.all().db == "abc"
                assert user.groups.filter(id=1).db == "abc"
                assert book.authors.all().db == "abc"
                assert book.main_of.all().db == "abc"
                assert Group._base_manager.db_manager(hints={"instance": user}).all().db == "abc"

    def test_of_one_tenants_row_do_not_go_to_another(self) -> None:
        user = of_tenant(User, "abc", id=1)
        assert user.groups.mtdd("abc").db == "abc"
        for target in (user.groups, user.groups.all()):
            with pytest.raises(CrossTenantError, match=r"'abc'.*'xyz'"):
                target.mtdd("xyz")

    def test_have_mtdd_on_generated_through_models(self) -> None:
        assert User.groups.through.objects.mtdd("abc").db == "abc"


class TestInheritance:
    def test_every_manager_of_every_kind_of_model_has_it(self) -> None:
        for model in SHOP:
            for manager in [*model._meta.managers, model._base_manager, model._default_manager]:
                assert isinstance(manager, TenantManager)
                assert isinstance(manager.all(), TenantQuerySet)
                assert manager.mtdd("abc").db == "abc"

    def test_managers_keep_their_order_names_and_classes(self) -> None:
        for model in SHOP:
            assert BEFORE[model] == [
                (manager.name, plain_class(type(manager))) for manager in model._meta.managers
            ]
            assert model._default_manager is model._meta.managers[0]

    def test_other_children_of_an_abstract_parent_are_left_alone(self) -> None:
        assert BEFORE[Plain] == [(m.name, type(m)) for m in Plain._meta.managers]

    def test_own_get_queryset_and_queryset_methods_work(self) -> None:
        assert "WHERE" in str(Book.named.mtdd("abc").query)
        assert Book.cheap.cheap().mtdd("abc").db == "abc"
        assert Book.from_queryset.mtdd("abc").cheap().db == "abc"

    def test_it_lasts_when_django_empties_its_caches(self) -> None:
        Book._meta._expire_cache()
        assert Book._base_manager.mtdd("abc").db == "abc"
        assert Book.objects.mtdd("abc").db == "abc"


class TestMigrations:
    @pytest.mark.parametrize("model", [User, Group, Permission])
    def test_a_manager_equals_its_plain_twin_both_ways(self, model: Any) -> None:
        manager = model.objects
        twin = plain_class(type(manager))()
        assert manager == twin
        assert twin == manager
        assert operator.ne(manager, twin) is operator.ne(twin, manager) is False
        assert manager == copy.copy(manager)
        assert hash(manager) == id(manager)

    def test_managers_with_other_arguments_or_of_another_kind_differ(self) -> None:
        assert Book.named != NamedManager("z")
        assert NamedManager("z") != Book.named
        assert NamedManager("y") == Book.named
        assert Book.cheap != CheapQuerySet.as_manager
        assert User.objects != Group.objects

    def test_they_deconstruct_to_the_original_path(self) -> None:
        assert User.objects.deconstruct() == (
            False,
            "django.contrib.auth.models.UserManager",
            None,
            (),
            {},
        )
        assert Book.cheap.deconstruct()[:3:2] == (True, f"{__name__}.CheapQuerySet")

    def test_the_autodetector_finds_nothing(self) -> None:
        with_tenants, plain = ProjectState(), ProjectState()
        for model in (User, Group, Permission):
            state = ModelState.from_model(model)
            with_tenants.add_model(state)
            twin = state.clone()
            twin.managers = [(name, plain_class(type(m))()) for name, m in state.managers]
            plain.add_model(twin)
        for one, other in ((with_tenants, plain), (plain, with_tenants)):
            assert MigrationAutodetector(one, other)._detect_changes() == {}

    def test_historical_models_have_plain_managers(self) -> None:
        state = ProjectState()
        state.add_model(ModelState.from_model(Permission))
        state.add_model(ModelState.from_model(Permission.content_type.field.related_model))
        manager = state.apps.get_model("auth", "Permission").objects
        assert not isinstance(manager, TenantManager)


class TestCopies:
    def test_a_queryset_is_pickled_with_its_tenant_and_rows(self) -> None:
        queryset = User.objects.mtdd("abc").filter(id=1)
        queryset._result_cache = [of_tenant(User, "abc", id=1)]
        twin = repickled(queryset)
        assert twin.db == "abc"
        assert twin[0]._state.db == "abc"
        assert twin.mtdd("xyz").db == "xyz"
        assert type(twin) is type(queryset)

    def test_a_queryset_made_in_a_context_is_pickled_with_its_tenant(self) -> None:
        with tenant_context("abc"):
            queryset = Flight.objects.all()
        queryset._result_cache = []
        assert repickled(queryset).db == "abc"

    def test_a_queryset_can_be_copied_deeply(self) -> None:
        twin = copy.deepcopy(User.objects.mtdd("abc").filter(id=1))
        assert twin.db == "abc"
        assert twin.mtdd("xyz").db == "xyz"

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, repickled])
    def test_a_manager_can_be_copied(self, duplicate: Any) -> None:
        twin = duplicate(User.objects)
        assert type(twin) is type(User.objects)
        assert twin.model is User
        assert twin.mtdd("abc").db == "abc"


class TestTheSetting:
    @pytest.mark.parametrize(
        ("value", "user", "group"),
        [
            (True, True, True),
            (False, False, False),
            (["auth.User"], False, True),
            ({"auth.User": False}, False, True),
        ],
    )
    def test_switches_it_off_for_all_or_for_some(self, settings, value, user, group) -> None:
        settings.MTDD_TENANT_MANAGERS = value
        assert is_wanted(User) is user
        assert is_wanted(Group) is group
        assert not is_wanted(Shard)
        assert not is_wanted(Book), "not of the project's own registry of apps"


def test_models_defined_after_start_have_it_too() -> None:
    code = (
        "import django; django.setup()\n"
        "from django.db import models\n"
        "class Late(models.Model):\n"
        "    class Meta: app_label = 'flights'\n"
        "print(Late.objects.mtdd('abc').db, Late._base_manager.mtdd('xyz').db)\n"
        "from django.contrib.auth.models import User\n"
        "print(User.objects.mtdd('abc').db, User._base_manager.mtdd('abc').db)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["abc", "xyz", "abc", "abc"], done.stderr


def test_no_connection_was_needed() -> None:
    assert all(conn.connection is None for conn in connections.all(initialized_only=True))
