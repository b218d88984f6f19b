from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=50)
    price = models.IntegerField(default=1)
    stock = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name
