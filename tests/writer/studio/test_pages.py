"""Every page of the studio, as an admin sees it, with rows in every state; and the charts of a report."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone

from training.evaluate.served import Written
from training.evaluate.version import Facts, assignments, build_report
from writer.accounts.audit import record
from writer.accounts.models import AuditEvent, User
from writer.editorial.models import Making, PrincipleVersion, Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.operations.freeze import brief_of, take_of
from writer.stories.models import Deployment, DeploymentKind, DeploymentState, ModelVersion
from writer.studio.defaults import defaults_of
from writer.studio.forms import form_of
from writer.studio.models import (
    Arena,
    ArenaState,
    Contestant,
    Dataset,
    DatasetKind,
    Evaluation,
    EvaluationState,
    Gpu,
    Machine,
    Reference,
    Run,
    RunEvent,
    RunState,
    RunWish,
    Serving,
    ServingState,
    VersionImport,
)
from writer.studio.pictures import BOTTOM, STRIP, TOP, lengths, strip
from writer.studio.registry import DECLARED
from writer.studio.urls import urlpatterns
from writer.studio.views import overview
from writer.studio.views.runs import tables_of

pytestmark = pytest.mark.django_db

PLAN = {
    "rows": 1200, "held_out": 130, "tokens": 2_400_000, "longest": 9000, "steps": 450, "memory": 21 * 10**9, "card": "h200",
    "card_memory": 141 * 10**9, "disk": 4 * 10**9, "text": "The plan, in full.", "notes": ["The model holds 2,048 tokens."],
    "gpu_hours": 1.25, "hours_from": "by the speed of run 3",
}  # fmt: skip
UNKNOWN = PLAN | {"gpu_hours": None, "hours_from": "no run of this kind has been made on a processor yet"}
PROBLEM = {"problem": "One step takes 32 examples, but there are only 5. Lower the batch.", "notes": []}


@pytest.fixture
def browser(sign_in: Callable[..., Client], admin: User) -> Client:
    return sign_in(admin)


def look(browser: Client, address: str, *said: str, status: int = 200) -> str:
    """The page as people read it: nothing unrendered, no Python, no style or script that the page's policy would refuse."""
    answer = browser.get(address)
    assert answer.status_code == status, address
    page = answer.content.decode()
    shown = re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
    assert not re.search(r"\bNone\b(?! has learned)|\{\{|\{%|\{#| style=|onclick=|&lt;Q|object at 0x", shown), address
    for one in said:
        assert one in page, (address, one)
    return page


@pytest.fixture
def machine(db: None) -> Machine:
    made = Machine.objects.create(name="gpu-1", seen=timezone.now(), disk_total=10**12, disk_free=10**11)
    for index in range(3):
        Gpu.objects.create(machine=made, index=index, name="NVIDIA H200", memory=141 * 10**9)
    return made


@pytest.fixture
def snapshot(db: None) -> Snapshot:
    return Snapshot.objects.create(
        number=4, kind=SnapshotKind.PREFERENCE, query={}, described="all", state=Making.READY, rows=1330
    )


@pytest.fixture
def make_run(model: ModelVersion, snapshot: Snapshot, admin: User) -> Callable[..., Run]:
    def make(state: str = RunState.DRAFT, recipe: str = "dpo", **fields: Any) -> Run:
        ended = state in (RunState.DONE, RunState.STOPPED, RunState.FAILED)
        given = {"by": admin, "snapshot": snapshot, "finished": timezone.now() if ended else None} | fields
        return Run.objects.create(recipe=recipe, settings=defaults_of(recipe, model), base=model, state=state, **given)

    return make


def test_no_page_is_forgotten() -> None:
    """Those that answer GET stand in this file by name."""
    acts = {
        "run_retrain", "run_act", "version_import", "version_evaluate", "version_promote", "version_retire", "arena_close",
        "version_roll_back", "deployment_give_up", "reference_delete",
    }  # fmt: skip
    seen = {
        "studio", "ledger", "audit", "runs", "run_new", "run", "run_events", "versions", "version", "arena_new", "arena",
        "references", "from_editor", "from_principle", "datasets",
    }  # fmt: skip
    names = {one.name for one in urlpatterns if one.name}
    assert names - acts - seen == set(), "give it a test below"
    assert names <= set(get_resolver().reverse_dict.keys())


