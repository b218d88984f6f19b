from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stock", "0004_name_index")]
    operations = [
        migrations.AddConstraint(
            "Item",
            models.CheckConstraint(
                condition=models.Q(price__gte=0), name="stock_item_price_positive"
            ),
        )
    ]
