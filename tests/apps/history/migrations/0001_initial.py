from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Author",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=20, unique=True)),
                ("born", models.IntegerField()),
                ("nickname", models.CharField(max_length=20)),
            ],
        ),
        migrations.CreateModel(
            "Book",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("title", models.CharField(max_length=30, db_index=True)),
                ("subtitle", models.CharField(max_length=30)),
                (
                    "sequel_of",
                    models.ForeignKey("history.Book", models.SET_NULL, null=True),
                ),
            ],
        ),
        migrations.CreateModel("Shelf", fields=[("id", models.BigAutoField(primary_key=True))]),
    ]
