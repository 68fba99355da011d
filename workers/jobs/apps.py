from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "workers.jobs"
    label = "jobs"
