"""GlimpRouter, Algorithm 1 (Zeng et al., arXiv 2601.05110).

Glimpse at each step's first token, then delegate or intervene.
"""

from collections.abc import Iterator

from glimp_core.chain import Chain, Clock, write
from glimp_core.engine import Engine, Glimpser
from glimp_core.events import Event, Routed
from glimp_core.policy import Policy
from glimp_core.types import Role


def route(chain: Chain, small: Glimpser, large: Engine, policy: Policy) -> Iterator[Event]:
    """Write one reply with two models: yield its events, and append its steps to `chain`.

    The small model predicts the first token of each step. If it is certain, it writes the step (delegate). If it is
    not, the large model writes the step (intervene). One model writes the answer.
    """
    engines: dict[Role, Engine] = {"small": small, "large": large}
    while chain.routed:
        with Clock() as clock:
            glimpse = small.glimpse(chain.context, chain.config.entropy)
        decision = policy.decide(glimpse, chain.steps)
        yield Routed(len(chain.steps), glimpse, decision)
        yield from write(chain, engines, decision.engine, clock, glimpse.entropy)
    while not chain.complete:
        yield from write(chain, engines, chain.answer_by, Clock())


def write_alone(chain: Chain, small: Engine, large: Engine, writer: Role) -> Iterator[Event]:
    """Write everything with one model, step by step, by the rules of a pair, also if the large model fails."""
    engines: dict[Role, Engine] = {"small": small, "large": large}
    while not chain.complete:
        yield from write(chain, engines, writer, Clock())
