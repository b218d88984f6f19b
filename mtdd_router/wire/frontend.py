"""PostgreSQL's frontend messages <-> the payload of a SessionRequest.

The client reads what libpq wrote and makes typed requests of it; the server
composes the bytes for PostgreSQL anew from the typed fields. So no byte of a
client's own framing ever reaches PostgreSQL, and message types that have no
field (startup, password, terminate, function call) cannot be sent at all.

Source: PostgreSQL manual, "Message Formats", protocol 3.
"""

import struct
from collections.abc import Callable
from struct import Struct
from typing import Final

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.wire.framing import compose

__all__ = [
    "FLUSH",
    "SYNC",
    "TERMINATE",
    "batch_bytes",
    "batch_message",
    "bind",
    "copy_bytes",
    "describe",
    "execute",
    "parse",
    "simple_query",
]

_LENGTH: Final = Struct("!I")
_INT16: Final = Struct("!H")
_INT32: Final = Struct("!i")
# A list of nothing, whose length comes first.
_NONE: Final = _INT16.pack(0)


def batch_message(kind: bytes, body: bytes) -> pb.BatchMessage:
    """Return the typed form of one extended-query message of libpq.

    Raises:
        ValueError: for a message that has no place in a batch.
    """
    try:
        reader = _READERS[kind]
    except KeyError:
        raise ValueError(
            f"libpq sent a message of type {kind!r}, which has no place here"
        ) from None
    return reader(body)


def _text(body: bytes, position: int) -> tuple[bytes, int]:
    end = body.index(b"\0", position)
    return body[position:end], end + 1


def _read_parse(body: bytes) -> pb.BatchMessage:
    name, position = _text(body, 0)
    statement, position = _text(body, position)
    (count,) = _INT16.unpack_from(body, position)
    types = Struct(f"!{count}I").unpack_from(body, position + 2)
    return pb.BatchMessage(parse=pb.Parse(name=name, statement=statement, parameter_types=types))


def _read_formats(body: bytes, position: int) -> tuple[tuple[int, ...], int]:
    (count,) = _INT16.unpack_from(body, position)
    return Struct(f"!{count}H").unpack_from(body, position + 2), position + 2 + 2 * count


def _read_bind(body: bytes) -> pb.BatchMessage:
    portal, position = _text(body, 0)
    name, position = _text(body, position)
    formats, position = _read_formats(body, position)
    (count,) = _INT16.unpack_from(body, position)
    position += 2
    parameters = []
    for _ in range(count):
        (length,) = _INT32.unpack_from(body, position)
        position += 4
        if length < 0:
            parameters.append(pb.Parameter())
        else:
            parameters.append(pb.Parameter(value=body[position : position + length]))
            position += length
    result_formats, _ = _read_formats(body, position)
    return pb.BatchMessage(
        bind=pb.Bind(
            portal=portal,
            name=name,
            parameter_formats=formats,
            parameters=parameters,
            result_formats=result_formats,
        )
    )


def _read_describe(body: bytes) -> pb.BatchMessage:
    return pb.BatchMessage(describe=pb.Describe(portal=body[:1] == b"P", name=body[1:-1]))


def _read_execute(body: bytes) -> pb.BatchMessage:
    portal, position = _text(body, 0)
    (rows,) = _LENGTH.unpack_from(body, position)
    return pb.BatchMessage(execute=pb.Execution(portal=portal, max_rows=rows))


def _read_close(body: bytes) -> pb.BatchMessage:
    return pb.BatchMessage(close=pb.Close(portal=body[:1] == b"P", name=body[1:-1]))


_READERS: Final[dict[bytes, Callable[[bytes], pb.BatchMessage]]] = {
    b"P": _read_parse,
    b"B": _read_bind,
    b"D": _read_describe,
    b"E": _read_execute,
    b"C": _read_close,
    b"S": lambda _: pb.BatchMessage(sync=pb.Sync()),
    b"H": lambda _: pb.BatchMessage(flush=pb.Flush()),
}


def simple_query(statement: bytes) -> bytes:
    """Return the Query message of *statement*.

    Raises:
        ValueError: if the statement contains a NUL.
    """
    if 0 in statement:
        raise ValueError("a statement cannot contain a NUL byte")
    return b"".join((b"Q", _LENGTH.pack(len(statement) + 5), statement, b"\0"))


def batch_bytes(batch: pb.Batch) -> bytes:
    """Return the extended-query messages of *batch* as PostgreSQL expects them.

    Raises:
        ValueError: if a name or statement contains a NUL, or a number is out of range.
    """
    try:
        return b"".join(_compose(message) for message in batch.messages)
    except struct.error as exc:
        raise ValueError(f"a number in the batch is out of range: {exc}") from exc


def _string(value: bytes) -> bytes:
    if 0 in value:
        raise ValueError("a name or statement cannot contain a NUL byte")
    return value + b"\0"


def _formats(values: list[int]) -> bytes:
    return Struct(f"!H{len(values)}H").pack(len(values), *values) if values else _NONE


def parse(name: bytes, statement: bytes, types: list[int]) -> bytes:
    """Return a Parse message."""
    oids = Struct(f"!H{len(types)}I").pack(len(types), *types) if types else _NONE
    return compose(b"P", _string(name), _string(statement), oids)


def bind(
    name: bytes,
    parameters: list[bytes | None],
    *,
    portal: bytes = b"",
    formats: list[int] | None = None,
    result_formats: list[int] | None = None,
) -> bytes:
    """Return a Bind message; None is NULL."""
    values = [_INT16.pack(len(parameters))]
    for value in parameters:
        if value is None:
            values.append(_INT32.pack(-1))
        else:
            values.append(_INT32.pack(len(value)))
            values.append(value)
    return compose(
        b"B",
        _string(portal),
        _string(name),
        _formats(formats or []),
        *values,
        _formats(result_formats or []),
    )


def execute(portal: bytes = b"", max_rows: int = 0) -> bytes:
    """Return an Execute message."""
    return compose(b"E", _string(portal), _LENGTH.pack(max_rows))


def describe(name: bytes = b"", *, portal: bool = True) -> bytes:
    """Return a Describe message."""
    return compose(b"D", b"P" if portal else b"S", _string(name))


SYNC: Final = compose(b"S")
FLUSH: Final = compose(b"H")
TERMINATE: Final = compose(b"X")


def _compose(message: pb.BatchMessage) -> bytes:
    match message.WhichOneof("message"):
        case "parse":
            item = message.parse
            return parse(item.name, item.statement, list(item.parameter_types))
        case "bind":
            bound = message.bind
            return bind(
                bound.name,
                [p.value if p.HasField("value") else None for p in bound.parameters],
                portal=bound.portal,
                formats=list(bound.parameter_formats),
                result_formats=list(bound.result_formats),
            )
        case "describe":
            return describe(message.describe.name, portal=message.describe.portal)
        case "execute":
            return execute(message.execute.portal, message.execute.max_rows)
        case "close":
            kind = b"P" if message.close.portal else b"S"
            return compose(b"C", kind, _string(message.close.name))
        case "sync":
            return SYNC
        case "flush":
            return FLUSH
        case _:
            raise ValueError("an empty message in a batch")


def copy_bytes(copy: pb.CopyIn) -> bytes:
    """Return the CopyData, CopyDone or CopyFail messages of *copy*."""
    parts = []
    if copy.data:
        parts.append(compose(b"d", copy.data))
    if copy.failure:
        parts.append(compose(b"f", _string(copy.failure.encode())))
    elif copy.done:
        parts.append(compose(b"c"))
    return b"".join(parts)
