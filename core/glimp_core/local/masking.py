"""A grammar's mask on a model's logits."""

import torch


def masked(logits: torch.Tensor, mask: bytes) -> torch.Tensor:
    """Return logits [vocabulary] with every token at -inf whose bit in `mask`, lowest bit first, is not set."""
    packed = torch.frombuffer(bytearray(mask), dtype=torch.uint8).to(logits.device, non_blocking=True)
    bits = torch.arange(8, dtype=torch.uint8, device=logits.device)
    allowed = (packed[:, None] >> bits & 1).flatten()[: logits.shape[-1]]
    return logits.masked_fill(allowed == 0, float("-inf"))
