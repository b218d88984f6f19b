from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("depot", "0003_labels")]
    operations = [
        migrations.AddIndex("Parcel", models.Index(fields=["weight"], name="depot_parcel_weight")),
        migrations.AlterField("Parcel", "label", models.CharField(max_length=60, blank=True)),
    ]
