"""Replies that are calls without markers: bare, in a list or in a code fence. Models sometimes omit their markup."""

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from glimp_core.chat.formats.builder import ARGUMENTS, read_object
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.formats.python_calls import python_calls
from glimp_core.chat.formats.values import JsonScan
from glimp_core.chat.grammar.validation import is_valid
from glimp_core.chat.request.tools import Tool

_KEYS = ("name", *ARGUMENTS, "type", "id")
_LANGUAGES = ("json", "tool_call", "tool_calls")


class _NoCallsError(Exception):
    """The reply cannot be calls and nothing else any more."""


Found: TypeAlias = list[tuple[str, str]]
"""Names of tools, and arguments as JSON."""


def read_unmarked(chars: CharStream, tools: Sequence[Tool], native: bool, close: str = "") -> Parser[Found | None]:
    """Read a whole reply as calls of offered tools: JSON objects, or Python calls with `native`.

    Arguments have to fit, but where a call without a marker is this model's own way: `native`. A stray `close` behind
    them is passed over. Returns None as soon as the reply can be no such thing; what was read is given back then.
    """
    chars.start()
    try:
        return (yield from _calls(chars, tools, native, close))
    except _NoCallsError:
        chars.back(len(chars.read))
        return None


def call_openings(tools: Sequence[Tool]) -> list[str]:
    """Return how calls begin that are JSON objects with the name of an offered tool first."""
    names = [json.dumps(tool.name, ensure_ascii=False) for tool in tools]
    return [f'{start}"name":{space}{name}' for name in names for start in ("{", "{ ") for space in ("", " ")]


def _calls(source: CharStream, tools: Sequence[Tool], native: bool, close: str) -> Parser[Found]:
    if (yield from source.skip_blank()) == "<":  # the rest of a tag that was lost
        yield from source.skip("<")
        _demand((yield from source.peek()) == "{")
    if native and (yield from _python_ahead(source, tools)):
        return (yield from _python(source, tools))
    fenced = (yield from source.skip_blank()) == "`"
    if fenced:
        yield from _open_fence(source)
    listed = (yield from source.skip_blank()) == "[" and (yield from source.skip("["))
    found: Found = []
    while True:
        yield from source.skip_blank()
        found.append((yield from _call(source, tools, native)))
        following = yield from source.skip_blank()
        if following and following in ",;":
            yield from source.next()
        elif following != "{":
            break
    if listed:
        _demand((yield from source.skip("]")))
    if fenced and (yield from source.skip_blank()) == "`":
        _demand((yield from source.skip("```")))
    if close:
        yield from source.skip_markup(close)
    yield from source.skip_markup(">")
    _demand(native or (yield from source.skip_blank()) == END)
    return found


def _python_ahead(source: CharStream, tools: Sequence[Tool]) -> Parser[bool]:
    """Look whether a list of calls, or one call, of offered tools comes next."""
    starts = [f"{bracket}{tool.name}(" for tool in tools for bracket in ("[", "")]
    start = yield from source.match(starts)
    if start:
        source.unread(start)
        source.forget(len(start))
    return bool(start)


def _python(source: CharStream, tools: Sequence[Tool]) -> Parser[Found]:
    text, _ = yield from source.upto("\0")
    calls = python_calls(text)
    _demand(calls is not None and all(name in {tool.name for tool in tools} for name, _ in calls))
    return [(name, json.dumps(values, ensure_ascii=False)) for name, values in calls or ()]


def _open_fence(source: CharStream) -> Parser[None]:
    _demand((yield from source.skip("```")))
    language = ""
    while (c := (yield from source.peek())) and c not in "{[\n ":
        language += c
        _demand(any(known.startswith(language) for known in _LANGUAGES))
        yield from source.next()


def _call(source: CharStream, tools: Sequence[Tool], native: bool) -> Parser[tuple[str, str]]:
    scan, text, name, doubled = JsonScan(), "", "", False
    names = [json.dumps(tool.name, ensure_ascii=False) for tool in tools]
    while not scan.done:
        c = yield from source.next()
        if text + c == "{{" and not doubled:  # some templates show the braces doubled, and models copy that
            doubled = True
            continue
        member = scan.member
        _demand(c != END and (bool(text) or c == "{") and scan.push(c))
        text += c
        _demand(any(key.startswith(scan.key.removeprefix('"')) for key in _KEYS))
        if member == scan.member == "name":
            name = (name + c).strip()
            _demand(any(known.startswith(name) for known in names))
    if doubled and (yield from source.skip_blank()) == "}":
        yield from source.next()
    return _checked(text, tools, native)


def _checked(text: str, tools: Sequence[Tool], native: bool) -> tuple[str, str]:
    call = read_object(text) or {}
    values: Any = next((call[key] for key in ARGUMENTS if key in call), {})
    values = read_object(values) if isinstance(values, str) else values
    tool = next((tool for tool in tools if tool.name == call.get("name")), None)
    _demand(tool is not None and isinstance(values, dict) and (native or is_valid(values, tool.parameters)))
    return str(call["name"]), json.dumps(values, ensure_ascii=False)


def _demand(fine: bool) -> None:
    if not fine:
        raise _NoCallsError
