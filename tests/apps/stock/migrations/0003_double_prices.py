from django.db import migrations
from django.db.models import F


def double(apps, schema_editor):
    # As most are written: for the one database that the project has.
    items = apps.get_model("stock", "Item").objects
    if items.filter(price=13).exists():
        raise ValueError("13 brings bad luck")
    items.update(price=F("price") * 2)


def halve(apps, schema_editor):
    items = apps.get_model("stock", "Item").objects.using(schema_editor.connection.alias)
    items.update(price=F("price") / 2)


class Migration(migrations.Migration):
    dependencies = [("stock", "0002_colour")]
    operations = [migrations.RunPython(double, halve)]
