"""Connecting and authenticating to PostgreSQL.

Passwords go out in clear only where the server asks for that, as libpq does.

Source: PostgreSQL manual, "Message Flow: Start-up" and "SASL Authentication".
"""

import asyncio
import enum
import hashlib
import ssl
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

import scramp

from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.wire.backend import error_fields
from mtdd_router.wire.framing import HEADER, HEADER_BYTES, compose

__all__ = ["ConnectFailed", "Started", "request_cancel", "start"]

_PROTOCOL: Final = 3 << 16
_SSL_REQUEST: Final = Struct("!II").pack(8, 80877103)
_CANCEL: Final = Struct("!IIII")
_CANCEL_CODE: Final = 80877102
_INT32: Final = Struct("!I")
_KEY: Final = Struct("!II")


class _Auth(enum.IntEnum):
    OK = 0
    CLEAR = 3
    MD5 = 5
    SASL = 10
    SASL_CONTINUE = 11
    SASL_FINAL = 12


# How PostgreSQL reads statements, whatever its own configuration says; see ``statements``.
_READING: Final = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}


class ConnectFailed(Exception):
    """PostgreSQL could not be reached, or refused the login.

    *sqlstate* is what PostgreSQL said, or empty if it was not reached.
    """

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@dataclass(slots=True)
class Started:
    """A connection that is ready for its first query."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    parameters: dict[str, str] = field(default_factory=dict)
    process_id: int = 0
    secret_key: int = 0


async def start(dsn: Dsn, database: str, settings: dict[str, str]) -> Started:
    """Connect to *database*, log in, and wait until PostgreSQL is ready.

    Raises:
        ConnectFailed: with PostgreSQL's words, or the system's.
    """
    try:
        async with asyncio.timeout(dsn.connect_timeout):
            return await _start(dsn, database, settings)
    except TimeoutError:
        raise ConnectFailed(f"no answer within {dsn.connect_timeout:g} s") from None
    except (OSError, EOFError, ssl.SSLError, scramp.ScramException) as exc:
        raise ConnectFailed(str(exc) or type(exc).__name__) from exc


async def request_cancel(dsn: Dsn, process_id: int, secret_key: int) -> None:
    """Ask PostgreSQL to cancel what the backend *process_id* is running.

    Returns when PostgreSQL has taken the request; its effect comes later.
    """
    async with asyncio.timeout(dsn.connect_timeout):
        reader, writer = await _open(dsn)
        try:
            writer.write(_CANCEL.pack(16, _CANCEL_CODE, process_id, secret_key))
            await writer.drain()
            await reader.read(1)
        finally:
            writer.close()


async def _open(dsn: Dsn) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if (path := dsn.socket_path) is not None:
        return await asyncio.open_unix_connection(path)
    reader, writer = await asyncio.open_connection(dsn.host, dsn.port)
    # "allow" would try without TLS first; a server that insists gets it here.
    if dsn.sslmode == "disable":
        return reader, writer
    writer.write(_SSL_REQUEST)
    answer = await reader.readexactly(1)
    if answer == b"S":
        await writer.start_tls(dsn.ssl_context(), server_hostname=dsn.host)
    elif dsn.sslmode not in ("allow", "prefer"):
        writer.close()
        raise ConnectFailed(f"sslmode is {dsn.sslmode!r}, but the server does not offer TLS")
    return reader, writer


async def _start(dsn: Dsn, database: str, settings: dict[str, str]) -> Started:
    reader, writer = await _open(dsn)
    started = Started(reader, writer)
    try:
        parameters = {"user": dsn.user, "database": database, **_READING, **settings}
        if dsn.options:
            parameters["options"] = dsn.options
        body = b"".join(
            name.encode() + b"\0" + value.encode() + b"\0" for name, value in parameters.items()
        )
        writer.write(_INT32.pack(len(body) + 9) + _INT32.pack(_PROTOCOL) + body + b"\0")
        await _authenticate(started, dsn)
        while True:
            kind, body = await _read(reader)
            match kind:
                case b"S":
                    name, value = body[:-1].split(b"\0")
                    started.parameters[name.decode()] = value.decode()
                case b"K":
                    started.process_id, started.secret_key = _KEY.unpack(body[:8])
                case b"Z":
                    return started
    except BaseException:
        writer.close()
        raise


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind, length = HEADER.unpack(await reader.readexactly(HEADER_BYTES))
    body = await reader.readexactly(length - 4)
    if kind == b"E":
        fields = error_fields(body)
        raise ConnectFailed(fields.get("M", "unknown error"), fields.get("C", ""))
    return kind, body


async def _authenticate(started: Started, dsn: Dsn) -> None:
    scram: scramp.ScramClient | None = None
    while True:
        kind, body = await _read(started.reader)
        if kind != b"R":
            raise ConnectFailed("what answered is not a PostgreSQL server")
        (code,) = _INT32.unpack_from(body)
        match code:
            case _Auth.OK:
                return
            case _Auth.CLEAR:
                _send_password(started, _password(dsn))
            case _Auth.MD5:
                _send_password(started, _md5(dsn, body[4:8]))
            case _Auth.SASL:
                mechanisms = [item.decode() for item in body[4:].split(b"\0") if item]
                scram = _scram(started, dsn, mechanisms)
                first = scram.get_client_first().encode()
                started.writer.write(
                    compose(
                        b"p",
                        scram.mechanism_name.encode() + b"\0",
                        _INT32.pack(len(first)),
                        first,
                    )
                )
            case _Auth.SASL_CONTINUE if scram is not None:
                scram.set_server_first(body[4:].decode())
                started.writer.write(compose(b"p", scram.get_client_final().encode()))
            case _Auth.SASL_FINAL if scram is not None:
                scram.set_server_final(body[4:].decode())
            case _:
                raise ConnectFailed(f"authentication method {code} is not supported")


def _password(dsn: Dsn) -> str:
    if not dsn.password:
        raise ConnectFailed("the server asks for a password, and the DSN has none")
    return dsn.password


def _send_password(started: Started, password: str) -> None:
    started.writer.write(compose(b"p", password.encode() + b"\0"))


def _md5(dsn: Dsn, salt: bytes) -> str:
    # The method is PostgreSQL's; nothing here relies on MD5 being strong.
    inner = hashlib.md5((_password(dsn) + dsn.user).encode(), usedforsecurity=False).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest()


def _scram(started: Started, dsn: Dsn, mechanisms: list[str]) -> scramp.ScramClient:
    secured = started.writer.get_extra_info("ssl_object")
    usable = [name for name in mechanisms if secured or not name.endswith("-PLUS")]
    binding = None
    if secured and any(name.endswith("-PLUS") for name in usable):
        binding = scramp.make_channel_binding("tls-server-end-point", secured)
    return scramp.ScramClient(usable, dsn.user, _password(dsn), channel_binding=binding)
