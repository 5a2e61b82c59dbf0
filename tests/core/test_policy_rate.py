"""TargetRate holds its rate on any chain, spends it on the uncertain steps, and remembers only what it should."""

import copy
import pickle
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import ConfigError, Decision, Glimpse, Step, TargetRate
from pairs import scripted_router

ENTROPIES = st.lists(st.floats(0, 12) | st.sampled_from([0.0, 0.69, 0.7]), max_size=120)


def walk(policy: TargetRate, entropies: Sequence[float], history: Sequence[Step] = ()) -> list[Decision]:
    """What a policy decides on one request whose steps begin with these entropies."""
    steps, decisions = list(history), []
    for index, entropy in enumerate(entropies):
        decision = policy.decide(Glimpse(entropy), steps)
        decisions.append(decision)
        steps.append(Step(index, "thinking", decision.engine, "x", 1, 0.1, "break", entropy))
    return decisions


def rate_of(decisions: Sequence[Decision]) -> float:
    return sum(decision.intervene for decision in decisions) / len(decisions)


def mixed(seed: int, steps: int = 300) -> list[float]:
    """Entropies of a chain that goes through easy and hard stretches, as a reasoning model's does."""
    draw, hard, entropies = random.Random(seed), False, []
    for _ in range(steps):
        hard = not hard if draw.random() < 0.05 else hard
        sure = draw.random() < (0.3 if hard else 0.9)
        entropies.append(draw.expovariate(50) if sure else draw.gauss(2.0 if hard else 1.2, 0.3))
    return entropies


@given(ENTROPIES, st.floats(0, 1), st.integers(1, 30), st.floats(0, 1), st.sampled_from(["request", "router"]))
def test_the_rate_holds_at_every_step_of_any_chain(
    entropies: list[float], rate: float, slack: int, hysteresis: float, scope: Any
) -> None:
    """After n steps there were rate * n interventions, give or take slack and one, whatever the entropies."""
    policy = TargetRate(rate, slack=slack, hysteresis=hysteresis, scope=scope)
    count = 0
    for number, decision in enumerate(walk(policy, entropies), 1):
        count += decision.intervene
        assert -(slack * (1 - rate) + 1) <= count - rate * number <= slack * rate + 1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("scope", ["request", "router"])
def test_a_quarter_is_a_quarter_over_300_steps_of_mixed_difficulty(seed: int, scope: Any) -> None:
    """TargetRate(0.25) intervenes at 0.20 to 0.30 of 300 steps whose difficulty changes on the way."""
    assert 0.20 <= rate_of(walk(TargetRate(0.25, scope=scope), mixed(seed))) <= 0.30


def test_the_rate_holds_over_many_short_requests_that_count_alone() -> None:
    """With scope="request", requests of twelve steps each keep the rate on the mean, without a calibrated start."""
    draw = random.Random(5)
    steps = [d for _ in range(40) for d in walk(TargetRate(0.25), [draw.expovariate(50) for _ in range(12)])]
    assert 0.20 <= rate_of(steps) <= 0.30


def test_a_shared_rate_holds_over_many_short_requests() -> None:
    """With scope="router", 300 steps spread over requests of ten keep the rate together, and hard requests get more."""
    policy, draw = TargetRate(0.25, scope="router"), random.Random(1)
    easy: list[Decision] = []
    hard: list[Decision] = []
    for _ in range(20):
        easy += walk(policy, [draw.expovariate(5) for _ in range(10)])
        hard += walk(policy, [draw.gauss(1.5, 0.3) for _ in range(5)])
    assert 0.20 <= rate_of(easy + hard) <= 0.30
    assert rate_of(hard) > 2 * rate_of(easy)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_the_large_model_gets_the_uncertain_steps(rate: float) -> None:
    """Of independent entropies nearly all interventions are above the quantile that the rate stands for."""
    draw = random.Random(2)
    entropies = [draw.random() for _ in range(1000)]
    taken = [h for h, d in zip(entropies, walk(TargetRate(rate), entropies), strict=True) if d.intervene]
    assert sum(entropy > 1 - rate - 0.15 for entropy in taken) >= 0.9 * len(taken)


