"""The policies: one method, the same answer for the same question."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import (
    AlwaysLarge,
    AlwaysSmall,
    ConfigError,
    EntropyThreshold,
    Glimpse,
    Policy,
    RandomRate,
    RouterConfig,
    Step,
)

POSITIVE = st.floats(0, 20)


def step(index: int, text: str) -> Step:
    return Step(index, "thinking", "small", text, len(text), 0.1, "break")


@given(POSITIVE, POSITIVE, st.booleans())
def test_threshold_is_the_comparison(threshold: float, entropy: float, on_tie: bool) -> None:
    """Intervene exactly when H > tau, or H >= tau with `on_tie`."""
    decision = EntropyThreshold(threshold, on_tie=on_tie).decide(Glimpse(entropy), ())
    assert decision.intervene == (entropy >= threshold if on_tie else entropy > threshold)


@given(POSITIVE, POSITIVE, POSITIVE)
def test_a_higher_threshold_never_intervenes_more(one: float, other: float, entropy: float) -> None:
    """Raising the threshold can only take interventions away."""
    low, high = sorted((one, other))
    glimpse = Glimpse(entropy)
    assert EntropyThreshold(low).decide(glimpse, ()).intervene >= EntropyThreshold(high).decide(glimpse, ()).intervene


@pytest.mark.parametrize("threshold", [-0.1, -math.inf, math.nan])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    """A threshold below zero, or none at all, is a ConfigError that shows it."""
    with pytest.raises(ConfigError, match=str(threshold)):
        EntropyThreshold(threshold)


def test_mixing_definitions_of_entropy_raises() -> None:
    """A threshold on one definition refuses a glimpse of another, and says what to write instead."""
    with pytest.raises(ConfigError, match="make it with entropy='top20'"):
        EntropyThreshold(1.0).decide(Glimpse(0.5, "top20"), ())


def test_threshold_of_a_config_takes_its_definition_and_its_tie_rule() -> None:
    """`of` makes the threshold that belongs to a configuration."""
    assert EntropyThreshold.of(2.0, RouterConfig.paper_code()) == EntropyThreshold(2.0, "top20", on_tie=True)
    assert EntropyThreshold.of(2.0, RouterConfig()) == EntropyThreshold(2.0, "full", on_tie=False)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_random_rate_is_near_its_rate(rate: float) -> None:
    """Over many steps the share of interventions is the rate, within four standard errors."""
    policy, steps = RandomRate(rate, seed=1), [step(n, f"step {n}") for n in range(2000)]
    drawn = [policy.decide(Glimpse(n / 100), steps[:n]).intervene for n in range(0, 2000, 2)]
    assert abs(sum(drawn) / len(drawn) - rate) <= 4 * math.sqrt(rate * (1 - rate) / len(drawn))


def test_random_rate_is_a_function_of_seed_and_chain() -> None:
    """The same chain draws the same, another seed or another chain draws otherwise somewhere."""

    def draws(seed: int, word: str) -> list[bool]:
        policy, chain = RandomRate(0.5, seed), [step(n, f"{word} {n}") for n in range(40)]
        return [policy.decide(Glimpse(0.3), chain[:n]).intervene for n in range(40)]

    assert draws(0, "a") == draws(0, "a")
    assert draws(0, "a") != draws(1, "a")
    assert draws(0, "a") != draws(0, "b")


@pytest.mark.parametrize("rate", [-0.01, 1.01, math.nan])
def test_impossible_rates_are_refused(rate: float) -> None:
    """A rate is a share."""
    with pytest.raises(ConfigError, match=str(rate)):
        RandomRate(rate)


@pytest.mark.parametrize("policy", [EntropyThreshold(), AlwaysSmall(), AlwaysLarge(), RandomRate(0.5)])
def test_every_policy_is_one_and_says_why(policy: Any) -> None:
    """Each fits the interface and gives a reason in words."""
    assert isinstance(policy, Policy)
    assert policy.decide(Glimpse(0.5), ()).reason
