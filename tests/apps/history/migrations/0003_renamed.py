from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("history", "0002_detours")]
    operations = [
        migrations.DeleteModel("Shelf"),
        migrations.RenameField("Author", "name", "full_name"),
        migrations.AlterField("Author", "full_name", models.CharField(max_length=60, unique=True)),
        migrations.AddIndex(
            "Book", models.Index(fields=("pages", "title"), name="history_book_pages")
        ),
        migrations.AddConstraint(
            "Book", models.UniqueConstraint(fields=("author", "pages"), name="history_book_once")
        ),
        migrations.AddField(
            "Book", "translators", models.ManyToManyField("history.Author", related_name="+")
        ),
    ]
