"""Parsing of a reply while it is written: text, thinking and calls."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from glimp_core.chat.formats.base import ToolCallFormat
from glimp_core.chat.formats.builder import ToolCallBuilder
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.formats.harmony import CHANNELS, Channels
from glimp_core.chat.formats.hermes import HERMES
from glimp_core.chat.formats.thinking import Thinking
from glimp_core.chat.formats.unmarked import read_unmarked
from glimp_core.chat.formats.values import read_objects
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.types import ToolCallDelta

PLAIN_THOUGHTS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<thinking>", "</thinking>"))
"""Markup of thinking at the beginning of any model's reply, also if the model's markup is not known."""


class Thought(NamedTuple):
    """A piece of a thought that stands in a reply."""

    text: str


OutputPart: TypeAlias = str | Thought | ToolCallDelta


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """The format of one model's replies.

    `header` is the template's text before a reply, `content_start` and `content_ends` are the markup around text for
    the user, `lead` is the text between thinking and the rest. `native` is false if the calls are not in the template's
    own format. `notes` are messages for the user. `controls` are the texts of control tokens, which are markup at any
    place.
    """

    calls: ToolCallFormat = HERMES
    thinking: Thinking | None = None
    header: str = ""
    content_start: str = ""
    content_ends: tuple[str, ...] = ()
    lead: str = ""
    native: bool = True
    notes: tuple[str, ...] = ()
    controls: frozenset[str] = frozenset()

    @property
    def markers(self) -> tuple[str, ...]:
        """The tags and tokens that replies are written with, as far as they are known as wholes."""
        markup = self.thinking.markup if self.thinking else None
        around = (markup.start.strip(), markup.end) if markup else ()
        channels = self.channels
        inner = (channels.header_end, *channels.message_ends) if channels else ()
        return (*self.calls.start_markers, *around, *self.content_ends, *inner)

    @property
    def channels(self) -> Channels | None:
        """How replies are cut into messages, None for those that are one."""
        return CHANNELS.get(self.calls.name)


class ReplyParser:
    """A parser for a reply's text in pieces of any size. It returns text, thinking and the deltas of calls.

    It never raises for a model's text: a call that cannot be parsed becomes an InvalidToolCall, and text that is not a
    call is returned unchanged. Blank space next to a call belongs to the call. With `lenient`, a reply that contains
    only calls without markers, of offered tools and with valid arguments, is parsed as calls. Text is held back only
    while this is still possible. Without tools nothing is a call.
    """

    def __init__(self, format: ReplyFormat, requirements: OutputRequirements, lenient: bool = True):
        self.unmarked = False
        """Whether calls were found that the model wrote without the markers of its format."""
        self._format = format
        self._requirements = requirements
        self._lenient = lenient
        self._chars = CharStream()
        self._parts: list[OutputPart] = []
        self._calls = 0
        channels = format.channels
        self._parser = self._read_messages(channels) if channels else self._read_message()
        next(self._parser)

    def push(self, text: str) -> list[OutputPart]:
        """Add text, and return the parts that are certain."""
        for character in text:
            self._parser.send(character)
        return self._released()

    def finish(self) -> list[OutputPart]:
        """Return the text that was held back, at the end of the reply."""
        with suppress(StopIteration):
            self._parser.send(END)
        return self._released()

    def _read_lead(self) -> Parser[None]:
        """Read thoughts, and the markup that stands in front of the words to the user."""
        format, thinking = self._format, self._format.thinking
        pairs = {start: end for start, end in PLAIN_THOUGHTS}
        ends = set(pairs.values())
        if thinking:
            pairs |= {thinking.markup.start.strip(): thinking.markup.end}
            ends.add(thinking.markup.end)
        skipped = {format.header.strip(), format.content_start.strip(), format.lead.strip(), *ends} - {""}
        over = thinking.markup.after_end.strip() if thinking else ""
        while (found := (yield from self._chars.match((*pairs, *skipped, over)))) is not None:
            if found in pairs:
                yield from self._stream((pairs[found],), lambda text: self._put(Thought(text)))

    def _read_bare_calls(self) -> Parser[None]:
        tools, calls = self._requirements.tools, self._format.calls
        if calls.unmarked and self._requirements.must_call:
            yield from read_objects(self._chars, self._new_call)
        elif calls.unmarked or self._lenient:
            close = "</tool_call>" if calls.unmarked else getattr(calls, "end", "").strip()
            for name, arguments in (yield from read_unmarked(self._chars, tools, calls.unmarked, close)) or ():
                self.unmarked = not calls.unmarked
                builder = self._new_call()
                builder.set_name(name)
                builder.add(arguments)
                builder.finish()

    def _read_message(self) -> Parser[None]:
        """Read a reply that is one message: words, and the calls and thoughts that markers open among them."""
        yield from self._read_lead()
        if self._requirements.tools:
            yield from self._read_bare_calls()
        thinking = self._format.thinking
        openings = self._openings()
        own = self._format.calls.openings(self._requirements.tools)
        thought = thinking.markup.start.strip() if thinking else ""
        held = ""
        while (c := (yield from self._chars.next())) != END:
            self._chars.start()
            held = self._say(held + c, openings)
            marker = held.lstrip()
            if marker not in openings:
                continue
            if any(other.startswith(marker) and other != marker for other in openings):
                self._chars.unread(marker)
                marker = (yield from self._chars.match(openings)) or marker
            whole, held = held, ""
            if marker in self._format.content_ends and marker not in own:
                if marker[0] not in "<[" or not (self._is_control(marker) or (yield from self._ends())):
                    self._put(marker)
            elif marker == thought and thinking:
                yield from self._stream((thinking.markup.end,), lambda text: self._put(Thought(text)))
            else:
                calls, marker = self._format_of(marker)
                if (yield from calls.parse(self._chars, self._new_call, self._requirements.tools, marker)):
                    yield from self._chars.skip_blank()
                else:
                    self._put(whole)
        self._put(held)

    def _is_control(self, marker: str) -> bool:
        return any(marker.startswith(control) for control in self._format.controls)

    def _ends(self) -> Parser[bool]:
        return (yield from self._chars.skip_blank()) == END

    def _format_of(self, marker: str) -> tuple[ToolCallFormat, str]:
        """Return the format of the call that an opening begins, and its start marker, "" if it has none."""
        calls = self._format.calls
        if marker in calls.start_markers:
            return calls, marker
        if marker in HERMES.start_markers:
            return HERMES, marker
        self._chars.unread(marker)  # the beginning of a call that has no marker
        return calls, ""

    def _openings(self) -> tuple[str, ...]:
        format = self._format
        thinking = format.thinking
        found = [*format.content_ends]
        if thinking and thinking.markup.start.strip() in format.controls:
            found.append(thinking.markup.start.strip())
        if self._requirements.tools:
            found += format.calls.openings(self._requirements.tools)
            if not format.native:
                found += HERMES.start_markers
        return tuple(dict.fromkeys(filter(None, found)))

    def _read_messages(self, channels: Channels) -> Parser[None]:
        """Read a reply that is cut into messages: each has a header that says what it is."""
        ends = (*channels.message_ends, "<|start|>")
        while True:
            header = yield from self._message_header(channels)
            if header == END:
                return
            if header is not None and channels.is_thought(header):
                yield from self._stream(ends, lambda text: self._put(Thought(text)))
            elif header is not None and (name := channels.recipient(header)) and self._requirements.tools:
                yield from self._format.calls.parse(self._chars, self._new_call, self._requirements.tools, name)
                yield from self._chars.match(channels.message_ends)
            elif not (yield from self._stream(ends, self._put)):
                return

    def _message_header(self, channels: Channels) -> Parser[str | None]:
        """Read the next header; None if words stand in its place, END at the end of the reply."""
        self._chars.start()
        while True:
            c = yield from self._chars.next()
            text = self._chars.read
            if channels.header_end in text:
                return text
            begun = text.lstrip()
            if c == END:
                if begun:
                    self._put(text)
                return END
            if begun and not any(begun.startswith(s) or s.startswith(begun) for s in channels.header_starts):
                self._chars.back(len(text))
                return None

    def _stream(self, ends: Sequence[str], put: Callable[[str], None]) -> Parser[str]:
        """Pass text on up to the first of some ends; return which it was, END at the end of the reply."""
        held = ""
        while (c := (yield from self._chars.next())) != END:
            held += c
            for end in ends:
                if held.endswith(end):
                    put(held[: -len(end)])
                    return end
            keep = next(n for n in range(len(held), -1, -1) if n == 0 or any(e.startswith(held[-n:]) for e in ends))
            put(held[: len(held) - keep])
            held = held[len(held) - keep :]
            self._chars.start()
        put(held)
        return END

    def _say(self, text: str, openings: Sequence[str]) -> str:
        """Emit the part of a text that cannot belong to an opening; return the rest, with blanks before a call."""
        if not self._requirements.tools:  # held text would be lost if the model failed
            blank = len(text) - len(text.lstrip())
            self._put(text[:blank])
            text = text[blank:]
        while (marker := text.lstrip()) and not any(opening.startswith(marker) for opening in openings):
            first = len(text) - len(marker) + 1
            self._put(text[:first])
            text = text[first:]
        return text

    def _new_call(self) -> ToolCallBuilder:
        """Start the next call; where one was wanted, the ones after the first are read and dropped."""
        self._calls += 1
        dropped = self._requirements.one_call and self._calls > 1
        return ToolCallBuilder(self._calls - 1, (lambda delta: None) if dropped else self._put)

    def _put(self, part: OutputPart) -> None:
        if part and part != Thought(""):
            self._parts.append(part)

    def _released(self) -> list[OutputPart]:
        parts, self._parts = self._parts, []
        joined: list[OutputPart] = []
        for part in parts:
            if joined and (both := _joined(joined[-1], part)):
                joined[-1] = both
            else:
                joined.append(part)
        return joined


def _joined(one: OutputPart, other: OutputPart) -> OutputPart | None:
    """Two parts as one, where both are words, thoughts, or fragments of the same arguments."""
    if isinstance(one, str) and isinstance(other, str):
        return one + other
    if isinstance(one, Thought) and isinstance(other, Thought):
        return Thought(one.text + other.text)
    if isinstance(one, ToolCallDelta) and isinstance(other, ToolCallDelta):
        fragments = one.index == other.index and one.arguments and other.arguments
        return ToolCallDelta(one.index, arguments=one.arguments + other.arguments) if fragments else None
    return None
