"""Measures one tiny model: python examples/tiny_pair/evaluate.py FOLDER [--problems 1000]."""

import argparse
from collections import Counter
from pathlib import Path

import torch
from pairtools import BATCH, decode, entropy, first_logits, load, prompt
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from glimp_core.bundled.problems import HELD_OUT, Problem, grade, make_problem

EDGES = (0.01, 0.05, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 9.9)


def accuracy(model: PreTrainedModel, tokenizer: Tokenizer, problems: list[Problem]) -> tuple[float, list[str]]:
    """Return the share of problems the model solves alone, and what it wrote."""
    rows = [prompt(problem, tokenizer) for problem in problems]
    ends = model.generation_config.eos_token_id
    texts = [tokenizer.decode(ids) for ids in decode(model, rows, ends, 160)]
    right = [grade(p, f"<think>{text}") for p, text in zip(problems, texts, strict=True)]
    return sum(right) / len(right), texts


def starts(model: PreTrainedModel, tokenizer: Tokenizer, problems: list[Problem]) -> list[tuple[bool, float, bool]]:
    """Return hard, entropy and right for every step start of the right reasoning."""
    rows, truths, hards = [], [], []
    for problem in problems:
        row = prompt(problem, tokenizer)
        for step in problem.steps():
            ids = tokenizer.encode(step.text)
            rows.append(list(row))
            truths.append(ids[0])
            hards.append(step.hard)
            row += ids
    found = []
    for at in range(0, len(rows), BATCH):
        logits = first_logits(model, rows[at : at + BATCH])
        right = logits.argmax(-1) == torch.tensor(truths[at : at + BATCH])
        found += zip(hards[at : at + BATCH], entropy(logits).tolist(), right.tolist(), strict=True)
    return found


def table(found: list[tuple[bool, float, bool]]) -> str:
    """Return a table of step starts and their accuracy by entropy bin, hards apart."""
    counts, rights = Counter(), Counter()
    for hard, value, right in found:
        edge = next(edge for edge in EDGES if value < edge)
        counts[hard, edge] += 1
        rights[hard, edge] += right
    lines = ["H below   easy  right   hard  right"]
    for edge in EDGES:
        cells = ""
        for hard in (False, True):
            count = counts[hard, edge]
            share = f"{rights[hard, edge] / count:.3f}" if count else "-"
            cells += f"{count:7d} {share:>6}"
        lines.append(f"{edge:7.2f}{cells}")
    return "\n".join(lines)


def main() -> None:
    """Print the accuracy alone and the table of step starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--first", type=int, default=HELD_OUT, help="first seed")
    parser.add_argument("--show", type=int, default=0, help="replies to print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load(args.folder)
    problems = [make_problem(args.first + at) for at in range(args.problems)]
    share, texts = accuracy(model, tokenizer, problems)
    print(f"alone: {share:.3f} right of {len(texts)}")
    for problem, text in zip(problems[: args.show], texts, strict=False):
        print("---", problem.question, text, sep="\n")
    found = starts(model, tokenizer, problems[: max(1, len(problems) // 2)])
    for hard in (False, True):
        rights = [right for kind, _, right in found if kind == hard]
        print(f"{'hard' if hard else 'easy'} starts right: {sum(rights) / len(rights):.4f}")
    print(table(found))


if __name__ == "__main__":
    main()
