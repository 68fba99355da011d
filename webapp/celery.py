"""The Celery application of the workers. Tasks are found in `workers.jobs`."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("longhand")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workers.jobs"])
app.autodiscover_tasks(["workers"], related_name="gpu_worker")


@setup_logging.connect
def _leave_logging(**_: object) -> None:
    """Keep Django's logging (`webapp.logs`), so that workers log as all other processes do."""
