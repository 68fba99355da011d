"""Function calling in a writing room (Weaver 3.5): conversations in which the right tool is called, its answer read, and the writer answered.

    story -> a room of it            (`situations.py`: chapters written so far, target, principles, passages of other texts)
          -> tools and arguments     chosen by code and run in the room: one call, two, one that is refused, or none
          -> the writer's words      (asked of the teacher, who sees what they have to lead to)
          -> the answer              (asked, from the words and the tools' answers)
          -> checks                  (`tool_checks.py`; the last runs the row's calls again)
          -> a row, or a dropped one with the reason

The arguments are right because they come from the room, the results because the tools ran; only words are the teacher's. Weaver takes calls
from others' data and from environments that a model makes up; the rooms, the running tools, and the checks are ours.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.question import Question
from training.constitution.principles import read_principles
from training.constitution.texts import is_held_out, read_good
from training.datasets.card import Table, dataset_card
from training.datasets.rejected import Dropped
from training.datasets.stage import Stage, run_until_stopped, stage
from training.instruct import tool_questions as questions
from training.instruct.data_settings import ToolsSettings
from training.instruct.room import TOOLS, said
from training.instruct.situations import Situation, situations
from training.instruct.tool_checks import Drop, all_said, check_row, honest, no_tool_named, nothing_invented
from training.teacher.client import Absent, Teacher


def tools(settings: ToolsSettings) -> Path:
    """Raises MendableError where nothing can be asked; the folder of the data set otherwise."""
    found = all_situations(settings)
    if not found:
        raise MendableError("No text is long enough for a room: it needs two chapters of chapter_words.")
    with stage(settings, settings.run_dir) as at:
        at.log.log(f"{len(found):,} situations in rooms of {len({one.good.id for one in found}):,} stories.")
        return run_until_stopped(lambda: _tools(settings, found, at))


def all_situations(settings: ToolsSettings) -> list[Situation]:
    """Those of the rows, by their ids: a function of the settings and their files, so that rows can be checked at any time."""
    principles = read_principles(settings.constitution)
    goods = read_good(settings.data)
    held_out = [one for one in goods if is_held_out(one, settings.held_out_share)]
    train = [one for one in goods if not is_held_out(one, settings.held_out_share)]
    of_held_out = round(settings.samples * len(held_out) / max(1, len(goods)))
    return [
        *situations(settings, train, principles, "train", settings.samples - of_held_out),
        *situations(settings, held_out, principles, "held_out", of_held_out),
    ]


async def _tools(settings: ToolsSettings, found: Sequence[Situation], at: Stage) -> Path:
    async with Teacher(settings.teacher, at.calls) as teacher:
        asking = Asking(settings, teacher)
        made = await at.each(found, asking.row, teacher)
        cost = teacher.metrics()
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "held_out": [], "dropped": []}
    words: set[str] = set()
    for situation, one in zip(found, made):
        if not isinstance(one, Dropped) and (user := _same(one["messages"][0]["content"])) in words:
            one = Dropped(Drop.COPY, "another row's user says the same")
        if isinstance(one, Dropped):
            parts["dropped"].append(_told(situation) | {"reason": one.reason, "why": one.why})
        else:
            words.add(user)
            parts[situation.id.partition("/")[0]].append(one)
    report = _report(found, parts, cost)
    return at.write(parts, report, _card(report))


class Asking:
    """The questions of one situation; they end with a row that passed its checks, or with Dropped."""

    def __init__(self, settings: ToolsSettings, teacher: Teacher) -> None:
        self.settings, self.teacher = settings, teacher

    async def row(self, situation: Situation) -> dict[str, Any] | Dropped:
        try:
            row = await (self._called(situation) if situation.done else self._talked(situation))
            check_row(row, situation.room)
        except Absent as absent:
            return Dropped(Drop.NO_ANSWER, str(absent))
        except Dropped as dropped:
            return dropped
        return row

    async def _called(self, situation: Situation) -> dict[str, Any]:
        settings = self.settings
        asked = Question(questions.words(situation), questions.Words, settings.most_answer, settings.seed)
        user = (await self.teacher.ask(asked)).user.strip()
        no_tool_named(user)
        all_said(user, situation.done)
        wanted = Question(questions.reply(situation, user), questions.Reply, settings.most_answer, settings.seed)
        reply = await self.teacher.ask(wanted)
        no_tool_named(reply.answer)
        honest(situation.done, reply.done)
        nothing_invented(reply.answer, user, situation.done)
        return row_of(situation, user, reply.answer.strip())

    async def _talked(self, situation: Situation) -> dict[str, Any]:
        asked = Question(questions.talk(situation), questions.Talk, self.settings.most_answer, self.settings.seed)
        talk = await self.teacher.ask(asked)
        no_tool_named(talk.user, talk.answer)
        return row_of(situation, talk.user.strip(), talk.answer.strip())


def row_of(situation: Situation, user: str, answer: str) -> dict[str, Any]:
    """As `training.datasets.jsonl.Conversation` and TRL read it. One call stands in each message: not every chat template has room for more."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": user}]
    for number, one in enumerate(situation.done):
        name = hashlib.sha256(f"{situation.id}/{number}".encode()).hexdigest()[
            :9
        ]  # Mistral's templates want nine signs
        call = {"id": name, "type": "function", "function": {"name": one.call.tool, "arguments": one.call.arguments}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": name, "name": one.call.tool, "content": said(one.answer)},
        ]
    messages.append({"role": "assistant", "content": answer})
    return {
        **_told(situation),
        "tools": [TOOLS[name].schema for name in situation.shown],
        "messages": messages,
        "source": "tools",
        "story": situation.good.id,
        "group": situation.good.group,
    }


def _told(situation: Situation) -> dict[str, Any]:
    return {"id": situation.id, "kind": situation.kind, "calls": [one.call.tool for one in situation.done]}


def _same(text: str) -> str:
    return " ".join(text.lower().split())


def _report(
    found: Sequence[Situation], parts: Mapping[str, Sequence[Mapping[str, Any]]], cost: Mapping[str, float]
) -> dict[str, Any]:
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for row in (*parts["train"], *parts["held_out"]):
        made["kind"][row["kind"]] += 1
        made["first"].update(row["calls"][:1])
    asked = Counter(one.done[0].call.tool for one in found if one.done)
    return {
        "situations": len(found),
        "rows": {name: len(parts[name]) for name in ("train", "held_out")},
        "kinds": dict(sorted(made["kind"].items())),
        "tools": [{"tool": name, "asked": asked[name], "made": made["first"][name]} for name in TOOLS],
        "dropped": dict(sorted(Counter(str(row["reason"]) for row in parts["dropped"]).items())),
        "cost": dict(cost),
    }


def _card(found: Mapping[str, Any]) -> str:
    return dataset_card(
        "Tools of a writing room",
        "Each row is a conversation in which a writing room's tools are called (`tools` are those that it shows, `messages` has the calls and their "
        "answers). Calls were chosen by code and run; a teacher model wrote what the writer and the assistant say.",
        found,
        Table("Kinds", ("rows", "kind"), [(number, kind) for kind, number in found["kinds"].items()]),
        Table("Tools", ("tool", "asked", "made"), [(one["tool"], one["asked"], one["made"]) for one in found["tools"]]),
        Table("Dropped", ("rows", "reason"), sorted(((number, reason) for reason, number in found["dropped"].items()), reverse=True)),
    )  # fmt: skip
