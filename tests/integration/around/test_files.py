"""Files of real rows: each is where its row is, whatever the context was or is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.db import connections, models
from django.test.utils import isolate_apps

from mtdd_router import files, tenant_context
from mtdd_router.directory import directory
from mtdd_router.storage import SHARED_FOLDER
from tenants import services
from tests.integration.around.conftest import TENANTS


@pytest.fixture
def paper(two_tenants: Any, settings: Any, tmp_path: Path) -> Iterator[Any]:
    """A model with a file, in both tenants and on `default`."""
    settings.MEDIA_ROOT, settings.MEDIA_URL = str(tmp_path), "/media/"
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "mtdd_router.storage.TenantFileSystemStorage"},
    }
    with isolate_apps("django.contrib.auth"):

        class Paper(models.Model):
            file = models.FileField(upload_to="papers")

            class Meta:
                app_label = "auth"

        files.install([Paper])
        for alias in (*TENANTS, "default"):
            with connections[alias].schema_editor() as editor:
                editor.create_model(Paper)
        yield Paper
        with connections["default"].schema_editor() as editor:
            editor.delete_model(Paper)
    apps.clear_cache()


def test_a_rows_file_is_in_the_folder_of_its_tenant(paper: Any, tmp_path: Path) -> None:
    folders = {name: tmp_path / directory.key(name) for name in TENANTS}
    folders["default"] = tmp_path / SHARED_FOLDER
    with tenant_context("abc"):
        for alias, folder in folders.items():
            new = paper(file=ContentFile(alias.encode(), name="same.txt"))
            new.save(using=alias)
            assert new.file.url == f"/media/{folder.name}/papers/same.txt"
    for alias, folder in folders.items():
        assert (folder / "papers" / "same.txt").read_text() == alias
        for context in TENANTS:
            with tenant_context(context):
                row = paper.objects.using(alias).get()
                with row.file.open() as file:
                    assert file.read() == alias.encode()
                assert row.file.path == str(folder / "papers" / "same.txt")
    with tenant_context("xyz"):
        row = paper.objects.using("abc").get()
        row.file.delete()
        assert paper.objects.using("abc").get().file.name == ""
    assert not (folders["abc"] / "papers" / "same.txt").exists()
    assert (folders["xyz"] / "papers" / "same.txt").exists()
    services.rename_tenant("xyz", "new")
    with paper.objects.using("new").get().file.open() as file:
        assert file.read() == b"xyz"
