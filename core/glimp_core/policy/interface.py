"""The interface of a policy: one method, `decide`."""

from typing import Protocol, runtime_checkable

from glimp_core.errors import ConfigError
from glimp_core.types import Decision, Entropy, Glimpse, History


@runtime_checkable
class Policy(Protocol):
    """Decides, at the start of each step, whether the large model writes it.

    Your own policy needs only this method:

        class EveryThird:
            def decide(self, glimpse: Glimpse, history: History) -> Decision:
                return Decision(len(history) % 3 == 2, "every third step")

    `history` has the steps of the request so far. A policy that depends only on its arguments makes equal decisions
    for equal requests, from any thread, and can be replayed on a trace. A policy that compares entropies needs an
    attribute `entropy` ("full" or "top20"). A router that measures the other one refuses it.
    """

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Return the decision for a glimpse and the steps before it. It may be called from any thread."""
        ...


def require_definition(policy: Policy, entropy: Entropy, glimpse: Glimpse) -> None:
    """Raise `ConfigError` if a glimpse measured another kind of entropy than the policy needs."""
    if glimpse.definition != entropy:
        raise ConfigError(
            f"{policy!r} is meant for entropy {entropy!r} but the glimpse measured {glimpse.definition!r}: "
            f"make it with entropy={glimpse.definition!r}, or pass RouterConfig(entropy={entropy!r})"
        )