@pytest.mark.parametrize("name", ["studio", "ledger", "audit", "runs", "versions", "references", "datasets"])
def test_nothing_was_done_yet(browser: Client, name: str) -> None:
    look(browser, reverse(name))


def test_a_package_that_is_left_out_is_named(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "PROBLEMS", ["The entry point odd cannot be loaded: it is <odd>."])
    look(browser, reverse("studio"), "A package is left out. The entry point odd cannot be loaded: it is &lt;odd&gt;.")


def test_references(browser: Client, model: ModelVersion, admin: User) -> None:
    for number, source in enumerate(("", "The Lamp and Other Stories, 1904")):
        brief = brief_of(None, title=f"The Mill {number}", premise="A miller.", target=250)
        Reference.objects.create(take=take_of(brief, "It rained."), author="A. Miller", source=source)
    look(browser, reverse("references"), "A. Miller", "The Lamp and Other Stories")
    look(browser, reverse("references") + "?page=nonsense")


def test_what_came_of_it(
    browser: Client,
    make_run: Callable[..., Run],
    snapshot: Snapshot,
    candidate: ModelVersion,
    version: PrincipleVersion,
    editor: User,
) -> None:
    """Of a principle's and an editor's judgement; nothing at first."""
    addresses = reverse("from_principle", args=[version.principle.key]), reverse("from_editor", args=[editor.pk])
    for address in addresses:
        look(browser, address)
    make_run(RunState.DONE, version=candidate, plan=PLAN)
    SnapshotRow.objects.create(
        snapshot=snapshot, index=0, sha256="0" * 64,
        origin={
            "pair": 1, "votes": [{"vote": 1, "editor": editor.pk, "value": 2}, {"vote": 2, "editor": 9999, "value": 1}],
            "principles": [[version.principle.key, 1]],
        },
    )  # fmt: skip
    for address in addresses:
        look(browser, address, candidate.name)
    look(browser, reverse("version", args=[candidate.pk]), editor.name, "somebody who has left (1)", "version 1")


def test_an_editor_finds_no_studio(sign_in: Callable[..., Client], editor: User) -> None:
    assert sign_in(editor).get(reverse("studio")).status_code == 404


RUNS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "asked for": (RunState.DRAFT, {}, ("A worker is planning it",)),
    "planned": (RunState.DRAFT, {"plan": PLAN, "steps": 450}, ("1,200 rows", "1.25", "Start")),
    "without hours": (RunState.DRAFT, {"plan": UNKNOWN}, ("not known: no run of this kind",)),
    "cannot be": (RunState.DRAFT, {"plan": PROBLEM}, ("Lower the batch.",)),
    "queued": (RunState.QUEUED, {"plan": PLAN, "steps": 450}, ("Waiting for a GPU",)),
    "running": (RunState.RUNNING, {"plan": PLAN, "steps": 450, "step": 7}, ("step 7 of 450", "Save and stop")),
    "being stopped": (RunState.RUNNING, {"plan": PLAN, "wish": RunWish.STOP}, ("Saving and stopping", "Stop at once")),
    "done": (RunState.DONE, {"plan": PLAN, "step": 450, "steps": 450}, ("Finished",)),
    "stopped": (RunState.STOPPED, {"plan": PLAN, "step": 9}, ("Resume from the last checkpoint",)),
    "forgotten": (RunState.STOPPED, {"plan": PLAN, "forgotten": True}, ("Stopped",)),
    "discarded": (RunState.STOPPED, {}, ("Stopped",)),
    "failed": (RunState.FAILED, {"plan": PLAN, "problem": "Three deaths at step 9."}, ("Three deaths at step 9.",)),
    "never planned": (RunState.FAILED, {"plan": PROBLEM, "problem": PROBLEM["problem"]}, ("Lower the batch.",)),
    "of somebody who left": (RunState.QUEUED, {"plan": PLAN, "by": None}, ("somebody who has left",)),
}


