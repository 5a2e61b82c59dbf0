"""A second copy of the weights in a layout for several rows: drafts, catch-up prefills and batches have these."""

from functools import partial
from typing import Any

import torch

from glimp_core.errors import ConfigError

ROWS = 4
"""The packed copy is faster from this number of rows on; below it the plain weights are faster."""


def prepack(model: Any) -> None:
    """Make a model's linear layers use weights packed by oneDNN where this is faster.

    A plain float32 product of 4 to 32 rows takes two to four times as long as one of a single row, although it reads
    the same weights. A packed product takes hardly longer. This needs as much memory as the layers' weights. Raises
    `ConfigError` if the weights are not in float32 on a CPU, and if this PyTorch has no oneDNN.
    """
    if model.device.type != "cpu" or model.dtype != torch.float32:
        raise ConfigError(f"prepacked=True is for float32 on a CPU, and this model is {model.dtype} on {model.device}")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise ConfigError("prepacked=True needs oneDNN, which this build of PyTorch does not have: leave it out")
    for module in model.modules():
        if type(module) is torch.nn.Linear and not isinstance(module.forward, partial):
            weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), ROWS)
            setattr(module, "forward", partial(_forward, module, weight))  # noqa: B010


def _forward(layer: torch.nn.Linear, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Apply a layer to rows [..., in]; returns [..., out]."""
    if rows.numel() < ROWS * layer.in_features:
        return torch.nn.functional.linear(rows, layer.weight, layer.bias)
    return torch.ops.mkldnn._linear_pointwise(rows, weight, layer.bias, "none", [], "")  # type: ignore[no-any-return]
