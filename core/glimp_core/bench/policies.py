"""Rules that look at more, or at less, than entropy: candidates for routing replies whose layout hides the thought."""

from dataclasses import dataclass

from glimp_core.types import Decision, Glimpse, History

CONCLUSIONS = frozenset(("so", "therefore", "thus", "hence", "finally", "in", "the", "answer"))
"""Words that begin the step which draws the sum, in answers to exercises."""

DOUBTS = frozenset(("wait", "but", "however", "hmm", "actually", "alternatively", "check", "verify"))
"""Words that begin a step in which a chain of thought turns (Speculative Thinking, arXiv 2504.12329)."""


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """The large model writes the first steps, which hold the plan, and the small one the rest."""

    count: int

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Look at how many steps there are."""
        return Decision(len(history) < self.count, f"step {len(history) + 1}, plan of {self.count}")


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
