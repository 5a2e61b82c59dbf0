"""One engine call seen from the chain: its chunks become deltas, and together one step."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from time import perf_counter
from typing import ParamSpec, TypeVar

from glimp_core.chain import Chain
from glimp_core.engine import Engine, Prewarmable
from glimp_core.errors import EngineError
from glimp_core.events import Delta, Event
from glimp_core.types import Chunk, GenerationParams, ModelUsage, Role, Step, StepEnd, ToolCall

P = ParamSpec("P")
T = TypeVar("T")


class Clock:
    """Counts the seconds spent waiting for engines, and not those of whoever reads the events."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make one call and count its time."""
        started = perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            self.seconds += perf_counter() - started


def write(
    chain: Chain, engines: Mapping[Role, Engine], writer: Role, clock: Clock, entropy: float | None = None
) -> Iterator[Event]:
    """Have one of the two models write one step; the small one if the large one has failed, or fails in it."""
    before = len(chain.steps)
    if writer == "small" and chain.routed:
        _prewarm(chain, engines)
    if not chain.context.large_lost:
        yield from write_step(chain, engines[writer], writer, clock, entropy)
    if len(chain.steps) == before:
        yield from write_step(chain, engines["small"], "small", clock, entropy)


def _prewarm(chain: Chain, engines: Mapping[Role, Engine]) -> None:
    """Have the large model read ahead, if that costs the small one no time or was asked for."""
    wanted, large = chain.config.prewarm, engines["large"]
    if wanted is not False and not chain.context.large_lost and isinstance(large, Prewarmable):
        large.prewarm(chain.context, beside=None if wanted else engines["small"])


def write_step(
    chain: Chain, engine: Engine, writer: Role, clock: Clock, entropy: float | None = None
) -> Iterator[Event]:
    """Have one engine write one step and append it to the chain; yields its deltas, then the step.

    What a large model wrote before it failed has been read and stays, as a step; of nothing there is no step.
    """
    params, draft = chain.params(), StepBuilder(chain)
    chain.context.hand_to(engine)
    try:
        yield from _deltas(chain, engine, writer, clock, params, draft)
    except EngineError as error:
        if not chain.spares(writer, begun=draft.tokens > 0):
            raise
        chain.context.lose_large(error)
        if not draft.tokens:
            return
        draft.end = "failure"
    assert draft.end
    step = Step(
        index=params.index, phase=params.phase, engine=writer, text=draft.text, tokens=draft.tokens,
        seconds=clock.seconds, end=draft.end, entropy=entropy, usage=draft.usage, drafting=draft.drafting,
    )  # fmt: skip
    chain.append(step, draft.written, tuple(draft.token_ids), engine.vocabulary)
    if chain.complete and (rest := chain.stop.flush()):
        yield Delta(params.index, params.phase, writer, rest, ())
        step = chain.steps[-1] = replace(step, text=step.text + rest)
    yield step


def _deltas(
    chain: Chain, engine: Engine, writer: Role, clock: Clock, params: GenerationParams, draft: "StepBuilder"
) -> Iterator[Event]:
    for chunk in _until_stopped(engine.generate(chain.context, params), chain, clock):
        if (text := draft.add(chunk)) or chunk.token_ids:
            phase = "thinking" if chunk.thought else params.phase
            yield Delta(params.index, phase, writer, text, chunk.token_ids, chunk.measure)
        if chunk.tool_call:
            call = chain.check.delta(chunk.tool_call)
            chain.tool_calls |= isinstance(call.call, ToolCall)
            yield call
    if draft.end is None:
        raise EngineError(f"engine {engine.name!r} broke off without saying why: its last chunk has no end")


def _until_stopped(chunks: Iterator[Chunk], chain: Chain, clock: Clock) -> Iterator[Chunk]:
    """Pass chunks on until a stop string is found; the engine is stopped on every way out."""
    try:
        while not chain.stop.matched and (chunk := clock.time(next, chunks, None)) is not None:
            yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()


class StepBuilder:
    """A step while it is written: `written` is what the model wrote, `text` what is shown of it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.written = ""
        self.text = ""
        self.token_ids: list[int] = []
        self.tokens = 0
        self.usage = self.drafting = ModelUsage()
        self.end: StepEnd | None = None

    def add(self, chunk: Chunk) -> str:
        """Take a chunk and return the text to show."""
        self.written += chunk.text
        self.tokens += len(chunk.token_ids)
        self.usage, self.drafting = chunk.usage, chunk.drafting
        if chunk.end not in ("close", "eos"):  # those come with the one control id that ended the call
            self.token_ids += chunk.token_ids
        if chunk.thought:  # a thought in an answer is no part of what it says
            self.end = chunk.end
            return chunk.text
        shown = self._chain.show(chunk.text)
        self.end = "stop" if self._chain.stop.matched else chunk.end
        self.text += shown
        return shown
