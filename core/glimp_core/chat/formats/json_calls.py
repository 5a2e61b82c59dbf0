"""Calls that are JSON objects: `{"name": ..., "arguments": {...}}`, alone, in a list, or between tags."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glimp_core.chat.formats.base import CUT, NewCall, schema_grammar
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.unmarked import call_openings
from glimp_core.chat.formats.values import read_objects
from glimp_core.chat.grammar.lark import GAP, INDENT, Json, Many, Markup, Node, Optional
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.request.tools import Tool


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """Objects with the tool's name under `name_key` and its arguments under `arguments_key`.

    `start` and `end` stand around each object, or around all of them `together`; `listed` objects stand in a
    JSON list. `id_key` holds a call's id, in front of the name with `id_first`, else behind the arguments and left out
    by most models. `by_name` objects are `{name: arguments}`.
    """

    name: str
    start: str = ""
    end: str = ""
    together: bool = False
    listed: bool = False
    between: str = ""
    name_key: str = "name"
    arguments_key: str = "arguments"
    id_key: str = ""
    id_first: bool = False
    by_name: bool = False
    optional_start: bool = False

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens calls in free text."""
        return (self.start.strip(),) if self.start.strip() else ()

    @property
    def sections(self) -> bool:
        """Whether several calls stand behind one start marker, and something says where they end."""
        return self.together and bool(self.end.strip() or self.listed)

    @property
    def unmarked(self) -> bool:
        """Whether a reply may be a call without a marker."""
        return not self.start_markers or self.optional_start

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return the marker, and how an object of an offered tool begins if there need be none."""
        return (*self.start_markers, *(call_openings(tools) if self.unmarked else ()))

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of one call of the tools, or of several."""
        call = self.call_object(tools)
        start: Node = Markup(self.start.strip())
        start = Optional(start) if self.optional_start else start
        if not self.together:
            framed = Seq((start, GAP, call, *self._closing()))
            return Many(framed, Markup(self.between)) if many else framed
        calls: Node = Many(call, Seq((Markup(self.between.strip()), INDENT))) if many else call
        if self.listed:
            calls = Seq(("[", INDENT, calls, INDENT, "]"))
        return Seq((start, GAP, calls, *self._closing()))

    def _closing(self) -> tuple[Node, ...]:
        """What closes a call; nothing may follow one that nothing closes, not even blank space."""
        return (GAP, Markup(self.end.strip())) if self.end.strip() else ()

    def call_object(self, tools: Sequence[Tool]) -> Json:
        """Return the grammar of one object."""
        schemas = {f"t{n}": tool.held.schema(f"#/$defs/t{n}") for n, tool in enumerate(tools)}
        calls = [self._object(tool.name, {"$ref": f"#/$defs/t{n}"}) for n, tool in enumerate(tools)]
        return schema_grammar({"anyOf": calls, "$defs": schemas})

    def _object(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = {self.name_key: {"const": name}, self.arguments_key: arguments}
        if self.by_name:
            properties = {name: arguments}
        required = [*properties]
        if self.id_key:
            call_id = {self.id_key: {"type": "string", "pattern": r"^[A-Za-z0-9_\-]{1,40}$"}}
            properties = {**call_id, **properties} if self.id_first else {**properties, **call_id}
            required = [*properties] if self.id_first else required
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read objects up to the end of their frame. Words that no end follows are words about the marker."""
        names = [tool.name for tool in tools] if self.by_name else ()
        close, starts = self.end.strip(), self.start_markers
        chars.start()
        following = yield from chars.skip_blank()
        if following not in ("{", "[", "`"):
            text, end = yield from chars.upto(close or "\0")
            if close and not end and len(text.split()) > 1:
                chars.back(len(chars.read))
                return False
            new_call().reject(text.strip(), "it is no JSON object" if end else CUT)
            return True
        yield from read_objects(chars, new_call, close, ";,", starts, names)
        yield from chars.skip_markup(self.end)
        return True
