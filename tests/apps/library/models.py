"""Every kind of relation and manager that rows could cross tenants by. It has no migrations."""

import uuid
from typing import Self

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class AuthorQuerySet(models.QuerySet["Author"]):
    def named(self, name: str) -> Self:
        return self.filter(name=name)

    def anew(self) -> Self:
        return type(self)(self.model)


class AuthorManager(models.Manager["Author"]):
    def get_by_natural_key(self, name: str) -> "Author":
        return self.get(name=name)

    def by_hand(self) -> models.QuerySet["Author"]:
        return models.QuerySet(self.model, using=self._db).filter(pk__gt=0)

    def by_its_class(self) -> AuthorQuerySet:
        return AuthorQuerySet(self.model, using=self._db)


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)
    email = models.CharField(max_length=50, default="", blank=True)

    objects = AuthorManager.from_queryset(AuthorQuerySet)()

    class Meta:
        app_label = "library"

    def natural_key(self) -> tuple[str]:
        return (self.name,)


class Tag(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        app_label = "library"


class Note(models.Model):
    text = models.CharField(max_length=50)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.BigIntegerField()
    target = GenericForeignKey()

    class Meta:
        app_label = "library"


class Book(models.Model):
    title = models.CharField(max_length=50, unique_for_date="published")
    published = models.DateField(default="2020-01-01")
    author = models.ForeignKey(Author, models.CASCADE, null=True, blank=True, related_name="books")
    editor = models.ForeignKey(Author, models.CASCADE, null=True, blank=True, related_name="edited")
    tags = models.ManyToManyField(Tag, related_name="books", blank=True)
    notes = GenericRelation(Note)

    class Meta:
        app_label = "library"
        constraints = (
            models.UniqueConstraint(fields=("title", "author"), name="library_book_once"),
        )


class Novel(Book):
    pages = models.IntegerField(default=1)

    class Meta:
        app_label = "library"


class Profile(models.Model):
    author = models.OneToOneField(Author, models.CASCADE, null=True)
    about = models.CharField(max_length=50)

    class Meta:
        app_label = "library"


class Chapter(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="chapters")
    title = models.CharField(max_length=50)

    class Meta:
        app_label = "library"
        order_with_respect_to = "book"


class Loose(models.Model):
    """Nothing refers to it, and it to nothing."""

    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        app_label = "library"


class Currency(models.Model):
    """Its text is its key."""

    code = models.CharField(max_length=3, primary_key=True)
    name = models.CharField(max_length=50)

    class Meta:
        app_label = "library"

    def __str__(self) -> str:
        return self.code


class Price(models.Model):
    currency = models.ForeignKey(Currency, models.CASCADE, null=True)

    class Meta:
        app_label = "library"


MODELS = (Author, Tag, Note, Book, Novel, Profile, Chapter, Loose, Currency, Price)
