from django.db import models


class Author(models.Model):
    full_name = models.CharField(max_length=60, unique=True)
    born = models.BigIntegerField(null=True)


class Book(models.Model):
    title = models.CharField(max_length=200, db_index=True)
    author = models.ForeignKey(Author, models.CASCADE, null=True)
    sequel_of = models.ForeignKey("self", models.SET_NULL, null=True)
    pages = models.PositiveIntegerField(default=1)
    translators = models.ManyToManyField(Author, related_name="+")

    class Meta:
        unique_together = (("title", "author"),)
        indexes = (models.Index(fields=("pages", "title"), name="history_book_pages"),)
        constraints = (
            models.CheckConstraint(condition=models.Q(pages__lt=9999), name="history_book_short"),
            models.UniqueConstraint(fields=("author", "pages"), name="history_book_once"),
        )
