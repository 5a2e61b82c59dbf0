"""Messages prepared for a chat template: all forms that callers send become the one form that templates support.

What a template does not show is told in words: tools, and the JSON that is to be written.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from glimp_core.chat.formats.template import Template
from glimp_core.chat.formats.thinking import KNOWN_PAIRS
from glimp_core.chat.prompt.blocks import Content, read_content
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.request.tools import shown_names
from glimp_core.errors import ConfigError, shown, unknown_name
from glimp_core.types import Message, Request

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def normalised(
    messages: Iterable[Message],
    template: Template,
    in_words: bool,
    instructions: str = "",
    names: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return copies of messages as one template takes them; the caller's stay as they are.

    Contents become text, consecutive messages of one role become one, `instructions` join the system message,
    and calls and their results take the template's shape, or that of plain text: `in_words`. `names` says how the
    tools of the request are shown. Raises `ConfigError` for a role or a content that cannot be rendered.
    """
    plain, _ = read_messages(messages)
    _rename(plain, names or {})
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


def read_request(request: Request) -> Request:
    """Return a request whose messages have texts for contents, and which says what of them was left out.

    Raises `ConfigError` for a role or a content that no model takes.
    """
    plain, left_out = read_messages(request.messages)
    return replace(request, messages=tuple(plain), left_out=left_out)


def read_messages(messages: Iterable[Message]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return messages whose contents are text, and what of them is not passed on to a model.

    Raises `ConfigError` for a role or a content that no model takes.
    """
    plain: list[dict[str, Any]] = []
    left_out: list[str] = []
    for message in messages:
        read = _read(message)
        left_out += read.left_out
        plain += [_result(result, Content("tool", [result["content"]])) for result in read.results]
        if not read.results or read.texts or read.thoughts or read.calls:
            plain.append(_plain(message, read))
    return plain, tuple(dict.fromkeys(left_out))


def _read(message: Message) -> Content:
    role = ROLES.get(message["role"])
    if role is None:
        raise unknown_name("role of a message", message["role"], ROLES)
    read = read_content(message.get("content"), role)
    if role == "assistant":
        _add_fields(read, message)
    return read


def _add_fields(read: Content, message: Message) -> None:
    """Add what assistants say outside of their content: refusals, transcripts, and calls."""
    audio = message.get("audio")
    said = message.get("refusal") or (audio.get("transcript") if isinstance(audio, Mapping) else None)
    if said and not read.text:
        read.texts.append(_field("refusal", said))
    elif audio:
        read.left_out.append("audio")
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence) or isinstance(calls, (str, bytes)):
        raise ConfigError(f"tool_calls of a message must be a list of calls, got {shown(calls)}")
    told = [_call(call, n) for n, call in enumerate(calls)]
    if not told and message.get("function_call"):
        told = [_call({"function": message["function_call"]}, 0)]
    known = {call["id"] for call in told} | {call["function"]["name"] for call in told}
    written = [call for call in read.calls if (call["id"] or call["function"]["name"]) not in known]
    read.calls = [*told, *(_call(call, len(told) + n) for n, call in enumerate(written))]


def _plain(message: Message, read: Content) -> dict[str, Any]:
    if read.role == "tool":
        return _result(message, read)
    plain: dict[str, Any] = {"role": read.role, "content": read.text}
    if message.get("name") and read.role != "system":
        plain["name"] = _field("name", message["name"])
    if read.role == "assistant":
        thoughts = message.get("reasoning_content") or message.get("reasoning") or "".join(read.thoughts)
        _take_thoughts(plain, _field("reasoning_content", thoughts))
        if read.calls:
            plain["tool_calls"] = read.calls
    return plain


def _result(message: Message, read: Content) -> dict[str, Any]:
    failed = message.get("status") == "error" or message.get("is_error")
    marked = f"Error: {read.text}" if failed and not read.text.lower().startswith("error") else read.text
    result = {"role": "tool", "content": marked, "tool_call_id": str(message.get("tool_call_id") or "")}
    return {**result, "name": _field("name", message["name"])} if message.get("name") else result


def _field(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name!r} of a message must be a text, got {shown(value)}")
    return value


def _take_thoughts(message: dict[str, Any], thoughts: str) -> None:
    """Keep earlier thinking apart from the answer; templates decide what they show of it."""
    content = message["content"]
    for opening, closing in KNOWN_PAIRS:
        if not thoughts and closing in content:
            before, _, content = content.partition(closing)
            thoughts, message["content"] = before.strip().removeprefix(opening).strip("\n"), content.lstrip("\n")
    if thoughts:
        message["reasoning_content"] = thoughts


def _call(call: Any, number: int) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ConfigError(
            "a tool call in a message must be {'id': ..., 'function': {'name': ..., 'arguments': ...}}, "
            f"got {shown(call)}"
        )
    arguments: Any = next((function[key] for key in ("arguments", "args", "input") if key in function), {})
    arguments = _parsed(arguments) if isinstance(arguments, str) else _copied(function["name"], arguments)
    call_id = str(call.get("id") or f"call_{number}")
    return {"id": call_id, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _copied(name: str, arguments: Any) -> Any:
    """Return arguments as a template can write them. Raises `ConfigError` for what is no JSON."""
    try:
        return json.loads(json.dumps({} if arguments is None else arguments, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"the arguments of a call of {name!r:.100} in a message are no JSON ({error}): {shown(arguments)}"
        ) from None


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments  # a call that was invalid when it was made is shown as it was


def _rename(messages: list[dict[str, Any]], names: Mapping[str, str]) -> None:
    """Call tools as the model is shown them, and those that are offered no more in a way that mixes up none."""
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    results = [message for message in messages if message["role"] == "tool" and "name" in message]
    named = [*calls, *results]
    renamed = shown_names((part["name"] for part in named), names)
    for part in named:
        part["name"] = renamed[part["name"]]


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


def instructions(requirements: OutputRequirements, in_words: bool, example: str = "") -> str:
    """Return what to tell a model of the tools, where its template does not, and of the JSON it is to write.

    `example` is a call in the model's own markup, "" if it is to write Hermes'.
    """
    return "\n\n".join(
        filter(None, [_tools_in_words(requirements, example) if in_words else "", _format_in_words(requirements)])
    )


def _tools_in_words(requirements: OutputRequirements, example: str) -> str:
    if not requirements.shown:
        return ""
    tools = "\n".join(json.dumps(tool.document()["function"], ensure_ascii=False) for tool in requirements.shown)
    if example:
        how = "To call one, write its name and arguments in exactly this markup:\n" + example
    else:
        how = (
            "To call one, write its name and arguments as a JSON object inside <tool_call></tool_call> tags:\n"
            '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        )
    return (
        "# Tools\n\nYou may call these functions, given with the JSON schemas of their parameters:\n"
        f"<tools>\n{tools}\n</tools>\n\n"
        f"{how}"
    )


def _format_in_words(requirements: OutputRequirements) -> str:
    if requirements.schema is None:
        return ""
    unless = "Unless you call a function, answer" if requirements.tools else "Answer"
    if not requirements.schema:
        return f"{unless} with one JSON object and nothing else."
    schema = json.dumps(requirements.schema, ensure_ascii=False)
    return f"{unless} with one JSON value and nothing else. It must follow this JSON schema:\n{schema}"
