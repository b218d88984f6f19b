"""Rows and querysets stay in the tenant they came from, whatever the context is."""

# ruff: noqa: PLW0108 - a method that is bound at import is of the manager as it was then

import copy
import pickle
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django import forms
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, QuerySet
from django.forms import inlineformset_factory, modelform_factory
from django.test import RequestFactory
from django.views.generic import CreateView, DetailView, ListView, UpdateView

from mtdd_router import CrossTenantError, TenantRequired, tenant_context
from tests.apps.library.models import Author, Book, Chapter, Loose, Note, Tag
from tests.integration.routing.conftest import HERE, THERE, Library

Libraries = tuple[Library, Library]


def repickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


CHAINS: dict[str, Callable[[], Any]] = {
    "all": lambda: Author.objects.all(),
    "filter": lambda: Author.objects.filter(pk__gt=0),
    "exclude": lambda: Author.objects.exclude(pk=0),
    "order_by": lambda: Author.objects.order_by("name"),
    "reverse": lambda: Author.objects.order_by("name").reverse(),
    "distinct": lambda: Author.objects.distinct(),
    "a slice": lambda: Author.objects.order_by("pk")[:1],
    "values": lambda: Author.objects.values("name"),
    "values_list": lambda: Author.objects.values_list("name", flat=True),
    "named values_list": lambda: Author.objects.values_list("name", named=True),
    "dates": lambda: Book.objects.dates("published", "year"),
    "annotate": lambda: Author.objects.annotate(n=Count("books")),
    "alias": lambda: Author.objects.alias(n=Count("books")).filter(n__gt=0),
    "defer": lambda: Author.objects.defer("email"),
    "only": lambda: Author.objects.only("name"),
    "select_related": lambda: Book.objects.select_related("author"),
    "prefetch_related": lambda: Author.objects.prefetch_related("books__tags"),
    "Prefetch": lambda: Author.objects.prefetch_related(
        Prefetch("books", Book.objects.exclude(pk=0), to_attr="found")
    ),
    "prefetch of generic keys": lambda: Note.objects.prefetch_related("target"),
    "select_for_update": lambda: Author.objects.select_for_update(),
    "extra": lambda: Author.objects.extra(where=["true"]),
    "raw": lambda: Author.objects.raw("SELECT * FROM library_author"),
    "union": lambda: Author.objects.all().union(Author.objects.all()),
    "intersection": lambda: Author.objects.all().intersection(Author.objects.all()),
    "difference": lambda: Author.objects.all().difference(Author.objects.filter(pk=2)),
    "and": lambda: Author.objects.all() & Author.objects.all(),
    "or": lambda: Author.objects.filter(pk=1) | Author.objects.filter(pk=2),
    "xor": lambda: Author.objects.filter(pk=1) ^ Author.objects.filter(pk=2),
    "a subquery": lambda: Author.objects.filter(books__in=Book.objects.all()),
    "Exists": lambda: Author.objects.filter(Exists(Book.objects.filter(author=OuterRef("pk")))),
    "a queryset's method": lambda: Author.objects.all().named(f"Ann of {HERE}"),
    "a manager's method of a queryset": lambda: Author.objects.named(f"Ann of {HERE}"),
    "a queryset by hand": lambda: Author.objects.by_hand(),
    "a queryset of its class by hand": lambda: Author.objects.by_its_class(),
    "a queryset anew": lambda: Author.objects.all().anew(),
    "db_manager": lambda: Author.objects.db_manager(HERE).all(),
    "_base_manager": lambda: Author._base_manager.all(),
    "a copy": lambda: copy.copy(Author.objects.all()),
    "a deep copy": lambda: copy.deepcopy(Author.objects.all()),
    "complex_filter": lambda: Author.objects.complex_filter({"pk__gt": 0}),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_queryset_is_evaluated_where_it_was_made(libraries: Libraries, chain: str) -> None:
    with tenant_context(HERE):
        expected = repr(list(CHAINS[chain]()))
        rows = CHAINS[chain]()
    with tenant_context(THERE):
        found = list(rows)
    assert found
    assert repr(found) == expected
    for row in found:
        if hasattr(row, "_state"):
            assert row._state.db == HERE
        for related in getattr(row, "found", []):
            assert related._state.db == HERE
        if isinstance(row, Note):
            assert row.target._state.db == HERE


ENDS: dict[str, Callable[[Any], Any]] = {
    "get": lambda rows: rows.get(pk=1).name,
    "first": lambda rows: rows.first().name,
    "last": lambda rows: rows.last().name,
    "earliest": lambda rows: rows.earliest("pk").name,
    "latest": lambda rows: rows.latest("pk").name,
    "in_bulk": lambda rows: rows.in_bulk([1])[1].name,
    "iterator": lambda rows: next(rows.iterator()).name,
    "an index": lambda rows: rows.order_by("pk")[0].name,
    "exists": lambda rows: rows.filter(name=f"Ann of {HERE}").exists(),
    "count": lambda rows: rows.filter(name=f"Ann of {HERE}").count(),
    "aggregate": lambda rows: rows.filter(name=f"Ann of {HERE}").aggregate(n=Count("pk")),
    "contains": lambda rows: rows.contains(rows.first()),
    "explain": lambda rows: "Scan" in rows.explain(),
    "get_or_create": lambda rows: rows.get_or_create(name=f"Ann of {HERE}")[1],
    "update_or_create": lambda rows: rows.update_or_create(name=f"Ann of {HERE}")[1],
    "update": lambda rows: rows.filter(name=f"Ann of {HERE}").update(email=F("name")),
    "create": lambda rows: rows.create(name="new")._state.db,
    "bulk_create": lambda rows: rows.bulk_create([Author(name="new")])[0]._state.db,
    "bulk_update": lambda rows: rows.bulk_update(list(rows), ["email"]),
    "delete": lambda rows: rows.filter(name=f"Ann of {HERE}").delete()[0] > 0,
    "aget": lambda rows: async_to_sync(rows.aget)(pk=1).name,
    "aiterator": lambda rows: async_to_sync(_all_of)(rows.aiterator())[0].name,
    "acount": lambda rows: async_to_sync(rows.filter(name=f"Ann of {HERE}").acount)(),
}


async def _all_of(rows: Any) -> list[Any]:
    return [row async for row in rows]


@pytest.mark.parametrize("end", ENDS)
def test_it_is_asked_and_written_where_it_was_made(libraries: Libraries, end: str) -> None:
    _, there = libraries
    before = there.contents()
    with tenant_context(HERE):
        rows = Author.objects.order_by("pk")
    with tenant_context(THERE):
        found = ENDS[end](rows)
    assert found in (f"Ann of {HERE}", f"Bob of {HERE}", HERE, True, False, 1, 2, {"n": 1})
    assert there.contents() == before


class TestPickles:
    def test_of_querysets_keep_the_tenant(self, libraries: Libraries) -> None:
        with tenant_context(HERE):
            in_context = repickled(Author.objects.order_by("pk"))
        named = repickled(Author.objects.using(HERE).order_by("pk"))
        with tenant_context(THERE):
            for rows in (in_context, named):
                assert rows[0].name == f"Ann of {HERE}"
                assert rows.all()[0].name == f"Ann of {HERE}"
                assert list(rows.filter(books=libraries[0].book))

    def test_of_the_query_alone_keep_it_too(self, libraries: Libraries) -> None:
        with tenant_context(HERE):
            queries = [Author.objects.all().query, Author.objects.using(HERE).query]
        with tenant_context(THERE):
            for query in queries:
                rows = Author.objects.none()
                rows.query = repickled(query)
                assert {row._state.db for row in rows} == {HERE}

    def test_of_rows_keep_it(self, libraries: Libraries) -> None:
        here, there = libraries
        book = repickled(here.books.select_related("author").prefetch_related("tags").get(pk=1))
        with tenant_context(THERE):
            book.title = "changed"
            book.save()
            assert [tag._state.db for tag in book.tags.all()] == [HERE, HERE]
            assert book.author.books.count() == 2
        assert here.books.get(pk=1).title == "changed"
        assert there.books.get(pk=1).title == f"B1 of {THERE}"


class TestRows:
    def test_are_read_written_and_deleted_in_their_tenant(self, libraries: Libraries) -> None:
        here, there = libraries
        before = there.contents()
        book = here.books.only("title").get(pk=1)
        with tenant_context(THERE):
            assert book.author.name == f"Ann of {HERE}", "a deferred field, and a relation"
            assert book.author.profile.about == HERE
            assert book.author.profile.author == book.author
            assert next(tag.name for tag in book.tags.order_by("pk")) == f"T1 of {HERE}"
            assert book.notes.get().target == book
            assert book.notes.get().target._state.db == HERE
            assert book.chapters.first().book._state.db == HERE
            book.title = "lost"
            book.refresh_from_db()
            assert book.title == f"B1 of {HERE}"
            async_to_sync(book.arefresh_from_db)()
            book.tags.create(name="new")
            book.notes.create(text="new")
            book.author.books.create(title="new")
            book.tags.get(name="new").books.clear()
            book.author.books.remove(book)
            copied = copy.deepcopy(here.books.get(pk=2))
            copied.pk, copied.title = None, "copy"
            copied.save()
            copy.copy(here.novel).save(force_update=True)
            book.delete()
            here.novel.delete()
        assert copied._state.db == HERE
        assert not here.books.filter(pk=1).exists()
        assert there.contents() == before

    def test_are_in_the_order_of_their_tenant(self, libraries: Libraries) -> None:
        here, there = libraries
        there.book.set_chapter_order([2, 1], using=THERE)
        first, second = here.chapters.order_by("pk")
        with tenant_context(THERE):
            assert list(here.book.get_chapter_order()) == [1, 2]
            assert first.get_next_in_order() == second
            assert second.get_previous_in_order()._state.db == HERE
            with pytest.raises(Chapter.DoesNotExist):
                second.get_next_in_order()

    def test_are_not_members_of_another_tenants_querysets(self, libraries: Libraries) -> None:
        here, there = libraries
        assert here.books.contains(here.book)
        assert here.book in here.books
        assert not there.books.contains(here.book)
        assert here.book not in there.books
        assert Book(pk=here.book.pk) in there.books, "a new row is of no tenant"
        assert 1 in here.books.values_list("pk", flat=True)

    def test_of_a_content_type_are_looked_for_in_its_tenant(self, libraries: Libraries) -> None:
        with tenant_context(HERE):
            kind = ContentType.objects.get_for_model(Author)
        with tenant_context(THERE):
            assert kind.get_object_for_this_type(pk=1).name == f"Ann of {HERE}"
            names = {row.name for row in kind.get_all_objects_for_this_type()}
        assert names == {f"Ann of {HERE}", f"Bob of {HERE}"}
        with pytest.raises(CrossTenantError):
            kind.get_object_for_this_type(using=THERE, pk=1)

    def test_are_found_along_generic_relations_of_their_tenant(self, libraries: Libraries) -> None:
        """Where the same number is another content type in the other tenant."""
        here, there = libraries
        there.notes.delete()
        ContentType.objects.using(THERE).update(id=F("id") + 1000)
        ContentType.objects.clear_cache()
        with tenant_context(THERE):
            ContentType.objects.get_for_model(Author)
            ContentType.objects.get_for_model(Book)
            noted = here.books.filter(notes__text=f"Note of {HERE}")
            assert noted.count() == 1
            assert here.books.order_by("notes__text").count() == 3
            assert len(here.books.order_by("notes__text")) == 3
            assert noted.update(editor=None) == 1
            assert noted.delete()[0] > 1
        ContentType.objects.clear_cache()


class TestUniqueness:
    def test_is_that_of_the_rows_tenant(self, libraries: Libraries) -> None:
        author = libraries[0].author
        with tenant_context(THERE):
            author.name = f"Bob of {THERE}"
            author.full_clean()
            author.validate_unique()
            author.name = f"Bob of {HERE}"
            with pytest.raises(ValidationError, match="already exists"):
                author.validate_unique()

    def test_for_a_date_and_by_constraints_too(self, libraries: Libraries) -> None:
        book = libraries[0].books.get(pk=2)
        with tenant_context(THERE):
            book.title = f"B1 of {THERE}"
            book.full_clean(exclude=["tags"])
            book.title = f"B1 of {HERE}"
            book.published = date(2020, 1, 1)
            with pytest.raises(ValidationError, match="must be unique for"):
                book.validate_unique()
            book.author_id = 1
            with pytest.raises(ValidationError, match="already exists"):
                book.validate_constraints()

    def test_of_a_new_row_is_that_of_the_context(self, libraries: Libraries) -> None:
        form = modelform_factory(Author, fields=["name"])
        with tenant_context(HERE):
            assert form({"name": f"Ann of {THERE}"}).is_valid()
            assert not form({"name": f"Ann of {HERE}"}).is_valid()

    def test_without_any_tenant_is_refused(self, libraries: Libraries) -> None:
        with pytest.raises(TenantRequired):
            Author(name="new").validate_unique()


class TestCopies:
    def test_to_another_tenant_are_new_rows(self, libraries: Libraries) -> None:
        here, there = libraries
        author = here.author
        author.pk, author.name = None, "copied"
        author.save(using=THERE)
        assert author._state.db == THERE
        assert author.pk > 2
        assert there.authors.get(pk=1).name == f"Ann of {THERE}"
        assert here.authors.count() == 2
        there.authors.bulk_create([_without_key(here.authors.get(pk=2), name="too")])
        assert there.authors.filter(name="too").exists()

    def test_that_refer_to_rows_of_the_first_are_refused(self, libraries: Libraries) -> None:
        here, there = libraries
        book = _without_key(here.book, title="copied")
        with pytest.raises(CrossTenantError, match=f"'{HERE}'.*'author'.*'{THERE}'"):
            book.save(using=THERE)
        book.author_id = book.editor_id = None
        book.save(using=THERE)
        assert there.books.filter(title="copied").exists()

    def test_by_serializers_are_whole(self, libraries: Libraries) -> None:
        here, there = libraries
        wanted = [*here.tags, *here.books.filter(pk=1)]
        text = serializers.serialize("json", wanted, use_natural_foreign_keys=True)
        text = text.replace(f"Ann of {HERE}", f"Bob of {THERE}")
        for loaded in serializers.deserialize("json", text, using=THERE):
            loaded.save(using=THERE)
        assert there.books.get(pk=1).author.name == f"Bob of {THERE}"
        assert there.books.get(pk=1).title == f"B1 of {HERE}"
        assert there.tags.get(pk=1).name == f"T1 of {HERE}"
        assert here.books.get(pk=1).author.name == f"Ann of {HERE}"


def _without_key(row: Any, **values: Any) -> Any:
    row.pk = None
    for name, value in values.items():
        setattr(row, name, value)
    return row


class TestOnePrefetchForTwoTenants:
    @pytest.mark.parametrize(
        ("model", "lookup", "inner"),
        [
            (Book, "tags", Tag),
            (Author, "books", Book),
            (Book, "author", Author),
            (Book, "notes", Note),
        ],
    )
    def test_gives_each_its_own(
        self, libraries: Libraries, model: Any, lookup: str, inner: Any
    ) -> None:
        shared = Prefetch(lookup, inner.objects.order_by("pk"))
        rows = {
            tenant: model.objects.using(tenant).prefetch_related(shared).order_by("pk")[0]
            for tenant in (HERE, THERE)
        }
        for tenant, row in rows.items():
            related = getattr(row, lookup)
            if isinstance(related, inner):
                assert related._state.db == tenant
                continue
            for found in (related.all(), related.filter(pk__gt=0), related.order_by("-pk")):
                assert {one._state.db for one in found} == {tenant}
        assert shared.queryset._hints == {}

    def test_gives_each_its_own_at_the_same_time(self, libraries: Libraries) -> None:
        """As in two threads: both have begun before either asks for the rows."""
        queryset = Author.objects.all()
        descriptor = vars(Book)["author"]
        begun = [
            descriptor.get_prefetch_querysets([library.book], [queryset])[0]
            for library in libraries
        ]
        assert [row._state.db for rows in begun for row in rows] == [HERE, THERE]
        managers = [library.book.tags for library in libraries]
        tags = Tag.objects.all()
        begun = [manager._apply_rel_filters(tags) for manager in managers]
        assert [row._state.db for rows in begun for row in rows[:1]] == [HERE, THERE]


class TestSlices:
    def test_are_combined_in_their_tenant(self, libraries: Libraries) -> None:
        for rows in (libraries[0].authors.order_by("pk"), _made_here(Author)):
            with tenant_context(THERE):
                for combined in (rows[:1] | rows[1:2], rows[:1] ^ rows[1:2]):
                    assert {row._state.db for row in combined} == {HERE}
                    assert combined.count() == 2


def _made_here(model: Any) -> QuerySet[Any]:
    with tenant_context(HERE):
        return model.objects.order_by("pk")


class TestForms:
    def test_choose_among_the_rows_of_the_tenant(self, libraries: Libraries) -> None:
        class Choice(forms.Form):
            author = forms.ModelChoiceField(Author.objects.all())
            authors = forms.ModelMultipleChoiceField(Author.objects.all())

        for tenant in (HERE, THERE):
            with tenant_context(tenant):
                form = Choice({"author": "1", "authors": ["1", "2"]})
                assert form.is_valid()
                assert form.cleaned_data["author"]._state.db == tenant
                assert {row._state.db for row in form.cleaned_data["authors"]} == {tenant}
                assert len(form.fields["author"].choices) == 3

    def test_of_rows_save_them_in_their_tenant(self, libraries: Libraries) -> None:
        here, there = libraries
        before = there.contents()
        form = modelform_factory(Author, fields=["name"])({"name": "new"}, instance=here.author)
        with tenant_context(THERE):
            form.save()
        assert here.authors.get(pk=1).name == "new"
        assert there.contents() == before

    def test_of_a_rows_inline_rows_are_those_of_its_tenant(self, libraries: Libraries) -> None:
        formset = inlineformset_factory(Book, Chapter, fields=["title"], extra=0)
        with tenant_context(THERE):
            found = formset(instance=libraries[0].book)
            assert [form.instance.title for form in found] == [f"C1 of {HERE}", f"C2 of {HERE}"]


class TestGenericViews:
    def test_show_and_change_the_rows_of_the_requests_tenant(self, libraries: Libraries) -> None:
        class Listing(ListView):
            model = Author

            def render_to_response(self, context: Any, **_: Any) -> Any:
                return list(context["object_list"])

        class Detail(DetailView):
            queryset = Author.objects.all()

            def render_to_response(self, context: Any, **_: Any) -> Any:
                return context["object"]

        class Creation(CreateView):
            model, fields, success_url = Author, ["name"], "/"

        class Change(UpdateView):
            model, fields, success_url = Author, ["name"], "/"

        request = RequestFactory()
        for library in libraries:
            with tenant_context(library.tenant):
                listed = Listing.as_view()(request.get("/"))
                assert {row._state.db for row in listed} == {library.tenant}
                assert Detail.as_view()(request.get("/"), pk=1)._state.db == library.tenant
                new = request.post("/", {"name": f"by {library.tenant}"})
                assert Creation.as_view()(new).status_code == 302
                changed = request.post("/", {"name": f"changed in {library.tenant}"})
                assert Change.as_view()(changed, pk=1).status_code == 302
        for library in libraries:
            assert library.authors.filter(name=f"by {library.tenant}").count() == 1
            assert library.authors.get(pk=1).name == f"changed in {library.tenant}"


def test_permissions_are_those_of_the_users_tenant(libraries: Libraries) -> None:
    users = {}
    for tenant, codename in ((HERE, "add_book"), (THERE, "delete_book")):
        with tenant_context(tenant):
            user = users[tenant] = User.objects.create_user("ann")
            group = Group.objects.create(name="readers")
            kind = ContentType.objects.get_for_model(Book)
            allowed = Permission.objects.create(name="x", codename=codename, content_type=kind)
            group.permissions.add(allowed)
            user.groups.add(group)
    with tenant_context(THERE):
        assert users[HERE].get_all_permissions() == {"library.add_book"}
        assert users[HERE].has_perm("library.add_book")
        assert not users[HERE].has_perm("library.delete_book")


def test_conditions_on_rows_of_the_tenant_are_no_crossing(libraries: Libraries) -> None:
    here, _ = libraries
    condition = Q(author=here.author) & ~Q(tags=here.tag)
    with tenant_context(THERE):
        assert here.books.filter(condition).count() == 1
        assert Loose.objects.using(HERE).filter(Exists(here.books)).count() == 1
        assert str(here.books.filter(author=here.author).query).startswith("SELECT")
