"""How many requests a model takes in at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest

import tiny
from glimp_core import GlimpRouter, RandomRate, RouterConfig
from glimp_core.context import Context
from glimp_core.errors import Cancelled, ConfigError
from glimp_core.local import LocalEngine
from glimp_core.local.admission import ASLEEP, Admission
from glimp_core.source import ModelSource
from glimp_core.types import Request

CONFIG = RouterConfig(max_reasoning_tokens=24, max_answer_tokens=8, max_step_tokens=6)


def context() -> Context:
    return Context(Request(({"role": "user", "content": "?"},)))


def narrow(seed: int) -> LocalEngine:
    """An engine that serves two requests at once, and has its cache remember little."""
    source = ModelSource.of((tiny.model(seed=seed), tiny.tokenizer()), max_batch=2, max_cached_tokens=200)
    return LocalEngine(source)


def test_those_outside_come_in_by_turns() -> None:
    """Law: never more than `most` inside, and the one who has waited longest is next."""
    admission, entered = Admission(1, idle=lambda: False), []

    def visit(name: int) -> None:
        with context() as visitor:
            admission.enter(visitor)
            admission.enter(visitor)  # who is inside stays inside
            entered.append(name)
            assert admission.inside == 1

    with context() as first:
        admission.enter(first)
        threads = []
        for name in range(4):
            threads.append(threading.Thread(target=visit, args=(name,)))
            threads[-1].start()
            while admission.outside <= name:
                sleep(0.001)
        assert entered == []
    for thread in threads:
        thread.join(10)
    assert entered == [0, 1, 2, 3]
    assert admission.inside == 0


def test_who_is_cancelled_outside_leaves() -> None:
    """Law: waiting ends with the request, and nobody stands in its way afterwards."""
    admission = Admission(1, idle=lambda: False)
    with context() as first, context() as second:
        admission.enter(first)
        second.cancelled.set()
        with pytest.raises(Cancelled):
            admission.enter(second)
    with context() as third:
        admission.enter(third)


def test_streams_that_nobody_reads_keep_nobody_out() -> None:
    """Law: where nothing moves inside, those outside come in after a while."""
    admission, started = Admission(1, idle=lambda: True), monotonic()
    with context() as first, context() as second:
        admission.enter(first)
        admission.enter(second)
    assert monotonic() - started >= ASLEEP


def test_many_requests_through_a_narrow_door() -> None:
    """Law: each says what it says alone, and the caches that are held stay bounded."""
    router = GlimpRouter(narrow(3), narrow(2), RandomRate(0.5, seed=1), CONFIG)
    questions = [f"What is {n}?" for n in range(12)]
    alone = [router.generate(question).reasoning for question in questions]
    most = 0

    def ask(question: str) -> str:
        nonlocal most
        said = router.generate(question).reasoning
        most = max(most, len(router.large.pool.leased))  # type: ignore[attr-defined]
        return said

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(ask, questions)) == alone
    assert most <= 2
    for engine in (router.small, router.large):
        assert engine.pool.leased == ()  # type: ignore[attr-defined]
        assert sum(session.capacity for session in engine.pool.free) <= 512  # type: ignore[attr-defined]


def test_a_stream_that_is_held_open_lets_others_in() -> None:
    """Law: with every place taken by streams that nobody reads, a request is answered all the same."""
    router = GlimpRouter(narrow(3), narrow(2), RandomRate(0.5, seed=1), CONFIG)
    held = [router.stream(f"Hold {n}") for n in range(2)]
    for stream in held:
        for _ in zip(range(4), stream, strict=False):
            pass
    assert router.generate("And this?").steps
    for stream in held:
        stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ["max_batch", "max_cached_tokens"])
@pytest.mark.parametrize("value", [0, -1, "many"])
def test_limits_that_cannot_work(option: str, value: object) -> None:
    """A limit below one is refused, by its name and value."""
    with pytest.raises(ConfigError, match=f"{option}={value!r} cannot work"):
        ModelSource.of("glimp-tiny-small", **{option: value})
