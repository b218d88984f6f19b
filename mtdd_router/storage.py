"""Files of tenants: each has a folder of its own in any storage, and a URL below it.

Invariants: the folder is chosen when a file is reached, by the running work's tenant, or by
the row that has the file (`mtdd_router.files`); it is the tenant's key, which stays when the
tenant is renamed. What has no tenant is in a folder that can be no tenant's. No name leads out
of a folder.
"""

import copy
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final, Self

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.deconstruct import deconstructible
from django.utils.module_loading import import_string

from mtdd_router.context import current_tenant
from mtdd_router.directory import directory

__all__ = ["SHARED_FOLDER", "TenantFileSystemStorage", "TenantFolders", "TenantStorage"]

SHARED_FOLDER: Final = "_shared"
"""The folder of what has no tenant; no key of a tenant begins with ``_``."""


class TenantFolders:
    """A storage with a folder for each tenant."""

    # The tenant, or None, if it is not the running work's.
    _fixed: tuple[str | None] | None = None

    def of(self, tenant: str | None) -> Self:
        """Return this storage, fixed to *tenant*'s files, or to those of none."""
        fixed = copy.copy(self)
        vars(fixed)["_fixed"] = (tenant,)
        return fixed

    @property
    def folder(self) -> str:
        """The folder whose files are reached now.

        Raises:
            TenantDoesNotExist, RegistryUnavailable: if the tenant is not known.
        """
        tenant = current_tenant() if self._fixed is None else self._fixed[0]
        return SHARED_FOLDER if tenant is None else directory.key(tenant)


@deconstructible(path="mtdd_router.storage.TenantFileSystemStorage")
class TenantFileSystemStorage(TenantFolders, FileSystemStorage):
    """Django's FileSystemStorage, in ``MEDIA_ROOT/<key>/`` and at ``MEDIA_URL/<key>/``."""

    @property
    def location(self) -> str:
        """The folder of the tenant; Django lets no name lead out of it."""
        return os.path.join(os.path.abspath(self.base_location), self.folder)  # noqa: PTH100, PTH118

    @property
    def base_url(self) -> str:
        """The URL of that folder."""
        url = str(super().base_url or "")
        return f"{url}{'' if url.endswith('/') else '/'}{self.folder}/"

    def url(self, name: str | None) -> str:
        """Return the URL of a file.

        Raises:
            SuspiciousFileOperation: if it would not be in the folder; Django, which joins it
                to `base_url`, does not look.
        """
        if name:
            self.path(name.replace("\\", "/"))
        return super().url(name)


@deconstructible(path="mtdd_router.storage.TenantStorage")
class TenantStorage(TenantFolders, Storage):
    """Any other storage, with a folder for each tenant.

    ::

        STORAGES = {
            "default": {
                "BACKEND": "mtdd_router.storage.TenantStorage",
                "OPTIONS": {"backend": "storages.backends.s3.S3Storage", "options": {...}},
            },
            ...,
        }

    Args:
        backend: the dotted path of the storage's class.
        options: what it is made with.
    """

    def __init__(self, backend: str, options: Mapping[str, Any] | None = None) -> None:
        self.storage: Storage = import_string(backend)(**(options or {}))

    def path(self, name: str) -> str:
        return self.storage.path(self._inside(name))

    def delete(self, name: str) -> None:
        self.storage.delete(self._inside(name))

    def exists(self, name: str) -> bool:
        return self.storage.exists(self._inside(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return self.storage.listdir(self._inside(path) if path else self.folder)

    def size(self, name: str) -> int:
        return self.storage.size(self._inside(name))

    def url(self, name: str | None) -> str:
        return self.storage.url(self._inside(name or ""))

    def get_accessed_time(self, name: str) -> datetime:
        return self.storage.get_accessed_time(self._inside(name))

    def get_created_time(self, name: str) -> datetime:
        return self.storage.get_created_time(self._inside(name))

    def get_modified_time(self, name: str) -> datetime:
        return self.storage.get_modified_time(self._inside(name))

    def _open(self, name: str, mode: str = "rb") -> "File[Any]":
        return self.storage.open(self._inside(name), mode)

    def _save(self, name: str, content: "File[Any]") -> str:
        folder = self.folder
        return self.storage.save(self._inside(name), content).removeprefix(f"{folder}/")

    def _inside(self, name: str) -> str:
        """Return the name in the underlying storage.

        Raises:
            SuspiciousFileOperation: if it would not be in the folder.
        """
        parts = str(name).replace("\\", "/").split("/")
        path = PurePosixPath(*parts) if parts[0] else None
        if path is None or ".." in parts or "\0" in str(name) or not path.parts:
            raise SuspiciousFileOperation("The name of a file leads out of its tenant's folder.")
        return f"{self.folder}/{path}"
