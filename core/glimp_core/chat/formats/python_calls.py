"""Calls in Python's syntax: `[name(key=value, ...), ...]`."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glimp_core.chat.formats.base import (
    FURTHER_NAME,
    NewCall,
    further_members,
    members_grammar,
    named_members,
    schema_grammar,
)
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.values import json_string
from glimp_core.chat.grammar.lark import Choice, Many, Markup, Node, Pattern, RawText
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.grammar.schema_drafts import resolved
from glimp_core.chat.request.tools import Tool

_QUOTED = Seq(("'", RawText(r"([^'\\\x00-\x08\x0b-\x1f]|\\[nrt\\\"])*", "'")))
"""A text in single quotes; one that holds a single quote stands in double ones."""


@dataclass(frozen=True, slots=True)
class PythonCalls:
    """A list of calls between `start` and `end`."""

    name: str
    start: str = ""
    end: str = ""
    sections: bool = True

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens calls in free text."""
        return (self.start.strip(),) if self.start.strip() else ()

    @property
    def unmarked(self) -> bool:
        """Whether a reply may be a call without a marker."""
        return not self.start_markers

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return the marker, or how a list with an offered tool begins if there is none."""
        return self.start_markers or tuple(f"[{tool.name}(" for tool in tools)

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of one call of the tools, or of several."""
        call: Node = Choice(tuple(map(_call_grammar, tools)))
        return Seq((Markup(self.start), "[", Many(call, ", ") if many else call, "]", Markup(self.end)))

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read the list up to the end marker; what is no list of calls becomes one invalid call."""
        chars.start()
        close = self.end.strip()
        yield from chars.upto(close or "\0")
        text = chars.read.removesuffix(close) if close else chars.read
        add_python_calls(text.strip(), new_call, "it is no list of calls")
        return True


def _call_grammar(tool: Tool) -> Node:
    """Parameters in the order of the schema, each once."""
    schema = tool.held.schema()
    required = schema.get("required", ())
    members = [
        (Seq((f"{name}=", _value(part, schema))), name in required) for name, part in named_members(schema).items()
    ]
    rest = further_members(schema)
    further = None if rest is False else Seq((Pattern(FURTHER_NAME), "=", _value(rest, schema)))
    return Seq((f"{tool.name}(", members_grammar(members, ", ", further), ")"))


def _value(part: Any, root: Mapping[str, Any]) -> Node:
    part = resolved(part, root)
    if not isinstance(part, Mapping):
        return schema_grammar({})
    if part.get("type") == "boolean":
        return Choice(("True", "False"))
    values = [part["const"]] if "const" in part else part.get("enum")
    if values:
        return Choice(tuple(text for value in values for text in _spellings(value)))
    whole = {**{key: root[key] for key in ("$defs", "definitions") if key in root}, **part}
    free = part.get("type") == "string" and not {"pattern", "format"} & set(part) and part.get("minLength", 0) <= 1
    return Choice((schema_grammar(whole), _QUOTED)) if free else schema_grammar(whole)


def _spellings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and "'" not in value and "\\" not in value:
        return (json.dumps(value, ensure_ascii=False), f"'{value}'")
    return (repr(value) if isinstance(value, bool) or value is None else json.dumps(value, ensure_ascii=False),)


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
    if quoted[0] == '"' and (text := json_string(quoted)):
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
