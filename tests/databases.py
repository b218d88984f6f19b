"""Databases that tests make and drop."""

from time import monotonic, sleep
from typing import Any, Final

import psycopg
from psycopg import sql

__all__ = ["drop_database"]

_PATIENCE: Final = 60.0


def drop_database(connection: "psycopg.Connection[Any]", name: str) -> None:
    """Drop a database of the connection's role, which need not be there; end who uses it."""
    deadline = monotonic() + _PATIENCE
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    while True:
        try:
            connection.execute(drop)
        except psycopg.errors.InsufficientPrivilege:
            # Autovacuum is at work there, and only a superuser may end it.
            if monotonic() > deadline:
                raise
            sleep(0.2)
        else:
            return
