"""Batching: forwards that run together give what they give alone."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from glimp_core import AlwaysLarge, Delta, GlimpRouter, RandomRate, RouterConfig, SamplingParams
from glimp_core.local.packing import Packing, causal_mask, run_together
from glimp_core.local.session import Forward, KVSession
from hooks import after_forwards, before_forwards, models_of, packed_sessions

FAMILIES = ["llama", "qwen3", "mistral", "gemma3"]
MODELS: dict[str, Any] = {}
CONFIG = RouterConfig(max_step_tokens=11, max_reasoning_tokens=40, max_answer_tokens=12)


def model(family: str) -> Any:
    return MODELS.setdefault(family, tiny.model(family)) if family not in MODELS else MODELS[family]


@torch.inference_mode()
def session(family: str, token_ids: list[int]) -> KVSession:
    made = KVSession(model(family))
    for forward in made.sync(token_ids):
        forward.run()
    return made


@contextmanager
def packs(router: GlimpRouter) -> Iterator[list[int]]:
    """How many sessions each packed forward of a pair feeds."""
    sizes: list[int] = []

    def note(arguments: Any) -> None:
        if size := packed_sessions(arguments):
            sizes.append(size)

    with before_forwards(models_of(router), note):
        yield sizes


@contextmanager
def failing_packs(router: GlimpRouter, fails: Callable[[int], bool], error: Exception) -> Iterator[list[int]]:
    """Have packed forwards end in an error, by their number from 1 on, once the model has done all of its work."""
    tries: list[int] = []

    def fail(arguments: Any, output: Any) -> None:
        if packed_sessions(arguments):
            tries.append(1)
            if fails(len(tries)):
                raise error

    with after_forwards(models_of(router), fail):
        yield tries


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(1, 30), st.lists(st.integers(3, 250), min_size=1, max_size=9), st.integers(1, 3)),
        min_size=2,
        max_size=6,
    )
)
@torch.inference_mode()
def test_packed_equals_alone(family: str, rows: list[tuple[int, list[int], int]]) -> None:
    """Sessions of any length, fed any number of tokens side by side, end as if each had been fed alone."""
    prompts = [[3 + (7 * n + i) % 240 for i in range(length)] for n, (length, _, _) in enumerate(rows)]
    together, alone = ([session(family, prompt) for prompt in prompts] for _ in range(2))
    keeps = [min(keep, len(new)) for _, new, keep in rows]
    run_together([Forward(s, new, keep) for s, (_, new, _), keep in zip(together, rows, keeps, strict=True)])
    for packed_session, plain, (_, new, _), keep in zip(together, alone, rows, keeps, strict=True):
        plain.feed(new, keep)
        assert packed_session.token_ids == plain.token_ids
        assert packed_session.logits is not None
        assert plain.logits is not None
        torch.testing.assert_close(packed_session.logits, plain.logits, atol=2e-3, rtol=2e-3)
        plain.feed([5])
        packed_session.feed([5])
        torch.testing.assert_close(packed_session.logits, plain.logits, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("speculate", [False, True])
def test_requests_at_once_equal_requests_alone(speculate: bool) -> None:
    """Threads share forwards and get, token for token, what each gets by itself."""
    config = RouterConfig(speculate=speculate, max_step_tokens=11, max_reasoning_tokens=40, max_answer_tokens=12)
    router = tiny.router(RandomRate(0.5), config)
    cases = [(f"Question {n}, please?", SamplingParams(temperature=0.7 * (n % 2), seed=n)) for n in range(8)]

    def written(case: tuple[str, SamplingParams]) -> list[int]:
        events = router.stream(case[0], sampling=case[1])
        return [i for event in events if isinstance(event, Delta) for i in event.token_ids]

    with packs(router) as sizes:
        alone = [written(case) for case in cases]
        assert not sizes
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(written, cases)) == alone
    assert sum(sizes) > 50


@pytest.mark.parametrize("family", ["lfm2", "qwen3-next", "gemma3"])
def test_every_kind_of_cache_shares_forwards(family: str) -> None:
    """Law: recurrent states have a row each, and each request says what it says alone."""
    router = GlimpRouter(tiny.engine(family, seed=1), tiny.engine(family, seed=2), RandomRate(0.5), CONFIG)
    alone = [router.generate(f"Question {n}?").answer for n in range(3)]
    with packs(router) as sizes, ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda n: router.generate(f"Question {n}?").answer, range(3))) == alone
    assert sum(sizes) > 10


@pytest.mark.parametrize("family", ["llama", "lfm2"])
@pytest.mark.parametrize("after", [0, 5])
def test_a_broken_pack_is_run_one_by_one(family: str, after: int) -> None:
    """Law: when a pack fails, at first or later, each request says what it says alone; packing is tried again."""
    engines = tiny.engine(family, seed=7), tiny.engine(family, seed=8)
    router = GlimpRouter(*engines, AlwaysLarge(), CONFIG)
    expected = [router.generate(f"Question {n}?").answer for n in range(4)]
    for engine in engines:
        packing = Packing.of(engine.loaded[0])
        packing.pause = packing.short_pause = 3
        engine.forget()
    error = RuntimeError("one of these is bad")
    with (
        failing_packs(router, range(after + 1, after + 4).__contains__, error) as tries,
        ThreadPoolExecutor(4) as threads,
    ):
        assert list(threads.map(lambda n: router.generate(f"Question {n}?").answer, range(4))) == expected
    assert len(tries) > after + 8
    assert any("one of these is bad" in note for note in router.generate("And?").finish.notes)


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_a_pack_without_memory_costs_no_words(family: str) -> None:
    """Law: if memory is short in packed forwards, what a state has lost is read back before its next forward."""
    engines = tiny.engine(family, seed=7), tiny.engine(family, seed=8)
    router = GlimpRouter(*engines, AlwaysLarge(), CONFIG)
    expected = [router.generate(f"Question {n}?").answer for n in range(4)]
    for engine in engines:
        engine.forget()
    error = torch.OutOfMemoryError("CUDA out of memory")
    with failing_packs(router, {1, 4, 5}.__contains__, error) as tries, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda n: router.generate(f"Question {n}?").answer, range(4))) == expected
    assert len(tries) > 5


def states(session: KVSession) -> list[torch.Tensor]:
    layers: list[Any] = session.cache.layers
    held = [getattr(layer, name, {}) for layer in layers for name in ("conv_states", "recurrent_states")]
    return [state for kind in held for state in kind.values() if state is not None]


@pytest.mark.parametrize("family", ["lfm2", "qwen3-next"])
@torch.inference_mode()
def test_a_session_that_rests_keeps_no_memory_of_others(family: str) -> None:
    """Law: states that lay side by side take their own bytes and no more once their session waits."""
    sessions = [session(family, [7 + n, 8, 9]) for n in range(4)]
    run_together([Forward(one, [5]) for one in sessions])
    run_together([Forward(one, [6]) for one in sessions])

    def kept() -> list[bool]:
        return [state.untyped_storage().nbytes() > state.nbytes for one in sessions for state in states(one)]

    assert any(kept())
    for one in sessions:
        one.rest()
    assert not any(kept())
    run_together([Forward(one, [5]) for one in sessions[:2]])
    for one in sessions[:2]:
        fresh = session(family, one.token_ids)
        assert one.logits is not None
        torch.testing.assert_close(one.logits, fresh.logits, atol=2e-3, rtol=2e-3)


@given(st.integers(1, 6), st.integers(0, 12), st.none() | st.integers(1, 8))
def test_causal_mask(new: int, before: int, window: int | None) -> None:
    """A position sees itself and what came before, no farther than the window."""
    held = before + new
    mask = causal_mask(new, held, window, torch.device("cpu"))
    for row in range(new):
        for key in range(held):
            position = before + row
            seen = key <= position and (window is None or key > position - window)
            assert (mask is None and seen) or (mask is not None and bool(mask[0, 0, row, key]) == seen)
