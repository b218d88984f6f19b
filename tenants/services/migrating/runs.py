"""Runs over many tenants: Django migrates one of each schema state, the others follow.

Invariants: one run at a time, told by a lock that ends with its process. What is left to
do is read from the tenants themselves each time, so a run that died is simply run again;
the ledger is for people, and for ``--resume``. A run that is interrupted finishes the
batches at hand and begins no more.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from mtdd_router.errors import MTDDError
from mtdd_router.types import SchemaDetail, applied_digest
from tenants import signals
from tenants.errors import InvalidMigrationTarget, MigrationRunError
from tenants.models import Shard, Tenant
from tenants.services.locks import migration_run_lock
from tenants.services.migrating.aliases import own_connections
from tenants.services.migrating.batches import Limits, apply_to_batch, standing
from tenants.services.migrating.ledger import Ledger, run_under_way
from tenants.services.migrating.planning import NEWEST, MigrationTarget
from tenants.services.migrating.recipes import Recipe
from tenants.services.migrating.results import MigrationOutcome, MigrationResult
from tenants.services.migrating.single import is_behind, migrate_and_record
from tenants.services.migrating.survey import survey
from tenants.services.notifying import tell

__all__ = ["DEFAULT_PARALLEL", "migrate_tenants", "resume_migrations"]

DEFAULT_PARALLEL: Final = 2
_BATCH: Final = 50

OnResult = Callable[[MigrationResult], None]


def migrate_tenants(
    tenants: Iterable[Tenant],
    *,
    target: MigrationTarget = NEWEST,
    parallel: int = DEFAULT_PARALLEL,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    canary: int = 0,
    on_run: Callable[[int], None] = lambda _: None,
    on_result: OnResult = lambda _: None,
) -> list[MigrationResult]:
    """Migrate *tenants*, and return a result for each that was begun.

    Args:
        tenants: with their shards; those being created or deleted are skipped.
        target: where to migrate to.
        parallel: how many batches at a time on each shard.
        limits: on waiting and failing.
        canary: so many first; the others only if none of these fails.
        on_run: called with the number of the run in the ledger, before it begins.
        on_result: called with each result as it comes, one call at a time.

    Raises:
        InvalidMigrationTarget: before anything is done.
        MigrationRunError: if another run is under way.
        KeyboardInterrupt: after the batches at hand are finished.
    """
    chosen = list(tenants)
    with _the_only_run():
        ledger = Ledger.begin(target, len(chosen))
        on_run(ledger.run.pk)
        return _Run(ledger, parallel, limits, on_result).work(chosen, canary)


def resume_migrations(
    *,
    run: int | None = None,
    parallel: int = DEFAULT_PARALLEL,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    on_begin: Callable[[list[Tenant]], None] = lambda _: None,
    on_result: OnResult = lambda _: None,
) -> list[MigrationResult]:
    """Go on with the last run where it stopped, and try its failures again.

    *run* is the number that it must have, if it matters; *on_begin* is called with the
    tenants that are left; the other arguments are those of `migrate_tenants`.

    Raises:
        MigrationRunError: if there is nothing to resume, another run is under way, or the
            last one is not *run*.
        KeyboardInterrupt: after the batches at hand are finished.
    """
    with _the_only_run():
        ledger = Ledger.resume(run)
        left = ledger.left()
        on_begin(left)
        return _Run(ledger, parallel, limits, on_result).work(left)


@contextmanager
def _the_only_run() -> Iterator[None]:
    with migration_run_lock() as mine:
        if not mine:
            raise MigrationRunError(
                f"Tenants are being migrated already, by {run_under_way()}; wait for its end."
            )
        yield


@dataclass(frozen=True, slots=True)
class _Group:
    """Tenants of one schema state, and the digest of their migrations."""

    applied: str
    tenants: Sequence[Tenant]


class _Run:
    """One run, and what came of it so far."""

    def __init__(self, ledger: Ledger, parallel: int, limits: Limits, on_result: OnResult) -> None:
        self._ledger = ledger
        self._target = ledger.target
        self._parallel = parallel
        self._limits = limits
        self._on_result = on_result
        self._results: list[MigrationResult] = []
        self._stopped = False

    def work(self, tenants: Sequence[Tenant], canary: int = 0) -> list[MigrationResult]:
        """Migrate *tenants*; the first *canary* of them must all succeed."""
        interrupted = True
        try:
            if canary:
                self._migrate(tenants[:canary])
                self._stopped = self._stopped or self._failed
            if not self._stopped:
                self._migrate(tenants[canary:])
            interrupted = False
        finally:
            unchanged = sum(r.outcome is MigrationOutcome.UNCHANGED for r in self._results)
            self._ledger.end(unchanged=unchanged, interrupted=interrupted)
        return self._results

    @property
    def _failed(self) -> bool:
        return any(r.outcome is MigrationOutcome.FAILED for r in self._results)

    def _migrate(self, tenants: Sequence[Tenant]) -> None:
        names = frozenset(tenant.name for tenant in tenants)
        refused = standing(names, names)
        whole = [tenant for tenant in tenants if tenant.name not in refused]
        self._came([_result(t, *refused[t.name]) for t in tenants if t.name in refused])
        behind = []
        for group in self._groups(whole, SchemaDetail.APPLIED):
            if is_behind(group.tenants[0], self._target):
                self._ledger.expect(group.tenants)
                behind.append(group)
            else:
                self._came([_result(t, MigrationOutcome.UNCHANGED) for t in group.tenants])
        for group in behind:
            deviating = self._follow(group)
            # Alike in their migrations, they are not in their catalogs.
            for other in self._groups(deviating, SchemaDetail.FINGERPRINT):
                for tenant in self._follow(other):
                    error = f"The schema of tenant {tenant.name!r} changes while it is migrated."
                    self._came([_result(tenant, MigrationOutcome.FAILED, error)])

    def _groups(self, tenants: Sequence[Tenant], detail: SchemaDetail) -> list[_Group]:
        """Group *tenants* by state; one that cannot be asked has failed."""
        if not tenants:
            return []
        found = survey(tenants, detail)
        groups: dict[tuple[tuple[str, ...], str, int], list[Tenant]] = {}
        for tenant in tenants:
            state = found.states.get(tenant.name)
            if state is None:
                error = found.errors[tenant.name]
                self._came([_result(tenant, MigrationOutcome.FAILED, error)])
                continue
            key = (state.applied, state.fingerprint, state.postgres_major)
            groups.setdefault(key, []).append(tenant)
        return [_Group(applied_digest(key[0]), members) for key, members in groups.items()]

    def _follow(self, group: _Group) -> list[Tenant]:
        """Migrate a group; return those whose schema was another one than the first's."""
        waiting = list(group.tenants)
        recipe: Recipe | None = None
        while waiting and recipe is None and not self._stopped:
            leader = waiting.pop(0)
            result, recipe = self._lead(leader, group.applied, for_others=bool(waiting))
            self._came([result])
        if recipe is None or not waiting or self._stopped:
            return []
        return self._replay(waiting, recipe)

    def _lead(
        self, tenant: Tenant, applied: str, *, for_others: bool
    ) -> tuple[MigrationResult, Recipe | None]:
        """Let Django migrate *tenant*; return how, if that is of use to others of its group."""
        started = perf_counter()
        try:
            recipe = migrate_and_record(tenant, self._target, self._limits, for_others=for_others)
        except InvalidMigrationTarget:
            raise
        except MTDDError as exc:
            seconds = perf_counter() - started
            return _result(tenant, MigrationOutcome.FAILED, str(exc), seconds), None
        seconds = perf_counter() - started
        if recipe is None:
            return _result(tenant, MigrationOutcome.UNCHANGED, "", seconds), None
        result = MigrationResult(
            tenant.name, tenant.shard.name, MigrationOutcome.MIGRATED, recipe.changed, seconds
        )
        fits = recipe.replayable and recipe.applied == applied
        return result, recipe if fits else None

    def _replay(self, tenants: Sequence[Tenant], recipe: Recipe) -> list[Tenant]:
        """Apply *recipe* to *tenants* on all shards at once; return those it does not fit."""
        by_name = {tenant.name: tenant for tenant in tenants}
        by_shard: dict[Shard, list[str]] = {}
        for tenant in tenants:
            by_shard.setdefault(tenant.shard, []).append(tenant.name)
        deviating: list[Tenant] = []
        with ExitStack() as pools:
            waiting: list[Future[tuple[list[MigrationResult], list[str]]]] = []
            for shard, names in by_shard.items():
                pool = pools.enter_context(
                    ThreadPoolExecutor(self._parallel, thread_name_prefix=f"migrate {shard.name}")
                )
                waiting += [
                    pool.submit(self._batch, shard, names[start : start + _BATCH], recipe)
                    for start in range(0, len(names), _BATCH)
                ]
            try:
                for done in as_completed(waiting):
                    results, others = done.result()
                    self._came(results)
                    deviating += [by_name[name] for name in others]
            finally:
                # Those at hand are finished, the others never begun.
                for future in waiting:
                    future.cancel()
        return deviating

    def _batch(
        self, shard: Shard, names: list[str], recipe: Recipe
    ) -> tuple[list[MigrationResult], list[str]]:
        if self._stopped:
            return [], []
        with own_connections():
            return apply_to_batch(shard, names, recipe, self._limits)

    def _came(self, results: list[MigrationResult]) -> None:
        if not results:
            return
        self._results += results
        self._ledger.record(results)
        if self._limits.fail_fast and self._failed:
            self._stopped = True
        for result in results:
            self._on_result(result)
            if result.outcome is MigrationOutcome.MIGRATED:
                tell(
                    signals.post_migrate,
                    result.tenant,
                    shard=result.shard,
                    changed=result.changed,
                )


def _result(
    tenant: Tenant, outcome: MigrationOutcome, error: str = "", seconds: float = 0.0
) -> MigrationResult:
    return MigrationResult(tenant.name, tenant.shard.name, outcome, (), seconds, error)
