"""`<|tool_call>call:name{key:<|"|>text<|"|>,other:2}<tool_call|>`: Gemma 4; FunctionGemma with other markers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glimp_core.chat.formats.base import (
    CUT,
    FURTHER_NAME,
    Family,
    NewCall,
    further_members,
    members_grammar,
    named_members,
    schema_grammar,
)
from glimp_core.chat.formats.builder import ToolCallBuilder
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.formats.thinking import ThinkingMarkup
from glimp_core.chat.formats.values import recover
from glimp_core.chat.grammar.lark import Choice, Many, Markup, Node, Optional, Pattern, RawText
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.grammar.schema_drafts import resolved
from glimp_core.chat.request.tools import Tool

DEEPEST = 6
"""Objects inside objects are written in this family's way up to this depth; deeper ones as JSON."""

_WORDS = {"true": True, "false": False, "null": None, "None": None, "True": True, "False": False}


@dataclass(frozen=True, slots=True)
class GemmaCalls:
    """Keys without quotes, and texts between `quote` markers."""

    name: str
    start: str
    end: str
    quote: str
    sections: bool = False
    unmarked: bool = False

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens a call in free text."""
        return (self.start,)

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return the markers."""
        return self.start_markers

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of one call of the tools, or of several."""
        calls = tuple(Seq((f"call:{tool.name}", self._arguments(tool.held.schema()))) for tool in tools)
        call = Seq((Markup(self.start), Choice(calls), Markup(self.end), Optional(Markup("<|tool_response>"))))
        return Many(call, "") if many else call

    def _arguments(self, schema: Mapping[str, Any]) -> Node:
        return self._object(schema, schema, 0)

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Node:
        required = set(schema.get("required", ()))
        named = named_members(schema)
        members = [
            (Seq((f"{name}:", self._value(named[name], root, depth + 1))), name in required)
            for name in sorted(named)  # as the templates write them
        ]
        rest = further_members(schema)
        further = None if rest is False else Seq((Pattern(FURTHER_NAME), ":", self._value(rest, root, depth + 1)))
        return Seq(("{", members_grammar(members, ",", further), "}"))

    def _value(self, part: Any, root: Mapping[str, Any], depth: int) -> Node:
        part = resolved(part, root)
        if not isinstance(part, Mapping):
            return schema_grammar({})
        values = [part["const"]] if "const" in part else part.get("enum")
        if values:
            return Choice(tuple(self._literal(value) for value in values))
        choices = part.get("anyOf") or part.get("oneOf")
        if choices and depth < DEEPEST:
            return Choice(tuple(self._value(choice, root, depth + 1) for choice in choices))
        if part.get("type") == "string" and not {"pattern", "format"} & set(part):
            shortest = part.get("minLength", 0)
            return Seq((Markup(self.quote), RawText(f"(?s:.{{{shortest},}})", self.quote)))
        if part.get("type") == "string":
            text = schema_grammar({**part})
            return text  # held to its pattern in JSON's quotes, which are read as well
        if part.get("type") == "array" and isinstance(part.get("items"), Mapping) and depth < DEEPEST:
            return self._array(part, root, depth)
        if part.get("type") == "object" and part.get("properties") and depth < DEEPEST:
            return self._object(part, root, depth)
        whole = {**{key: root[key] for key in ("$defs", "definitions") if key in root}, **part}
        return schema_grammar(whole)

    def _array(self, part: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Node:
        if {"minItems", "maxItems"} & set(part):
            whole = {**{key: root[key] for key in ("$defs", "definitions") if key in root}, **part}
            return schema_grammar(whole)
        return Seq(("[", Optional(Many(self._value(part["items"], root, depth + 1), ",")), "]"))

    def _literal(self, value: Any) -> Node:
        if isinstance(value, str):
            return Seq((Markup(self.quote), value, Markup(self.quote)))
        return json.dumps(value)

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read one call."""
        builder = new_call()
        chars.start()
        name, end = yield from chars.upto("{", self.end)
        if end != "{":
            builder.reject(name.strip(), "it has no arguments" if end else CUT)
            return True
        builder.set_name(name.strip().removeprefix("call:").strip())
        if not (yield from self._members(chars, builder)):
            yield from recover(chars, self.end, self.start_markers)
            builder.reject(chars.read.removesuffix(self.end).strip(), "its arguments cannot be read")
            return True
        builder.finish()
        yield from chars.skip_markup(self.end)
        yield from chars.skip_markup("<|tool_response>")  # which hands the turn to the tool
        return True

    def _members(self, chars: CharStream, builder: ToolCallBuilder) -> Parser[bool]:
        value = yield from self._braces(chars, builder)
        if value is None:
            return False
        builder.add("}" if builder.arguments else "{}")
        return True

    def _braces(self, chars: CharStream, builder: ToolCallBuilder | None) -> Parser[dict[str, Any] | None]:
        """Read members up to a closing brace; each is added to `builder` as it is whole."""
        found: dict[str, Any] = {}
        while (following := (yield from chars.skip_blank())) not in ("}", END):
            if following in "{,":  # doubled braces, commas
                yield from chars.next()
                continue
            key, end = yield from chars.upto(":")
            if not end:
                return None
            key = key.strip().removeprefix(self.quote).removesuffix(self.quote).strip("\"'")
            value = yield from self._read_value(chars)
            if value is None:
                return None
            found[key] = value[0]
            if builder:
                member = f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(value[0], ensure_ascii=False)}"
                builder.add((", " if builder.arguments else "{") + member)
        return found if (yield from chars.skip("}")) else None

    def _read_value(self, chars: CharStream) -> Parser[tuple[Any] | None]:
        """Read a value; None if there is none."""
        following = yield from chars.skip_blank()
        if following == self.quote[0] and (yield from chars.skip(self.quote)):
            text, end = yield from chars.upto(self.quote)
            return (text,) if end else None
        if following == "{":
            yield from chars.next()
            members = yield from self._braces(chars, None)
            return None if members is None else (members,)
        if following == "[":
            return (yield from self._items(chars))
        if following == '"':
            return (yield from _json_text(chars))
        word = ""
        while (c := (yield from chars.peek())) not in (",", "}", "]", END):
            word += c
            yield from chars.next()
        return (_word(word.strip()),)

    def _items(self, chars: CharStream) -> Parser[tuple[Any] | None]:
        yield from chars.next()
        items: list[Any] = []
        while (following := (yield from chars.skip_blank())) not in ("]", END):
            if following == ",":
                yield from chars.next()
                continue
            value = yield from self._read_value(chars)
            if value is None:
                return None
            items.append(value[0])
        return (items,) if (yield from chars.skip("]")) else None


def _json_text(chars: CharStream) -> Parser[tuple[Any] | None]:
    written = yield from chars.next()
    escaped = False
    while (c := (yield from chars.next())) != END:
        written += c
        if c == '"' and not escaped:
            return (_word(written),)
        escaped = c == "\\" and not escaped
    return None


def _word(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return text


GEMMA4 = GemmaCalls("gemma 4", "<|tool_call>", "<tool_call|>", '<|"|>')
FUNCTION_GEMMA = GemmaCalls("function gemma", "<start_function_call>", "<end_function_call>", "<escape>")
FAMILY = Family(
    (GEMMA4, FUNCTION_GEMMA),
    signs=(GEMMA4.start, FUNCTION_GEMMA.start),
    thinking=ThinkingMarkup("<|channel>thought\n", "<channel|>", "\n", "", ""),
)
