"""Where the time of one point query goes, by stamps on either side of each border.

The stamps are set by wrapping functions of the product from outside, here and in
`benchmarks.traced_server`, so that the product itself carries none. Both processes
read the machine's one monotonic clock.
"""

import json
import os
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic_ns
from typing import Any

from rich.table import Table

from benchmarks.works import WORKS, Tables

__all__ = ["STAMPS", "environment", "table", "trace_client"]

STAMPS = "MTDD_BENCH_STAMPS"
_STEPS = (
    ("client: ORM, psycopg, request", "the time before the request is sent"),
    ("transport to the server", "framing on both sides, the socket, the server's event loop"),
    ("server: before PostgreSQL", "checks, pool, frontend messages"),
    ("PostgreSQL", "its work, both socket trips, the event loop's wake-up"),
    ("server: after PostgreSQL", "reading the answer, releasing the connection"),
    ("transport to the client", "the same, and this process waking up"),
    ("client: psycopg, ORM", "the time after the response is there"),
)


def environment(stack: ExitStack) -> dict[str, str]:
    """Return the variable that tells both processes where the server's stamps are left."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mtdd-bench-stamps-"))
    return {STAMPS: str(Path(folder, "stamps.json"))}


def trace_client(tables: Tables, count: int) -> dict[str, Any]:
    """Run point queries, and return the duration of each step of each, in nanoseconds."""
    from mtdd_router.client.session import Session

    mine: list[tuple[int, int, int, int]] = []
    sent = answered = serial = 0
    send, receive = Session.send, Session.receive

    def stamped_send(self: Session, *arguments: Any) -> None:
        nonlocal sent, serial
        sent = monotonic_ns()
        send(self, *arguments)
        serial = self.serial

    def stamped_receive(self: Session) -> Any:
        nonlocal answered
        response = receive(self)
        answered = monotonic_ns()
        return response

    run = WORKS["get"].run
    for _ in range(200):
        run(tables)
    Session.send, Session.receive = stamped_send, stamped_receive  # type: ignore[assignment,method-assign]
    durations = []
    borders = []
    try:
        for _ in range(count):
            started = monotonic_ns()
            run(tables)
            ended = monotonic_ns()
            mine.append((serial, started, sent, answered))
            borders.append(ended)
            durations.append(ended - started)
    finally:
        Session.send, Session.receive = send, receive  # type: ignore[method-assign]
    # The traced server leaves its stamps when it sees this statement.
    with tables.connection.cursor() as cursor:
        cursor.execute("SELECT 'leave the stamps'")
    theirs = {int(key): stamps for key, stamps in json.loads(_read()).items()}
    steps = []
    for (number, started, at_send, at_answer), ended in zip(mine, borders, strict=True):
        if (stamps := theirs.get(number)) is None or len(stamps) != 4:
            continue
        moments = (started, at_send, *stamps, at_answer, ended)
        steps.append([later - earlier for earlier, later in pairwise(moments)])
    return {"steps": steps, "whole": durations}


def _read() -> str:
    return Path(os.environ[STAMPS]).read_text()


def table(traced: dict[str, Any]) -> Table:
    """Return the breakdown for the terminal."""
    columns = list(zip(*traced["steps"], strict=True))
    shown = Table(
        title=f"One .get(pk) of {len(traced['steps']):,}, in microseconds",
        caption="medians of the steps; they need not add up to the median of the whole",
    )
    for name in ("step", "p50", "p90", "what it is"):
        shown.add_column(name, justify="right" if name.startswith("p") else "left")
    for (name, meaning), values in zip(_STEPS, columns, strict=True):
        shown.add_row(name, *_quantiles(values), meaning, style="dim" if not values else "")
    shown.add_section()
    shown.add_row("the whole query", *_quantiles(traced["whole"]), "stamps included")
    return shown


def _quantiles(values: Any) -> tuple[str, str]:
    ordered = sorted(values)
    high = ordered[int(len(ordered) * 0.9)]
    return f"{median(ordered) / 1000:.0f}", f"{high / 1000:.0f}"
