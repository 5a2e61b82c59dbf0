"""Calls that are a tool's name between markers, followed by its arguments as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

from glimp_core.chat.formats.base import (
    CUT,
    NO_FRAME,
    Frame,
    Header,
    NewCall,
    arguments_grammar,
    header_grammar,
    read_header,
)
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.values import read_arguments
from glimp_core.chat.grammar.lark import Choice, Markup, Node
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.request.tools import Tool


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """A `header` with the name, the arguments, and `end`; `frame` stands around all calls of a reply.

    `lax` are texts that models put between a header and its arguments, or leave out.
    """

    name: str
    header: Header
    end: str = ""
    frame: Frame = NO_FRAME

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens calls in free text: the frame, or a call where a model leaves the frame out."""
        first = "" if self.header[0].startswith("\0") else self.header[0].strip()
        return tuple(dict.fromkeys(text for text in (self.frame.start.strip(), first) if text))

    @property
    def sections(self) -> bool:
        """Whether one start marker can open several calls."""
        return bool(self.frame.end.strip()) and not self.frame.each

    @property
    def unmarked(self) -> bool:
        """Whether a reply may be a call without a marker."""
        return not self.start_markers

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return the markers; where there are none, the names of the tools with what stands behind them."""
        if self.start_markers:
            return self.start_markers
        return tuple(
            f"{tool.name}{self.header[1].rstrip()}".strip() + "\n" * self.header[1].endswith("\n") for tool in tools
        )

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of one call of the tools, or of several."""
        calls = [
            Seq((*header_grammar(self.header, tool.name), arguments_grammar(tool), Markup(self.end))) for tool in tools
        ]
        return self.frame.around(Choice(tuple(calls)), many)

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read calls up to the end of their frame."""
        opened = not marker or marker != self.frame.start.strip()
        while opened or (yield from self._opens(chars)):
            opened = False
            yield from self._call(chars, new_call)
            yield from chars.skip_markup(self.frame.between)
        yield from chars.skip_markup(self.frame.end)
        return True

    @property
    def _begins_with_name(self) -> bool:
        return self.header[0].startswith("\0")

    def _opens(self, chars: CharStream) -> Parser[bool]:
        first = self.header[0].strip()
        if self._begins_with_name:
            return bool(self.frame.between.strip()) and (yield from chars.skip_markup(self.frame.between))
        return bool(first) and (yield from chars.skip_markup(first))

    def _call(self, chars: CharStream, new_call: NewCall) -> Parser[None]:
        builder = new_call()
        close = self.end.strip()
        chars.start()
        name = yield from read_header(chars, self.header, *filter(None, (close, self.frame.end.strip())))
        if name is None:
            builder.reject(chars.read.strip(), "it names no tool, or has no arguments" if chars.read else CUT)
            return
        builder.set_name(name)
        yield from read_arguments(chars, builder, close, self.start_markers)
        yield from chars.skip_markup(self.end)
