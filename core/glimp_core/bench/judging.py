"""Loops that judge a step after it was written: the small model tries every step, and a rejected step is discarded."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from glimp_core.algorithm import write_alone
from glimp_core.bench.engines import TEXT, Wrapped
from glimp_core.bench.loops import NO_USAGE, Happening, Trial
from glimp_core.chain import Chain, Clock, write
from glimp_core.context import Context, Span
from glimp_core.engine import Engine
from glimp_core.entropy import TokenMeasure
from glimp_core.errors import ConfigError, EngineError
from glimp_core.types import Chunk, GenerationParams, ModelUsage, Request, Role, SamplingParams, Step

RUBRIC = (
    "Judge the last step of the reasoning above by one thing alone: are its facts correct, and does it follow from the "
    "steps before it? Style and usefulness do not count. Answer with one digit, from 0 (wrong) to 9 (certainly right)."
)
LEAD = "The score is "
UNREADABLE = 0.0
"""The score of a step to which the judge gives no digit (as in SpecReason's code)."""

HESITATION = ("wait", "but", "however", "hmm", "actually", "alternatively", "maybe", "perhaps", "not sure")
"""Words of doubt. TrigReason describes such words, but has no list; this one is ours."""


class WrittenStep(Wrapped):
    """Writes, as its next step, the text that the inner engine has already written and that was accepted."""

    def __init__(self, engine: Engine, chunks: Sequence[Chunk]):
        super().__init__(engine)
        self.chunks = tuple(chunks)

    @classmethod
    def by(cls, engine: Engine, chain: Chain, logprobs: bool = False) -> "WrittenStep":
        """Have `engine` write the next step of a chain, which does not take it yet.

        Raises `ConfigError` if tokens are to be `logprobs` by an engine that does not do so.
        """
        chunks = list(engine.generate(chain.context, replace(chain.params(), logprobs=logprobs)))
        if logprobs and all(chunk.measure is None for chunk in chunks):
            raise ConfigError(f"{engine.name!r} does not measure the tokens it writes: choose a local model for this")
        return cls(engine, chunks)

    @property
    def text(self) -> str:
        """The step."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def tokens(self) -> int:
        """How many ids were written."""
        return sum(len(chunk.token_ids) for chunk in self.chunks)

    @property
    def usage(self) -> ModelUsage:
        """What writing it took."""
        return self.chunks[-1].usage

    @property
    def measure(self) -> TokenMeasure:
        """The measures of all its tokens, added up."""
        return sum((chunk.measure for chunk in self.chunks if chunk.measure), TokenMeasure())

    def share_under(self, perplexity: float) -> float:
        """Return the share of its tokens with at most this perplexity for their own writer; tokens of one chunk are
        taken together."""
        most = math.log(perplexity)
        measured = [(len(c.token_ids), c.measure.surprisal) for c in self.chunks if c.measure and c.token_ids]
        under = sum(tokens for tokens, surprisal in measured if surprisal <= most * tokens)
        return under / max(1, sum(tokens for tokens, _ in measured))

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Yield the written chunks again."""
        return iter(self.chunks)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The measured value of a step, whether it is kept, and the usage of the judge."""

    measure: float
    keep: bool
    usage: ModelUsage = NO_USAGE


Judge: TypeAlias = Callable[[Chain, WrittenStep], Verdict]
Call: TypeAlias = Callable[[Sequence[Step]], str]
"""Says, of the steps so far, why the large model is to write the next one untried; "" if it is not."""


def mean_entropy(threshold: float) -> Judge:
    """Keep steps whose tokens have a mean entropy of at most `threshold` nats (H_step of arXiv 2601.05110)."""

    def judge(chain: Chain, step: WrittenStep) -> Verdict:
        measure = step.measure.entropy / max(1, step.tokens)
        return Verdict(measure, measure <= threshold)

    return judge


def perplexity(threshold: float) -> Judge:
    """Keep steps whose perplexity for their own writer is at most `threshold` (PPL_step of arXiv 2601.05110)."""

    def judge(chain: Chain, step: WrittenStep) -> Verdict:
        measure = math.exp(step.measure.surprisal / max(1, step.tokens))
        return Verdict(measure, measure <= threshold)

    return judge


def score(judging: Engine, least: float) -> Judge:
    """Keep steps that `judging` scores with `least` or more of 9, greedily in one token (SpecReason, arXiv 2504.07891).

    Theirs asks in words of its own, and inside a thought of the judge; this one asks a judge whose thinking is off.
    """

    def judge(chain: Chain, step: WrittenStep) -> Verdict:
        asked = chain.context.request
        reasoning = {"role": "assistant", "content": chain.context.text + step.text}
        request = Request((*asked.messages, reasoning, {"role": "user", "content": RUBRIC}))
        with Context(request, "off", chain.context.cancelled) as context:
            context.append(Span(LEAD, (), TEXT))
            params = GenerationParams("answer", 1, stepwise=False, sampling=SamplingParams(temperature=0))
            chunks = list(judging.generate(context, params))
        said = "".join(chunk.text for chunk in chunks).strip()
        measure = float(said) if said in set("0123456789") else UNREADABLE
        return Verdict(measure, measure >= least, chunks[-1].usage)

    return judge


def overconfidence(most: float, sure: float = 1.05) -> Judge:
    """Keep steps of which at most a share `most` of the tokens is over-sure: of a perplexity of `sure` or less.

    The cognitive offload trigger of TrigReason (arXiv 2604.14847), which has shares of 0.75 to 0.85. Where it draws the
    line for one token we could not read; `sure` is ours.
    """

    def judge(chain: Chain, step: WrittenStep) -> Verdict:
        measure = step.share_under(sure)
        return Verdict(measure, measure <= most)

    return judge


def primed_or_stuck(first: int = 20, row: int = 3) -> Call:
    """Call the large model for the `first` steps, and after `row` steps of the small one that all hesitate.

    The strategic priming and intervention request triggers of TrigReason (arXiv 2604.14847), which has 20 first steps.
    The length of the row, and the words of `HESITATION`, are ours.
    """

    def call(steps: Sequence[Step]) -> str:
        if len(steps) < first:
            return f"step {len(steps) + 1} of the first {first}"
        latest = steps[-row:]
        stuck = len(latest) == row and all(step.engine == "small" and _hesitates(step.text) for step in latest)
        return f"{row} steps hesitate" if stuck else ""

    return call


def _hesitates(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in HESITATION)


def never(steps: Sequence[Step]) -> str:
    """Have the small model try every step."""
    return ""


def try_first(
    chain: Chain, small: Engine, large: Engine, judge: Judge, logprobs: bool, call: Call = never
) -> Iterator[Happening]:
    """The small model writes every step, and the large model writes it again if the judge rejects it.

    If `call` returns a reason, the large model writes the step at once.
    """
    engines: dict[Role, Engine] = {"small": small, "large": large}
    while chain.routed:
        clock = Clock()
        if reason := call(chain.steps):
            yield Trial(len(chain.steps), 0.0, False, 0, reason=reason)
            yield from write(chain, engines, "large", clock)
            continue
        with clock:
            step = WrittenStep.by(small, chain, logprobs)
            verdict = _judged(chain, step, judge)
        discarded = NO_USAGE if verdict.keep else step.usage
        yield Trial(len(chain.steps), verdict.measure, verdict.keep, step.tokens, discarded, verdict.usage)
        if verdict.keep:
            yield from write(chain, {"small": step, "large": large}, "small", clock)
        else:
            yield from write(chain, engines, "large", clock)
    yield from write_alone(chain, small, large, chain.answer_by)


def _judged(chain: Chain, step: WrittenStep, judge: Judge) -> Verdict:
    """Keep the step where the large model is lost: nobody else could judge it or write it again."""
    try:
        if not chain.context.large_lost:
            return judge(chain, step)
    except EngineError as error:
        if not chain.spares("large", begun=False):
            raise
        chain.context.lose_large(error)
    return Verdict(UNREADABLE, keep=True)
