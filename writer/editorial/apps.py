from django.apps import AppConfig


class EditorialConfig(AppConfig):
    name = "writer.editorial"
    label = "editorial"
    verbose_name = "The editors' room"
