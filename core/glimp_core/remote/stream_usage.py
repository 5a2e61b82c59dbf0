"""What one call of a remote engine used, as far as it can be seen from here."""

from time import perf_counter

from glimp_core.remote.wire import CompletionChunk
from glimp_core.types import ModelUsage


class StreamUsage:
    """Counts tokens and times. Waiting for a first token is prefill, what follows is decoding; the network is in both.

    Of the `sent` tokens the server has read the `known` ones in this request; what its cache held it may tell, with
    each token or at the end of a stream. Where a glimpse has counted them as read, only `before` were known then, and
    they are taken back.
    """

    def __init__(self, sent: int, known: int, glimpses: int = 0, before: int | None = None):
        self._glimpses = glimpses
        self._sent = sent
        self._known = known
        self._before = known if before is None else before
        self._cached_tokens: int | None = None
        self._tokens = 0
        self._started = self._last = perf_counter()
        self._prefill_seconds = 0.0
        self._first: float | None = None
        self._drafts = self._drafts_before = (0, 0)
        self._all_sent = self._all_cached = 0
        self._told_cache = False

    def see(self, chunk: CompletionChunk) -> None:
        """Time the first chunk, which is looked at; its tokens count when they are taken."""
        self._prefill_seconds = max(0.0, chunk.at - self._started)
        self._see_cache(chunk)

    def take(self, chunk: CompletionChunk) -> None:
        """Count a chunk that arrived."""
        self._tokens += len(chunk.token_ids)
        self._last = max(chunk.at, self._last)
        if self._first is None and chunk.token_ids:
            self._first = max(chunk.at, self._started)
            self._prefill_seconds = self._first - self._started
        self._see_cache(chunk)
        if chunk.drafted_tokens:
            self._drafts = (chunk.drafted_tokens, chunk.accepted_tokens)

    def begin_stream(self, sent: int, told: bool = False) -> None:
        """Begin another stream, whose prompt of so many tokens is to be counted, and which counts its drafts from 0 on.

        `told` says that what the server's cache held of it has been counted.
        """
        self._all_sent += sent
        self._told_cache = told
        (drafted, accepted), before = self._drafts, self._drafts_before
        self._drafts, self._drafts_before = (0, 0), (before[0] + drafted, before[1] + accepted)

    def _see_cache(self, chunk: CompletionChunk) -> None:
        """The first word counts: a stream that is gone on with finds what it wrote itself."""
        if chunk.cached_tokens is not None and not self._told_cache:
            self._told_cache = True
            self._all_cached += chunk.cached_tokens
        if chunk.cached_tokens is not None and self._cached_tokens is None:
            self._cached_tokens = max(0, min(chunk.cached_tokens, self._sent) - self._before)

    def usage(self) -> ModelUsage:
        """Return the counts so far."""
        cached_tokens = self._cached_tokens or 0
        return ModelUsage(
            forwards=max(self._tokens, self._glimpses),
            glimpses=self._glimpses,
            cached_tokens=cached_tokens,
            prefill_tokens=self._sent - self._known - cached_tokens,
            decode_tokens=self._tokens,
            drafted_tokens=self._drafts_before[0] + self._drafts[0],
            accepted_tokens=self._drafts_before[1] + self._drafts[1],
            prefill_seconds=self._prefill_seconds,
            decode_seconds=self._last - self._first if self._first is not None else 0.0,
            sent_tokens=self._all_sent,
            sent_cached_tokens=self._all_cached,
        )
