"""The garbage collector may run anywhere, and finds streams that were dropped unread: nothing waits for it."""

import gc
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tiny
from glimp_core import GlimpRouter, RandomRate, RouterConfig
from glimp_core.local import admission, scheduler
from hooks import before_forwards, local_engines, models_of

CONFIG = RouterConfig(max_reasoning_tokens=16, max_answer_tokens=8, max_step_tokens=6)
PATIENCE = 120.0


def abandon(router: GlimpRouter, question: str, events: int = 3) -> None:
    """Begin to read a stream and drop it in a reference cycle, as the traceback of an exception does."""
    stream = router.stream(question)
    for _ in zip(range(events), stream, strict=False):
        pass
    box: list[Any] = [stream]
    box.append(box)


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    """Nothing is collected but when a test says so."""
    gc.collect()
    gc.freeze()  # what is there already need not be looked at each time
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()
    gc.collect()


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return what a call returns, in a thread that is given up after so long."""
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert box, "it hangs"
    return box[0]


class Collecting:
    """A lock, or anything else for a `with`, that has garbage collected right after it was taken."""

    def __init__(self, inner: Any, abandoned: Callable[[], None]):
        self._inner, self._abandoned = inner, abandoned

    def __enter__(self) -> None:
        self._inner.__enter__()
        self._abandoned()

    def __exit__(self, *error: Any) -> None:
        self._abandoned()
        self._inner.__exit__(*error)


@pytest.mark.usefixtures("collected_by_hand")
@pytest.mark.parametrize("where", ["pool", "admission", "scheduler", "schedulers"])
def test_a_collection_while_a_lock_is_held_hangs_nothing(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: in whatever lock of the engine the collector runs, a stream of the same models that it closes there gives
    all it held back, and requests go on."""
    router = tiny.router(RandomRate(0.5, seed=1), CONFIG)
    expected = router.generate("And this?").reasoning
    engine: Any = router.large
    closed = 0

    def collect() -> None:
        nonlocal closed
        closed += gc.collect() > 0

    def put_in(holder: Any, name: str) -> None:  # a lock is nobody's to give: it is replaced, and by its private name
        monkeypatch.setattr(holder, name, Collecting(getattr(holder, name), collect))

    for _ in range(3):
        abandon(router, "Never mind")
    match where:
        case "pool":
            put_in(engine.pool, "_lock")
        case "admission":
            put_in(admission, "_lock")
        case "scheduler":
            put_in(engine.scheduler, "_lock")
        case "schedulers":
            put_in(scheduler, "_lock")
            scheduler.Scheduler.of(engine.device)
    assert within(PATIENCE, lambda: router.generate("And this?").reasoning) == expected
    assert closed
    assert not engine.admission.inside
    assert not engine.pool.leased


@pytest.mark.usefixtures("collected_by_hand")
def test_collections_at_every_allocation_hang_nothing() -> None:
    """Law: with a collection at every allocation of a container, and abandoned streams always about, requests of
    several threads end as they do alone, and nothing stays in use."""
    router = tiny.router(RandomRate(0.5, seed=1), CONFIG)
    questions = [f"How much is {n} and {n}?" for n in range(4)]
    alone = [router.generate(question).reasoning for question in questions]

    def ask(n: int) -> bool:
        draws = random.Random(n)
        abandon(router, f"Never mind {n}", draws.randrange(1, 12))
        return router.generate(questions[n % 4]).reasoning == alone[n % 4]

    gc.set_threshold(1, 1, 1000)  # the youngest at each container made, the middle ones at every other one
    gc.enable()
    try:
        with before_forwards(models_of(router), lambda _: gc.collect()), ThreadPoolExecutor(4) as threads:
            assert all(within(PATIENCE, lambda: list(threads.map(ask, range(8)))))
    finally:
        gc.set_threshold(700, 10, 10)
    gc.collect()
    for engine in local_engines(router):
        assert not engine.admission.inside
        assert not engine.pool.leased
