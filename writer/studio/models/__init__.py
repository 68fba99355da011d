"""The tables of the studio. Model versions and deployments are defined with the stories, which refer to them.

machines      machines that train and serve, and their GPUs: a GPU has one holder
runs          trainings and stages, from the request to the end, and their events
serving       which versions a model server has loaded, and where
evaluation    the report of a version, and the stories that it is based on
imports       folders with weights that wait to be imported
arena         blind comparisons of whole stories, and their decisions
references    stories by people, for arenas
"""

from writer.studio.models.arena import Arena, ArenaState, ArenaTake, Contestant
from writer.studio.models.evaluation import Evaluation, EvaluationState, Sample
from writer.studio.models.imports import VersionImport
from writer.studio.models.machines import Gpu, Machine
from writer.studio.models.references import Reference
from writer.studio.models.runs import ENDED, Dataset, DatasetKind, Run, RunEvent, RunState, RunWish
from writer.studio.models.serving import Serving, ServingState

__all__ = [
    "ENDED",
    "Arena",
    "ArenaState",
    "ArenaTake",
    "Contestant",
    "Dataset",
    "DatasetKind",
    "Evaluation",
    "EvaluationState",
    "Gpu",
    "Machine",
    "Reference",
    "Run",
    "RunEvent",
    "RunState",
    "RunWish",
    "Sample",
    "Serving",
    "ServingState",
    "VersionImport",
]
