"""What a request means to PostgreSQL: the messages to send, and the answers to expect."""

from functools import lru_cache
from typing import Final

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.statements import ORDINARY, Statement, classify, prepared_refusal
from mtdd_router.wire import frontend

__all__ = ["BEGIN_REPLIES", "batch_statement", "begin_messages", "expected_of", "one_statement"]

# Replies that each message of a batch ends with, if it succeeds.
_REPLIES: Final = {"parse": 1, "bind": 1, "describe": 1, "execute": 1, "close": 1}

# What follows the Parse of a statement without parameters, all of whose rows are wanted.
_RUN: Final = frontend.bind(b"", []) + frontend.describe() + frontend.execute() + frontend.SYNC

# Those of what `begin_messages` returns.
BEGIN_REPLIES: Final = 3


@lru_cache(maxsize=64)
def begin_messages(begin: str) -> bytes:
    """Return the messages that run *begin*, a plain one, without Sync."""
    return frontend.parse(b"", begin.encode(), []) + frontend.bind(b"", []) + frontend.execute()


def one_statement(text: bytes) -> bytes:
    """Return the messages that run one statement as an extended query, with Sync."""
    return frontend.parse(b"", text, []) + _RUN


def batch_statement(batch: pb.Batch) -> Statement:
    """Return what is known of all the statements of a batch together."""
    known = []
    for message in batch.messages:
        match message.WhichOneof("message"):
            case "parse":
                item = classify(message.parse.statement)
                # A named prepared statement stays behind.
                known.append(Statement(pins=True) if message.parse.name else item)
                known.append(item)
                known += _named(message.parse.name)
            case "bind" if message.bind.name:
                known += [Statement(pins=True), *_named(message.bind.name)]
            case "describe" if not message.describe.portal:
                known += _named(message.describe.name)
            case "close" if not message.close.portal:
                known += _named(message.close.name)
    if len(known) == 2 and known[0] is ORDINARY:
        return ORDINARY
    return Statement(
        pins=any(item.pins for item in known),
        holds=next((item.holds for item in known if item.holds), ""),
        closes=next((item.closes for item in known if item.closes), ""),
        refusal=next((item.refusal for item in known if item.refusal), ""),
        listens=any(item.listens for item in known),
    )


def _named(name: bytes) -> list[Statement]:
    """Return what is known by the name of a prepared statement."""
    refusal = prepared_refusal(name.decode("utf-8", "replace"))
    return [Statement(refusal=refusal)] if refusal else []


def expected_of(batch: pb.Batch) -> tuple[int, int]:
    """Return how many Syncs a batch has, and how many replies what follows the last one gets."""
    kinds = [message.WhichOneof("message") or "" for message in batch.messages]
    syncs = kinds.count("sync")
    rest = kinds[len(kinds) - kinds[::-1].index("sync") :] if syncs else kinds
    return syncs, sum(_REPLIES.get(kind, 0) for kind in rest)
