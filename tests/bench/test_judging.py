"""Methods that judge a step after it was written, and throw away what fails."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.scripts import LENGTHS, STEPS, Judging, Silent, Sure, question, router, wrote
from glimp_core import ConfigError, Context
from glimp_core.bench import Method, answer
from glimp_core.entropy import TokenMeasure
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams


@pytest.mark.parametrize(("name", "value"), [("h-step", 0.6), ("ppl-step", math.exp(0.9))])
def test_a_step_over_its_threshold_is_thrown_away(name: str, value: float) -> None:
    """Mean entropy or perplexity is taken over the step's own tokens; what is thrown away counts as discarded."""
    measures = ((0.5, 0.2), (0.7, 0.8), (0.5, 1.0), (0.6, 0.9))
    small = Sure(*measures, steps=STEPS, answer="4", name="small")
    record = answer(router(small), Method(name, value), question())
    thrown = [m[0] > 0.6 if name == "h-step" else m[1] > 0.9 for m in measures]
    assert wrote(record) == thrown
    assert record.discarded_tokens == sum(n for n, gone in zip(LENGTHS, thrown, strict=True) if gone)
    expected = [m[0] if name == "h-step" else math.exp(m[1]) for m in measures]
    assert [decision["measure"] for decision in record.decisions] == pytest.approx(expected, abs=1e-6)


def test_steps_that_are_kept_are_the_small_models_own() -> None:
    """A kept draft becomes a step to the letter, and the reply is what the models wrote."""
    small = Sure((0.0, 0.0), steps=STEPS, answer="4", name="small")
    record = answer(router(small), Method("h-step", 1.0), question())
    assert record.reasoning == "".join(STEPS).removesuffix("</think>")
    assert (record.small_tokens, record.discarded_tokens) == (sum(LENGTHS), 0)


def test_an_engine_that_does_not_measure_is_refused() -> None:
    """H_step of an engine that tells nothing of its tokens is an error, not a zero."""
    with pytest.raises(ConfigError, match="does not measure"):
        answer(router(Silent(STEPS)), Method("h-step", 1.0), question())


def test_specreason_keeps_what_scores_seven_or_more() -> None:
    """The large model judges each step in one token; no digit is a rejection, and its reading counts as its own."""
    large = Judging(["9", "6", "7", "x"], steps=STEPS, answer="4", name="large")
    record = answer(router(large=large), Method("specreason", 7.0), question())
    assert wrote(record) == [False, True, False, True]
    assert [decision["measure"] for decision in record.decisions] == [9, 6, 7, 0]
    assert record.discarded_tokens == LENGTHS[1] + LENGTHS[3]
    assert large.judged[1] == (STEPS[0] + STEPS[1], "off")


@pytest.mark.parametrize(("name", "number"), [("specreason", 7.0), ("trigreason", 0.8)])
def test_published_numbers_are_the_defaults(name: str, number: float) -> None:
    """A score of 7 of 9, and a share of 0.8 of over-sure tokens."""
    assert Method(name).settled(0.3).value == number


class HalfSure(ScriptedEngine):
    """Has no surprisal at every `period`-th token, and one nat at the others."""

    def __init__(self, period: int, *steps: str):
        super().__init__(steps, "4", name="small")
        self.period = period

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        for at, chunk in enumerate(super().generate(context, params)):
            yield replace(chunk, measure=TokenMeasure(0.0, float(at % self.period > 0)) if params.logprobs else None)


def triggered(small: ScriptedEngine, share: float = 0.8) -> list[bool]:
    """Who wrote the steps that come after the first twenty."""
    large = ScriptedEngine([f"L{at}.\n\n" for at in range(40)], "4", name="large")
    return wrote(answer(router(small, large), Method("trigreason", share), question()))


def test_trigreason_gives_the_first_twenty_steps_to_the_large_model() -> None:
    """They are not tried by the small one, so that nothing of them is thrown away."""
    steps = [f"Add {at}.\n\n" for at in range(25)]
    small, large = (ScriptedEngine(steps, "4", name=name) for name in ("small", "large"))
    record = answer(
        router(Sure((0.0, 1.0), steps=steps, answer="4", name="small"), large), Method("trigreason"), question()
    )
    assert wrote(record) == [True] * 20 + [False] * 6
    assert record.discarded_tokens == 0
    assert small.history == []


@pytest.mark.parametrize(("period", "redone"), [(1, True), (2, False)])
def test_trigreason_redoes_what_is_over_confident(period: int, redone: bool) -> None:
    """A step of which every token was certain is written again by the large model; of which half were, it is kept."""
    steps = [f"Add {at}.\n\n" for at in range(23)]
    assert triggered(HalfSure(period, *steps))[20:23] == [redone] * 3


def test_trigreason_calls_after_three_steps_of_doubt() -> None:
    """Three steps of the small model in a row that hesitate call the large one once; the row then begins anew."""
    steps = [f"Wait, is it {at}?\n\n" for at in range(30)]
    assert triggered(HalfSure(2, *steps))[20:28] == [False, False, False, True] * 2
    plain = [f"Wait, {at}?\n\n" if at % 3 else f"Add {at}.\n\n" for at in range(30)]
    assert not any(triggered(HalfSure(2, *plain))[20:30])


def test_priming_goes_by_place() -> None:
    """The first steps are the large model's, whatever they measure."""
    assert wrote(answer(router(), Method("priming", 2), question())) == [True, True, False, False]
