"""What may be written where: no row of one tenant over, or with keys of, another's.

Django writes a row wherever ``using`` says, over the row that has its primary key there,
which in another tenant is somebody else's. A row that came from one tenant may be
*copied* into another: with its primary key set to None, so that it becomes a new row,
and without any key of the tenant it came from.
"""

from typing import Any

from django.db.models import ForeignKey, Model
from django.db.models.signals import pre_save

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import CrossTenantError
from mtdd_router.rows import alias_of, home_of, name_of, stays

__all__ = ["check_saved", "check_updated", "watch_saves"]


def check_saved(row: Model, alias: str) -> None:
    """Let *row* be saved where *alias* leads, as what was there already or as a copy.

    Raises:
        CrossTenantError: naming both tenants, if it would take the place of another row, or
            refers to a row of another tenant.
    """
    if stays(row, alias):
        _check_relations(row, alias)
        return
    origin = str(alias_of(row))
    label = type(row)._meta.label
    if row.pk is not None:
        raise CrossTenantError(
            f"This {label} is of {name_of(origin)}: saved in {name_of(alias)}, it would take "
            "the place of the row that has its key there. For a copy, set pk to None first."
        )
    _check_relations(row, alias)
    for field in row._meta.concrete_fields:
        if (
            isinstance(field, ForeignKey)
            and mtdd_settings.is_tenant_app(home_of(field.related_model))
            and getattr(row, field.attname) is not None
        ):
            raise CrossTenantError(
                f"This {label} is of {name_of(origin)}, and so is the row that its "
                f"{field.name!r} refers to. To copy it to {name_of(alias)}, set {field.name!r} "
                f"to None, or make a new {type(row).__name__} that refers to a row of there."
            )


def check_updated(row: Model, alias: str) -> None:
    """Let *row* be written over itself where *alias* leads.

    Raises:
        CrossTenantError: naming both tenants, if it is of another, or refers to a row of one.
    """
    if not stays(row, alias):
        raise CrossTenantError(
            f"This {type(row)._meta.label} is of {name_of(str(alias_of(row)))}; its key is "
            f"another row's in {name_of(alias)}."
        )
    _check_relations(row, alias)


def watch_saves() -> None:
    """Check each row that is saved from now on."""
    pre_save.connect(_on_pre_save, dispatch_uid="mtdd_router.writes")


def _on_pre_save(*, instance: Any, using: str, **_: Any) -> None:
    if isinstance(instance, Model):
        check_saved(instance, using)


def _check_relations(row: Model, alias: str) -> None:
    # What is assigned to a relation, or was followed, is in here; Django offers
    # `is_cached` and `get_cached_value` of each field, at ten times the cost.
    for name, other in row._state.fields_cache.items():
        if (
            isinstance(other, Model)
            and other._state.db != alias
            and not stays(other, alias)
            and name in _columns(row)
        ):
            raise CrossTenantError(
                f"The {name!r} of this {type(row)._meta.label} is a row of "
                f"{name_of(str(alias_of(other)))}, and cannot be that of a row in "
                f"{name_of(alias)}."
            )


def _columns(row: Model) -> set[str]:
    """Return the names under which rows are cached that this row has the keys of."""
    meta = row._meta
    fields: list[Any] = [*meta.concrete_fields, *meta.private_fields]
    return {field.cache_name for field in fields if getattr(field, "cache_name", None)}
