"""What a command prints: tables for people, or one JSON document for programs.

Invariant: with ``--json``, standard output holds exactly one JSON document, also
when the command fails.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["Output", "Stream", "facts", "styled", "table"]

# Wide enough that no address or error is cut where there is no terminal to fit into.
_WIDTH_OF_A_FILE: Final = 200

_STYLES: Final[Mapping[str, str]] = {
    "active": "green",
    "up": "green",
    "agrees": "green",
    "repaired": "green",
    "migrated": "green",
    "frozen": "cyan",
    "creating": "yellow",
    "skipped": "yellow",
    "busy": "yellow",
    "deleting": "red",
    "down": "red",
    "failed": "red",
    "unchanged": "dim",
}


class Stream(Protocol):
    """What Django's OutputWrapper offers."""

    def write(self, msg: str = "", /) -> object: ...

    def isatty(self) -> bool: ...


class Output:
    """The standard output of one command.

    Args:
        stream: the command's ``stdout``.
        as_json: print JSON instead of text.
        color: whether colors are allowed; there are none without a terminal.
    """

    def __init__(self, stream: Stream, *, as_json: bool = False, color: bool = True) -> None:
        self._stream = stream
        self._as_json = as_json
        self._color = color
        self._printed = False

    @property
    def as_json(self) -> bool:
        """Whether programs read this."""
        return self._as_json

    def data(self, value: object) -> None:
        """Print *value*, if programs read this; once in a command."""
        if self._as_json and not self._printed:
            self._printed = True
            self._stream.write(json.dumps(value, cls=DjangoJSONEncoder, indent=2))

    def error(self, exc: BaseException) -> None:
        """Print the error as JSON, if nothing was printed yet and programs read this."""
        self.data({"error": {"type": type(exc).__name__, "message": str(exc)}})

    def text(self, *what: RenderableType) -> None:
        """Print *what*, if people read this; strings may hold rich's markup."""
        if self._as_json:
            return
        terminal = self._stream.isatty()
        buffer = io.StringIO()
        console = Console(
            file=buffer,
            force_terminal=terminal,
            no_color=not self._color,
            width=None if terminal else _WIDTH_OF_A_FILE,
            highlight=False,
            soft_wrap=not terminal,
        )
        console.print(*what)
        self._stream.write(buffer.getvalue().rstrip("\n"))


def table(columns: Sequence[str], rows: Sequence[Sequence[RenderableType]]) -> Table:
    """Return a table; columns whose heading ends with ``#`` are aligned to the right."""
    result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        numeric = column.endswith("#")
        result.add_column(
            column.rstrip("#"), justify="right" if numeric else "left", overflow="fold"
        )
    for row in rows:
        result.add_row(*row)
    return result


def styled(word: str) -> Text:
    """Return *word* in its style."""
    return Text(word, style=_STYLES.get(word, ""))


def facts(pairs: Mapping[str, Any]) -> Table:
    """Return a table of two columns, for one thing's properties."""
    result = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    result.add_column(style="bold")
    result.add_column(overflow="fold")
    for name, value in pairs.items():
        result.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return result
