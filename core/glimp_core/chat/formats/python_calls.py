"""Calls in the manner of Python: `[name(key=value, ...), ...]`."""

import json
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
from glimp_core.chat.formats.values import add_python_calls
from glimp_core.chat.grammar.json_schema import normalize_schema
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
    schema = normalize_schema(tool.held)
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
