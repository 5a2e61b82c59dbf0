"""Simulates routing: the small model writes a step unless its first token is unsure."""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import torch
from pairtools import decode, entropy, first_logits, load, prompt

from glimp_core import bundled
from glimp_core.bundled.problems import HELD_OUT, Problem, grade, make_problem

Choice = Callable[[int, float], bool]
"""From the row and the entropy at the step's start to whether the large model writes it."""

MOST_STEPS = 20


class Pair:
    """Both models and the tokens at which a step or a reply ends."""

    def __init__(self, folder: Path) -> None:
        self.small, self.tokenizer = load(folder / bundled.SMALL)
        self.large, _ = load(folder / bundled.LARGE)
        self.ends = self.small.generation_config.eos_token_id
        vocab = self.tokenizer.get_vocab()
        self.close = vocab["</think>"]
        self.stops = [at for token, at in vocab.items() if token.endswith("ĊĊ")]

    def route(self, problems: list[Problem], choice: Choice) -> tuple[float, float]:
        """Return the share of right answers and the large model's share of steps."""
        rows = [prompt(problem, self.tokenizer) for problem in problems]
        begins = [len(row) for row in rows]
        open_rows, steps, large = list(range(len(rows))), 0, 0
        for _ in range(MOST_STEPS):
            values = entropy(first_logits(self.small, [rows[at] for at in open_rows])).tolist()
            hard = {at for at, value in zip(open_rows, values, strict=True) if choice(at, value)}
            steps, large = steps + len(open_rows), large + len(hard)
            self._write(self.large, rows, sorted(hard))
            self._write(self.small, rows, [at for at in open_rows if at not in hard])
            open_rows = [at for at in open_rows if not self._closed(rows[at], begins[at])]
            if not open_rows:
                break
        for row, reply in zip(rows, decode(self.small, rows, self.ends, 20), strict=True):
            row += reply
        texts = [self.tokenizer.decode(row[b:]) for row, b in zip(rows, begins, strict=True)]
        right = [grade(p, f"<think>{text}") for p, text in zip(problems, texts, strict=True)]
        return sum(right) / len(right), large / steps

    def _write(self, model: torch.nn.Module, rows: list[list[int]], which: list[int]) -> None:
        if which:
            steps = decode(model, [rows[at] for at in which], [*self.stops, *self.ends], 24)
            for at, step in zip(which, steps, strict=True):
                rows[at] += step

    def _closed(self, row: list[int], begin: int) -> bool:
        return self.close in row[begin:] or row[-1] in self.ends


def above(threshold: float) -> Choice:
    """Return the choice of the large model where the entropy is above `threshold`."""
    return lambda _, value: value > threshold


def at_random(share: float, seed: int) -> Choice:
    """Return the choice of the large model for a random `share` of the steps."""
    rng = random.Random(seed)
    return lambda _, __: rng.random() < share


def main() -> None:
    """Print accuracy and the large model's share of steps for thresholds and at random."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds both models' folders")
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--first", type=int, default=2 * HELD_OUT, help="first seed")
    parser.add_argument("--thresholds", type=float, nargs="*", default=[0.1, 0.5, 1.0, 1.5, 2.0, 2.5])
    parser.add_argument("--shares", type=float, nargs="*", default=[0.1, 0.2, 0.3, 0.35])
    args = parser.parse_args()
    torch.set_num_threads(1)
    pair = Pair(args.folder)
    problems = [make_problem(args.first + at) for at in range(args.problems)]
    choices = [("small alone", above(99.0)), ("large alone", above(-1.0))]
    choices += [(f"H > {value}", above(value)) for value in args.thresholds]
    choices += [(f"random {share}", at_random(share, 0)) for share in args.shares]
    print("choice,accuracy,large share of steps")
    for label, choice in choices:
        right, share = pair.route(problems, choice)
        print(f"{label},{right:.3f},{share:.3f}", flush=True)


if __name__ == "__main__":
    main()
