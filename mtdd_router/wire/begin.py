"""The BEGIN statements that may travel with another statement.

The client defers them until a transaction's first statement; the server accepts
nothing else there.
"""

import re
from typing import Final

__all__ = ["is_begin"]

_BEGIN: Final = re.compile(
    rb"BEGIN"
    rb"(?: ISOLATION LEVEL (?:SERIALIZABLE|REPEATABLE READ|READ COMMITTED|READ UNCOMMITTED))?"
    rb"(?: READ (?:ONLY|WRITE))?"
    rb"(?: (?:NOT )?DEFERRABLE)?"
)


def is_begin(statement: bytes) -> bool:
    """Whether *statement* is a plain BEGIN as psycopg writes it, and nothing more."""
    return _BEGIN.fullmatch(statement) is not None
