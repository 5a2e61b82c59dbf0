"""Messages made ready for a chat template: every shape that callers send, in the one shape that templates take."""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from glimp_core.chat.formats.template import Template
from glimp_core.chat.formats.thinking import KNOWN_PAIRS
from glimp_core.chat.prompt.blocks import block_text
from glimp_core.chat.request.tools import callable_name
from glimp_core.errors import ConfigError, unknown_name
from glimp_core.types import Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

_THOUGHT_PARTS = ("thinking", "reasoning", "redacted_thinking")


def normalised(
    messages: Iterable[Message], template: Template, in_words: bool, instructions: str = ""
) -> list[dict[str, Any]]:
    """Return copies of messages as one template takes them; the caller's stay as they are.

    Contents become text, consecutive messages of one role become one, `instructions` join the system message,
    and calls and their results take the template's shape, or that of plain text: `in_words`. Raises `ConfigError`
    for a role or a content that cannot be rendered.
    """
    plain = [_plain(message) for message in messages]
    _name_results(plain)
    if in_words:
        plain = [_in_words(message) for message in plain]
    ready = _merged(_systems_placed(plain, template, instructions))
    if template.single_calls and not in_words:
        ready = list(_calls_parted(ready))
    for message in ready:
        _shape_calls(message, template)
        _shape_thoughts(message, template)
    return ready


def check_messages(messages: Iterable[Message]) -> None:
    """Raise `ConfigError` for a role or a content that no model takes."""
    for message in messages:
        _plain(message)


def _plain(message: Message) -> dict[str, Any]:
    role = ROLES.get(message["role"])
    if role is None:
        raise unknown_name("role of a message", message["role"], ROLES)
    content, thoughts = _text(message.get("content"), role)
    plain: dict[str, Any] = {"role": role, "content": content}
    if message.get("name") and role != "system":
        plain["name"] = str(message["name"])
    if role == "assistant":
        _take_thoughts(plain, message.get("reasoning_content") or message.get("reasoning") or thoughts)
        if message.get("tool_calls"):
            plain["tool_calls"] = [_call(call, n) for n, call in enumerate(message["tool_calls"])]
    if role == "tool":
        plain["tool_call_id"] = str(message.get("tool_call_id") or "")
        failed = message.get("status") == "error" or message.get("is_error")
        if failed and not content.lower().startswith("error"):
            plain["content"] = f"Error: {content}"
    return plain


