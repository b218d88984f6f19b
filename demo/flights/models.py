"""Planes and flights of one carrier; every carrier has tables of its own.

Nothing here knows of tenants: these are models as any Django app has them.
"""

from typing import Self

from django.db import models


class Plane(models.Model):
    """An aircraft that the carrier flew."""

    tail_number = models.CharField(max_length=6, unique=True)
    built = models.PositiveSmallIntegerField(null=True, blank=True)
    manufacturer = models.CharField(max_length=40)
    model = models.CharField(max_length=40)
    seats = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("tail_number",)

    def __str__(self) -> str:
        return self.tail_number


class FlightQuerySet(models.QuerySet["Flight"]):
    """Questions about flights."""

    def late(self, minutes: int = 60) -> Self:
        """Keep the flights that arrived more than *minutes* late."""
        return self.filter(arrival_delay_minutes__gt=minutes)

    def flown(self) -> Self:
        """Keep the flights that arrived at their destination."""
        return self.filter(arrival_delay_minutes__isnull=False)


class Flight(models.Model):
    """One departure from New York in 2013; a cancelled one has no delays."""

    number = models.PositiveSmallIntegerField()
    departs_at = models.DateTimeField(db_index=True)
    origin = models.CharField(max_length=3)
    destination = models.CharField(max_length=3, db_index=True)
    tail_number = models.CharField(max_length=6, blank=True)
    plane = models.ForeignKey(
        Plane, null=True, blank=True, on_delete=models.SET_NULL, related_name="flights"
    )
    departure_delay_minutes = models.SmallIntegerField(null=True, blank=True)
    arrival_delay_minutes = models.SmallIntegerField(null=True, blank=True)
    air_time_minutes = models.PositiveSmallIntegerField(null=True, blank=True)
    distance_miles = models.PositiveSmallIntegerField()

    objects = FlightQuerySet.as_manager()

    class Meta:
        ordering = ("departs_at", "pk")

    def __str__(self) -> str:
        return f"{self.number} {self.origin}-{self.destination} {self.departs_at:%Y-%m-%d %H:%M}"
