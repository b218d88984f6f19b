from collections.abc import Iterator

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from mtdd_router.signing import TenantSecret, bind_password_reset


@pytest.fixture
def unbound() -> Iterator[None]:
    """Django's generator, as it is before the app is ready."""
    before = vars(default_token_generator).copy()
    default_token_generator.secret = None  # type: ignore[assignment]
    yield
    vars(default_token_generator).update(before)


def test_a_project_without_a_secret_key_starts_as_with_django_alone(unbound: None) -> None:
    with override_settings(SECRET_KEY=""):
        bind_password_reset()
        assert isinstance(default_token_generator.secret, TenantSecret)
        with pytest.raises(ImproperlyConfigured):
            str(default_token_generator.secret)
