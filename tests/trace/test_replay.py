"""A replay is exact up to the first decision that changes, and its bounds hold whatever comes after."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glimp_core import (
    AlwaysLarge,
    AlwaysSmall,
    Completion,
    ConfigError,
    EntropyThreshold,
    MaxConsecutive,
    ModelUsage,
    Policy,
    RandomRate,
    RouterConfig,
    Step,
    TargetRate,
)
from glimp_core.events import Finish, Routed, Start
from glimp_core.trace import replay
from glimp_core.types import Decision, Glimpse
from pairs import scripted_router

THRESHOLDS = st.floats(0, 3)
ENTROPIES = st.lists(st.floats(0, 3), min_size=1, max_size=12)
POLICIES = [
    EntropyThreshold(0.8), TargetRate(0.3), RandomRate(0.4), MaxConsecutive(EntropyThreshold(0.8), large=1),
    AlwaysSmall(), AlwaysLarge(),
]  # fmt: skip


def recorded(entropies: list[float], policy: Policy) -> Completion:
    steps = [f"{number}\n\n" for number in range(len(entropies) - 1)]
    return scripted_router(steps, entropies, policy=policy).generate("?")


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=20, deadline=None)
@given(ENTROPIES)
def test_the_recorded_policy_replays_as_it_was(policy: Policy, entropies: list[float]) -> None:
    """A deterministic policy, replayed on its own trace, is exact and gives the recorded figures."""
    done = recorded(entropies, policy)
    again = replay(done, policy)
    assert again.exact
    assert again.decisions == tuple(routed.decision for routed in done.routed)
    figures = done.summary()
    assert again.intervention_rate == again.lowest_rate == again.highest_rate == figures.intervention_rate
    assert again.large_token_share == figures.large_token_share
    assert again.seconds == pytest.approx(sum(step.seconds for step in done.steps))


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=20, deadline=None)
@given(ENTROPIES, THRESHOLDS)
def test_the_prefix_is_exact_and_the_bounds_hold(policy: Policy, entropies: list[float], threshold: float) -> None:
    """Up to the first change decisions are those of a real run, whose rate lies within the bounds.

    The scripted chain keeps its entropies whoever writes, as a replay supposes.
    """
    told = replay(recorded(entropies, EntropyThreshold(threshold)), policy)
    real = recorded(entropies, policy).summary()
    assert told.lowest_rate <= real.intervention_rate <= told.highest_rate
    assert told.intervention_rate == real.intervention_rate
    assert told.large_token_share == pytest.approx(real.large_token_share)


@given(ENTROPIES, THRESHOLDS, THRESHOLDS)
def test_the_first_change_is_the_first_glimpse_between_the_thresholds(
    entropies: list[float], one: float, other: float
) -> None:
    """Two thresholds part at the first entropy that lies between them."""
    low, high = sorted((one, other))
    told = replay(recorded(entropies, EntropyThreshold(low)), EntropyThreshold(high))
    expected = [at for at, entropy in enumerate(entropies) if low < entropy <= high]
    assert told.first_change == (expected[0] if expected else None)


def test_the_bounds_leave_all_after_the_change_open() -> None:
    """Of five steps the second changes: three are open, so the rate is between one fifth and four."""
    told = replay(recorded([2.0, 0.5, 0.1, 2.0, 0.1], EntropyThreshold(1.0)), EntropyThreshold(0.3))
    assert told.first_change == 1
    assert (told.lowest_rate, told.intervention_rate, told.highest_rate) == (2 / 5, 3 / 5, 1.0)


def chain(*steps: tuple[str, int, float]) -> Completion:
    """A recorded reply of steps (writer, tokens, seconds), all with 1.0 nats, and an answer by the large model."""
    events: list[Start | Routed | Step | Finish] = [Start("thinking", 1)]
    for index, (engine, tokens, seconds) in enumerate(steps):
        events.append(Routed(index, Glimpse(1.0), Decision(engine == "large")))
        events.append(Step(index, "thinking", engine, "x", tokens, seconds, "break", 1.0))  # type: ignore[arg-type]
    answer = Step(len(steps), "answer", "large", "y", 10, 2.0, "eos", usage=ModelUsage())
    return Completion.fold([*events, answer, Finish("stop", "close", 9.0)])


def test_seconds_are_reckoned_at_the_other_models_pace() -> None:
    """A step that changes hands takes its tokens times the pace of its new writer, the others what they took."""
    done = chain(("small", 20, 1.0), ("large", 10, 3.0))
    large_pace = (3.0 + 2.0) / (10 + 10)
    assert replay(done, AlwaysLarge()).seconds == pytest.approx(20 * large_pace + 3.0 + 2.0)
    assert replay(done, AlwaysSmall()).seconds == pytest.approx(1.0 + 10 * (1.0 / 20) + 2.0)


def test_no_seconds_without_a_pace() -> None:
    """Where the new writer wrote nothing in the trace its pace is unknown, and so are the seconds."""
    assert replay(chain(("large", 10, 3.0)), AlwaysSmall()).seconds is None


def test_replays_of_requests_add_up() -> None:
    """The sum of two replays has the steps, the tokens and the bounds of both."""
    one = replay(recorded([0.1, 2.0], EntropyThreshold(1.0)), AlwaysLarge())
    other = replay(recorded([2.0, 2.0, 0.1], EntropyThreshold(1.0)), EntropyThreshold(1.0))
    both = one + other
    assert (both.interventions, len(both.decisions), both.exact) == (4, 5, False)
    assert both.intervention_rate == 4 / 5
    assert (both.lowest_rate, both.highest_rate) == ((one.lowest + other.lowest) / 5, (one.highest + other.highest) / 5)
    assert other.exact
    assert (other + other).exact


def test_another_entropy_is_refused() -> None:
    """A threshold on the top 20 cannot be replayed on entropies of the whole vocabulary."""
    done = scripted_router(config=RouterConfig()).generate("?")
    with pytest.raises(ConfigError, match="top20"):
        replay(done, EntropyThreshold(1.0, "top20"))


def test_a_request_that_broke_off_can_be_replayed() -> None:
    """A glimpse whose step was never finished is decided too."""
    events = [Start("thinking", 1), Routed(0, Glimpse(2.0), Decision(True)), Finish("length", None, 0.0)]
    told = replay(Completion.fold(events), EntropyThreshold(1.0))
    assert (told.exact, told.intervention_rate, told.large_token_share) == (True, 1.0, 0.0)
