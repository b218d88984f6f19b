"""A direct connection and one over a shard server, to the same database."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from mtdd_router import dbapi
from mtdd_router.backend.locators import DatabaseLocator


@pytest.fixture
def direct(shard_postgres_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(shard_postgres_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def connection(shard_addresses: dict[str, str]) -> Iterator[dbapi.Connection[Any]]:
    locator = DatabaseLocator(shard_addresses["shard1"], "mtdd", "")
    with dbapi.connect(locator, database="mtdd", autocommit=True) as connected:
        yield connected


@pytest.fixture(params=["direct", "connection"])
def either(request: pytest.FixtureRequest) -> psycopg.Connection[Any]:
    """Each of both: what holds for one holds for the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def table(direct: psycopg.Connection[Any]) -> Iterator[str]:
    direct.execute("DROP SCHEMA IF EXISTS scratch CASCADE")
    direct.execute("CREATE SCHEMA scratch; CREATE TABLE scratch.t (id int PRIMARY KEY, word text)")
    yield "scratch.t"
    direct.execute("DROP SCHEMA scratch CASCADE")
