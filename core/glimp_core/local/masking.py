"""A grammar's mask on a model's logits."""

import numpy as np
import torch


def masked(logits: torch.Tensor, mask: bytes) -> torch.Tensor:
    """Return logits [vocabulary] with every token at -inf whose bit in `mask`, lowest bit first, is not set."""
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=logits.shape[-1], bitorder="little")
    allowed = torch.from_numpy(bits).view(torch.bool).to(logits.device)
    return torch.where(allowed, logits, float("-inf"))
