"""Users, permissions, sessions and passwords are each tenant's own."""

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.core import mail
from django.core.cache import caches
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client

from mtdd_router import tenant_context
from mtdd_router.testing import assert_no_tenant_leak
from tests.integration.contrib.conftest import PASSWORD

Visitor = Callable[[str], Client]
Twins = dict[str, User]
BACKENDS = "django.contrib.sessions.backends"
KEYS = {"KEY_FUNCTION": "mtdd_router.cache.tenant_key"}
# Whether its sessions are each tenant's own.
ENGINES = [
    (f"{BACKENDS}.db", {}, True),
    (f"{BACKENDS}.cached_db", {}, False),
    (f"{BACKENDS}.cached_db", KEYS, True),
    (f"{BACKENDS}.cache", {}, False),
    (f"{BACKENDS}.cache", KEYS, True),
    (f"{BACKENDS}.signed_cookies", {}, False),
    ("mtdd_router.signed_cookies", {}, True),
]


def who(client: Client) -> str:
    return client.get("/who/").content.decode()


class TestLogin:
    def test_by_a_form_is_in_the_tenant_of_the_host(
        self, abc: str, xyz: str, visitor: Visitor
    ) -> None:
        for tenant in (abc, xyz):
            with tenant_context(tenant):
                User.objects.create_user("ann", password=f"of {tenant}")
        client = visitor(abc)
        with assert_no_tenant_leak(abc):
            refused = client.post("/login/", {"username": "ann", "password": f"of {xyz}"})
            assert refused.status_code == 200
            assert who(client) == f"nobody in {abc}"
            client.post("/login/", {"username": "ann", "password": f"of {abc}"})
            assert who(client) == f"ann in {abc}"
            client.post("/accounts/logout/")
            assert who(client) == f"nobody in {abc}"

    def test_knows_nobody_of_another_tenant(self, abc: str, xyz: str) -> None:
        with tenant_context(xyz):
            User.objects.create_user("ann", password=PASSWORD)
        with tenant_context(abc):
            assert authenticate(username="ann", password=PASSWORD) is None
        with tenant_context(xyz):
            assert authenticate(username="ann", password=PASSWORD) is not None

    def test_notes_its_time_in_the_tenant_only(
        self, abc: str, xyz: str, twins: Twins, visitor: Visitor
    ) -> None:
        visitor(abc).post("/login/", {"username": "root", "password": PASSWORD})
        assert User.objects.using(abc).get(pk=77).last_login is not None
        assert User.objects.using(xyz).get(pk=77).last_login is None


@pytest.fixture(params=ENGINES, ids=lambda case: f"{case[0]}{'-apart' * case[2]}")
def sessions_apart(request: pytest.FixtureRequest, settings: Any) -> Iterator[bool]:
    """Use an engine for sessions; return whether they are each tenant's own."""
    settings.SESSION_ENGINE, options, apart = request.param
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "sessions"}
    settings.CACHES = {"default": local | options}
    yield apart
    caches["default"].clear()


@pytest.mark.usefixtures("twins")
def test_a_session_counts_at_home_only_or_a_check_says_that_it_does_not(
    abc: str, xyz: str, visitor: Visitor, settings: Any, sessions_apart: bool
) -> None:
    at_home, abroad = visitor(abc), visitor(xyz)
    at_home.post("/login/", {"username": "root", "password": PASSWORD})
    assert who(at_home) == f"root in {abc}"
    cookie = settings.SESSION_COOKIE_NAME
    abroad.cookies[cookie] = at_home.cookies[cookie].value
    assert who(abroad) == f"{'nobody' if sessions_apart else 'root'} in {xyz}"
    warned = "mtdd.W016" in [message.id for message in run_checks(tags=["mtdd"])]
    assert warned is not sessions_apart
    assert who(at_home) == f"root in {abc}"


def test_a_session_lives_from_request_to_request(
    abc: str, visitor: Visitor, sessions_apart: bool
) -> None:
    client = visitor(abc)
    assert [client.get("/count/").content for _ in range(3)] == [b"1", b"2", b"3"]


def test_messages_are_heard_where_they_were_told(abc: str, xyz: str, visitor: Visitor) -> None:
    at_home, abroad = visitor(abc), visitor(xyz)
    at_home.get("/tell/")
    assert abroad.get("/hear/").content == b""
    assert at_home.get("/hear/").content.decode() == f"of {abc}"


