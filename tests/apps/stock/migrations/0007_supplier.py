from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stock", "0006_token")]
    operations = [
        migrations.CreateModel(
            "Supplier",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=50, db_comment="As on its letters")),
            ],
            options={"permissions": (("audit_supplier", "Can audit supplier"),)},
        ),
        migrations.AddField(
            "Item", "supplier", models.ForeignKey("stock.Supplier", models.CASCADE, null=True)
        ),
        migrations.AddField("Item", "tags", models.ManyToManyField("stock.Item")),
    ]
