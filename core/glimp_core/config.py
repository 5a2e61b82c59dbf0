"""How a pair reasons: what is routed, how it is measured, and how far it may go."""

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
"""The part of `max_reasoning_tokens` that each effort may take."""


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """The settings of a router that are not its policy.

    - `reasoning`: "auto" routes the thinking of a pair that thinks and lets the large model write all
      for a pair that does not; "inline" routes the visible reply; "off" switches thinking off.
    - `reasoning_effort`: how much is thought. "none" is reasoning="off"; "low", "medium", "high" and "xhigh" switch
      thinking on where a template leaves it off, pass the word on where the template has such levels, and let an
      eighth, half, all, or twice of `max_reasoning_tokens` be thought. None leaves all that as it is.
    - `answer_by`: who writes what follows the thinking.
    - `entropy`: the quantity a glimpse measures; `intervene_on_tie` makes H = tau an intervention.
    - `speculate`: whether the small model drafts what the large one writes; None: for a pair that does not think.
    - `prewarm`: whether the large model reads what is written while the small one writes on; None: where it runs on a
      device of its own. A server, which may bill for it, is only asked to where this is True.
    - `on_large_failure`: when the large model's engine fails, "raise" its error, or let the "small" one write the rest.
    - `lenient_tool_calls`: take a reply for calls that is nothing but calls of offered tools, also where the model
      forgot the marks of its markup.
    - `max_step_tokens`, `max_reasoning_tokens`, `max_answer_tokens`: the budgets, in tokens.
    - `prices`: what the tokens of the models cost; usage and summary of a reply then say what it cost.

    Raises `ConfigError` on values that cannot work.
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
        """Return these settings with the effort carried out: the mode and the budget that it means."""
        if self.reasoning_effort is None:
            return self
        if self.reasoning_effort == "none":
            return replace(self, reasoning="off" if self.reasoning == "auto" else self.reasoning)
        budget = max(1, round(self.max_reasoning_tokens * EFFORTS[self.reasoning_effort]))
        return replace(self, max_reasoning_tokens=budget)

    @classmethod
    def paper_code(cls) -> "RouterConfig":
        """Return the settings that repeat the authors' code: entropy of the top 20, `>=` for the tie.

        Their code draws the first token anew after a greedy glimpse; here a glimpse never draws, so the
        first token is drawn once, from the same distribution.
        """
        return cls(entropy="top20", intervene_on_tie=True)
