"""The output processor: the tokens of one engine call become text, thinking and calls, and an end.

A chain of thought ends at a token, or at a text that may be spelled in several.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from glimp_core.chat.formats.reader import OutputPart, ReplyParser, Thought
from glimp_core.chat.formats.thinking import ThinkingMarkup
from glimp_core.chat.output.constraints import TokenConstraint
from glimp_core.chat.tokens.vocabulary import Detokenizer, Vocabulary
from glimp_core.stopping import StepBoundary
from glimp_core.types import Chunk, GenerationParams, StepEnd

LONGEST_CHARACTER = 3
"""A character has at most this many bytes after its first."""

UNMARKED = "the model wrote a tool call without its markers, and it was read all the same (lenient_tool_calls)"


def no_note(text: str) -> None:
    """Take a note for nobody."""


class OutputProcessor:
    """Processes the tokens of one step or answer until its `end`. At most `room` tokens fit into the window.

    A step that reaches its limit inside a character continues to the end of the character, because the other model
    needs complete characters. An answer omits an incomplete character, and does not end without text. A `constraint`
    constrains the tokens. A `parser` finds calls and thinking in the text, which contains the texts of control tokens.
    `thinking` is the markup that closes a chain of thought. `note` is called with messages for the user.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        stop_ids: frozenset[int],
        params: GenerationParams,
        room: int,
        parser: ReplyParser | None = None,
        constraint: TokenConstraint | None = None,
        thinking: ThinkingMarkup | None = None,
        note: Callable[[str], None] = no_note,
    ):
        self.end: StepEnd | None = None
        self.readable = len(vocabulary.token_bytes)
        """Ids from here on are padding of the model's output, which no tokenizer can read."""
        self.logprobs = params.logprobs
        self._vocabulary = vocabulary
        self._stop_ids = stop_ids
        self._thinking = ThinkingEndMatcher(thinking, vocabulary) if thinking and params.phase == "thinking" else None
        self._boundary = StepBoundary() if params.stepwise else None
        self._detokenizer = Detokenizer()
        self._left = params.max_tokens
        self._room = room
        self._parser = parser
        self._constraint = constraint
        self._note = note
        self._owes_word = False
        self._silent = params.phase != "thinking" and (params.index == 0 or not params.stepwise)
        self._controls: set[str] = set()
        self._visible = ""

    @property
    def left(self) -> int:
        """How many more tokens may be written."""
        return min(self._left, self._room)

    @property
    def constrained(self) -> bool:
        """Whether a mask constrains the next token."""
        return self.allowed() is not None

    def allowed(self) -> bytes | None:
        """Return a bit for every token that may come next, lowest bit first; None if all may."""
        if self._owes_word:
            return self._vocabulary.words
        return self._constraint.allowed() if self._constraint else None

    def refuses(self, token_id: int) -> bool:
        """Return whether a drawn token would end an answer without any text.

        It is then drawn again with a mask that allows only beginnings of words. The mask does not allow a call: a model
        that tries to end its answer has decided against a call.
        """
        refused = self._silent and token_id in self._stop_ids and not self.constrained
        self._owes_word = self._owes_word or refused
        return refused

    def advance(self, token_id: int) -> int:
        """Return the token to write for a drawn one: itself, or one that completes a demanded answer in time."""
        return self._constraint.advance(token_id, self.left - 1) if self._constraint else token_id

    def push(self, token_id: int) -> Iterator[Chunk]:
        """Write one token; yields the chunks it completes, the last one with the end."""
        self._left -= 1
        self._room -= 1
        closes = self._thinking is not None and self._thinking.closes(token_id)
        if token_id in self._stop_ids or closes:
            yield from self._last("close" if closes else "eos", (token_id,))
            return
        piece = self._vocabulary.token_bytes[token_id] or b""
        if piece.strip():
            self._silent = self._owes_word = False
        whole = self._detokenizer.push(token_id, piece)
        if self._thinking and whole:
            written, over = self._thinking.push(*whole)
            if over is not None:
                yield from (Chunk(*part) for part in written)
                self.end = "close"
                yield Chunk("", over, end="close")
                return
        else:
            written = [whole] if whole else []
        self._settle(piece, broken=whole is None)
        yield from self._chunks(written, token_id, whole is not None)

    def _settle(self, piece: bytes, broken: bool) -> None:
        """Check whether the written token ends this call."""
        if self._boundary and self._boundary.push(piece):
            self.end = "break"
        elif self._constraint and self._constraint.done:
            self.end = "eos"
        elif self._full(broken):
            self.end = "length"

    def _chunks(self, written: list[tuple[str, tuple[int, ...]]], token_id: int, whole: bool) -> Iterator[Chunk]:
        if self.end and not whole:
            written = [*written, self._broken_off()]
        if self.end and self._thinking:
            written = [*written, *self._thinking.flush()]
        chunks: list[Chunk] = []
        for text, ids in written:
            chunks += self._read(text, ids, token_id)
        if self.end:
            chunks = [*(chunks or [Chunk("")]), *self._held_back()]
            yield from chunks[:-1]
            yield replace(chunks[-1], end=self.end) if self.end != "eos" else chunks[-1]
            if self.end == "eos":
                yield Chunk("", end=self.end)
            return
        yield from chunks

    def close(self, end: StepEnd, token_ids: tuple[int, ...] = ()) -> Iterator[Chunk]:
        """End here, for a reason that lies outside of the text, with the ids that stand for it."""
        self.end = end
        if self._detokenizer.waiting:
            text, waiting = self._broken_off()
            yield from self._read(text, waiting, waiting[-1])
        yield from self._flushed()
        yield Chunk("", token_ids, end=end)

    def _last(self, end: StepEnd, token_ids: tuple[int, ...]) -> Iterator[Chunk]:
        if self._detokenizer.waiting:
            yield from self._read(*self._detokenizer.flush(), token_ids[0])
        self.end = end
        yield from self._flushed()
        yield Chunk("", token_ids, end=end)

    def _flushed(self) -> Iterator[Chunk]:
        for text, ids in self._thinking.flush() if self._thinking else ():
            yield Chunk(text, ids)
        yield from self._held_back()

    def _read(self, text: str, token_ids: tuple[int, ...], token_id: int) -> list[Chunk]:
        """The chunks of a whole text: one, or what a parser makes of it; the ids go with the first."""
        if not self._parser:
            return [Chunk(text, token_ids)]
        if control := self._vocabulary.control_text(token_id):
            self._controls.add(control)
        first, *others = map(self._chunk, self._parser.push(text + control) or [""])
        return [replace(first, token_ids=token_ids), *others]

    def _held_back(self) -> Iterator[Chunk]:
        if not self._parser:
            return
        yield from map(self._chunk, self._parser.finish())
        if self._parser.unmarked:
            self._note(UNMARKED)
        if unknown := sorted(control for control in self._controls if control in self._visible):
            self._note(f"the model wrote control tokens of unknown markup, which are left in the answer: {unknown}")

    def _chunk(self, part: OutputPart) -> Chunk:
        if isinstance(part, Thought):
            return Chunk(part.text, thought=True)
        if isinstance(part, str):
            self._visible += part if self._controls else ""
            return Chunk(part)
        return Chunk("", tool_call=part)

    def _full(self, broken: bool) -> bool:
        grace = LONGEST_CHARACTER if broken and self._boundary else 0
        return self._left + grace <= 0 or self._room <= 0

    def _broken_off(self) -> tuple[str, tuple[int, ...]]:
        text, token_ids = self._detokenizer.flush()
        return text if self._boundary else text.removesuffix("\ufffd"), token_ids


