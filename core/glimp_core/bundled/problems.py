"""Number puzzles, in which the difficulty of a step is its first token.

A number goes through a list of operations, modulo 31. One step copies the next
operation, the step after it starts with the number that comes out. Additions
and subtractions are easy; multiplications are the hard steps.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

HELD_OUT = 10**9
"""Seeds from here on give held-out problems, seeds below it training problems."""

MAX_LEVEL = 3
"""The highest level: the number of multiplications in the list."""

MODULUS = 31
ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh")
EASY = tuple(f"{sign}{number}" for sign in "+-" for number in range(1, 10))
HARD = tuple(f"*{number}" for number in range(2, 10))


@dataclass(frozen=True)
class Operation:
    """One reasoning step, and what it multiplies by if its first token is a product."""

    text: str
    factor: int = 0

    @property
    def hard(self) -> bool:
        """Return whether the first token is a product."""
        return self.factor > 0


@dataclass(frozen=True)
class Problem:
    """A question, the number that answers it, and the reasoning that gets there."""

    seed: int
    level: int
    start: int
    operations: tuple[str, ...]
    question: str
    answer: str
    reply: str

    @property
    def reasoning(self) -> str:
        """Return the right reasoning, each step ending in an empty line."""
        return "".join(step.text for step in self.steps())

    def steps(self) -> list[Operation]:
        """Return the steps of the right reasoning."""
        return list(_walk(self.start, self.operations))


def make_problem(seed: int, level: int | None = None) -> Problem:
    """Return the problem of `seed`; no question comes from both sides of HELD_OUT."""
    rng = random.Random(f"{seed}/{level}")
    while True:
        problem = _draw(rng, seed, rng.randint(2, MAX_LEVEL) if level is None else level)
        if is_held_out(problem.question) == (seed >= HELD_OUT):
            return problem


def is_held_out(question: str) -> bool:
    """Return whether the question's text is set aside for held-out problems."""
    return hashlib.sha256(question.encode()).digest()[0] < 32


def apply(number: int, operation: str) -> int:
    """Return what an operation such as `+4`, `-2` or `*7` makes of `number`."""
    operand = int(operation[1:])
    if operation[0] == "*":
        return number * operand % MODULUS
    return (number + (operand if operation[0] == "+" else -operand)) % MODULUS


def grade(problem: Problem, answer_text: str) -> bool:
    """Return whether the last number after any `</think>` is the problem's answer."""
    if "<think>" in answer_text and "</think>" not in answer_text:
        return False
    numbers = re.findall(r"\d+", answer_text.rpartition("</think>")[2])
    return bool(numbers) and numbers[-1] == problem.answer


def _draw(rng: random.Random, seed: int, level: int) -> Problem:
    easy = rng.randint(3, 4) if level else rng.randint(1, 4)
    operations = [rng.choice(EASY) for _ in range(easy)]
    operations += [rng.choice(HARD) for _ in range(level)]
    rng.shuffle(operations)
    start = number = rng.randrange(1, MODULUS)
    for operation in operations:
        number = apply(number, operation)
    question = _question(start, operations)
    reply = f"The result is {number}."
    return Problem(seed, level, start, tuple(operations), question, str(number), reply)


def _question(start: int, operations: list[str]) -> str:
    named = zip(ORDINALS, operations, strict=False)
    lines = [f"{ordinal} {operation}." for ordinal, operation in named]
    head = f"Start with {start} and count modulo {MODULUS}."
    return " ".join([head, *lines, "What is the result?"])


def _walk(number: int, operations: tuple[str, ...]) -> Iterator[Operation]:
    yield Operation(f"{number} now.\n\n")
    for ordinal, operation in zip(ORDINALS, operations, strict=False):
        yield Operation(f"{ordinal} {operation} on {number}.\n\n")
        number = apply(number, operation)
        yield Operation(f"{number} now.\n\n", int(operation[1:]) if operation in HARD else 0)
