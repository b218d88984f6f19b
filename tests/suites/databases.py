"""The databases of a run, as Django's setting: straight to PostgreSQL, or over a shard server."""

from typing import Any

from benchmarks.servers import Postgres

__all__ = ["routed_databases", "straight_databases"]

_ALIASES = ("default", "other")


def straight_databases(postgres: Postgres, options: dict[str, Any]) -> dict[str, Any]:
    """Return two aliases of Django's own backend."""
    return {
        alias: {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": str(postgres.folder),
            "PORT": str(postgres.port),
            "USER": "postgres",
            "NAME": f"suite_{alias}",
            "OPTIONS": options,
        }
        for alias in _ALIASES
    }


def routed_databases(address: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the same two, as databases of the shard server at *address*."""
    host, _, port = address.rpartition(":")
    return {
        alias: {
            "ENGINE": "mtdd_router.backend",
            "HOST": host,
            "PORT": port,
            "NAME": f"suite_{alias}",
            "OPTIONS": options,
        }
        for alias in _ALIASES
    }
