"""What a policy is. One method; anything that has it can be one."""

from typing import Protocol, runtime_checkable

from glimp_core.errors import ConfigError
from glimp_core.types import Decision, Entropy, Glimpse, History


@runtime_checkable
class Policy(Protocol):
    """Decides, at the start of each step, whether the large model should write it.

    A policy of one's own is five lines:

        class EveryThird:
            def decide(self, glimpse: Glimpse, history: History) -> Decision:
                return Decision(len(history) % 3 == 2, "every third step")

    All that a request has shown so far is in `history`: a policy that looks nowhere else decides alike for
    equal requests, from any thread, and can be replayed on a trace. A policy that compares entropies says
    which quantity it means in an attribute `entropy` ("full" or "top20"), and the router refuses the other one.
    """

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Judge one glimpse, knowing the steps before it. Called from any thread."""
        ...


def require_definition(policy: Policy, entropy: Entropy, glimpse: Glimpse) -> None:
    """Raise `ConfigError` when a glimpse measured another entropy than the policy is meant for."""
    if glimpse.definition != entropy:
        raise ConfigError(
            f"{policy!r} is meant for entropy {entropy!r} but the glimpse measured {glimpse.definition!r}: "
            f"make it with entropy={glimpse.definition!r}, or pass RouterConfig(entropy={entropy!r})"
        )
