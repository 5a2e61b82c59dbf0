"""Causal attention as two batched products: in bfloat16 on a CPU several times faster."""

import torch
from transformers import AttentionInterface

NAME = "causal_bmm"


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    batch, heads, width, size = query.shape
    query, key, value = (x.reshape(batch * heads, width, size) for x in (query, key, value))
    future = torch.full((width, width), -1e9, dtype=query.dtype).triu(1)
    scores = torch.baddbmm(future.expand(len(query), -1, -1), query, key.mT, alpha=scaling)
    out = torch.bmm(scores.softmax(-1).to(value.dtype), value)
    return out.view(batch, heads, width, size).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)
