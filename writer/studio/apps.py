from django.apps import AppConfig


class StudioConfig(AppConfig):
    name = "writer.studio"
    label = "studio"
    verbose_name = "The studio"
