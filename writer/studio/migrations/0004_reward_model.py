from django.db import migrations, models
from django.db.models.deletion import PROTECT


class Migration(migrations.Migration):
    dependencies = [("stories", "0005_in_service"), ("studio", "0003_stages")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="reward_model",
            field=models.ForeignKey(
                help_text="Whose preference is a reward",
                null=True,
                on_delete=PROTECT,
                related_name="preferred_by",
                to="stories.modelversion",
            ),
        ),
    ]
