"""Content types have other ids in other tenants, and generic relations stay in one."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.contenttypes.prefetch import GenericPrefetch

from mtdd_router import tenant_context
from mtdd_router.testing import assert_no_tenant_leak


@pytest.fixture
def noted(abc: str, xyz: str) -> dict[str, Any]:
    """A note about a user and one about a book, in each tenant; ids are the same."""
    from tests.apps.bookcase.models import Author, Book, Note

    notes = {}
    for tenant in (abc, xyz):
        with tenant_context(tenant):
            user = User.objects.create(pk=905, username=f"of {tenant}")
            author = Author.objects.create(pk=905, name=f"of {tenant}")
            book = Book.objects.create(pk=905, title=f"of {tenant}", author=author)
            Note.objects.create(pk=901, text="a user", about=user)
            Note.objects.create(pk=902, text="a book", about=book)
            notes[tenant] = Note.objects.get(pk=901)
    return notes


def test_the_type_of_a_model_is_found_in_the_tenant(abc: str, xyz: str) -> None:
    ids = {}
    for tenant in (abc, xyz, abc, xyz):
        with tenant_context(tenant), assert_no_tenant_leak():
            found = ContentType.objects.get_for_model(User)
            assert found._state.db == tenant
            assert ContentType.objects.get_for_id(found.pk).model_class() is User
            assert ContentType.objects.get_by_natural_key("auth", "user") == found
            assert ids.setdefault(tenant, found.pk) == found.pk
    assert ids[abc] != ids[xyz]


def test_a_generic_foreign_key_leads_to_its_tenant_in_any_context(
    abc: str, xyz: str, noted: dict[str, Any]
) -> None:
    for tenant, note in noted.items():
        for context in (abc, xyz):
            with tenant_context(context), assert_no_tenant_leak(tenant):
                again = type(note).objects.using(tenant).get(pk=901)
                assert again.about.username == f"of {tenant}"
                assert again.about._state.db == tenant


def test_it_is_prefetched_in_its_tenant(abc: str, xyz: str, noted: dict[str, Any]) -> None:
    from tests.apps.bookcase.models import Book, Note

    notes = Note.objects.mtdd(abc).order_by("pk")
    with tenant_context(xyz), assert_no_tenant_leak(abc):
        assert [str(note.about) for note in notes.prefetch_related("about")] == [f"of {abc}"] * 2
    own = GenericPrefetch("about", [User.objects.mtdd(abc), Book.objects.mtdd(abc)])
    with tenant_context(xyz), assert_no_tenant_leak(abc):
        assert [str(note.about) for note in notes.prefetch_related(own)] == [f"of {abc}"] * 2


def test_the_way_back_stays_in_the_tenant(abc: str, xyz: str, noted: dict[str, Any]) -> None:
    from tests.apps.bookcase.models import Book

    book = Book.objects.mtdd(abc).get()
    with tenant_context(xyz), assert_no_tenant_leak(abc):
        assert [note.text for note in book.notes.all()] == ["a book"]
        book.notes.create(text="another")
        prefetched = Book.objects.mtdd(abc).prefetch_related("notes").get()
        assert len(prefetched.notes.all()) == 2
        assert Book.objects.mtdd(abc).filter(notes__text="another").get() == book
        book.delete()
        assert not type(noted[abc]).objects.mtdd(abc).filter(text="another").exists()


def test_it_cannot_lead_to_another_tenant(abc: str, xyz: str, noted: dict[str, Any]) -> None:
    foreign = User.objects.mtdd(xyz).get()
    # As Django says it, or as this package does.
    with pytest.raises(ValueError, match=f"prevents this relation|{xyz}"):
        noted[abc].about = foreign
    noted[abc].refresh_from_db()
    assert noted[abc].about.username == f"of {abc}"


def test_a_new_one_about_a_row_is_saved_in_the_rows_tenant(abc: str, xyz: str) -> None:
    from tests.apps.bookcase.models import Note

    with tenant_context(xyz):
        user = User.objects.create(username="of xyz")
    with tenant_context(abc):
        note = Note(text="new", about=user)
        note.save()
    assert note._state.db == xyz
    assert not Note.objects.using(abc).exists()
