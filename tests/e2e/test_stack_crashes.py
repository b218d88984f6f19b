"""Whatever kills a part of the stack, nothing is left that the next start cannot clean."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from mtdd_router.embedded import (
    Stack,
    StackOptions,
    StackStatus,
    registry_dsn,
    stack_status,
    start_detached,
    stop_stack,
)
from mtdd_router.embedded.processes import (
    mark_option,
    marked_processes,
    postgres_processes,
    wait_until,
)
from mtdd_router.embedded.state import StackState

ONE = StackOptions(shards=1, durable=False)
PATIENCE = 20.0


@contextmanager
def detached(folder: Path) -> Iterator[StackStatus]:
    start_detached(folder, ONE)
    try:
        yield stack_status(folder)
    finally:
        stop_stack(folder)


def alive(folder: Path) -> list[psutil.Process]:
    """Return all processes of the stack but its supervisor."""
    state = StackState.read(folder)
    assert state is not None
    postgres = [
        process
        for name in ("registry", "shard1")
        for process in postgres_processes(Path(state.data_folder) / name)
    ]
    return postgres + marked_processes(state.stack_id)


def write_row(folder: Path) -> str:
    token = secrets.token_hex(4)
    with psycopg.connect(registry_dsn(folder)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (token text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [token])
    return token


def has_row(folder: Path, token: str) -> bool:
    with psycopg.connect(registry_dsn(folder)) as connection:
        found = connection.execute("SELECT 1 FROM kept WHERE token = %s", [token])
        return found.fetchone() is not None


def test_a_detached_stack_outlives_its_starter_and_stops_on_demand(stack_folder: Path) -> None:
    with detached(stack_folder) as status:
        assert status.healthy
        assert status.supervisor_pid not in {None, os.getpid()}
        assert stop_stack(stack_folder)
        assert alive(stack_folder) == []
        assert not stop_stack(stack_folder)
    assert stack_status(stack_folder).status == "stopped"


def test_a_killed_supervisor_takes_all_its_children_along(stack_folder: Path) -> None:
    with detached(stack_folder) as status:
        token = write_row(stack_folder)
        assert status.supervisor_pid is not None
        os.kill(status.supervisor_pid, signal.SIGKILL)
        assert wait_until(lambda: alive(stack_folder) == [], timeout=PATIENCE)
        assert stack_status(stack_folder).status == "crashed"
    with detached(stack_folder):
        assert has_row(stack_folder, token)


def test_a_stack_that_was_killed_in_every_part_at_once_starts_again(stack_folder: Path) -> None:
    with detached(stack_folder) as status:
        token = write_row(stack_folder)
        assert status.supervisor_pid is not None
        for process in [psutil.Process(status.supervisor_pid), *alive(stack_folder)]:
            # PostgreSQL's own processes end by themselves when its first is killed.
            with suppress(psutil.NoSuchProcess):
                process.kill()
    with detached(stack_folder) as status:
        assert status.healthy
        assert has_row(stack_folder, token)


def test_a_postgresql_that_is_killed_is_started_again_with_its_data(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE) as stack:
        token = write_row(stack_folder)
        victim = stack.postgres[0]
        assert victim.process is not None
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()
        stack.tend()
        victim.wait_ready()
        assert has_row(stack_folder, token)


def test_a_shard_server_that_is_killed_is_started_again(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE) as stack:
        victim = stack.shard_servers[0]
        assert victim.process is not None
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()
        stack.tend()
        victim.wait_ready()
        assert victim.answers


def test_a_server_that_keeps_dying_is_started_ever_more_rarely(
    stack_folder: Path,
) -> None:
    told: list[str] = []
    with Stack(stack_folder, ONE, report=told.append) as stack:
        told.clear()
        victim = stack.shard_servers[0]
        for _ in range(2):
            assert victim.process is not None
            victim.process.kill()
            victim.process.wait()
            stack.tend()
        assert len(told) == 1
        assert "shard1" in told[0]
        assert wait_until(lambda: (stack.tend(), victim.running)[1], timeout=PATIENCE)


def test_a_lock_file_of_postgresql_with_somebody_elses_number_is_no_hindrance(
    stack_folder: Path,
) -> None:
    with Stack(stack_folder, ONE) as stack:
        data = stack.postgres[0].folder
    # As after a reboot, when the number belongs to any program of the same user.
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        lines = [str(sleeper.pid), str(data), "1700000000", "5432", "", "127.0.0.1", "1 1", "ready"]
        (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
        with Stack(stack_folder, ONE) as again:
            psycopg.connect(again.registry_dsn).close()
        assert sleeper.poll() is None, "a program that is not ours was ended"
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_stray_shard_server_of_a_dead_stack_is_ended_but_nobody_elses(
    stack_folder: Path,
) -> None:
    with Stack(stack_folder, ONE) as stack:
        mark = stack.shard_servers[0].mark
    program = ["-c", "import time; time.sleep(60)"]
    stray = subprocess.Popen([sys.executable, *mark_option(mark), *program])
    stranger = subprocess.Popen([sys.executable, *mark_option("of-another-stack"), *program])
    try:
        time.sleep(0.2)
        with Stack(stack_folder, ONE):
            assert wait_until(lambda: stray.poll() is not None, timeout=PATIENCE)
            assert stranger.poll() is None
    finally:
        for process in (stray, stranger):
            process.kill()
            process.wait()


def test_an_interrupted_initdb_is_begun_anew(stack_folder: Path) -> None:
    unfinished = stack_folder / "postgres" / "registry.new-00000000"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with Stack(stack_folder, ONE) as stack:
        psycopg.connect(stack.registry_dsn).close()
    assert not unfinished.exists()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(stack_folder: Path, kind: signal.Signals) -> None:
    command = [sys.executable, "-m", "mtdd_router.embedded", str(stack_folder), "--shards", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(
            lambda: stack_status(stack_folder).status == "running" or process.poll() is not None,
            timeout=60,
        )
        process.send_signal(kind)
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output
    assert "Stopping." in output
    assert alive(stack_folder) == []
