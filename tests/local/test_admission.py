"""How many requests a model takes in at once."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest

import tiny
from glimp_core import GlimpRouter, RandomRate, RouterConfig
from glimp_core.context import Context
from glimp_core.errors import Cancelled, ConfigError
from glimp_core.local import LocalEngine
from glimp_core.local.admission import ASLEEP, Admission, Visit
from glimp_core.local.scheduler import Task
from glimp_core.source import ModelSource
from glimp_core.types import Request, Step
from hooks import local_engines

CONFIG = RouterConfig(max_reasoning_tokens=24, max_answer_tokens=8, max_step_tokens=6)


def context() -> Context:
    return Context(Request(({"role": "user", "content": "?"},)))


def task(ended: bool = False) -> Task:
    made = Task(lambda task: iter(()), lambda: False)  # type: ignore[arg-type, return-value]
    if ended:
        made.ended_at = -math.inf
    return made


def narrow(seed: int) -> LocalEngine:
    """An engine that serves two requests at once, and has its cache remember little."""
    source = ModelSource.of((tiny.model(seed=seed), tiny.tokenizer()), max_batch=2, max_cached_tokens=200)
    return LocalEngine(source)


def test_those_outside_come_in_by_turns() -> None:
    """Law: never more than `most` inside, and the one who has waited longest is next."""
    admission, entered = Admission(1), []

    def visit(name: int) -> None:
        with context() as visitor:
            admission.enter(visitor, task())
            admission.enter(visitor, task())  # who is inside stays inside
            entered.append(name)
            assert admission.inside == 1

    with context() as first:
        admission.enter(first, task())
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
    admission = Admission(1)
    with context() as first, context() as second:
        admission.enter(first, task())
        second.cancelled.set()
        with pytest.raises(Cancelled):
            admission.enter(second, task())
    with context() as third:
        admission.enter(third, task())


def test_who_is_not_worked_for_gives_all_its_places_up() -> None:
    """Law: a sleeping request holds no place and no session if another one waits, and comes in again by its turn."""
    one, other = Admission(1), Admission(1)
    with context() as sleeper, context() as second, context() as third:
        for admission in (one, other):
            admission.enter(sleeper, task(ended=True))
        Visit.of(sleeper).leases.append(lambda: given_back.append(True))
        given_back: list[bool] = []
        one.enter(second, task())
        assert given_back == [True]
        assert [admission.inside for admission in (one, other)] == [1, 0]
        sleeper.cancelled.set()
        with pytest.raises(Cancelled):  # who has given its places up waits like anybody else
            one.enter(sleeper, task())
        third.cancelled.set()
        with pytest.raises(Cancelled):  # who works keeps its place
            one.enter(third, task())


def test_two_that_hold_what_the_other_wants_both_go_on() -> None:
    """Law: who is inside at one model is let in at the other, whatever the order in which two requests need them."""
    one, other = Admission(1), Admission(1)
    with context() as first, context() as second:
        one.enter(first, task())
        other.enter(second, task())
        other.enter(first, task())
        one.enter(second, task())


def test_many_requests_through_a_narrow_door() -> None:
    """Law: each says what it says alone, and the caches that are held stay bounded."""
    router = GlimpRouter(narrow(3), narrow(2), RandomRate(0.5, seed=1), CONFIG)
    questions = [f"What is {n}?" for n in range(12)]
    alone = [router.generate(question).reasoning for question in questions]
    most = 0

    def ask(question: str) -> str:
        nonlocal most
        said = router.generate(question).reasoning
        most = max(most, len(local_engines(router)[1].pool.leased))
        return said

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(ask, questions)) == alone
    assert most <= 2
    for engine in local_engines(router):
        assert engine.pool.leased == ()
        assert sum(session.capacity for session in engine.pool.free) <= 512


def held_open(router: GlimpRouter, count: int) -> list[Any]:
    streams = [router.stream(f"Hold {n}") for n in range(count)]
    for stream in streams:
        for _ in zip(range(4), stream, strict=False):
            pass
    return streams


def test_streams_that_are_held_open_keep_nobody_out_of_a_busy_device() -> None:
    """Law: with every place taken by streams that nobody reads, and another model at work on the same device all the
    time, requests are answered; the streams are read to their ends afterwards and say what they say alone."""
    router, busy = GlimpRouter(narrow(3), narrow(2), RandomRate(0.5, seed=1), CONFIG), tiny.router(None, CONFIG)
    alone = [router.generate(f"Hold {n}").reasoning for n in range(2)]
    expected = router.generate("And this?").reasoning
    held, over = held_open(router, 2), threading.Event()

    def work() -> None:
        while not over.is_set():
            busy.generate("What else?")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(6):
            assert router.generate("And this?").reasoning == expected
            # the first request took the place of a held stream, so the others find a free place at once
            assert all(engine.admission.inside < 2 for engine in local_engines(router))
    finally:
        over.set()
        worker.join()
    rest = ["".join(e.text for e in stream if isinstance(e, Step) and e.phase == "thinking") for stream in held]
    assert all(text.endswith(written) for text, written in zip(alone, rest, strict=True))
    assert all(rest)


def test_held_streams_hold_no_memory_that_others_want() -> None:
    """Law: however many streams are held open, no more sessions are in use than requests may be inside."""
    router = GlimpRouter(narrow(3), narrow(2), RandomRate(0.5, seed=1), CONFIG)
    held = held_open(router, 2)
    sleep(ASLEEP)
    held += held_open(router, 2)
    for engine in local_engines(router):
        assert len(engine.pool.leased) <= 2
    for stream in held:
        stream.close()


@pytest.mark.parametrize("option", ["max_batch", "max_cached_tokens", "max_memory_bytes"])
@pytest.mark.parametrize("value", [0, -1, "many"])
def test_limits_that_cannot_work(option: str, value: object) -> None:
    """A limit below one is refused, by its name and value."""
    with pytest.raises(ConfigError, match=f"{option}={value!r} cannot work"):
        ModelSource.of("glimp-tiny-small", **{option: value})