@pytest.mark.parametrize("which", RUNS)
def test_a_run(
    browser: Client, make_run: Callable[..., Run], machine: Machine, candidate: ModelVersion, which: str
) -> None:
    before = make_run(RunState.DONE, plan=PLAN)
    before.settings["learner"]["lora"] = None
    before.save()
    state, fields, said = RUNS[which]
    if state == RunState.RUNNING:
        fields |= {"machine": machine, "lease_until": timezone.now(), "started": timezone.now()}
    run = make_run(state, **fields, **({"version": candidate} if state == RunState.DONE else {}))
    RunEvent.objects.create(run=run, seq=1, kind="metrics", time=timezone.now(), step=1, body={"values": {"loss": 0.7}})
    look(browser, reverse("run", args=[run.pk]), *said, "Changes since run")
    for name in ("runs", "studio", "versions"):
        look(browser, reverse(name))
    look(browser, reverse("run_new", args=["dpo"]) + f"?clone={run.pk}")
    events = browser.get(reverse("run_events", args=[run.pk])).json()
    assert [one["seq"] for one in events["events"]] == [1]
    assert events["run"]["state"] == state


def test_a_run_whose_snapshot_is_being_made(browser: Client, make_run: Callable[..., Run]) -> None:
    waits = Snapshot.objects.create(number=5, kind=SnapshotKind.PREFERENCE, query={}, described="all")
    look(browser, reverse("run", args=[make_run(snapshot=waits).pk]), "Its snapshot is being made.")


def test_a_run_on_a_data_set(browser: Client, make_run: Callable[..., Run]) -> None:
    letters = Dataset.objects.create(name="Letters", kind=DatasetKind.CONVERSATIONS, folder="letters")
    run = make_run(recipe="sft", snapshot=None, dataset=letters, plan=PLAN)
    look(browser, reverse("run", args=[run.pk]), "Letters: 1,200 rows")
    asked = f"dataset:{letters.pk}"
    page = browser.get(reverse("run_new", args=["sft"]), {"data": asked}).content.decode()
    assert f'<option value="{asked}" selected>Letters' in " ".join(page.split())
    look(browser, reverse("run_new", args=["sft"]) + "?data=<script>")


def test_a_run_on_a_mixture(browser: Client, make_run: Callable[..., Run], model: ModelVersion) -> None:
    letters, books = (
        Dataset.objects.create(name=name, kind=DatasetKind.CONVERSATIONS, folder=name) for name in ("Letters", "Books")
    )
    mixed = {"name": "Books", "rows": 400, "weight": 0.5, "read": 200}
    settings = {"sources": {f"dataset:{books.pk}": 0.5}}
    run = make_run(recipe="sft", snapshot=None, dataset=letters, plan=PLAN | {"sources": [mixed]})
    run.settings |= settings
    run.save()
    look(browser, reverse("run", args=[run.pk]), "Letters and other data", "Books: 200 of 400 rows, weight 0.5")
    page = look(browser, reverse("run_new", args=["sft"]) + f"?clone={run.pk}", "Mix with other data")
    assert re.search(rf'name="w.dataset:{books.pk}" value="0.5"', page)
    typed = {f"s.{one.name}": one.shown for one in form_of("sft").fields if one.shown}
    posted = typed | {"base": str(model.pk), "data": f"dataset:{letters.pk}", f"w.dataset:{books.pk}": "much"}
    refused = browser.post(reverse("run_new", args=["sft"]), posted)
    assert refused.status_code in (400, 422)
    page = refused.content.decode()
    assert re.search(r'value="much"[^>]*aria-invalid="true"><p class="error-text">Enter a number.</p>', page)
    done = browser.post(reverse("run_new", args=["sft"]), posted | {f"w.dataset:{books.pk}": "0.25"})
    assert done.status_code == 302
    assert Run.objects.first().settings["sources"] == {f"dataset:{books.pk}": 0.25}  # type: ignore[union-attr]
    assert "Mix with other data" not in browser.get(reverse("run_new", args=["dpo"])).content.decode()


