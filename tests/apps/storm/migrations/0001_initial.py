from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Entry",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("tenant", models.CharField(max_length=63)),
                ("key", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            "Counter",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("tenant", models.CharField(max_length=63)),
                ("value", models.BigIntegerField(default=0)),
            ],
        ),
    ]
