"""A Django project whose shard servers demand TLS and a client's certificate."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from mtdd_router.checks import check_values
from mtdd_router.directory import directory
from mtdd_router.errors import MTDDError
from tenants import services
from tests.integration.server.running import StartServer, make_certificate


@pytest.fixture
def shard_address(
    transactional_db: None, start_server: StartServer, tmp_path: Path, settings: Any
) -> str:
    """The address of a server with TLS; the settings say how to talk to it."""
    certificate, key = map(str, make_certificate(tmp_path))
    server = start_server(tls_certificate=certificate, tls_key=key, tls_client_ca=certificate)
    settings.MTDD_SHARD_TLS = {"authorities": certificate, "certificate": certificate, "key": key}
    directory.forget()
    return server.address


def test_a_tenant_is_made_and_used(shard_address: str) -> None:
    assert list(check_values()) == []
    services.register_shard("one", shard_address)
    services.create_tenant("abc", shard="one")
    User.objects.mtdd("abc").create(username="ann")
    assert [user.username for user in User.objects.mtdd("abc")] == ["ann"]
    connections.close_all()


@pytest.mark.parametrize("left_out", ["everything", "authorities", "certificate"])
def test_without_the_right_files_the_shard_is_not_registered(
    shard_address: str, settings: Any, left_out: str
) -> None:
    tls = dict(settings.MTDD_SHARD_TLS)
    tls.pop(left_out, None)
    settings.MTDD_SHARD_TLS = None if left_out == "everything" else tls
    with pytest.raises(MTDDError, match=r"TLS|certificate|closed the connection"):
        services.register_shard("one", shard_address)
