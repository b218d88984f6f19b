"""Applying a recipe to a batch of tenants of one shard.

Invariants: a tenant's lock is held from before the first to after the last stage, and
the registry is asked again under it. A tenant that fails leaves its batch; the others
go on. A tenant whose schema is not what the recipe is for is handed back untouched by
that stage.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from django.apps.registry import Apps
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import MTDDError
from mtdd_router.types import SchemaDetail, SchemaState, ScriptOutcome, ScriptPart, TenantState
from tenants import signals
from tenants.errors import MigrationFailed, OperationRefused
from tenants.models import Shard, Tenant
from tenants.services.identity import admin_of
from tenants.services.locks import busy, tenant_locks
from tenants.services.migrating.aliases import migrating_connection
from tenants.services.migrating.differences import differences
from tenants.services.migrating.executing import WholeExecutor
from tenants.services.migrating.planning import Plan
from tenants.services.migrating.recipes import CodeStage, Recipe
from tenants.services.migrating.results import MigrationOutcome, MigrationResult
from tenants.services.migrating.signals import send_post_migrate, send_pre_migrate
from tenants.services.notifying import ask

__all__ = ["MIGRATABLE", "Limits", "apply_to_batch", "first_line", "standing"]

MIGRATABLE: Final = (TenantState.ACTIVE, TenantState.FROZEN)
_CALL_TIMEOUT: Final = 3600.0
_LOCK_NOT_AVAILABLE: Final = "55P03"
_DIFFERENCES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How a run may burden shards and tenants.

    Attributes:
        lock_timeout: bounds each wait for a lock, in seconds; zero does not.
        lock_retries: how often a tenant whose lock could not be had is tried again.
        lock_pause: before the first of these, in seconds; each next is twice as long.
        fail_fast: begin no more tenants once one has failed.
    """

    lock_timeout: float = 2.0
    lock_retries: int = 5
    lock_pause: float = 0.5
    fail_fast: bool = False


