"""A libpq connection string, read as the parameters this server understands.

A parameter that is not understood is refused by name, never ignored.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import psycopg
from psycopg import conninfo, pq

__all__ = ["Dsn"]

_UNDERSTOOD: Final = frozenset(
    (
        *("host", "hostaddr", "port", "user", "password", "dbname", "options"),
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword"),
        *("connect_timeout", "application_name", "fallback_application_name"),
        *("client_encoding", "gssencmode", "target_session_attrs"),
    )
)
_SSL_MODES: Final = frozenset(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
_DEFAULT_SOCKET_FOLDERS: Final = ("/var/run/postgresql", "/tmp")  # noqa: S108 - libpq's own


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where and as whom to reach PostgreSQL."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    options: str
    sslmode: str
    sslrootcert: str
    sslcert: str
    sslkey: str
    sslpassword: str = field(repr=False)
    connect_timeout: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI or keyword/value string, with libpq's environment as defaults.

        Raises:
            ValueError: naming the parameter that is wrong; never its value's secrets.
        """
        try:
            given = conninfo.conninfo_to_dict(text)
        except psycopg.ProgrammingError as exc:
            raise ValueError("not a PostgreSQL connection string or URI") from exc
        for name in given:
            if name not in _UNDERSTOOD:
                raise ValueError(f"the connection parameter {name!r} is not supported")
        values = {
            option.keyword.decode(): option.val.decode()
            for option in pq.Conninfo.get_defaults()
            if option.val is not None
        }
        values.update({name: str(value) for name, value in given.items() if value is not None})
        sslmode = values.get("sslmode") or "prefer"
        if sslmode not in _SSL_MODES:
            raise ValueError(f"sslmode {sslmode!r} is not one of {', '.join(sorted(_SSL_MODES))}")
        try:
            port = int(values.get("port") or 5432)
            timeout = float(values.get("connect_timeout") or 10)
        except ValueError as exc:
            raise ValueError("port and connect_timeout must be numbers") from exc
        if not 0 < port < 65536:
            raise ValueError(f"port {port} is not between 1 and 65535")
        host = values.get("hostaddr") or values.get("host") or _default_host(port)
        if "," in host:
            raise ValueError("host names several servers; a shard has one")
        user = values.get("user") or ""
        if not user:
            raise ValueError("user is missing")
        return cls(
            host=host,
            port=port,
            user=user,
            password=values.get("password", ""),
            database=values.get("dbname") or user,
            options=values.get("options", ""),
            sslmode=sslmode,
            sslrootcert=values.get("sslrootcert", ""),
            sslcert=values.get("sslcert", ""),
            sslkey=values.get("sslkey", ""),
            sslpassword=values.get("sslpassword", ""),
            connect_timeout=timeout,
        )

    @property
    def socket_path(self) -> str | None:
        """The path of the unix socket, or None for TCP."""
        if self.host.startswith("/"):
            return f"{self.host}/.s.PGSQL.{self.port}"
        if self.host.startswith("@"):
            return f"\0{self.host[1:]}/.s.PGSQL.{self.port}"
        return None

    def describe(self) -> str:
        """Return where this points, for messages, without secrets."""
        where = self.socket_path or f"{self.host}:{self.port}"
        return f"database {self.database!r} as {self.user!r} at {where}"

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context that sslmode and its files ask for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.sslmode == "verify-full"
        if self.sslmode in ("verify-ca", "verify-full"):
            context.verify_mode = ssl.CERT_REQUIRED
            if self.sslrootcert and self.sslrootcert != "system":
                context.load_verify_locations(self.sslrootcert)
            else:
                context.load_default_certs()
        else:
            context.verify_mode = ssl.CERT_NONE
        if self.sslcert:
            context.load_cert_chain(
                self.sslcert, self.sslkey or None, password=self.sslpassword or None
            )
        return context


def _default_host(port: int) -> str:
    for folder in _DEFAULT_SOCKET_FOLDERS:
        if Path(folder, f".s.PGSQL.{port}").exists():
            return folder
    return "localhost"
