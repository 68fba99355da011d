from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "writer.accounts"
    label = "accounts"
