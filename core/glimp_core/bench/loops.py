"""Other ways for two models to write one reply, beside `glimp_core.algorithm.route`: the baselines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from glimp_core.bench.engines import Written
from glimp_core.bench.judges import Judge
from glimp_core.chain import Chain
from glimp_core.engine import Engine, Glimpser
from glimp_core.events import Event, Routed
from glimp_core.policy import Policy
from glimp_core.types import ModelUsage, Writer
from glimp_core.writing import Clock, write_step


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


def alone(chain: Chain, engine: Engine, writer: Writer) -> Iterator[Happening]:
    """One model writes all, step by step, under the rules that hold for a pair."""
    while not chain.complete:
        yield from write_step(chain, engine, writer, Clock())


def whole_request(chain: Chain, small: Glimpser, large: Engine, policy: Policy) -> Iterator[Happening]:
    """One glimpse, at the first token of all, chooses the model that writes the whole reply."""
    if chain.routed:
        glimpse = small.glimpse(chain.context, chain.config.entropy)
        decision = policy.decide(glimpse, ())
        yield Routed(0, glimpse, decision)
        yield from alone(chain, large if decision.intervene else small, decision.writer)
    else:
        yield from alone(chain, large, "large")


def try_first(chain: Chain, small: Engine, large: Engine, judge: Judge, measured: bool) -> Iterator[Happening]:
    """The small model writes every step, and the large one writes it again where the judge does not keep it."""
    while chain.routed:
        clock = Clock()
        step = clock.time(Written.by, small, chain, measured)
        verdict = clock.time(judge, chain, step)
        discarded = ModelUsage() if verdict.keep else step.usage
        yield Trial(len(chain.steps), verdict.measure, verdict.keep, step.tokens, discarded, verdict.usage)
        if verdict.keep:
            yield from write_step(chain, step, "small", clock)
        else:
            yield from write_step(chain, large, "large", clock)
    if not chain.complete:
        engine: Engine = small if chain.answer_by == "small" else large
        yield from write_step(chain, engine, chain.answer_by, Clock())
