"""One request at one server: its ids, the step that was begun with a glimpse, and what went wrong on the way."""

from collections.abc import Iterator
from contextlib import suppress

from glimp_core.chat.prompt.renderer import Renderer, TokenizedRequest
from glimp_core.context import Context, ThinkingClosed
from glimp_core.errors import Cancelled, EngineError
from glimp_core.remote.bridge import AsyncBridge
from glimp_core.remote.stream_usage import StreamUsage
from glimp_core.remote.wire import CompletionChunk, CompletionRequest
from glimp_core.types import ModelUsage


class BegunStream(Iterator[CompletionChunk]):
    """A stream that is being read, of which the first chunk can be looked at before it is taken.

    `known` is how many tokens of its prompt the server had read in this request before. `counted` says that the
    first chunk told what the server's cache held, so that the glimpse has counted it.
    """

    def __init__(self, request: CompletionRequest, stream: AsyncBridge[CompletionChunk], known: int | None = None):
        self.request = request
        self.known = known
        self.counted = False
        self._stream = stream
        self._read: list[CompletionChunk] = []
        self._ended = False

    @property
    def sent(self) -> int:
        """How many tokens of its prompt are to be counted as sent: none if a glimpse has counted them."""
        return len(self.request.token_ids) if self.known is None else 0

    def __next__(self) -> CompletionChunk:
        if self._ended:
            raise StopIteration
        chunk = self._read.pop(0) if self._read else next(self._stream)
        self._ended = chunk.finish is not None
        return chunk

    def peek(self) -> CompletionChunk:
        """Wait for the first chunk with tokens, or the last one, and return it; it stays to be taken."""
        chunk = next(self._stream)
        while not (chunk.token_ids or chunk.finish):
            chunk = next(self._stream)
        self._read.append(chunk)
        self.counted = chunk.cached_tokens is not None
        return chunk

    def close(self) -> None:
        """Stop the server, unless it has ended by itself: then the connection is kept for the next request."""
        if not self._ended and not any(chunk.finish for chunk in self._read):
            self._stream.close()
        self._ended = True


class PrefillRequest:
    """A request for one token, for which nobody waits: the server reads a chain before it is its model's turn."""

    def __init__(self, feed: AsyncBridge[CompletionChunk], meter: StreamUsage):
        self._feed = feed
        self._meter = meter

    @property
    def running(self) -> bool:
        """Whether the server may still be reading."""
        return self._feed.running

    def end(self) -> ModelUsage:
        """Stop it, unless it is over, and return what it took. Why it failed the next request will meet, too."""
        if not self.running:
            with suppress(EngineError, Cancelled):
                for chunk in self._feed:
                    self._meter.take(chunk)
        self._feed.close()
        return self._meter.usage()


class ServerRequest(TokenizedRequest):
    """A transcript with what its server knows of it."""

    def __init__(self, context: Context, renderer: Renderer, name: str):
        super().__init__(context, renderer)
        self.begun: BegunStream | None = None
        self._ahead: PrefillRequest | None = None
        self._spent = ModelUsage()
        self._name = name
        self._sent = self._held = 0
        self._faults: list[str] = []
        self._note = ""
        self._drifts = False

    @property
    def closed(self) -> bool:
        """Whether the thinking is over."""
        return any(isinstance(link, ThinkingClosed) for link in self._context.spans)

    def send(self, count: int) -> int:
        """Return how many of the first `count` ids the server has read in this request; it is now sent them all."""
        known, self._sent = min(count, self._sent), max(count, self._sent)
        self.hold(count)
        return known

    def hold(self, count: int) -> None:
        """Note that the server has read or written the first `count` ids."""
        self._held = max(self._held, count)

    def has_news(self, count: int) -> bool:
        """Whether there is more to read among the first `count` ids than a last token, which is always read anew."""
        return count - self._held > 1

    def take(self, request: CompletionRequest) -> BegunStream | None:
        """Return the stream that already writes what is asked for; another one is closed."""
        begun, self.begun = self.begun, None
        if begun and (begun.request.token_ids, begun.request.sampling, begun.request.index) == (
            request.token_ids, request.sampling, request.index,
        ):  # fmt: skip
            return begun
        if begun:
            begun.close()
        return None

    def withdraw(self) -> None:
        """Close the stream of a step that another model writes."""
        if self.begun:
            self.begun.close()
            self.begun = None

    @property
    def reads(self) -> bool:
        """Whether the server reads ahead."""
        return self._ahead is not None and self._ahead.running

    def read_ahead(self, ahead: PrefillRequest) -> None:
        """Note that the server reads the chain so far."""
        self.finish_reading()
        self._ahead = ahead

    def finish_reading(self) -> None:
        """Have the server read ahead no more."""
        ahead, self._ahead = self._ahead, None
        if ahead:
            self._spent += ahead.end()

    def take_spent(self) -> ModelUsage:
        """Return what reading ahead took since the last call that wrote."""
        self.finish_reading()
        spent, self._spent = self._spent, ModelUsage()
        return spent

    def fault(self, what: str) -> None:
        """Note that a request had to be sent again; called in the loop's thread."""
        self._faults.append(what)

    def drift(self) -> None:
        """Note that the server may have read a text otherwise than it was written; called in the loop's thread."""
        self._drifts = True

    def report(self) -> None:
        """Put into the summary how the server did."""
        if self._drifts:
            self._context.note(
                f"the server of {self._name!r} takes text alone and reads it as other tokens than were written: "
                "what it writes may differ from what one that takes token ids would (vLLM, SGLang, llama.cpp)"
            )
        if not self._faults:
            return
        if self._note in self._context.notes:
            self._context.notes.remove(self._note)
        times = {1: "once", 2: "twice"}.get(len(self._faults), f"{len(self._faults)} times")
        self._note = f"{self._name!r} faltered {times} and was asked again, at first after: {self._faults[0]}"
        self._context.note(self._note)