def _text(content: Any, role: str) -> tuple[str, str]:
    """Return a content's text and, of an assistant, the thinking among its parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, Mapping) and "type" in content:
        content = [content]
    if isinstance(content, (bytes, bytearray)):
        raise ConfigError(f"the content of a message must be a text, got {content!r:.200}: decode it first")
    if role == "tool" and not (isinstance(content, list) and all(map(_is_part, content))):
        return json.dumps(content, ensure_ascii=False, default=str), ""
    if isinstance(content, (bytes, bytearray)) or not isinstance(content, Sequence):
        raise ConfigError(f"the content of a message must be a text or a list of parts, got {content!r:.200}")
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, Mapping):
            raise ConfigError(f"a part of a message must be a text or an object with a 'type', got {part!r:.200}")
        elif part.get("type") in _THOUGHT_PARTS:
            thoughts.append(str(part.get("thinking") or part.get("reasoning") or ""))
        else:
            texts.append(block_text(part, role))
    return "".join(texts), "".join(thoughts)


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, Mapping) and "type" in part)


def _take_thoughts(message: dict[str, Any], thoughts: Any) -> None:
    """Keep earlier thinking apart from the answer; templates decide what they show of it."""
    content = message["content"]
    for opening, closing in KNOWN_PAIRS:
        if not thoughts and closing in content:
            before, _, content = content.partition(closing)
            thoughts, message["content"] = before.strip().removeprefix(opening).strip("\n"), content.lstrip("\n")
    if thoughts:
        message["reasoning_content"] = str(thoughts)


def _call(call: Any, number: int) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ConfigError(
            "a tool call in a message must be {'id': ..., 'function': {'name': ..., 'arguments': ...}}, "
            f"got {call!r}"
        )
    arguments: Any = next((function[key] for key in ("arguments", "args", "input") if key in function), {})
    if isinstance(arguments, str):
        arguments = _parsed(arguments)
    call_id = str(call.get("id") or f"call_{number}")
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": callable_name(function["name"]), "arguments": arguments},
    }


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments  # a call that was invalid when it was made is shown as it was


def _name_results(messages: list[dict[str, Any]]) -> None:
    """Name each result after the call it answers; one without an id answers the next open call."""
    open_calls: list[tuple[str, str]] = []
    for message in messages:
        open_calls += [(call["id"], call["function"]["name"]) for call in message.get("tool_calls", ())]
        if message["role"] != "tool" or not open_calls:
            continue
        wanted = message["tool_call_id"]
        call = next((call for call in open_calls if call[0] == wanted), None)
        if call is None and not wanted:
            call = open_calls[0]
        if call:
            open_calls.remove(call)
            message["tool_call_id"] = call[0]
            message.setdefault("name", call[1])


def _in_words(message: dict[str, Any]) -> dict[str, Any]:
    """Write calls and results as text, the way `generic` tools are explained."""
    words = dict(message)
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if calls := words.pop("tool_calls", None):
        written = (f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>" for call in calls)
        words["content"] = "\n".join([*filter(None, [message["content"]]), *written])
    return words


def _systems_placed(messages: list[dict[str, Any]], template: Template, instructions: str) -> list[dict[str, Any]]:
    """Put system messages where the template takes them: at the front, later on, or in the user's words."""
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    systems = "\n\n".join(filter(None, [*(message["content"] for message in messages[:first]), instructions]))
    late = "system" if template.takes_late_system else "user"
    rest = [message if message["role"] != "system" else {**message, "role": late} for message in messages[first:]]
    if not systems:
        return rest
    front = {"role": "system" if template.takes_system else "user", "content": systems}
    return [front, *rest]


def _merged(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for message in messages:
        if merged and message["role"] == merged[-1]["role"] != "tool":
            merged[-1] = _both(merged[-1], message)
        else:
            merged.append(message)
    return merged


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    for key in ("content", "reasoning_content"):
        if texts := [message[key] for message in (one, other) if message.get(key)]:
            both[key] = "\n\n".join(texts)
    if calls := [*one.get("tool_calls", ()), *other.get("tool_calls", ())]:
        both["tool_calls"] = calls
    return both


def _calls_parted(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give each of several calls a message of its own, its result right behind it."""
    rest = deque(messages)
    while rest:
        message = rest.popleft()
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            yield message
            continue
        results = [rest.popleft() for _ in takewhile(lambda other: other["role"] == "tool", list(rest))]
        for call in calls:
            yield {**message, "tool_calls": [call]}
            message = {"role": "assistant", "content": ""}
            yield from (result for result in results if result["tool_call_id"] == call["id"])
        known = {call["id"] for call in calls}
        yield from (result for result in results if result["tool_call_id"] not in known)


def words_parted(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give words that stand beside calls a message of their own in front, for templates that take one of the two."""
    parted: list[dict[str, Any]] = []
    for message in messages:
        if message.get("tool_calls") and message["content"]:
            parted.append({"role": "assistant", "content": message["content"]})
            message = {**message, "content": ""}
        parted.append(message)
    return parted


def _shape_calls(message: dict[str, Any], template: Template) -> None:
    shape = _short_id if template.short_ids else str
    if "tool_call_id" in message:
        message["tool_call_id"] = shape(message["tool_call_id"])
    for call in message.get("tool_calls", ()):
        call["id"] = shape(call["id"])
        arguments = call["function"]["arguments"]
        if template.arguments == "text" and not isinstance(arguments, str):
            call["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)


def _shape_thoughts(message: dict[str, Any], template: Template) -> None:
    """Put the thoughts of an earlier reply where this template reads them."""
    field = template.reasoning_field
    if field and (thoughts := message.pop("reasoning_content", "")):
        message |= field.message(message["content"], thoughts)


def _short_id(call_id: str) -> str:
    """Map any id to nine letters and digits, the same one each time."""
    return call_id if len(call_id) == 9 and call_id.isalnum() else hashlib.sha256(call_id.encode()).hexdigest()[:9]
