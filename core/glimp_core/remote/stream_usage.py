"""The usage of one call of a remote engine, as far as the client can measure it."""

from time import perf_counter

from glimp_core.remote.wire import CompletionChunk
from glimp_core.types import ModelUsage


class StreamUsage:
    """Counts tokens and seconds. The wait for the first token is prefill, the rest decoding; both include the network.

    The server has read `known` of the `sent` tokens in this request. It may report its cached tokens with each token,
    or at the end of a stream. If a glimpse has counted its prompt as read, only `before` tokens were known at that
    time, and the difference is corrected.
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
        """Measure the time of the first chunk of a glimpse. Its tokens are counted when they are consumed."""
        self._prefill_seconds = max(0.0, chunk.at - self._started)
        self._see_cache(chunk)

    def take(self, chunk: CompletionChunk) -> None:
        """Count a chunk."""
        self._tokens += len(chunk.token_ids)
        self._last = max(chunk.at, self._last)
        if self._first is None and chunk.token_ids:
            self._first = max(chunk.at, self._started)
            self._prefill_seconds = self._first - self._started
        self._see_cache(chunk)
        if chunk.drafted_tokens:
            self._drafts = (chunk.drafted_tokens, chunk.accepted_tokens)

    def begin_stream(self, sent: int, told: bool = False) -> None:
        """Begin another stream, with a prompt of `sent` tokens. The server counts the drafts of each stream from 0.

        `told` says that the cached tokens of the prompt have been counted.
        """
        self._all_sent += sent
        self._told_cache = told
        (drafted, accepted), before = self._drafts, self._drafts_before
        self._drafts, self._drafts_before = (0, 0), (before[0] + drafted, before[1] + accepted)

    def _see_cache(self, chunk: CompletionChunk) -> None:
        """Count cached tokens only once: a stream that is continued finds its own tokens in the cache."""
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
