"""One reply, from its request to its last byte: it waits in the queue, runs in a thread, and is counted."""

import copy
import logging
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from time import perf_counter, time
from typing import Any
from uuid import uuid4

from glimp_core.aio import batches_in_thread
from glimp_core.deadline import deadline
from glimp_core.errors import Cancelled, GlimpError
from glimp_core.events import Delta, Finish
from glimp_core.router import StreamOptions
from glimp_core.serve.chat_request import ChatRequest
from glimp_core.serve.failures import Failure, Refused
from glimp_core.serve.line_tap import LineTap
from glimp_core.serve.reply_writers import DONE, ChunkWriter, ReplyHead, ReplyWriter, WholeWriter, sent
from glimp_core.serve.request_queue import RequestQueue
from glimp_core.serve.service_metrics import ServiceMetrics
from glimp_core.types import Phase, Role

log = logging.getLogger("glimp.serve")

AHEAD = 16
"""How many pieces a reply may be ahead of its connection, which has its own buffer.

With more, the threads of many replies keep the event loop busy, and it detects later that clients have disconnected.
"""


class RunningReplies:
    """The running replies. All of them can be stopped when the endpoint shuts down."""

    def __init__(self) -> None:
        self.draining = False
        self._cancels: set[threading.Event] = set()

    def add(self, cancelled: threading.Event) -> None:
        """Add the cancel event of a reply."""
        self._cancels.add(cancelled)
        if self.draining:
            cancelled.set()

    def remove(self, cancelled: threading.Event) -> None:
        """Remove a reply that has ended."""
        self._cancels.discard(cancelled)

    def stop(self) -> None:
        """Cancel every reply. It ends within one token, and a reply that starts later ends at once."""
        self.draining = True
        for cancelled in list(self._cancels):
            cancelled.set()


class ReplyRun:
    """One running chat request; `told` has its fields of the access log."""

    def __init__(self, asked: ChatRequest, metrics: ServiceMetrics, running: RunningReplies, told: dict[str, Any]):
        self.asked = asked
        self._metrics, self._running, self._told = metrics, running, told
        self._begun = perf_counter()
        self._first_text: float | None = None
        self._written: Counter[tuple[Role, Phase]] = Counter()
        self._tap = LineTap() if asked.trace else None
        head = ReplyHead(f"chatcmpl-{uuid4().hex}", int(time()), asked.model.id)
        self._writer: ReplyWriter = (
            ChunkWriter(head, self._tap, asked.include_usage) if asked.stream else WholeWriter(head, self._tap)
        )
        told |= {"id": head.id, "model": head.model, "stream": asked.stream}

    async def pieces(self, queue: RequestQueue, timeout: float | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes to send. Pieces that are ready at the same time are joined.

        Raises `GlimpError` if the reply fails before its first piece. Closing this stops the models within one token.
        """
        pair = self.asked.model.pair.name
        async with queue.place():
            waited = perf_counter() - self._begun
            self._told["queue_seconds"] = round(waited, 4)
            self._metrics.queue_seconds.labels(pair).observe(waited)
            try:
                reply = batches_in_thread(lambda cancelled: self._guarded(cancelled, timeout), AHEAD)
                async with aclosing(reply) as batches:
                    async for batch in batches:
                        yield b"".join(batch)
            finally:
                # If the client disconnected, the access log is written now, and the thread counts the reply later.
                self._tell("cancelled")

    def _guarded(self, cancelled: threading.Event, timeout: float | None) -> Iterator[bytes]:
        """Run the reply. An error after the first event is sent in the stream, because the status is already sent."""
        error: BaseException | None = None
        self._running.add(cancelled)
        try:
            with deadline(timeout, cancelled):
                yield from self._sent(cancelled)
        except GeneratorExit as left:  # the client disconnected; nothing can be sent any more
            error = left
            raise
        except Exception as failed:
            error = failed
            if not isinstance(failed, GlimpError):
                log.exception("a reply of %r failed", self.asked.model.id)
            if not self._writer.figures.events or not self.asked.stream:
                if isinstance(failed, GlimpError):
                    raise
                raise Refused(Failure.of(failed).message, 500, code="internal_error") from failed
            yield self._farewell(failed)
        finally:
            self._running.remove(cancelled)
            self._count(error)

    def _sent(self, cancelled: threading.Event) -> Iterator[bytes]:
        router = self.asked.model.pair.router
        if self._tap:
            router = copy.copy(router)  # the tap is for this request only, and the router is shared
            router.taps = [*router.taps, self._tap]
        options: StreamOptions = {**self.asked.options, "cancelled": cancelled}
        with closing(router.stream(self.asked.messages, **options)) as events:
            for event in events:
                if isinstance(event, Delta):
                    self._written[event.engine, event.phase] += len(event.token_ids)
                    if self._first_text is None and event.text:
                        self._first_text = perf_counter() - self._begun
                if piece := self._writer.push(event):
                    yield piece

    def _farewell(self, error: Exception) -> bytes:
        lines = self._tap.broken(error) if self._tap else []
        traced = [{"object": "chat.completion.chunk", "choices": [], "glimp": {"line": line}} for line in lines]
        failure = Failure.of(error, self._running.draining)
        return b"".join(map(sent, [*traced, failure.document()])) + DONE

    def _count(self, error: BaseException | None) -> None:
        """Count the reply in the metrics, and complete its fields of the access log."""
        pair, seconds = self.asked.model.pair, perf_counter() - self._begun
        self._metrics.count_tokens(pair.name, self._written)
        self._metrics.reply_seconds.labels(pair.name).observe(seconds)
        if self._first_text is not None:
            self._metrics.first_token_seconds.labels(pair.name).observe(self._first_text)
            self._told["first_token_seconds"] = round(self._first_text, 4)
        outcome = self._outcome(error)
        self._tell(outcome)
        self._metrics.requests.labels(self.asked.model.id, outcome).inc()
        if not isinstance(error, GeneratorExit | Cancelled):
            pair.note_outcome(error)
        if error is None:
            done = self._writer.figures.completion
            self._metrics.count_completion(pair.name, done)
            self._told["prompt_tokens"] = done.usage.prompt_tokens

    def _tell(self, outcome: str) -> None:
        """Add the outcome to the access log, unless it is already there."""
        if "outcome" not in self._told:
            written = list(self._written.items())
            for role in ("small", "large"):
                self._told[f"{role}_tokens"] = sum(tokens for (engine, _), tokens in written if engine == role)
            self._told["outcome"] = outcome

    def _outcome(self, error: BaseException | None) -> str:
        if isinstance(error, GeneratorExit) or (isinstance(error, Cancelled) and not self._running.draining):
            return "cancelled"
        if error is not None:
            return Failure.of(error, self._running.draining).code
        finish = self._writer.figures.events[-1]
        assert isinstance(finish, Finish)
        return finish.finish_reason
