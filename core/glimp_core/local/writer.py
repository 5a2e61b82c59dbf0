"""The decode loop: one step or one answer, token by token, out of a session's logits."""

from collections.abc import Generator, Iterator

from glimp_core.chat.streaming import TextStream
from glimp_core.chat.vocabulary import Vocabulary
from glimp_core.local.meter import Meter
from glimp_core.local.owner import Job
from glimp_core.local.sampling import Sampler
from glimp_core.local.session import Forward, KVSession
from glimp_core.steps import StepBoundary
from glimp_core.types import Chunk, GenerationParams, StepEnd

LONGEST_CHARACTER = 3
"""A character has at most this many bytes after its first."""


def write(
    job: Job, session: KVSession, sampler: Sampler, page: "Page", room: int, meter: Meter
) -> Generator[Forward, None, None]:
    """Draw and feed tokens until the page is full or `room` is used up; puts a Chunk for every whole piece of text.

    The last token is left for the next sync to feed: whoever looks at what follows needs that forward
    anyway, so a glimpse after this model's own step costs none.
    """
    while True:
        assert session.logits is not None
        with meter.decoding():
            token_id = sampler.draw(session.logits[-1, : page.vocabulary_size])
        pieces = [*page.push(token_id, last=room <= 1)]
        for at, (text, token_ids) in enumerate(pieces, 1):
            job.put(Chunk(text, token_ids, meter.usage(), page.end if at == len(pieces) else None))
        if page.end:
            break
        forward = Forward(session, [token_id])
        yield forward
        meter.add(forward)
        room -= 1


class Page:
    """Where one call writes: turns ids into whole pieces of text and knows what ended it."""

    def __init__(self, vocabulary: Vocabulary, stop_ids: frozenset[int], params: GenerationParams):
        self.end: StepEnd | None = None
        self.vocabulary_size = len(vocabulary.pieces)
        self._pieces = vocabulary.pieces
        self._stop_ids = stop_ids
        self._close_id = vocabulary.think.close_id if vocabulary.think and params.phase == "thinking" else None
        self._boundary = StepBoundary() if params.stepwise else None
        self._left = params.max_tokens
        self._stream = TextStream()

    def push(self, token_id: int, last: bool = False) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Take a drawn token, the `last` one there is room for; yields whole pieces of text with their ids.

        The final piece comes with `end` set. A step that reaches its limit inside a character goes on to
        the end of the character, so that the other model can follow; an answer drops the broken rest.
        """
        self._left -= 1
        if token_id in self._stop_ids or token_id == self._close_id:
            if self._stream.waiting:
                yield self._stream.flush()
            self.end = "close" if token_id == self._close_id else "eos"
            yield "", (token_id,)
            return
        piece = self._pieces[token_id] or b""
        if self._boundary and self._boundary.push(piece):
            self.end = "break"
        whole = self._stream.push(token_id, piece)
        if not self.end and (last or self._full(broken=whole is None)):
            self.end = "length"
        if whole or self.end:
            yield whole or self._broken_off()

    def _broken_off(self) -> tuple[str, tuple[int, ...]]:
        """What is left of a text that ends inside a character: an answer does not show the broken one."""
        text, token_ids = self._stream.flush()
        return text if self._boundary else text.removesuffix("\ufffd"), token_ids

    def _full(self, broken: bool) -> bool:
        """Whether the limit is reached; a step is given the rest of a character that it broke off in."""
        grace = LONGEST_CHARACTER if broken and self._boundary else 0
        return self._left + grace <= 0