def test_a_run_of_grpo(browser: Client, make_run: Callable[..., Run], settings: Any) -> None:
    settings.SECOND_JUDGE_URL, settings.SECOND_JUDGE_MODEL, settings.SECOND_JUDGE_OUTSIDE = "https://x", "owl", True
    requests = Dataset.objects.create(name="Requests", kind=DatasetKind.CONVERSATIONS, folder="requests")
    taste = ModelVersion.objects.create(name="taste", served_name="taste", tokenizer="-", sha256="7" * 64, writes=False)
    run = make_run(
        recipe="grpo",
        snapshot=None,
        dataset=requests,
        reward_model=taste,
        plan=PLAN | {"judges": ["mole at the burrow"]},
    )
    look(browser, reverse("run", args=[run.pk]), "Rewarded by", "taste", "Judged by", "mole at the burrow")
    for step, reward in ((1, 0.25), (2, 0.5), (3, 0.75)):
        values = {
            "loss": 0.1, "entropy": 2.0, "reward": reward, "reward_quality": reward / 2, "rubric_N3": 6.0, "human_clamped": 0.0,
        }  # fmt: skip
        RunEvent.objects.create(
            run=run, seq=2 * step, kind="metrics", time=timezone.now(), step=step, body={"values": values}
        )
        held_out = {"values": {"held_out_reward": 9.0}}
        RunEvent.objects.create(
            run=run, seq=2 * step + 1, kind="metrics", time=timezone.now(), step=step, body=held_out
        )
    page = look(browser, reverse("run", args=[run.pk]), "The first step and the newest")
    rows = re.findall(r'<th scope="row">([^<]*)</th><td class="right">([^<]*)</td><td class="right">([^<]*)</td>', page)
    assert rows == [
        ("Reward in all", "0.25", "0.75"), ("Reward: quality", "0.125", "0.375"),
        ("N3: Stock language and templates", "6", "6"), ("Share of human stories whose advantage counted as 0", "0", "0"),
        ("Entropy, nats a token", "2", "2"),
    ]  # fmt: skip
    assert '"held_out_rubric_P1": "Held out. P1: Prompt and premise"' in page
    look(
        browser,
        reverse("run_new", args=["grpo"]) + f"?clone={run.pk}",
        f'value="{taste.pk}" selected',
        "only watches: owl at https://x",
    )


@pytest.mark.parametrize("recipe", DECLARED)
@pytest.mark.parametrize("query", ["", "?clone=1", "?clone=nobody", "?clone=99999999"])
def test_a_new_run(browser: Client, model: ModelVersion, recipe: str, query: str) -> None:
    look(browser, reverse("run_new", args=[recipe]) + query, f"New run: {DECLARED[recipe].label}")


@pytest.mark.parametrize(
    ("name", "argument"),
    [("run", 999), ("run_events", 999), ("version", 999), ("arena", 999), ("arena_new", 999), ("run_new", "magic")],
)
def test_what_is_not_there(browser: Client, name: str, argument: object) -> None:
    assert browser.get(reverse(name, args=[argument])).status_code == 404


def measured(*, share: float = 1.0, beside: bool = True, old: bool = False) -> dict[str, Any]:
    """A report of a version that writes this share of the words, beside one that writes them all."""
    asked = assignments(2048, each=3)

    def facts(part: float) -> Facts:
        words = [max(1, round(one.target * part) - number) for number, one in enumerate(asked)]
        return Facts([Written(" ".join(f"w{word}" for word in range(one)), one, True) for one in words])

    report: dict[str, Any] = build_report(asked, 2048, facts(share), facts(1.0) if beside else None).model_dump()
    if old:
        del report["sampling"]
    for row in report["buckets"] if old else ():
        del row["interval"], row["beside_interval"]
    return report


