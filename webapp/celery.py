"""The Celery application of the workers. Tasks are found in `workers.jobs`."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("longhand")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workers.jobs"])
