from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("depot", "0001_initial")]
    operations = [
        migrations.AddField("Parcel", "weight", models.IntegerField(default=0)),
        migrations.AddField(
            "Parcel", "label", models.CharField(max_length=60, blank=True, default="")
        ),
    ]
