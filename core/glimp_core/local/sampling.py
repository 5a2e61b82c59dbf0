"""Sampling a token from logits, and the figures of a glimpse."""

from dataclasses import dataclass
from typing import Any

import torch

from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.entropy import TokenMeasure, paper_code_entropy
from glimp_core.source import sampling_defaults
from glimp_core.types import Entropy, Glimpse, SamplingParams

CANDIDATES = 64
"""Top-p sorts only this many tokens first: sorting a whole vocabulary takes a third of a forward."""


def entropy(logits: torch.Tensor) -> float:
    """Return the entropy in nats of float32 logits [vocabulary]."""
    return float(torch.special.entr(logits.softmax(-1)).sum())


def likeliest(logits: torch.Tensor, count: int) -> list[tuple[int, float]]:
    """Return the ids and log-probabilities of the `count` likeliest tokens, likeliest first."""
    values, ids = logits.topk(min(count, logits.shape[-1]))
    return list(zip(ids.tolist(), (values - logits.logsumexp(-1)).tolist(), strict=True))


def token_measure(logits: torch.Tensor, token_id: int) -> TokenMeasure:
    """Return the entropy and the surprisal of a written token, from float32 logits [vocabulary]."""
    return TokenMeasure(entropy(logits), float(logits.logsumexp(-1) - logits[token_id]))


def top_two(logits: torch.Tensor) -> tuple[int, float, float]:
    """Return the likeliest token, its probability, and the difference to the second."""
    values, ids = logits.topk(2)
    first, second = (values - logits.logsumexp(-1)).exp().tolist()
    return int(ids[0]), first, first - second


@dataclass(frozen=True, slots=True)
class DrawingRule:
    """The distribution that tokens are drawn from: temperature first, then top-k, then top-p."""

    temperature: float
    top_p: float
    top_k: int

    @classmethod
    def of(cls, params: SamplingParams, defaults: Any) -> "DrawingRule":
        """Return the parameters with unset ones from the model's generation_config."""
        chosen = params.over(sampling_defaults(defaults))
        return cls(chosen.temperature or 0.0, chosen.top_p or 1.0, chosen.top_k or 0)


class Sampler:
    """Draws tokens. With a seed, the draws depend only on the seed and the step's `index`."""

    def __init__(self, rule: DrawingRule, seed: int | None, index: int, device: torch.device):
        self.rule = rule
        self._generator = torch.Generator(device)
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed((seed * 1_000_003 + index) % 2**63)

    def draw(self, logits: torch.Tensor) -> int:
        """Draw one id from float32 logits [vocabulary]."""
        if self.rule.temperature == 0:
            return int(logits.argmax())
        probabilities, ids = self.distribution(logits)
        drawn = self.draw_from(probabilities)
        return drawn if ids is None else int(ids[drawn])

    def draw_from(self, probabilities: torch.Tensor) -> int:
        """Draw one index from probabilities that need not sum to one."""
        return int(torch.multinomial(probabilities, 1, generator=self._generator))

    def uniform(self) -> float:
        """Draw a number between 0 and 1."""
        return float(torch.rand((), generator=self._generator, device=self._generator.device))

    def full_distribution(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the distribution of the next token over the whole vocabulary [vocabulary]."""
        probabilities, ids = self.distribution(logits)
        probabilities = probabilities / probabilities.sum()
        return probabilities if ids is None else torch.zeros_like(logits).scatter_(0, ids, probabilities)

    def distribution(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the probabilities of the tokens that can be drawn, and their ids (None: all, in order)."""
        scaled = logits / self.rule.temperature
        if not self.rule.top_k and self.rule.top_p >= 1:
            return scaled.softmax(-1), None
        values, ids = self._likeliest(scaled)
        probabilities = values.softmax(-1)
        if self.rule.top_p < 1:
            total = values.logsumexp(-1) if self.rule.top_k else scaled.logsumexp(-1)
            before = (values - total).exp().cumsum(-1) - (values - total).exp()
            probabilities = probabilities * (before < self.rule.top_p)
        return probabilities, ids

    def _likeliest(self, scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens that pass top-k and top-p, likeliest first. All are sorted only if a few are not enough."""
        size = scaled.shape[-1]
        if self.rule.top_k:
            return scaled.topk(min(self.rule.top_k, size))
        count = min(CANDIDATES, size)
        while True:
            values, ids = scaled.topk(count)
            kept = float((values.logsumexp(-1) - scaled.logsumexp(-1)).exp())
            if kept >= self.rule.top_p or count == size:
                return values, ids
            count = min(count * 16, size)


def glimpse_of(logits: torch.Tensor, definition: Entropy, table: Vocabulary) -> Glimpse:
    """Measure the first token that float32 logits [vocabulary] foresee; rows past the tokenizer's ids do not count."""
    logits = logits[: len(table.token_bytes)]
    token_id, probability, margin = top_two(logits)
    measured = entropy(logits) if definition == "full" else top20_entropy(logits, table)
    text = (table.token_bytes[token_id] or b"").decode(errors="replace")
    return Glimpse(measured, definition, text, probability, margin)


def top20_entropy(logits: torch.Tensor, table: Vocabulary) -> float:
    """Return the entropy of the 20 likeliest tokens, as the authors' code has it."""
    return paper_code_entropy((_spelled(token_id, table), lp) for token_id, lp in likeliest(logits, 20))


def _spelled(token_id: int, table: Vocabulary) -> str:
    """The text of one id; control tokens, which have none, are told apart by their number."""
    piece = table.token_bytes[token_id]
    return f"<{token_id}>" if piece is None else piece.decode(errors="replace")
