"""Where one call writes: ids become whole pieces of text, and something ends it."""

from collections.abc import Iterator
from dataclasses import replace

from glimp_core.chat.output.answer import AnswerReader
from glimp_core.chat.output.reply_parser import Piece
from glimp_core.chat.tokens.detokenizer import Detokenizer
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.steps import StepBoundary
from glimp_core.types import Chunk, GenerationParams, StepEnd

LONGEST_CHARACTER = 3
"""A character has at most this many bytes after its first."""


class OutputProcessor:
    """Takes the tokens of one step or answer, and knows its `end`; at most `room` tokens fit the window.

    A step that reaches its limit inside a character goes on to the end of the character, so that the
    other model can follow; an answer does not show the broken one, and does not end before it has said something.
    With an `answer`, tokens may be held to a grammar, and calls are read out of the text.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        stop_ids: frozenset[int],
        params: GenerationParams,
        room: int,
        answer: AnswerReader | None = None,
    ):
        self.end: StepEnd | None = None
        self.readable = len(vocabulary.token_bytes)
        """Ids from here on are padding of the model's output, which no tokenizer can read."""
        self.measured = params.measured
        self._vocabulary = vocabulary
        self._stop_ids = stop_ids
        self._close_id = vocabulary.think.close_id if vocabulary.think and params.phase == "thinking" else None
        self._boundary = StepBoundary() if params.stepwise else None
        self._stream = Detokenizer()
        self._left = params.max_tokens
        self._room = room
        self._answer = answer
        self._owes_word = False
        self._silent = params.phase != "thinking" and (params.index == 0 or not params.stepwise)

    @property
    def left(self) -> int:
        """How many more tokens may be written."""
        return min(self._left, self._room)

    @property
    def constrained(self) -> bool:
        """Whether a mask says what the next token may be."""
        return self._owes_word or (self._answer is not None and self._answer.allowed() is not None)

    def allowed(self) -> bytes | None:
        """Return a bit for every token that may come next, lowest bit first; None where all may."""
        if self._owes_word:
            return self._vocabulary.words
        return self._answer.allowed() if self._answer else None

    def refuses(self, token_id: int) -> bool:
        """Say whether a drawn token would end an answer that has said nothing.

        It is to be drawn again then, by a mask that begins a word: whoever wants to end does not want to call a tool.
        """
        refused = self._silent and not self.constrained and token_id in self._stop_ids
        self._owes_word = self._owes_word or refused
        return refused

    def advance(self, token_id: int) -> int:
        """Return the token to write for a drawn one: itself, or one that closes in time what is bound."""
        return self._answer.advance(token_id, self.left - 1) if self._answer else token_id

    def push(self, token_id: int) -> Iterator[Chunk]:
        """Write one token; yields the chunks it completes, the last one with the end."""
        self._left -= 1
        self._room -= 1
        if token_id in self._stop_ids or token_id == self._close_id:
            if self._stream.waiting:
                yield from self._read(*self._stream.flush(), token_id)
            self.end = "close" if token_id == self._close_id else "eos"
            yield from self._held_back()
            yield Chunk("", (token_id,), end=self.end)
            return
        piece = self._vocabulary.token_bytes[token_id] or b""
        if piece.strip():
            self._silent = self._owes_word = False
        whole = self._stream.push(token_id, piece)
        if self._boundary and self._boundary.push(piece):
            self.end = "break"
        elif self._answer and self._answer.done:
            self.end = "eos"
        elif self._full(broken=whole is None):
            self.end = "length"
        if whole or self.end:
            chunks = [*self._read(*(whole or self._broken_off()), token_id), *(self._held_back() if self.end else ())]
            yield from chunks[:-1]
            yield replace(chunks[-1], end=self.end) if self.end != "eos" else chunks[-1]
        if self.end == "eos":
            yield Chunk("", end=self.end)

    def close(self, end: StepEnd, token_ids: tuple[int, ...] = ()) -> Iterator[Chunk]:
        """End here, for a reason that lies outside of the text, with the ids that stand for it."""
        self.end = end
        if self._stream.waiting:
            text, waiting = self._broken_off()
            yield from self._read(text, waiting, waiting[-1])
        yield from self._held_back()
        yield Chunk("", token_ids, end=end)

    def _read(self, text: str, token_ids: tuple[int, ...], token_id: int) -> Iterator[Chunk]:
        """The chunks of a whole text: one, or what an answer makes of it; the ids go with the first."""
        if not self._answer:
            yield Chunk(text, token_ids)
            return
        first, *others = self._answer.read(text, token_id) or [""]
        yield replace(_chunk(first), token_ids=token_ids)
        yield from map(_chunk, others)

    def _held_back(self) -> Iterator[Chunk]:
        return map(_chunk, self._answer.finish() if self._answer else ())

    def _full(self, broken: bool) -> bool:
        grace = LONGEST_CHARACTER if broken and self._boundary else 0
        return self._left + grace <= 0 or self._room <= 0

    def _broken_off(self) -> tuple[str, tuple[int, ...]]:
        text, token_ids = self._stream.flush()
        return text if self._boundary else text.removesuffix("\ufffd"), token_ids


def _chunk(piece: Piece) -> Chunk:
    return Chunk(piece) if isinstance(piece, str) else Chunk("", tool_call=piece)
