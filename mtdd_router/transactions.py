"""The end of a transaction that travels with its last write.

Invariant: what is said here is a hint. A transaction ends by it only where the atomic
block is the outermost one, on a shard; everywhere else it ends as it always does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from mtdd_router.backend.base import DatabaseWrapper
from mtdd_router.context import current_tenant
from mtdd_router.errors import TenantRequired, TransactionEnded
from mtdd_router.wire.backend import has_written

__all__ = ["last_write"]


@contextmanager
def last_write(using: str | None = None) -> Iterator[None]:
    """Say that the one statement in the block is the last of its transaction, and writes.

    COMMIT is then sent with it, which saves the transaction a round trip::

        with transaction.atomic(using=current_tenant()):
            order = Order.objects.get(pk=1)
            order.paid = True
            with last_write():
                order.save()

    A statement that writes no row, such as the UPDATE of a ``save()`` that is an INSERT
    after all, commits nothing, and another may follow. What COMMIT says, such as that a
    deferred constraint is violated, is raised in the block. The first statement that does
    write is the last: a handler of ``pre_save`` that writes would be committed without the
    row, so it is no block for models whose handlers write.

    In an inner atomic block, in a test that is a transaction, without any, and on other
    databases nothing is committed early; a second write in the block is an error all the same.

    Args:
        using: the database; by default, the current tenant's.

    Raises:
        TenantRequired: if none is named and no tenant is current.
        TransactionEnded: at a statement in the block after the one that wrote, and at one
            after the block in the transaction that has ended. What was committed stays.
    """
    alias = using if using is not None else current_tenant()
    if alias is None:
        raise TenantRequired
    with connections[alias].execute_wrapper(_LastWrite()):
        yield


class _LastWrite:
    """What runs the statements of one block."""

    def __init__(self) -> None:
        self._wrote = False

    def __call__(
        self,
        execute: Callable[[str, Any, bool, dict[str, Any]], Any],
        sql: str,
        params: Any,
        many: bool,  # noqa: FBT001 - Django's signature
        context: dict[str, Any],
    ) -> Any:
        connection = context["connection"]
        if self._wrote:
            with connection.wrap_database_errors:
                raise TransactionEnded
        if many or not _is_outermost(connection):
            result = execute(sql, params, many, context)
        else:
            try:
                with connection.connection.committing():
                    result = execute(sql, params, many, context)
            except Exception:
                # Whoever catches it: it was the end of the transaction, and no hook may run.
                connection.set_rollback(True)
                raise
        tag = getattr(context["cursor"], "statusmessage", None) or ""
        self._wrote = has_written(tag.encode())
        return result


def _is_outermost(connection: Any) -> bool:
    """Whether the end of the running atomic block is the end of a transaction on a shard."""
    return (
        isinstance(connection, DatabaseWrapper)
        and connection.in_atomic_block
        and not connection.savepoint_ids
        # A test class's has no savepoint either. Django's own `durable` looks here, too.
        and not any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
    )
