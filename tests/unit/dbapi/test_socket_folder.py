"""A socket's path has room in the folder, however long the path of temporary files is."""

import socket
import tempfile
from pathlib import Path

import pytest

from mtdd_router.dbapi.loopback import Loopback
from mtdd_router.dbapi.socket_folder import socket_folder


@pytest.mark.parametrize("length", [10, 60, 77, 120, 200])
def test_a_socket_can_be_bound_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    base = tmp_path / ("x" * length)
    base.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    with socket_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/.s.PGSQL.65535"
        assert len(path) <= 103
        listener.bind(path)
        assert Path(folder).stat().st_mode & 0o077 == 0
    assert not Path(folder).exists()


def test_a_loopback_does_not_mind_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / ("x" * 150)
    base.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    Loopback("abc", {"server_version": "18.6"}).close()