class TestPermissions:
    @pytest.fixture(autouse=True)
    def ann(self, abc: str, xyz: str) -> dict[str, User]:
        """A user of each tenant, and one of the project, with the same id.

        Her group may change books in one tenant; in the other one, and on `default`, it may
        delete them.
        """
        self.recreate_permissions(xyz)
        ann = {}
        for alias in (abc, xyz, "default"):
            User(pk=5, username="ann").save(using=alias)
            ann[alias] = User.objects.using(alias).get()
            Group(pk=5, name="staff").save(using=alias)
            ann[alias].groups.add(5)
            wanted = "change_book" if alias == abc else "delete_book"
            if alias == "default":
                wanted = "delete_group"
            permission = Permission.objects.using(alias).get(codename=wanted)
            Group.objects.using(alias).get().permissions.add(permission)
        with tenant_context(abc):
            ann[abc].user_permissions.add(Permission.objects.get(codename="add_book"))
        return ann

    @pytest.mark.parametrize("context", ["abc", "xyz", None])
    def test_are_those_of_the_users_own_tenant(
        self, abc: str, xyz: str, ann: Any, context: str | None
    ) -> None:
        tenants = {"abc": abc, "xyz": xyz}
        expected = {
            abc: {"bookcase.add_book", "bookcase.change_book"},
            xyz: {"bookcase.delete_book"},
            "default": {"auth.delete_group"},
        }
        with tenant_context(tenants[context]) if context else nullcontext():
            for alias, names in expected.items():
                with assert_no_tenant_leak(alias if alias != "default" else None):
                    assert ann[alias].get_all_permissions() == names
                assert ann[alias].has_perms(names)
                again = User.objects.using(alias).get()
                assert async_to_sync(again.aget_all_permissions)() == names
                assert not ann[alias].has_perm("bookcase.view_book")

    def test_whose_users_have_one_is_asked_in_a_tenant(self, abc: str, xyz: str, ann: Any) -> None:
        with tenant_context(abc):
            assert list(User.objects.with_perm("bookcase.add_book")) == [ann[abc]]
        with tenant_context(xyz):
            assert list(User.objects.with_perm("bookcase.add_book")) == []

    def test_have_other_ids_in_other_tenants(self, abc: str, xyz: str) -> None:
        find = Permission.objects.mtdd
        here, there = (find(name).get(codename="add_book") for name in (abc, xyz))
        assert here.pk != there.pk
        assert here.content_type_id != there.content_type_id

    def test_cannot_be_given_across_tenants(self, abc: str, xyz: str, ann: Any) -> None:
        foreign = Permission.objects.using(xyz).get(codename="add_book")
        # As Django says it, or as this package does.
        with pytest.raises(ValueError, match=f"{xyz}.*{abc}|{abc}.*{xyz}"):
            ann[abc].user_permissions.add(foreign)

    def recreate_permissions(self, tenant: str) -> None:
        from django.apps import apps
        from django.contrib.auth.management import create_permissions

        for config in apps.get_app_configs():
            create_permissions(config, verbosity=0, interactive=False, using=tenant)


class TestPasswordReset:
    @pytest.fixture(autouse=True)
    def mailer(self, settings: Any) -> None:
        if django.VERSION >= (6, 1):
            settings.MAILERS = {
                "default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
            }

    def ask(self, client: Client) -> str:
        mail.outbox.clear()
        client.post("/accounts/password_reset/", {"email": "root@example.com"})
        (sent,) = mail.outbox
        assert sent.to == ["root@example.com"]
        found = re.search(r"http://([^/]+)(/\S+)", sent.body)
        assert found
        assert found[1] == client.defaults["SERVER_NAME"]
        return found[2]

    def test_by_mail_changes_the_password_in_the_tenant_only(
        self, abc: str, xyz: str, twins: Twins, visitor: Visitor
    ) -> None:
        client = visitor(abc)
        with assert_no_tenant_leak(abc):
            link = self.ask(client)
            form = client.get(link, follow=True)
            new = {"new_password1": "brand new secret", "new_password2": "brand new secret"}
            done = client.post(form.request["PATH_INFO"], new)
        assert done.status_code == 302
        with tenant_context(abc):
            assert authenticate(username="root", password="brand new secret")
        with tenant_context(xyz):
            assert authenticate(username="root", password=PASSWORD)

    def test_with_the_link_of_another_tenant_is_refused(
        self, abc: str, xyz: str, twins: Twins, visitor: Visitor
    ) -> None:
        link = self.ask(visitor(abc))
        abroad = visitor(xyz).get(link, follow=True)
        assert not abroad.context["validlink"]
        at_home = visitor(abc).get(link, follow=True)
        assert at_home.context["validlink"]

    def test_tokens_of_the_project_and_of_tenants_differ(
        self, abc: str, xyz: str, twins: Twins
    ) -> None:
        project = default_token_generator.make_token(twins[abc])
        assert default_token_generator.check_token(twins[abc], project)
        with tenant_context(abc):
            mine = default_token_generator.make_token(twins[abc])
            assert default_token_generator.check_token(twins[abc], mine)
            assert not default_token_generator.check_token(twins[abc], project)
        assert not default_token_generator.check_token(twins[abc], mine)

    def test_a_former_secret_still_counts_where_it_was_used(
        self, abc: str, xyz: str, twins: Twins, settings: Any
    ) -> None:
        settings.SECRET_KEY = "the former one"
        with tenant_context(abc):
            token = default_token_generator.make_token(twins[abc])
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new one", ["the former one"]
        with tenant_context(abc):
            assert default_token_generator.check_token(twins[abc], token)
        with tenant_context(xyz):
            assert not default_token_generator.check_token(twins[xyz], token)


def test_the_form_for_a_new_user_knows_the_names_of_its_tenant_only(abc: str, xyz: str) -> None:
    User.objects.db_manager(xyz).create_user("ann")
    data = {"username": "ann", "password1": "brand new secret", "password2": "brand new secret"}
    with tenant_context(abc):
        form = BaseUserCreationForm(data)
        assert form.is_valid(), form.errors
        assert form.save()._state.db == abc
        assert "already exists" in str(BaseUserCreationForm(data).errors["username"])


def test_passwords_are_validated_against_the_tenants_user(abc: str) -> None:
    with tenant_context(abc), pytest.raises(ValidationError, match="too similar to the username"):
        validate_password("margarethe", User.objects.create_user("margarethe"))


def test_a_superuser_is_made_in_a_tenant_by_the_command(
    abc: str, xyz: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "brand new secret")
    call_command(
        *("tenant_command", abc, "createsuperuser", "--noinput"),
        *("--username=root", "--email=root@example.com"),
    )
    assert "Superuser created successfully." in capsys.readouterr().out
    with tenant_context(abc):
        assert authenticate(username="root", password="brand new secret").is_superuser
    assert not get_user_model().objects.using(xyz).exists()
    assert not get_user_model().objects.using("default").exists()
