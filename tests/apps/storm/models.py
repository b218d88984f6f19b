"""What many write at once: each row is stamped with its tenant."""

from django.db import models


class Entry(models.Model):
    """A write; *key* is its own, but nothing keeps it from being written twice."""

    tenant = models.CharField(max_length=63)
    key = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.key} of {self.tenant}"


class Counter(models.Model):
    """One row of a tenant, which everybody adds to."""

    tenant = models.CharField(max_length=63)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.value} of {self.tenant}"
