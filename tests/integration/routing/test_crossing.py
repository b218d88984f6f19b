"""Every way through the ORM's public API by which a row could get to another tenant.

Each takes two libraries: the one it works in, and the one it takes a row or a queryset
from. With two tenants it must raise CrossTenantError and change nothing; with one tenant
twice it must work, or the test would prove nothing.
"""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.postgres.aggregates import ArrayAgg
from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    F,
    FilteredRelation,
    IntegerField,
    Max,
    OuterRef,
    Prefetch,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    prefetch_related_objects,
)
from django.db.models.functions import Coalesce
from django.forms import modelform_factory
from django.shortcuts import get_object_or_404
from django.utils.functional import SimpleLazyObject

from mtdd_router import CrossTenantError, tenant_context
from tests.apps.library.models import Author, Book, Currency, Note, Profile
from tests.integration.routing.conftest import HERE, THERE, Library

Way = Callable[[Library, Library], Any]


def in_context(a: Library, act: Callable[[], Any]) -> Any:
    with tenant_context(a.tenant):
        return act()


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


def made_in(a: Library, make: Callable[[], Any]) -> Any:
    """Return a queryset that is bound to a tenant only by where it was made."""
    with tenant_context(a.tenant):
        return make()


def with_query(a: Library, query: Any) -> Any:
    queryset = Author.objects.using(a.tenant)
    queryset.query = query
    return list(queryset)


def assigned(row: Any, **values: Any) -> Any:
    for name, value in values.items():
        setattr(row, name, value)
    return row


def when(b: Library, **then: Any) -> Case:
    return Case(When(author=b.author, then=Value(1)), default=Value(0), **then)


async def _gathered(queryset: Any) -> list[Any]:
    return [row async for row in queryset]


async def _refreshed(row: Any, tenant: str) -> None:
    await row.arefresh_from_db(using=tenant)


