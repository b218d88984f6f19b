"""What a command prints: tables for people, or one JSON document for programs.

Invariant: with ``--json``, standard output holds exactly one JSON document, also
when the command fails.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["Output", "Stream", "counted", "facts", "styled", "table"]

# Wide enough that no address or error is cut where there is no terminal to fit into.
_WIDTH_OF_A_FILE: Final = 200
_UNBOUNDED: Final = 10_000

_STYLES: Final[Mapping[str, str]] = {
    "active": "green",
    "up": "green",
    "agrees": "green",
    "differs": "red",
    "repaired": "green",
    "migrated": "green",
    "frozen": "cyan",
    "creating": "yellow",
    "skipped": "yellow",
    "busy": "yellow",
    "deleted": "magenta",
    "purged": "green",
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
        if not terminal and all(isinstance(part, Text) for part in what):
            # There is nothing to lay out, and a command may print thousands of lines.
            self._stream.write(" ".join(map(str, what)).rstrip("\n"))
            return
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


@dataclass(frozen=True, slots=True)
class _FittingTable:
    """A table that leaves out what is *optional*, in that order, on a narrow terminal."""

    columns: Sequence[str]
    rows: Sequence[Sequence[RenderableType]]
    optional: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=_UNBOUNDED)
        for left_out in range(len(self.optional) + 1):
            result = self._without(self.optional[:left_out])
            if Measurement.get(console, unbounded, result).maximum <= options.max_width:
                break
        yield result

    def _without(self, left_out: Sequence[str]) -> Table:
        result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        shown = [place for place, name in enumerate(self.columns) if name not in left_out]
        for place in shown:
            name = self.columns[place]
            justify: JustifyMethod = "right" if name.endswith("#") else "left"
            result.add_column(name.rstrip("#"), justify=justify, overflow="fold")
        for row in self.rows:
            result.add_row(*(row[place] for place in shown))
        return result


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[RenderableType]],
    *,
    optional: Sequence[str] = (),
) -> RenderableType:
    """Return a table; columns whose heading ends with ``#`` are aligned to the right.

    On a terminal that is too narrow for all, the *optional* columns are left out, the
    first one first, before any other is folded.
    """
    return _FittingTable(columns, rows, optional)


def counted(number: int, noun: str) -> str:
    """Return the number and the noun, in the plural unless it is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
