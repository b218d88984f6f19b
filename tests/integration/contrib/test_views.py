"""Generic views, forms and their choices are the request's tenant's."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.forms import inlineformset_factory, modelform_factory, modelformset_factory
from django.test import Client

from mtdd_router import tenant_context
from mtdd_router.testing import assert_no_tenant_leak

Visitor = Callable[[str], Client]


@pytest.fixture
def authors(abc: str, xyz: str) -> dict[str, Any]:
    """An author of each tenant; ids differ."""
    from tests.apps.bookcase.models import Author, Book

    made = {}
    for tenant, pk in ((abc, 901), (xyz, 902)):
        made[tenant] = Author(pk=pk, name=f"author of {tenant}")
        made[tenant].save(using=tenant)
        Book(pk=pk, title=f"book of {tenant}", author=made[tenant]).save(using=tenant)
        User(pk=pk, username=f"user of {tenant}").save(using=tenant)
    return made


@pytest.fixture
def client(abc: str, authors: Any, visitor: Visitor) -> Client:
    return visitor(abc)


def test_a_class_that_was_imported_without_a_tenant_lists_the_requests(
    abc: str, xyz: str, authors: Any, visitor: Visitor
) -> None:
    for tenant in (abc, xyz, abc):
        with assert_no_tenant_leak(tenant):
            assert visitor(tenant).get("/books/").content.decode() == f"book of {tenant}"


def test_a_form_saves_in_the_tenant(abc: str, client: Client) -> None:
    with assert_no_tenant_leak(abc):
        answer = client.post("/books/add/", {"title": "new", "author": "901", "owner": "901"})
    assert answer.content.decode() == f"new of author of {abc} in {abc}"


@pytest.mark.parametrize("field", ["author", "owner"])
def test_a_choice_of_another_tenant_is_none(abc: str, client: Client, field: str) -> None:
    with assert_no_tenant_leak(abc):
        answer = client.post("/books/add/", {"title": "new", "author": "901", field: "902"})
    assert answer.status_code == 400
    assert list(json.loads(answer.content)) == [field]
    assert "not one of the available choices" in answer.content.decode()


def test_uniqueness_is_the_tenants(abc: str, xyz: str, client: Client, visitor: Visitor) -> None:
    again = {"title": f"book of {abc}", "author": "901"}
    assert "already exists" in client.post("/books/add/", again).content.decode()
    elsewhere = {"title": f"book of {abc}", "author": "902"}
    assert visitor(xyz).post("/books/add/", elsewhere).status_code == 200


def test_a_row_of_another_tenant_is_not_found(abc: str, xyz: str, client: Client) -> None:
    from tests.apps.bookcase.models import Book

    assert client.get("/books/902/").status_code == 404
    assert client.post("/books/902/", {"title": "stolen", "author": "901"}).status_code == 404
    assert client.post("/books/902/delete/").status_code == 404
    assert Book.objects.using(xyz).get().title == f"book of {xyz}"


def test_a_row_is_changed_and_deleted_in_the_tenant(abc: str, xyz: str, client: Client) -> None:
    from tests.apps.bookcase.models import Book

    with assert_no_tenant_leak(abc):
        answer = client.post("/books/901/", {"title": "newer", "author": "901"})
        assert answer.content.decode().startswith("newer of")
        assert client.post("/books/901/delete/").status_code == 302
    assert not Book.objects.using(abc).exists()
    assert Book.objects.using(xyz).exists()


def test_a_form_of_a_row_checks_it_in_the_rows_tenant_in_any_context(
    abc: str, xyz: str, authors: Any
) -> None:
    from tests.apps.bookcase.models import Author

    form_class = modelform_factory(Author, fields=("name",))
    Author(pk=903, name=f"author of {xyz}").save(using=abc)
    with tenant_context(xyz):
        taken = form_class({"name": f"author of {xyz}"}, instance=authors[abc])
        assert "already exists" in str(taken.errors)
        free = form_class({"name": "nobody has it"}, instance=authors[abc])
        assert free.is_valid()
        assert free.save()._state.db == abc


def test_sets_of_forms_are_the_tenants(abc: str, xyz: str, authors: Any) -> None:
    from tests.apps.bookcase.models import Author, Book

    many = modelformset_factory(Author, fields=("name",))
    inline = inlineformset_factory(Author, Book, fields=("title",))
    with tenant_context(abc), assert_no_tenant_leak():
        assert [form.instance.name for form in many().initial_forms] == [f"author of {abc}"]
        data = {
            "books-TOTAL_FORMS": "2",
            "books-INITIAL_FORMS": "1",
            "books-0-id": "901",
            "books-0-title": "newer",
            "books-1-title": "another",
        }
        forms = inline(data, instance=authors[abc])
        assert forms.is_valid(), forms.errors
        assert {book._state.db for book in forms.save()} == {abc}
    data["books-0-id"] = "902"
    with tenant_context(abc):
        assert not inline(data, instance=authors[abc]).is_valid()
