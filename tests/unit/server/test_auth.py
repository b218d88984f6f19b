"""Permissions from bearer tokens."""

import pytest

from mtdd_router.server.auth import ALL, Permission, make_authorize
from mtdd_router.server.config import load_config

BOTH = ("--data-token", "data-secret", "--admin-token", "admin-secret")


def authorize(*flags: str, header: str | bytes | None = None) -> frozenset[Permission]:
    config = load_config(flags, {"MTDD_SHARD_DSN": "postgresql://shard@localhost/shard"})
    metadata = () if header is None else (("x-other", "1"), ("authorization", header))
    return make_authorize(config)(metadata)


def test_without_tokens_everything_is_allowed() -> None:
    assert authorize() == ALL
    assert authorize(header="Bearer whatever") == ALL


def test_the_data_token_gives_data_only() -> None:
    assert authorize(*BOTH, header="Bearer data-secret") == {Permission.DATA}


def test_the_admin_token_gives_everything() -> None:
    assert authorize(*BOTH, header="Bearer admin-secret") == ALL


@pytest.mark.parametrize(
    "header", ["bearer data-secret", "BEARER  data-secret ", b"Bearer data-secret"]
)
def test_the_scheme_may_be_written_in_any_case(header: str | bytes) -> None:
    assert authorize(*BOTH, header=header) == {Permission.DATA}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "data-secret",
        "Basic data-secret",
        "Bearer data-secre",
        "Bearer é",
    ],
)
def test_anything_else_gives_nothing(header: str | None) -> None:
    assert authorize(*BOTH, header=header) == frozenset()


def test_with_one_token_only_the_other_permission_is_nobodys() -> None:
    assert authorize("--data-token", "x", header="Bearer x") == {Permission.DATA}
    assert authorize("--data-token", "x") == frozenset()
    assert authorize("--admin-token", "x", header="Bearer x") == ALL


def test_missing_metadata_gives_nothing() -> None:
    config = load_config(BOTH, {"MTDD_SHARD_DSN": "postgresql://shard@localhost/shard"})
    assert make_authorize(config)(None) == frozenset()
