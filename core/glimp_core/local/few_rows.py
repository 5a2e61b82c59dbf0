"""Linear layers over a few rows on a CPU: drafts, catch-up prefills and batches have a few rows."""

from collections.abc import Callable, Mapping, Sequence
from math import gcd
from time import perf_counter
from typing import Any

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

FEWEST, MOST = 3, 64
"""The numbers of rows. Two rows are two products of one row, and with more rows both ways take the same time."""

BLOCKS = 16

LARGE = 300_000
"""Weights with fewer elements fit into the cache of the processor, and are not changed."""

TRIED, ROUNDS = 4, 3
"""The number of weights and of repetitions of the trial, when a model first reads a few tokens at once."""

QUICKER = 0.8
"""Blocks are used if they take at most this share of the time in the trial."""


class FewRows(TorchFunctionMode):
    """Computes the products of `linear` with large float32 weights by blocks of the weights, while it is entered.

    A library's product of a matrix and a few rows first copies the matrix into another layout, which takes longer than
    the product. The batched product of its blocks does not. The sums are the same, up to rounding. Weights of fewer
    elements than `large` are left alone; `product` takes rows, weights and a bias.
    """

    def __init__(self, large: int = LARGE, product: "Callable[..., torch.Tensor] | None" = None):
        super().__init__()
        self._large = large
        self._product = product or by_blocks

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, `linear` by blocks."""
        if func is linear and not kwargs and self._fits(*args):
            return self._product(*args)
        return func(*args, **(kwargs or {}))

    def _fits(self, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
        count = rows.numel() // max(1, rows.shape[-1])
        plain = type(weight.data) is torch.Tensor and weight.is_contiguous() and weight.dim() == 2
        large = plain and weight.numel() >= self._large
        return FEWEST <= count <= MOST and large and rows.dtype == weight.dtype == torch.float32


def quicker_by_blocks(model: Any) -> bool:
    """Try on some weights of a model whether this machine computes few rows quicker by blocks."""
    if model.device.type != "cpu" or model.dtype != torch.float32 or hasattr(model, "_orig_mod"):
        return False
    linears = (module.weight for module in model.modules() if type(module) is torch.nn.Linear)
    weights = [weight for weight in linears if weight.numel() >= LARGE and weight.dtype == torch.float32][:TRIED]
    seconds = {linear: float("inf"), by_blocks: float("inf")}
    for _ in range(ROUNDS if weights else 0):
        for way in seconds:
            started = perf_counter()
            for weight in weights:
                way(weight.new_zeros(2 * FEWEST, weight.shape[1]), weight)
            seconds[way] = min(seconds[way], perf_counter() - started)
    return seconds[by_blocks] < QUICKER * seconds[linear]


def by_blocks(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return `linear(rows, weight, bias)` for rows [..., in] and a weight [out, in]."""
    out, width = weight.shape
    count = gcd(out, BLOCKS)
    columns = rows.reshape(-1, width).T.expand(count, width, -1)
    blocks = weight.view(count, out // count, width)
    if bias is None:
        made = torch.bmm(blocks, columns)
    else:
        made = torch.baddbmm(bias.view(count, out // count, 1), blocks, columns)
    return made.view(out, -1).T.reshape(*rows.shape[:-1], out)
