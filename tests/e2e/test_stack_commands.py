"""mtdd_up, mtdd_status and mtdd_down, as somebody types them, also as a normal user."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mtdd_router.embedded import Stack, stack_status
from mtdd_router.embedded.job_worker import worker_mark
from mtdd_router.embedded.processes import marked_processes, wait_until
from mtdd_router.embedded.state import StackState
from tests.databases import drop_database
from tests.projects import PATIENCE, Project


@pytest.fixture
def project(stack_folder: Path) -> Iterator[Project]:
    project = Project(stack_folder)
    yield project
    project.manage("mtdd_down")


def test_a_detached_stack_is_started_used_stopped_and_started_again(project: Project) -> None:
    assert project.ask("mtdd_status", code=1)["status"] == "stopped"
    assert "mtdd_up" in project.manage("list_tenants", code=1)

    started = project.ask("mtdd_up", "--detach")
    assert started["healthy"]
    kinds = [(service["name"], service["kind"]) for service in started["services"]]
    assert kinds == [
        ("registry", "PostgreSQL"),
        ("shard1", "PostgreSQL"),
        ("shard1", "shard server"),
        ("shard2", "PostgreSQL"),
        ("shard2", "shard server"),
        ("jobs", "worker"),
    ]
    assert [shard["healthy"] for shard in project.ask("list_shards")] == [True, True]
    assert project.ask("create_tenant", "abc")["state"] == "active"

    # Twice is harmless, and says so.
    again = project.manage("mtdd_up", "--detach")
    assert "already running" in again
    assert "already running" in project.manage("mtdd_up")
    assert project.ask("mtdd_status")["supervisor_pid"] == started["supervisor_pid"]
    assert "running" in project.manage("mtdd_up", "--reset", "--no-input", code=1)

    assert project.ask("mtdd_down") == {"stopped": True}
    assert project.ask("mtdd_down") == {"stopped": False}
    assert project.ask("mtdd_status", code=1)["status"] == "stopped"

    restarted = project.ask("mtdd_up", "--detach")
    assert restarted["services"] == started["services"]
    code = "from django.contrib.auth.models import User; print(User.objects.mtdd('abc').count())"
    assert project.manage("shell", "--no-imports", "-c", code) == "0\n"
    assert project.ask("check_shards")["agrees"]


def test_in_the_foreground_it_runs_until_ctrl_c(project: Project) -> None:
    process = project.start("mtdd_up", "--shards", "1")
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if "Ctrl-C" in line:
            break
    assert stack_status(project.folder).healthy
    assert [shard["name"] for shard in project.ask("list_shards")] == ["shard1"]
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "Stopping" in output
    assert not any(service.answers for service in stack_status(project.folder).services)


def test_after_a_crash_the_status_says_so_and_the_next_start_works(project: Project) -> None:
    started = project.ask("mtdd_up", "--detach", "--shards", "1")
    os.kill(started["supervisor_pid"], signal.SIGKILL)
    assert wait_until(
        lambda: not any(service.answers for service in stack_status(project.folder).services),
        timeout=PATIENCE,
    )
    assert project.ask("mtdd_status", code=1)["status"] == "crashed"
    assert "crashed" in project.manage("list_tenants", code=1)
    assert project.ask("mtdd_up", "--detach")["healthy"]


def test_the_worker_of_the_stack_does_jobs_and_is_replaced_and_ends_with_it(
    project: Project,
) -> None:
    project.ask("mtdd_up", "--detach", "--shards", "1")
    state = StackState.read(project.folder)
    assert state is not None

    def workers() -> list[int]:
        return [process.pid for process in marked_processes(worker_mark(state.stack_id))]

    def create(name: str) -> None:
        code = f"from tenants import services; services.request_creation({name!r})"
        project.manage("shell", "--no-imports", "-c", code)

        def there() -> bool:
            return (name, "active") in [
                (t["name"], t["state"]) for t in project.ask("list_tenants")
            ]

        assert wait_until(there, timeout=PATIENCE, pause=0.5)

    create("abc")
    (first,) = workers()
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: workers() not in ([], [first]), timeout=PATIENCE)
    create("xyz")
    project.manage("mtdd_down")
    assert workers() == []


def test_an_existing_postgresql_is_used_by_its_dsn(
    project: Project, stack: Stack, empty_database_dsn: str
) -> None:
    registry = psycopg.conninfo.conninfo_to_dict(empty_database_dsn)
    with psycopg.connect(empty_database_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {registry['dbname']}_registry")  # type: ignore[arg-type]
    registry_dsn = psycopg.conninfo.make_conninfo(
        **{**registry, "dbname": f"{registry['dbname']}_registry"}
    )
    try:
        # With spaces in them, as PostgreSQL writes connection strings.
        options = ("--registry-dsn", registry_dsn, "--shard-dsn", empty_database_dsn)
        started = project.ask("mtdd_up", "--detach", *options)
        assert [service["kind"] for service in started["services"]] == ["shard server", "worker"]
        assert project.ask("create_tenant", "abc")["shard"] == "shard1"
        project.manage("delete_tenant", "abc", "--now", "--noinput")
        project.manage("mtdd_down")
    finally:
        with psycopg.connect(empty_database_dsn, autocommit=True) as connection:
            drop_database(connection, f"{registry['dbname']}_registry")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--shards", "0"), 2, "must be 1 or more"),
        (("--shards", "many"), 2, "invalid"),
        (("--shards", "3", "--shard-dsn", "host=a"), 1, "do not agree"),
        (("--data-dir", "/proc/nowhere"), 1, "/proc/nowhere"),
    ],
)
@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_what_cannot_be_is_refused_and_leaves_nothing(
    project: Project, arguments: tuple[str, ...], code: int, said: str, how: tuple[str, ...]
) -> None:
    assert said in project.manage("mtdd_up", *arguments, *how, code=code)
    assert stack_status(project.folder).status == "stopped"
