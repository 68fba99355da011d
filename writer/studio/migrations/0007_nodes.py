from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("studio", "0006_plain_words"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="nodes",
            field=models.PositiveSmallIntegerField(
                default=1, help_text="Machines", validators=[MinValueValidator(1), MaxValueValidator(64)]
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="rendezvous",
            field=models.JSONField(
                help_text="Of a run on several machines: their names, and where its processes meet, under which id",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="gpus",
            field=models.PositiveSmallIntegerField(
                default=1,
                help_text="On each of its machines",
                validators=[MinValueValidator(0), MaxValueValidator(64)],
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("nodes", 1), models.Q(("gpus__gte", 1), ("nodes__gt", 1)), _connector="OR"),
                name="run_has_gpus_everywhere",
            ),
        ),
    ]
