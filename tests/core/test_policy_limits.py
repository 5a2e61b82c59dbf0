"""Margin, the wrappers, and a policy of one's own."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import (
    AlwaysLarge,
    AlwaysSmall,
    ConfigError,
    Decision,
    EntropyThreshold,
    Glimpse,
    Margin,
    MaxConsecutive,
    Policy,
    RandomRate,
    SkipLayoutTokens,
    Step,
    TokenBudget,
)
from glimp_core.types import History
from pairs import scripted_router


def written(policy: Policy, glimpses: list[Glimpse], tokens: int = 10) -> list[Step]:
    """The steps of a chain that a policy decides on."""
    steps: list[Step] = []
    for index, glimpse in enumerate(glimpses):
        writer = policy.decide(glimpse, steps).engine
        steps.append(Step(index, "thinking", writer, "x", tokens, 0.1, "break", glimpse.entropy))
    return steps


def longest_row(steps: list[Step], writer: str) -> int:
    return max(map(len, "".join("x" if step.engine == writer else " " for step in steps).split()), default=0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_margin_is_the_comparison(margin: float, lead: float) -> None:
    """Intervene exactly when the lead is under the margin."""
    assert Margin(margin).decide(Glimpse(1.0, margin=lead), ()).intervene == (lead < margin)


@given(st.lists(st.floats(0, 2)), st.integers(1, 4), st.integers(1, 4))
def test_no_row_is_longer_than_its_limit(entropies: list[float], large: int, small: int) -> None:
    """Whatever the inner policy wants, neither model writes more steps in a row than it may."""
    steps = written(MaxConsecutive(EntropyThreshold(1.0), large, small), [Glimpse(h) for h in entropies])
    assert longest_row(steps, "large") <= large
    assert longest_row(steps, "small") <= small


@given(st.lists(st.floats(0, 2)))
def test_limits_that_are_not_reached_change_nothing(entropies: list[float]) -> None:
    """A wrapper decides as its inner policy does while there is room."""
    glimpses, inner = [Glimpse(h, text="So") for h in entropies], EntropyThreshold(1.0)
    for wrapper in (MaxConsecutive(inner, large=1000), TokenBudget(inner, 10**6), SkipLayoutTokens(inner)):
        assert written(wrapper, glimpses) == written(inner, glimpses)


@given(st.integers(0, 100), st.integers(1, 30))
def test_a_budget_is_passed_by_less_than_a_step(tokens: int, length: int) -> None:
    """The large model writes until its budget is spent, and finishes the step that it is in."""
    steps = written(TokenBudget(AlwaysLarge(), tokens), [Glimpse(1.0)] * 120, length)
    spent = sum(step.tokens for step in steps if step.engine == "large")
    assert tokens <= spent < tokens + length


@pytest.mark.parametrize("token", ["1", "12", " -", "**", "$$", "\\(", "###", "|", "\n"])
def test_layout_tokens_are_left_to_the_other_policy(token: str) -> None:
    """A first token without a letter is decided by `otherwise`, the small model unless told."""
    glimpse = Glimpse(9.0, text=token)
    assert not SkipLayoutTokens(AlwaysLarge()).decide(glimpse, ()).intervene
    decision = SkipLayoutTokens(AlwaysSmall(), otherwise=AlwaysLarge()).decide(glimpse, ())
    assert decision.intervene
    assert repr(token) in decision.reason


@pytest.mark.parametrize("token", ["Wait", " so", "是", "\\frac", "2x", ""])
def test_words_are_no_layout(token: str) -> None:
    """A first token with a letter, or one that the engine does not tell, is judged as ever."""
    assert SkipLayoutTokens(AlwaysLarge()).decide(Glimpse(9.0, text=token), ()).intervene


@pytest.mark.parametrize(
    "wrap",
    [
        lambda policy: MaxConsecutive(policy, 2),
        lambda policy: TokenBudget(policy, 9),
        SkipLayoutTokens,
        lambda policy: MaxConsecutive(TokenBudget(policy, 9), 2),
    ],
)
def test_the_router_sees_through_wrappers(wrap: Any) -> None:
    """A wrapped threshold on another entropy is refused, a wrapped policy without one is welcome."""
    with pytest.raises(ConfigError, match="top20"):
        scripted_router(policy=wrap(EntropyThreshold(1.0, "top20")))
    assert scripted_router(policy=wrap(RandomRate(0.5))).generate("?").answer == "It is 4."


def test_five_lines_are_a_policy() -> None:
    """The policy of the documentation works."""

    class EveryThird:
        def decide(self, glimpse: Glimpse, history: History) -> Decision:
            return Decision(len(history) % 3 == 2, "every third step")

    done = scripted_router(policy=EveryThird()).generate("?")
    assert [step.engine for step in done.steps] == ["small", "small", "large", "small", "large"]
    assert isinstance(EveryThird(), Policy)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Margin(1.5), "margin"),
        (lambda: MaxConsecutive(AlwaysLarge()), "large=None"),
        (lambda: MaxConsecutive(AlwaysLarge(), large=0), "large=0"),
        (lambda: TokenBudget(AlwaysLarge(), -1), "tokens=-1"),
    ],
)
def test_impossible_limits_are_refused(make: Any, what: str) -> None:
    """The error shows the value."""
    with pytest.raises(ConfigError, match=what):
        make()
