"""The operations of the database backend."""

from django.db.backends.postgresql import operations as postgresql

__all__ = ["DatabaseOperations"]


class DatabaseOperations(postgresql.DatabaseOperations):
    """Django's own for PostgreSQL, with compilers that look at deletions."""

    compiler_module = "mtdd_router.backend.compiler"
