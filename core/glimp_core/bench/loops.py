"""Other ways for two models to write one reply, beside `glimp_core.algorithm.route`: the baselines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from glimp_core.bench.engines import Written
from glimp_core.bench.judges import UNREADABLE, Judge, Verdict
from glimp_core.chain import Chain
from glimp_core.engine import Engine, Glimpser
from glimp_core.errors import EngineError
from glimp_core.events import Event, Routed
from glimp_core.policy import Policy
from glimp_core.types import ModelUsage, Writer
from glimp_core.writing import Clock, write


@dataclass(frozen=True, slots=True)
class Trial:
    """The small model wrote step `index`, it was measured, and `kept` or thrown away.

    `discarded` is what the small model used for a step that was thrown away, `judging` what the judge used.
    """

    index: int
    measure: float
    kept: bool
    tokens: int
    discarded: ModelUsage
    judging: ModelUsage


Happening: TypeAlias = Event | Trial
Loop: TypeAlias = Callable[[Chain, Glimpser, Engine], Iterator[Happening]]


def alone(chain: Chain, small: Engine, large: Engine, writer: Writer) -> Iterator[Happening]:
    """One model writes all, step by step, under the rules that hold for a pair: where the large one fails, too."""
    engines: dict[Writer, Engine] = {"small": small, "large": large}
    while not chain.complete:
        yield from write(chain, engines, writer, Clock())


def whole_request(chain: Chain, small: Glimpser, large: Engine, policy: Policy) -> Iterator[Happening]:
    """One glimpse, at the first token of all, chooses the model that writes the whole reply."""
    writer: Writer = "large"
    if chain.routed:
        glimpse = small.glimpse(chain.context, chain.config.entropy)
        decision = policy.decide(glimpse, ())
        yield Routed(0, glimpse, decision)
        writer = decision.writer
    yield from alone(chain, small, large, writer)


def try_first(chain: Chain, small: Engine, large: Engine, judge: Judge, measured: bool) -> Iterator[Happening]:
    """The small model writes every step, and the large one writes it again where the judge does not keep it."""
    while chain.routed:
        clock = Clock()
        step = clock.time(Written.by, small, chain, measured)
        verdict = clock.time(_judged, chain, step, judge)
        discarded = ModelUsage() if verdict.keep else step.usage
        yield Trial(len(chain.steps), verdict.measure, verdict.keep, step.tokens, discarded, verdict.usage)
        if verdict.keep:
            yield from write(chain, {"small": step, "large": large}, "small", clock)
        else:
            yield from write(chain, {"small": small, "large": large}, "large", clock)
    yield from alone(chain, small, large, chain.answer_by)


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
