from django.db import models


class Short(models.Model):
    long_number = models.IntegerField(unique=True, null=True)

    class Meta:
        db_table = "clash"


class Long(models.Model):
    number = models.IntegerField(unique=True)

    class Meta:
        db_table = "clash_long"
