"""One reply while it is written: its steps, its phase, the rest of its budgets, and the calls of the engines."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from time import perf_counter

from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.config import RouterConfig
from glimp_core.context import Context, Span, ThinkingClosed
from glimp_core.engine import Engine, Prewarmable
from glimp_core.errors import EngineError
from glimp_core.events import Delta, Event
from glimp_core.plan import CLOSING, Plan
from glimp_core.stopping import StopMatcher, in_circles
from glimp_core.types import (
    Chunk,
    FinishReason,
    GenerationParams,
    ModelUsage,
    Phase,
    Role,
    SamplingParams,
    Step,
    StepEnd,
    ThinkingEnd,
    ToolCall,
)

MOST_TOKENS = 4
"""A token of one vocabulary is rarely more than this many tokens of another one."""


class Chain:
    """A reply that grows by steps. `routed`: the next step needs a glimpse. `complete`: the reply has ended.

    `room` counts the tokens that are left in the fuller window, if two vocabularies count a step differently.
    """

    def __init__(
        self,
        context: Context,
        plan: Plan,
        config: RouterConfig,
        sampling: SamplingParams,
        room: Callable[[], int] | None = None,
    ):
        self.context = context
        self.plan = plan
        self.config = config
        self.sampling = sampling
        self.stop = StopMatcher(sampling.stop)
        self.requirements = OutputRequirements.of_context(context)
        self.steps: list[Step] = []
        self.phase: Phase = plan.first_phase
        self.thinking_end: ThinkingEnd | None = None
        self.complete = False
        self.tool_calls = False
        self._room = room
        self._visible = plan.first_phase != "thinking"
        self._left = {"thinking": plan.reasoning_tokens, "inline": plan.answer_tokens, "answer": plan.answer_tokens}

    @property
    def routed(self) -> bool:
        """Whether a glimpse decides which model writes the next step."""
        return not self.complete and (self.phase != "answer" or self.config.answer_by == "routed")

    @property
    def answer_by(self) -> Role:
        """The model that writes the answer if it is not routed."""
        return "small" if self.config.answer_by == "small" else "large"

    @property
    def finish_reason(self) -> FinishReason:
        """The finish reason: "length" only if the answer itself was cut, also if it was cut at a blank line."""
        if self.tool_calls:
            return "tool_calls"
        return "length" if not self.steps or self.steps[-1].end in ("length", "break") else "stop"

    @property
    def _bound(self) -> bool:
        """Whether the current phase may have calls or JSON, which cannot be written step by step."""
        return self.phase != "thinking" and self.requirements.bound

    def spares(self, writer: Role, begun: bool) -> bool:
        """Whether the reply can continue without `writer`, which failed. A begun call or JSON cannot be continued."""
        return writer == "large" and self.config.on_large_failure == "small" and not (begun and self._bound)

    def params(self) -> GenerationParams:
        """Return the parameters of the next engine call."""
        left = self._left[self.phase]
        stepwise = self.routed and not self._bound
        limit = min(left, self.config.max_step_tokens) if stepwise else left
        if stepwise and (room := self._free()) is not None:
            limit = max(1, min(limit, room // MOST_TOKENS))
        logprobs = self.context.request.logprobs
        return GenerationParams(self.phase, limit, stepwise, self.sampling, len(self.steps), logprobs)

    def _free(self) -> int | None:
        """Return the tokens of the fuller window that this phase may use; None if both models count the same."""
        if self._room is None:
            return None
        return self._room() - (self.plan.answer_tokens + CLOSING if self.phase == "thinking" else 0)

    def show(self, text: str) -> str:
        """Return the part of the next written text that may be shown.

        Stop strings apply only to the visible reply. The blank lines between the thinking and the visible reply belong
        to neither of them.
        """
        if self.phase == "thinking":
            return text
        if not self._visible:
            text = text.lstrip("\n")
            self._visible = bool(text)
        return self.stop.push(text)

    def append(self, step: Step, written: str, token_ids: tuple[int, ...], vocabulary: str) -> None:
        """Append a finished step with its written text, and set the next phase."""
        self.steps.append(step)
        self.context.append(Span(written, token_ids, vocabulary))
        self._left[self.phase] -= step.tokens
        if (room := self._free()) is not None:
            self._left[self.phase] = min(self._left[self.phase], room)
        if self.phase == "thinking":
            self._after_thinking(step)
        else:
            self._after_visible(step)

    def _after_thinking(self, step: Step) -> None:
        self.thinking_end = self.ending(step)
        if self.thinking_end:
            self.context.append(ThinkingClosed(written=self.thinking_end == "close"))
            self.phase = "answer"

    def _after_visible(self, step: Step) -> None:
        ending = self.ending(step)
        over = (self._bound or not self.routed) and step.end != "failure"
        self.complete = step.end in ("eos", "stop") or self._left[self.phase] <= 0 or over
        if self.phase == "inline":
            self.thinking_end = ending
            if ending == "repetition" and not self.complete:  # the large model finishes a reply that repeats itself
                self._left["answer"] = self._left["inline"]
                self.phase = "answer"
        elif ending == "repetition":
            self.complete = True

    def ending(self, step: Step) -> ThinkingEnd | None:
        """Return why the routed steps end with this step, the last one of the chain; None if they continue."""
        if step.end in ("close", "eos"):
            return "close" if step.end == "close" else "eos"
        if self._left[self.phase] <= 0:
            return "budget"
        texts = [earlier.text for earlier in self.steps if earlier.phase == self.phase]
        return "repetition" if in_circles(texts) else None


class Clock:
    """Counts the seconds spent inside it: those of waiting for engines, and not those of whoever reads the events."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> "Clock":
        self._started = perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds += perf_counter() - self._started


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
    params, written = chain.params(), StepBuilder(chain)
    chain.context.hand_to(engine)
    try:
        yield from _deltas(chain, engine, writer, clock, params, written)
    except EngineError as error:
        if not chain.spares(writer, begun=written.tokens > 0):
            raise
        chain.context.lose_large(error)
        if not written.tokens:
            return
        written.end = "failure"
    assert written.end
    step = Step(
        index=params.index, phase=params.phase, engine=writer, text=written.shown, tokens=written.tokens,
        seconds=clock.seconds, end=written.end, entropy=entropy, usage=written.usage, drafting=written.drafting,
    )  # fmt: skip
    chain.append(step, written.text, tuple(written.token_ids), engine.vocabulary)
    if chain.complete and (rest := chain.stop.flush()):
        yield Delta(params.index, params.phase, writer, rest, ())
        step = chain.steps[-1] = replace(step, text=step.text + rest)
    yield step


