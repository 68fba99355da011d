from django.db import migrations, models

# What was not chosen was sampled so until now. The row of a generation says from now on how all of it was sampled.
AS_BEFORE = """
UPDATE stories_generation SET sampling = '{"temperature": 0.8, "top_p": 0.95}'::jsonb || sampling
WHERE NOT jsonb_exists(sampling, 'min_p')
"""


class Migration(migrations.Migration):
    dependencies = [("stories", "0006_plain_words")]

    operations = [
        migrations.AddField(
            model_name="story",
            name="sampling",
            field=models.JSONField(
                default=dict, help_text="temperature and min_p, as its writer chose; otherwise as the site serves"
            ),
        ),
        migrations.AlterField(
            model_name="generation",
            name="sampling",
            field=models.JSONField(default=dict, help_text="A `training.common.sampling.Sampling`"),
        ),
        migrations.RunSQL(AS_BEFORE, migrations.RunSQL.noop),
    ]
