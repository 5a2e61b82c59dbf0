"""The bundled pair, calibrated for real: the rate that was asked for comes out on problems nobody has seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glimp_core import Completion, EntropyThreshold, GlimpRouter, Policy, Profile, TargetRate, bundled, load_profile
from glimp_core.bundled.problems import HELD_OUT, MAX_LEVEL, make_problem
from glimp_core.calibration import Goal, bundled_prompts, calibrate
from glimp_core.pair import Pair
from glimp_core.trace import TraceFile, load, replay

FRESH = HELD_OUT + 700_000


@pytest.fixture(scope="module")
def router() -> GlimpRouter:
    """The bundled pair."""
    import torch

    torch.set_num_threads(1)
    return Pair(bundled.SMALL, bundled.LARGE).router(EntropyThreshold(0.3))


@pytest.fixture(scope="module")
def profile(router: GlimpRouter) -> Profile:
    """The pair calibrated to a quarter of the steps."""
    return calibrate(router, bundled_prompts(27), Goal("rate", 0.25))


def replies(router: GlimpRouter, policy: Policy, n: int) -> Iterator[Completion]:
    for seed in range(n):
        yield router.generate(make_problem(FRESH + seed, seed % (MAX_LEVEL + 1)).question, policy=policy)


@pytest.mark.slow
def test_a_quarter_is_met_on_fresh_problems(router: GlimpRouter, profile: Profile, tmp_path: Path) -> None:
    """The profile, saved and loaded, holds the rate within 0.05 on problems that no calibration saw."""
    profile.save(tmp_path / "p.json")
    policy = load_profile(tmp_path / "p.json")
    fresh = [router.generate(make_problem(FRESH + seed).question, policy=policy) for seed in range(24)]
    routed = [event.decision.intervene for done in fresh for event in done.routed]
    assert len(routed) > 300
    assert abs(sum(routed) / len(routed) - 0.25) <= 0.05


@pytest.mark.parametrize("scope", ["request", pytest.param("router", marks=pytest.mark.slow)])
def test_target_rate_holds_over_300_steps(router: GlimpRouter, scope: Any) -> None:
    """TargetRate(0.25) intervenes at 0.20 to 0.30 of 300 steps of short requests, easy and hard, in both scopes."""
    policy, routed = TargetRate(0.25, scope=scope), []
    for done in replies(router, policy, 60):
        routed += [event.decision.intervene for event in done.routed]
        if len(routed) >= 300:
            break
    assert len(routed) >= 300
    assert 0.20 <= sum(routed[:300]) / 300 <= 0.30


def test_a_replay_is_what_a_real_run_does_until_it_parts(router: GlimpRouter, tmp_path: Path) -> None:
    """Replaying another threshold on a trace agrees with running it, up to and with the first changed decision."""
    traced = GlimpRouter(router.small, router.large, EntropyThreshold(0.3), taps=[TraceFile(tmp_path / "t.jsonl")])
    parted = 0
    for seed in range(4):
        question = make_problem(FRESH + seed).question
        traced.generate(question)
        told = replay(load(tmp_path / "t.jsonl")[-1].completion, EntropyThreshold(0.001))
        real = router.generate(question, policy=EntropyThreshold(0.001))
        last = len(told.decisions) if told.first_change is None else told.first_change + 1
        assert [d.intervene for d in told.decisions[:last]] == [r.decision.intervene for r in real.routed[:last]]
        parted += told.first_change is not None
    assert parted
