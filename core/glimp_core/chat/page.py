"""Where one call writes: ids become whole pieces of text, and something ends it."""

from collections.abc import Iterator

from glimp_core.chat.streaming import TextStream
from glimp_core.chat.vocabulary import Vocabulary
from glimp_core.steps import StepBoundary
from glimp_core.types import Chunk, GenerationParams, StepEnd

LONGEST_CHARACTER = 3
"""A character has at most this many bytes after its first."""


class Page:
    """Takes the tokens of one step or answer, and knows its `end`; at most `room` tokens fit the window.

    A step that reaches its limit inside a character goes on to the end of the character, so that the
    other model can follow; an answer does not show the broken one.
    """

    def __init__(self, vocabulary: Vocabulary, stop_ids: frozenset[int], params: GenerationParams, room: int):
        self.end: StepEnd | None = None
        self.readable = len(vocabulary.pieces)
        """Ids from here on are padding of the model's output, which no tokenizer can read."""
        self.measured = params.measured
        self._pieces = vocabulary.pieces
        self._stop_ids = stop_ids
        self._close_id = vocabulary.think.close_id if vocabulary.think and params.phase == "thinking" else None
        self._boundary = StepBoundary() if params.stepwise else None
        self._stream = TextStream()
        self._left = params.max_tokens
        self._room = room

    @property
    def left(self) -> int:
        """How many more tokens may be written."""
        return min(self._left, self._room)

    def push(self, token_id: int) -> Iterator[Chunk]:
        """Take one token; yields the chunks it completes, the last one with the end."""
        self._left -= 1
        self._room -= 1
        if token_id in self._stop_ids or token_id == self._close_id:
            if self._stream.waiting:
                yield Chunk(*self._stream.flush())
            self.end = "close" if token_id == self._close_id else "eos"
            yield Chunk("", (token_id,), end=self.end)
            return
        piece = self._pieces[token_id] or b""
        whole = self._stream.push(token_id, piece)
        if self._boundary and self._boundary.push(piece):
            self.end = "break"
        elif self._full(broken=whole is None):
            self.end = "length"
        if whole or self.end:
            yield Chunk(*(whole or self._broken_off()), end=self.end)

    def _full(self, broken: bool) -> bool:
        grace = LONGEST_CHARACTER if broken and self._boundary else 0
        return self._left + grace <= 0 or self._room <= 0

    def _broken_off(self) -> tuple[str, tuple[int, ...]]:
        text, token_ids = self._stream.flush()
        return text if self._boundary else text.removesuffix("\ufffd"), token_ids