SpelledText = tuple[str, tuple[int, ...]]
"""A text and the ids that spell it."""


class ThinkingEndMatcher:
    """Watches a chain of thought for the markup that closes it.

    Text that may be the beginning of the end is held back until it is known to be or not.
    """

    def __init__(self, markup: ThinkingMarkup, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._end = markup.end
        self._id = vocabulary.markers.get(markup.end)
        self._held: list[tuple[int, str]] = []

    def closes(self, token_id: int) -> bool:
        """Whether a token by itself ends the thinking."""
        return token_id == self._id

    @property
    def waiting(self) -> bool:
        """Whether text is held back."""
        return bool(self._held)

    def push(self, text: str, token_ids: tuple[int, ...]) -> tuple[list[SpelledText], tuple[int, ...] | None]:
        """Take a text; return what is certain to be thought, and the ids of the end once it is there."""
        if self._id is not None:
            return [(text, token_ids)], None
        shown = text or "".join(map(self._vocabulary.control_text, token_ids))
        self._held += [(token_id, shown if n == 0 else "") for n, token_id in enumerate(token_ids)]
        whole = "".join(part for _, part in self._held)
        at = whole.find(self._end)
        if at >= 0:
            held = tuple(token_id for token_id, _ in self._held)
            self._held = []
            before = whole[:at]
            return ([(before, tuple(self._vocabulary.encode(before)))] if before else []), held
        keep = next(
            n for n in range(min(len(whole), len(self._end)), -1, -1) if n == 0 or self._end.startswith(whole[-n:])
        )
        return list(self._release(keep)), None

    def flush(self) -> list[SpelledText]:
        """Return what was held back; the step is over."""
        return list(self._release(0))

    def _release(self, keep: int) -> Iterator[SpelledText]:
        """Give out the held tokens, but those that spell the last `keep` characters."""
        kept: list[tuple[int, str]] = []
        while keep > 0 and self._held:
            token_id, text = self._held.pop()
            kept.insert(0, (token_id, text))
            keep -= len(text)
        for token_id, text in self._held:
            yield self._plain(token_id, text), (token_id,)
        self._held = kept

    def _plain(self, token_id: int, text: str) -> str:
        return "" if self._vocabulary.token_bytes[token_id] is None else text