REPORTS: dict[str, tuple[dict[str, Any] | None, tuple[str, ...]]] = {
    "as good": (measured(), ("(temperature 0.8, min-p 0.05)", "<svg", "hollow dots: demo model", "Difference")),
    "worse": (measured(share=0.4), ("<svg", ">worse</div>", "strip worse")),
    "of before": (measured(old=True), ("<svg",)),
    "with nothing beside it": (measured(beside=False), ("<svg", "Full dots")),
}


@pytest.mark.parametrize("which", REPORTS)
def test_a_report(browser: Client, model: ModelVersion, candidate: ModelVersion, which: str) -> None:
    report, said = REPORTS[which]
    against = None if which == "with nothing beside it" else model
    Evaluation.objects.create(
        version=candidate, against=against, state=EvaluationState.READY, report=report, finished=timezone.now()
    )
    page = look(browser, reverse("version", args=[candidate.pk]), *said)
    assert ("hollow dots" in page) == (against is not None)
    assert (page.count(">worse</div>"), page.count("strip worse")) == ((1, 1) if which == "worse" else (0, 0))


@pytest.mark.parametrize(
    ("state", "problem", "said"),
    [
        (EvaluationState.WAITING, "", "0 stories are written"),
        (EvaluationState.WAITING, "The model server answers 500.", "The model server answers 500."),
        (EvaluationState.RUNNING, "", "Being measured"),
        (EvaluationState.FAILED, "The server does not serve it.", "The server does not serve it."),
    ],
)
def test_a_report_on_its_way(browser: Client, candidate: ModelVersion, state: str, problem: str, said: str) -> None:
    Evaluation.objects.create(version=candidate, state=state, problem=problem)
    look(browser, reverse("version", args=[candidate.pk]), said)
    look(browser, reverse("studio"), candidate.name)


def test_versions_in_every_state(
    browser: Client, model: ModelVersion, candidate: ModelVersion, make_run: Callable[..., Run], admin: User
) -> None:
    make_run(RunState.DONE, version=candidate)
    retired = ModelVersion.objects.create(
        name="old", served_name="old", tokenizer="-", sha256="1" * 64, retired=timezone.now(), parent=candidate
    )
    judge = ModelVersion.objects.create(name="judge", served_name="judge", tokenizer="-", writes=False, sha256="2" * 64)
    VersionImport.objects.create(name="brought", folder="brought", by=admin)
    VersionImport.objects.create(name="bad", folder="bad", problem="It holds a pickle.", by=admin)
    for state in ServingState.values:
        Serving.objects.update_or_create(
            version=candidate, defaults={"state": state, "problem": "No room." if state == "failed" else ""}
        )
        look(browser, reverse("versions"))
        look(browser, reverse("version", args=[candidate.pk]), *(["No room."] if state == "failed" else []))
    for version, said in ((model, "In service"), (retired, "Weights deleted on"), (judge, "judge")):
        look(browser, reverse("version", args=[version.pk]), said)


def test_a_version_on_its_way_into_service(
    browser: Client,
    model: ModelVersion,
    candidate: ModelVersion,
    admin: User,
    open_gate: Callable[[ModelVersion], None],
) -> None:
    page = reverse("version", args=[candidate.pk])
    look(browser, page, "The gate is closed", "Overrule the gate")
    open_gate(candidate)
    look(browser, page, "Promote", "speak for it")
    asked = Deployment.objects.create(version=candidate, kind=DeploymentKind.PROMOTE, by=admin, reason="It is better.")
    look(browser, page, "It is being loaded")
    look(browser, reverse("version", args=[model.pk]))
    look(browser, reverse("studio"), f"{candidate.name} is being loaded")
    look(browser, reverse("ledger"), "being loaded")
    asked.state, asked.problem = DeploymentState.FAILED, "It wrote nothing."
    asked.save()
    look(browser, reverse("studio"), "It wrote nothing.")
    look(browser, page, "It wrote nothing.")
    look(browser, reverse("ledger"), "It wrote nothing.")


