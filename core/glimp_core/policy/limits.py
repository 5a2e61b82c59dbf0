"""Wrappers: policies that override the decisions of another policy."""

from dataclasses import dataclass, field, replace
from typing import Any

from glimp_core.errors import ConfigError
from glimp_core.policy.baselines import AlwaysSmall
from glimp_core.policy.interface import Policy
from glimp_core.prices import Prices
from glimp_core.types import Decision, Glimpse, History, Role


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A policy around another one. It has the same requirements for the router as the inner policy."""

    policy: Policy

    @property
    def entropy(self) -> Any:
        """The kind of entropy that the inner policy needs; AttributeError if it needs none."""
        return self.policy.entropy  # type: ignore[attr-defined]

    @property
    def pair(self) -> Any:
        """The pair that the inner policy was calibrated on; AttributeError if it was not calibrated."""
        return self.policy.pair  # type: ignore[attr-defined]

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Return the decision of the inner policy."""
        return self.policy.decide(glimpse, history)


@dataclass(frozen=True, slots=True)
class MaxConsecutive(Wrapper):
    """Allow at most `large` consecutive steps by the large model, and `small` by the small one; None is no limit.

    Raises `ConfigError` if no limit is set, or if a limit is less than 1.
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
        """Return the decision of the inner policy, or the opposite if the limit is reached."""
        decision = self.policy.decide(glimpse, history)
        limit = self.large if decision.intervene else self.small
        if limit is None or _row(history, decision.engine) < limit:
            return decision
        return replace(decision, intervene=not decision.intervene, reason=f"{limit} {decision.engine} in a row")


@dataclass(frozen=True, slots=True)
class TokenBudget(Wrapper):
    """The large model may write `tokens` tokens of the routed steps of a request; the small model writes the rest.

    `money` limits the cost of these tokens at the large model's price in `prices`. With both limits, the one that is
    reached first applies; without a limit, the budget is 2048 tokens. A step is always finished, so the last one may
    exceed the budget. Raises `ConfigError` for a negative budget, and for money without a price of the large model.
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
        """Return the decision of the inner policy while the budget lasts, and then delegate."""
        decision = self.policy.decide(glimpse, history)
        spent = self._spent(history) if decision.intervene else ""
        return replace(decision, intervene=False, reason=f"budget spent: {spent}") if spent else decision

    def _spent(self, history: History) -> str:
        """Return the budget that is spent as text, "" if none is."""
        tokens = sum(step.tokens for step in history if step.engine == "large")
        if self.tokens is not None and tokens >= self.tokens:
            return f"{tokens} of {self.tokens} tokens"
        if self.money is None or self.prices is None:
            return ""
        money = self.prices.of_large(history)
        return f"{money:.4g} of {self.money:g} {self.prices.currency}" if money >= self.money else ""


@dataclass(frozen=True, slots=True)
class SkipLayoutTokens(Wrapper):
    """Let `otherwise` decide if the first token of a step is layout, such as "1", "-", "**" or "$$".

    By default the small model writes such a step. In a chain of numbered steps it would then write every step. For
    such chains `otherwise` should be another policy, for example `RandomRate(0.25)`.
    """

    otherwise: Policy = field(default_factory=AlwaysSmall)

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Return the decision of the inner policy if the first token has a letter, else that of `otherwise`."""
        if not is_layout(glimpse.text):
            return self.policy.decide(glimpse, history)
        decision = self.otherwise.decide(glimpse, history)
        return replace(decision, reason=f"layout {glimpse.text!r}: {decision.reason}")


def is_layout(token: str) -> bool:
    """Return whether a token has only digits, punctuation and blanks.

    >>> [is_layout(token) for token in ("1", " -", "**", "Wait", " 是", "")]
    [True, True, True, False, False, False]
    """
    return bool(token) and not any(character.isalpha() for character in token)


def _row(history: History, writer: Role) -> int:
    """Return the number of consecutive latest steps by one writer."""
    row = 0
    for step in reversed(history):
        if step.engine != writer:
            break
        row += 1
    return row
