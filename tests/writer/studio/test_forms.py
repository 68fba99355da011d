"""A form from any recipe's settings: only bounded fields, and only input that the recipe accepts is used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils.html import escape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.toy_task import TOY
from training.common.tasks import TASKS
from training.config.fields import typed_of
from workers.jobs.runs.command import command, environment
from writer.refusals import Refused
from writer.studio.forms import form_of, read
from writer.studio.registry import DECLARED, checked, is_stage, settings_of

RECIPE = pytest.mark.parametrize("recipe", sorted(DECLARED))


def as_typed(recipe: str) -> dict[str, str]:
    return {one.name: one.shown for one in form_of(recipe).fields if one.shown}


@RECIPE
def test_the_untouched_form_says_the_recipes_defaults(recipe: str) -> None:
    form, values = read(recipe, as_typed(recipe))
    assert form.errors == {}
    assert values == settings_of(checked(recipe, {}))


@RECIPE
def test_no_field_is_free_and_none_is_a_path(recipe: str) -> None:
    for one in form_of(recipe).fields:
        assert one.kind in ("yes", "part", "choice", "choices", "numbers") or (
            one.low is not None and one.high is not None
        ), one
        assert not any(word in one.name for word in ("dir", "path", "cache", "model", "data"))
        assert one.label


@RECIPE
def test_what_a_run_has_comes_back_into_the_form(recipe: str) -> None:
    of_training = {"learner.lora": "yes", "learner.lora.rank": "8", "epochs": "2.5", "learner.learning_rate": "5e-7"}
    of_tasks = {"tasks": "write, polish", "teacher.most_money": "2.5"}
    changed = of_tasks if recipe == "backtranslate" else {} if is_stage(recipe) else of_training
    typed = as_typed(recipe) | changed
    _, values = read(recipe, typed)
    assert values is not None
    again = {name: text for name, text in form_of(recipe, values).typed.items() if text}
    assert read(recipe, again)[1] == values


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        ("epochs", "", "is required"),
        ("epochs", "0", "more than 0"),
        ("epochs", "many", "Enter a number."),
        ("epochs", "nan", "Enter a number."),
        ("epochs", "1e999", "Enter a number."),
        ("beta", "0,5", "Enter a number."),
        ("batch", "2.5", "whole number"),
        ("batch", "1000000", "at most 100000"),
        ("overlong", "sing", "from the list"),
        ("learner.zero_stage", "7", "from the list"),
        ("learner.offload", "all", "needs zero_stage"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(name: str, typed: str, says: str) -> None:
    form, values = read("dpo", as_typed("dpo") | {name: typed})
    assert values is None
    assert says in (form.errors.get(name) or form.errors.get("") or form.errors.get("learner", "")), form.errors


@pytest.mark.parametrize(("typed", "says"), [("", "Choose at least one"), ("write, sing", "from the list")])
def test_several_choices_must_all_be_from_the_list(typed: str, says: str) -> None:
    form, values = read("backtranslate", as_typed("backtranslate") | {"tasks": typed})
    assert values is None
    assert says in form.errors["tasks"]


def test_a_new_writing_task_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = as_typed("backtranslate") | {"tasks": TOY.key}
    assert "from the list" in read("backtranslate", typed)[0].errors["tasks"]
    monkeypatch.setitem(TASKS, TOY.key, TOY)
    tasks = next(one for one in form_of("backtranslate").fields if one.name == "tasks")
    assert tasks.choices[TOY.key] == TOY.label
    assert tasks.shown.endswith(f", {TOY.key}")
    form, values = read("backtranslate", typed)
    assert form.errors == {}
    assert values is not None
    assert values["tasks"] == [TOY.key]


@pytest.mark.parametrize(
    ("recipe", "before", "now"),
    [
        ("backtranslate", {"most_texts": 7, "words": 300}, {"max_texts": "7", "passage_words": "300"}),
        ("violations", {"shown": 9, "most_changed": 0.5}, {"principles_per_question": "9", "max_changed_share": "0.5"}),
        ("references", {"unhelpful": 0.3}, {"irrelevant_share": "0.3"}),
        ("tools", {"two": 0.1, "refused": 0.2}, {"two_calls_share": "0.1", "error_share": "0.2"}),
        ("dpo", {"mix": {"repeats": 3}}, {"mix.max_repeats": "3"}),
    ],
)
def test_the_settings_of_an_older_run_come_into_the_form(
    recipe: str, before: dict[str, Any], now: dict[str, str]
) -> None:
    typed = form_of(recipe, before).typed
    assert {name: typed[name] for name in now} == now


def test_each_reward_has_a_field_and_an_empty_one_is_not_used() -> None:
    typed = as_typed("grpo") | {"rewards.weights.quality": "", "rewards.weights.form": "0.5"}
    _, values = read("grpo", typed)
    assert values is not None
    assert values["rewards"]["weights"] == {"length": -0.8, "repetition": -1.5, "blank": -1.0, "form": 0.5}
    again = form_of("grpo", values).typed
    assert (again["rewards.weights.quality"], again["rewards.weights.form"]) == ("", "0.5")
    none, values = read("grpo", {name: text for name, text in typed.items() if ".weights." not in name})
    assert values is None
    assert "at least 1 item" in none.errors[""]


def test_settings_of_an_older_run_come_back_under_their_new_names() -> None:
    _, values = read("grpo", as_typed("grpo"))
    assert values is not None
    rewards, rollouts = values["rewards"], values["rollouts"]
    rewards["floor"], rewards["longest"] = rewards.pop("min_std") + 0.1, rewards.pop("range")["longest"] - 1
    for old, new in (
        ("behind", "max_staleness"),
        ("agreement", "logprob_tolerance"),
        ("truncate", "importance_ratio_cap"),
    ):
        rollouts[old] = rollouts.pop(new) + 1
    typed = form_of("grpo", values).typed
    assert {name: typed[name] for name in ("rewards.min_std", "rewards.range.longest")} == {
        "rewards.min_std": "0.15000000000000002", "rewards.range.longest": "11999",
    }  # fmt: skip
    assert (typed["rollouts.max_staleness"], typed["rollouts.logprob_tolerance"]) == ("1", "1.02")
    assert typed["rollouts.importance_ratio_cap"] == "3"


def test_what_a_judge_is_stays_with_the_site_and_how_it_is_asked_is_on_the_form() -> None:
    names = {one.name for one in form_of("grpo").fields}
    assert {"rewards.judge.at_once", "rewards.judge.most_money", "rollouts.max_staleness"} <= names
    assert "rewards.judge" not in names, "nobody turns it off"
    assert not {name for name in names if name.startswith(("guards.judge", "rewards.ranges"))}
    assert not {
        name for name in names if name.rpartition(".")[2] in ("url", "key_variable", "inside", "sync", "constitution")
    }


def test_fields_stand_in_groups_by_what_they_are_about() -> None:
    groups = {name: [one.name for one, _, _ in rows] for name, rows, _ in form_of("grpo").groups}
    assert list(groups)[1].startswith("Rewards of a story")
    assert groups["Human stories"][0] == "human"
    assert groups["How rewards are combined into advantages"] == [
        "rewards.how",
        "rewards.clip",
        "rewards.epsilon",
        "rewards.min_std",
        "rewards.range.longest",
    ]
    assert sum(map(len, groups.values())) == len(form_of("grpo").fields)


def test_thousands_may_have_their_comma() -> None:
    _, values = read("dpo", as_typed("dpo") | {"context": "16,384"})
    assert values is not None
    assert values["context"] == 16_384


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Refused, match="no setting"):
        read("dpo", as_typed("dpo") | {"run_dir": "/etc"})
    with pytest.raises(Refused, match="no recipe"):
        form_of("rm -rf")


NAMES = sorted({one.name for recipe in DECLARED for one in form_of(recipe).fields})
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "; rm -rf /",
            "$(id)",
            "--help",
            "-c",
            "../../etc/passwd",
            "`id`",
            "a\nb",
            "\0",
            "𝟙𝟚",
            "1_0",
            "١",
            " 7 ",
            "-0",
            "1e-400",
        ]
    ),
    st.floats().map(str),
    st.integers().map(str),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(recipe=st.sampled_from(sorted(DECLARED)), changes=st.dictionaries(st.sampled_from(NAMES), HOSTILE, max_size=5))
def test_nothing_typed_reaches_a_command_line(recipe: str, changes: dict[str, str]) -> None:
    """Whatever is typed: it is refused, or it is a setting within the recipe's own bounds; and the command line never changes."""
    known = {one.name for one in form_of(recipe).fields}
    try:
        _, values = read(recipe, as_typed(recipe) | {name: text for name, text in changes.items() if name in known})
    except Refused:
        return
    if values is None:
        return
    assert settings_of(checked(recipe, values)) == values
    for text in strings(values):
        assert text.isidentifier()  # a choice of a list, or of several
    json.dumps(values, allow_nan=False)
    path = Path("/runs/7/run.json")
    assert command(recipe, path, 1) == [sys.executable, "-m", "training", recipe, "/runs/7/run.json"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "4"]
    assert command(recipe, path, 4) == [*launcher, "-m", "training", recipe, "/runs/7/run.json"]


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    return [value] if isinstance(value, str) else []


