"""What finished requests leave behind is bounded, and is what the pool counts."""

import gc
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, EngineError, GlimpRouter, ModelLoadError, RandomRate, RouterConfig
from glimp_core.local import LocalEngine
from glimp_core.local.loading import weight_bytes
from glimp_core.source import ModelSource

MOST = 3000
CONFIG = RouterConfig(max_step_tokens=5, max_reasoning_tokens=10, max_answer_tokens=5)


def tensor_bytes() -> int:
    """The memory of all tensors in this process, each storage counted once."""
    gc.collect()
    tensors: list[Any] = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def engine(family: str, seed: int) -> LocalEngine:
    return LocalEngine(ModelSource.of((tiny.model(family, seed), tiny.tokenizer()), max_cached_tokens=MOST))


def bounded(family: str, seed: int, room: int) -> LocalEngine:
    model = tiny.model(family, seed)
    most = weight_bytes(model) + room
    return LocalEngine(ModelSource.of((model, tiny.tokenizer()), max_memory_bytes=most))


def settled(engines: list[LocalEngine]) -> None:
    deadline = monotonic() + 30
    while not all(one.pool.at_rest for one in engines):
        assert monotonic() < deadline
        sleep(0.01)


@pytest.mark.parametrize("requests", [16, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("family", ["gemma3", "qwen3-next"])
def test_requests_leave_no_more_than_the_bound(family: str, requests: int) -> None:
    """Law: after many requests, eight at a time and some given up, the waiting sessions take at most what was allowed,
    and no tensor is left that the pool does not count."""
    engines = [engine(family, seed) for seed in (3, 2)]
    router = GlimpRouter(*engines, RandomRate(0.5, seed=1), CONFIG)
    router.generate("Hello?")
    for one in engines:
        one.forget()
    before = tensor_bytes()

    def ask(number: int) -> None:
        system: Any = {"role": "system", "content": f"You are number {number % 7}. " + "Be brief. " * (number % 13)}
        stream = router.stream([system, {"role": "user", "content": f"What is {number}?"}])
        for at, _ in enumerate(stream):
            if number % 5 == 4 and at == number % 11:
                break
        stream.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(requests)))
    settled(engines)
    waiting = [session for one in engines for session in one.pool.free]
    counted = sum(session.bytes for session in waiting)
    held = tensor_bytes() - before
    print(f"\n{family}: {requests} requests leave {held:,} bytes, of which {counted:,} in {len(waiting)} sessions")
    for one in engines:
        assert 0 < sum(session.capacity for session in one.pool.free) <= MOST
    assert held <= counted


@pytest.mark.parametrize("requests", [8, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize(
    "family", ["qwen3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma3", "qwen3-next"))]
)
def test_weights_and_caches_never_take_more_than_was_asked(family: str, requests: int) -> None:
    """Law: after each token of each request, all sessions, in use or waiting, take at most what the weights leave."""
    alone = engine(family, 2)
    GlimpRouter(alone, alone, AlwaysLarge(), CONFIG).generate("Hello?")
    settled([alone])
    room = int(2.5 * alone.pool.free[0].bytes_after(256))  # two requests run at a time
    engines = [bounded(family, seed, room) for seed in (3, 2)]
    router = GlimpRouter(*engines, RandomRate(0.5, seed=1), CONFIG)
    held: list[int] = []

    def ask(number: int) -> None:
        for _ in router.stream(f"{number}. What is {number}?"):
            held.extend(sum(one.bytes for one in (*each.pool.free, *each.pool.leased)) for each in engines)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(requests)))
    settled(engines)
    assert 0 < max(held) <= room
    assert all(len(one.pool.free) < requests for one in engines)


def test_weights_that_take_all_of_the_memory_are_refused() -> None:
    """Before anything runs, with both figures; and a request that cannot fit is refused with what it would take."""
    with pytest.raises(ModelLoadError, match=r"take [\d,]+ bytes, and max_memory_bytes="):
        bounded("qwen3", 2, 0).load()
    with pytest.raises(ModelLoadError, match="max_memory_bytes=1,000"):
        LocalEngine.from_pretrained("glimp-tiny-small", max_memory_bytes=1000).load()
    small = bounded("qwen3", 2, 1000)
    with pytest.raises(EngineError, match="max_memory_bytes leaves 1,000 bytes for caches"):
        GlimpRouter(small, small, AlwaysLarge(), CONFIG).generate("Hello?")
