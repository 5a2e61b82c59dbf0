"""A reply read as it is written: plain text, and the calls among it."""

from contextlib import suppress
from typing import TypeAlias

from glimp_core.chat.formats.base import ToolCallFormat
from glimp_core.chat.formats.builder import ToolCallBuilder
from glimp_core.chat.formats.characters import END, CharStream, Parser
from glimp_core.chat.formats.parsers import read_call, read_objects
from glimp_core.chat.formats.unmarked import read_bare
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.types import ToolCallDelta

Piece: TypeAlias = str | ToolCallDelta


class ReplyParser:
    """Takes a reply's text in pieces of any size; gives back plain text and the deltas of its calls.

    Never raises on what a model writes: a call that cannot be read becomes an InvalidToolCall, and text that is
    no call comes out as it went in. Blank space beside a call belongs to the call. With `lenient`, a reply that
    is nothing but calls without marks, of offered tools and with fitting arguments, is read as calls; text is
    held back only while it can still become that. Without tools everything is text.
    """

    def __init__(self, dialect: ToolCallFormat, requirements: OutputRequirements, lenient: bool = True):
        self.unmarked = False
        """Whether calls were found that the model wrote without the marks of its dialect."""
        self._dialect = dialect
        self._requirements = requirements
        self._lenient = lenient
        self._source = CharStream()
        self._pieces: list[Piece] = []
        self._calls = 0
        self._reading = self._read()
        next(self._reading)

    def push(self, text: str) -> list[Piece]:
        """Take the next text; return what is certain now."""
        if not self._requirements.tools:
            return [text] if text else []
        for character in text:
            self._reading.send(character)
        return self._released()

    def finish(self) -> list[Piece]:
        """Return what was held back; the reply is over."""
        with suppress(StopIteration):
            self._reading.send(END)
        return self._released()

    def _read(self) -> Parser[None]:
        if self._dialect.bare and self._requirements.must_call:
            yield from read_objects(self._source, self._draft)
        elif self._dialect.bare or self._lenient:
            yield from self._read_bare()
        held = ""
        while (c := (yield from self._source.next())) != END:
            self._source.start()
            held = self._say(held + c)
            mark = held.lstrip()
            if mark in self._dialect.openings:
                held = ""
                yield from read_call(self._source, mark, self._draft, self._requirements.tools)
                yield from self._source.skip_blank()
        self._put(held)

    def _read_bare(self) -> Parser[None]:
        for name, arguments in (yield from read_bare(self._source, self._requirements.tools)) or ():
            self.unmarked = not self._dialect.bare
            draft = self._draft()
            draft.set_name(name)
            draft.add(arguments)
            draft.finish()

    def _say(self, text: str) -> str:
        """Put what of a text can be no part of an opening mark; return the rest, with the blank space before it."""
        while (mark := text.lstrip()) and not any(opening.startswith(mark) for opening in self._dialect.openings):
            first = len(text) - len(mark) + 1
            self._put(text[:first])
            text = text[first:]
        return text

    def _draft(self) -> ToolCallBuilder:
        """Start the next call; where one was wanted, the ones after the first are read and dropped."""
        self._calls += 1
        dropped = self._requirements.one_call and self._calls > 1
        return ToolCallBuilder(self._calls - 1, (lambda delta: None) if dropped else self._put)

    def _put(self, piece: Piece) -> None:
        if piece:
            self._pieces.append(piece)

    def _released(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        joined: list[Piece] = []
        for piece in pieces:
            if joined and (both := _joined(joined[-1], piece)):
                joined[-1] = both
            else:
                joined.append(piece)
        return joined


def _joined(one: Piece, other: Piece) -> Piece | None:
    """Two pieces as one, where both are text or fragments of the same arguments."""
    if isinstance(one, str) or isinstance(other, str):
        return one + other if isinstance(one, str) and isinstance(other, str) else None
    fragments = one.index == other.index and one.arguments and other.arguments
    return ToolCallDelta(one.index, arguments=one.arguments + other.arguments) if fragments else None
