"""The methods of examples/experiments/more_methods.py, which throw steps away, or go by place and word."""

import math

import more_methods
import pytest

from bench.scripts import ENTROPIES, LENGTHS, STEPS, Judging, Silent, Sure, decisions, question, router, wrote
from glimp_core import ConfigError, EngineError
from glimp_core.bench import KINDS, Method, answer
from glimp_core.testing import ScriptedEngine


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in more_methods.MORE.items():
        monkeypatch.setitem(KINDS, name, kind)


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


def test_verify_keeps_what_scores_seven_or_more() -> None:
    """The large model judges each step in one token; no digit is a rejection, and its reading counts as its own."""
    large = Judging(["9", "6", "7", "x"], steps=STEPS, answer="4", name="large")
    record = answer(router(large=large), Method("verify", 7.0), question())
    assert wrote(record) == [False, True, False, True]
    assert [decision["measure"] for decision in record.decisions] == [9, 6, 7, -1]
    assert record.discarded_tokens == LENGTHS[1] + LENGTHS[3]
    assert large.judged[1] == (STEPS[0] + STEPS[1], "off")


@pytest.mark.parametrize(("threshold", "writer"), [(0.05, "large"), (0.1, "small")])
def test_request_decides_once_and_for_all(threshold: float, writer: str) -> None:
    """One glimpse, at the first token, and one model for the whole reply."""
    record = answer(router(), Method("request", threshold), question())
    assert wrote(record) == [writer == "large"]
    assert (record.large_tokens if writer == "large" else record.small_tokens) == record.tokens


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("first", 2, [True, True, False, False, False]),
        ("bookends", 1, [True, False, False, True, False]),
        ("cue", None, [False, False, True, True, False]),
    ],
)
def test_rules_of_place_and_word(name: str, value: float | None, expected: list[bool]) -> None:
    """First steps by their place, conclusions and doubts by their word."""
    assert decisions(Method(name, value)) == expected


def test_verify_has_a_score_of_its_own() -> None:
    """Without a number it is SpecReason's."""
    assert Method("verify").settled(0.3).value == 7


@pytest.mark.parametrize("name", sorted(more_methods.MORE))
@pytest.mark.parametrize("fails_at", [0, 1])
def test_every_method_ends_when_the_large_model_fails(name: str, fails_at: int) -> None:
    """With on_large_failure="small" the small model writes the rest."""
    small = Sure((0.9, 0.9), steps=STEPS, answer="4", entropies=ENTROPIES, name="small")
    large = ScriptedEngine(STEPS, "4", error=EngineError("gone"), error_at=fails_at, name="large")
    method = Method(name, None if name == "cue" else 0.5)
    record = answer(router(small, large, on_large_failure="small"), method, question())
    assert (record.correct, record.error) == (True, None)
    assert record.small_tokens > 0
