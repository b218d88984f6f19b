from django.db import migrations


def label(apps, schema_editor):
    parcels = apps.get_model("depot", "Parcel").objects.using(schema_editor.connection.alias)
    for parcel in parcels.filter(label=""):
        parcel.label = f"parcel {parcel.name}"
        parcel.save(update_fields=["label"])


class Migration(migrations.Migration):
    dependencies = [("depot", "0002_weight")]
    operations = [migrations.RunPython(label, migrations.RunPython.noop)]
