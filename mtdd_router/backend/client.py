"""``manage.py dbshell``: psql needs PostgreSQL's own address, which a client does not know."""

from collections.abc import Iterable
from typing import Any

from django.db.backends.postgresql.client import DatabaseClient as PostgresClient

from mtdd_router.errors import ConfigurationError

__all__ = ["DatabaseClient"]


class DatabaseClient(PostgresClient):
    """Says where psql can be used instead."""

    @classmethod
    def settings_to_cmd_args_env(
        cls,
        settings_dict: dict[str, Any],
        parameters: Iterable[str],  # noqa: ARG003 - the name is Django's
    ) -> tuple[list[str], dict[str, str] | None]:
        """Refuse: psql does not speak gRPC.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            f"psql cannot reach {settings_dict['NAME']!r} through a shard server: run psql on the "
            "shard itself, or use 'manage.py tenant_shell' for the ORM."
        )
