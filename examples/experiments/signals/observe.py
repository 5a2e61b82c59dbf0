"""What every signal said before and after a step of the small model, and what was true of the step.

All steps are those of the right reasoning, read by both models at once: the small model's greedy step is the right one
exactly if its likeliest token is the right one at every position. Only a wrong step has to be written out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from pairtools import decode, entropy
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

CONFIDENT = 0.95
"""The probability from which on a token counts as confident, after TrigReason (arXiv 2604.14847)."""

BEFORE = (
    "first-entropy", "first-top20", "first-margin", "first-rise", "first-recent", "last-step-entropy", "hidden-change",
    "early",
)  # fmt: skip
"""Signals that are there before the small model has written the step."""

AFTER = ("step-entropy", "step-perplexity", "step-largest-entropy", "step-confident")
"""Signals that need the small model's whole step."""

SIGNALS = BEFORE + AFTER

RECENT = 3
"""How many steps before a step its entropy is compared with, or averaged with."""


@dataclass(frozen=True, slots=True)
class Task:
    """A question of either kind: the ids of its prompt and of the steps of its right reasoning."""

    prompt: list[int]
    steps: list[list[int]]


@dataclass(frozen=True, slots=True)
class Observation:
    """One step of one question: its signals (larger means more danger), who is wrong, and the KL divergence.

    `first_wrong` looks at the first token alone. `kl` is the large model's distribution from the small model's in
    nats, summed over the tokens of the right step; `kl_first` that of its first token.
    """

    question: int
    index: int
    tokens: int
    signals: dict[str, float]
    small_wrong: bool
    first_wrong: bool
    large_wrong: bool
    kl: float
    kl_first: float


@dataclass(slots=True)
class Past:
    """What the steps before a step have shown: their first-token entropies and mean entropies, and the last head."""

    firsts: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    head: torch.Tensor | None = None

    def add(self, first: float, mean: float, head: torch.Tensor) -> None:
        """Take in one more step."""
        self.firsts.append(first)
        self.means.append(mean)
        self.head = head


@torch.inference_mode()
def observe(
    small: PreTrainedModel, large: PreTrainedModel, tokenizer: Tokenizer, tasks: Sequence[Task], stops: list[int]
) -> Iterator[Observation]:
    """Yield an observation for every step of every task."""
    for number, task in enumerate(tasks):
        ids = task.prompt + [token for step in task.steps for token in step]
        row = torch.tensor([ids])
        out = small(input_ids=row, output_hidden_states=True, use_cache=False)
        small_logs = out.logits[0].float().log_softmax(-1)
        large_logs = large(input_ids=row, use_cache=False).logits[0].float().log_softmax(-1)
        hidden = out.hidden_states[-1][0].float()
        begin, past = len(task.prompt), Past()
        for index, step in enumerate(task.steps):
            heads = slice(begin - 1, begin - 1 + len(step))
            truth = torch.tensor(step)
            mine, theirs = small_logs[heads], large_logs[heads]
            right = mine.argmax(-1) == truth
            own = mine if bool(right.all()) else _own(small, ids[:begin], stops)
            divergences = (theirs.exp() * (theirs - mine)).sum(-1)
            yield Observation(
                question=number,
                index=index,
                tokens=len(step),
                signals=_signals(mine[0], own, hidden[begin - 1], past),
                small_wrong=not bool(right.all()),
                first_wrong=not bool(right[0]),
                large_wrong=not bool((theirs.argmax(-1) == truth).all()),
                kl=float(divergences.sum()),
                kl_first=float(divergences[0]),
            )
            past.add(float(entropy(mine[:1])), float(entropy(mine).mean()), hidden[begin - 1])
            begin += len(step)


def _own(small: PreTrainedModel, prefix: list[int], stops: list[int]) -> torch.Tensor:
    """Return the log probabilities of the step that the small model itself writes after `prefix`, a row a token."""
    (step,) = decode(small, [prefix], stops, 64)
    logits = small(input_ids=torch.tensor([prefix + step]), use_cache=False).logits[0]
    return logits[len(prefix) - 1 : -1].float().log_softmax(-1)


def _signals(first: torch.Tensor, own: torch.Tensor, head: torch.Tensor, past: Past) -> dict[str, float]:
    top = first.topk(20).values
    entropies, likeliest = entropy(own), own.max(-1).values
    now, recent = float(entropy(first[None])), past.firsts[-RECENT:]
    change = 0.0 if past.head is None else 1 - float(torch.cosine_similarity(head, past.head, dim=0))
    return {
        "first-entropy": now,
        "first-top20": float(entropy(top[None])),
        "first-margin": 1 - float(top[0].exp() - top[1].exp()),
        "first-rise": now - (fmean(recent) if recent else 0.0),
        "first-recent": fmean([*recent, now]),
        "last-step-entropy": past.means[-1] if past.means else 0.0,
        "hidden-change": change,
        "early": -float(len(past.firsts)),
        "step-entropy": float(entropies.mean()),
        "step-perplexity": -float(likeliest.mean()),
        "step-largest-entropy": float(entropies.max()),
        "step-confident": float((likeliest.exp() >= CONFIDENT).float().mean()),
    }
