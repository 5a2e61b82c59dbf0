"""Messages and options of every kind: each gets a reply or an error of Glimp's own in one line, never another one."""

import random
import threading
from collections import Counter
from typing import Any

import pytest

import tiny
from glimp_core import GlimpError, GlimpRouter, RandomRate, RouterConfig
from storms.odd_requests import odd_request

PATIENCE = 120.0
"""Seconds after which a request is taken to hang, whatever else this machine does."""

LONGEST = 1500
CONFIG = RouterConfig(max_reasoning_tokens=8, max_answer_tokens=24, max_step_tokens=4)


@pytest.fixture(scope="module")
def router() -> GlimpRouter:
    return tiny.router(RandomRate(0.5, seed=1), CONFIG)


def outcome(router: GlimpRouter, seed: int) -> str:
    """Make the odd request of a seed; returns what became of it."""
    try:
        messages, options = odd_request(random.Random(seed))
        router.generate(messages, **options)
    except GlimpError as error:
        said = str(error)
        assert "\n" not in said, (seed, said)
        assert 0 < len(said) < LONGEST, (seed, said)
        return type(error).__name__
    return "answered"


def outcomes(router: GlimpRouter, seeds: range) -> Counter[str]:
    """Make the requests of these seeds, each within its time."""
    counts, now, raised = Counter[str](), "", list[BaseException]()

    def ask() -> None:
        nonlocal now
        try:
            for seed in seeds:
                now = f"seed {seed}"
                counts[outcome(router, seed)] += 1
        except BaseException as error:
            error.add_note(now)
            raised.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    before: Any = None
    while asking.is_alive():
        assert now != before, f"{now} hangs"
        before = now
        asking.join(PATIENCE)
    if raised:
        raise raised[0]
    return counts


def test_some_odd_requests(router: GlimpRouter) -> None:
    """Law, for 80: whatever is asked, there is a reply, or one line that says what is wrong; the pair goes on."""
    expected = router.generate("And this?").reasoning
    counts = outcomes(router, range(80))
    assert min(counts["answered"], counts["ConfigError"]) > 5, counts
    assert router.generate("And this?").reasoning == expected


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_2000_odd_requests(router: GlimpRouter, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for 2,000."""
    counts = outcomes(router, range(2000))
    with capsys.disabled():
        print(f"\n2000 odd requests: {dict(counts)}")
