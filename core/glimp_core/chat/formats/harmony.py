"""Replies of several messages with headers: OpenAI's harmony (gpt-oss) and Muse's addressed messages.

A header names the recipient and the channel of a message. Thinking, text for the user and calls are messages.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from glimp_core.chat.formats.base import NAME, Family, Frame, NewCall, arguments_grammar
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.tagged_calls import ParameterMarkup, TaggedCalls
from glimp_core.chat.formats.values import read_arguments
from glimp_core.chat.grammar.lark import Choice, Many, Markup, Node, Optional
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.request.tools import Tool

_RECIPIENT = re.compile(r"to=(?:functions\.)?([\w.:/$-]+)")


@dataclass(frozen=True, slots=True)
class Channels:
    """How replies are cut into messages.

    A header ends at `header_end` and begins with one of `header_starts`; a message ends at one of `message_ends`.
    Messages on a channel of `thoughts`, or to one of these, are thoughts; those to `answers` are for the user.
    """

    header_starts: tuple[str, ...]
    header_end: str
    message_ends: tuple[str, ...]
    thoughts: tuple[str, ...]
    answers: tuple[str, ...] = ()

    def is_thought(self, header: str) -> bool:
        """Tell whether a message is a thought."""
        return any(word in header for word in self.thoughts)

    def recipient(self, header: str) -> str | None:
        """Return the tool that a message is for; None for words to the user."""
        found = _RECIPIENT.search(header)
        return found[1] if found and found[1] not in self.answers else None


@dataclass(frozen=True, slots=True)
class HarmonyCalls:
    """` to=functions.name<|channel|>commentary json<|message|>{...}`, its parts in the two orders that models use."""

    name: str = "harmony"
    sections: bool = False
    unmarked: bool = False

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens a call in a header."""
        return ("to=functions.",)

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return the markers."""
        return self.start_markers

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of one call of the tools, or of several, each a message."""
        calls = tuple(Seq((f"to=functions.{tool.name}", _FORMAT, arguments_grammar(tool))) for tool in tools)
        call = Seq(
            (Optional(Choice((" ", Markup("<|channel|>commentary ")))), Choice(calls), Optional(Markup("<|call|>")))
        )
        return Many(call, Markup("<|start|>assistant")) if many else call

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read the arguments of a message whose header has been read; `marker` is the tool's name."""
        builder = new_call()
        builder.set_name(marker)
        yield from read_arguments(chars, builder, "<|call|>", ("<|start|>", "<|end|>"))
        return True


_FORMAT = Seq(
    (
        Choice((Markup("<|channel|>commentary json"), Markup(" <|constrain|>json"), " json", "")),
        Markup("<|message|>"),
    )
)

MUSE_TAGS = TaggedCalls(
    "muse",
    header=('<atem:invoke name="', NAME, '">\n'),
    parameter=ParameterMarkup('<atem:parameter name="', '">', "</atem:parameter>\n"),
    end="</atem:invoke>",
    frame=Frame("<atem:function_calls>\n", "\n</atem:function_calls>", "\n"),
)


@dataclass(frozen=True, slots=True)
class MuseCalls:
    """` to=name<|message|><atem:function_calls>...`: tags in a message to the tool."""

    name: str = "muse"
    sections: bool = False
    unmarked: bool = False

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens calls in a message."""
        return MUSE_TAGS.start_markers[:1]

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """Return the headers of messages to the tools."""
        return tuple(f"to={tool.name}<|message|>" for tool in tools)

    def grammar(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of a message to one of the tools, or of several messages."""
        messages = (Seq((Markup(f"to={tool.name}<|message|>"), MUSE_TAGS.grammar([tool], False))) for tool in tools)
        message = Seq((Optional(" "), Choice(tuple(messages))))
        return Many(message, Markup("<|eom|><|start|>assistant")) if many else message

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read the tags."""
        first = MUSE_TAGS.start_markers[0]
        yield from chars.skip_markup(first)
        yield from MUSE_TAGS.parse(chars, new_call, tools, first)
        return True


HARMONY = HarmonyCalls()
MUSE = MuseCalls()
CHANNELS = {
    HARMONY.name: Channels(
        ("<|start|>", "<|channel|>", "<|constrain|>", "to=", "assistant"),
        "<|message|>",
        ("<|end|>", "<|return|>", "<|call|>"),
        thoughts=("<|channel|>analysis",),
    ),
    MUSE.name: Channels(
        ("<|start|>", "to=", "assistant"),
        "<|message|>",
        ("<|eom|>", "<|eot|>"),
        thoughts=("to=self",),
        answers=("user",),
    ),
}
"""By the format of the calls, how a reply is cut into messages."""

FAMILY = Family((HARMONY,), signs=("<|channel|>",))
MUSE_FAMILY = Family((MUSE,), signs=("<atem:function_calls>",))
