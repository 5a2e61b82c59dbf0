"""A grammar's mask on logits."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from glimp_core.local.writer import masked


@given(size=st.integers(1, 100), allowed=st.sets(st.integers(0, 99)))
def test_only_tokens_with_a_bit_keep_their_logits(size: int, allowed: set[int]) -> None:
    """Law: a token keeps its logit if its bit is set, for vocabularies of every size; the others are out."""
    logits = torch.randn(size)
    mask = sum(1 << token_id for token_id in allowed).to_bytes(16, "little")
    result = masked(logits, mask)
    for token_id in range(size):
        assert result[token_id] == (logits[token_id] if token_id in allowed else float("-inf"))
    assert not torch.isneginf(logits).any()
