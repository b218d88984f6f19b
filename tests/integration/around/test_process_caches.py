"""What Django and its contrib apps keep in the process, or in a row, is no other tenant's."""

import datetime
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.tokens import default_token_generator
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from mtdd_router import tenant_context
from mtdd_router.directory import Directory, directory
from tenants import services
from tests.integration.around.conftest import TENANTS

pytestmark = pytest.mark.usefixtures("two_tenants")


def _give_groups_the_content_type(number: int, tenant: str) -> None:
    with tenant_context(tenant):
        Permission.objects.filter(content_type__app_label="auth").delete()
        ContentType.objects.filter(app_label="auth", model="group").update(id=number)
    ContentType.objects.clear_cache()


def test_content_types_are_cached_by_tenant() -> None:
    for name in TENANTS:
        _give_groups_the_content_type(1000 + TENANTS.index(name), name)
    for _ in range(2):
        for name in TENANTS:
            with tenant_context(name):
                found = ContentType.objects.get_for_model(Group)
                assert (found.pk, found._state.db) == (1000 + TENANTS.index(name), name)
                assert ContentType.objects.get_for_id(found.pk) == found
                assert ContentType.objects.get_by_natural_key("auth", "group").pk == found.pk
        assert ContentType.objects.get_for_model(Group)._state.db == "default"
    with tenant_context("abc"), pytest.raises(ContentType.DoesNotExist):
        ContentType.objects.get_for_id(1001)
    other = ContentType.objects.db_manager("xyz")
    with tenant_context("abc"):
        assert other.get_for_model(Group).pk == 1001


@pytest.mark.parametrize("how", ["here", "elsewhere"])
def test_a_name_that_changes_hands_takes_no_content_types_along(how: str) -> None:
    _give_groups_the_content_type(1001, "xyz")
    with tenant_context("abc"):
        before = ContentType.objects.get_for_model(Group).pk
    other = Directory()  # Of another process, which learns of it when it reads the route anew.
    other.route("abc")
    services.rename_tenant("abc", "old")
    services.rename_tenant("xyz", "abc")
    if how == "elsewhere":
        with tenant_context("abc"):
            cached: Any = ContentType(pk=before, app_label="auth", model="group")
            cached._state.db = "abc"
            ContentType.objects._add_to_cache("abc", cached)
            assert ContentType.objects.get_for_model(Group).pk == before
        other._entries["abc"].fresh_until = 0.0
        other.route("abc")
    with tenant_context("abc"):
        assert ContentType.objects.get_for_model(Group).pk == 1001 != before


def test_permissions_are_cached_in_the_user_and_are_the_tenants() -> None:
    for name in TENANTS:
        with tenant_context(name):
            user = User.objects.create_user("ann", id=1, password="pw")
            user.user_permissions.add(Permission.objects.get(codename=_codename(name)))
    users = {name: User.objects.mtdd(name).get(id=1) for name in TENANTS}
    for _ in range(2):
        for name, user in users.items():
            with tenant_context("abc"):
                assert user.get_all_permissions() == {f"auth.{_codename(name)}"}
                assert user.has_perm(f"auth.{_codename(name)}")


def _codename(name: str) -> str:
    return "add_group" if name == "abc" else "delete_user"


def test_a_login_and_a_token_to_reset_a_password_count_in_their_tenant() -> None:
    for name in TENANTS:
        with tenant_context(name):
            User.objects.create_user("ann", f"ann@{name}.example", f"pw of {name}", id=1)
    with tenant_context("abc"):
        token = default_token_generator.make_token(User.objects.get(id=1))
        assert default_token_generator.check_token(User.objects.get(id=1), token)
        assert authenticate(username="ann", password="pw of abc") is not None
    with tenant_context("xyz"):
        assert not default_token_generator.check_token(User.objects.get(id=1), token)
        assert authenticate(username="ann", password="pw of abc") is None


def test_the_log_of_the_admin_names_the_tenants_own_objects() -> None:
    for name in TENANTS:
        with tenant_context(name):
            user = User.objects.create_user("ann", id=1)
            group = Group.objects.create(id=1, name=f"of {name}")
            LogEntry.objects.create(
                user=user,
                content_type=ContentType.objects.get_for_model(Group),
                object_id="1",
                object_repr=str(group),
                action_flag=1,
            )
    for name in TENANTS:
        with tenant_context(name):
            assert LogEntry.objects.get().get_edited_object().name == f"of {name}"
    abc, xyz = (LogEntry.objects.using(name).get() for name in TENANTS)
    with tenant_context("xyz"):
        assert abc.get_edited_object().name == "of abc"
    assert xyz.get_edited_object().name == "of xyz"


def test_cleaning_up_sessions_is_for_the_tenant_named() -> None:
    over = timezone.now() - datetime.timedelta(days=1)
    for name in TENANTS:
        with tenant_context(name):
            Session.objects.create(session_key="k", session_data="", expire_date=over)
    with tenant_context("abc"):
        call_command("clearsessions")
    assert Session.objects.mtdd("abc").count() == 0
    assert Session.objects.mtdd("xyz").count() == 1


def test_a_cache_in_the_database_knows_tenants(settings: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "cached_rows",
            "KEY_FUNCTION": "mtdd_router.cache.tenant_key",
        }
    }
    call_command("createcachetable", verbosity=0)
    try:
        cache = caches["default"]
        for name in TENANTS:
            with tenant_context(name):
                cache.set("key", f"of {name}")
        cache.set("key", "nobody's")
        for name in TENANTS:
            with tenant_context(name):
                assert cache.get("key") == f"of {name}"
                assert cache.get_many(["key"]) == {"key": f"of {name}"}
        assert cache.get("key") == "nobody's"
        with connection.cursor() as cursor:
            cursor.execute("SELECT cache_key FROM cached_rows ORDER BY cache_key")
            found = {row[0] for row in cursor.fetchall()}
        keys = {directory.key(name) for name in TENANTS}
        assert found == {"-::1:key", *(f"t:{key}::1:key" for key in keys)}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE cached_rows")
