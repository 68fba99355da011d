import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    """The tasks are those of `training.common.tasks`: a new one needs no migration."""

    dependencies = [
        ("editorial", "0006_plain_words"),
    ]

    operations = [
        migrations.AlterField(
            model_name="principleversion",
            name="tasks",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=20),
                size=None,
            ),
        ),
    ]
