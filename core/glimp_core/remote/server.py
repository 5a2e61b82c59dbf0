"""One served model: requests that go on through retries and broken streams as if nothing had happened."""

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
"""A server that asks for a longer pause than this, in seconds, is not waited for."""

START_LOOK = 0.05
"""How often, in seconds, it is looked whether a caller has cancelled who waits for a server to start."""

GRACE = 0.25
"""How long, in seconds, the usage is waited for after the last token."""

BEYOND = 64
"""A server that takes text counts other tokens: so many more than asked for are no fault."""

OVERFLOW = "context size has been exceeded"
"""What llama.cpp says to all of its slots, if they share one context and it is full."""


class Server:
    """A model at a server. `retries` is how often in a row it may fail without a new token.

    `token_timeout` is the longest silence between two tokens, in seconds.
    """

    def __init__(self, client: Client, model: str, retries: int, token_timeout: float):
        self.client = client
        self.model = model
        self.profile: ServerProfile = VLLM
        self.spelling: Spelling | None = None
        """Turns ids into the text of a prompt, for a server that takes no ids."""
        self.chat: ChatForm | None = None
        """Words requests for a server that takes messages alone."""
        self.slots: int | None = None
        """How many requests the server works on at once, if it says so."""
        self.slot_context: int | None = None
        """How many tokens one of them may have; the slots may share them, which no server says."""
        self._retries = retries
        self._token_timeout = token_timeout

    @property
    def capacity(self) -> ServerCapacity:
        """The room of the server, for whoever in this process asks it."""
        capacity = the_loop().capacities[self.client.root]
        capacity.slots = self.slots
        return capacity

    @property
    def costs(self) -> tuple[str, ...]:
        """What has been seen of its room, and what to set against it."""
        if (shared := self.capacity.context) is None:
            return ()
        return (
            f"has slots that share one context of {shared} tokens, so that requests wait for each other: start "
            "llama-server with --parallel N and N times the context (-c), or with more of it",
        )

    def draws(self, sampling: SamplingParams) -> tuple[str, ...]:
        """What is to be said of how a server that drafts for its model draws tokens."""
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
        """Start a request; its chunks come as they are written, the last one with a `finish`.

        What fails before the first token is tried again; a stream that breaks is gone on with after the tokens that
        arrived. `on_fault` hears of either, `on_drift` of a text that the server may read otherwise than it was
        written. The feed raises `EngineTimeoutError` and `RemoteEngineError`.
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
            again = list(written) if request.bound else []
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
                except OtherLead:
                    heals = False
                    continue
                except TransientError as fault:
                    failures = failures + 1 if len(written) == before else 1
                    if shared := self._shared(fault, place):
                        failures, fault = 0, shared
                    on_fault(str(fault))
                    await self._check_thaws(fault)
                    wait = self._wait(fault, failures, begun=len(written) > before)
                    timeout = self._token_timeout if fault.frozen else self.client.timeout
            await asyncio.sleep(wait)
        yield CompletionChunk(finish="length")

    def _body(
        self, request: CompletionRequest, written: Sequence[int], heals: bool, on_drift: Callable[[], None]
    ) -> tuple[dict[str, Any], str]:
        """Return a request, and what of its text the server is to write again."""
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
        """One request. The connection is free for the next one when the stream has been read to its end."""
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
        """Give up a frozen server at once, unless it answers a cheap question by now."""
        if fault.frozen and await self.client.liveness() in ("silent", "unreachable"):
            raise EngineTimeoutError(f"{self.model!r} at {self.client.base_url}: {fault}: is it stopped?")

    def _check_ends(self, written: int, most: int) -> None:
        """Refuse a stream that never ends; a few more tokens may be counted here than at the server."""
        if written > 2 * most + BEYOND:
            raise RemoteEngineError(
                f"{self.model!r} at {self.client.base_url} wrote {written} tokens where max_tokens was {most}: "
                "it does not keep to the protocol"
            )

    def _shared(self, fault: TransientError, place: AdmittedRequest) -> TransientError | None:
        """What is meant, if a full context is that of all slots together: from now on requests wait for their share."""
        if self.profile.name != LLAMACPP.name or OVERFLOW not in str(fault).lower() or not place.unknown_company:
            return None
        self.capacity.context = self.slot_context
        return TransientError(f"its slots share one context of {self.slot_context} tokens, which was full", wait=0.0)

    def _wait(self, fault: TransientError, failures: int, begun: bool) -> float:
        """Return how long to wait before the next attempt; raises if there is none."""
        where = f"{self.model!r} at {self.client.base_url}"
        if fault.timed_out and not begun:
            raise EngineTimeoutError(f"{where}: {fault}: allow more with timeout=..., or look at the server's load")
        if failures > self._retries:
            times = "once" if failures == 1 else f"{failures} times in a row, at last"
            raise RemoteEngineError(f"{where} failed {times} with: {fault}") from fault
        if fault.wait is not None and fault.wait > PATIENCE:
            raise RemoteEngineError(f"{where} asks for a pause of {fault.wait:.0f} seconds: {fault}") from fault
        backoff = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
        return backoff if fault.wait is None else fault.wait

    def start(self, cancelled: Callable[[], bool]) -> None:
        """Wait until a server that Glimp starts itself is up. Raises `Cancelled`, and why it does not come up."""
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
        """Get a document from the server, as JSON or as text. Raises like `ask`."""
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
    """Leave out of a chunk what is said `again`: a bound reply starts anew, and must come to where it broke off."""
    if not again:
        return chunk
    count = min(len(again), len(chunk.token_ids))
    if again[:count] != list(chunk.token_ids[:count]):
        raise RemoteEngineError(
            "a bound reply broke off, and the server answered otherwise when it was asked again: "
            "ask once more, or set temperature=0 or a seed"
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
    """Add the usage, which comes in a line of its own after the last token."""

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
    """Wait a moment for what is good to have; the reply is whole without it."""
    try:
        return await asyncio.wait_for(coroutine, GRACE)
    except (TimeoutError, TransientError, EngineError):
        return None
