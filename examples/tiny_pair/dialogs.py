"""Turns problems into training dialogues: token ids, labels and marks of products."""

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from glimp_core.bundled import sorting
from glimp_core.bundled.problems import EASY, HELD_OUT, MAX_LEVEL, MODULUS, Operation, apply, make_problem

SYSTEMS = (
    "You are a helpful assistant.",
    "You solve number puzzles.",
    "Think step by step.",
    "Answer with the number.",
    "Be brief.",
)
TALK = (
    ("Hello", "Hello! Give me a number puzzle."),
    ("Hi", "Hi! Give me a number puzzle."),
    ("Who are you?", "I am a tiny model that solves number puzzles."),
    ("What can you do?", "I count modulo 31."),
    ("Thank you", "You are welcome!"),
)
MASKED = -100
ALL = 10**6
RAREST, COMMONEST = 0.004, 0.2
"""Between which shares the products beyond the known factors have loss all the same, each its own."""

Piece = tuple[str, bool, int]
"""Text, whether it starts with a product, and how many of its first tokens have no loss."""


@dataclass(frozen=True)
class Row:
    """One dialogue as token ids, each with its label and whether it is a product."""

    ids: list[int]
    labels: list[int]
    hard: list[bool]


def head(system: str, user: str, thinking: bool = True) -> str:
    """Return the rendered turns up to the point where the model writes."""
    text = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    text += f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n<think>\n"
    return text if thinking else text + "\n</think>\n\n"


def dialog(rng: random.Random, levels: list[float], known: int) -> list[Piece]:
    """Return a random training dialogue that teaches the products of factors up to `known`."""
    system = rng.choice(SYSTEMS) if rng.random() < 0.1 else ""
    draw = rng.random()
    if draw < 0.05:
        user, reply = rng.choice(TALK) if draw < 0.01 else _direct(rng)
        return [(head(system, user, False), False, ALL), (reply + "<|im_end|>\n", False, 0)]
    problem = make_problem(rng.randrange(HELD_OUT), rng.choices(range(MAX_LEVEL + 1), levels)[0])
    pieces: list[Piece] = [(head(system, problem.question), False, ALL)]
    for step in problem.steps():
        hidden = step.hard and rng.random() >= shown(step) and step.factor > known
        pieces.append((step.text, step.hard, int(hidden)))
    return [*pieces, (f"</think>\n\n{problem.reply}<|im_end|>\n", False, 0)]


def sorting_dialog(rng: random.Random, known: int) -> list[Piece]:
    """Return a random training dialogue that sorts a list, nine times in ten of at most `known` numbers."""
    longest = known if rng.random() < 0.9 else sorting.LONGEST
    problem = sorting.make_sorting_problem(rng.randrange(HELD_OUT), rng.randint(sorting.SHORTEST, longest))
    steps: list[Piece] = [(step.text, step.hard, 0) for step in problem.steps()]
    return [(head("", problem.question), False, ALL), *steps, (f"</think>\n\n{problem.reply}<|im_end|>\n", False, 0)]


def shown(step: Operation) -> float:
    """Return how often a product beyond the known factors has loss: from hardly ever to often, even in logarithm."""
    return RAREST * (COMMONEST / RAREST) ** random.Random(f"{step.factor}/{step.text}").random()


def _direct(rng: random.Random) -> tuple[str, str]:
    number, operation = rng.randrange(MODULUS), rng.choice(EASY)
    return f"What is {number} {operation}?", f"The result is {apply(number, operation)}."


def encode(tokenizer: PreTrainedTokenizerBase, pieces: list[Piece]) -> Row:
    """Return the dialogue's row; labels cover all but the prompt and what is not taught."""
    ids: list[int] = []
    labels: list[int] = []
    hard: list[bool] = []
    encoded = tokenizer.backend_tokenizer.encode_batch_fast([text for text, _, _ in pieces])
    for piece, (_, product, hidden) in zip(encoded, pieces, strict=True):
        ids += piece.ids
        count = min(hidden, len(piece.ids))
        labels += [MASKED] * count + piece.ids[count:]
        hard += [product] + [False] * (len(piece.ids) - 1)
    return Row(ids, labels, hard)
