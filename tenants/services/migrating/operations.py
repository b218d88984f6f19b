"""Which migrations are the same SQL on every tenant of one schema state.

Invariant: an operation counts as reproducible only if Django's own code makes its SQL
from the models, the catalog and the text of the migration. Anybody else's operation may
look at rows, the time or the tenant's name, and runs on each tenant by itself. As long as
a new tenant has no rows, no default has a value to give, and code of Django's own nothing
to do.
"""

from collections.abc import Iterable
from typing import Any, Final

from django.contrib.postgres import operations as postgres
from django.db import router
from django.db.migrations import Migration, operations
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.fields import FieldOperation
from django.db.migrations.state import ProjectState

__all__ = ["extensions_of", "is_reproducible", "runs_sql"]

_REPRODUCIBLE: Final[frozenset[type[Operation]]] = frozenset(
    {
        operations.CreateModel,
        operations.DeleteModel,
        operations.RenameModel,
        operations.AlterModelTable,
        operations.AlterModelTableComment,
        operations.AlterModelManagers,
        operations.AlterModelOptions,
        operations.AlterOrderWithRespectTo,
        operations.AlterUniqueTogether,
        operations.AlterIndexTogether,
        operations.AddIndex,
        operations.RemoveIndex,
        operations.RenameIndex,
        operations.AddConstraint,
        operations.RemoveConstraint,
        operations.AlterConstraint,
        operations.RenameField,
        operations.RunSQL,
        postgres.CreateExtension,
        postgres.BloomExtension,
        postgres.BtreeGinExtension,
        postgres.BtreeGistExtension,
        postgres.CITextExtension,
        postgres.CryptoExtension,
        postgres.HStoreExtension,
        postgres.TrigramExtension,
        postgres.UnaccentExtension,
        postgres.AddIndexConcurrently,
        postgres.RemoveIndexConcurrently,
        postgres.CreateCollation,
        postgres.RemoveCollation,
        postgres.AddConstraintNotValid,
        postgres.ValidateConstraint,
    }
)
# Called for each tenant, they return the same each time.
_CONSTANT_FACTORIES: Final = frozenset({bool, bytes, dict, float, int, list, set, str, tuple})


def is_reproducible(
    migration: Migration,
    before: ProjectState,
    alias: str,
    *,
    backwards: bool = False,
    rowless: bool = False,
) -> bool:
    """Whether the migration is the same SQL on every tenant of one schema state.

    Args:
        migration: with its operations.
        before: the state of the models without the migration.
        alias: of such a tenant, for the routers.
        backwards: whether it is to be undone.
        rowless: whether no table has a row.
    """
    return all(
        (rowless and _needs_rows(operation))
        or _is_kept_out(operation, migration.app_label, alias)
        or _is_reproducible(operation, migration.app_label, before, backwards=backwards)
        for operation in migration.operations
    )


def runs_sql(migration: Migration, alias: str) -> bool:
    """Whether the migration runs SQL of its author on tenant *alias*, which may change rows."""
    return any(
        isinstance(op, operations.RunSQL) and not _is_kept_out(op, migration.app_label, alias)
        for op in _flat(migration.operations)
    )


def extensions_of(migration: Migration) -> list[str]:
    """Return the extensions that the migration creates where they are missing."""
    return [
        op.name for op in _flat(migration.operations) if isinstance(op, postgres.CreateExtension)
    ]


def _flat(found: Iterable[Operation]) -> Iterable[Operation]:
    for operation in found:
        if isinstance(operation, operations.SeparateDatabaseAndState):
            yield from _flat(operation.database_operations)
        else:
            yield operation


def _is_kept_out(operation: Operation, app_label: str, alias: str) -> bool:
    """Whether the routers keep code or SQL of an app that is only shared from the tenants.

    A subclass of somebody else's may not ask them.
    """
    if type(operation) is operations.RunPython or type(operation) is operations.RunSQL:
        return not router.allow_migrate(alias, app_label, **operation.hints)
    return False


def _needs_rows(operation: Operation) -> bool:
    """Whether only rows could make the operation differ from tenant to tenant."""
    if type(operation) is operations.RunPython:
        return str(getattr(operation.code, "__module__", "")).startswith("django.")
    if type(operation) is operations.AddField or type(operation) is operations.AlterField:
        return _is_of_django(operation.field)
    return False


def _is_reproducible(
    operation: Operation, app_label: str, before: ProjectState, *, backwards: bool
) -> bool:
    if type(operation) is operations.SeparateDatabaseAndState:
        return all(
            _is_reproducible(inner, app_label, before, backwards=backwards)
            for inner in operation.database_operations
        )
    if type(operation) is operations.RunPython:
        code = operation.reverse_code if backwards else operation.code
        return code is operations.RunPython.noop
    if isinstance(operation, postgres.CreateExtension):
        # Whether it is dropped depends on who else of the database uses it.
        return type(operation) in _REPRODUCIBLE and not backwards
    if type(operation) is operations.AddField:
        return backwards or _has_constant_default(operation.field)
    if type(operation) is operations.RemoveField:
        return not backwards or _has_constant_default(_field_of(operation, app_label, before))
    if type(operation) is operations.AlterField:
        field = _field_of(operation, app_label, before) if backwards else operation.field
        return _has_constant_default(field)
    return type(operation) in _REPRODUCIBLE


def _field_of(operation: FieldOperation, app_label: str, state: ProjectState) -> Any:
    """Return the field in that state; None if the migration itself has made or renamed it."""
    model = state.models.get((app_label, operation.model_name_lower))
    return model.fields.get(operation.name) if model else None


def _has_constant_default(field: Any) -> bool:
    """Whether the rows that are there get the same value on every tenant."""
    if field is None or not _is_of_django(field):
        return False
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return False
    if not field.has_default():
        return True
    return not callable(field.default) or field.default in _CONSTANT_FACTORIES


def _is_of_django(field: Any) -> bool:
    """Whether Django's own code takes the field's default."""
    return str(type(field).get_default.__module__).startswith("django.")
