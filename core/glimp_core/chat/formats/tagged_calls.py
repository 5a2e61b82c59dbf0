"""Calls whose parameters are between their own tags: strings as raw text, all other values as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import regex_to_lark

from glimp_core.chat.formats.base import (
    CUT,
    FURTHER_NAME,
    NO_FRAME,
    Frame,
    Header,
    NewCall,
    further_members,
    header_grammar,
    named_members,
    read_header,
    schema_grammar,
)
from glimp_core.chat.formats.builder import ToolCallBuilder
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.formats.values import read_objects, recover
from glimp_core.chat.grammar.lark import Choice, Json, Many, Markup, Node, Optional, Pattern, RawText
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.grammar.schema_drafts import resolved
from glimp_core.chat.grammar.validation import read_as
from glimp_core.chat.grammar.value_bounds import MAX_STRING
from glimp_core.chat.request.tools import Tool

KEY = "\0key"
"""Stands in the markup behind a value in place of the parameter's name."""


@dataclass(frozen=True, slots=True)
class ParameterMarkup:
    """`start` name `text` value `end`, with `other` in place of `text` in front of what is no text.

    `end` may hold KEY.
    """

    start: str
    text: str
    end: str
    other: str = ""

    def before(self, name: str, is_text: bool) -> str:
        """Return what stands in front of a value."""
        return self.start + name + (self.text if is_text or not self.other else self.other)

    def after(self, name: str) -> str:
        """Return what stands behind a value."""
        return self.end.replace(KEY, name)

    @property
    def name_end(self) -> str:
        """The text that a parameter's name ends at."""
        if not self.other or self.other == self.text:
            return self.text.strip()
        same = next(n for n, (a, b) in enumerate(zip(self.text, self.other, strict=False)) if a != b)
        return self.text[:same].strip().partition(" ")[0] or self.text[:same]

    @property
    def name_close(self) -> str:
        """What is left of the markup in front of a value behind `name_end`, "" if nothing differs there."""
        if not self.other or self.other == self.text:
            return ""
        pairs = zip(reversed(self.text.strip()), reversed(self.other.strip()), strict=False)
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), 0)
        text = self.text.strip()
        return text[len(text) - same :].lstrip('"') if same else ""


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """A `header` with the name, the parameters, and `end`; `frame` stands around all calls of a reply."""

    name: str
    header: Header
    parameter: ParameterMarkup
    end: str
    frame: Frame = NO_FRAME

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens calls in free text: the frame, or a call where a model leaves the frame out."""
        texts = (self.frame.start.strip(), self.header[0].strip())
        return tuple(dict.fromkeys(text for text in texts if text))

    @property
    def sections(self) -> bool:
        """Whether one start marker can open several calls."""
        return bool(self.frame.end.strip()) and not self.frame.each

    @property
    def unmarked(self) -> bool:
        """Whether a reply may be a call without a marker: never."""
        return False

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return the markers."""
        return self.start_markers

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of one call of the tools, or of several: parameters in the schema's order, each once."""
        return self.frame.around(Choice(tuple(map(self._call_grammar, tools))), many)

    def _call_grammar(self, tool: Tool) -> Node:
        schema = tool.held.schema()
        required = schema.get("required", ())
        parameters: list[Node] = []
        for name, part in named_members(schema).items():
            written = self._parameter_grammar(name, resolved(part, schema), schema)
            parameters.append(written if name in required else Optional(written))
        if (rest := further_members(schema)) is not False:
            parameters.append(Optional(Many(self._further_grammar(resolved(rest, schema), schema), "")))
        return Seq((*header_grammar(self.header, tool.name), *parameters, Markup(self.end)))

    def _parameter_grammar(self, name: str, schema: Any, root: Mapping[str, Any]) -> Node:
        before = Markup(self.parameter.before(name, _is_text(schema)))
        return Seq((before, self._value_grammar(schema, root, self.parameter.after(name))))

    def _further_grammar(self, schema: Any, root: Mapping[str, Any]) -> Node:
        """Return the grammar of a parameter of any name. Where its end repeats the name, its value is no bare text."""
        markup, named = self.parameter, Pattern(FURTHER_NAME)
        before, repeated, after = markup.end.partition(KEY)
        as_text = _is_text(schema) or (schema is True and not markup.other)
        opening = (Markup(markup.start), named, Markup(markup.text if as_text or not markup.other else markup.other))
        if repeated:
            return Seq((*opening, _json_grammar(schema, root), Markup(before), named, Markup(after)))
        value = {"type": "string"} if schema is True and as_text else schema
        return Seq((*opening, self._value_grammar(value, root, markup.end)))

    def _value_grammar(self, schema: Any, root: Mapping[str, Any], after: str) -> Node:
        """Return the grammar of a value and of the markup behind it."""
        if values := _values(schema):
            texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
            return Seq((Choice(tuple(texts)), Markup(after)))
        if _is_text(schema):
            pattern, length = _text_patterns(schema)
            return RawText(pattern, after, length)
        return Seq((_json_grammar(schema, root), Markup(after)))

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read calls up to the end of their frame; JSON objects in the place of one are read as well."""
        own = self.header[0].strip()
        opened = marker == own
        frame_end = self.frame.end.strip() or (self.end.strip() if self.frame.start else "")
        following = yield from chars.skip_blank()
        if following and following in "{[" and marker == self.start_markers[0]:
            yield from read_objects(chars, new_call, frame_end, ";,", self.start_markers)
            yield from chars.skip_markup(frame_end)
            return True
        found = False
        while opened or (own and (yield from chars.skip_markup(own))):
            opened, found = False, True
            yield from self._call(chars, new_call(), tools)
            yield from chars.skip_markup(self.frame.between)
        if not found:
            chars.start()
            yield from recover(chars, frame_end, ())
            new_call().reject(chars.read.removesuffix(frame_end).strip(), "it names no tool" if chars.read else CUT)
        elif frame_end:
            yield from chars.skip_markup(frame_end)
        return True

    def _call(self, chars: CharStream, builder: ToolCallBuilder, tools: Sequence[Tool]) -> Parser[None]:
        chars.start()
        stops = [text for text in (self.end.strip(), self.frame.end.strip()) if text]
        nexts = [text for text in (self.parameter.start.strip(), self.end.strip()) if text]
        name = yield from read_header(chars, self.header, *stops, nexts=nexts)
        if name is None:
            builder.reject(chars.read.strip(), "it names no tool" if chars.read else CUT)
            return
        builder.set_name(name)
        schema: Mapping[str, Any] = next((tool.parameters for tool in tools if tool.name == name), {})
        closed = False
        while not (closed := (yield from self._closes(chars))) and (yield from chars.skip_markup(self.parameter.start)):
            if not (yield from self._parameter(chars, builder, schema)):
                builder.reject(chars.read.strip(), CUT)
                return
        if not closed and not (yield from self._may_end(chars, bool(builder.arguments))):
            cut = (yield from chars.skip_blank()) == END
            yield from recover(chars, self.end.strip(), self.start_markers)
            builder.reject(chars.read.strip(), CUT if cut else "its parameters cannot be read")
            return
        builder.add("}" if builder.arguments else "{}")
        builder.finish()

    def _may_end(self, chars: CharStream, begun: bool) -> Parser[bool]:
        """Whether a call that is not closed is over: its frame ends, another call begins, or the reply ends."""
        ends = tuple(text for text in (self.frame.end.strip(), *self.start_markers) if text)
        if (found := (yield from chars.match(ends))) is not None:
            chars.unread(found)
            return True
        return begun and (yield from chars.skip_blank()) == END

    def _closes(self, chars: CharStream) -> Parser[bool]:
        return bool(self.end.strip()) and (yield from chars.skip_markup(self.end))

    def _parameter(self, chars: CharStream, builder: ToolCallBuilder, schema: Mapping[str, Any]) -> Parser[bool]:
        key, _ = yield from chars.upto(self.parameter.name_end)
        as_text = False
        if close := self.parameter.name_close:
            typed, _ = yield from chars.upto(close)
            as_text = (self.parameter.name_end + typed + close).strip() == self.parameter.text.strip()
        key = key.strip().strip('"')
        after = self.parameter.after(key)
        if (yield from chars.skip("<![CDATA[")):
            value, end = yield from chars.upto("]]>")
            yield from chars.skip_markup(after)
        else:
            value, end = yield from chars.upto(after.strip())
            value = _trimmed(value, self.parameter.text, after)
        if not end:
            return False
        part = _mapping(schema.get("properties")).get(key, {})
        read = value if as_text else read_as(value, part, schema)
        member = f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(read, ensure_ascii=False)}"
        builder.add((", " if builder.arguments else "{") + member)
        return True


def _trimmed(value: str, before: str, after: str) -> str:
    """Cut the blank space that belongs to the markup around a value."""
    head, tail = before[len(before.rstrip()) :], after[: len(after) - len(after.lstrip())]
    return value.removeprefix(head).removesuffix(tail)


def _values(schema: Any) -> list[Any]:
    if not isinstance(schema, Mapping):
        return []
    return [schema["const"]] if "const" in schema else list(schema.get("enum") or ())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_text(schema: Any) -> bool:
    if values := _values(schema):
        return all(isinstance(value, str) for value in values)
    return isinstance(schema, Mapping) and schema.get("type") == "string"


def _json_grammar(schema: Any, root: Mapping[str, Any]) -> Node:
    whole = {**{key: root[key] for key in ("$defs", "definitions") if key in root}, **_mapping(schema)}
    return schema_grammar(whole) if whole else Json("{}")


def _text_patterns(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Return the pattern of a text, and the one of its length where it has to follow both."""
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", MAX_STRING)
    length = f"(?s:.{{{shortest},{'' if longest == MAX_STRING else longest}}})"
    if "pattern" not in schema:
        return length, ""
    pattern = regex_to_lark(schema["pattern"], "dw").replace("\\/", "/")
    before = "" if pattern.startswith("^") else "(?s:.*)"
    after = "" if pattern.endswith("$") else "(?s:.*)"
    bounded = length if shortest or longest != MAX_STRING else ""
    return f"{before}(?:{pattern.removeprefix('^').removesuffix('$')}){after}", bounded
