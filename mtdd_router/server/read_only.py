"""What a caller that may only read must not run.

PostgreSQL itself refuses to change anything, since each of the caller's transactions is
begun as READ ONLY: by ``default_transaction_read_only``, of which PostgreSQL reports each
change. Here is what could end that, or has an effect in spite of it; see
docs/decisions/0214.

Invariant: a statement is allowed only if its kind, and the kind of each of its parts, is
on the list of those that read.
"""

from functools import lru_cache
from typing import Final

import pglast
from pglast import ast
from pglast.enums import TransactionStmtKind

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.statements import walk

__all__ = ["READ_ONLY_SETTING", "READ_ONLY_SETTINGS", "refusal_of"]

READ_ONLY_SETTING: Final = ("default_transaction_read_only", "on")
READ_ONLY_SETTINGS: Final = frozenset((READ_ONLY_SETTING[0], "transaction_read_only"))
_MODE: Final = "transaction_read_only"
_CACHED_BYTES: Final = 4096

_KINDS: Final = frozenset(
    [
        "SelectStmt",
        "TransactionStmt",
        "VariableSetStmt",
        "VariableShowStmt",
        "ExplainStmt",
        "DeclareCursorStmt",
        "FetchStmt",
        "ClosePortalStmt",
        "CopyStmt",
        "PrepareStmt",
        "ExecuteStmt",
        "DeallocateStmt",
        "ListenStmt",
        "UnlistenStmt",
        "ConstraintsSetStmt",
    ]
)
_ONE_PHASE: Final = frozenset(
    (
        TransactionStmtKind.TRANS_STMT_BEGIN,
        TransactionStmtKind.TRANS_STMT_START,
        TransactionStmtKind.TRANS_STMT_COMMIT,
        TransactionStmtKind.TRANS_STMT_ROLLBACK,
        TransactionStmtKind.TRANS_STMT_SAVEPOINT,
        TransactionStmtKind.TRANS_STMT_RELEASE,
        TransactionStmtKind.TRANS_STMT_ROLLBACK_TO,
    )
)
# They have an effect that outlives a transaction which may only read. PostgreSQL lets large
# objects be written there before version 16.
_FUNCTIONS: Final = frozenset(
    (
        "pg_notify",
        "nextval",
        "setval",
        "lo_creat",
        "lo_create",
        "lo_export",
        "lo_from_bytea",
        "lo_import",
        "lo_open",
        "lo_put",
        "lo_truncate",
        "lo_truncate64",
        "lo_unlink",
        "lowrite",
    )
)


def refusal_of(request: pb.SessionRequest) -> str:
    """Return why a caller that may only read must not make *request*; empty if it may."""
    if "WRITE" in request.begin:
        return "BEGIN READ WRITE would let it write"
    kinds = [message.WhichOneof("message") for message in request.batch.messages]
    if "sync" in kinds[:-1]:
        return "a batch of several transactions is looked at only before the first"
    texts = [request.statement] if request.HasField("statement") else []
    texts += [
        message.parse.statement for message in request.batch.messages if message.HasField("parse")
    ]
    return next(filter(None, map(_refusal, texts)), "")


def _refusal(statement: bytes) -> str:
    if len(statement) <= _CACHED_BYTES:
        return _parsed_cached(statement)
    return _parsed(statement)


def _parsed(statement: bytes) -> str:
    try:
        nodes = [raw.stmt for raw in pglast.parse_sql(statement.decode()) if raw.stmt is not None]
    except (pglast.parser.ParseError, UnicodeDecodeError):
        # Such a statement is only ever shown to PostgreSQL's parser; see ``dispatch``.
        return ""
    if len(nodes) > 1 and any(isinstance(node, ast.TransactionStmt) for node in nodes):
        return "a string of several transactions is looked at only before the first"
    parts = (part for node in nodes for part in walk(node))
    return next(filter(None, map(_part_refusal, parts)), "")


_parsed_cached: Final = lru_cache(maxsize=4096)(_parsed)


def _part_refusal(node: ast.Node) -> str:
    kind = type(node).__name__
    if kind.endswith("Stmt") and kind not in _KINDS:
        return f"{kind.removesuffix('Stmt')} statements do more than read"
    if isinstance(node, ast.TransactionStmt) and node.kind not in _ONE_PHASE:
        return "a prepared transaction may have written"
    if isinstance(node, ast.TransactionStmt | ast.VariableSetStmt) and _sets_mode(node):
        return "a transaction of READ WRITE would let it write"
    if isinstance(node, ast.CopyStmt) and node.is_from:
        return "COPY FROM writes"
    if isinstance(node, ast.IntoClause):
        return "SELECT INTO writes"
    if isinstance(node, ast.FuncCall) and node.funcname:
        name = str(node.funcname[-1].sval).lower()
        if name in _FUNCTIONS:
            return f"the function {name} does more than read"
        if name == "set_config" and _first_text(node) in READ_ONLY_SETTINGS:
            return "set_config on that parameter would let it write"
    return ""


def _sets_mode(node: ast.TransactionStmt | ast.VariableSetStmt) -> bool:
    """Whether it says anything of the mode but READ ONLY."""
    if isinstance(node, ast.VariableSetStmt):
        if (node.name or "").lower() in READ_ONLY_SETTINGS:
            return True
        options = node.args or ()
    else:
        options = node.options or ()
    for option in options:
        if isinstance(option, ast.DefElem) and option.defname == _MODE:
            value = getattr(getattr(option.arg, "val", option.arg), "ival", 0)
            if value != 1:
                return True
    return False


def _first_text(call: ast.FuncCall) -> str:
    first = call.args[0] if call.args else None
    while isinstance(first, ast.TypeCast):
        first = first.arg
    if isinstance(first, ast.A_Const) and isinstance(first.val, ast.String):
        return (first.val.sval or "").lower()
    return ""
