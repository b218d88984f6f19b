from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stock", "0001_initial")]
    operations = [
        migrations.AddField(
            "Item", "colour", models.CharField(max_length=20, default="red", db_index=True)
        ),
        migrations.RunSQL("UPDATE stock_item SET colour = '100%' WHERE price > 100", "SELECT 1"),
    ]
