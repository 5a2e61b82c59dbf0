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
    """Write one reply with two models; yields its events and leaves its steps in `chain`.

    The small model glimpses at the first token of each step. Where it is certain it goes on and writes
    the step (delegate); where it is not, the large model does (intervene). One model writes the answer.
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
    """Have one model write all, step by step, under the rules that hold for a pair: where the large one fails, too."""
    engines: dict[Role, Engine] = {"small": small, "large": large}
    while not chain.complete:
        yield from write(chain, engines, writer, Clock())