async def _awaited(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await method(*args, **kwargs)


def _other(library: Library) -> Any:
    return library.authors.get(pk=2)


def _second(library: Library) -> Any:
    return library.books.get(pk=2)


def _form_saved(a: Library, b: Library) -> Any:
    """Fill a row of one tenant from a form whose choices are another's."""
    with tenant_context(b.tenant):
        form = modelform_factory(Book, fields=["author"])({"author": "2"}, instance=a.book)
        return form.save()


READS: dict[str, Way] = {
    # A row as a value.
    "filter by a row": lambda a, b: list(a.books.filter(author=b.author)),
    "filter by a row's attname": lambda a, b: list(a.books.filter(author_id=b.author)),
    "filter by a lazy row": lambda a, b: list(
        a.books.filter(author=SimpleLazyObject(lambda: b.author))
    ),
    "exclude a row": lambda a, b: list(a.books.exclude(author=b.author)),
    "exclude over a relation of many": lambda a, b: list(a.authors.exclude(books=b.book)),
    "exclude over many to many": lambda a, b: list(a.tags.exclude(books=b.book)),
    "filter from the other side": lambda a, b: list(a.authors.filter(books=b.book)),
    "filter over many to many": lambda a, b: list(a.books.filter(tags=b.tag)),
    "filter over two relations": lambda a, b: list(a.tags.filter(books__author=b.author)),
    "filter over one to one": lambda a, b: list(a.authors.filter(profile=b.profile)),
    "filter by rows": lambda a, b: list(a.books.filter(author__in=[b.author])),
    "filter by a tuple of rows": lambda a, b: list(a.books.filter(author__in=(b.author,))),
    "filter by a set of rows": lambda a, b: list(a.books.filter(author__in={b.author})),
    "filter by generated rows": lambda a, b: list(
        a.books.filter(author__in=(row for row in [b.author]))
    ),
    "filter by values of a dict": lambda a, b: list(
        a.books.filter(author__in={1: b.author}.values())
    ),
    "filter by rows and keys": lambda a, b: list(a.books.filter(author__in=[2, b.author])),
    "filter by an evaluated list": lambda a, b: list(a.books.filter(author__in=list(b.authors))),
    "filter by a raw queryset": lambda a, b: list(
        a.books.filter(author__in=b.authors.raw("SELECT * FROM library_author"))
    ),
    "filter by a parent of an inherited model": lambda a, b: list(a.novels.filter(book_ptr=b.book)),
    "filter a child by its parent's relation": lambda a, b: list(a.novels.filter(author=b.author)),
    "get": lambda a, b: a.books.get(author=b.author, pk=1),
    "get_object_or_404": lambda a, b: get_object_or_404(a.books, author=b.author, pk=1),
    "Q": lambda a, b: list(a.books.filter(Q(author=b.author) | Q(pk=1))),
    "not Q": lambda a, b: list(a.books.filter(~Q(author=b.author))),
    "exclusive Q": lambda a, b: list(a.books.filter(Q(author=b.author) ^ Q(pk=7))),
    "a condition as a filter": lambda a, b: list(
        a.books.filter(
            Case(When(author=b.author, then=True), default=False, output_field=BooleanField())
        )
    ),
    "annotate with Case": lambda a, b: list(a.books.annotate(mine=when(b))),
    "alias with Case": lambda a, b: list(a.books.alias(mine=when(b)).filter(mine=1)),
    "order by Case": lambda a, b: list(a.books.order_by(when(b))),
    "order by Case, descending": lambda a, b: list(a.books.order_by(when(b).desc())),
    "values with Case": lambda a, b: list(a.books.values(mine=when(b))),
    "values_list with Case": lambda a, b: list(a.books.values_list(when(b), flat=True)),
    "aggregate with Case": lambda a, b: a.books.aggregate(n=Sum(when(b))),
    "aggregate with a filter": lambda a, b: a.books.aggregate(
        n=Count("pk", filter=Q(author=b.author))
    ),
    "annotate with a filtered aggregate": lambda a, b: list(
        a.authors.annotate(n=Count("books", filter=Q(books__author=b.author)))
    ),
    "aggregate over an annotation": lambda a, b: a.books.annotate(n=Count("tags")).aggregate(
        m=Max("n", filter=Q(author=b.author))
    ),
    "an aggregate of arrays": lambda a, b: a.books.aggregate(
        n=ArrayAgg("pk", filter=Q(author=b.author))
    ),
    "a filtered relation": lambda a, b: list(
        a.authors.annotate(
            his=FilteredRelation("books", condition=Q(books__editor=b.author))
        ).filter(his__isnull=False)
    ),
    "a row as text": lambda a, b: list(a.prices.filter(currency__in=[b.currency])),
    "Value of a row that is text": lambda a, b: list(
        a.prices.annotate(c=Value(b.currency, output_field=Currency._meta.pk)).filter(
            currency=F("c")
        )
    ),
    "count": lambda a, b: a.books.filter(author=b.author).count(),
    "exists": lambda a, b: a.books.filter(author=b.author).exists(),
    "explain": lambda a, b: a.books.filter(author=b.author).explain(),
    "first": lambda a, b: a.books.filter(author=b.author).first(),
    "last": lambda a, b: a.books.filter(author=b.author).last(),
    "earliest": lambda a, b: a.books.filter(author=b.author).earliest("published"),
    "latest": lambda a, b: a.books.filter(author=b.author).latest("published"),
    "dates": lambda a, b: list(a.books.filter(author=b.author).dates("published", "year")),
    "iterator": lambda a, b: list(a.books.filter(author=b.author).iterator()),
    "in_bulk": lambda a, b: a.books.filter(author=b.author).in_bulk([1]),
    "in_bulk by rows": lambda a, b: a.currencys.in_bulk([b.currency]),
    "values": lambda a, b: list(a.books.filter(author=b.author).values("title")),
    "a slice": lambda a, b: list(a.books.filter(author=b.author)[:1]),
    "select_related": lambda a, b: list(
        a.books.select_related("author").filter(author__profile=b.profile)
    ),
    "a filter, then another tenant": lambda a, b: list(
        Book.objects.using(b.tenant).filter(author=b.author).using(a.tenant)
    ),
    "a filter, then mtdd": lambda a, b: list(
        Book.objects.filter(author=b.author).mtdd(a.tenant)  # type: ignore[attr-defined]
    ),
    "a filter in a context": lambda a, b: in_context(
        a, lambda: list(Book.objects.filter(author=b.author))
    ),
    "asynchronously": lambda a, b: async_to_sync(_gathered)(a.books.filter(author=b.author)),
    # A queryset in a queryset.
    "a subquery": lambda a, b: list(a.books.filter(author__in=b.authors)),
    "a subquery of values": lambda a, b: list(
        a.books.filter(author__in=b.authors.values_list("pk"))
    ),
    "a subquery of keys": lambda a, b: list(a.books.filter(pk__in=b.books.values("pk"))),
    "a subquery as one value": lambda a, b: list(
        a.books.filter(author=b.authors.order_by("pk").values("pk")[:1])
    ),
    "a subquery that is excluded": lambda a, b: list(a.books.exclude(author__in=b.authors)),
    "a subquery in a subquery": lambda a, b: list(
        a.tags.filter(books__in=a.books.filter(author__in=b.authors))
    ),
    "a subquery bound by context": lambda a, b: list(
        a.books.filter(author__in=made_in(b, Author.objects.all))
    ),
    "a queryset in a context, a subquery from another": lambda a, b: in_context(
        a, lambda: list(Book.objects.filter(author__in=b.authors))
    ),
    "a subquery of a relation": lambda a, b: list(a.books.filter(pk__in=b.author.books.all())),
    "a subquery of many to many": lambda a, b: list(a.tags.filter(pk__in=b.book.tags.all())),
    "a subquery of a generic relation": lambda a, b: list(
        a.notes.filter(pk__in=b.book.notes.all())
    ),
    "a subquery filtered by a row": lambda a, b: list(
        a.books.filter(author__in=Author.objects.filter(books=b.book))
    ),
    "Exists": lambda a, b: list(a.authors.filter(Exists(b.books.filter(author=OuterRef("pk"))))),
    "Exists bound by context": lambda a, b: list(
        a.authors.filter(Exists(made_in(b, lambda: Book.objects.filter(author=OuterRef("pk")))))
    ),
    "not Exists": lambda a, b: list(
        a.authors.filter(~Exists(b.books.filter(author=OuterRef("pk"))))
    ),
    "annotate with Exists": lambda a, b: list(
        a.authors.annotate(has=Exists(b.books.filter(author=OuterRef("pk"))))
    ),
    "annotate with Subquery": lambda a, b: list(
        a.authors.annotate(title=Subquery(b.books.values("title")[:1]))
    ),
    "annotate with a queryset": lambda a, b: list(
        a.authors.annotate(title=b.books.values("title")[:1])
    ),
    "Coalesce of a Subquery": lambda a, b: list(
        a.authors.annotate(title=Coalesce(Subquery(b.books.values("title")[:1]), Value("")))
    ),
    "an array of a Subquery": lambda a, b: list(
        a.authors.annotate(all=ArraySubquery(b.books.values("pk")))
    ),
    "order by Subquery": lambda a, b: list(
        a.authors.order_by(Subquery(b.books.values("title")[:1]))
    ),
    "aggregate a Subquery": lambda a, b: a.authors.aggregate(
        n=Max(Subquery(b.books.values("pk")[:1]))
    ),
    "a Subquery in a Case": lambda a, b: list(
        a.books.annotate(
            n=Case(
                When(author__in=b.authors, then=Value(1)),
                default=Value(0),
                output_field=IntegerField(),
            )
        )
    ),
    "union": lambda a, b: list(a.authors.union(b.authors)),
    "union all": lambda a, b: list(a.authors.union(b.authors, all=True)),
    "union, then another tenant": lambda a, b: list(b.authors.union(b.authors).using(a.tenant)),
    "union of three": lambda a, b: list(a.authors.union(a.authors, b.authors)),
    "union counted": lambda a, b: a.authors.union(b.authors).count(),
    "union with one bound by context": lambda a, b: list(
        a.authors.union(made_in(b, Author.objects.all))
    ),
    "union in a subquery": lambda a, b: list(
        a.books.filter(author__in=a.authors.values("pk").union(b.authors.values("pk")))
    ),
    "intersection": lambda a, b: list(a.authors.intersection(b.authors)),
    "difference": lambda a, b: list(a.authors.difference(b.authors)),
    "and": lambda a, b: list(a.authors & b.authors),
    "or": lambda a, b: list(a.authors.filter(pk=1) | b.authors.filter(pk=2)),
    "xor": lambda a, b: list(a.authors.filter(pk=1) ^ b.authors.filter(pk=2)),
    "or of slices": lambda a, b: list(a.authors[:1] | b.authors[:1]),
    "or with a row": lambda a, b: list(a.books.filter(pk=1) | Book.objects.filter(author=b.author)),
    "a query, unpickled": lambda a, b: with_query(a, pickled(b.authors.all().query)),
    "a query of a context, unpickled": lambda a, b: with_query(
        a, pickled(made_in(b, Author.objects.all).query)
    ),
    "a query with a row, unpickled": lambda a, b: with_query(
        a, pickled(Author.objects.filter(books=b.book).query)
    ),
    "a queryset with a row, copied": lambda a, b: list(
        copy.deepcopy(Author.objects.filter(books=b.book)).using(a.tenant)
    ),
    # A relation that is followed elsewhere.
    "a relation, using": lambda a, b: list(b.author.books.using(a.tenant)),
    "a relation, filtered, using": lambda a, b: list(b.author.books.filter(pk=1).using(a.tenant)),
    "a relation of a db_manager": lambda a, b: list(b.author.books.db_manager(a.tenant).all()),
    "a relation of another manager": lambda a, b: list(
        b.author.books(manager="objects").using(a.tenant)
    ),
    "many to many, using": lambda a, b: list(b.book.tags.using(a.tenant)),
    "many to many, mtdd": lambda a, b: list(b.book.tags.mtdd(a.tenant)),
    "many to many of a db_manager": lambda a, b: list(b.book.tags.db_manager(a.tenant).all()),
    "the other side of many to many": lambda a, b: list(b.tag.books.using(a.tenant)),
    "a generic relation, using": lambda a, b: list(b.book.notes.using(a.tenant)),
    "a generic relation of a db_manager": lambda a, b: list(
        b.book.notes.db_manager(a.tenant).all()
    ),
    "a prefetched relation, using": lambda a, b: list(
        b.books.prefetch_related("tags")[0].tags.using(a.tenant)
    ),
    "Prefetch of many": lambda a, b: list(a.authors.prefetch_related(Prefetch("books", b.books))),
    "Prefetch of many to many": lambda a, b: list(
        a.books.prefetch_related(Prefetch("tags", b.tags))
    ),
    "Prefetch of one": lambda a, b: list(a.books.prefetch_related(Prefetch("author", b.authors))),
    "Prefetch of one to one": lambda a, b: list(
        a.authors.prefetch_related(Prefetch("profile", b.profiles))
    ),
    "Prefetch of a generic relation": lambda a, b: list(
        a.books.prefetch_related(Prefetch("notes", b.notes))
    ),
    "Prefetch to an attribute": lambda a, b: list(
        a.authors.prefetch_related(Prefetch("books", b.books, to_attr="his"))
    ),
    "Prefetch with a row": lambda a, b: list(
        a.authors.prefetch_related(Prefetch("books", Book.objects.filter(author=b.author)))
    ),
    "Prefetch with a subquery": lambda a, b: list(
        a.authors.prefetch_related(Prefetch("books", Book.objects.filter(author__in=b.authors)))
    ),
    "prefetch one for rows of two": lambda a, b: prefetch_related_objects(
        [a.book, b.book], "author"
    ),
    "prefetch one to one for rows of two": lambda a, b: prefetch_related_objects(
        [a.author, b.author], "profile"
    ),
    "prefetch many for rows of two": lambda a, b: prefetch_related_objects(
        [a.author, b.author], "books"
    ),
    "prefetch many to many for rows of two": lambda a, b: prefetch_related_objects(
        [a.book, b.book], "tags"
    ),
    "prefetch a generic relation for rows of two": lambda a, b: prefetch_related_objects(
        [a.book, b.book], "notes"
    ),
    "prefetch generic keys for rows of two": lambda a, b: prefetch_related_objects(
        [a.note, b.note], "target"
    ),
    "refresh_from_db": lambda a, b: b.author.refresh_from_db(using=a.tenant),
    "refresh_from_db of a field": lambda a, b: b.author.refresh_from_db(
        using=a.tenant, fields=["name"]
    ),
    "arefresh_from_db": lambda a, b: async_to_sync(_refreshed)(b.author, a.tenant),
}


WRITES: dict[str, Way] = {
    # Assignment.
    "assign a row": lambda a, b: assigned(a.book, author=b.author).save(),
    "assign to a new row, then save": lambda a, b: Book(title="n", author=b.author).save(
        using=a.tenant
    ),
    "assign two rows": lambda a, b: Book(title="n", author=a.author, editor=b.author).save(),
    "assign one to one": lambda a, b: assigned(a.profile, author=b.author).save(),
    "assign one to one from the other side": lambda a, b: assigned(
        a.author, profile=b.profile
    ).save(),
    "assign a generic key": lambda a, b: assigned(a.note, target=b.book).save(),
    "a new row with a generic key": lambda a, b: Note(text="n", target=b.book).save(using=a.tenant),
    "a row of the table between": lambda a, b: Book.tags.through.objects.using(a.tenant).create(
        book=a.books.get(pk=2), tag=b.tag
    ),
    # Creating.
    "create": lambda a, b: a.books.create(title="n", author=b.author),
    "create with a generic key": lambda a, b: a.notes.create(text="n", target=b.book),
    "create in a context": lambda a, b: in_context(
        a, lambda: Profile.objects.using(a.tenant).create(author=_other(b), about="n")
    ),
    "create by a relation": lambda a, b: a.author.books.create(title="n", editor=b.author),
    "create by a relation of a db_manager": lambda a, b: a.author.books.db_manager(a.tenant).create(
        title="n", editor=b.author
    ),
    "create by many to many": lambda a, b: a.tag.books.create(title="n", author=b.author),
    "get_or_create": lambda a, b: a.books.get_or_create(author=b.author, pk=1),
    "get_or_create with defaults": lambda a, b: a.books.get_or_create(
        title="new", defaults={"author": b.author}
    ),
    "update_or_create": lambda a, b: a.books.update_or_create(author=b.author, pk=1),
    "update_or_create with defaults": lambda a, b: a.books.update_or_create(
        pk=1, defaults={"author": b.author}
    ),
    "update_or_create with defaults for new": lambda a, b: a.books.update_or_create(
        title="new", create_defaults={"author": b.author}
    ),
    "bulk_create": lambda a, b: a.books.bulk_create([Book(title="n", author=b.author)]),
    "bulk_create of generated rows": lambda a, b: a.books.bulk_create(
        Book(title=title, author=row) for title, row in (("n", a.author), ("m", b.author))
    ),
    "bulk_create with conflicts": lambda a, b: a.authors.bulk_create(
        [b.author], update_conflicts=True, unique_fields=["id"], update_fields=["name"]
    ),
    "bulk_create by a relation": lambda a, b: a.author.books.bulk_create(
        [Book(title="n", editor=b.author)]
    ),
    "abulk_create": lambda a, b: async_to_sync(_awaited)(
        a.books.abulk_create, [Book(title="n", author=b.author)]
    ),
    # Updating.
    "update by a row": lambda a, b: a.books.update(author=b.author),
    "update by a Case": lambda a, b: a.books.update(
        title=Case(When(author=b.author, then=F("title")), default=F("title"))
    ),
    "update by a Subquery": lambda a, b: a.books.update(
        author=Subquery(b.authors.order_by("pk").values("pk")[:1])
    ),
    "update of a parent by a row": lambda a, b: a.novels.update(author=b.author),
    "update of a parent and a child by a row": lambda a, b: a.novels.update(
        author=b.author, pages=3
    ),
    "update of what a row is in": lambda a, b: a.books.filter(author=b.author).update(editor=None),
    "update of what a subquery says": lambda a, b: a.books.filter(author__in=b.authors).update(
        editor=None
    ),
    "update by a Value that is a row": lambda a, b: a.prices.update(
        currency=Value(b.currency, output_field=Currency._meta.pk)
    ),
    "bulk_update": lambda a, b: a.authors.bulk_update([assigned(b.author, email="x")], ["email"]),
    "abulk_update": lambda a, b: async_to_sync(_awaited)(
        a.authors.abulk_update, [assigned(b.author, email="x")], ["email"]
    ),
    "bulk_update in a context": lambda a, b: in_context(
        a, lambda: Author.objects.bulk_update([assigned(b.author, email="x")], ["email"])
    ),
    # Deleting.
    "delete what a row is in": lambda a, b: a.books.filter(author=b.author).delete(),
    "delete what a row is in, at once": lambda a, b: a.prices.filter(currency=b.currency).delete(),
    "delete what a subquery says": lambda a, b: a.prices.filter(currency__in=b.currencys).delete(),
    "delete what keys say": lambda a, b: a.looses.filter(pk__in=b.looses.values("pk")).delete(),
    # Relations.
    "add to a relation": lambda a, b: a.author.books.add(_second(b)),
    "add to a relation, one by one": lambda a, b: a.author.books.add(_second(b), bulk=False),
    "aadd to a relation": lambda a, b: async_to_sync(_awaited)(a.author.books.aadd, _second(b)),
    "remove from a relation": lambda a, b: a.author.books.remove(b.book),
    "remove from a relation, one by one": lambda a, b: a.author.books.remove(b.book, bulk=False),
    "aremove from a relation": lambda a, b: async_to_sync(_awaited)(a.author.books.aremove, b.book),
    "set a relation": lambda a, b: a.author.books.set([b.book]),
    "set a relation, from nothing": lambda a, b: a.author.books.set([b.book], clear=True),
    "set a relation to a queryset": lambda a, b: a.author.books.set(b.books),
    "add to many to many": lambda a, b: a.book.tags.add(b.tag),
    "remove from many to many": lambda a, b: a.book.tags.remove(b.tag),
    "set many to many": lambda a, b: a.book.tags.set([b.tag]),
    "set many to many to the same keys": lambda a, b: a.book.tags.set(b.tags),
    "aset many to many": lambda a, b: async_to_sync(_awaited)(a.book.tags.aset, [b.tag]),
    "add to the other side of many to many": lambda a, b: a.tag.books.add(_second(b)),
    "add to a relation of another manager": lambda a, b: a.author.books(manager="objects").add(
        _second(b)
    ),
    "add to a generic relation": lambda a, b: a.books.get(pk=2).notes.add(b.note),
    "add to a generic relation, one by one": lambda a, b: a.books.get(pk=2).notes.add(
        b.note, bulk=False
    ),
    "remove from a generic relation": lambda a, b: a.book.notes.remove(b.note),
    "set a generic relation": lambda a, b: a.book.notes.set([b.note]),
    # A row written elsewhere.
    "save": lambda a, b: assigned(b.author, email="x").save(using=a.tenant),
    "save some fields": lambda a, b: assigned(b.author, email="x").save(
        using=a.tenant, update_fields=["email"]
    ),
    "save a child of another model": lambda a, b: assigned(b.novel, pages=7).save(using=a.tenant),
    "save what nothing refers to": lambda a, b: b.loose.save(using=a.tenant),
    "asave": lambda a, b: async_to_sync(_awaited)(b.author.asave, using=a.tenant),
    "save an unpickled row": lambda a, b: pickled(b.author).save(using=a.tenant),
    "save a copied row": lambda a, b: copy.deepcopy(b.author).save(using=a.tenant),
    "delete": lambda a, b: b.author.delete(using=a.tenant),
    "delete what nothing refers to": lambda a, b: b.loose.delete(using=a.tenant),
    "delete a child of another model": lambda a, b: b.novel.delete(using=a.tenant),
    "adelete": lambda a, b: async_to_sync(_awaited)(b.loose.adelete, using=a.tenant),
    "set an order": lambda a, b: b.book.set_chapter_order([2, 1], using=a.tenant),
    # Forms.
    "a form with a row of another": _form_saved,
}


EVERYTHING = {**READS, **WRITES}


@pytest.mark.parametrize("way", EVERYTHING)
def test_it_is_refused_with_both_names_and_changes_nothing(
    libraries: tuple[Library, Library], way: str
) -> None:
    here, there = libraries
    before = (here.contents(), there.contents()) if way in WRITES else None
    with pytest.raises(CrossTenantError) as caught:
        # What is refused half way leaves nothing, as in a request.
        with transaction.atomic(using=HERE), transaction.atomic(using=THERE):
            EVERYTHING[way](here, there)
    assert repr(HERE) in str(caught.value)
    assert repr(THERE) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert before is None or (here.contents(), there.contents()) == before


@pytest.mark.parametrize("way", EVERYTHING)
def test_it_works_within_one_tenant(libraries: tuple[Library, Library], way: str) -> None:
    here, there = libraries
    before = there.contents() if way in WRITES else None
    EVERYTHING[way](here, here)
    assert before is None or there.contents() == before
