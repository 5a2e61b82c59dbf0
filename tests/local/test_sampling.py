"""Drawing tokens: the short cuts give the law that sorting everything gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

from glimp_core import SamplingParams
from glimp_core.entropy import entropy as plain_entropy
from glimp_core.entropy import top_entropy
from glimp_core.local.sampling import DrawingRule, Sampler, entropy, likeliest, top_two


def sampler(temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0, seed: int = 0) -> Sampler:
    return Sampler(DrawingRule(temperature, top_p, top_k), seed, 0, torch.device("cpu"))


def by_sorting(logits: torch.Tensor, temperature: float, top_p: float, top_k: int) -> torch.Tensor:
    """Temperature, top-k and top-p by the book: sort all, cut, renormalise."""
    probabilities = (logits / temperature).softmax(-1)
    order = probabilities.argsort(descending=True)
    kept = probabilities[order]
    if top_k:
        kept[top_k:] = 0
        kept = kept / kept.sum()
    kept[(kept.cumsum(-1) - kept) >= top_p] = 0
    out = torch.zeros_like(probabilities)
    out[order] = kept / kept.sum()
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spread=st.floats(0.05, 6),
    temperature=st.floats(0.2, 2),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.95, 0.999, 1.0]),
    top_k=st.sampled_from([0, 1, 5, 50]),
)
def test_the_law_equals_the_sorted_one(seed: int, spread: float, temperature: float, top_p: float, top_k: int) -> None:
    """Looking at the likeliest tokens first never changes a probability."""
    logits = torch.randn(2000, generator=torch.Generator().manual_seed(seed)) * spread
    probabilities, ids = sampler(temperature, top_p, top_k).distribution(logits)
    law = torch.zeros(2000)
    law[ids if ids is not None else slice(None)] = probabilities / probabilities.sum()
    expected = by_sorting(logits, temperature, top_p, top_k)
    assert float((law - expected).abs().sum()) < 2e-3 + float(expected[expected > 0].min())


def test_draws_follow_the_law() -> None:
    """Many draws come out in the proportions of the distribution (chi-square at 0.1 %)."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -3.0])
    drawer = sampler(0.7)
    counts = torch.bincount(torch.tensor([drawer.draw(logits) for _ in range(4000)]), minlength=5)
    expected = 4000 * (logits / 0.7).softmax(-1)
    assert float(((counts - expected) ** 2 / expected).sum()) < 18.47


def test_greedy_takes_the_likeliest() -> None:
    """Temperature 0 needs no luck."""
    assert sampler(0.0).draw(torch.tensor([0.1, 3.0, 2.0])) == 1


def test_entropies_agree_with_the_plain_ones() -> None:
    """Both definitions equal those computed from log-probabilities in Python."""
    logits = torch.randn(500) * 3
    log_probabilities = torch.log_softmax(logits.double(), -1).tolist()
    assert entropy(logits) == pytest.approx(plain_entropy(log_probabilities), abs=1e-4)
    top = [log_probability for _, log_probability in likeliest(logits, 20)]
    assert top_entropy(top) == pytest.approx(top_entropy(sorted(log_probabilities)[-20:]), abs=1e-4)


def test_entropy_of_a_certain_token_is_zero() -> None:
    """Forbidden tokens do not make it a NaN."""
    logits = torch.full((50,), float("-inf"))
    logits[3] = 0.0
    assert entropy(logits) == 0.0


def test_top_two() -> None:
    """The likeliest token, its probability and its lead."""
    token_id, probability, margin = top_two(torch.tensor([0.7, 0.2, 0.1]).log())
    assert token_id == 0
    assert (probability, margin) == (pytest.approx(0.7), pytest.approx(0.5))


def test_what_a_request_leaves_open_is_the_models() -> None:
    """Unset fields come from the generation config, which counts only where it samples."""
    sampling = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.95, top_k=20)
    greedy = GenerationConfig(do_sample=False)
    assert DrawingRule.of(SamplingParams(), sampling) == DrawingRule(0.6, 0.95, 20)
    assert DrawingRule.of(SamplingParams(temperature=0.1), sampling) == DrawingRule(0.1, 0.95, 20)
    assert DrawingRule.of(SamplingParams(), greedy) == DrawingRule(0.0, 1.0, 0)
    assert DrawingRule.of(SamplingParams(temperature=0.7), greedy) == DrawingRule(0.7, 1.0, 0)