def test_after_a_promotion(browser: Client, model: ModelVersion, candidate: ModelVersion) -> None:
    now = timezone.now()
    Deployment.objects.filter(version=model).update(state=DeploymentState.ENDED, ended=now)
    Deployment.objects.create(
        version=candidate,
        kind=DeploymentKind.PROMOTE,
        state=DeploymentState.SERVING,
        began=now,
        grounds={"overruled": True},
    )
    look(browser, reverse("studio"), f"Roll back to {model.name}")
    look(browser, reverse("version", args=[candidate.pk]), "In service", "gate overruled")
    look(browser, reverse("version", args=[model.pk]), "Put it in service")


RATING = {"place": 0, "elo": 1031.7, "low": 980.2, "high": 1090.0, "equal_length": None}
COUNT = {"wins": 9, "losses": 2, "ties": 1, "evidence": 14.2, "needed": 20.0, "decision": "open"}
ARENAS: dict[str, tuple[str, dict[str, Any] | None, str]] = {
    "being written": (ArenaState.WRITING, None, "The stories are being written"),
    "open": (ArenaState.OPEN, None, "Editors are reading"),
    "judged once": (ArenaState.OPEN, COUNT | {"ratings": [RATING, RATING | {"place": 1}]}, "1 tie<"),
    "counted without a vote": (ArenaState.OPEN, COUNT | {"wins": 0, "losses": 0, "ties": 0}, "0 ties"),
    "won": (ArenaState.DECIDED, COUNT | {"decision": "better", "ratings": [RATING]}, "The candidate is better"),
    "lost": (ArenaState.DECIDED, COUNT | {"decision": "not better"}, "was not found better"),
    "closed": (ArenaState.CLOSED, None, "Closed before it was decided"),
}


@pytest.mark.parametrize("which", ARENAS)
def test_an_arena(browser: Client, model: ModelVersion, candidate: ModelVersion, which: str) -> None:
    state, result, said = ARENAS[which]
    arena = Arena.objects.create(candidate=candidate, champion=model, words=300, state=state, result=result)
    for place, version in enumerate((candidate, model, None)):
        Contestant.objects.create(arena=arena, version=version, place=place)
    look(browser, reverse("arena", args=[arena.pk]), said)
    for address in (reverse("studio"), reverse("version", args=[candidate.pk])):
        look(browser, address, f"Arena {arena.pk}")


def test_a_new_arena(browser: Client, model: ModelVersion, candidate: ModelVersion) -> None:
    address = reverse("arena_new", args=[candidate.pk])
    look(browser, address, "What this rule does")
    typed = {"prompts": "many", "words": "", "confidence": "0.95", "share": "nan", "look": "yes"}
    answer = browser.post(address, typed)
    assert answer.status_code == 200
    assert b"What this rule does" not in answer.content
    assert browser.post(address, typed | {"prompts": "99999999999"}).status_code == 200


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("", "Which version wrote stories at"),
        ("2001-01-01T00:00", "No version was in service."),
        ("2100-01-01T00:00:00", "was in service."),
        ("2100-01-01T00:00+02:00", "was in service."),
        ("2026-13-45", "That is not a time."),
        ("2026-13-45T10:00", "That is not a time."),
        ("2026-02-30 10:00", "That is not a time."),
        ("99999999", "That is not a time."),
        ("yesterday", "That is not a time."),
        ("0001-01-01T00:00+14:00", "No version was in service."),
        ("9999-12-31T23:59:59-14:00", "was in service."),
        ("\0", "That is not a time."),
    ],
)
def test_the_ledger_of_any_time(browser: Client, model: ModelVersion, at: str, said: str) -> None:
    answer = browser.get(reverse("ledger"), {"at": at, "page": "nonsense"})
    assert answer.status_code == 200
    assert said in answer.content.decode()