def test_a_command_is_for_a_recipe_and_a_whole_path() -> None:
    with pytest.raises(ValueError, match="no recipe"):
        command("dpo; id", Path("/a"), 1)
    with pytest.raises(ValueError, match="must be absolute"):
        command("dpo", Path("a"), 1)


def test_no_secret_is_in_the_environment_of_a_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SECRET_KEY", "DATABASE_URL", "MODEL_SERVER_KEY", "REDIS_URL", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "a secret")
    found = environment(tmp_path, [2, 3])
    assert "a secret" not in found.values()
    assert found["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert found["LONGHAND_FOLDER"] == str(tmp_path)


@RECIPE
def test_a_help_is_sentences_with_one_full_stop_each(recipe: str) -> None:
    for row in form_of(recipe).rows:
        one, typed, error = row
        page = render_to_string("studio/_setting.html", {"one": one, "typed": typed, "error": error})
        shown = page.partition('<p class="help">')[2].partition("</p>")[0]
        assert shown == escape(one.help)
        assert not shown or (shown.endswith((".", "?")) and not shown.endswith("..") and not shown[0].islower()), shown


def test_an_error_is_a_sentence_with_its_words_as_they_are() -> None:
    form, values = read("dpo", as_typed("dpo") | {"learner.offload": "all", "learner.zero_stage": "2"})
    assert values is None
    assert list(form.errors.values()) == ["Offload 'all' needs zero_stage 3."]


def test_numbers_are_shown_as_one_would_type_them() -> None:
    assert [typed_of(value) for value in (5e-7, 0.1, 16_384, None, True, False, (0.5, 1.0))] == [
        "5e-07", "0.1", "16384", "", "yes", "", "0.5, 1",
    ]  # fmt: skip
