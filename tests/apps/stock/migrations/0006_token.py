import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stock", "0005_positive_prices")]
    operations = [migrations.AddField("Item", "token", models.UUIDField(default=uuid.uuid4))]
