from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("stock", "0003_double_prices")]
    operations = [
        AddIndexConcurrently("Item", models.Index(fields=["name"], name="stock_item_name")),
    ]
