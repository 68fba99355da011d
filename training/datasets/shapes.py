"""Lines of data sets in the forms of other libraries, brought into that of `training.datasets.jsonl`.

TRL's prompt and completion, as messages or as plain strings; ShareGPT's `conversations`; Alpaca's `instruction`, `input`, `output`; preferences with
the prompt repeated in both answers or only there. What cannot be read, and would be dropped silently, is refused by its name: each function
raises ValueError.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
}
_NOT_READ = ("image", "images", "video", "videos", "audio", "audios", "chat_template_kwargs", "history", "weight")
_LEARNED = ("train", "training", "loss")
"""Names of `weight` in other libraries."""
Line = dict[str, Any]


def dialogue(line: Any) -> Any:
    """Return a conversation as `messages`. Answers in a `prompt` have weight 0: what is learned is the completion."""
    if not isinstance(line, dict):
        return line
    kept = dict(line)
    system = kept.pop("system", None)
    if "messages" in kept:
        messages = kept.pop("messages")
    elif "conversations" in kept:
        messages = kept.pop("conversations")
    elif "instruction" in kept:
        asked = [kept.pop("instruction"), kept.pop("input", "")]
        answer = _said("assistant", kept.pop("output")) if "output" in kept else []
        messages = [*_said("user", "\n\n".join(part for part in asked if part)), *answer]
    elif isinstance(kept.get("prompt"), (str, list)):
        prompt = kept.pop("prompt")
        completion = kept.pop("completion", [])
        if type(prompt) is not type(completion) and completion != []:
            kind = "a text" if isinstance(prompt, str) else "a list of messages"
            raise ValueError(f"prompt is {kind}, so completion must be one too")
        prompt, completion = _said("user", prompt), _said("assistant", completion)
        completion = completion[_repeated(prompt, completion) :]
        messages = [*(map(_unlearned, prompt) if completion else prompt), *completion]
    else:
        return line
    _check(kept)
    if isinstance(messages, Sequence) and not isinstance(messages, str):
        messages = [_turn(one) for one in (*(_said("system", system) if system else []), *messages)]
    return kept | {"messages": messages}


def preference(line: Any) -> Any:
    """Return a preference with its prompt once."""
    if not isinstance(line, dict) or not {"chosen", "rejected"} <= line.keys():
        return line
    kept = dict(line)
    system = kept.pop("system", None)
    prompt = kept.pop("prompt", kept.pop("conversations", None))
    chosen, rejected = kept.pop("chosen"), kept.pop("rejected")
    _check(kept)
    if prompt is None and (isinstance(chosen, str) or isinstance(rejected, str)):
        return line
    if isinstance(prompt, str) and all(isinstance(one, str) and one.startswith(prompt) for one in (chosen, rejected)):
        chosen, rejected = (one.removeprefix(prompt).lstrip() for one in (chosen, rejected))
    if any(not isinstance(one, (str, list, tuple, dict)) for one in (prompt or [], chosen, rejected)):
        return line
    asked = [*(_said("system", system) if system else []), *_said("user", prompt or [])]
    asked, chosen, rejected = (
        [_turn(one) for one in said] for said in (asked, _said("assistant", chosen), _said("assistant", rejected))
    )
    if prompt is None:
        same = next(
            (place for place, (one, other) in enumerate(zip(chosen[:-1], rejected[:-1])) if one != other),
            max(0, min(len(chosen), len(rejected)) - 1),
        )
        if not same:
            raise ValueError("it has no prompt, and chosen and rejected do not begin with the same messages")
        asked, chosen, rejected = [*asked, *chosen[:same]], chosen[same:], rejected[same:]
    repeated = [_repeated(asked, side) for side in (chosen, rejected)]
    if repeated[0] != repeated[1]:
        raise ValueError("only one of chosen and rejected repeats the prompt: take it out there")
    return kept | {"prompt": asked, "chosen": chosen[repeated[0] :], "rejected": rejected[repeated[1] :]}


def message(fields: Line, known: Collection[str], thinking: Sequence[str]) -> Line:
    """Return a message with its fields by our names. Fields that are empty are left out; others that are not known are refused."""
    found = {name: value for name, value in fields.items() if name in known or value not in (None, "", [], {})}
    thoughts = {found.pop(name) for name in thinking if isinstance(found.get(name), str)} - {""}
    if len(thoughts) > 1:
        raise ValueError(
            f"{' and '.join(name for name in thinking if name in fields)} say different things: keep one of them"
        )
    if thoughts:
        found[thinking[0]] = thoughts.pop()
    for name in _LEARNED:
        if isinstance(found.get(name), (bool, int)):
            found.setdefault("weight", int(found.pop(name)))
    found["role"] = _ROLES.get(str(found.get("role")), found.get("role"))
    if isinstance(found.get("content"), list):
        found["content"] = "".join(_part(one) for one in found["content"])
    if found["role"] != "tool":
        found.pop("name", None)
        found.pop("tool_call_id", None)
    if not found.get("tool_calls"):
        found.pop("tool_calls", None)
    elif found.get("content") is None:
        found["content"] = ""
    if unknown := sorted(found.keys() - set(known)):
        raise ValueError(
            f"a message has the field {', '.join(unknown)}, which is not read: take it out, or use {', '.join(known)}"
        )
    return found


def _turn(one: Any) -> Any:
    """Return a message of ShareGPT's form as one with role and content."""
    if not isinstance(one, dict) or "from" not in one or "role" in one:
        return one
    rest = {name: value for name, value in one.items() if name not in ("from", "value")}
    return rest | {"role": _ROLES.get(one["from"], one["from"]), "content": one.get("value")}


def _said(role: str, value: Any) -> list[Any]:
    """Return messages as they are, and a string as the only message of `role`."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, dict):
        return [value]
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError("prompt, completion, chosen and rejected are texts or lists of messages")


def _unlearned(one: Any) -> Any:
    turn = _turn(one)
    return {"weight": 0} | turn if isinstance(turn, dict) and turn.get("role") == "assistant" else turn


def _repeated(prompt: list[Any], side: list[Any]) -> int:
    """Return how many messages at the start of an answer are the last ones of its prompt. An answer alone repeats nothing."""
    most = min(len(prompt), len(side) - 1)
    return next((size for size in range(most, 0, -1) if prompt[-size:] == side[:size]), 0)


def _part(part: Any) -> str:
    if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type", "unknown") if isinstance(part, dict) else "unknown"
    raise ValueError(f"the content has a part of type {kind}, and only text is learned")


def _check(line: Line) -> None:
    if found := [name for name in _NOT_READ if line.get(name) not in (None, "", [], {})]:
        raise ValueError(f"the line has {', '.join(found)}, which is not read: take it out")