def test_hysteresis_changes_the_writer_less_often_at_the_same_rate() -> None:
    """On independent entropies the changes fall by about the hysteresis, the rate stays."""
    draw = random.Random(3)
    entropies = [draw.random() for _ in range(3000)]

    def changes(hysteresis: float) -> int:
        decisions = walk(TargetRate(0.25, hysteresis=hysteresis, slack=10_000), entropies)
        assert rate_of(decisions) == pytest.approx(0.25, abs=0.03)
        return sum(one.intervene != other.intervene for one, other in pairwise(decisions))

    assert changes(0.4) == pytest.approx(0.6 * changes(0.0), rel=0.15)


@given(ENTROPIES)
def test_one_request_is_the_same_in_both_scopes(entropies: list[float]) -> None:
    """What the shared memory holds after one request is what its history holds."""
    assert walk(TargetRate(0.3), entropies) == walk(TargetRate(0.3, scope="router"), entropies)


def test_requests_do_not_touch_each_other_unless_asked_to() -> None:
    """With scope="request" a request is decided as if it were the first; with "router" the earlier ones count."""
    hard, easy = [3.0] * 30, [0.1 + n / 1000 for n in range(30)]
    apart, shared = TargetRate(0.25), TargetRate(0.25, scope="router")
    walk(apart, hard)
    walk(shared, hard)
    assert walk(apart, easy) == walk(TargetRate(0.25), easy)
    assert walk(shared, easy) != walk(TargetRate(0.25), easy)


def test_start_is_the_threshold_until_warm() -> None:
    """The first `warm_up` steps are compared with `start`, and the decision shows it."""
    decisions = walk(TargetRate(0.25, start=0.5, warm_up=3, slack=100), [0.2, 0.6, 0.2, 0.65])
    assert [decision.intervene for decision in decisions] == [False, True, False, True]
    assert [decision.threshold for decision in decisions[:3]] == [0.5] * 3
    assert decisions[3].threshold == 0.6


def test_a_decision_shows_the_state() -> None:
    """The trace tells the running threshold and how many interventions there were."""
    decisions = walk(TargetRate(0.25), mixed(0, 51))
    taken = sum(decision.intervene for decision in decisions[:-1])
    assert decisions[-1].reason.endswith(f": {taken} of 50 so far")
    forced = walk(TargetRate(0.25, slack=2), [0.0] * 20)
    assert any(decision.reason.startswith("behind rate 0.25: ") and decision.threshold is None for decision in forced)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copy_goes_on_from_where_the_policy_was(duplicate: Any) -> None:
    """Copies and pickles decide on as the original would."""
    policy = TargetRate(0.25, scope="router")
    walk(policy, mixed(1, 40))
    twin = duplicate(policy)
    assert twin == policy
    if duplicate is not copy.copy:  # a shallow copy shares the memory
        assert walk(twin, mixed(2, 40)) == walk(policy, mixed(2, 40))


def test_threads_share_a_rate() -> None:
    """A shared policy counts every step once, from however many threads."""
    policy = TargetRate(0.25, scope="router")
    with ThreadPoolExecutor(8) as pool:
        decisions = [d for part in pool.map(lambda seed: walk(policy, mixed(seed, 50)), range(16)) for d in part]
    seen = policy.memory.seen()
    assert (seen.steps, seen.interventions) == (800, sum(decision.intervene for decision in decisions))
    assert rate_of(decisions) == pytest.approx(0.25, abs=0.02)


def test_a_router_takes_it_and_refuses_another_entropy() -> None:
    """The router checks the definition of a TargetRate as it does a threshold's."""
    assert scripted_router(policy=TargetRate(0.5)).generate("?").summary().routed_steps == 4
    with pytest.raises(ConfigError, match="top20"):
        scripted_router(policy=TargetRate(0.5, entropy="top20"))
    with pytest.raises(ConfigError, match="top20"):
        TargetRate(0.5).decide(Glimpse(0.5, "top20"), ())


@pytest.mark.parametrize(
    "wrong", [{"rate": 1.2}, {"hysteresis": -1}, {"scope": "requests"}, {"warm_up": 0}, {"window": 0}, {"slack": 0}]
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TargetRate(**{"rate": 0.25, **wrong})
