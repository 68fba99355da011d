from django.apps import AppConfig


class NarratorConfig(AppConfig):
    name = "workers.narrator"
    label = "narrator"
