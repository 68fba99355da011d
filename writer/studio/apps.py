import structlog
from django.apps import AppConfig
from django.core import checks

from training.config.declarations import PROBLEMS

log = structlog.get_logger()


class StudioConfig(AppConfig):
    name = "writer.studio"
    label = "studio"
    verbose_name = "The studio"

    def ready(self) -> None:
        for problem in PROBLEMS:  # complete, since the models import the registries
            log.error("package_left_out", problem=problem)
        checks.register(left_out)


def left_out(**_: object) -> list[checks.CheckMessage]:
    """A warning for each declaration of another package that was left out."""
    hint = "The site works without it. Correct or remove the package, and restart."
    return [checks.Warning(problem, hint=hint, id="studio.W001") for problem in PROBLEMS]
