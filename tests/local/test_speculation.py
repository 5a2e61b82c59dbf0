"""Speculation changes the speed and nothing else."""

from typing import Any

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, Completion, ConfigError, GlimpRouter, RandomRate, RouterConfig, SamplingParams
from glimp_core.local import SpeculativeEngine
from glimp_core.local.sampling import DrawingRule, Sampler
from glimp_core.local.verification import verify
from glimp_core.testing import ScriptedEngine

LIMITS: dict[str, Any] = {"max_step_tokens": 17, "max_reasoning_tokens": 80, "max_answer_tokens": 40}
OTHER = ["\n\n", "he", "on"]
SEEDED = SamplingParams(temperature=0, seed=1)
"""With a seed, how much is drafted does not hang on measured times."""


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
            for parameter in draft.loaded[0].parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05 * parameter.std())
    return draft, target


def written(small: Any, large: Any, speculate: bool, policy: Any, **options: Any) -> tuple[list[int], Completion]:
    router = GlimpRouter(small, large, policy, RouterConfig(speculate=speculate, **LIMITS))
    options.setdefault("sampling", SEEDED)
    contexts: list[Any] = []
    prepare = large.prepare
    large.prepare = lambda context: contexts.append(context) or prepare(context)
    events = list(router.stream("How many?", **options))
    large.prepare = prepare
    return [i for e in events for i in getattr(e, "token_ids", ())], Completion.fold(events)


@pytest.mark.parametrize("policy", [AlwaysLarge(), RandomRate(0.5)])
@pytest.mark.parametrize("kind", ["twin", "cousin", "stranger", "translator"])
def test_greedy_is_identical(kind: str, policy: Any) -> None:
    """Token for token what the large model writes by itself, whoever drafts and however often it is wrong."""
    small, large = engines(kind)
    plain, alone = written(small, large, False, policy)
    drafted, done = written(small, large, True, policy)
    assert drafted == plain
    assert alone.usage.large.drafted_tokens == 0
    assert done.usage.large.drafted_tokens > 0
    assert done.usage.completion_tokens == alone.usage.completion_tokens


def test_a_draft_that_agrees_saves_forwards() -> None:
    """When the draft is right the large model needs a fraction of its forwards."""
    small, large = engines("twin")
    done = written(small, large, True, AlwaysLarge())[1]
    usage = done.usage.large
    assert usage.accepted_tokens > 0.8 * usage.drafted_tokens
    assert usage.forwards < 0.5 * done.usage.completion_tokens
    assert done.usage.small.decode_tokens > 0


@pytest.mark.parametrize("looked_up", [False, True])
@pytest.mark.parametrize("law", [DrawingRule(1.0, 1.0, 0), DrawingRule(0.7, 0.8, 0), DrawingRule(1.3, 1.0, 4)])
def test_sampled_speculation_is_distributed_as_the_target(law: DrawingRule, looked_up: bool) -> None:
    """Over many rounds a token comes out as the target draws it (chi-square at 0.1 %), whoever drafted it."""
    noise = torch.Generator().manual_seed(1)
    target, draft = torch.randn(8, generator=noise), torch.randn(8, generator=noise)
    target[2] = float("-inf")  # what a grammar forbids
    sampler = Sampler(law, 3, 0, torch.device("cpu"))
    wanted, proposed = sampler.full_distribution(target), sampler.full_distribution(draft)
    counts = torch.zeros(8)
    for number in range(6000):
        drafted = number % 3 if looked_up else sampler.draw_from(proposed)
        counts[verify(target, drafted, None if looked_up else proposed, sampler)] += 1
    possible = wanted > 0
    assert counts[~possible].sum() == 0
    expected = 6000 * wanted[possible]
    assert float(((counts[possible] - expected) ** 2 / expected).sum()) < 24.3


def test_sampled_replies_follow_the_large_model() -> None:
    """Through the engine, the first answer tokens of many seeds are distributed as they are without drafts."""
    small, large = engines("cousin")
    config = RouterConfig(reasoning="off", max_answer_tokens=3)
    firsts: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for speculate in (True, False):
        router = GlimpRouter(small, large, config=RouterConfig(**{**vars_of(config), "speculate": speculate}))
        for seed in range(150):
            events = router.stream("Say!", sampling=SamplingParams(temperature=1.5, seed=seed))
            ids = [i for e in events for i in getattr(e, "token_ids", ())]
            firsts[speculate] += enumerate(ids[:2])
    kinds = sorted({*firsts[True], *firsts[False]}, key=lambda i: -firsts[True].count(i) - firsts[False].count(i))[:9]
    for kind in kinds:
        a, b = firsts[True].count(kind), firsts[False].count(kind)
        assert abs(a - b) <= 4 * max(1, (a + b)) ** 0.5


def vars_of(config: RouterConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in RouterConfig.__dataclass_fields__}


def test_seeds_hold() -> None:
    """With a seed, a drafted reply repeats itself whatever was measured about its pace."""
    small, large = engines("cousin")
    sampling = SamplingParams(temperature=1.0, seed=7)
    first = written(small, large, True, RandomRate(0.5), sampling=sampling)[0]
    assert written(small, large, True, RandomRate(0.5), sampling=sampling)[0] == first


@pytest.mark.parametrize("family", ["lfm2", "qwen3-next"])
@pytest.mark.parametrize("policy", [AlwaysLarge(), pytest.param(RandomRate(0.5), marks=pytest.mark.slow)])
def test_recurrent_models_are_drafted_for(family: str, policy: Any) -> None:
    """Law: a state that cannot be cut is gone back to, and the words are those without drafts, in fewer forwards."""
    small, large = tiny.engine(family, seed=2), tiny.engine(family, seed=2)
    plain, alone = written(small, large, False, policy)
    drafted, done = written(small, large, True, policy)
    assert drafted == plain
    assert done.usage.large.accepted_tokens > 0
    assert done.usage.large.forwards < 0.7 * alone.usage.large.forwards


def test_a_loss_is_noticed() -> None:
    """Drafts that are never right are given up after a while, and the summary says so."""
    small, large = engines("stranger")
    router = GlimpRouter(
        small, large, AlwaysLarge(), RouterConfig(speculate=True, max_answer_tokens=400, reasoning="off")
    )
    done = router.generate("How many?")
    assert any("not drafted for a while" in note for note in done.summary().notes)


def test_a_reply_too_short_for_drafts_says_so() -> None:
    """What is not drafted is not passed over in silence, be it only because it is short."""
    small, large = engines("stranger")
    config = RouterConfig(speculate=True, max_answer_tokens=2, reasoning="off")
    done = GlimpRouter(small, large, AlwaysLarge(), config).generate("How many?")
    assert any("too short to pay for drafts" in note for note in done.summary().notes)


def test_the_default_for_a_pair_that_does_not_think() -> None:
    """The small model drafts for the large one without being asked to."""
    plain = tiny.tokenizer(tiny.PLAIN)
    done = tiny.router(AlwaysLarge(), RouterConfig(max_answer_tokens=40), small=plain, large=plain).generate(
        "Hi", sampling=SEEDED
    )
    assert done.usage.small.decode_tokens > 0
    assert [step.engine for step in done.steps] == ["large"]


def test_what_cannot_be_drafted_is_refused_by_name() -> None:
    """Asking for speculation from engines that cannot is an error, not a silence."""
    with pytest.raises(ConfigError, match="two different local models"):
        GlimpRouter(ScriptedEngine(), ScriptedEngine(), config=RouterConfig(speculate=True)).generate("Hi")
    assert isinstance(tiny.engine().drafted_by(tiny.engine(seed=1)), SpeculativeEngine)
