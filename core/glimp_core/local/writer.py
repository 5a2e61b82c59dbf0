"""The decode loop: one step or one answer, token by token, out of a session's logits."""

from collections.abc import Generator

from glimp_core.chat.streaming import TextStream
from glimp_core.chat.vocabulary import Vocabulary
from glimp_core.local.meter import Meter
from glimp_core.local.owner import Job
from glimp_core.local.sampling import Sampler
from glimp_core.local.session import Forward, KVSession
from glimp_core.steps import StepBoundary
from glimp_core.types import Chunk, GenerationParams, StepEnd


def write(
    job: Job,
    session: KVSession,
    sampler: Sampler,
    vocabulary: Vocabulary,
    stop_ids: frozenset[int],
    params: GenerationParams,
    room: int,
    meter: Meter,
) -> Generator[Forward, None, None]:
    """Draw and feed tokens until the step or the answer ends; puts a Chunk for every piece of whole text.

    The last token is left for the next sync to feed: whoever looks at what follows needs that forward
    anyway, so a glimpse after this model's own step costs none.
    """
    page = Page(vocabulary, stop_ids, params)
    for left in range(min(params.max_tokens, room), 0, -1):
        assert session.logits is not None
        with meter.decoding():
            token_id = sampler.draw(session.logits[-1, : len(vocabulary.pieces)])
        text, token_ids = page.push(token_id)
        if not page.end and left == 1:
            page.end = "length"
        if text or token_ids:
            job.put(Chunk(text, token_ids, meter.usage(), page.end))
        if page.end:
            break
        forward = Forward(session, [token_id])
        yield forward
        meter.add(forward)


class Page:
    """What one call has written: text that is whole, and what ended it."""

    def __init__(self, vocabulary: Vocabulary, stop_ids: frozenset[int], params: GenerationParams):
        self.end: StepEnd | None = None
        self._pieces = vocabulary.pieces
        self._stop_ids = stop_ids
        self._close_id = vocabulary.think.close_id if vocabulary.think and params.phase == "thinking" else None
        self._boundary = StepBoundary() if params.stepwise else None
        self._stream = TextStream()

    def push(self, token_id: int) -> tuple[str, tuple[int, ...]]:
        """Take a drawn token; returns the text that is now whole and its ids."""
        piece = self._pieces[token_id]
        if token_id in self._stop_ids or token_id == self._close_id:
            self.end = "close" if token_id == self._close_id else "eos"
            return "", (token_id,)
        if self._boundary and piece and self._boundary.push(piece):
            self.end = "break"
        return self._stream.push(token_id, piece or b"") or ("", ())
