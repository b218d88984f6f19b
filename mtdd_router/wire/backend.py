"""PostgreSQL's backend messages, composed on either side.

The client feeds them to libpq where an answer is known without asking the
server (a deferred BEGIN, a refusal); the server composes none, it forwards
PostgreSQL's own.

Source: PostgreSQL manual, "Message Formats" and "Error and Notice Message
Fields", protocol 3.
"""

from collections.abc import Mapping
from typing import Final

from mtdd_router.wire.framing import compose

__all__ = [
    "command_complete",
    "empty_query_response",
    "error_fields",
    "error_response",
    "has_written",
    "moved",
    "parameter_status",
    "ready_for_query",
    "startup_answer",
]

_WRITING: Final = frozenset((b"INSERT", b"UPDATE", b"DELETE", b"MERGE "))


def command_complete(tag: bytes) -> bytes:
    """Return CommandComplete with *tag*."""
    return compose(b"C", tag + b"\0")


def empty_query_response() -> bytes:
    """Return EmptyQueryResponse."""
    return compose(b"I")


def has_written(tag: bytes) -> bool:
    """Whether *tag*, a command's, is that of one which wrote at least one row."""
    return tag[:6] in _WRITING and not tag.endswith(b" 0")


def ready_for_query(status: bytes) -> bytes:
    """Return ReadyForQuery; *status* is ``I``, ``T`` or ``E``."""
    return compose(b"Z", status)


def parameter_status(name: str, value: str) -> bytes:
    """Return ParameterStatus."""
    return compose(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def error_response(sqlstate: str, message: str, *, severity: str = "ERROR") -> bytes:
    """Return ErrorResponse with the mandatory fields."""
    fields = (("S", severity), ("V", severity), ("C", sqlstate), ("M", message))
    body = b"".join(code.encode() + text.encode() + b"\0" for code, text in fields)
    return compose(b"E", body + b"\0")


def startup_answer(parameters: Mapping[str, str], key: bytes = bytes(8)) -> bytes:
    """Return what a server sends after the startup message, up to ready.

    *key* is what a request to cancel will name: a process id and a secret, of four bytes each.
    """
    statuses = (parameter_status(name, value) for name, value in parameters.items())
    return b"".join(
        (
            compose(b"R", b"\0\0\0\0"),
            *statuses,
            compose(b"K", key),
            ready_for_query(b"I"),
        )
    )


def moved(message: bytes, characters: int) -> bytes:
    """Return a message about a query that the client knows without its beginning.

    Args:
        message: an ErrorResponse or NoticeResponse.
        characters: how many the client's statement is preceded by.
    """
    fields = message[5:].split(b"\0")
    for number, item in enumerate(fields):
        if item[:1] == b"P":
            fields[number] = b"P%d" % (int(item[1:]) - characters)
    return compose(message[:1], b"\0".join(fields))


def error_fields(body: bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse by code."""
    fields = {}
    for item in body.split(b"\0"):
        if item:
            fields[chr(item[0])] = item[1:].decode(errors="replace")
    return fields
