"""Asserting that a block leaves no tenant behind, and that all it did was its tenant's.

What `assert_no_tenant_leak` sees, it sees at three places: the context, before and after;
each request that is sent to a shard, and each instance of a tenant app's model that is
made, in the block's context. See docs/testing.md for what that proves.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from django.db import connections
from django.db.models import Model
from django.db.models.signals import post_init

from mtdd_router.client.round_trips import record_round_trips
from mtdd_router.conf import mtdd_settings
from mtdd_router.context import current_tenant

__all__ = ["TenantLeak", "assert_no_tenant_leak"]

# What the blocks of the running context have seen made.
_blocks: Final[ContextVar[tuple[list[Model], ...]]] = ContextVar("mtdd_leak_blocks", default=())


class TenantLeak(AssertionError):
    """Something of a tenant was left behind, or was another's."""


@contextmanager
def assert_no_tenant_leak(tenant: str | None = None) -> Iterator[None]:
    """Fail if the block leaves a tenant behind, or does something in another one.

    After the block the context has the tenant that it had before, no tenant's connection
    is in a transaction, or holds a session, that was not so before, and each statement and
    each instance in the block was of *tenant*: the context's without an argument, and if
    there is none, of one tenant and no other.

    Not seen are rows that make no instance where they are not read from a shard, as
    ``values()`` on `default`, and threads that were not given the block's context.

    Raises:
        TenantLeak: naming each leak. An exception of the block comes first.
    """
    outside = current_tenant()
    before = _held()
    made: list[Model] = []

    def remember(instance: Model, **_: Any) -> None:
        mine = any(block is made for block in _blocks.get())
        if mine and mtdd_settings.is_tenant_app(_home(instance)):
            made.append(instance)

    token = _blocks.set((*_blocks.get(), made))
    post_init.connect(remember, weak=False)
    try:
        with record_round_trips() as recorded:
            yield
    finally:
        post_init.disconnect(remember)
        _blocks.reset(token)
    statements = {trip.tenant for trip in recorded if trip.tenant}
    leaks = [
        *_left_in_context(outside),
        *_left_open(before),
        *_foreign(tenant or outside, statements, made),
    ]
    if leaks:
        raise TenantLeak("A tenant leaks: " + " ".join(leaks))


def _left_in_context(before: str | None) -> Iterator[str]:
    after = current_tenant()
    if after != before:
        yield f"the context is left in {_named(after)}, and was in {_named(before)}."


def _held() -> dict[str, tuple[int, bool]]:
    """Return how deep in transactions each tenant's connection is, and if it holds a session."""
    found = {}
    for connection in connections.all(initialized_only=True):
        if mtdd_settings.is_tenant_alias(connection.alias):
            depth = len(connection.savepoint_ids) + connection.in_atomic_block
            raw: Any = connection.connection
            found[connection.alias] = (depth, raw is not None and not raw.closed and raw.busy)
    return found


def _left_open(before: Mapping[str, tuple[int, bool]]) -> Iterator[str]:
    for alias, (depth, busy) in _held().items():
        depth_before, busy_before = before.get(alias, (0, False))
        if depth > depth_before:
            yield f"a transaction of {_named(alias)} is left open."
        elif busy and not (busy_before or depth):
            yield f"a session of {_named(alias)} is left open."


def _foreign(tenant: str | None, statements: set[str], made: list[Model]) -> Iterator[str]:
    """Tell what was not of *tenant*; None stands for any one tenant."""
    homes = {str(one._state.db): one for one in made if one._state.db is not None}
    if tenant is None:
        seen = statements | {alias for alias in homes if mtdd_settings.is_tenant_alias(alias)}
        if len(seen) > 1:
            yield f"there was work in {', '.join(map(_named, sorted(seen)))}."
        if not seen:
            return
        tenant = min(seen)
    else:
        for other in sorted(statements - {tenant}):
            yield f"a statement was sent to {_named(other)}, not to {_named(tenant)}."
    for alias, instance in sorted(homes.items()):
        if alias != tenant and not (mtdd_settings.is_tenant_alias(alias) and not tenant):
            yield (
                f"a row of {type(instance)._meta.label} is of {_named(alias)}, "
                f"not of {_named(tenant)}."
            )


def _named(alias: str | None) -> str:
    if alias is None:
        return "no tenant"
    return f"tenant {alias!r}" if mtdd_settings.is_tenant_alias(alias) else f"database {alias!r}"


def _home(instance: Model) -> str:
    model = type(instance)._meta.concrete_model or type(instance)
    return model._meta.app_label