@dataclass(slots=True)
class _Batch:
    """The tenants of a batch, and what is known of them."""

    shard: Shard
    recipe: Recipe
    seconds: dict[str, float]
    # Until all have begun, the first failure ends it for those that have not.
    cautious: bool = False
    results: list[MigrationResult] = field(default_factory=list)
    deviating: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Those that are still on their way."""
        return list(self.seconds)

    def leave(self, name: str, outcome: MigrationOutcome, error: str = "") -> None:
        seconds = self.seconds.pop(name)
        changed = self.recipe.changed if outcome is MigrationOutcome.MIGRATED else ()
        self.results.append(
            MigrationResult(name, self.shard.name, outcome, changed, seconds, error)
        )

    def fail(self, name: str, error: str) -> None:
        self.leave(name, MigrationOutcome.FAILED, f"Tenant {name!r} could not be migrated: {error}")

    def drop(self, names: Iterable[str]) -> None:
        """Give up those that were not begun."""
        for name in names:
            del self.seconds[name]

    def each(self, action: Callable[[str], object]) -> None:
        """Do *action* for each; one that fails leaves."""
        names = self.names
        for place, name in enumerate(names, start=1):
            started = time.perf_counter()
            try:
                action(name)
            # A migration is anybody's code, and may fail with anything.
            except Exception as exc:  # noqa: BLE001
                self.fail(name, first_line(exc))
                if self.cautious:
                    self.drop(names[place:])
                    break
            else:
                self.seconds[name] += time.perf_counter() - started
        self.cautious = False


def apply_to_batch(
    shard: Shard, tenants: Sequence[str], recipe: Recipe, limits: Limits
) -> tuple[list[MigrationResult], list[str]]:
    """Apply *recipe* to *tenants* of *shard*.

    Returns:
        A result for each that was begun, and the tenants whose schema was another one
        than the recipe's.
    """
    admin = admin_of(shard, timeout=_CALL_TIMEOUT)
    with tenant_locks(tenants) as held:
        batch = _Batch(shard, recipe, dict.fromkeys(tenants, 0.0), limits.fail_fast)
        for name, refusal in standing(tenants, held).items():
            batch.leave(name, *refusal)
        _ask(batch)
        try:
            _apply(batch, admin, limits)
        except MTDDError as exc:
            for name in batch.names:
                batch.fail(name, str(exc))
        done = [r.tenant for r in batch.results if r.outcome is MigrationOutcome.MIGRATED]
        Tenant.objects.filter(name__in=done).update(migrated_at=timezone.now())
    return batch.results, batch.deviating


def apply_to_new(tenant: Tenant, recipe: Recipe, admin: ShardAdmin, limits: Limits) -> bool:
    """Apply *recipe* to a new tenant; return whether that led to the recipe's schema.

    Raises:
        MigrationFailed: naming the tenant.
    """
    batch = _Batch(tenant.shard, recipe, {tenant.name: 0.0})
    _apply(batch, admin, limits)
    for result in batch.results:
        if result.outcome is MigrationOutcome.FAILED:
            raise MigrationFailed(result.error)
    return not batch.deviating


def _ask(batch: _Batch) -> None:
    """Let receivers refuse, before anything is begun."""
    names = batch.names
    for place, name in enumerate(names, start=1):
        try:
            ask(signals.pre_migrate, name, shard=batch.shard.name)
        except OperationRefused as exc:
            batch.leave(name, MigrationOutcome.FAILED, str(exc))
            if batch.cautious:
                batch.drop(names[place:])
                break


def standing(
    tenants: Iterable[str], held: frozenset[str]
) -> dict[str, tuple[MigrationOutcome, str]]:
    """Return why some of *tenants* cannot be migrated now; the locks of *held* are held."""
    states = dict(Tenant.objects.filter(name__in=held).values_list("name", "state"))
    refused = {}
    for name in tenants:
        state = states.get(name)
        if name not in held:
            refused[name] = (
                MigrationOutcome.FAILED,
                str(busy(name)),
            )
        elif state is None:
            refused[name] = (
                MigrationOutcome.SKIPPED,
                f"Tenant {name!r} has been deleted or renamed.",
            )
        elif state not in MIGRATABLE:
            refused[name] = (
                MigrationOutcome.SKIPPED,
                f"Tenant {name!r} is {state}; it is not migrated.",
            )
    return refused


def _apply(batch: _Batch, admin: ShardAdmin, limits: Limits) -> None:
    recipe = batch.recipe
    if recipe.tells_before:
        batch.each(lambda name: _tell(send_pre_migrate, name, recipe.plan, recipe.before))
    verified = False
    for stage in recipe.stages:
        if isinstance(stage, CodeStage):
            batch.each(partial(_run_code, stage))
            verified = False
        else:
            _run_script(batch, admin, stage.parts, limits)
            verified = bool(stage.parts[-1].fingerprint)
    if recipe.tells_after:
        batch.each(lambda name: _tell(send_post_migrate, name, recipe.plan, recipe.after))
    if not verified:
        _verify(batch, admin)
    for name in batch.names:
        batch.leave(name, MigrationOutcome.MIGRATED)


def _run_script(
    batch: _Batch, admin: ShardAdmin, parts: Sequence[ScriptPart], limits: Limits
) -> None:
    """Run *parts* on all, and again on those that did not get a lock in time."""
    left = {0: batch.names}
    pause = limits.lock_pause
    for attempt in range(limits.lock_retries + 1):
        waiting: dict[int, list[str]] = {}
        for begin, names in left.items():
            outcomes = admin.run_script(
                names,
                parts[begin:],
                lock_timeout=limits.lock_timeout,
                fail_fast=batch.cautious,
            )
            for outcome in outcomes:
                batch.seconds[outcome.tenant] += outcome.seconds
                retry = outcome.sqlstate == _LOCK_NOT_AVAILABLE and attempt < limits.lock_retries
                if retry:
                    waiting.setdefault(begin + outcome.parts_done, []).append(outcome.tenant)
                elif outcome.failure:
                    _fail(batch, outcome, limits)
            batch.drop({*names} - {outcome.tenant for outcome in outcomes})
        left = waiting
        batch.cautious = False
        if not left:
            return
        time.sleep(pause)
        pause *= 2


def _fail(batch: _Batch, outcome: ScriptOutcome, limits: Limits) -> None:
    if outcome.differs:
        del batch.seconds[outcome.tenant]
        batch.deviating.append(outcome.tenant)
    elif outcome.sqlstate == _LOCK_NOT_AVAILABLE:
        batch.fail(
            outcome.tenant,
            f"{limits.lock_retries + 1} times its tables were in use for longer than "
            f"{limits.lock_timeout:g} s; end what uses them, or raise --lock-timeout.",
        )
    else:
        batch.fail(outcome.tenant, f"{outcome.failure} (SQLSTATE {outcome.sqlstate})")


class _Recorder(MigrationRecorder):
    """Notes migrations of a tenant that has some already."""

    def ensure_schema(self) -> None:
        """Do nothing: the table is there."""


class _Executor(WholeExecutor):
    """An executor for single migrations, which need no graph of all."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.recorder = _Recorder(connection)
        self.progress_callback = None


def _run_code(stage: CodeStage, tenant: str) -> None:
    with migrating_connection(tenant) as connection:
        executor = _Executor(connection)
        change = executor.unapply_migration if stage.backwards else executor.apply_migration
        change(stage.state(), stage.migration)


def _tell(send: Callable[[str, Plan, Apps], bool], tenant: str, plan: Plan, apps: Apps) -> None:
    with migrating_connection(tenant):
        send(tenant, plan, apps)


def _verify(batch: _Batch, admin: ShardAdmin) -> None:
    """Compare with the tenant that Django migrated; name what differs."""
    states = admin.inspect_schemas(batch.names, SchemaDetail.FINGERPRINT)
    for name in batch.names:
        if states[name].fingerprint != batch.recipe.fingerprint:
            facts = admin.inspect_schemas([name], SchemaDetail.FACTS)[name]
            batch.fail(name, _difference(facts, batch.recipe))


def _difference(found: SchemaState, recipe: Recipe) -> str:
    differing = differences(recipe.facts, found.facts)[:_DIFFERENCES_SHOWN]
    shown = "; ".join(map(str, differing)) or "nothing that can be named"
    return (
        f"after {', '.join(recipe.changed)} its schema differs from that of tenant "
        f"{recipe.tenant!r}, which has the same migrations: {shown}."
    )


def first_line(exc: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    line = str(exc).strip().partition("\n")[0]
    if isinstance(exc, (MTDDError, Error)) and line:
        return line
    return f"{type(exc).__name__}: {line}"
