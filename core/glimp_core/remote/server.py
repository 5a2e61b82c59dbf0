"""One served model. Its requests survive failures: they are repeated, and broken streams are continued."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import wait as wait_for
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from time import perf_counter
from typing import Any, TypeVar

from glimp_core.errors import Cancelled, EngineError, EngineTimeoutError, RemoteEngineError
from glimp_core.remote.bridge import AsyncBridge, the_loop
from glimp_core.remote.capacity import AdmittedRequest, ServerCapacity
from glimp_core.remote.chat_form import ChatForm
from glimp_core.remote.client import Client, TransientError
from glimp_core.remote.liveness import StreamWatch
from glimp_core.remote.spelling import OtherLead, Spelling, without_lead
from glimp_core.remote.wire import (
    LLAMACPP,
    VLLM,
    CompletionChunk,
    CompletionRequest,
    ProtocolError,
    Reader,
    ServerProfile,
)
from glimp_core.types import SamplingParams

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds between attempts: the first wait, which doubles each time, and the longest."""

PATIENCE = 60.0
"""The longest pause in seconds that a server may ask for. If it asks for more, the request fails."""

START_LOOK = 0.05
"""Seconds between two checks whether a caller has cancelled while its server starts."""

GRACE = 0.25
"""The longest wait in seconds for the usage after the last token."""

BEYOND = 64
"""This many tokens over the limit are no error: a server that accepts text may count other tokens."""

OVERFLOW = "context size has been exceeded"
"""The error of llama.cpp in all of its slots, if they share one context and it is full."""


