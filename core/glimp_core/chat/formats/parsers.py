"""Readers of the calls that model families write, from the mark that opens one on."""
# ruff: noqa: RUF001 (DeepSeek's marks are written with full-width bars)

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glimp_core.chat.formats.builder import ARGUMENTS, ToolCallBuilder
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.grammar.json_scan import JsonScan
from glimp_core.chat.grammar.validation import read_as
from glimp_core.chat.request.tools import Tool

Drafts = Callable[[], ToolCallBuilder]

_CUT = "the reply ended inside it"
_CALL_BEGIN, _CALLS_END = "<｜tool▁call▁begin｜>", "<｜tool▁calls▁end｜>"
_SEPARATOR, _CALL_END = "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"


def read_call(source: CharStream, mark: str, drafts: Drafts, tools: Sequence[Tool]) -> Parser[None]:
    """Read what follows an opening mark, with its closing one."""
    source.start()
    if mark == "<tool_call>":
        yield from _tagged(source, drafts, tools)
    elif mark == "<function=":
        yield from _function(source, drafts(), tools)
    elif mark == "<|python_tag|>":
        yield from _python(source, drafts)
    elif mark == "[TOOL_CALLS]":
        yield from _mistral(source, drafts)
    else:
        yield from _deepseek(source, drafts, begun=mark == _CALL_BEGIN)


def read_objects(source: CharStream, drafts: Drafts, close: str = "", separators: str = ";,") -> Parser[None]:
    """Read calls that are JSON objects, one after another or in a list."""
    listed = (yield from source.skip_blank()) == "[" and (yield from source.skip("["))
    while (yield from source.skip_blank()) == "{":
        source.start()
        if not (yield from _object(source, drafts(), close)):
            return
        following = yield from source.skip_blank()
        if not following or following not in separators:
            break
        yield from source.next()
    if listed and (yield from source.skip_blank()) == "]":
        yield from source.next()


def _tagged(source: CharStream, drafts: Drafts, tools: Sequence[Tool]) -> Parser[None]:
    close = "</tool_call>"
    following = yield from source.skip_blank()
    if following and following in "{[":
        yield from read_objects(source, drafts, close)
        yield from source.skip_blank()
        yield from source.skip(close)
    elif following == "<" and (yield from source.skip("<function=")):
        yield from _function(source, drafts(), tools)
    else:
        text, end = yield from source.upto(close)
        drafts().reject(text.strip(), "it is no JSON object" if end else _CUT)


def _object(source: CharStream, draft: ToolCallBuilder, close: str) -> Parser[bool]:
    """Read `{"name": ..., "arguments": {...}}`; False where it is none, and all up to `close` went with it."""
    scan, doubled = JsonScan(), False
    while not scan.done:
        c = yield from source.next()
        if c == END:
            return _give_up(source, draft, _CUT)
        member = scan.member
        if scan.push(c):
            _take_member(draft, scan, member, c)
        elif source.read.strip() == "{{":  # some templates show the braces doubled, and models copy that
            doubled = True
        else:
            yield from source.upto(close or "\0")
            return _give_up(source, draft, "it is not valid JSON", close)
    if draft.name:
        draft.finish()
    elif not draft.read_whole(source.read):
        draft.reject(source.read, "it names no tool")
    if doubled and (yield from source.skip_blank()) == "}":
        yield from source.next()
    return True


def _take_member(draft: ToolCallBuilder, scan: JsonScan, member: str | None, c: str) -> None:
    """Take one character of a call object, which belonged to the value of `member` before it."""
    if member == "name" and scan.member == member:
        draft.spelled += c
    elif member == "name":
        draft.set_name(_text(draft.spelled))
    elif member in ARGUMENTS and scan.member == member:
        _add(draft, scan, c)


def _arguments(source: CharStream, draft: ToolCallBuilder, close: str) -> Parser[None]:
    """Read the arguments of a call that has its name, up to `close` if that follows."""
    scan = JsonScan()
    yield from source.skip_blank()
    source.start()
    while not scan.done:
        c = yield from source.next()
        if c == END or not scan.push(c):
            if c != END and close:
                yield from source.upto(close)
            draft.reject(source.read.removesuffix(close), "its arguments are not valid JSON" if c else _CUT)
            return
        _add(draft, scan, c)
    draft.finish()


