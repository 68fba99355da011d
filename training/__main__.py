"""The recipes and measurements as commands, without the site: `python -m training sft run.toml`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from training.common.errors import EXIT_MENDABLE, AskedToStop, MendableError, full_disk_said_plainly
from training.config.settings import Settings, read_settings
from training.corpus.settings import CorpusSettings
from training.recipes.registry import RECIPES, STAGES
from training.test_model.settings import DemoSettings

KINDS: dict[str, type[Settings]] = {
    "corpus": CorpusSettings,
    **RECIPES,
    **STAGES,
    "demo": DemoSettings,
}
FUNCTIONS = {
    "corpus": ("training.corpus.build:build_corpus", "books and files to clean stories, without doubles"),
    "pretrain": ("training.recipes.pretrain.loop:pretrain", "go on training a model on stories and books"),
    "sft": ("training.recipes.sft.loop:sft", "fine-tune a model on conversations"),
    "reward_model": ("training.recipes.reward_model.loop:reward_model", "learn what editors prefer"),
    "dpo": ("training.recipes.dpo.loop:dpo", "prefer what editors prefer"),
    "grpo": ("training.recipes.grpo.loop:grpo", "write stories, and learn from what is better among them"),
    "violations": (
        "training.constitution.violations:violations",
        "good texts, each with the smallest change that breaks a principle",
    ),
    "pairs": ("training.constitution.pairs:pairs", "preferences from several sources in stated proportions"),
    "backtranslate": (
        "training.instruct.backtranslate:backtranslate",
        "good texts, each with the requests that it answers",
    ),
    "references": (
        "training.instruct.references:references",
        "conversations, some with a similar passage of another text beside the request",
    ),
    "tools": ("training.instruct.tools:tools", "conversations in which a writing room's tools are called"),
    "demo": ("training.test_model.train:train_demo", "train the demo's model from scratch"),
}
"""Where a command's function is. torch takes seconds to import: what is wrong with the settings is said before."""
OF_THE_DEMO = {
    "export": "write the newest checkpoint of the demo's run as a model",
    "evaluate": "measure the demo's model on the stories that its run held out",
    "card": "write the card of the demo's model from its run and its measurements",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure story models.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in ({name: what for name, (_, what) in FUNCTIONS.items()} | OF_THE_DEMO).items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("settings", type=Path, help="a TOML or JSON file")
        if name in OF_THE_DEMO:
            command.add_argument("model", type=Path, help="the model's folder")
        if name in ("evaluate", "card"):
            command.add_argument("report", type=Path, help="the JSON file of the measurements")
        if name == "evaluate":
            command.add_argument("--samples", type=int, default=200)
    plan = "say what a run would take: memory of each GPU, tokens, hours"
    command = commands.add_parser("plan", help=plan, description=plan)
    command.add_argument("settings", type=Path, help="a TOML or JSON file that names its recipe")
    command.add_argument("--gpus", type=int, default=4)
    command.add_argument("--gpu", default="a100-80", help="a100-80, h100 or h200")
    command.add_argument("--texts", type=int, help="in the data, if it is not there to be counted")
    command.add_argument("--words", type=float, help="of a text, likewise")
    command.add_argument("--tokens-per-word", type=float, default=1.35)
    command.add_argument("--mfu", type=float, default=0.4, help="share of the GPUs' arithmetic that a run gets")
    report = "write report.html, a page with the curves of a run, into its folder"
    commands.add_parser("report", help=report, description=report).add_argument("run", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        with full_disk_said_plainly(Path.cwd()):
            run(chosen)
    except MendableError as error:
        say(" ".join(str(error).splitlines()))
        return EXIT_MENDABLE
    except KeyboardInterrupt:
        say("Interrupted; the same command resumes from what is saved.")
        return 130
    except AskedToStop:
        pass  # the run has logged it
    return 0


def say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes, which mostly meet the same
        print(text, file=sys.stderr)


def run(chosen: argparse.Namespace) -> None:
    if chosen.command in FUNCTIONS:
        settings = read_settings(chosen.settings, KINDS[chosen.command])
        module, _, function = FUNCTIONS[chosen.command][0].partition(":")
        if chosen.command == "grpo":
            # Before torch is there: its threads would spin while they wait for each other, on cores that the server writes stories with.
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        if module.startswith("training.recipes."):
            from training.learner.processes import quiet_libraries

            quiet_libraries()
        getattr(importlib.import_module(module), function)(settings)
    elif chosen.command == "plan":
        from training.planning.plan import plan

        flags = {name: value for name, value in vars(chosen).items() if name not in ("command", "settings")}
        print(plan(chosen.settings, **flags))
    elif chosen.command == "report":
        from training.reporting.report import write_report

        print(write_report(chosen.run))
    else:
        measure(chosen, read_settings(chosen.settings, DemoSettings))


def measure(chosen: argparse.Namespace, settings: DemoSettings) -> None:
    if chosen.command == "export":
        from training.test_model.train import export

        export(settings, chosen.model)
    elif chosen.command == "evaluate":
        from training.test_model.evaluate import evaluate

        report = evaluate(settings, chosen.model, samples=chosen.samples)
        chosen.report.parent.mkdir(parents=True, exist_ok=True)
        chosen.report.write_text(report.model_dump_json(indent=2) + "\n")
    else:
        from training.common.records import Report
        from training.test_model.card import write_card

        try:
            report = Report.model_validate_json(chosen.report.read_text())
        except (OSError, ValueError) as error:
            raise MendableError(f"{chosen.report} is not a report of `python -m training evaluate`: {error}.") from None
        write_card(settings, chosen.model, report)


if __name__ == "__main__":
    sys.exit(main())
