"""Function calling in a writing room (Weaver 3.5): conversations in which the right tool is called and its result used in the answer.

    story -> a room                  (`situations.py`: the chapters so far, a target, principles, passages of other stories)
          -> tools and arguments     (chosen by code and run in the room: one call, two, one that fails, or none)
          -> the user's message      (asked of the teacher, which sees the calls that it must lead to)
          -> the answer              (asked, from the message and the tools' results)
          -> checks                  (`tool_checks.py`; the last one runs the calls of the row again)
          -> a row, or a rejected row with the reason

The arguments are correct because they come from the room, and the results because the tools ran; only the words are the teacher's.
Weaver takes calls from existing data and from environments that a model invents; the rooms, the running tools and the checks are
this project's own.
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
from training.datasets.rejected import Rejected
from training.datasets.stage import Stage, run_until_stopped, stage
from training.instruct import tool_questions as questions
from training.instruct.data_settings import ToolsSettings
from training.instruct.room import TOOLS, tool_message
from training.instruct.situations import Situation, situations
from training.instruct.tool_checks import (
    Reason,
    check_honest,
    check_no_tool_named,
    check_numbers,
    check_row,
    check_user,
)
from training.teacher.client import Absent, Teacher


def tools(settings: ToolsSettings) -> Path:
    """Run the stage. Returns the folder of the data set; raises MendableError if no text is long enough."""
    found = all_situations(settings)
    if not found:
        raise MendableError("No text is long enough for a room: it needs two chapters of chapter_words.")
    with stage(settings, settings.run_dir) as at:
        at.log.log(f"{len(found):,} situations in rooms of {len({one.good.id for one in found}):,} stories.")
        return run_until_stopped(lambda: _tools(settings, found, at))


def all_situations(settings: ToolsSettings) -> list[Situation]:
    """The situations of a data set. They follow from the settings and their files, so that its rows can be checked at any time."""
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
    async with Teacher(settings.teacher, at.calls, say=at.log.log) as teacher:
        maker = ConversationMaker(settings, teacher)
        results = await at.each(found, maker.row, teacher)
        cost = teacher.metrics()
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "held_out": [], "rejected": []}
    messages: set[str] = set()
    for situation, one in zip(found, results):
        if not isinstance(one, Rejected) and (user := _plain(one["messages"][0]["content"])) in messages:
            one = Rejected(Reason.COPY, "the user of another row says the same")
        if isinstance(one, Rejected):
            parts["rejected"].append(_facts(situation) | {"reason": one.reason, "why": one.why})
        else:
            messages.add(user)
            parts[situation.id.partition("/")[0]].append(one)
    report = _report(found, parts, cost)
    return at.write(parts, report, _card(report))


class ConversationMaker:
    """Asks the questions about one situation."""

    def __init__(self, settings: ToolsSettings, teacher: Teacher) -> None:
        self.settings, self.teacher = settings, teacher

    async def row(self, situation: Situation) -> dict[str, Any] | Rejected:
        """A row that passed its checks, or Rejected."""
        try:
            row = await (self._with_calls(situation) if situation.calls else self._without_calls(situation))
            check_row(row, situation.room)
        except Absent as absent:
            return Rejected(Reason.NO_ANSWER, str(absent))
        except Rejected as rejected:
            return rejected
        return row

    async def _with_calls(self, situation: Situation) -> dict[str, Any]:
        most, seed = self.settings.max_answer_tokens, self.settings.seed
        question = Question(questions.user_message(situation), questions.UserMessage, most, seed)
        user = (await self.teacher.ask(question)).user.strip()
        check_no_tool_named(user)
        check_user(user, situation.calls)
        reply = await self.teacher.ask(Question(questions.reply(situation, user), questions.Reply, most, seed))
        check_no_tool_named(reply.answer)
        check_honest(situation.calls, reply.done)
        check_numbers(reply.answer, user, situation.calls)
        return row_of(situation, user, reply.answer.strip())

    async def _without_calls(self, situation: Situation) -> dict[str, Any]:
        most, seed = self.settings.max_answer_tokens, self.settings.seed
        exchange = await self.teacher.ask(Question(questions.exchange(situation), questions.Exchange, most, seed))
        check_no_tool_named(exchange.user, exchange.answer)
        return row_of(situation, exchange.user.strip(), exchange.answer.strip())


def row_of(situation: Situation, user: str, answer: str) -> dict[str, Any]:
    """A row as `training.datasets.jsonl.Conversation` and TRL read it, with one call in a message: some chat templates allow no more."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": user}]
    for number, one in enumerate(situation.calls):
        name = hashlib.sha256(f"{situation.id}/{number}".encode()).hexdigest()[
            :9
        ]  # Mistral's templates need nine characters
        call = {"id": name, "type": "function", "function": {"name": one.call.tool, "arguments": one.call.arguments}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": name, "name": one.call.tool, "content": tool_message(one.result)},
        ]
    messages.append({"role": "assistant", "content": answer})
    return {
        **_facts(situation),
        "tools": [TOOLS[name].schema for name in situation.offered],
        "messages": messages,
        "source": "tools",
        "story": situation.good.id,
        "group": situation.good.group,
    }


def _facts(situation: Situation) -> dict[str, Any]:
    return {"id": situation.id, "kind": situation.kind, "calls": [one.call.tool for one in situation.calls]}


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _report(
    found: Sequence[Situation], parts: Mapping[str, Sequence[Mapping[str, Any]]], cost: Mapping[str, float]
) -> dict[str, Any]:
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for row in (*parts["train"], *parts["held_out"]):
        made["kind"][row["kind"]] += 1
        made["first"].update(row["calls"][:1])
    asked = Counter(one.calls[0].call.tool for one in found if one.calls)
    return {
        "situations": len(found),
        "rows": {name: len(parts[name]) for name in ("train", "held_out")},
        "kinds": dict(sorted(made["kind"].items())),
        "tools": [{"tool": name, "asked": asked[name], "made": made["first"][name]} for name in TOOLS],
        "rejected": dict(sorted(Counter(str(row["reason"]) for row in parts["rejected"]).items())),
        "cost": dict(cost),
    }


def _card(report: Mapping[str, Any]) -> str:
    return dataset_card(
        "Tools of a writing room",
        "Each row is a conversation in which the tools of a writing room are called: `tools` are those offered, and `messages` contains the calls and "
        "their results. The calls were chosen by code and run; a teacher model wrote the words of the writer and of the assistant.",
        report,
        Table("Kinds", ("rows", "kind"), [(number, kind) for kind, number in report["kinds"].items()]),
        Table("Tools", ("tool", "asked", "made"), [(one["tool"], one["asked"], one["made"]) for one in report["tools"]]),
        Table("Rejected", ("rows", "reason"), sorted(((number, reason) for reason, number in report["rejected"].items()), reverse=True)),
    )  # fmt: skip