def test_the_audit(browser: Client, admin: User) -> None:
    for number in range(101):
        record(admin, "run.start", f"run {number}", settings={"steps": None}, note="", base=None)
    AuditEvent.objects.create(who="the house", act="version.in_service", about="a version of an older site")
    record(None, "arena.decide", "arena 1", decision="better")
    look(browser, reverse("audit"), "arena 1", "Page 1 of 2", "settings: {&quot;steps&quot;: null}")
    acts = {
        "?act=run": 100, "?act=run&page=2": 1, "?act=arena": 1, "?act=nothing": 0, "?who=adam": 100, "?who=the+site": 2, "?who=The+House": 2,
        "?page=nonsense": 100, "?page=-1": 3, "?who=%00": 0, "?act=%00": 0, "?act=run&who=nobody": 0,
    }  # fmt: skip
    for query, number in acts.items():
        answer = browser.get(reverse("audit") + query)
        assert answer.status_code == 200, query
        assert len(answer.context["page"].object_list) == number, query


# Pictures


@pytest.mark.parametrize("name", ["rejected", "dropped"])
def test_the_rejected_rows_of_a_report(name: str) -> None:
    """Older reports call them dropped."""
    report = {"tasks": [{"task": "write", "asked": 3, "kept": 2}], name: {"no_answer": 1}}
    assert [(head, rows) for head, _, rows in tables_of(report)] == [
        ("Task", [("write", (3, 2))]),
        ("Left out, because", [("no answer", (1,))]),
    ]


def test_the_picture_of_lengths() -> None:
    drawn = lengths(measured(share=0.5))
    assert drawn is not None
    assert len(drawn.own) == len(drawn.beside) == len(drawn.x) == 6
    assert TOP <= drawn.one < BOTTOM
    for own, beside in zip(drawn.own, drawn.beside):
        assert own.y == pytest.approx((drawn.one + BOTTOM) / 2, abs=4), "half as many words, half as high"
        assert beside.y == pytest.approx(drawn.one, abs=8)
        assert own.x < beside.x
        assert own.high is not None
        assert own.low is not None
        assert own.high <= own.y <= own.low, "down is more in SVG"
    assert drawn.y[0].text == "0"
    assert drawn.y[0].at == BOTTOM
    assert [tick.at for tick in drawn.y if tick.text == "1"] == [drawn.one]
    assert "0.4" in drawn.described


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 3.9, 60.0])
def test_every_length_is_on_the_picture(ratio: float) -> None:
    row = {"low": 200, "high": 400, "ratio": ratio, "interval": {"value": ratio, "low": ratio / 2, "high": 2 * ratio}}
    drawn = lengths({"buckets": [row, {"low": 400, "high": 600, "ratio": None}]})
    assert drawn is not None
    (dot,) = drawn.own
    assert dot.high is not None
    assert dot.low is not None
    assert TOP <= dot.high <= dot.y <= dot.low <= BOTTOM
    assert TOP <= drawn.one <= BOTTOM
    assert 2 <= len(drawn.y) <= 10
    assert drawn.beside == []


@pytest.mark.parametrize("report", [{}, {"buckets": []}, {"buckets": [{"low": 1, "high": 2, "ratio": None}]}])
def test_nothing_to_draw(report: dict[str, Any]) -> None:
    assert lengths(report) is None


def test_the_strip_of_a_difference() -> None:
    figure = {"better": "lower", "tolerance": 0.1, "change": {"value": 0.2, "low": 0.15, "high": 0.3}}
    drawn = strip(figure)
    assert drawn is not None
    assert drawn.tolerance is not None
    assert drawn.low is not None
    assert drawn.high is not None
    assert drawn.zero < drawn.tolerance < drawn.low < drawn.dot < drawn.high <= STRIP
    other = strip(figure | {"better": "higher"})
    assert other is not None
    assert other.tolerance == pytest.approx(STRIP - drawn.tolerance), "on the other side"
    same = strip({"change": {"value": 0.0, "low": 0.0, "high": 0.0}})
    assert same is not None
    assert same.dot == same.zero
    assert strip({"change": {"value": 1.0, "low": None, "high": None}}) is not None
    assert strip({"change": None}) is None
