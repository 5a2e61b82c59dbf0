"""Sorting puzzles: the second kind of text of the bundled pair, of another shape than the number puzzles.

A list of numbers is sorted by taking the smallest one out, again and again. One step names the next number,
the step after it copies what is left. The first token of a copying step is always the same word: its
difficulty lies inside of the step, where the entropy of a first token cannot see it.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from glimp_core.bundled.problems import HELD_OUT, MODULUS, is_held_out

SHORTEST, LONGEST = 4, 9
"""How many numbers a list has."""


@dataclass(frozen=True)
class SortingStep:
    """One reasoning step, and whether it begins with the decision which number is next."""

    text: str
    hard: bool


@dataclass(frozen=True)
class SortingProblem:
    """A question, the sorted numbers that answer it, and the reply that gives them."""

    seed: int
    numbers: tuple[int, ...]
    question: str
    answer: str
    reply: str

    @property
    def reasoning(self) -> str:
        """Return the right reasoning, each step ending in an empty line."""
        return "".join(step.text for step in self.steps())

    def steps(self) -> list[SortingStep]:
        """Return the steps of the right reasoning."""
        return list(_taken_out(list(self.numbers)))


def make_sorting_problem(seed: int, length: int | None = None) -> SortingProblem:
    """Return the problem of `seed`; no question comes from both sides of `HELD_OUT`."""
    rng = random.Random(f"sorting/{seed}/{length}")
    while True:
        numbers = rng.sample(range(MODULUS), rng.randint(SHORTEST, LONGEST) if length is None else length)
        question = f"Sort {_spaced(numbers)}. What is the result?"
        if is_held_out(question) == (seed >= HELD_OUT):
            answer = _spaced(sorted(numbers))
            return SortingProblem(seed, tuple(numbers), question, answer, f"The result is {answer}.")


def grade_sorting(problem: SortingProblem, answer_text: str) -> bool:
    """Return whether the numbers after any `</think>` are the problem's answer, in order."""
    if "<think>" in answer_text and "</think>" not in answer_text:
        return False
    return " ".join(re.findall(r"\d+", answer_text.rpartition("</think>")[2])) == problem.answer


def _taken_out(left: list[int]) -> Iterator[SortingStep]:
    while left:
        smallest = min(left)
        yield SortingStep(f"{smallest} now.\n\n", hard=True)
        left.remove(smallest)
        if left:
            yield SortingStep(f"Then {_spaced(left)}.\n\n", hard=False)


def _spaced(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))
