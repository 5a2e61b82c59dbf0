"""A head may have more rows than the tokenizer has ids: they count neither in a glimpse nor in a draft."""

from typing import Any

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, EntropyThreshold, GlimpRouter, Margin, RouterConfig, SamplingParams, TargetRate
from glimp_core.local import LocalEngine
from glimp_core.local.sampling import glimpse_of
from glimp_core.source import ModelSource

IDS = 265
LIMITS: dict[str, Any] = {"max_step_tokens": 8, "max_reasoning_tokens": 24, "max_answer_tokens": 16}


def engine(seed: int, padded: bool, layers: int = 2) -> LocalEngine:
    """A random model; `padded` makes the rows past the tokenizer's ids likelier than any token."""
    model = tiny.model(seed=seed, num_hidden_layers=layers)
    loud = model.lm_head.weight.abs().max() * 5
    noise = torch.randn(tiny.SIZES["vocab_size"] - IDS, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.lm_head.weight[IDS:] = loud * noise
    if not padded:  # as a model that was never padded
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight[:IDS])
    return LocalEngine(ModelSource.of((model, tiny.tokenizer())))


def replies(padded: bool, policy: Any, sampling: SamplingParams, **config: Any) -> Any:
    router = GlimpRouter(engine(3, padded), engine(2, padded, 3), policy, RouterConfig(**LIMITS, **config))
    done = router.generate("What is 2 + 2?", sampling=sampling)
    return [(step.engine, step.text, step.entropy) for step in done.steps], done.answer


@pytest.mark.parametrize("entropy", ["full", "top20"])
def test_a_glimpse_is_of_the_ids_alone(entropy: Any) -> None:
    """Entropy, probability and margin are those of the head without its padding."""
    table = tiny.engine().table
    logits = torch.randn(tiny.SIZES["vocab_size"], generator=torch.Generator().manual_seed(1))
    logits[len(table.token_bytes) :] = 9.0
    assert glimpse_of(logits, entropy, table) == glimpse_of(logits[: len(table.token_bytes)], entropy, table)


@pytest.mark.parametrize("policy", [EntropyThreshold(1.0), Margin(0.5), TargetRate(0.5), AlwaysLarge()], ids=repr)
def test_padding_changes_no_decision(policy: Any) -> None:
    """A pair with padded heads decides and writes as one without, under every policy."""
    greedy = SamplingParams(temperature=0)
    assert replies(True, policy, greedy) == replies(False, policy, greedy)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_padding_is_never_drafted(temperature: float) -> None:
    """Drafts are of ids that the tokenizer has; nothing else is drawn or accepted."""
    sampling = SamplingParams(temperature=temperature, seed=5)
    padded, plain = (replies(padded, AlwaysLarge(), sampling, speculate=True) for padded in (True, False))
    assert padded == plain
