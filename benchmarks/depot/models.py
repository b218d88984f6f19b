from django.db import models


class Parcel(models.Model):
    name = models.CharField(max_length=50)
    weight = models.IntegerField(default=0)
    label = models.CharField(max_length=60, blank=True)

    class Meta:
        indexes = (models.Index(fields=["weight"], name="depot_parcel_weight"),)

    def __str__(self) -> str:
        return self.name
