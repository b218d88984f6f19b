"""A script of new tables without its detours: what alters a table becomes part of making it.

Migrations tell a history: a column is added, made longer, dropped; a foreign key follows once
both tables are there. Where a tenant is made by all of it at once, its tables can be made as they
are at the end, which takes PostgreSQL a quarter less. Only what is listed here is merged, in the
very words of Django's schema editor; whatever else comes up stays as it is, and what follows it is
merged with nothing that precedes it. So what is merged is moved past the making of other tables,
past plain indexes and past comments only, and meets no rows.

That both scripts give the same, up to the places of dropped columns, is not taken for granted:
who uses the result compares the schema that it leads to.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from mtdd_router.types import ScriptPart

__all__ = ["condensed"]

_NAME: Final = r'"[^"]+"'
_COLUMNS: Final = rf"\({_NAME}(?:, {_NAME})*\)"
_LITERAL: Final = r"(?:'(?:[^']|'')*'|-?\d+(?:\.\d+)?|true|false)(?:::[a-z ]+)?"
# Types are in small letters, and all that follows them in capital ones.
_TYPE: Final = r"[a-z][a-z0-9 ]*(?:\(\d+(?:, ?\d+)?\))?(?:\[\d*\])*"
_DEFERRABLE: Final = r"(?: DEFERRABLE INITIALLY (?:DEFERRED|IMMEDIATE))?"
_REFERENCES: Final = (
    rf"REFERENCES (?P<other>{_NAME}) ?{_COLUMNS}(?: ON DELETE [A-Z ]+?)?{_DEFERRABLE}"
)

# What has one of these may be more than one statement, or not end where it seems to.
_OPAQUE: Final = re.compile(r";|--|/\*|\$|\\")
# Django lets it follow a column that refers to another table.
_CHECKED: Final = re.compile(rf"; (?P<checked>SET CONSTRAINTS {_NAME} IMMEDIATE)\Z")
_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|[(),]|[^'"(),]+""")

_CREATE_TABLE: Final = re.compile(rf"CREATE TABLE (?P<table>{_NAME}) \((?P<items>.*)\)", re.DOTALL)
_ALTER_TABLE: Final = re.compile(rf"ALTER TABLE (?P<table>{_NAME}) (?P<actions>.*)", re.DOTALL)
# They may stay where they are, while what follows them is merged with what precedes them.
_IN_PLACE: Final = re.compile(
    rf"CREATE INDEX {_NAME} ON {_NAME}(?: USING [a-z]+)? \(.*\)"
    rf"|COMMENT ON (?:TABLE {_NAME}|COLUMN {_NAME}\.{_NAME}) IS {_LITERAL}",
    re.DOTALL,
)

# A column that can be altered here: it has no collation, check, expression or reference.
_COLUMN: Final = re.compile(
    rf"(?P<name>{_NAME}) (?P<type>{_TYPE})(?P<default> DEFAULT {_LITERAL})?"
    rf"(?P<null> NOT NULL| NULL)?(?P<unique> UNIQUE)?"
)
_ADD_COLUMN: Final = re.compile(
    rf"ADD COLUMN (?P<item>{_NAME} {_TYPE}(?: DEFAULT {_LITERAL})?(?: NOT NULL| NULL)?"
    rf"(?: UNIQUE)?(?: CONSTRAINT {_NAME} {_REFERENCES})?)"
)
_ADD_CONSTRAINT: Final = re.compile(
    rf"ADD (?P<item>CONSTRAINT {_NAME} "
    rf"(?:UNIQUE {_COLUMNS}{_DEFERRABLE}|CHECK \(.*\)|FOREIGN KEY {_COLUMNS} {_REFERENCES}))",
    re.DOTALL,
)
_ALTER_COLUMN: Final = re.compile(
    rf"ALTER COLUMN (?P<name>{_NAME}) "
    rf"(?:TYPE (?P<type>{_TYPE})(?: USING (?P=name)::(?P=type))?"
    r"|(?P<null>DROP NOT NULL|SET NOT NULL)|(?P<default>DROP DEFAULT))"
)
_DROP_COLUMN: Final = re.compile(rf"DROP COLUMN (?P<name>{_NAME}) CASCADE")


class _Unknown(Exception):
    """Something that is not merged."""


@functools.lru_cache(maxsize=32)
def condensed(part: ScriptPart) -> ScriptPart:
    """Return a part that leads to the same schema where no table of it is there yet."""
    return replace(part, statements=_condense(part.statements))


def _condense(statements: Sequence[str]) -> tuple[str, ...]:
    script = _Script()
    for statement in statements:
        script.add(statement)
    return tuple(script.statements())


