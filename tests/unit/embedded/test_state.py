"""What a stack keeps on disk can be read back, and what is broken says so."""

from pathlib import Path

import pytest

from mtdd_router.embedded import StackError, StackOptions
from mtdd_router.embedded.processes import Identity, process_of
from mtdd_router.embedded.state import Credentials, ShardState, StackState


def test_a_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    state = StackState(
        status="running",
        supervisor=Identity(7, 1.5),
        data_folder="/data",
        registry_port=1234,
        shards=[ShardState("shard1", 1, 2), ShardState("shard2", 3, None)],
    )
    state.write(tmp_path)
    assert StackState.read(tmp_path) == state


def test_there_is_no_state_in_an_empty_folder(tmp_path: Path) -> None:
    assert StackState.read(tmp_path) is None
    assert Credentials.read(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 1, "shards": 5}'])
def test_a_broken_state_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    with pytest.raises(StackError, match=r"stack\.json.*--reset"):
        StackState.read(tmp_path)


def test_credentials_show_no_password_when_printed(tmp_path: Path) -> None:
    credentials = Credentials(registry_dsn="postgresql://u:secret@h/d")
    credentials.write(tmp_path)
    assert Credentials.read(tmp_path) == credentials
    for secret in (credentials.superuser, credentials.registry, credentials.shard, "secret"):
        assert secret not in repr(credentials)


def test_every_stack_has_passwords_of_its_own() -> None:
    one, two = Credentials(), Credentials()
    assert len({one.superuser, one.registry, one.shard, two.superuser, two.shard}) == 5


def test_a_number_that_another_process_has_now_is_not_taken_for_the_old_one() -> None:
    import os

    mine = Identity.of(os.getpid())
    assert process_of(mine) is not None
    assert process_of(Identity(mine.pid, mine.created - 60)) is None
    assert process_of(None) is None


def test_dsns_come_from_the_environment() -> None:
    options = StackOptions.from_environment(
        {"MTDD_STACK_REGISTRY_DSN": "r", "MTDD_STACK_SHARD_DSNS": "host=a dbname=b\n\n c "}
    )
    assert options.registry_dsn == "r"
    assert options.shard_dsns == ("host=a dbname=b", "c")
    assert StackOptions.from_environment({}) == StackOptions()
