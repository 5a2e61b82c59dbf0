"""From logits to what a glimpse shows of them."""

import torch

from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.entropy import paper_code_entropy
from glimp_core.local.sampling import entropy, likeliest, top_two
from glimp_core.types import Entropy, Glimpse


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
