"""Certificates for development, used by a shard server and a Django project."""

import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from mtdd_router.directory import directory
from mtdd_router.errors import MTDDError
from tenants import services
from tests.integration.server.conftest import (  # noqa: F401 - fixtures
    postgres_dsn,
    shard_dsn,
    start_server,
)
from tests.integration.server.running import StartServer
from tests.integration.tenants.conftest import run, run_json


def test_server_and_project_trust_each_other_by_them(
    transactional_db: None,
    start_server: StartServer,  # noqa: F811
    settings: Any,
    tmp_path: Path,
) -> None:
    made = run_json("mtdd_certs", f"--folder={tmp_path / 'certs'}")
    server, server_key = made["server"]
    address = start_server(
        tls_certificate=server, tls_key=server_key, tls_client_ca=made["authority"]
    ).address
    certificate, key = made["client"]
    trusted = {"authorities": made["authority"], "certificate": certificate, "key": key}
    settings.MTDD_SHARD_TLS = trusted
    directory.forget()
    # Signed anew by the same authority, they are as good.
    run("mtdd_certs", f"--folder={tmp_path / 'certs'}")
    services.register_shard("one", address)
    services.remove_shard("one")
    other = run_json("mtdd_certs", f"--folder={tmp_path / 'other'}")
    for wrong in (
        {**trusted, "certificate": other["client"][0], "key": other["client"][1]},
        {**trusted, "authorities": other["authority"]},
        {**trusted, "certificate": server, "key": server_key},
    ):
        settings.MTDD_SHARD_TLS = wrong
        with pytest.raises(MTDDError, match=r"TLS|certificate|closed the connection"):
            services.register_shard("two", address)


def test_keys_are_their_owners_and_are_not_written_over(tmp_path: Path) -> None:
    made = run_json("mtdd_certs", f"--folder={tmp_path}", "--host=shard.example", "--days=1")
    for key in ("server-key.pem", "client-key.pem", "ca-key.pem"):
        assert stat.S_IMODE((tmp_path / key).stat().st_mode) == 0o600
    authority = Path(made["authority"]).read_bytes()
    run("mtdd_certs", f"--folder={tmp_path}")
    assert Path(made["authority"]).read_bytes() == authority
    (tmp_path / "ca-key.pem").unlink()
    with pytest.raises(CommandError, match="remove both"):
        run("mtdd_certs", f"--folder={tmp_path}")
    with pytest.raises(CommandError, match="--days"):
        run("mtdd_certs", f"--folder={tmp_path / 'new'}", "--days=0")
