"""One request on one server: its ids, the stream that a glimpse opened, and its failures."""

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
    """A stream whose first chunk can be read before it is consumed.

    `known` is how many tokens of its prompt the server had read in this request before. `counted` says that the
    first chunk reported the server's cached tokens, so the glimpse has counted them.
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
        """How many tokens of its prompt to count as sent: 0 if a glimpse has counted them."""
        return len(self.request.token_ids) if self.known is None else 0

    def __next__(self) -> CompletionChunk:
        if self._ended:
            raise StopIteration
        chunk = self._read.pop(0) if self._read else next(self._stream)
        self._ended = chunk.finish is not None
        return chunk

    def peek(self) -> CompletionChunk:
        """Wait for the first chunk with tokens, or the last one, and return it without consuming it."""
        chunk = next(self._stream)
        while not (chunk.token_ids or chunk.finish):
            chunk = next(self._stream)
        self._read.append(chunk)
        self.counted = chunk.cached_tokens is not None
        return chunk

    def close(self) -> None:
        """Stop the server. If its reply is complete, do nothing: closing would lose a connection that can be reused."""
        if not self._ended and not any(chunk.finish for chunk in self._read):
            self._stream.close()
        self._ended = True


class PrefillRequest:
    """A request for one unused token: it makes the server read a chain before its model has to write."""

    def __init__(self, feed: AsyncBridge[CompletionChunk], meter: StreamUsage):
        self._feed = feed
        self._meter = meter

    @property
    def running(self) -> bool:
        """Whether the request is still running."""
        return self._feed.running

    def end(self) -> ModelUsage:
        """Stop the request, and return its usage. Its errors are ignored, because the next request meets them too."""
        if not self.running:
            with suppress(EngineError, Cancelled):
                for chunk in self._feed:
                    self._meter.take(chunk)
        self._feed.close()
        return self._meter.usage()


class ServerRequest(TokenizedRequest):
    """The tokens of a request, and how many of them its server has read."""

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
        """Whether the thinking has ended."""
        return any(isinstance(link, ThinkingClosed) for link in self._context.spans)

    def send(self, count: int) -> int:
        """Note that the first `count` ids are sent, and return how many of them were sent before in this request."""
        known, self._sent = min(count, self._sent), max(count, self._sent)
        self.hold(count)
        return known

    def hold(self, count: int) -> None:
        """Note that the server's cache has the first `count` ids, which it has read or written."""
        self._held = max(self._held, count)

    def has_news(self, count: int) -> bool:
        """Whether the server has more than one of the first `count` ids to read. The last one is always read again."""
        return count - self._held > 1

    def take(self, request: CompletionRequest) -> BegunStream | None:
        """Return the stream that a glimpse opened, if it is for this request. Otherwise close it and return None."""
        begun, self.begun = self.begun, None
        if begun and (begun.request.token_ids, begun.request.sampling, begun.request.index) == (
            request.token_ids, request.sampling, request.index,
        ):  # fmt: skip
            return begun
        if begun:
            begun.close()
        return None

    def withdraw(self) -> None:
        """Close the stream of a glimpse, because another model writes the step."""
        if self.begun:
            self.begun.close()
            self.begun = None

    @property
    def reads(self) -> bool:
        """Whether a prefill request is running."""
        return self._ahead is not None and self._ahead.running

    def read_ahead(self, ahead: PrefillRequest) -> None:
        """Keep a prefill request, and end the one before it."""
        self.finish_reading()
        self._ahead = ahead

    def finish_reading(self) -> None:
        """End the prefill request, if there is one, and add its usage."""
        ahead, self._ahead = self._ahead, None
        if ahead:
            self._spent += ahead.end()

    def take_spent(self) -> ModelUsage:
        """Return the usage of the prefill requests since the last call of this method."""
        self.finish_reading()
        spent, self._spent = self._spent, ModelUsage()
        return spent

    def fault(self, what: str) -> None:
        """Note a failure after which the request was sent again. Called in the loop's thread."""
        self._faults.append(what)

    def drift(self) -> None:
        """Note that the server may have tokenised a text differently. Called in the loop's thread."""
        self._drifts = True

    def report(self) -> None:
        """Add the failures to the notes of the summary."""
        if self._drifts:
            self._context.note(
                f"the server of {self._name!r} accepts only text, and reads other tokens from it than were written: "
                "its output may differ from that of a server that accepts token ids (vLLM, SGLang, llama.cpp)"
            )
        if not self._faults:
            return
        if self._note in self._context.notes:
            self._context.notes.remove(self._note)
        times = {1: "once", 2: "twice"}.get(len(self._faults), f"{len(self._faults)} times")
        self._note = f"{self._name!r} failed {times} and the request was repeated; the first failure: {self._faults[0]}"
        self._context.note(self._note)
