"""Readers of what stands inside calls: JSON objects, arguments, and the values that models write in Python."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from glimp_core.chat.formats.base import CUT, NewCall
from glimp_core.chat.formats.builder import ARGUMENTS, NAMES, ToolCallBuilder
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.grammar.json_scan import JsonScan


def read_objects(
    chars: CharStream,
    new_call: NewCall,
    close: str = "",
    separators: str = ";,",
    starts: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Parser[None]:
    """Read calls that are JSON objects, one after another or in a list, up to `close`.

    Where one is not valid, reading ends behind the next `close`, or in front of one of `starts`, so that the calls
    behind a broken one are kept. Objects whose only key is one of `names` are calls of that tool.
    """
    fenced = (yield from chars.skip_blank()) == "`" and (yield from _open_fence(chars))
    listed = (yield from chars.skip_blank()) == "[" and (yield from chars.skip("["))
    while (yield from chars.skip_blank()) == "{":
        chars.start()
        if not (yield from _object(chars, new_call(), close, starts, names)):
            return
        following = yield from chars.skip_blank()
        if following and following in separators:
            yield from chars.next()
        elif following != "{":
            break
    if listed:
        yield from chars.skip_markup("]")
    if fenced:
        yield from chars.skip_markup("```")


def read_arguments(chars: CharStream, builder: ToolCallBuilder, close: str, starts: Sequence[str] = ()) -> Parser[None]:
    """Read the arguments of a call that has its name; where they are not valid, up to `close` or one of `starts`."""
    scan = JsonScan()
    following = yield from chars.skip_blank()
    chars.start()
    if following == '"':  # arguments that are JSON inside a JSON text
        text = yield from _json_text(chars)
        builder.add(text)
        builder.finish()
        return
    while not scan.done:
        c = yield from _next(chars, scan)
        if c == END or not _feed(builder, scan, c):
            if c != END:
                yield from recover(chars, close, starts)
            written = chars.read.removesuffix(close).strip()
            if not builder.read_arguments(written):
                builder.reject(written, "its arguments are not valid JSON" if c else CUT)
            return
    builder.finish()


def recover(chars: CharStream, close: str, starts: Sequence[str]) -> Parser[None]:
    """Skip what cannot be read: up to and with `close`, or up to what opens the next call."""
    ends = [text for text in (close, *starts) if text]
    _, end = yield from chars.upto(*(ends or ["\0"]))
    if end and end != close:
        chars.back(len(end))


def python_calls(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Read `[name(key=value), ...]`, `name(key=value)` and `name.call(key=value)`; None for anything else."""
    source = _python_quotes(text.strip())
    try:
        tree = ast.parse(source, mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else [tree]
        read = [_python_call(call) for call in calls]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    found = [call for call in read if call is not None]
    return found if found and len(found) == len(read) else None


def _python_quotes(text: str) -> str:
    """Write quoted texts as Python does: models break lines inside them, and write double quotes as JSON does."""
    written: list[str] = []
    quoted, escaped = "", False
    for c in text:
        if not quoted:
            quoted = c if c in "'\"" else ""
            written.append("" if quoted else c)
            continue
        quoted += c
        if c == quoted[0] and not escaped:
            written.append(_python_text(quoted))
            quoted = ""
        escaped = c == "\\" and not escaped
    return "".join(written) + quoted


def _python_text(quoted: str) -> str:
    if quoted[0] == '"' and (text := _text(quoted)):
        return repr(text)
    return "".join({"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(c, c) for c in quoted)


def _python_call(call: ast.expr) -> tuple[str, dict[str, Any]] | None:
    if not isinstance(call, ast.Call) or call.args:
        return None
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == "call":
        function = function.value
    values = {keyword.arg or "": _literal(keyword.value) for keyword in call.keywords}
    json.dumps(values)
    name = ast.unparse(function)
    return (name, values) if "" not in values and re.fullmatch(r"[\w.]+", name) else None


def _literal(node: ast.expr) -> Any:
    """The value of a literal, JSON's words for the three that Python calls otherwise included."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in ("true", "false", "null"):
            word = {"true": "True", "false": "False", "null": "None"}[part.id]
            part.id = word
    return ast.literal_eval(ast.unparse(node))


def _open_fence(chars: CharStream) -> Parser[bool]:
    for fence in ("```json", "```"):
        if (yield from chars.skip(fence)):
            return True
    return False


def _object(
    chars: CharStream, builder: ToolCallBuilder, close: str, starts: Sequence[str], names: Sequence[str]
) -> Parser[bool]:
    """Read `{"name": ..., "arguments": {...}}`; False if it is none, and all up to `close` went with it."""
    scan, doubled = JsonScan(), False
    while not scan.done:
        c = yield from _next(chars, scan)
        if c == END:
            return _give_up(chars, builder, CUT)
        if _feed_member(builder, scan, c):
            continue
        if chars.read.strip() in ("<", "{{", "<{{"):  # some templates show braces doubled, and models copy that
            doubled = chars.read.strip() != "<"
        else:
            yield from recover(chars, close, starts)
            return _give_up(chars, builder, "it is not valid JSON", close)
    if builder.name:
        builder.finish()
    elif not builder.read_whole(chars.read, names):
        builder.reject(chars.read, "it names no tool")
    if doubled and (yield from chars.skip_blank()) == "}":
        yield from chars.next()
    return True


_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


def _next(chars: CharStream, scan: JsonScan) -> Parser[str]:
    """Read what comes next of JSON, with mistakes that models make mended; END at the end.

    Mended are a comma in front of a closing bracket, a backslash that escapes nothing, and Python's words.
    """
    c = yield from chars.next()
    if scan.in_string:
        if c == "\\" and not scan.escaped and (yield from chars.peek()) not in (*'"\\/bfnrtu', END):
            return "\\\\"
        return c
    if c == "," and scan.depth and (yield from chars.skip_blank()) in ("}", "]"):
        return (yield from chars.next())
    for word, meant in _PYTHON_WORDS.items():
        if c == word[0] and (yield from chars.skip(word[1:])):
            return meant
    return c


def _feed(builder: ToolCallBuilder, scan: JsonScan, text: str) -> bool:
    for c in text:
        if not scan.push(c):
            return False
        _add(builder, scan, c)
    return True


def _feed_member(builder: ToolCallBuilder, scan: JsonScan, text: str) -> bool:
    for c in text:
        member = scan.member
        if not scan.push(c):
            return False
        _take_member(builder, scan, member, c)
    return True


def _take_member(builder: ToolCallBuilder, scan: JsonScan, member: str | None, c: str) -> None:
    """Take one character of a call object, which belonged to the value of `member` before it."""
    if member in NAMES and scan.member == member:
        builder.spelled += c
    elif member in NAMES:
        builder.set_name(_text(builder.spelled))
    elif member in ARGUMENTS and scan.member == member:
        _add(builder, scan, c)


def _give_up(chars: CharStream, builder: ToolCallBuilder, error: str, close: str = "") -> bool:
    written = chars.read.removesuffix(close).strip() if close else chars.read.strip()
    if builder.whole:  # only what stands around the arguments is broken
        builder.finish()
    elif not builder.read_whole(written):
        builder.reject(written, error)
    return False


def _add(builder: ToolCallBuilder, scan: JsonScan, c: str) -> None:
    """Add a character of the arguments; line breaks inside strings are written as JSON wants them."""
    if scan.in_string and c < " ":
        c = json.dumps(c)[1:-1]
    if scan.in_string or not c.isspace() or builder.arguments:
        builder.add(c)


def _json_text(chars: CharStream) -> Parser[str]:
    written = yield from chars.next()
    escaped = False
    while (c := (yield from chars.next())) != END:
        written += c
        if c == '"' and not escaped:
            break
        escaped = c == "\\" and not escaped
    return _text(written)


def _text(written: str) -> str:
    try:
        value = json.loads(written, strict=False)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def add_python_calls(text: str, new_call: NewCall, otherwise: str) -> None:
    """Make the calls that a text of Python holds; a text that holds none is one invalid call, for `otherwise`."""
    calls = python_calls(text)
    if calls is None:
        new_call().reject(text, otherwise)
    for name, arguments in calls or ():
        builder = new_call()
        builder.set_name(name)
        builder.add(json.dumps(arguments, ensure_ascii=False))
        builder.finish()
