"""What the server must know of a statement before it sends it.

Whether it may share a flush with what comes before it, whether it leaves state
behind in the session, and whether a tenant may run it at all. Ordinary DML is
recognised by a look at its bytes, which can only err towards parsing; all else
is parsed by PostgreSQL's own parser.

Invariant: a tenant's statement is allowed only if its kind is on the list of
kinds known to stay inside the tenant's role and search path.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import pglast
from pglast import ast
from pglast.enums import ObjectType, VariableSetKind

from mtdd_router.server.constants import without_constants

__all__ = [
    "FORBIDDEN_SETTINGS",
    "ORDINARY",
    "Statement",
    "classify",
    "is_surely_one",
    "look",
    "prepared_refusal",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Statement:
    """What is known of a statement.

    Attributes:
        fusable: it is one plain DML statement, which may run in one Sync, or one Query,
            with the statements before it.
        whole: it has no effect if it fails; a script or a procedure may have had some by then.
        pins: it leaves state behind that a later statement may rely on.
        holds: the cursor that it declares WITH HOLD, or empty.
        closes: the cursor that it closes, ``*`` for all, or empty.
        database: the database that it drops, renames or copies, which nobody may
            be connected to meanwhile; or empty.
        refusal: why a tenant may not run it; empty if it may.
        listens: it listens to a channel, which all tenants of a database share.
        parsed: the parser understood it. PostgreSQL will say what is wrong with
            one that it did not, but it must not run.
    """

    fusable: bool = False
    whole: bool = False
    pins: bool = False
    holds: str = ""
    closes: str = ""
    database: str = ""
    refusal: str = ""
    listens: bool = False
    parsed: bool = True


ORDINARY: Final = Statement(fusable=True, whole=True)
_PLAIN: Final = Statement()
_UNKNOWN: Final = Statement(pins=True, refusal="it cannot be parsed", parsed=False)
_TOO_DEEP: Final = Statement(pins=True, refusal="it is nested too deeply to be examined")
_CONTROL: Final = frozenset((b"savepo", b"releas", b"rollba", b"commit", b"begin", b"fetch "))
_DML: Final = frozenset(
    (b"select", b"(selec", b"insert", b"update", b"delete", b"with ", b"values")
)
# If none of these is in a single DML statement outside of its string constants, it cannot
# leave state behind or leave the role: functions that do, the view that sets when it is
# updated, functions that run SQL given as text, temporary tables, and another way to
# spell a name.
_MARKERS: Final = (
    "set_config",
    "pg_settings",
    "advisory",
    "ts_stat",
    "ts_rewrite",
    "dblink",
    "crossta",
    "connectby",
    "xpath_table",
    "u&",
)
# Many names have these letters in them; only a word of its own makes a table temporary.
_TEMPORARY: Final = re.compile(r"temp(?:orary)?(?![a-z0-9_$])")
# Before it, they make it the rest of a longer name, or a name that is quoted.
_IN_NAMES: Final = frozenset('_$"')
_OVERLAP: Final = max(map(len, _MARKERS)) - 1
_HEAD_BYTES: Final = 64
_CACHED_BYTES: Final = 4096
# The parser's trees are walked by recursion in C, for which a stack of 8 MiB is enough to
# some 15,000 levels. PostgreSQL itself refuses what is nested so deeply.
_DEEPEST: Final = 10_000
# A shorter statement cannot be nested more deeply: a level takes two bytes at least.
_SHALLOW_BYTES: Final = 2 * _DEEPEST
_OPENING: Final = frozenset(("ASCII_40", "ASCII_91"))
_CLOSING: Final = frozenset(("ASCII_41", "ASCII_93"))
_SEPARATING: Final = frozenset(("ASCII_44", "ASCII_59"))
# Tokens that nest nothing by themselves: operands, and what the parser makes one list of.
_FLAT: Final = frozenset(
    ("IDENT", "ICONST", "FCONST", "SCONST", "BCONST", "XCONST", "PARAM", "ASCII_46", "AND", "OR")
)
_PLAIN_DML: Final = (
    ast.SelectStmt,
    ast.InsertStmt,
    ast.UpdateStmt,
    ast.DeleteStmt,
    ast.MergeStmt,
)
_CURSOR_HOLD: Final = 0x0020

_TENANT_KINDS: Final = frozenset(
    [
        "SelectStmt",
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "TransactionStmt",
        "VariableSetStmt",
        "VariableShowStmt",
        "ExplainStmt",
        "DeclareCursorStmt",
        "FetchStmt",
        "ClosePortalStmt",
        "CopyStmt",
        "TruncateStmt",
        "LockStmt",
        "NotifyStmt",
        "ListenStmt",
        "UnlistenStmt",
        "ConstraintsSetStmt",
        "CreateStmt",
        "CreateTableAsStmt",
        "AlterTableStmt",
        "AlterObjectSchemaStmt",
        "IndexStmt",
        "DropStmt",
        "ViewStmt",
        "CommentStmt",
        "CreateSeqStmt",
        "AlterSeqStmt",
        "RenameStmt",
        "VacuumStmt",
        "ReindexStmt",
        "ClusterStmt",
        "RefreshMatViewStmt",
        "PrepareStmt",
        "ExecuteStmt",
        "DeallocateStmt",
        "CreateEnumStmt",
        "AlterEnumStmt",
        "CompositeTypeStmt",
        "CreateDomainStmt",
        "AlterDomainStmt",
        "CreateTrigStmt",
        "CreateStatsStmt",
        "CreateExtensionStmt",
        "CallStmt",
        "RuleStmt",
        "CreateRangeStmt",
        "CheckPointStmt",
    ]
)
_PINNING_KINDS: Final = frozenset(
    [
        "ListenStmt",
        "UnlistenStmt",
        "PrepareStmt",
        "DeallocateStmt",
        "LoadStmt",
        "DoStmt",
        "CallStmt",
        "DiscardStmt",
    ]
)
# As which values PostgreSQL must read a statement, for the parser here to read the same.
# Otherwise one could be hidden in what is a string constant to the one and none to the other.
_READ_AS: Final = {
    "client_encoding": frozenset(("utf8", "utf-8", "unicode")),
    "standard_conforming_strings": frozenset(("on", "true")),
}
# The parameters that a tenant cannot choose.
FORBIDDEN_SETTINGS: Final = frozenset(("role", "session_authorization", "search_path", *_READ_AS))
_TEMPORARY_SCHEMA: Final = "pg_temp"
_SETTINGS_VIEW: Final = "pg_settings"
# What the names of prepared statements begin with that are kept for the server.
_OWN_PREPARED: Final = "mtdd_"
_FORBIDDEN_FUNCTIONS: Final = frozenset(
    [
        "query_to_xml",
        "query_to_xmlschema",
        "query_to_xml_and_xmlschema",
        "cursor_to_xml",
        "cursor_to_xmlschema",
        "ts_stat",
        "ts_rewrite",
        "dblink",
        "dblink_exec",
        "dblink_connect",
        "dblink_connect_u",
        "dblink_open",
        "dblink_fetch",
        "dblink_send_query",
        "crosstab",
        "crosstab2",
        "crosstab3",
        "crosstab4",
        "crosstabn",
        "connectby",
        "xpath_table",
        # Trigger functions, whose arguments become SQL.
        "check_primary_key",
        "check_foreign_key",
    ]
)


def classify(statement: bytes) -> Statement:
    """Return what is known of *statement*, which may hold several statements."""
    known = look(statement)
    if known is not None:
        return known
    if len(statement) <= _CACHED_BYTES:
        return _parsed_cached(statement)
    return _parsed(statement)


def look(statement: bytes) -> Statement | None:
    """Return what the bytes of *statement* show, or None if it must be parsed."""
    head = statement[:_HEAD_BYTES].lstrip()[:6].lower()
    if head in _DML or head[:5] in _DML:
        if statement.find(b";", 0, len(statement.rstrip()) - 1) < 0 and _is_unmarked(statement):
            return ORDINARY
        if _is_unmarked_outside(statement):
            return ORDINARY
    elif (head in _CONTROL or head[:5] in _CONTROL) and b";" not in statement:
        return _PLAIN
    return None


def is_surely_one(statement: bytes) -> bool:
    """Whether it cannot hold two statements, however it is read: no semicolon is within it."""
    return statement.find(b";", 0, -1) < 0


def prepared_refusal(name: str) -> str:
    """Return why a tenant may not use the prepared statement of that name, if it may not."""
    if not name.startswith(_OWN_PREPARED):
        return ""
    return f"the prepared statement {name} is the server's own; give yours another name"


def _is_unmarked(statement: bytes) -> bool:
    """Whether no marker is in *statement*.

    Programs send a statement again and again with other values in its end, so what was
    found in its beginning is remembered.
    """
    cut = statement.find(b" WHERE ", 0, _CACHED_BYTES)
    if cut < 0:
        cut = statement.find(b" VALUES ", 0, _CACHED_BYTES)
    # The first constant, if that comes sooner.
    constant = statement.find(b"'", 0, cut if cut > 0 else _CACHED_BYTES)
    if constant > 0:
        cut = constant
    if cut < _HEAD_BYTES:
        return _lacks_markers(statement)
    return _head_lacks_markers(statement[:cut]) and _lacks_markers(statement[cut - _OVERLAP :])


def _is_unmarked_outside(statement: bytes) -> bool:
    """Whether it is one statement with no marker, but for what its constants hold."""
    if 0 in statement:
        return False
    try:
        outside = without_constants(statement.decode())
    except UnicodeDecodeError:
        return False
    if outside is None or ";" in outside.rstrip()[:-1]:
        return False
    return _has_no_marker(outside.lower())


def _lacks_markers(text: bytes) -> bool:
    # A str is searched twice as fast as bytes; the markers are ASCII.
    return _has_no_marker(text.decode("latin-1").lower())


def _has_no_marker(lowered: str) -> bool:
    for marker in _MARKERS:  # all() would take half as long again
        if marker in lowered:
            return False
    if "xml" in lowered and ("to_xml" in lowered or "xmlschema" in lowered):
        return False
    if "temp" in lowered:
        if "pg_temp" in lowered:
            return False
        for found in _TEMPORARY.finditer(lowered):
            before = lowered[found.start() - 1] if found.start() else ""
            if not (before.isalnum() or before in _IN_NAMES):
                return False
    return True


_head_lacks_markers: Final = lru_cache(maxsize=1024)(_lacks_markers)


def _parsed(statement: bytes) -> Statement:
    if 0 in statement:
        # The parser would take it for the end.
        return _UNKNOWN
    try:
        text = statement.decode()
        if len(statement) > _SHALLOW_BYTES and _nesting(text) > _DEEPEST:
            return _TOO_DEEP
        nodes = [raw.stmt for raw in pglast.parse_sql(text) if raw.stmt is not None]
    except (pglast.parser.ParseError, UnicodeDecodeError):
        return _UNKNOWN
    if len(nodes) == 1:
        (node,) = nodes
        if isinstance(node, ast.DeclareCursorStmt) and _is_held(node):
            return Statement(holds=node.portalname or "", pins=_pins(node), refusal=_refusal(node))
        if isinstance(node, ast.ClosePortalStmt):
            return Statement(closes=node.portalname or "*")
        if database := _undisturbed_database(node):
            return Statement(database=database, refusal=_refusal(node))
    only = nodes[0] if len(nodes) == 1 else None
    return Statement(
        fusable=isinstance(only, _PLAIN_DML),
        whole=isinstance(only, (*_PLAIN_DML, ast.CopyStmt)),
        pins=any(_pins(node) or _is_held(node) for node in nodes),
        refusal=next(filter(None, map(_refusal, nodes)), ""),
        listens=any(isinstance(node, ast.ListenStmt) for node in nodes),
    )


_parsed_cached: Final = lru_cache(maxsize=4096)(_parsed)


def _undisturbed_database(node: ast.Node) -> str:
    """Return the database that nobody may be connected to while the statement runs."""
    if isinstance(node, ast.DropdbStmt):
        return node.dbname or ""
    if isinstance(node, ast.RenameStmt) and node.renameType == ObjectType.OBJECT_DATABASE:
        return node.subname or ""
    if isinstance(node, ast.CreatedbStmt):
        for option in node.options or ():
            if option.defname == "template" and isinstance(option.arg, ast.String):
                return option.arg.sval or ""
    return ""


def _is_held(node: ast.Node) -> bool:
    """Whether the statement declares a cursor that outlives its transaction."""
    return isinstance(node, ast.DeclareCursorStmt) and bool((node.options or 0) & _CURSOR_HOLD)


def _nesting(text: str) -> int:
    """Return how deeply a statement may be nested, at most."""
    deepest = total = 0
    counts = [0]
    for token in pglast.parser.scan(text):
        if token.name in _OPENING:
            counts.append(1)
            total += 1
        elif token.name in _CLOSING:
            if len(counts) > 1:
                total -= counts.pop()
        elif token.name in _SEPARATING:
            total -= counts[-1]
            counts[-1] = 0
        elif token.name not in _FLAT:
            counts[-1] += 1
            total += 1
        deepest = max(deepest, total)
    return deepest


def walk(root: ast.Node) -> Iterator[ast.Node]:
    """Yield a node, and all below it; without recursion, for it may be deep."""
    waiting: list[Any] = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, ast.Node):
            yield item
            names = type(item).__slots__  # type: ignore[attr-defined]
            waiting += [getattr(item, name) for name in names]
        elif isinstance(item, tuple | list):
            waiting += item


def _function(call: ast.FuncCall | ast.CreateTrigStmt) -> str:
    return str(call.funcname[-1].sval).lower() if call.funcname else ""


def _pins(statement: ast.Node) -> bool:
    kind = type(statement).__name__
    if kind in _PINNING_KINDS:
        return True
    if isinstance(statement, ast.VariableSetStmt):
        return not (statement.is_local or statement.name == "TRANSACTION")
    for node in walk(statement):
        if isinstance(node, ast.RangeVar) and node.relpersistence == "t":
            return True
        if _names_temporary_schema(node):
            return True
        if _sets_by_view(node):
            return True
        if isinstance(node, ast.FuncCall):
            name = _function(node)
            if name == "set_config" or "advisory_lock" in name or "advisory_unlock" in name:
                return not name.startswith(("pg_advisory_xact", "pg_try_advisory_xact"))
    return False


def _names_temporary_schema(node: ast.Node) -> bool:
    """Whether a part of it is, or might be, the schema of temporary objects, or begins so."""
    texts = (getattr(node, name) for name in type(node).__slots__)  # type: ignore[attr-defined]
    return any(isinstance(text, str) and text.startswith(_TEMPORARY_SCHEMA) for text in texts)


def _refusal(statement: ast.Node) -> str:
    kind = type(statement).__name__
    if kind not in _TENANT_KINDS:
        return f"{kind.removesuffix('Stmt')} statements need maintenance"
    if isinstance(statement, ast.VariableSetStmt):
        if statement.kind == VariableSetKind.VAR_RESET_ALL:
            return "RESET ALL would leave the tenant's role"
        if (statement.name or "").lower() in FORBIDDEN_SETTINGS and not _is_read_as(statement):
            return f"{statement.name} belongs to the tenant's isolation"
    if isinstance(statement, ast.CopyStmt) and (statement.is_program or statement.filename):
        return "COPY may only use STDIN and STDOUT"
    return next(filter(None, map(_part_refusal, walk(statement))), "")


def _part_refusal(node: ast.Node) -> str:
    """Return why a tenant may not run what this is a part of, if it may not."""
    kind = type(node).__name__
    if kind.endswith("Stmt") and kind not in _TENANT_KINDS:
        return f"{kind.removesuffix('Stmt')} statements need maintenance"
    if _sets_by_view(node):
        return f"{_SETTINGS_VIEW} can only be read: it could set what belongs to the isolation"
    if isinstance(node, ast.PrepareStmt | ast.ExecuteStmt | ast.DeallocateStmt):
        return prepared_refusal(node.name or "")
    if isinstance(node, ast.FuncCall | ast.CreateTrigStmt):
        name = _function(node)
        if name in _FORBIDDEN_FUNCTIONS:
            return f"the function {name} can run SQL that is hidden from the server"
        if name == "set_config" and (isinstance(node, ast.CreateTrigStmt) or _may_escape(node)):
            return "set_config on that parameter would leave the tenant's role or search path"
    return ""


def _is_read_as(statement: ast.VariableSetStmt) -> bool:
    """Whether it sets what the server reads statements as, to that; or to the default, which is."""
    allowed = _READ_AS.get((statement.name or "").lower())
    if allowed is None:
        return False
    if statement.kind != VariableSetKind.VAR_SET_VALUE:
        return True
    (value,) = statement.args or (None,)
    return (
        isinstance(value, ast.A_Const)
        and isinstance(value.val, ast.String)
        and (value.val.sval or "").lower() in allowed
    )


def _sets_by_view(node: ast.Node) -> bool:
    """Whether it updates the view that sets parameters, or makes another way to it."""
    if isinstance(node, ast.UpdateStmt):
        return node.relation is not None and node.relation.relname == _SETTINGS_VIEW
    if isinstance(node, ast.ViewStmt | ast.RuleStmt):
        return any(
            isinstance(part, ast.RangeVar) and part.relname == _SETTINGS_VIEW for part in walk(node)
        )
    return False


def _may_escape(call: ast.FuncCall) -> bool:
    """Whether set_config may set a parameter of the isolation."""
    if not call.args:
        return True
    first = call.args[0]
    while isinstance(first, ast.TypeCast):
        first = first.arg
    if not isinstance(first, ast.A_Const) or not isinstance(first.val, ast.String):
        return True
    return (first.val.sval or "").lower() in FORBIDDEN_SETTINGS
