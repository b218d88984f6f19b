from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Short",
            fields=[("id", models.BigAutoField(primary_key=True))],
            options={"db_table": "clash"},
        ),
        migrations.CreateModel(
            "Long",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("number", models.IntegerField(unique=True)),
            ],
            options={"db_table": "clash_long"},
        ),
        # PostgreSQL would call both constraints clash_long_number_key.
        migrations.AddField("Short", "long_number", models.IntegerField(unique=True, null=True)),
    ]
