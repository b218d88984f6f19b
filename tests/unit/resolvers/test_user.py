"""Who is logged in tells the tenant, if the project says where it is written."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest
from django.test import RequestFactory

from mtdd_router import ConfigurationError, current_tenant, resolution_checks, tenant_context
from mtdd_router.resolvers import UserResolver, load_resolvers
from mtdd_router.resolvers.loading import is_blocking

USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
TENANTS = "mtdd_router.TenantMiddleware"
PATH = "mtdd_router.resolvers.UserResolver"


def request(user: Any) -> HttpRequest:
    made: Any = RequestFactory().get("/")
    made.user = user
    return made


def person(**attributes: Any) -> Any:
    return SimpleNamespace(is_authenticated=True, **attributes)


def customer_of(user: Any) -> str:
    assert current_tenant() is None
    return str(user.customer)


class WithoutProfile:
    is_authenticated = True

    @property
    def profile(self) -> Any:
        raise ObjectDoesNotExist


@pytest.mark.parametrize(
    ("options", "user", "tenant"),
    [
        ({"attribute": "home"}, person(home="abc"), "abc"),
        (
            {"attribute": "profile.customer.slug"},
            person(profile=person(customer=person(slug="abc"))),
            "abc",
        ),
        ({"attribute": "profile.customer"}, person(profile=None), None),
        ({"attribute": "profile.customer"}, WithoutProfile(), None),
        ({"attribute": "home"}, person(home=""), None),
        ({"attribute": "home"}, person(home=3), None),
        ({"function": customer_of}, person(customer="abc"), "abc"),
        ({"function": f"{__name__}.customer_of"}, person(customer="abc"), "abc"),
        ({"function": lambda _user: None}, person(), None),
        ({"attribute": "home"}, AnonymousUser(), None),
        ({"function": customer_of}, AnonymousUser(), None),
    ],
)
def test_a_user_tells_the_tenant(options: Any, user: Any, tenant: str | None) -> None:
    with tenant_context("xyz"):
        assert UserResolver(**options)(request(user)) == tenant


def test_a_user_without_such_an_attribute_is_an_error_and_no_other_tenant() -> None:
    with pytest.raises(AttributeError):
        UserResolver("home")(request(person()))


def test_a_missing_user_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="AuthenticationMiddleware"):
        UserResolver("home")(RequestFactory().get("/"))


@pytest.mark.parametrize(
    "options",
    [{}, {"attribute": "a", "function": customer_of}, {"function": 3}, {"function": "a.b"}],
)
def test_wrong_options_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        load_resolvers([(PATH, options)])


def test_a_query_for_the_user_is_kept_off_an_event_loop() -> None:
    assert is_blocking(UserResolver("home"))


@pytest.mark.parametrize(
    ("middleware", "tenant_apps", "expected"),
    [
        ([USERS, TENANTS], ["sessions"], []),
        ([TENANTS, USERS], ["sessions"], ["mtdd.E053"]),
        ([TENANTS], ["sessions"], ["mtdd.E053"]),
        ([USERS, TENANTS], ["auth"], ["mtdd.E053"]),
    ],
)
def test_the_checks_want_the_projects_users_in_time(
    settings: Any, middleware: Any, tenant_apps: Any, expected: Any
) -> None:
    settings.MTDD_RESOLVERS = [(PATH, {"attribute": "home"})]
    settings.MIDDLEWARE = middleware
    settings.TENANT_APPS = tenant_apps
    assert [message.id for message in resolution_checks.check_users()] == expected
    settings.MTDD_RESOLVERS = []
    assert list(resolution_checks.check_users()) == []
