"""Answers larger than what libpq reads at once."""

import time
from typing import Any

from mtdd_router import dbapi


def test_a_large_answer_arrives_without_pauses(connection: dbapi.Connection[Any]):
    started = time.monotonic()
    rows = connection.execute(
        "SELECT n, repeat('x', 60) FROM generate_series(1, 40000) AS n"
    ).fetchall()
    taken = time.monotonic() - started

    assert [number for number, _ in rows] == list(range(1, 40001))
    # A pause is a second, and there was one for every few hundred kilobytes.
    assert taken < 4.0
