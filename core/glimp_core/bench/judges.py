"""Measures of a step that has been written, over which it is thrown away: what glimpsing does without."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from glimp_core.bench.engines import TEXT, Written
from glimp_core.chain import Chain
from glimp_core.context import Context, Span
from glimp_core.engine import Engine
from glimp_core.types import GenerationParams, ModelUsage, Request, SamplingParams

RUBRIC = (
    "Judge the last step of the reasoning above. Is it correct, and does it lead towards the solution? "
    "Answer with one digit, from 0 (wrong or useless) to 9 (certainly right)."
)
LEAD = "The score is "
UNREADABLE = -1.0
"""The score of a step to which the judge gives no digit; it counts as rejected."""
NO_USAGE = ModelUsage()


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
        measure = math.exp(step.measure.surprise / max(1, step.tokens))
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
