"""The settings of a shard server: flags, then environment, then a TOML file, then defaults.

Every wrong setting is refused at start, by name; secrets are never printed.
Durations are in seconds. docs/decisions/0202 says why unknown names are errors.
"""

import argparse
import difflib
import os
import ssl
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from mtdd_router.errors import ConfigurationError
from mtdd_router.server.callers import load_callers
from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.wire.address import Address

__all__ = ["ADMIN_CONNECTIONS", "ServerConfig", "load_config"]

# How many administrative calls of a worker run at a time; connections are open while they do.
ADMIN_CONNECTIONS: Final = 2
# Beside those, one listens to placement changes and looks placements up.
_OWN_CONNECTIONS: Final = ADMIN_CONNECTIONS + 1
_PREFIX: Final = "MTDD_SHARD_"
# The client's, which a Django project may keep in the same environment.
_CLIENT_VARIABLES: Final = frozenset(
    {"MTDD_SHARD_TOKEN", "MTDD_SHARD_CALLER", "MTDD_SHARD_KEY_FILE"}
)
_MAX_MESSAGE_BYTES: Final = 1 << 30

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _check_address(text: str) -> str:
    Address.parse(text)
    return text


def _check_dsn(dsn: SecretStr) -> SecretStr:
    Dsn.parse(dsn.get_secret_value())
    return dsn


def _check_file(path: Path | None) -> Path | None:
    if path is not None:
        try:
            with path.open("rb"):
                pass
        except OSError as exc:
            raise ValueError(f"cannot read {path}: {exc.strerror}") from exc
    return path


ReadableFile = Annotated[Path | None, AfterValidator(_check_file)]


