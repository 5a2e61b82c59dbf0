"""Products of a few rows by blocks of the weights are the products of the whole."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

import tiny
from glimp_core.local import few_rows
from glimp_core.local.few_rows import FEWEST, MOST, FewRows, by_blocks
from glimp_core.local.forward import ModelForward
from glimp_core.local.session import KVSession


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(3,), (1, 16), (4, 1), (2, 32)])
@pytest.mark.parametrize("out", [640, 641])
def test_blocks_give_what_linear_gives(shape: tuple[int, ...], out: int, bias: bool) -> None:
    """Law: for any number of rows, in any shape, also where the weights cannot be divided."""
    torch.manual_seed(0)
    weight, added = torch.randn(out, 512), torch.randn(out) if bias else None
    rows = torch.randn(*shape, 512)
    torch.testing.assert_close(by_blocks(rows, weight, added), linear(rows, weight, added), atol=1e-4, rtol=1e-4)


def test_a_forward_by_blocks_says_the_same() -> None:
    """A model that reads a few tokens by blocks has the logits that it has without."""
    model, ids = tiny.model(seed=4), [*range(10, 10 + MOST)]
    products: list[int] = []

    def noted(*given: Any) -> torch.Tensor:
        products.append(len(given))
        return by_blocks(*given)

    logits = {}
    ways: dict[str, AbstractContextManager[Any]] = {"whole": nullcontext(), "blocks": FewRows(large=1, product=noted)}
    for name, way in ways.items():
        ModelForward.of(model).few_rows = way
        session = KVSession(model)
        for one in session.sync(ids[: FEWEST * 4], keep=FEWEST):
            one.run()
        assert session.logits is not None
        logits[name] = session.logits
        assert bool(products) is (name == "blocks")
    torch.testing.assert_close(logits["whole"], logits["blocks"], atol=1e-4, rtol=1e-4)


def test_only_large_products_of_few_rows_go_by_blocks() -> None:
    """One row, many rows, small weights and other types are left alone."""
    products: list[torch.Size] = []

    def noted(rows: torch.Tensor, *more: Any) -> torch.Tensor:
        products.append(rows.shape)
        return by_blocks(rows, *more)

    large, small = torch.randn(1024, 512), torch.randn(16, 16)
    with FewRows(product=noted):
        for rows in (1, FEWEST - 1, FEWEST, MOST, MOST + 1):
            linear(torch.randn(rows, 512), large)
        linear(torch.randn(4, 16), small)
        linear(torch.randn(4, 512, dtype=torch.float64), large.double())
    assert [shape[0] for shape in products] == [FEWEST, MOST]


def test_what_is_not_in_float32_on_a_cpu_is_not_tried() -> None:
    """The trial is for a processor's float32 products, and for weights that are large enough."""
    assert not few_rows.quicker_by_blocks(tiny.model())
    assert not few_rows.quicker_by_blocks(tiny.model().double())
