"""What connections take from Django's settings."""

from typing import Any

from django.db import connections
from django.test import override_settings

from mtdd_router.backend.defaults import defaults
from mtdd_router.conf import mtdd_settings


def test_they_are_the_settings_defaults() -> None:
    found = defaults()
    assert found.token == mtdd_settings.shard_token
    assert found.tls == mtdd_settings.shard_tls
    assert found.key == mtdd_settings.shard_key
    assert found.connect_timeout == mtdd_settings.connect_timeout
    assert found.statement_timeout == mtdd_settings.statement_timeout
    assert found.kept_connections == mtdd_settings.kept_connections


def test_the_next_connection_is_made_by_changed_settings() -> None:
    connection = connections["abc"]
    assert connection.get_connection_params()["connect_timeout"] == 5.0
    with override_settings(MTDD_CONNECT_TIMEOUT=1.5, MTDD_SHARD_TOKEN="secret"):
        assert connection.get_connection_params()["connect_timeout"] == 1.5
        assert defaults().token == "secret"
    assert connection.get_connection_params()["connect_timeout"] == 5.0
    assert defaults().token == ""


def test_the_token_is_not_shown(settings: Any) -> None:
    settings.MTDD_SHARD_TOKEN = "secret"
    assert "secret" not in repr(defaults())
