"""Prepacked weights change how fast several tokens are read, and nothing that is written."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, ConfigError, GlimpRouter, RandomRate, RouterConfig, SamplingParams
from glimp_core.local import LocalEngine
from glimp_core.local.prepacking import ROWS, prepack

GREEDY = SamplingParams(temperature=0)


def engine(seed: int, **options: bool) -> LocalEngine:
    return LocalEngine.from_pretrained((tiny.model(seed=seed), tiny.tokenizer()), **options)


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS, 2 * ROWS, 100])
@torch.inference_mode()
def test_logits_are_those_of_plain_weights(rows: int) -> None:
    """However many tokens are read at once, their logits are the plain ones but for rounding; with a bias as well."""
    plain, packed = tiny.model(seed=3), tiny.model(seed=3)
    packed.model.layers[0].mlp.up_proj.bias = plain.model.layers[0].mlp.up_proj.bias = torch.nn.Parameter(
        torch.randn(plain.config.intermediate_size)
    )
    prepack(packed)
    prepack(packed)  # a second time changes nothing
    token_ids = torch.randint(0, 200, (1, rows), generator=torch.manual_seed(rows))
    torch.testing.assert_close(packed(token_ids).logits, plain(token_ids).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("speculate", [False, True])
def test_a_pair_writes_what_it_writes_without(speculate: bool) -> None:
    """Law: greedy in float32, replies are the same with and without, alone and at once."""
    config = RouterConfig(speculate=speculate, max_reasoning_tokens=60, max_answer_tokens=30)
    replies = []
    for options in ({}, {"prepacked": True}):
        router = GlimpRouter(engine(1, **options), engine(2, **options), RandomRate(0.5, seed=0), config)

        def reply(number: int, router: GlimpRouter = router) -> tuple[str, str]:
            done = router.generate(f"What is {number}?", sampling=GREEDY)
            return done.reasoning, done.answer

        with ThreadPoolExecutor(6) as threads:
            at_once = list(threads.map(reply, range(6)))
        assert at_once[0] == reply(0)
        replies.append(at_once)
    assert replies[0] == replies[1]


def test_weights_that_cannot_be_packed_are_refused() -> None:
    """Prepacking is for float32 on a CPU; elsewhere the error says so, before anything is written."""
    model = tiny.model(seed=1).to(torch.bfloat16)
    router = GlimpRouter.from_pretrained(
        (model, tiny.tokenizer()), (model, tiny.tokenizer()), AlwaysLarge(), prepacked=True
    )
    with pytest.raises(ConfigError, match=r"prepacked=True is for float32 on a CPU, and this model is torch\.bfloat16"):
        router.load()
