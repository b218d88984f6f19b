"""Counting round trips to shards, for tests.

A round trip is a request on a session, whose answer is waited for. Opening a session is
none: whether that is needed depends on what ran before.

Invariants: while nobody counts, a request pays for one look at a number. Who counts hears
of what runs in its own context, and in contexts copied from it: tasks, `sync_to_async`,
not threads that somebody else started. No value of a statement is kept.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from mtdd_router.pb import messages_pb2 as pb

__all__ = ["RoundTrip", "RoundTrips", "counting", "note", "record_round_trips"]

_WORDS: Final = re.compile(
    rb"\s*([A-Za-z]+)(?:[^']*?\b(?:FROM|INTO|UPDATE)\s+((?:\"[^\"']+\"\.?)+))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One request on a session.

    Attributes:
        tenant: the tenant's name; empty for a whole database of a shard.
        what: the first word of the statement and its first table, or what else it is.
    """

    tenant: str
    what: str


@dataclass(slots=True)
class RoundTrips:
    """The round trips of a block, in order."""

    made: list[RoundTrip] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[RoundTrip]:
        return iter(self.made)


_recorders: Final[ContextVar[tuple[RoundTrips, ...]]] = ContextVar("mtdd_round_trips", default=())
counting: Final[list[RoundTrips]] = []
"""What this process counts into; `note` need not be called while it is empty."""


@contextmanager
def record_round_trips() -> Iterator[RoundTrips]:
    """Record the round trips of the block; blocks may be nested."""
    recorder = RoundTrips()
    token = _recorders.set((*_recorders.get(), recorder))
    counting.append(recorder)
    try:
        yield recorder
    finally:
        counting.pop()  # Whichever: only how many there are matters.
        _recorders.reset(token)


def note(request: pb.SessionRequest, context: pb.Context) -> None:
    """Tell those who count of a request."""
    if recorders := _recorders.get():
        trip = RoundTrip(context.target.tenant.name, _what(request))
        for recorder in recorders:
            recorder.made.append(trip)


def _what(request: pb.SessionRequest) -> str:
    kind = request.WhichOneof("payload")
    if kind == "batch":
        statements = [
            item.parse.statement for item in request.batch.messages if item.HasField("parse")
        ]
    else:
        statements = [request.statement] if kind == "statement" else []
    found = _WORDS.match(statements[0]) if statements else None
    if found is None:
        return str(kind)
    return " ".join(part.decode(errors="replace") for part in found.groups() if part)
