"""Django's option ``pool``, for a database of a shard."""

from typing import Any

from mtdd_router import dbapi

__all__ = ["PooledConnection"]


class PooledConnection(dbapi.Connection[Any]):
    """What psycopg's pool calls to make a connection; the pool is Django's own."""

    @classmethod
    def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",  # noqa: ARG003 - the pool passes it, empty
        **params: Any,
    ) -> dbapi.Connection[Any]:
        """Connect as ``dbapi.connect`` does."""
        return dbapi.connect(**params)
