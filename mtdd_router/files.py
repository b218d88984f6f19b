"""Files of rows: a file is in the folder of the tenant that has its row.

A storage knows names alone, and Django gives it no row. So fields of files are given a
generated subclass of their own ``attr_class``, like managers, if a tenants' storage is in use.
Invariant: where a row says which database it is from, the context does not count.
"""

from collections.abc import Iterable
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.files.storage import Storage
from django.db.models import FileField, Model
from django.db.models.fields.files import FieldFile
from django.db.models.signals import class_prepared, pre_save

from mtdd_router.conf import mtdd_settings
from mtdd_router.generated import tenant_class
from mtdd_router.settings_entries import class_of
from mtdd_router.storage import TenantFolders

__all__ = ["TenantFieldFile", "install", "watch"]

_SAVED_TO: Final = "_mtdd_saved_to"


class TenantFieldFile(FieldFile):
    """The file of a row."""

    @property
    def storage(self) -> Storage:
        """The field's storage, fixed to where the row is."""
        given: Any = self._given
        if not isinstance(given, TenantFolders):
            return given  # type: ignore[no-any-return]
        alias = self.instance._state.db or vars(self.instance).get(_SAVED_TO)
        if alias is None and mtdd_settings.is_tenant_app(_home(type(self.instance))):
            return given  # type: ignore[return-value] # A new row, of the running work's tenant.
        is_tenant = alias is not None and mtdd_settings.is_tenant_alias(alias)
        return given.of(alias if is_tenant else None)  # type: ignore[return-value]

    @storage.setter
    def storage(self, value: Storage) -> None:
        self._given = value


def watch() -> None:
    """Serve the models that are there, and those defined from now on, if there is need."""
    if not _is_used():
        return
    install(apps.get_models(include_auto_created=True))
    class_prepared.connect(_on_class_prepared, dispatch_uid="mtdd_router.files")


def install(models: Iterable[type[Model]]) -> None:
    """Let the files of *models* be where their rows are."""
    pre_save.connect(_note_target, dispatch_uid="mtdd_router.files")
    for model in models:
        for field in model._meta.local_fields:
            if isinstance(field, FileField) and not issubclass(field.attr_class, TenantFieldFile):
                field.attr_class = tenant_class(field.attr_class, TenantFieldFile)


def _is_used() -> bool:
    """Whether any storage of STORAGES, or of a field, has folders for tenants."""
    configured = (entry.get("BACKEND") for entry in settings.STORAGES.values())
    if any(issubclass(cls, TenantFolders) for cls in map(class_of, configured) if cls):
        return True
    return any(
        isinstance(field, FileField) and issubclass(type(field.storage), TenantFolders)
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.local_fields
    )


def _on_class_prepared(*, sender: type[Model], **_: Any) -> None:
    install([sender])


def _note_target(*, instance: Model, using: str, **_: Any) -> None:
    # Files are saved before the row is, and so before Django notes where it is.
    if instance._state.db is None:
        vars(instance)[_SAVED_TO] = using


def _home(model: type[Model]) -> str:
    return (model._meta.concrete_model or model)._meta.app_label
