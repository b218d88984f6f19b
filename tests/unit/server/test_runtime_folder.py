"""The folder of a shard server's own sockets."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mtdd_router.server.runtime_folder import runtime_folder


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # That of pytest may make too long a path for a socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


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
