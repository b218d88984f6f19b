"""``manage.py dbshell``: PostgreSQL's own psql, in a tenant or in a database of a shard.

A client knows no address of PostgreSQL, and psql speaks no gRPC. So psql talks to a
relay of this process, which carries its statements to the shard.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final

from django.db import connections
from django.db.backends.postgresql.client import DatabaseClient as PostgresClient

from mtdd_router.client.exchange import Exchange
from mtdd_router.dbapi.relay import Relay

__all__ = ["DatabaseClient"]

# What psql shows as the user of the connection; the shard server knows the role.
_USER: Final = "mtdd"


class DatabaseClient(PostgresClient):
    """Runs psql on the relay."""

    def runshell(self, parameters: Iterable[str]) -> None:
        """Run psql with *parameters* until it ends.

        Raises:
            subprocess.CalledProcessError: if psql ends with an error.
            FileNotFoundError: if there is no psql on this machine.
        """
        target = self.connection.get_connection_params()

        @contextmanager
        def open_exchange() -> Iterator[Exchange]:
            exchange = Exchange(
                target["locator"],
                (),
                connect_timeout=target["connect_timeout"],
                statement_timeout=target["statement_timeout"],
            )
            try:
                yield exchange
            finally:
                exchange.close()
                # The registry's, if this thread had to ask it where the tenant lives.
                connections.close_all()

        with Relay(open_exchange) as relay:
            settings = {
                "HOST": str(relay.folder),
                "PORT": relay.port,
                "USER": _USER,
                "NAME": self.connection.settings_dict["OPTIONS"].get("tenant", target["database"]),
                "OPTIONS": {},
            }
            relayed: Any = SimpleNamespace(settings_dict=settings)
            _Psql(relayed).runshell(parameters)


class _Psql(PostgresClient):
    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str]]:
        arguments, environment = super().settings_to_cmd_args_env(settings_dict, parameters)
        # Else psql would take the terminal's; statements travel in this one.
        return arguments, {**(environment or {}), "PGCLIENTENCODING": "UTF8"}
