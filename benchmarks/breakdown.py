"""Where the time of one point query goes, by stamps on either side of each border.

The stamps are set by wrapping functions of the product from outside, here and in
`benchmarks.traced_server`, so that the product itself carries none. Both processes
read the machine's one monotonic clock.
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic_ns
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.candidates import BARE, OURS, Spec, Variant
from benchmarks.rows.row import in_turns
from benchmarks.usage import usage
from benchmarks.world import World

__all__ = ["STAMPS", "profile", "trace_client"]

STAMPS = "MTDD_BENCH_STAMPS"
_STEPS = (
    ("client: the ORM and psycopg", "the SQL and its parameters, until libpq has written them"),
    ("client: encode", "a session, the request, its bytes"),
    ("transport to the server", "framing, the socket, the server's event loop, decoding"),
    ("server: queue", "checks, a backend connection, PostgreSQL's messages"),
    ("PostgreSQL", "its work, both socket trips, the event loop's wake-up"),
    ("server: answer", "reading the answer, the response, releasing the connection"),
    ("transport to the client", "framing, the socket, this process's wake-up"),
    ("client: decode", "the response, and giving it to libpq"),
    ("client: psycopg and the ORM", "rows, and an object"),
)
_SERVER_STAMPS = 4
_PROCESSOR_ROUNDS = 10
_PROCESSES = 4
_THREADS = 8
_LOAD_SECONDS = 1.0


def profile(console: Console, count: int, variants: Sequence[Variant]) -> None:
    """Print the breakdown of *count* point queries, and what they cost in processor time."""
    spec = Spec(OURS)
    with tempfile.TemporaryDirectory(prefix="mtdd-bench-stamps-") as folder:
        traced = Variant(variables={STAMPS: str(Path(folder, "stamps.json"))})
        server = "benchmarks.traced_server"
        with World([spec], console.print, variants=[traced], module=server) as world:
            candidate = world.candidate(spec)
            found = candidate.ask(do="trace", count=count, tenants=candidate.tenants)
    console.print(_table(found))
    ours = [Spec(OURS), *(Spec(OURS, variant=variant.name) for variant in variants)]
    specs = [Spec("direct"), Spec(OURS, variant=BARE.name), *ours]
    with World(specs, console.print, variants=[Variant(), BARE, *variants]) as world:
        console.print(_processor_table(world, specs, count))


def _processor_table(world: World, specs: Sequence[Spec], count: int) -> Table:
    shown = Table(
        title="Processor time of one work, in microseconds",
        caption=f"medians of rounds; under load are {_PROCESSES} processes of {_THREADS} threads",
    )
    for name in ("work", "candidate", "client", "shard server", "of it Python"):
        shown.add_column(name, justify="left" if name in {"work", "candidate"} else "right")
    for work, title in (("get", "get"), ("atomic", "atomic"), ("get", "get, under load")):
        load = title != work
        chosen = [_loading(spec) if load else spec for spec in specs]
        spent: dict[str, list[_Spent]] = {spec.name: [] for spec in chosen}
        for number in range(-1, _PROCESSOR_ROUNDS):
            for spec in in_turns(chosen, number):
                found = _processor_time(world, spec, work, 0 if load else count)
                if number >= 0:
                    spent[spec.name].append(found)
        for spec in chosen:
            columns = zip(*spent[spec.name], strict=True)
            client, server, python = (f"{median(column):.0f}" for column in columns)
            served = (server, python) if spec.kind == OURS else ("", "")
            shown.add_row(title, spec.name, client, *served)
    return shown


def _loading(spec: Spec) -> Spec:
    return replace(spec, processes=_PROCESSES, threads=_THREADS)


class _Spent(NamedTuple):
    """Microseconds of processor time for one work; *python* is the server's outside the kernel."""

    client: float
    server: float
    python: float