def _deltas(
    chain: Chain, engine: Engine, writer: Role, clock: Clock, params: GenerationParams, step: "StepBuilder"
) -> Iterator[Event]:
    """Yield the deltas of one call until a stop string is found; the engine is stopped on every way out."""
    chunks = engine.generate(chain.context, params)
    try:
        while not chain.stop.matched:
            with clock:
                if (chunk := next(chunks, None)) is None:
                    break
            if (text := step.add(chunk)) or chunk.token_ids:
                phase = "thinking" if chunk.thought else params.phase
                yield Delta(params.index, phase, writer, text, chunk.token_ids, chunk.measure)
            if chunk.tool_call:
                call = chain.requirements.checked_call(chunk.tool_call)
                chain.tool_calls |= isinstance(call.call, ToolCall)
                yield call
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
    if step.end is None:
        raise EngineError(f"engine {engine.name!r} broke off without saying why: its last chunk has no end")


class StepBuilder:
    """A step while it is written: `text` is what the model wrote, `shown` what is shown of it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.text = ""
        self.shown = ""
        self.token_ids: list[int] = []
        self.tokens = 0
        self.usage = self.drafting = ModelUsage()
        self.end: StepEnd | None = None

    def add(self, chunk: Chunk) -> str:
        """Take a chunk and return the text to show."""
        self.text += chunk.text
        self.tokens += len(chunk.token_ids)
        self.usage, self.drafting = chunk.usage, chunk.drafting
        if chunk.end not in ("close", "eos"):  # those come with the one control id that ended the call
            self.token_ids += chunk.token_ids
        if chunk.thought:  # a thought in an answer is no part of what it says
            self.end = chunk.end
            return chunk.text
        shown = self._chain.show(chunk.text)
        self.end = "stop" if self._chain.stop.matched else chunk.end
        self.shown += shown
        return shown
