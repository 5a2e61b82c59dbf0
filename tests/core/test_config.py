"""RouterConfig: checked when it is made."""

from typing import Any

import pytest

from glimp_core import ConfigError, RouterConfig


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"reasoning": "inlin"}, "did you mean 'inline'"),
        ({"answer_by": "zebra"}, "choose from large, routed, small"),
        ({"entropy": "top2"}, "did you mean 'top20'"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(values: dict[str, Any], hint: str) -> None:
    """An unknown choice is an error that shows it and suggests what was meant."""
    (value,) = values.values()
    with pytest.raises(ConfigError, match=rf"{value!r}.*{hint}"):
        RouterConfig(**values)


@pytest.mark.parametrize("name", ["max_step_tokens", "max_reasoning_tokens", "max_answer_tokens"])
@pytest.mark.parametrize("value", [0, -1])
def test_empty_budgets_are_refused(name: str, value: int) -> None:
    """Every budget is at least one token."""
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        RouterConfig(**{name: value})


def test_defaults_are_the_papers() -> None:
    """Steps of 512, thinking of 8192 and answers of 2048 tokens; full entropy; strictly over the threshold."""
    config = RouterConfig()
    assert (config.max_step_tokens, config.max_reasoning_tokens, config.max_answer_tokens) == (512, 8192, 2048)
    assert (config.entropy, config.intervene_on_tie, config.answer_by) == ("full", False, "large")
