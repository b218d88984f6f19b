"""Structured logs, as JSON lines or for a console, on standard error.

Invariants: no log line holds a statement's text, a parameter's value, a token
or a connection string. Fields of those names are dropped, and PostgreSQL's
error messages, which quote values, are reduced to their SQLSTATE.
"""

import logging
import sys
import traceback
from typing import Final

import psycopg
import structlog
from structlog.typing import EventDict, WrappedLogger

__all__ = ["configure_logging", "get_logger", "log_session_statement"]

_FORBIDDEN: Final = frozenset(
    {
        "arguments",
        "conninfo",
        "dsn",
        "parameters",
        "params",
        "password",
        "query",
        "sql",
        "statement",
        "token",
        "values",
    }
)


def configure_logging(log_format: str, level: str) -> None:
    """Send the process's logs, the standard library's included, to standard error.

    Args:
        log_format: ``json`` or ``console``.
        level: the least severe level to log, such as ``info``.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_secrets,
        describe_exception,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their own debug lines hold what must not be logged.
    for chatty in ("psycopg", "grpc", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the structured logger *name*."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


_statements = get_logger("mtdd_router.server.session")
_statements_level = logging.getLogger("mtdd_router.server.session")


def log_session_statement(
    *, tenant: str, session: str, duration_ms: float, command: str = "", **details: object
) -> None:
    """Log, at debug level, that a session's statement ended.

    Args:
        tenant: its name, or the database of a session without a tenant.
        session: the session's id; only its first 8 characters are logged, it is a secret.
        duration_ms: from taking the request to the last byte of its answer, in milliseconds.
        command: PostgreSQL's command tag, such as ``SELECT 1``.
        details: such as ``sqlstate`` or ``reason``.
    """
    # This runs for every statement: the common case costs one look.
    if not _statements_level.isEnabledFor(logging.DEBUG):
        return
    _statements.debug(
        "statement",
        tenant=tenant,
        session=session[:8],
        duration_ms=round(duration_ms, 3),
        command=command,
        **details,
    )


def drop_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop the fields that must never be logged."""
    for name in _FORBIDDEN.intersection(event):
        del event[name]
    return event


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace ``exc_info`` by the exception's kind and where it was raised."""
    exc_info = event.pop("exc_info", None)
    if not exc_info:
        return event
    exc = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
    if isinstance(exc_info, tuple):
        exc = exc_info[1]
    if exc is None:
        return event
    event["exception"] = describe(exc)
    event["frames"] = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(exc.__traceback__)
    ]
    return event


def describe(exc: BaseException) -> str:
    """Return what may be logged of *exc*."""
    kind = type(exc).__name__
    if isinstance(exc, psycopg.Error) and exc.sqlstate is not None:
        return f"{kind} (SQLSTATE {exc.sqlstate})"
    text = str(exc)
    return f"{kind}: {text}" if text else kind
