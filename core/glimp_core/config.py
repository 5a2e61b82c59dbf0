"""RouterConfig: the settings of a router that are not its policy."""

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal, get_args

from glimp_core.context import Reasoning, ReasoningEffort
from glimp_core.errors import ConfigError, shown, unknown_name
from glimp_core.prices import Prices
from glimp_core.types import Entropy

AnswerBy = Literal["large", "small", "routed"]
OnLargeFailure = Literal["raise", "small"]

EFFORTS: dict[str, float] = {"low": 1 / 8, "medium": 1 / 2, "high": 1.0, "xhigh": 2.0}
"""The part of `max_reasoning_tokens` that each effort may use."""


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """The settings of a router that are not its policy.

    - `reasoning`: "auto" routes the thinking of a pair that thinks. For a pair that does not think, the large model
      writes everything. "inline" routes the visible reply. "off" switches thinking off.
    - `reasoning_effort`: the amount of thinking. "none" is reasoning="off". "low", "medium", "high" and "xhigh" switch
      thinking on if a template leaves it off by default, set the budget to an eighth, half, all, or twice of
      `max_reasoning_tokens`, and are passed to templates that have such levels. None changes nothing.
    - `answer_by`: which model writes the part after the thinking.
    - `entropy`: the quantity that a glimpse measures. With `intervene_on_tie`, H = tau is an intervention.
    - `speculate`: whether the small model drafts for the large one; None: only if neither model thinks.
    - `prewarm`: whether the large model reads each step while the small model writes it; None: only if each model has
      its own device. Only True does this with a server, which may charge for it.
    - `on_large_failure`: if the large model's engine fails, "raise" its error, or let the "small" one write the rest.
    - `lenient_tool_calls`: whether a reply that contains only calls of offered tools counts as calls if the markers of
      the model's markup are missing.
    - `max_step_tokens`, `max_reasoning_tokens`, `max_answer_tokens`: the budgets, in tokens.
    - `prices`: the prices of the models' tokens; usage and summary of a reply then have its cost.

    Raises `ConfigError` for invalid values.
    """

    reasoning: Reasoning = "auto"
    answer_by: AnswerBy = "large"
    entropy: Entropy = "full"
    intervene_on_tie: bool = False
    speculate: bool | None = None
    prewarm: bool | None = None
    on_large_failure: OnLargeFailure = "raise"
    lenient_tool_calls: bool = True
    max_step_tokens: int = 512
    max_reasoning_tokens: int = 8192
    max_answer_tokens: int = 2048
    reasoning_effort: ReasoningEffort | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        words = {
            "reasoning": Reasoning, "answer_by": AnswerBy, "entropy": Entropy, "on_large_failure": OnLargeFailure,
        }  # fmt: skip
        if self.reasoning_effort not in (None, *get_args(ReasoningEffort)):
            raise unknown_name("reasoning_effort", self.reasoning_effort, get_args(ReasoningEffort))
        for name, choices in words.items():
            if getattr(self, name) not in get_args(choices):
                raise unknown_name(name, getattr(self, name), get_args(choices))
        for name in ("max_step_tokens", "max_reasoning_tokens", "max_answer_tokens"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name}={shown(value)} cannot work: it must be a whole number, 1 or more")

    def with_effort(self) -> "RouterConfig":
        """Return these settings with the mode and the budget of the effort."""
        if self.reasoning_effort is None:
            return self
        if self.reasoning_effort == "none":
            return replace(self, reasoning="off" if self.reasoning == "auto" else self.reasoning)
        budget = max(1, round(self.max_reasoning_tokens * EFFORTS[self.reasoning_effort]))
        return replace(self, max_reasoning_tokens=budget)

    @classmethod
    def paper_code(cls) -> "RouterConfig":
        """Return the settings of the authors' code: the entropy of the 20 likeliest tokens, and `>=` for a tie.

        Their code draws the first token again after a greedy glimpse. Here a glimpse draws no token, so the first token
        is drawn once, from the same distribution.
        """
        return cls(entropy="top20", intervene_on_tie=True)
