"""The folder of a shard server's own sockets."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mtdd_router.server.runtime_folder import runtime_folder


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_servers_that_start_at_once_leave_each_others_alone(base):
    def start(_: int) -> None:
        for _ in range(300):
            with runtime_folder() as folder:
                assert (folder / "workers").stat().st_size

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert not list(base.iterdir())


def test_what_a_killed_server_left_is_removed_by_the_next(base):
    (base / "mtdd-shard-killed").mkdir()
    with runtime_folder() as folder:
        assert list(base.iterdir()) == [folder]