class Server:
    """A model on a server. `retries` is how many consecutive failures without a new token are repeated.

    `token_timeout` is the longest silence between two tokens, in seconds.
    """

    def __init__(self, client: Client, model: str, retries: int, token_timeout: float):
        self.client = client
        self.model = model
        self.profile: ServerProfile = VLLM
        self.spelling: Spelling | None = None
        """Converts ids to the text of a prompt, for a server that accepts no ids; else None."""
        self.chat: ChatForm | None = None
        """Converts requests to messages, for a server that accepts only these; else None."""
        self.slots: int | None = None
        """How many requests the server processes at once, if it reports that."""
        self.slot_context: int | None = None
        """How many tokens one request may have. Slots may share one context; no server reports whether they do."""
        self._retries = retries
        self._token_timeout = token_timeout

    @property
    def capacity(self) -> ServerCapacity:
        """The capacity of the server, which all engines of this process share.

        A place is held for one attempt only, so that other requests can run in the pause before the next attempt.
        """
        capacity = the_loop().capacities[self.client.root]
        capacity.slots = self.slots
        return capacity

    @property
    def costs(self) -> tuple[str, ...]:
        """Notes about the server's capacity, with the flag to change."""
        if (shared := self.capacity.context) is None:
            return ()
        return (
            f"has slots that share one context of {shared} tokens, so that requests wait for each other: start "
            "llama-server with --parallel N and N times the context (-c), or with more of it",
        )

    def draws(self, sampling: SamplingParams) -> tuple[str, ...]:
        """Notes about the sampling of a server that drafts for its model."""
        drafts = self.client.managed is not None and self.client.managed.drafts
        if sampling.seed is None or sampling.temperature == 0 or not drafts:
            return ()
        return ("drafts for its model: a seed gives another text than without drafts, of the same distribution",)

    def ask(
        self,
        request: CompletionRequest,
        reader: Reader,
        cancelled: Callable[[], bool] = lambda: False,
        on_fault: Callable[[str], None] = lambda fault: None,
        on_drift: Callable[[], None] = lambda: None,
    ) -> AsyncBridge[CompletionChunk]:
        """Start a request and return its chunks, which arrive as they are written; the last one has a `finish`.

        A request that fails before its first token is repeated. A stream that breaks continues after the tokens that
        have arrived. `on_fault` is called for each failure, `on_drift` for a text that the server may tokenise
        differently. The result raises `EngineTimeoutError` and `RemoteEngineError`.
        """
        return AsyncBridge(self._write(request, reader, on_fault, on_drift), cancelled)

    async def _write(
        self,
        request: CompletionRequest,
        reader: Reader,
        on_fault: Callable[[str], None],
        on_drift: Callable[[], None],
    ) -> AsyncGenerator[CompletionChunk, None]:
        written: list[int] = []
        failures, wait, heals, timeout = 0, 0.0, True, self.client.timeout
        while len(written) < request.max_tokens:
            before, ended = len(written), False
            again = list(written) if request.bound else []  # a grammar cannot be continued, see `_after`
            body, lead = self._body(request, written, heals, on_drift)
            if self.client.managed:
                await self.client.managed.ready()
            async with self.capacity.place(len(request.token_ids) + request.max_tokens) as place:
                try:
                    async with aclosing(self._attempt(body, lead, reader, timeout)) as chunks:
                        async for chunk in chunks:
                            chunk = _after(again, chunk)
                            written += chunk.token_ids
                            ended = chunk.finish is not None
                            yield chunk
                            self._check_ends(len(written), request.max_tokens)
                    if ended:
                        return
                    raise TransientError("the stream ended before the reply did")
                except OtherLead:  # the server did not write the blank end again: send the whole text
                    heals = False
                    continue
                except TransientError as fault:
                    failures = failures + 1 if len(written) == before else 1  # a new token resets the count
                    if shared := self._shared(fault, place):
                        failures, fault = 0, shared
                    on_fault(str(fault))
                    await self._check_thaws(fault)
                    wait = self._wait(fault, failures, begun=len(written) > before)
                    timeout = self._token_timeout if fault.frozen else self.client.timeout  # it may freeze again
            await asyncio.sleep(wait)
        yield CompletionChunk(finish="length")

    def _body(
        self, request: CompletionRequest, written: Sequence[int], heals: bool, on_drift: Callable[[], None]
    ) -> tuple[dict[str, Any], str]:
        """Return the body of a request, and the end of its text that the server has to write again."""
        body = request.body(self.model, self.profile, written)
        if self.chat is not None:
            return self.chat.body(body, request, heals and not request.bound)
        if self.spelling is None:
            return body, ""
        spelled = self.spelling.spell(body["prompt"], heals and not request.bound)
        if spelled.drifts:
            on_drift()
        return {**body, "prompt": spelled.text, "max_tokens": body["max_tokens"] + spelled.left_out}, spelled.lead

    async def _attempt(
        self, body: dict[str, Any], lead: str, reader: Reader, timeout: float
    ) -> AsyncGenerator[CompletionChunk, None]:
        """Send one request. Its stream is read to the end: only then the connection can be used again (keep-alive)."""
        died = self.client.managed.died if self.client.managed else None
        sent = self.client.lines(body, self.profile.hangs_up)
        sent = self.chat.completions(sent) if self.chat else sent
        watch = StreamWatch(sent, self.client.liveness, timeout, self._token_timeout, died)
        async with (
            aclosing(watch.lines()) as watched,
            aclosing(without_lead(lead, watched) if lead else watched) as lines,
        ):
            async for line in lines:
                chunk = _read(reader, line, top=not watch.begun)
                if chunk.token_ids:
                    watch.hear()
                if not chunk.finish:
                    yield chunk
                    continue
                yield await _with_usage(chunk, lines, reader)
                await _drain(lines)
                return

    async def _check_thaws(self, fault: TransientError) -> None:
        """Raise `EngineTimeoutError` for a frozen server, unless it now answers a liveness request."""
        if fault.frozen and await self.client.liveness() in ("silent", "unreachable"):
            raise EngineTimeoutError(f"{self.model!r} at {self.client.base_url}: {fault}: is it stopped?")

    def _check_ends(self, written: int, most: int) -> None:
        """Raise an error for a stream that never ends. The count here may be a little higher than the server's."""
        if written > 2 * most + BEYOND:
            raise RemoteEngineError(
                f"{self.model!r} at {self.client.base_url} wrote {written} tokens where max_tokens was {most}: "
                "it violates the protocol"
            )

    def _shared(self, fault: TransientError, place: AdmittedRequest) -> TransientError | None:
        """Return another failure if the shared context of all slots is full. From now on requests wait for their share.

        The message of llama.cpp is the same if one request alone is too long. So this is assumed only if other requests
        ran at the same time.
        """
        if self.profile.name != LLAMACPP.name or OVERFLOW not in str(fault).lower() or not place.unknown_company:
            return None
        self.capacity.context = self.slot_context
        return TransientError(f"its slots share one context of {self.slot_context} tokens, which was full", wait=0.0)

    def _wait(self, fault: TransientError, failures: int, begun: bool) -> float:
        """Return the seconds until the next attempt. Raises an error if there is none."""
        where = f"{self.model!r} at {self.client.base_url}"
        if fault.timed_out and not begun:
            raise EngineTimeoutError(f"{where}: {fault}: allow more with timeout=..., or look at the server's load")
        if failures > self._retries:
            times = "once" if failures == 1 else f"{failures} times in a row, at last"
            raise RemoteEngineError(f"{where} failed {times} with: {fault}") from fault
        if fault.wait is not None and fault.wait > PATIENCE:
            raise RemoteEngineError(f"{where} asks for a pause of {fault.wait:.0f} seconds: {fault}") from fault
        # The random factor keeps requests that failed together from being repeated together.
        backoff = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
        return backoff if fault.wait is None else fault.wait

    def start(self, cancelled: Callable[[], bool]) -> None:
        """Wait until a server that Glimp starts is ready. Raises `Cancelled`, and the error of a failed start."""
        if self.client.managed is None:
            return
        waiting = the_loop().begin(self.client.managed.ready())
        while not waiting.done():
            if cancelled():
                waiting.cancel()
                raise Cancelled("the request was cancelled while its server started")
            wait_for([waiting], timeout=START_LOOK)
        waiting.result()

    def get(self, path: str, kind: type = object) -> Any:
        """Get a document from the server, as JSON or as text. Raises the errors of `ask`."""
        return the_loop().run(self._get(path, kind))

    async def _get(self, path: str, kind: type) -> Any:
        for failures in count(1):
            if self.client.managed:
                await self.client.managed.ready()
            try:
                return await self.client.get(path, kind)
            except TransientError as fault:
                wait = self._wait(fault, failures, begun=False)
            await asyncio.sleep(wait)