class _Table:
    """A table that the script makes: its name, and what stands between the parentheses."""

    def __init__(self, name: str, items: list[str]) -> None:
        self.name = name
        self.items = items

    def __str__(self) -> str:
        return f"CREATE TABLE {self.name} ({', '.join(self.items)})"

    def copy(self) -> "_Table":
        return _Table(self.name, [*self.items])

    def column(self, name: str) -> tuple[int, re.Match[str]]:
        """Return where the column is, and what it is, if it can be altered."""
        for index, item in enumerate(self.items):
            if item.startswith(f"{name} "):
                if (column := _COLUMN.fullmatch(item)) is None:
                    break
                return index, column
        raise _Unknown

    def mentions(self, name: str) -> int:
        """Return how many of its columns and constraints name that column."""
        return sum(name in item for item in self.items)


class _Script:
    """A script while it is condensed."""

    def __init__(self) -> None:
        self._statements: list[str | _Table] = []
        # What may still be merged with, in order, and the statements in place since then.
        self._tables: dict[str, _Table] = {}
        self._in_place: list[str] = []

    def statements(self) -> Iterator[str]:
        """Yield what it is now."""
        return map(str, self._statements)

    def add(self, statement: str) -> None:
        """Add a statement at the end, or merge it."""
        checked = _CHECKED.search(statement)
        try:
            self._add(statement[: checked.start()] if checked else statement)
            if checked:
                self._statements.append(checked["checked"])
        except _Unknown:
            self._statements.append(statement)
            self._tables.clear()
            self._in_place.clear()

    def _add(self, statement: str) -> None:
        if _OPAQUE.search(statement):
            raise _Unknown
        if match := _CREATE_TABLE.fullmatch(statement):
            self._create(match["table"], match["items"])
        elif match := _ALTER_TABLE.fullmatch(statement):
            self._alter(match["table"], match["actions"])
        elif _IN_PLACE.fullmatch(statement):
            self._statements.append(statement)
            self._in_place.append(statement)
        else:
            raise _Unknown

    def _create(self, name: str, items: str) -> None:
        if name in self._tables:
            raise _Unknown
        table = _Table(name, list(_split(items)))
        self._statements.append(table)
        self._tables[name] = table

    def _alter(self, name: str, actions: str) -> None:
        if name not in self._tables:
            raise _Unknown
        # All of a statement is merged, or nothing of it.
        table = self._tables[name].copy()
        for action in _split(actions):
            self._merge(table, action)
        self._tables[name].items = table.items

    def _merge(self, table: _Table, action: str) -> None:
        if match := _ADD_COLUMN.fullmatch(action) or _ADD_CONSTRAINT.fullmatch(action):
            self._require_before(table, match["other"])
            table.items.append(match["item"])
        elif match := _ALTER_COLUMN.fullmatch(action):
            _alter_column(table, match)
        elif match := _DROP_COLUMN.fullmatch(action):
            self._drop_column(table, match["name"])
        else:
            raise _Unknown

    def _require_before(self, table: _Table, other: str | None) -> None:
        """Make sure that *other*, if that is a table, is there when *table* is made, or is it."""
        # One that nothing is merged with any more is.
        names = list(self._tables)
        if other in self._tables and names.index(other) > names.index(table.name):
            raise _Unknown

    def _drop_column(self, table: _Table, name: str) -> None:
        index, _ = table.column(name)
        others = (each for each in self._tables.values() if each.name != table.name)
        if (
            table.mentions(name) > 1
            or any(table.name in item and name in item for each in others for item in each.items)
            or any(table.name in each and name in each for each in self._in_place)
        ):
            raise _Unknown
        del table.items[index]


def _alter_column(table: _Table, change: re.Match[str]) -> None:
    index, column = table.column(change["name"])
    kind, default, null = column["type"], column["default"] or "", column["null"] or ""
    if change["default"]:
        default = ""
    elif change["null"]:
        null = " NOT NULL" if change["null"] == "SET NOT NULL" else " NULL"
    else:
        # A default is converted, and what a check says is written anew.
        if default or any("CHECK" in item and change["name"] in item for item in table.items):
            raise _Unknown
        kind = change["type"]
    table.items[index] = f"{column['name']} {kind}{default}{null}{column['unique'] or ''}"


def _split(text: str) -> Iterator[str]:
    """Yield what commas separate that stand in no parentheses, quotes or names."""
    depth, item, end = 0, "", 0
    for token in _TOKEN.finditer(text):
        if token.start() != end:
            break
        end = token.end()
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth < 0:
            raise _Unknown
        if token[0] == "," and not depth:
            yield item.strip()
            item = ""
        else:
            item += token[0]
    if depth or end != len(text):
        raise _Unknown
    yield item.strip()
