"""Replies that are calls without any mark: bare, in a list or in a code fence. Models forget their markup."""

import json
from collections.abc import Sequence
from typing import Any

from glimp_core.chat.formats.builder import ARGUMENTS, read_object
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.grammar.json_scan import JsonScan
from glimp_core.chat.grammar.validation import is_valid
from glimp_core.chat.request.tools import Tool

_KEYS = ("name", *ARGUMENTS, "type", "id")
_LANGUAGES = ("json", "tool_call", "tool_calls")


class _NoCallsError(Exception):
    """The reply cannot be calls and nothing else any more."""


def read_bare(source: CharStream, tools: Sequence[Tool]) -> Parser[list[tuple[str, str]] | None]:
    """Read a whole reply as calls: names of offered tools, and arguments that fit, as JSON.

    Returns None as soon as the reply can be no such thing; what was read is given back then.
    """
    source.start()
    try:
        return (yield from _calls(source, tools))
    except _NoCallsError:
        source.back(len(source.read))
        return None


def _calls(source: CharStream, tools: Sequence[Tool]) -> Parser[list[tuple[str, str]]]:
    fenced = (yield from source.skip_blank()) == "`"
    if fenced:
        yield from _open_fence(source)
    listed = (yield from source.skip_blank()) == "[" and (yield from source.skip("["))
    found: list[tuple[str, str]] = []
    while True:
        yield from source.skip_blank()
        found.append((yield from _call(source, tools)))
        following = yield from source.skip_blank()
        if following and following in ",;":
            yield from source.next()
        elif following != "{":
            break
    if listed:
        _demand((yield from source.skip("]")))
    if fenced and (yield from source.skip_blank()) == "`":
        _demand((yield from source.skip("```")))
    _demand((yield from source.skip_blank()) == END)
    return found


def _open_fence(source: CharStream) -> Parser[None]:
    _demand((yield from source.skip("```")))
    language = ""
    while (c := (yield from source.peek())) and c not in "{[\n ":
        language += c
        _demand(any(known.startswith(language) for known in _LANGUAGES))
        yield from source.next()


def _call(source: CharStream, tools: Sequence[Tool]) -> Parser[tuple[str, str]]:
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
    return _checked(text, tools)


def _checked(text: str, tools: Sequence[Tool]) -> tuple[str, str]:
    call = read_object(text) or {}
    values: Any = next((call[key] for key in ARGUMENTS if key in call), {})
    values = read_object(values) if isinstance(values, str) else values
    tool = next((tool for tool in tools if tool.name == call.get("name")), None)
    _demand(tool is not None and isinstance(values, dict) and is_valid(values, tool.parameters))
    return str(call["name"]), json.dumps(values, ensure_ascii=False)


def _demand(fine: bool) -> None:
    if not fine:
        raise _NoCallsError
