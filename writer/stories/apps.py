from django.apps import AppConfig


class StoriesConfig(AppConfig):
    name = "writer.stories"
    label = "stories"
    verbose_name = "Stories"
