"""Wrappers: a policy that overrules another one where a limit is reached."""

from dataclasses import dataclass, field, replace
from typing import Any

from glimp_core.errors import ConfigError
from glimp_core.policy.baselines import AlwaysSmall
from glimp_core.policy.interface import Policy
from glimp_core.prices import Prices
from glimp_core.types import Decision, Glimpse, History, Role


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A policy around another one: what the inner one demands of the router is demanded still."""

    policy: Policy

    @property
    def entropy(self) -> Any:
        """The definition of entropy that the inner policy is meant for; AttributeError where it is for any."""
        return self.policy.entropy  # type: ignore[attr-defined]

    @property
    def pair(self) -> Any:
        """The pair that the inner policy was measured on; AttributeError where it is for any."""
        return self.policy.pair  # type: ignore[attr-defined]

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Judge as the inner policy does."""
        return self.policy.decide(glimpse, history)


@dataclass(frozen=True, slots=True)
class MaxConsecutive(Wrapper):
    """No more than `large` steps in a row by the large model, nor `small` by the small one; None sets no limit.

    Raises `ConfigError` if no limit is set, or one is under 1.
    """

    large: int | None = None
    small: int | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.large, self.small) if limit is not None]
        if not limits or min(limits) < 1:
            raise ConfigError(
                f"large={self.large!r}, small={self.small!r} cannot work: set one limit at least, in steps, 1 or more"
            )

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Judge as the inner policy does, unless that would make the row too long."""
        decision = self.policy.decide(glimpse, history)
        limit = self.large if decision.intervene else self.small
        if limit is None or _row(history, decision.engine) < limit:
            return decision
        return replace(decision, intervene=not decision.intervene, reason=f"{limit} {decision.engine} in a row")


@dataclass(frozen=True, slots=True)
class TokenBudget(Wrapper):
    """The large model gets `tokens` tokens of the routed steps of a request; then the small one writes the rest.

    With `money`, it gets as many as cost that much at its price in `prices`; of two budgets the first that is spent
    counts, and 2048 tokens are the budget if none is given. A step that has begun is finished, so the last one may go
    over. Raises `ConfigError` under 0, and for money without a price of the large model.
    """

    tokens: int | None = None
    money: float | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        if self.tokens is None and self.money is None:
            object.__setattr__(self, "tokens", 2048)
        for name in ("tokens", "money"):
            if (limit := getattr(self, name)) is not None and not limit >= 0:
                raise ConfigError(f"{name}={limit!r} cannot work: it must be 0 or more")
        if self.money is not None and not (self.prices and self.prices.large):
            raise ConfigError(
                f"money={self.money!r} cannot be counted without the price of the large model: give "
                "prices=Prices(large=ModelPrice(...)), or `large` in [prices] of a pair file"
            )

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Judge as the inner policy does while there is budget left."""
        decision = self.policy.decide(glimpse, history)
        spent = self._spent(history) if decision.intervene else ""
        return replace(decision, intervene=False, reason=f"budget spent: {spent}") if spent else decision

    def _spent(self, history: History) -> str:
        """Return which budget is spent, in words; "" if none is."""
        tokens = sum(step.tokens for step in history if step.engine == "large")
        if self.tokens is not None and tokens >= self.tokens:
            return f"{tokens} of {self.tokens} tokens"
        if self.money is None or self.prices is None:
            return ""
        money = self.prices.of_large(history)
        return f"{money:.4g} of {self.money:g} {self.prices.currency}" if money >= self.money else ""


@dataclass(frozen=True, slots=True)
class SkipLayoutTokens(Wrapper):
    """Has `otherwise` decide where the first token says layout, not thought: "1", "-", "**", "$$".

    By default the small model writes such a step. A chain of numbered steps would thus be the small model's
    altogether: there `otherwise` should be something else, say `RandomRate(0.25)`.
    """

    otherwise: Policy = field(default_factory=AlwaysSmall)

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Judge by the inner policy where the likeliest first token has a letter."""
        if not is_layout(glimpse.text):
            return self.policy.decide(glimpse, history)
        decision = self.otherwise.decide(glimpse, history)
        return replace(decision, reason=f"layout {glimpse.text!r}: {decision.reason}")


def is_layout(token: str) -> bool:
    """Return whether a token is made of digits, punctuation and blanks alone.

    >>> [is_layout(token) for token in ("1", " -", "**", "Wait", " 是", "")]
    [True, True, True, False, False, False]
    """
    return bool(token) and not any(character.isalpha() for character in token)


def _row(history: History, writer: Role) -> int:
    """Count the latest steps that were all by one writer."""
    row = 0
    for step in reversed(history):
        if step.engine != writer:
            break
        row += 1
    return row
