"""Files of one tenant cannot be reached under another's name, row or path."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage
from django.db import models
from django.db.migrations.writer import MigrationWriter
from django.test.utils import isolate_apps

from mtdd_router import TenantDoesNotExist, files, tenant_context
from mtdd_router.directory import directory
from mtdd_router.storage import SHARED_FOLDER, TenantFileSystemStorage, TenantStorage
from mtdd_router.types import Route

FILES = "django.core.files.storage.FileSystemStorage"
MEMORY = "django.core.files.storage.InMemoryStorage"


@pytest.fixture(params=["filesystem", "other", "memory"])
def storage(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Storage:
    options = {"location": str(tmp_path), "base_url": "/media/"}
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "filesystem": {
                "BACKEND": "mtdd_router.storage.TenantFileSystemStorage",
                "OPTIONS": options,
            },
            "other": {
                "BACKEND": "mtdd_router.storage.TenantStorage",
                "OPTIONS": {"backend": FILES, "options": options},
            },
            "memory": {
                "BACKEND": "mtdd_router.storage.TenantStorage",
                "OPTIONS": {"backend": MEMORY, "options": options},
            },
        }[request.param],
    }
    return default_storage


def content(storage: Storage, name: str) -> bytes:
    with storage.open(name) as file:
        return bytes(file.read())


def test_the_same_name_is_another_file_in_each_tenant(storage: Storage) -> None:
    for tenant in ("abc", "xyz"):
        with tenant_context(tenant):
            assert not storage.exists("docs/a.txt")
            assert storage.save("docs/a.txt", ContentFile(tenant.encode())) == "docs/a.txt"
            assert storage.listdir("") == (["docs"], [])
    assert not storage.exists("docs/a.txt")
    assert storage.save("docs/a.txt", ContentFile(b"nobody's")) == "docs/a.txt"
    for tenant, key in (("abc", "7"), ("xyz", "8")):
        with tenant_context(tenant):
            assert content(storage, "docs/a.txt") == tenant.encode()
            assert storage.size("docs/a.txt") == 3
            assert storage.url("docs/a.txt") == f"/media/{key}/docs/a.txt"
            assert storage.listdir("docs") == ([], ["a.txt"])
            assert storage.get_modified_time("docs/a.txt")
            other = storage.save("docs/a.txt", ContentFile(b"again"))
            assert other.startswith("docs/a_")
    assert storage.url("docs/a.txt") == f"/media/{SHARED_FOLDER}/docs/a.txt"
    with tenant_context("abc"):
        storage.delete("docs/a.txt")
        assert not storage.exists("docs/a.txt")
    with tenant_context("xyz"):
        assert storage.exists("docs/a.txt")


@pytest.mark.parametrize(
    "name",
    [
        "../8/a.txt", "x/../../8/a.txt", "..", "../", "/8/a.txt", "//8/a.txt", "..\\8\\a.txt",
        "x\\..\\..\\8\\a.txt", "./../8/a.txt", "\\8\\a.txt",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder(storage: Storage, name: str) -> None:
    with tenant_context("xyz"):
        storage.save("a.txt", ContentFile(b"secret"))
    with tenant_context("abc"):
        storage.save("x/b.txt", ContentFile(b"mine"))
        for reach in (
            lambda n: content(storage, n),
            storage.exists,
            storage.size,
            storage.delete,
            storage.listdir,
            lambda n: storage.save(n, ContentFile(b"")),
            lambda n: storage.save(storage.generate_filename(n), ContentFile(b"")),
        ):
            try:
                found: Any = reach(name)
            except (SuspiciousFileOperation, FileNotFoundError, ValueError, IsADirectoryError):
                continue
            # On POSIX a backslash may be a part of a name, in one's own folder.
            assert not found or "\\" in name
        with contextlib.suppress(SuspiciousFileOperation, ValueError):
            assert not storage.url(name).startswith("/media/8/")
    with tenant_context("xyz"):
        assert storage.listdir("") == ([], ["a.txt"])
        assert content(storage, "a.txt") == b"secret"


def test_a_renamed_tenant_keeps_its_files_and_the_next_of_that_name_has_none(
    storage: Storage, registry: dict[str, Route]
) -> None:
    with tenant_context("abc"):
        storage.save("a.txt", ContentFile(b"secret"))
    registry["new"] = Route("new", "shard1", "h:1", 3, key=7)
    registry["abc"] = Route("abc", "shard1", "h:1", 2, key=9)
    directory.forget("abc")
    with tenant_context("abc"):
        assert not storage.exists("a.txt")
    with tenant_context("new"):
        assert content(storage, "a.txt") == b"secret"


def test_an_unknown_tenant_has_no_folder(storage: Storage) -> None:
    with pytest.raises(TenantDoesNotExist), tenant_context("nobody"):
        storage.exists("a.txt")


def test_media_root_and_media_url_are_the_default(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT, settings.MEDIA_URL = str(tmp_path), "https://cdn.example/m/"
    storage = TenantFileSystemStorage()
    with tenant_context("abc"):
        assert storage.path("a.txt") == str(tmp_path / "7" / "a.txt")
        assert storage.url("a.txt") == "https://cdn.example/m/7/a.txt"
    assert storage.path("a.txt") == str(tmp_path / SHARED_FOLDER / "a.txt")


def test_migrations_name_the_storage_itself() -> None:
    for storage in (TenantFileSystemStorage(location="x"), TenantStorage(FILES)):
        written, _ = MigrationWriter.serialize(storage)
        assert written.startswith(f"mtdd_router.storage.{type(storage).__name__}(")


# Files of rows


@pytest.fixture
def paper(storage: Storage) -> Iterator[type[models.Model]]:
    with isolate_apps("django.contrib.auth"):

        class Paper(models.Model):
            file = models.FileField(upload_to="papers")
            image = models.ImageField(upload_to="papers")

            class Meta:
                app_label = "auth"  # Which is in tenants and on `default`.

        files.install([Paper])
        yield Paper


def row(paper: Any, alias: str | None, name: str = "papers/a.txt") -> Any:
    made = paper(file=name)
    made._state.db = alias
    return made


@pytest.mark.parametrize("context", ["abc", "xyz", None])
def test_a_row_has_the_file_of_its_own_tenant_whatever_the_context_is(
    paper: Any, storage: Storage, context: str | None
) -> None:
    for tenant in ("abc", "xyz"):
        with tenant_context(tenant):
            storage.save("papers/a.txt", ContentFile(tenant.encode()))
    storage.save("papers/a.txt", ContentFile(b"project"))

    def check() -> None:
        for alias, key, expected in (
            ("abc", "7", b"abc"),
            ("xyz", "8", b"xyz"),
            ("default", SHARED_FOLDER, b"project"),
        ):
            found = row(paper, alias)
            with found.file.open() as file:
                assert file.read() == expected
            assert found.file.url == f"/media/{key}/papers/a.txt"

    if context is None:
        check()
    else:
        with tenant_context(context):
            check()


def test_a_new_rows_file_goes_where_the_row_will_be(paper: Any, storage: Storage) -> None:
    new = row(paper, None, "")
    with tenant_context("abc"):
        new.file.save("b.txt", ContentFile(b"new"), save=False)
        assert new.file.url == "/media/7/papers/b.txt"
    other = row(paper, None, "")
    with tenant_context("abc"):
        # What Model.save(using="xyz") does first.
        models.signals.pre_save.send(paper, instance=other, using="xyz", raw=False)
        other.file.save("c.txt", ContentFile(b"new"), save=False)
    with tenant_context("xyz"):
        assert storage.exists("papers/c.txt")
    with tenant_context("abc"):
        assert not storage.exists("papers/c.txt")


def test_fields_keep_their_class_and_migrations_notice_nothing(paper: Any) -> None:
    field = paper._meta.get_field("image")
    assert field.attr_class.__name__ == "ImageFieldFile"
    assert issubclass(field.attr_class, models.fields.files.ImageFieldFile)
    assert field.deconstruct()[1:] == ("django.db.models.ImageField", [], {"upload_to": "papers"})


def test_where_no_storage_has_folders_for_tenants_no_field_is_touched() -> None:
    assert not files._is_used()
