"""The curve is what each threshold does on recorded glimpses, and the cut is its nearest point."""

import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import ConfigError, EntropyThreshold, Glimpse
from glimp_core.calibration import Goal, Sample, cut, interval, points, sample
from glimp_core.calibration.curve import RoutedStep, SecondsPerToken, value
from recordings import recorded

STEP = st.builds(RoutedStep, st.floats(0, 5), st.integers(1, 50), st.floats(0.001, 0.1), st.floats(0.2, 1))
SAMPLES = st.lists(
    st.builds(Sample, st.lists(STEP, max_size=8).map(tuple), st.integers(0, 50), st.just(0), st.floats(0, 1)),
    min_size=1, max_size=6,
).filter(lambda samples: any(one.steps for one in samples))  # fmt: skip


@given(SAMPLES)
def test_every_point_is_what_its_threshold_does(samples: list[Sample]) -> None:
    """Deciding all steps by a point's threshold gives its rate, its share of tokens and its seconds."""
    steps = [step for one in samples for step in one.steps]
    for point in points(samples):
        policy = EntropyThreshold(point.threshold)
        over = [policy.decide(Glimpse(step.entropy), ()).intervene for step in steps]
        tokens = sum(one.tokens for one in samples) + sum(step.tokens for step in steps)
        if not math.isclose(point.rate, sum(over) / len(steps)):  # neighbours too close for a number between them
            gaps = sorted(step.entropy for step in steps)
            assert any(0 < b - a < 1e-12 or a < 1e-300 for a, b in zip([0.0, *gaps], gaps, strict=False))
            continue
        assert point.large_token_share == pytest.approx(
            sum(step.tokens for step, large in zip(steps, over, strict=True) if large) / tokens
        )
        spent = [s.large_seconds if large else s.small_seconds for s, large in zip(steps, over, strict=True)]
        assert point.seconds == pytest.approx((sum(spent) + sum(one.seconds for one in samples)) / len(samples))


@given(SAMPLES)
def test_the_curve_goes_from_none_to_all(samples: list[Sample]) -> None:
    """Thresholds fall, rates, shares and seconds rise, from no intervention to all."""
    curve = list(points(samples))
    assert (curve[0].rate, curve[-1].rate) == (0.0, 1.0)
    for one, other in pairwise(curve):
        assert one.threshold >= other.threshold
        assert one.rate < other.rate
        assert one.large_token_share <= other.large_token_share
        assert (one.seconds or 0) <= (other.seconds or 0)


@given(SAMPLES, st.floats(0, 1), st.sampled_from(["rate", "share", "seconds"]))
def test_the_cut_is_nearest_to_the_goal(samples: list[Sample], wanted: float, measure: Any) -> None:
    """No other point of the curve is nearer."""
    goal = Goal(measure, wanted or 0.5)
    found = cut(samples, goal)
    best = min(abs(value(point, measure) - goal.value) for point in points(samples))
    assert abs(value(found, measure) - goal.value) == best


def test_the_threshold_stands_between_two_clusters() -> None:
    """With sure and unsure steps far apart, the threshold is in the middle, where noise does not reach it."""
    steps = tuple(RoutedStep(h, 1, 0.1, 0.5) for h in (0.0, 0.05, 0.1, 1.1, 1.2, 0.02, 0.03, 0.04))
    assert cut([Sample(steps, 0, 0, 0.0)], Goal("rate", 0.25)).threshold == pytest.approx(0.6)


def uniform(questions: int, seed: int) -> list[Sample]:
    draw = random.Random(seed)
    return [
        Sample(tuple(RoutedStep(draw.random(), 1, 0.1, 0.5) for _ in range(10)), 0, 0, 0.0) for _ in range(questions)
    ]


def test_the_interval_holds_the_truth_and_narrows() -> None:
    """Of uniform entropies the true threshold for 0.25 is 0.75: in the interval nearly always, and closer with more."""
    held = 0
    for seed in range(8):
        low, high = interval(uniform(12, seed), Goal("rate", 0.25))
        held += low <= 0.75 <= high
    assert held >= 7
    narrow, wide = interval(uniform(150, 1), Goal("rate", 0.25)), interval(uniform(10, 1), Goal("rate", 0.25))
    assert narrow[1] - narrow[0] < 0.5 * (wide[1] - wide[0])


def test_a_sample_is_what_a_threshold_acts_on() -> None:
    """Routed steps with both models' seconds, and the answer as tokens and seconds of whoever will write it."""
    done = recorded((0.1, "abcd"), (2.0, "efgh")).completion
    one = sample(done, SecondsPerToken(0.01, 0.05), answer_by_large=True)
    small, large = one.steps
    assert (small.entropy, small.small_seconds) == (0.1, done.steps[0].seconds)
    assert (small.large_seconds, large.small_seconds) == (pytest.approx(0.2), pytest.approx(0.04))
    assert large.large_seconds == done.steps[1].seconds
    assert (one.tokens, one.large_tokens, one.seconds) == (8, 8, pytest.approx(0.4))
    other = sample(done, SecondsPerToken(0.01, 0.05), answer_by_large=False)
    assert (other.large_tokens, other.seconds) == (0, pytest.approx(0.08))


@pytest.mark.parametrize("wrong", [("rate", 1.5), ("share", -0.1), ("seconds", 0.0), ("rates", 0.5)])
def test_impossible_goals_are_refused(wrong: Any) -> None:
    """The error names what was asked for."""
    with pytest.raises(ConfigError, match=wrong[0]):
        Goal(*wrong)
