"""Speculation changes the speed and nothing else."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from glimp_core import AlwaysLarge, Completion, ConfigError, GlimpRouter, RandomRate, RouterConfig, SamplingParams
from glimp_core.local import SpeculativeEngine
from glimp_core.local.sampling import Law, Sampler
from glimp_core.local.verification import verify
from glimp_core.testing import ScriptedEngine

LIMITS: dict[str, Any] = {"max_step_tokens": 17, "max_reasoning_tokens": 80, "max_answer_tokens": 40}
OTHER = ["\n\n", "he", "on"]


def engines(kind: str) -> tuple[Any, Any]:
    """A target with a draft that always agrees, mostly agrees, hardly ever does, or has another vocabulary."""
    target = tiny.engine(seed=2, num_hidden_layers=3)
    if kind == "stranger":
        return tiny.engine(seed=5), target
    draft = tiny.engine(
        seed=2, tokens=tiny.tokenizer(merges=OTHER) if kind == "translator" else None, num_hidden_layers=3
    )
    if kind == "cousin":
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in draft._model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05 * parameter.std())
    return draft, target


def written(small: Any, large: Any, speculate: bool, policy: Any, **options: Any) -> tuple[list[int], Completion]:
    router = GlimpRouter(small, large, policy, RouterConfig(speculate=speculate, **LIMITS))
    contexts: list[Any] = []
    prepare = large.prepare
    large.prepare = lambda context: contexts.append(context) or prepare(context)
    events = list(router.stream("How many?", **options))
    large.prepare = prepare
    return [i for e in events for i in getattr(e, "token_ids", ())], Completion.fold(events)


@pytest.mark.parametrize("policy", [AlwaysLarge(), RandomRate(0.5)])
@pytest.mark.parametrize("kind", ["twin", "cousin", "stranger", "translator"])
def test_greedy_is_identical(kind: str, policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token for token what the large model writes by itself, whoever drafts and however often it is wrong."""
    monkeypatch.setattr("glimp_core.local.pacing.Pace.limit", lambda self, context: 8)
    small, large = engines(kind)
    plain, alone = written(small, large, False, policy)
    drafted, done = written(small, large, True, policy)
    assert drafted == plain
    assert alone.usage.large.drafted_tokens == 0
    assert done.usage.large.drafted_tokens > 0
    assert done.usage.completion_tokens == alone.usage.completion_tokens


