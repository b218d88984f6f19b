"""The admin site on a tenant's host is that tenant's."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from mtdd_router import tenant_context
from mtdd_router.testing import assert_no_tenant_leak

Visitor = Callable[[str], Client]


@pytest.fixture
def books(abc: str, xyz: str) -> dict[str, Any]:
    """A book of each tenant; that of xyz has an id, and an author, that abc does not have."""
    from tests.apps.bookcase.models import Author, Book

    made = {}
    for tenant, pk, word in ((abc, 901, "seen"), (xyz, 4711, "secret")):
        author = Author(pk=pk, name=f"{word} author")
        author.save(using=tenant)
        made[tenant] = Book(pk=pk, title=f"{word} book", author=author)
        made[tenant].save(using=tenant)
    return made


@pytest.fixture
def staff(abc: str, twins: dict[str, User], books: Any, visitor: Visitor) -> Client:
    """The superuser of abc on its host, where he never sees anything of xyz."""
    client = visitor(abc)
    with tenant_context(abc):
        client.force_login(twins[abc])
    return client


def page(client: Client, path: str, tenant: str, post: Any = None) -> str:
    with assert_no_tenant_leak(tenant):
        url = f"/admin/{path}"
        answer = (
            client.get(url, follow=True) if post is None else client.post(url, post, follow=True)
        )
        content = answer.content.decode()
    assert answer.status_code == 200, content
    assert "secret" not in content
    return content


INLINE = {"bookcase-note-content_type-object_id-TOTAL_FORMS": "1"} | {
    "bookcase-note-content_type-object_id-INITIAL_FORMS": "0"
}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("", "Bookcase"),
        ("bookcase/book/", "seen book"),
        ("bookcase/book/?q=book", "seen book"),
        ("bookcase/book/?q=secret+nothing", "0 books"),
        ("bookcase/book/901/change/", "seen author"),
        ("bookcase/book/add/", "Add book"),
        ("bookcase/author/901/change/", "seen book"),
        ("bookcase/book/901/delete/", "seen book"),
        ("auth/user/", "root"),
        ("auth/user/77/change/", "root"),
    ],
)
def test_a_page_shows_that_tenant_only(abc: str, staff: Client, path: str, shown: str) -> None:
    if "secret" in path:
        # The word that was looked for is on the page.
        assert shown in staff.get(f"/admin/{path}").content.decode()
    else:
        assert shown in page(staff, path, abc)


@pytest.mark.parametrize("what", ["change", "delete", "history"])
def test_a_row_of_another_tenant_is_not_there(abc: str, staff: Client, what: str) -> None:
    content = page(staff, f"bookcase/book/4711/{what}/", abc)
    assert "Perhaps it was deleted?" in content


def test_what_is_searched_for_while_typing_is_the_tenants(abc: str, staff: Client) -> None:
    query = "app_label=bookcase&model_name=book&field_name=author&term=author"
    answer = staff.get(f"/admin/autocomplete/?{query}")
    assert [found["text"] for found in answer.json()["results"]] == ["seen author"]


def test_a_row_is_added_changed_and_deleted_with_its_log_in_the_tenant(
    abc: str, xyz: str, staff: Client, books: Any
) -> None:
    from tests.apps.bookcase.models import Book, Note

    note = {"bookcase-note-content_type-object_id-0-text": "a note"}
    data = {"title": "new book", "author": "901", "owner": "77"} | INLINE | note
    assert "was added successfully" in page(staff, "bookcase/book/add/", abc, data)
    book = Book.objects.using(abc).get(title="new book")
    assert book.owner.pk == 77
    (made,) = Note.objects.using(abc).all()
    assert (made.text, made.about) == ("a note", book)

    data = {"title": "newer book", "author": "901"} | INLINE
    path = f"bookcase/book/{book.pk}"
    assert "was changed successfully" in page(staff, f"{path}/change/", abc, data)
    assert "Changed Title and Owner." in page(staff, f"{path}/history/", abc)
    assert "was deleted successfully" in page(staff, f"{path}/delete/", abc, {"post": "yes"})

    assert not Note.objects.using(abc).exists()
    log = LogEntry.objects.using(abc).order_by("pk")
    assert [entry.action_flag for entry in log] == [1, 2, 3]
    assert {entry.user.pk for entry in log} == {77}
    assert not LogEntry.objects.using(xyz).exists()
    assert not LogEntry.objects.using("default").exists()
    assert Book.objects.using(xyz).get() == books[xyz]


def test_a_name_of_another_tenant_is_free_and_ones_own_is_taken(abc: str, staff: Client) -> None:
    from tests.apps.bookcase.models import Author

    none = {"books-TOTAL_FORMS": "0", "books-INITIAL_FORMS": "0"}
    taken = page(staff, "bookcase/author/add/", abc, {"name": "seen author"} | none)
    assert "Author with this Name already exists." in taken
    twin = {"title": "seen book", "author": "901"} | INLINE
    taken = page(staff, "bookcase/book/add/", abc, twin)
    assert "Book with this Title and Author already exists." in taken
    # Not `page`: the name that was sent comes back.
    staff.post("/admin/bookcase/author/add/", {"name": "secret author"} | none)
    assert Author.objects.using(abc).filter(name="secret author").exists()


def test_an_author_of_another_tenant_cannot_be_chosen(abc: str, staff: Client) -> None:
    from tests.apps.bookcase.models import Book

    data = {"title": "new book", "author": "4711"} | INLINE
    assert "Select a valid choice" in page(staff, "bookcase/book/add/", abc, data)
    assert Book.objects.using(abc).count() == 1


def test_rows_are_added_inline_in_the_tenant(abc: str, staff: Client) -> None:
    from tests.apps.bookcase.models import Author

    data = {
        "name": "seen author",
        "books-TOTAL_FORMS": "2",
        "books-INITIAL_FORMS": "1",
        "books-0-id": "901",
        "books-0-author": "901",
        "books-0-title": "seen book",
        "books-1-title": "another book",
        "books-1-author": "901",
    }
    assert "was changed successfully" in page(staff, "bookcase/author/901/change/", abc, data)
    assert Author.objects.using(abc).get().books.count() == 2


def test_an_inline_row_of_another_tenant_is_refused(abc: str, xyz: str, staff: Client) -> None:
    from tests.apps.bookcase.models import Book

    data = {
        "name": "seen author",
        "books-TOTAL_FORMS": "1",
        "books-INITIAL_FORMS": "1",
        "books-0-id": "4711",
        "books-0-author": "901",
        "books-0-title": "stolen",
    }
    page(staff, "bookcase/author/901/change/", abc, data)
    assert Book.objects.using(xyz).get().title == "secret book"
    assert not Book.objects.using(abc).filter(title="stolen").exists()


def test_an_action_reaches_the_tenants_rows_only(
    abc: str, xyz: str, staff: Client, books: Any
) -> None:
    from tests.apps.bookcase.models import Book

    chosen = {"action": "delete_selected", "_selected_action": ["901", "4711"]}
    asked = page(staff, "bookcase/book/", abc, chosen)
    assert "seen book" in asked
    done = page(staff, "bookcase/book/", abc, chosen | {"post": "yes"})
    assert "Successfully deleted 1 book." in done
    assert not Book.objects.using(abc).exists()
    assert Book.objects.using(xyz).get() == books[xyz]


def test_who_is_logged_in_to_one_tenants_is_nobody_in_anothers(
    abc: str, xyz: str, staff: Client, visitor: Visitor
) -> None:
    abroad = visitor(xyz)
    abroad.cookies = staff.cookies
    answer = abroad.get("/admin/")
    assert answer.status_code == 302
    assert "/admin/login/" in answer["Location"]


def test_the_users_of_another_tenant_may_do_nothing(
    abc: str, xyz: str, books: Any, visitor: Visitor
) -> None:
    with tenant_context(xyz):
        User.objects.create_superuser("other", password="of xyz")
    client = visitor(abc)
    answer = client.post("/admin/login/", {"username": "other", "password": "of xyz"})
    assert "Please enter the correct username and password" in answer.content.decode()


def test_a_password_is_changed_in_the_tenant_only(
    abc: str, xyz: str, staff: Client, twins: dict[str, User]
) -> None:
    new = {"password1": "brand new secret!", "password2": "brand new secret!"}
    answer = staff.post("/admin/auth/user/77/password/", new | {"usable_password": "true"})
    assert answer.status_code == 302
    assert User.objects.using(abc).get().check_password("brand new secret!")
    assert User.objects.using(xyz).get().password == twins[xyz].password


def test_deleting_a_user_of_one_tenant_leaves_the_twin(abc: str, xyz: str, staff: Client) -> None:
    page(staff, "auth/user/77/delete/", abc, {"post": "yes"})
    assert not User.objects.using(abc).exists()
    assert User.objects.using(xyz).filter(pk=77).exists()
