"""Prefix reuse: what a request finds in the cache changes its speed and nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, Completion, Delta, GlimpRouter, RandomRate, RouterConfig
from glimp_core.local.pool import SessionPool
from glimp_core.local.session import KVSession

CONFIG = RouterConfig(max_step_tokens=11, max_reasoning_tokens=30, max_answer_tokens=12)
SYSTEM = {"role": "system", "content": "You answer every question about the sea, at length and with patience."}
MODEL = tiny.model()


@torch.inference_mode()
def held(pool: SessionPool, token_ids: list[int]) -> KVSession:
    session = pool.take(token_ids)
    for forward in session.sync(token_ids):
        forward.run()
    return session


def pool(most: int = 1000) -> SessionPool:
    return SessionPool(lambda: KVSession(MODEL), most)


def test_a_waiting_session_goes_on_where_most_of_it_is_wanted() -> None:
    """The next turn of a conversation gets the session of the last."""
    sessions = pool()
    first = held(sessions, [*range(10, 60)])
    sessions.give_back(first)
    sessions.settle()
    assert sessions.take([*range(10, 60), 7]) is first


@pytest.mark.parametrize("given_back", [True, False])
@torch.inference_mode()
def test_a_shared_prefix_is_copied_and_the_other_keeps_what_it_has(given_back: bool) -> None:
    """Of a session in use, or mostly about something else, the common start is copied; both go on by themselves."""
    sessions = pool()
    first = held(sessions, [*range(10, 110)])
    if given_back:
        sessions.give_back(first)
        sessions.settle()
    other = sessions.take([*range(10, 40), 5, 6])
    assert other is not first
    assert other.token_ids == [*range(10, 40)]
    cold = KVSession(MODEL)
    for session in (other, cold):
        for forward in session.sync([*range(10, 40), 5, 6]):
            forward.run()
    assert other.logits is not None
    assert cold.logits is not None
    torch.testing.assert_close(other.logits, cold.logits, atol=1e-3, rtol=1e-3)
    assert first.token_ids == [*range(10, 110)]
    assert [layer.get_seq_length() for layer in first.cache.layers] == [100, 100]


def test_nothing_in_common_starts_cold() -> None:
    """A few shared tokens are not worth a copy."""
    sessions = pool()
    held(sessions, [*range(10, 60)])
    assert sessions.take([10, 11, 12, 200, 201]).token_ids == []


def test_memory_is_bounded() -> None:
    """The sessions that waited longest are dropped when they take too much room: 256 tokens each at least."""
    sessions = pool(most=600)
    made = [held(sessions, [start, *range(10, 60)]) for start in (3, 4, 5)]
    for session in made:
        sessions.give_back(session)
        sessions.settle()
    assert sessions.take([3, *range(10, 60)]) is not made[0]
    assert sessions.take([5, *range(10, 60)]) is made[2]


def written(router: GlimpRouter, question: str) -> tuple[list[int], Completion]:
    events: list[Any] = list(router.stream([SYSTEM, {"role": "user", "content": question}]))
    return [i for e in events if isinstance(e, Delta) for i in e.token_ids], Completion.fold(events)


def test_requests_that_share_a_system_prompt_write_what_they_write_cold() -> None:
    """One after the other or at once, warm replies equal cold ones, and say what they found in the cache."""
    cold = [written(tiny.router(RandomRate(0.5), CONFIG), f"{n} fish?")[0] for n in range(4)]
    router = tiny.router(RandomRate(0.5), CONFIG)
    warm = [written(router, f"{n} fish?") for n in range(4)]
    assert [ids for ids, _ in warm] == cold
    assert all(done.usage.cached_tokens > len(SYSTEM["content"]) // 2 for _, done in warm[1:])
    start = threading.Barrier(4)

    def at_once(n: int) -> list[int]:
        start.wait()
        return written(router, f"{n} fish?")[0]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(at_once, range(4))) == cold


def test_a_recurrent_model_is_never_copied() -> None:
    """Its state cannot be cut at the end of a prefix, so it starts cold and stays right."""
    engine = tiny.engine("lfm2", seed=1)
    router = GlimpRouter(engine, engine, AlwaysLarge(), CONFIG)
    cold = [
        written(GlimpRouter(fresh, fresh, AlwaysLarge(), CONFIG), f"{n} fish?")[0]
        for n in range(3)
        for fresh in [tiny.engine("lfm2", seed=1)]
    ]
    assert [written(router, f"{n} fish?")[0] for n in range(3)] == cold
