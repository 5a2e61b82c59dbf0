"""The interface of a tool call format, grammar that several formats share, and the content of a family's file."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from glimp_core.chat.formats.builder import ToolCallBuilder
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.thinking import ThinkingMarkup
from glimp_core.chat.grammar.lark import Choice, Json, Many, Markup, Node, Optional, Pattern
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.request.tools import Tool

NewCall = Callable[[], ToolCallBuilder]
"""Starts the next call of a reply."""

CUT = "the reply ended inside it"


class ToolCallFormat(Protocol):
    """A tool call format: its markers, its grammar and its parser."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def start_markers(self) -> tuple[str, ...]:
        """The markers that open calls in free text, without blank space around them."""
        ...

    @property
    def sections(self) -> bool:
        """Whether one start marker can open several calls."""
        ...

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return what opens calls in free text: the start markers, and how a call without any begins."""
        ...

    @property
    def unmarked(self) -> bool:
        """Whether a reply that is nothing but calls has no start marker in this format."""
        ...

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of one call of the tools, or of several, markers included.

        Raises `UnsupportedSchemaError` for parameters that cannot be enforced.
        """
        ...

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read the calls after a start marker, and their end. Never raises.

        Returns False if it was not a call. All characters are then given back.
        """
        ...


NAME, CALL_ID, INDEX = "\0name", "\0id", "\0index"
"""Placeholders in the header of a call for the tool's name, the call's id and its number."""

Header = tuple[str, ...]
"""The markup before a call's arguments: texts, and NAME, CALL_ID or INDEX between them."""

_PATTERNS = {CALL_ID: r"[A-Za-z0-9_\-]{1,40}", INDEX: r"[0-9]{1,3}"}


@dataclass(frozen=True, slots=True)
class Frame:
    """The markup around all calls of a reply, or around `each` of them, and between two."""

    start: str = ""
    end: str = ""
    between: str = ""
    each: bool = False

    def around(self, call: Node, many: bool) -> Node:
        """Return the grammar of one call, or of several."""
        between = Optional(Markup(self.between)) if self.between.isspace() else Markup(self.between)
        if self.each:
            framed = Seq((Markup(self.start), call, Markup(self.end)))
            return Many(framed, between) if many else framed
        return Seq((Markup(self.start), Many(call, between) if many else call, Markup(self.end)))


NO_FRAME = Frame()


def header_grammar(header: Header, name: str) -> Iterator[Node]:
    """Yield the grammar of a header with a tool's name in it."""
    for part in header:
        yield Pattern(_PATTERNS[part]) if part in _PATTERNS else Markup(name if part == NAME else part)


def read_header(chars: CharStream, header: Header, *stops: str, nexts: Sequence[str] = ("{",)) -> Parser[str | None]:
    """Read a header up to the arguments and return the tool's name; None if one of `stops` or the end comes first.

    The first text of the header is skipped if it stands there still. A name that no text of the header follows ends
    at one of `nexts`, which are left to be read.
    """
    name: str | None = None
    for at, part in enumerate(header):
        if not part.startswith("\0"):
            if at == 0:
                yield from chars.skip_markup(part)
            continue
        text = header[at + 1] if at + 1 < len(header) else ""
        following = text.strip() or text[:1] * ("\n" in text)
        ends = (following,) if following else tuple(nexts)
        text, end = yield from chars.upto(*ends, *(stop for stop in stops if stop not in ends))
        if not end or end not in ends:
            return None
        if not following:
            chars.back(len(end))
        name = text.strip() if part == NAME else name
    return name


def named_members(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an object that its normalised schema names, be it as required ones alone."""
    named: dict[str, Any] = dict(schema.get("properties", {}))
    rest = schema.get("additionalProperties", True)
    return named | {name: rest for name in schema.get("required", ()) if name not in named and rest is not False}


FURTHER_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
"""The pattern of the names of members that a schema does not name."""


def further_members(schema: Mapping[str, Any]) -> Any:
    """Return what members of an object have to be that its normalised schema does not name, False if none may be.

    What is said of names by patterns is left to be checked.
    """
    return True if "patternProperties" in schema else schema.get("additionalProperties", True)


def members_grammar(members: Sequence[tuple[Node, bool]], comma: str, further: Node | None = None) -> Node:
    """Return the grammar of members in their order, of which some are required, with a comma between any two.

    Any number of `further` ones may stand behind them.
    """
    more: Node = Optional(Seq((comma, Many(further, comma)))) if further else ""
    first = next((at for at, (_, required) in enumerate(members) if required), None)
    if first is None:
        forms: list[Node] = [
            Seq((member, *_further(members[at + 1 :], comma), more)) for at, (member, _) in enumerate(members)
        ]
        forms += [Many(further, comma)] if further else []
        return Optional(Choice(tuple(forms))) if forms else ""
    before = (Optional(Seq((member, comma))) for member, _ in members[:first])
    return Seq((*before, members[first][0], *_further(members[first + 1 :], comma), more))


def _further(members: Sequence[tuple[Node, bool]], comma: str) -> Iterator[Node]:
    for member, required in members:
        yield Seq((comma, member)) if required else Optional(Seq((comma, member)))


def arguments_grammar(tool: Tool) -> Json:
    """Return the grammar of a tool's arguments as a JSON object."""
    return Json(tool.held.text)


def schema_grammar(schema: Mapping[str, Any]) -> Json:
    """Return the grammar of JSON that follows a normalised schema."""
    return Json(json.dumps(schema, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Family:
    """The formats of `calls` of a family, the likeliest first, and the `signs` by which it is recognised.

    A family is tried if one of its signs is in the template or is a token of the vocabulary. The template's text for a
    test call decides which of its formats is right, and whether one is.
    """

    calls: tuple[ToolCallFormat, ...]
    signs: tuple[str, ...]
    thinking: ThinkingMarkup | None = None
