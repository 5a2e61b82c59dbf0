"""What a request will look like, settled before any compute."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import ConfigError, ContextOverflowError, RouterConfig
from glimp_core.plan import CLOSING, MINIMUM_ROOM, settle
from glimp_core.types import Prompt
from pairs import scripted_router


def prompt(tokens: int = 10, window: int = 32_768, thinking: Any = "open") -> Prompt:
    return Prompt(tokens, window, thinking)


@given(
    st.integers(1, 5000),
    st.integers(MINIMUM_ROOM, 20_000),
    st.integers(1, 9000),
    st.integers(1, 3000),
    st.integers(1, 99),
)
def test_budgets_fit_the_window(tokens: int, room: int, reasoning: int, answer: int, asked: int) -> None:
    """Prompt and budgets together never pass the smaller window, and no budget is empty or over its limit."""
    config = RouterConfig(max_reasoning_tokens=reasoning, max_answer_tokens=answer)
    for limit in (None, asked):
        plan = settle(prompt(tokens, tokens + room), prompt(tokens, tokens + room + 7), config, limit)
        assert plan.reasoning_tokens + plan.answer_tokens <= max(room - CLOSING, 1 + plan.answer_tokens)
        assert 1 <= plan.reasoning_tokens <= reasoning
        assert 1 <= plan.answer_tokens <= (limit or answer)


def test_a_wide_window_gives_both_budgets_whole() -> None:
    """With room for all, the budgets are those of the configuration."""
    plan = settle(prompt(), prompt(), RouterConfig())
    assert (plan.reasoning_tokens, plan.answer_tokens) == (8192, 2048)


def test_a_narrow_window_reserves_at_least_half_for_an_answer_that_needs_it() -> None:
    """Where not all fits, the thinking gives way to the answer's reserve, down to half of the room."""
    plan = settle(prompt(10, 1010), prompt(), RouterConfig())
    assert (plan.reasoning_tokens, plan.answer_tokens) == (500 - CLOSING, 500)


@pytest.mark.parametrize("role", ["small", "large"])
def test_a_prompt_without_room_is_refused_before_any_compute(role: str) -> None:
    """A prompt over either window names the model, both sizes, and how much to shorten."""
    full, wide = prompt(100, 100 + MINIMUM_ROOM - 1), prompt(100)
    pair = (full, wide) if role == "small" else (wide, full)
    with pytest.raises(ContextOverflowError, match=rf"100 tokens.*{role} model.*at least 1 token"):
        settle(*pair, RouterConfig())
    router = scripted_router(window=30)
    with pytest.raises(ContextOverflowError):
        router.generate("a question of some length")
    assert router.small.history == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("small", "large", "one"), [("open", "none", "small"), ("none", "open", "large"), ("open", "closed", "small")]
)
def test_a_pair_of_which_only_one_thinks_is_refused(small: str, large: str, one: str) -> None:
    """The error names the one that thinks and the two ways out."""
    with pytest.raises(ConfigError, match=rf"only the {one} model thinks.*reasoning='inline'.*reasoning='off'"):
        settle(prompt(thinking=small), prompt(thinking=large), RouterConfig())


@pytest.mark.parametrize("reasoning", ["inline", "off"])
def test_a_mixed_pair_may_still_be_asked_for_another_mode(reasoning: Any) -> None:
    """reasoning="inline" and "off" need no agreement on tags."""
    assert settle(prompt(), prompt(thinking="none"), RouterConfig(reasoning=reasoning)).mode == reasoning


@pytest.mark.parametrize(
    ("small", "large", "mode"),
    [
        ("open", "open", "thinking"),
        ("none", "none", "large_only"),
        ("closed", "closed", "off"),
        ("none", "closed", "off"),
    ],
)
def test_auto_mode(small: str, large: str, mode: str) -> None:
    """What "auto" makes of a pair follows from how both prompts stand to thinking."""
    assert settle(prompt(thinking=small), prompt(thinking=large), RouterConfig()).mode == mode


def test_a_pair_without_tags_is_noted_unless_its_answer_is_routed_anyway() -> None:
    """The one note names who writes the reply."""
    none = prompt(thinking="none")
    assert "large model writes" in settle(none, none, RouterConfig()).notes[0]
    assert "small model writes" in settle(none, none, RouterConfig(answer_by="small")).notes[0]
    assert settle(none, none, RouterConfig(answer_by="routed")).notes == ()


@given(
    st.integers(MINIMUM_ROOM, 20_000), st.integers(2, 20_000), st.integers(1, 9000), st.sampled_from(["open", "none"])
)
def test_a_limit_on_the_whole_reply_bounds_both_parts(room: int, limit: int, reasoning: int, thinking: str) -> None:
    """Thinking and answer together stay within the limit, and a reply without thinking may use all of it."""
    asked = prompt(10, 10 + room, thinking)
    plan = settle(asked, asked, RouterConfig(max_reasoning_tokens=reasoning), max_completion_tokens=limit)
    assert plan.reasoning_tokens + plan.answer_tokens <= min(room, limit)
    if thinking == "none":
        assert plan.answer_tokens == min(room, limit)
