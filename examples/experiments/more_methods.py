"""More ways to share a chain of thought, for comparison: nobody routes with them, so they are not in the package.

python examples/experiments/more_methods.py --set tiny --methods large,glimp,request,cue --json

Takes what `glimp bench` takes, and knows these methods too: request decides once for the whole reply; bookends and cue
go by the place of a step and its first word.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from glimp_core import Decision, EntropyThreshold, Glimpse, Policy, Routed
from glimp_core.algorithm import write_alone
from glimp_core.bench import KINDS
from glimp_core.bench.loops import Happening
from glimp_core.bench.methods import MethodKind, routed
from glimp_core.chain import Chain
from glimp_core.engine import Engine, Glimpser
from glimp_core.types import History, Role

CONCLUSIONS = frozenset(("so", "therefore", "thus", "hence", "finally", "in", "the", "answer"))
"""Words that begin the step which draws the sum, in answers to exercises."""

DOUBTS = frozenset(("wait", "but", "however", "hmm", "actually", "alternatively", "check", "verify"))
"""Words that begin a step in which a chain of thought turns (Speculative Thinking, arXiv 2504.12329)."""


@dataclass(frozen=True, slots=True)
class Bookends:
    """The large model writes the first steps, and every later one that begins like a conclusion."""

    count: int

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Look at the place of the step and at its likeliest first word."""
        word = _word(glimpse)
        return Decision(len(history) < self.count or word in CONCLUSIONS, f"step {len(history) + 1} begins {word!r}")


@dataclass(frozen=True, slots=True)
class CueWords:
    """The large model writes the steps that begin with doubt or with a conclusion."""

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Look at the likeliest first word."""
        word = _word(glimpse)
        return Decision(word in DOUBTS or word in CONCLUSIONS, f"begins {word!r}")


def _word(glimpse: Glimpse) -> str:
    return glimpse.text.strip(" *#`").lower()


def whole_request(chain: Chain, small: Glimpser, large: Engine, policy: Policy) -> Iterator[Happening]:
    """One glimpse, at the first token of all, chooses the model that writes the whole reply."""
    writer: Role = "large"
    if chain.routed:
        glimpse = small.glimpse(chain.context, chain.config.entropy)
        decision = policy.decide(glimpse, ())
        yield Routed(0, glimpse, decision)
        writer = decision.engine
    yield from write_alone(chain, small, large, writer)


MORE: Mapping[str, MethodKind] = {
    "request": MethodKind(
        "one glimpse for the whole request", "threshold",
        lambda v, config, _: partial(whole_request, policy=EntropyThreshold.of(v, config)),
    ),
    "bookends": MethodKind(
        "the first steps and conclusions by the large model", "own", routed(lambda v, *_: Bookends(round(v))),
    ),
    "cue": MethodKind("steps that begin with a cue word by the large model", "none", routed(lambda *_: CueWords())),
}  # fmt: skip


if __name__ == "__main__":
    KINDS.update(MORE)
    from glimp_core.cli import main  # reads the names of the methods for its help

    main(["bench", *sys.argv[1:]])
