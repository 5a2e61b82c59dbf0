"""More ways to share a chain of thought, for comparison: nobody routes with them, so they are not in the package.

python examples/experiments/more_methods.py --set tiny --methods large,glimp,verify,h-step@0.2 --json

Takes what `glimp bench` takes, and knows these methods too: h-step and ppl-step measure a step that has been written,
verify has the large model score it, and a step that fails is thrown away; request decides once for the whole reply;
first, bookends and cue go by the place of a step and its first word.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from glimp_core import (
    ConfigError,
    Decision,
    EngineError,
    EntropyThreshold,
    Glimpse,
    ModelUsage,
    Policy,
    Request,
    Routed,
    RouterConfig,
    SamplingParams,
)
from glimp_core.algorithm import write_alone
from glimp_core.bench import KINDS
from glimp_core.bench.engines import TEXT, Wrapped
from glimp_core.bench.loops import Happening, Trial
from glimp_core.bench.methods import Kind, routed
from glimp_core.chain import Chain
from glimp_core.context import Context, Span
from glimp_core.engine import Engine, Glimpser
from glimp_core.entropy import TokenMeasure
from glimp_core.types import Chunk, GenerationParams, History, Role
from glimp_core.writing import Clock, write

RUBRIC = (
    "Judge the last step of the reasoning above. Is it correct, and does it lead towards the solution? "
    "Answer with one digit, from 0 (wrong or useless) to 9 (certainly right)."
)
LEAD = "The score is "
UNREADABLE = -1.0
"""The score of a step to which the judge gives no digit; it counts as rejected."""
NO_USAGE = ModelUsage()


CONCLUSIONS = frozenset(("so", "therefore", "thus", "hence", "finally", "in", "the", "answer"))
"""Words that begin the step which draws the sum, in answers to exercises."""

DOUBTS = frozenset(("wait", "but", "however", "hmm", "actually", "alternatively", "check", "verify"))
"""Words that begin a step in which a chain of thought turns (Speculative Thinking, arXiv 2504.12329)."""


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """The large model writes the first steps, which hold the plan, and the small one the rest."""

    count: int

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Look at how many steps there are."""
        return Decision(len(history) < self.count, f"step {len(history) + 1}, plan of {self.count}")


@dataclass(frozen=True, slots=True)
class Bookends:
    """The large model writes the first steps, and every later one that begins like a conclusion."""

    count: int

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Look at the place of the step and at its likeliest first word."""
        word = _word(glimpse)
        return Decision(len(history) < self.count or word in CONCLUSIONS, f"step {len(history) + 1} begins {word!r}")


@dataclass(frozen=True, slots=True)
class CueWords:
    """The large model writes the steps that begin with doubt or with a conclusion."""

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Look at the likeliest first word."""
        word = _word(glimpse)
        return Decision(word in DOUBTS or word in CONCLUSIONS, f"begins {word!r}")


def _word(glimpse: Glimpse) -> str:
    return glimpse.text.strip(" *#`").lower()