def _processor_time(world: World, spec: Spec, work: str, count: int) -> _Spent:
    """Return what *count* works take, or what each takes under load if that is zero."""
    candidate, server = world.candidate(spec), world.shard(spec).pid
    tenants = candidate.tenants
    before = candidate.usage(), usage(server)
    if count:
        rounds = count // _PROCESSOR_ROUNDS
        done = candidate.ask(do="run", work=work, count=rounds, order="turns", tenants=tenants)
    else:
        answers = candidate.ask_all(
            do="load", work=work, seconds=_LOAD_SECONDS, tenants=tenants, threads=_THREADS, warm=1
        )
        done = [duration for answer in answers for duration in answer]
    after = candidate.usage(), usage(server)
    client, served = (now.since(then) for now, then in zip(after, before, strict=True))
    each = 1e6 / len(done)
    return _Spent(client.seconds * each, served.seconds * each, served.user_seconds * each)


def trace_client(run: Callable[[str], object], tenant: str, count: int) -> dict[str, Any]:
    """Run point queries, and return the duration of each step of each, in nanoseconds."""
    from django.db import connections

    from mtdd_router.client.exchange import Exchange
    from mtdd_router.client.session import Session

    stamps: list[int] = []
    serial = 0
    submit, send, receive = Exchange.submit, Session.send, Session.receive

    def stamped_submit(self: Exchange, data: bytes) -> bytes:
        stamps.append(monotonic_ns())
        answer = submit(self, data)
        stamps.append(monotonic_ns())
        return answer

    def stamped_send(self: Session, *arguments: Any) -> None:
        nonlocal serial
        stamps.append(monotonic_ns())
        send(self, *arguments)
        serial = self.serial

    def stamped_receive(self: Session) -> Any:
        response = receive(self)
        stamps.append(monotonic_ns())
        return response

    for _ in range(200):
        run(tenant)
    Exchange.submit = stamped_submit  # type: ignore[method-assign]
    Session.send, Session.receive = stamped_send, stamped_receive  # type: ignore[method-assign]
    mine = []
    try:
        for _ in range(count):
            stamps.clear()
            stamps.append(monotonic_ns())
            run(tenant)
            mine.append((serial, [*stamps, monotonic_ns()]))
    finally:
        Exchange.submit = submit  # type: ignore[method-assign]
        Session.send, Session.receive = send, receive  # type: ignore[method-assign]
    # The traced server leaves its stamps when it sees this statement.
    with connections[tenant].cursor() as cursor:
        cursor.execute("SELECT 'leave the stamps'")
    theirs = json.loads(Path(os.environ[STAMPS]).read_text())
    steps = []
    for number, (started, submitted, sent, answered, decoded, ended) in mine:
        there = theirs.get(str(number), ())
        if len(there) == _SERVER_STAMPS:
            moments = (started, submitted, sent, *there, answered, decoded, ended)
            steps.append([later - earlier for earlier, later in pairwise(moments)])
    return {"steps": steps, "whole": [moments[-1] - moments[0] for _, moments in mine]}


def _table(traced: dict[str, Any]) -> Table:
    """Return the breakdown for the terminal."""
    columns = list(zip(*traced["steps"], strict=True))
    shown = Table(
        title=f"One .get(pk) of {len(traced['steps']):,}, in microseconds",
        caption="medians of the steps; they need not add up to the median of the whole",
    )
    for name in ("step", "p50", "p90", "what it is"):
        shown.add_column(name, justify="right" if name.startswith("p") else "left")
    for (name, meaning), values in zip(_STEPS, columns, strict=True):
        shown.add_row(name, *_quantiles(values), meaning)
    shown.add_section()
    shown.add_row("the whole query", *_quantiles(traced["whole"]), "stamps included")
    return shown


def _quantiles(values: Sequence[int]) -> tuple[str, str]:
    ordered = sorted(values)
    high = ordered[int(len(ordered) * 0.9)]
    return f"{median(ordered) / 1000:.0f}", f"{high / 1000:.0f}"
