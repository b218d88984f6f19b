"""Django REST framework, as it is, serves each tenant's own."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from mtdd_router import tenant_context
from mtdd_router.testing import assert_no_tenant_leak

Visitor = Callable[[str], Client]


@pytest.fixture
def rows(abc: str, xyz: str) -> None:
    from tests.apps.bookcase.models import Author, Book

    for tenant, pk in ((abc, 901), (xyz, 902)):
        author = Author(pk=pk, name=f"author of {tenant}")
        author.save(using=tenant)
        Book(pk=pk, title=f"book of {tenant}", author=author).save(using=tenant)


@pytest.fixture
def editor(abc: str, xyz: str, rows: None, visitor: Visitor) -> Client:
    """A user of abc who may do all with books; his twin in xyz may do nothing."""
    for tenant in (abc, xyz):
        User(pk=5, username="editor").save(using=tenant)
    user = User.objects.using(abc).get()
    with tenant_context(abc):
        user.user_permissions.set(Permission.objects.filter(content_type__model="book"))
        client = visitor(abc)
        client.force_login(user)
    return client


def send(client: Client, method: str, path: str, data: Any) -> Any:
    return getattr(client, method)(path, data, content_type="application/json")


def test_a_list_is_the_tenants(abc: str, editor: Client) -> None:
    with assert_no_tenant_leak(abc):
        answer = editor.get("/api/books/")
    assert [book["author_name"] for book in answer.json()] == [f"author of {abc}"]


def test_a_row_of_another_tenant_is_not_found(abc: str, xyz: str, editor: Client) -> None:
    assert editor.get("/api/books/902/").status_code == 404
    assert send(editor, "patch", "/api/books/902/", {"title": "stolen"}).status_code == 404
    assert editor.delete("/api/books/902/").status_code == 404


def test_a_row_is_made_changed_and_deleted_in_the_tenant(
    abc: str, xyz: str, editor: Client
) -> None:
    from tests.apps.bookcase.models import Book

    with assert_no_tenant_leak(abc):
        made = send(editor, "post", "/api/books/", {"title": "new", "author": 901})
        assert made.status_code == 201
        path = f"/api/books/{made.json()['id']}/"
        assert send(editor, "patch", path, {"title": "newer"}).json()["title"] == "newer"
        assert Book.objects.using(abc).filter(title="newer").exists()
        assert editor.delete(path).status_code == 204
    assert Book.objects.using(xyz).count() == 1


def test_a_related_row_of_another_tenant_is_refused(abc: str, editor: Client) -> None:
    answer = send(editor, "post", "/api/books/", {"title": "new", "author": 902})
    assert answer.status_code == 400
    assert "object does not exist" in answer.json()["author"][0]
    answer = send(editor, "post", "/api/authors/", {"name": "new", "books": [901, 902]})
    assert answer.status_code == 400
    assert "object does not exist" in answer.json()["books"][0]


def test_uniqueness_is_the_tenants(abc: str, xyz: str, editor: Client) -> None:
    own = {"name": f"author of {abc}", "books": []}
    assert send(editor, "post", "/api/authors/", own).status_code == 400
    others = {"name": f"author of {xyz}", "books": [901]}
    assert send(editor, "post", "/api/authors/", others).status_code == 201
    pair = {"title": f"book of {abc}", "author": 901}
    send(editor, "post", "/api/books/", {"title": "twin", "author": 901})
    assert send(editor, "post", "/api/books/", pair | {"title": "twin"}).status_code == 400


def test_permissions_are_the_tenants(abc: str, xyz: str, editor: Client, visitor: Visitor) -> None:
    abroad = visitor(xyz)
    with tenant_context(xyz):
        abroad.force_login(User.objects.get(pk=5))
    assert send(abroad, "post", "/api/books/", {"title": "new", "author": 902}).status_code == 403
    abroad.cookies = editor.cookies
    assert send(abroad, "post", "/api/books/", {"title": "new", "author": 902}).status_code == 403