def _function(source: CharStream, draft: ToolCallBuilder, tools: Sequence[Tool]) -> Parser[None]:
    """Read `name><parameter=key>value</parameter></function>`, and `</tool_call>` if that follows."""
    name, end = yield from source.upto(">")
    draft.set_name(name.strip() if end else "")
    schema: Mapping[str, Any] = next((tool.parameters for tool in tools if tool.name == name.strip()), {})
    while (yield from source.skip_blank()) == "<":
        tag, _ = yield from source.upto(">")
        if tag in ("</function", "</tool_call"):
            draft.add("}" if draft.arguments else "{}")
            draft.finish()
            yield from source.skip_blank()
            yield from source.skip("</tool_call>")
            return
        value, end = yield from source.upto("</parameter>")
        if not tag.startswith("<parameter=") or not end:
            break
        key = tag.removeprefix("<parameter=").strip()
        part = schema.get("properties", {}).get(key, {})
        read = read_as(value.removeprefix("\n").removesuffix("\n"), part, schema)
        member = f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(read, ensure_ascii=False)}"
        draft.add((", " if draft.arguments else "{") + member)
    _, end = yield from source.upto("</tool_call>")
    draft.reject(source.read.removesuffix(end), "its parameters cannot be read" if end else _CUT)


def _python(source: CharStream, drafts: Drafts) -> Parser[None]:
    if (yield from source.skip_blank()) == "{":
        yield from read_objects(source, drafts)
        return
    text, _ = yield from source.upto("\0")
    draft, call = drafts(), _python_call(text)
    if call is None:
        draft.reject(text, "it is neither JSON nor a Python call")
        return
    draft.set_name(call[0])
    draft.add(json.dumps(call[1], ensure_ascii=False))
    draft.finish()


def _mistral(source: CharStream, drafts: Drafts) -> Parser[None]:
    following = yield from source.skip_blank()
    if following and following in "[{":
        yield from read_objects(source, drafts)
        return
    head, end = yield from source.upto("[ARGS]", "{")
    draft = drafts()
    if not end:
        draft.reject(head, _CUT)
        return
    if end == "{":
        source.back(1)
    draft.set_name(head.partition("[CALL_ID]")[0].strip())
    yield from _arguments(source, draft, "")


def _deepseek(source: CharStream, drafts: Drafts, begun: bool) -> Parser[None]:
    yield from source.skip_blank()
    while begun or (yield from source.skip(_CALL_BEGIN)):
        begun = False
        kind, end = yield from source.upto(_SEPARATOR, _CALL_END)
        draft = drafts()
        if end != _SEPARATOR:
            draft.reject(kind.strip(), "it names no tool" if end else _CUT)
            continue
        head, end = yield from source.upto("{", _CALL_END)
        draft.set_name(head.strip().partition("\n")[0].strip() or kind.strip())
        if end == "{":
            source.back(1)
            yield from _arguments(source, draft, _CALL_END)
            if (yield from source.skip_blank()) == "`":
                yield from source.skip("```")
            yield from source.skip(_CALL_END)
        else:
            draft.reject(head, "it has no arguments" if end else _CUT)
        yield from source.skip_blank()
    yield from source.skip(_CALLS_END)


def _give_up(source: CharStream, draft: ToolCallBuilder, error: str, close: str = "") -> bool:
    written = source.read.removesuffix(close).strip()
    if not draft.read_whole(written):
        draft.reject(written, error)
    return False


def _add(draft: ToolCallBuilder, scan: JsonScan, c: str) -> None:
    """Add a character of the arguments; line breaks inside strings are written as JSON wants them."""
    if scan.in_string and c < " ":
        c = json.dumps(c)[1:-1]
    if scan.in_string or not c.isspace() or draft.arguments:
        draft.add(c)


def _text(written: str) -> str:
    try:
        value = json.loads(written, strict=False)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def _python_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """Read `name.call(key=value)` and `name(key=value)`."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            return None
        function = call.func.value if isinstance(call.func, ast.Attribute) else call.func
        values = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
        json.dumps(values)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return (function.id, values) if isinstance(function, ast.Name) and "" not in values else None
