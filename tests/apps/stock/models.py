import uuid

from django.db import models


class Supplier(models.Model):
    name = models.CharField(max_length=50, db_comment="As on its letters")

    class Meta:
        permissions = (("audit_supplier", "Can audit supplier"),)


class Item(models.Model):
    name = models.CharField(max_length=50)
    price = models.IntegerField(default=1)
    colour = models.CharField(max_length=20, default="red", db_index=True)
    token = models.UUIDField(default=uuid.uuid4)
    supplier = models.ForeignKey(Supplier, models.CASCADE, null=True)
    tags = models.ManyToManyField("self")

    class Meta:
        indexes = (models.Index(fields=("name",), name="stock_item_name"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(price__gte=0), name="stock_item_price_positive"
            ),
        )