class Written(Wrapped):
    """Writes, as its next step, what the inner engine has written already: a draft that is to be kept."""

    def __init__(self, engine: Engine, chunks: Sequence[Chunk]):
        super().__init__(engine)
        self.chunks = tuple(chunks)

    @classmethod
    def by(cls, engine: Engine, chain: Chain, logprobs: bool = False) -> "Written":
        """Have `engine` write the next step of a chain, which does not take it yet.

        Raises `ConfigError` where tokens are to be `logprobs` by an engine that does not do so.
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

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Say again what was written."""
        return iter(self.chunks)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step measures, whether it is kept, and what the judge used to find out."""

    measure: float
    keep: bool
    usage: ModelUsage = NO_USAGE


Judge: TypeAlias = Callable[[Chain, Written], Verdict]


def mean_entropy(threshold: float) -> Judge:
    """Keep steps whose tokens had a mean entropy of at most `threshold` nats (H_step in the paper)."""

    def judge(chain: Chain, step: Written) -> Verdict:
        measure = step.measure.entropy / max(1, step.tokens)
        return Verdict(measure, measure <= threshold)

    return judge


def perplexity(threshold: float) -> Judge:
    """Keep steps whose perplexity for their own writer is at most `threshold` (PPL_step in the paper)."""

    def judge(chain: Chain, step: Written) -> Verdict:
        measure = math.exp(step.measure.surprisal / max(1, step.tokens))
        return Verdict(measure, measure <= threshold)

    return judge


def score(judging: Engine, least: float) -> Judge:
    """Keep steps that `judging` scores with `least` or more of 9, in one token (as SpecReason, arXiv 2504.07891)."""

    def judge(chain: Chain, step: Written) -> Verdict:
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


def whole_request(chain: Chain, small: Glimpser, large: Engine, policy: Policy) -> Iterator[Happening]:
    """One glimpse, at the first token of all, chooses the model that writes the whole reply."""
    writer: Role = "large"
    if chain.routed:
        glimpse = small.glimpse(chain.context, chain.config.entropy)
        decision = policy.decide(glimpse, ())
        yield Routed(0, glimpse, decision)
        writer = decision.engine
    yield from write_alone(chain, small, large, writer)


def try_first(chain: Chain, small: Engine, large: Engine, judge: Judge, logprobs: bool) -> Iterator[Happening]:
    """The small model writes every step, and the large one writes it again where the judge does not keep it."""
    while chain.routed:
        clock = Clock()
        step = clock.time(Written.by, small, chain, logprobs)
        verdict = clock.time(_judged, chain, step, judge)
        discarded = ModelUsage() if verdict.keep else step.usage
        yield Trial(len(chain.steps), verdict.measure, verdict.keep, step.tokens, discarded, verdict.usage)
        if verdict.keep:
            yield from write(chain, {"small": step, "large": large}, "small", clock)
        else:
            yield from write(chain, {"small": small, "large": large}, "large", clock)
    yield from write_alone(chain, small, large, chain.answer_by)


def _judged(chain: Chain, step: Written, judge: Judge) -> Verdict:
    """Keep the step where the large model is lost: nobody else could judge it or write it again."""
    try:
        if not chain.context.large_lost:
            return judge(chain, step)
    except EngineError as error:
        if not chain.spares("large", begun=False):
            raise
        chain.context.lose_large(error)
    return Verdict(UNREADABLE, keep=True)


def _plain(config: RouterConfig) -> RouterConfig:
    return replace(config, prewarm=False)


MORE: Mapping[str, Kind] = {
    "h-step": Kind(
        "write, then measure the step's mean entropy", "own",
        lambda v, *_: partial(try_first, judge=mean_entropy(v), logprobs=True), _plain,
    ),
    "ppl-step": Kind(
        "write, then measure the step's perplexity", "own",
        lambda v, *_: partial(try_first, judge=perplexity(v), logprobs=True), _plain,
    ),
    "verify": Kind(
        "write, then have the large model score the step from 0 to 9", "own",
        lambda v, *_: lambda chain, small, large: try_first(chain, small, large, score(large, v), logprobs=False),
        _plain, default=7.0,
    ),
    "request": Kind(
        "one glimpse for the whole request", "threshold",
        lambda v, config, _: partial(whole_request, policy=EntropyThreshold.of(v, config)),
    ),
    "first": Kind("the first steps by the large model", "own", routed(lambda v, *_: FirstSteps(round(v)))),
    "bookends": Kind(
        "the first steps and conclusions by the large model", "own", routed(lambda v, *_: Bookends(round(v))),
    ),
    "cue": Kind("steps that begin with a cue word by the large model", "none", routed(lambda *_: CueWords())),
}  # fmt: skip


if __name__ == "__main__":
    KINDS.update(MORE)
    from glimp_core.cli import main  # reads the names of the methods for its help

    main(["bench", *sys.argv[1:]])
