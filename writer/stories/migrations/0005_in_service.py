from django.db import migrations


def to_ledger(apps, _schema):
    """What was in service has been so since its version was made: nobody knows better."""
    Version, Deployment = apps.get_model("stories", "ModelVersion"), apps.get_model("stories", "Deployment")
    for version in Version.objects.filter(in_service=True):
        Deployment.objects.create(version=version, state="serving", kind="settings", began=version.created)


def from_ledger(apps, _schema):
    Version, Deployment = apps.get_model("stories", "ModelVersion"), apps.get_model("stories", "Deployment")
    Version.objects.filter(pk__in=Deployment.objects.filter(state="serving").values("version")).update(in_service=True)


class Migration(migrations.Migration):
    dependencies = [("stories", "0004_ledger")]
    operations = [
        migrations.RunPython(to_ledger, from_ledger),
        migrations.RemoveConstraint(model_name="modelversion", name="one_model_in_service"),
        migrations.RemoveField(model_name="modelversion", name="in_service"),
    ]