def _after(again: list[int], chunk: CompletionChunk) -> CompletionChunk:
    """Remove the tokens from a chunk that the caller already has. Raises an error if the repeated reply differs.

    A grammar on the server starts at the first token of a reply. So a constrained reply that broke is requested again
    from its start.
    """
    if not again:
        return chunk
    count = min(len(again), len(chunk.token_ids))
    if again[:count] != list(chunk.token_ids[:count]):
        raise RemoteEngineError(
            "a constrained reply broke off, and the repeated request gave another reply: "
            "send it again, or set temperature=0 or a seed"
        )
    del again[:count]
    return replace(chunk, token_ids=chunk.token_ids[count:])


def _read(reader: Reader, line: Any, top: bool = False) -> CompletionChunk:
    try:
        chunk = reader.read(line, top)
    except ProtocolError as error:
        raise TransientError(f"a line that cannot be read: {error}") from error
    if chunk.finish in ("abort", "error"):
        raise TransientError(f"the server ended the reply with {chunk.finish!r}")
    return replace(chunk, at=perf_counter())


async def _with_usage(chunk: CompletionChunk, lines: AsyncGenerator[Any, None], reader: Reader) -> CompletionChunk:
    """Add the usage, which arrives in a separate line after the last token."""

    async def usage() -> CompletionChunk:
        async for line in lines:
            found = _read(reader, line)
            if found.prompt_tokens is not None:
                return replace(chunk, prompt_tokens=found.prompt_tokens, cached_tokens=found.cached_tokens)
        return chunk

    if chunk.prompt_tokens is not None:
        return chunk
    return await _soon(usage()) or chunk


async def _drain(lines: AsyncGenerator[Any, None]) -> None:
    async def rest() -> None:
        async for _ in lines:
            pass

    await _soon(rest())


async def _soon(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """Wait for something optional, at most `GRACE` seconds. The reply is complete without it."""
    try:
        return await asyncio.wait_for(coroutine, GRACE)
    except (TimeoutError, TransientError, EngineError):
        return None