def test_a_draft_that_agrees_saves_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the draft is right the large model needs a fraction of its forwards."""
    monkeypatch.setattr("glimp_core.local.pacing.Pace.limit", lambda self, context: 8)
    small, large = engines("twin")
    done = written(small, large, True, AlwaysLarge())[1]
    usage = done.usage.large
    assert usage.accepted_tokens > 0.8 * usage.drafted_tokens
    assert usage.forwards < 0.5 * done.usage.completion_tokens
    assert done.usage.small.decode_tokens > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.floats(0, 3))
def test_kept_tokens_start_with_the_accepted_ones(seed: int, spread: float, difference: float) -> None:
    """Verification keeps a prefix of the draft and adds exactly one token."""
    noise = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 12, generator=noise) * spread
    sampler = Sampler(Law(1.0, 1.0, 0), seed, 0, torch.device("cpu"))
    laws = [sampler.law_over(row + difference * torch.randn(12, generator=noise)) for row in logits[:4]]
    drafted = [sampler.draw_from(law) for law in laws]
    kept, accepted = verify(drafted, laws, logits, sampler)
    assert kept[:-1] == drafted[:accepted]
    assert len(kept) == accepted + 1


@pytest.mark.parametrize("law", [Law(1.0, 1.0, 0), Law(0.7, 0.8, 0), Law(1.3, 1.0, 4)])
def test_sampled_speculation_has_the_targets_law(law: Law) -> None:
    """Over many rounds the first token comes out by the target's law (chi-square at 0.1 %), not by the draft's."""
    noise = torch.Generator().manual_seed(1)
    target, draft = torch.randn(8, generator=noise), torch.randn(8, generator=noise)
    sampler = Sampler(law, 3, 0, torch.device("cpu"))
    wanted, proposed = sampler.law_over(target), sampler.law_over(draft)
    counts = torch.zeros(8)
    for _ in range(6000):
        kept, _ = verify([sampler.draw_from(proposed)], [proposed], torch.stack([target, target]), sampler)
        counts[kept[0]] += 1
    possible = wanted > 0
    assert counts[~possible].sum() == 0
    expected = 6000 * wanted[possible]
    assert float(((counts[possible] - expected) ** 2 / expected).sum()) < 24.3


def test_sampled_replies_follow_the_large_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the engine, the first answer token of many seeds has the law that it has without drafts."""
    monkeypatch.setattr("glimp_core.local.drafting.SURE", 0.0)
    small, large = engines("cousin")
    config = RouterConfig(reasoning="off", max_answer_tokens=3)
    firsts: dict[bool, list[int]] = {True: [], False: []}
    for speculate in (True, False):
        router = GlimpRouter(small, large, config=RouterConfig(**{**vars_of(config), "speculate": speculate}))
        for seed in range(150):
            events = router.stream("Say!", sampling=SamplingParams(temperature=1.5, seed=seed))
            ids = [i for e in events for i in getattr(e, "token_ids", ())]
            firsts[speculate].append(ids[1] if len(ids) > 1 else -1)
    kinds = sorted({*firsts[True], *firsts[False]}, key=lambda i: -firsts[True].count(i) - firsts[False].count(i))[:5]
    for kind in kinds:
        a, b = firsts[True].count(kind), firsts[False].count(kind)
        assert abs(a - b) <= 4 * max(1, (a + b)) ** 0.5


def vars_of(config: RouterConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in RouterConfig.__dataclass_fields__}


def test_seeds_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a seed, a drafted reply repeats itself whatever was measured about its pace."""
    small, large = engines("cousin")
    sampling = SamplingParams(temperature=1.0, seed=7)
    first = written(small, large, True, RandomRate(0.5), sampling=sampling)[0]
    assert written(small, large, True, RandomRate(0.5), sampling=sampling)[0] == first


def test_a_recurrent_model_is_served_without_drafts() -> None:
    """The summary says why."""
    large = tiny.engine("lfm2", seed=2)
    done = written(tiny.engine(seed=1), large, True, AlwaysLarge())[1]
    assert done.usage.large.drafted_tokens == 0
    assert any("cannot take rejected tokens back" in note for note in done.summary().notes)


def test_a_loss_is_noticed() -> None:
    """Drafts that are never right are given up after a while, and the summary says so."""
    small, large = engines("stranger")
    router = GlimpRouter(
        small, large, AlwaysLarge(), RouterConfig(speculate=True, max_answer_tokens=400, reasoning="off")
    )
    done = router.generate("How many?")
    assert any("not drafted for a while" in note for note in done.summary().notes)


def test_the_default_for_a_pair_that_does_not_think() -> None:
    """The small model drafts for the large one without being asked to."""
    plain = tiny.tokenizer(tiny.PLAIN)
    done = tiny.router(AlwaysLarge(), RouterConfig(max_answer_tokens=40), small=plain, large=plain).generate("Hi")
    assert done.usage.small.decode_tokens > 0
    assert [step.engine for step in done.steps] == ["large"]


def test_what_cannot_be_drafted_is_refused_by_name() -> None:
    """Asking for speculation from engines that cannot is an error, not a silence."""
    with pytest.raises(ConfigError, match="two different local models"):
        GlimpRouter(ScriptedEngine(), ScriptedEngine(), config=RouterConfig(speculate=True)).generate("Hi")
    assert isinstance(tiny.engine().drafted_by(tiny.engine(seed=1)), SpeculativeEngine)
