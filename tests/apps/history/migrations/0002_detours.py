from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("history", "0001_initial")]
    operations = [
        migrations.AddField(
            "Book", "author", models.ForeignKey("history.Author", models.CASCADE, null=True)
        ),
        migrations.AddField("Book", "pages", models.PositiveIntegerField(default=1)),
        migrations.AlterField("Author", "name", models.CharField(max_length=40, unique=True)),
        migrations.AlterField("Author", "born", models.IntegerField(null=True)),
        migrations.AlterField("Author", "born", models.BigIntegerField(null=True)),
        migrations.AlterField("Book", "title", models.CharField(max_length=200, db_index=True)),
        migrations.RemoveField("Book", "subtitle"),
        migrations.RemoveField("Author", "nickname"),
        migrations.AlterUniqueTogether("Book", {("title", "author")}),
        migrations.AddConstraint(
            "Book",
            models.CheckConstraint(condition=models.Q(pages__lt=9999), name="history_book_short"),
        ),
    ]