class ServerConfig(BaseModel):
    """Everything that a shard server can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    address: Annotated[str, AfterValidator(_check_address)] = Field(
        "127.0.0.1:7401",
        description="where to listen: host:port (port 0: any free one) or unix:/path",
    )
    dsn: Annotated[SecretStr, AfterValidator(_check_dsn)] = Field(
        description="PostgreSQL's connection string or URI; a flag shows in the list of processes, "
        "so give a password by environment, file or ~/.pgpass",
    )
    pool_size: int = Field(
        20,
        ge=1,
        le=10_000,
        description="PostgreSQL connections of the whole server at most; "
        f"{_OWN_CONNECTIONS} of each worker are its own",
    )
    tenants_per_connection: int = Field(
        500,
        ge=1,
        description="how many tenants one of them serves; it then takes no others: PostgreSQL "
        "keeps in memory what it has seen of each, some 20 kB a table",
    )
    workers: int = Field(1, ge=1, le=256, description="worker processes that share the address")
    queue_size: int = Field(
        1000, ge=0, description="requests of a worker that may wait for a connection"
    )
    queue_timeout: Seconds = Field(
        30.0, gt=0, description="longest wait for a connection, in seconds"
    )
    statement_timeout: Seconds = Field(
        0.0, description="longest run of a statement, in seconds; 0: no limit"
    )
    idle_in_transaction_timeout: Seconds = Field(
        0.0, description="longest pause inside a transaction, in seconds; 0: no limit"
    )
    idle_timeout: Seconds = Field(
        3600.0,
        description="longest pause of a session outside of transactions, in seconds; 0: no limit",
    )
    sessions_per_caller: int = Field(
        10_000, ge=0, description="sessions of one caller in a worker at most; 0: no limit"
    )
    statements_per_session: int = Field(
        0,
        ge=0,
        description="statements of a session at most, after which clients open another; and of a "
        "transaction, which fails; 0: no limit",
    )
    drain_timeout: Seconds = Field(
        30.0, description="how long running transactions may take at shutdown, in seconds"
    )
    max_message_bytes: int = Field(
        _MAX_MESSAGE_BYTES,
        ge=1 << 16,
        le=(1 << 31) - 1,
        description="largest gRPC message; the default of 1 GiB is PostgreSQL's own limit of a "
        "value",
    )
    data_token: SecretStr | None = Field(
        None,
        description="bearer token of callers that run statements on tenants; a flag shows in the "
        "list of processes, so give it by environment or file",
    )
    admin_token: SecretStr | None = Field(
        None, description="bearer token of callers that may also administer; give it likewise"
    )
    callers: ReadableFile = Field(
        None,
        description="TOML file of callers: the keys that sign their tokens, their certificates' "
        "names, and what each may do; it is read again when it changes (docs/access.md)",
    )
    token_lifetime: Seconds = Field(
        3600.0, gt=0, description="longest life of a signed token, in seconds"
    )
    clock_skew: Seconds = Field(
        60.0, description="how far the clocks of callers may be off, in seconds"
    )
    token_grace: Seconds = Field(
        3600.0,
        description="how long a transaction may go on when its caller's token has expired, in "
        "seconds",
    )
    tls_certificate: ReadableFile = Field(None, description="PEM file of the server's certificate")
    tls_key: ReadableFile = Field(None, description="PEM file of its private key")
    tls_client_ca: ReadableFile = Field(
        None, description="PEM file of the authorities whose client certificates are demanded"
    )
    reflection: bool = Field(
        False, description="answer gRPC server reflection, which tells anybody what there is"
    )
    log_format: Literal["console", "json"] = Field("console", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least severe events to log"
    )
    extension_schema: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")] = Field(
        "extensions", description="schema of PostgreSQL extensions, in every tenant's search path"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [
            *self._pool_problems(),
            *self._exposure_problems(),
            *self._token_problems(),
            *self._callers_problems(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _pool_problems(self) -> list[str]:
        problems = []
        least = (_OWN_CONNECTIONS + 1) * self.workers
        if self.pool_size < least:
            problems.append(
                f"pool_size: {self.pool_size} is too few for {self.workers} worker(s): each needs "
                f"{_OWN_CONNECTIONS + 1} at least, {_OWN_CONNECTIONS} of them for itself; "
                f"give {least} or more"
            )
        if self.listen_address.is_unix and self.workers > 1:
            problems.append(
                f"workers: {self.workers} workers cannot share a unix socket; "
                "use host:port, or one worker"
            )
        return problems

    def _exposure_problems(self) -> list[str]:
        problems = []
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            problems.append(f"{missing}: tls_certificate and tls_key belong together")
        if self.tls_client_ca is not None and not self.uses_tls:
            problems.append("tls_client_ca: needs tls_certificate and tls_key")
        problems += self._certificate_problems()
        if not self.listen_address.is_local:
            if not self.uses_tls:
                problems.append(
                    f"address: {self.address} can be reached from other machines, which needs "
                    "tls_certificate and tls_key; or listen on 127.0.0.1 or unix:/path"
                )
            if not self.has_tokens and self.callers is None and self.tls_client_ca is None:
                problems.append(
                    f"admin_token: {self.address} can be reached from other machines, so set "
                    "callers, or data_token and admin_token, or tls_client_ca"
                )
        return problems

    def _certificate_problems(self) -> list[str]:
        """Read the files as TLS would: gRPC itself says little about a bad one."""
        problems = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.tls_certificate is not None and self.tls_key is not None:
            try:
                # The empty password refuses an encrypted key instead of asking for it.
                context.load_cert_chain(self.tls_certificate, self.tls_key, password="")
            except (ssl.SSLError, ValueError) as exc:
                problems.append(
                    f"tls_certificate: {self.tls_certificate} and {self.tls_key} are not a "
                    f"certificate and its unencrypted key in PEM format ({exc})"
                )
        if self.tls_client_ca is not None:
            try:
                context.load_verify_locations(self.tls_client_ca)
            except ssl.SSLError as exc:
                problems.append(
                    f"tls_client_ca: {self.tls_client_ca} holds no PEM certificate ({exc})"
                )
        return problems

    def _token_problems(self) -> list[str]:
        problems = []
        values = {}
        for name in ("data_token", "admin_token"):
            token = getattr(self, name)
            if token is None:
                continue
            value = values[name] = token.get_secret_value()
            if not value or not value.isascii() or not value.isprintable() or " " in value:
                problems.append(f"{name}: must be printable ASCII without spaces, and not empty")
        if len(values) == 2 and len(set(values.values())) == 1:
            problems.append("admin_token: must differ from data_token")
        return problems

    def _callers_problems(self) -> list[str]:
        if self.callers is None:
            return []
        try:
            callers = load_callers(self.callers)
        except ConfigurationError as exc:
            return str(exc).splitlines()
        if callers.certificates and self.tls_client_ca is None:
            return ["tls_client_ca: callers are to be known by certificates, so set it"]
        return []

    @property
    def listen_address(self) -> Address:
        """The address, read."""
        return Address.parse(self.address)

    def check_bound(self, addresses: Iterable[Address]) -> None:
        """Make sure of what *address* has become: a name may lead anywhere.

        Raises:
            ConfigurationError: if other machines can reach it, and must not.
        """
        guarded = self.has_tokens or self.callers is not None or self.tls_client_ca is not None
        if self.uses_tls and guarded:
            return
        for address in addresses:
            if not address.is_local:
                raise ConfigurationError(
                    f"address: {self.address} is {address} here, which can be reached from other "
                    "machines; that needs tls_certificate, tls_key, and callers or tokens; or "
                    "listen on 127.0.0.1 or unix:/path"
                )

    @property
    def postgres(self) -> Dsn:
        """The connection string, read."""
        return Dsn.parse(self.dsn.get_secret_value())

    @property
    def uses_tls(self) -> bool:
        """Whether the server has a certificate of its own."""
        return self.tls_certificate is not None and self.tls_key is not None

    @property
    def has_tokens(self) -> bool:
        """Whether callers must show a token."""
        return self.data_token is not None or self.admin_token is not None

    def data_connections(self, worker: int = 0) -> int:
        """Return how many connections the pool of *worker* (from 0) may hold.

        The shares of all workers and their control connections add up to pool_size.
        """
        share, rest = divmod(self.pool_size, self.workers)
        return share + (1 if worker < rest else 0) - _OWN_CONNECTIONS


def load_config(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> ServerConfig:
    """Read the settings.

    Args:
        arguments: command line flags, as ``--pool-size 20`` or ``--pool-size=20``.
        environment: where MTDD_SHARD_ variables are read from.

    Raises:
        ConfigurationError: with one line for each problem.
        SystemExit: after --help.
    """
    problems: list[str] = []
    flags, config_path = _read_flags(arguments, problems)
    variables = _read_environment(environment, problems)
    config_path = config_path or variables.pop("config", None)
    table = _read_toml(Path(config_path), problems) if config_path else {}
    values: dict[str, Any] = {**table, **variables, **flags}
    try:
        config = ServerConfig(**values)
    except ValidationError as exc:
        problems += _explain(exc)
        raise ConfigurationError("\n".join(problems)) from None
    if problems:
        raise ConfigurationError("\n".join(problems))
    return config


def _read_flags(arguments: Sequence[str], problems: list[str]) -> tuple[dict[str, Any], str | None]:
    parser = argparse.ArgumentParser(
        prog="python -m mtdd_router.server",
        description="Run the shard server in front of one PostgreSQL.",
        epilog=f"Each setting may also be a variable ({_PREFIX}POOL_SIZE) or a key of the TOML "
        "file (pool_size). Flags win over variables, variables over the file.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        exit_on_error=False,
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML file of settings")
    for name, field in ServerConfig.model_fields.items():
        flag = "--" + name.replace("_", "-")
        text = (field.description or "").replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
            continue
        if not field.is_required() and field.default is not None:
            text += f" (default: {field.default})"
        parser.add_argument(flag, metavar=_metavar(field.annotation), help=text)
    try:
        found, unknown = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as exc:
        # Nothing was read, so other problems would be guesses.
        raise ConfigurationError(str(exc).removeprefix("argument ")) from exc
    known = ["--" + name.replace("_", "-") for name in ServerConfig.model_fields] + ["--config"]
    names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
    problems += [f"{name}: no such flag{_suggest(name, known)}" for name in names]
    if unknown and not names:
        # It is not shown: it may be a secret.
        problems.append("an argument stands alone; settings are flags, as in --pool-size 20")
    values = dict(vars(found))
    return values, values.pop("config", None)


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = get_args(annotation)[0]
    names = {int: "NUMBER", float: "SECONDS", Path: "FILE"}
    return names.get(annotation, "TEXT")


def _read_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    values = {}
    known = [_PREFIX + name.upper() for name in (*ServerConfig.model_fields, "config")]
    for variable, value in environment.items():
        if not variable.startswith(_PREFIX) or variable in _CLIENT_VARIABLES:
            continue
        if variable in known:
            values[variable.removeprefix(_PREFIX).lower()] = value
        else:
            problems.append(f"{variable}: no such variable{_suggest(variable, known)}")
    return values


def _read_toml(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        problems.append(f"config: cannot read {path}: {exc.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        problems.append(f"config: {path} is not TOML: {exc}")
        return {}
    known = list(ServerConfig.model_fields)
    for key in [key for key in table if key not in known]:
        problems.append(f"{key}: no such setting in {path}{_suggest(key, known)}")
        del table[key]
    return table


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _explain(exc: ValidationError) -> list[str]:
    """Return a line for each problem; values are left out, they may be secrets."""
    lines = []
    for error in exc.errors(include_input=False, include_url=False):
        message = error["msg"].removeprefix("Value error, ")
        if not error["loc"]:
            lines += message.split("\n")
        elif error["type"] == "missing":
            name = str(error["loc"][0])
            flag, variable = "--" + name.replace("_", "-"), _PREFIX + name.upper()
            lines.append(f"{name}: is missing; give {flag}, {variable}, or {name} in --config FILE")
        else:
            lines.append(f"{error['loc'][0]}: {message[:1].lower()}{message[1:]}")
    return lines
