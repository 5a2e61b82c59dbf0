"""Several sessions decode over fixed memory as one, as CUDA graphs do."""

import logging
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from glimp_core import AlwaysLarge, RandomRate, RouterConfig
from glimp_core.local.batch_graph import RECENT, forget_batch, has_batch
from glimp_core.local.graph import RECORDERS, WARM_UP, DecodeGraph, Recorder
from glimp_core.local.packing import run_together
from glimp_core.local.session import Forward, KVSession
from hooks import models_of
from recorders import again, broken, wrong

FAMILIES = ("llama", "qwen3", "mistral", "gemma3")
MODELS = {family: tiny.model(family) for family in FAMILIES}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    for model in MODELS.values():
        forget_batch(model)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of every graph of several sessions that decoded: how many it has, and how many of them it fed."""
    seen: list[tuple[int, int]] = []
    decode = DecodeGraph.decode

    def noted(self: DecodeGraph, token_ids: Sequence[int | None]) -> torch.Tensor:
        if len(token_ids) > 1:
            seen.append((len(token_ids), sum(token_id is not None for token_id in token_ids)))
        return decode(self, token_ids)

    monkeypatch.setattr(DecodeGraph, "decode", noted)  # a graph is made deep inside, and nobody hands it out
    return seen


def opened(family: str, lengths: Sequence[int], model: Any = None) -> list[KVSession]:
    made = [KVSession(model or MODELS[family]) for _ in lengths]
    for session, length in zip(made, lengths, strict=True):
        for forward in session.sync([3 + (7 * length + n) % 240 for n in range(length)]):
            forward.run()
    return made


def turn(sessions: Sequence[KVSession], token_ids: Sequence[int]) -> None:
    run_together([Forward(session, [token_id]) for session, token_id in zip(sessions, token_ids, strict=True)])


def same(some: Sequence[KVSession], others: Sequence[KVSession]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logits is not None
        assert other.logits is not None
        torch.testing.assert_close(one.logits, other.logits, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=4, deadline=None)
@given(lengths=st.lists(st.integers(1, 250), min_size=3, max_size=5), seed=st.integers(0, 2**16))
@torch.inference_mode()
def test_sessions_that_come_and_go_say_what_they_say_alone(family: str, lengths: list[int], seed: int) -> None:
    """Law: whoever decodes in a turn, past grown buffers and a sliding window, cut now and then, as by forwards."""
    draw = random.Random(seed)
    together, alone = opened(family, lengths), opened(family, lengths)
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(4 * WARM_UP):
            rows = sorted(draw.sample(range(len(lengths)), draw.randint(2, len(lengths))))
            token_ids = [draw.randint(3, 250) for _ in rows]
            patch.setitem(RECORDERS, "cpu", again)
            turn([together[row] for row in rows], token_ids)
            patch.delitem(RECORDERS, "cpu")
            for row, token_id in zip(rows, token_ids, strict=True):
                alone[row].feed([token_id])
            same([together[row] for row in rows], [alone[row] for row in rows])
            if draw.random() < 0.1:
                together[rows[0]].trim(len(together[rows[0]].token_ids) - 1)
                alone[rows[0]].trim(len(alone[rows[0]].token_ids) - 1)


@torch.inference_mode()
def test_a_graph_serves_those_who_are_there(sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made after some turns, serves fewer than all, and is made anew for who came since and where most left."""
    monkeypatch.setitem(RECORDERS, "cpu", again)
    sessions = opened("llama", [20, 30, 40, 50, 60])
    for who, count in ((sessions[:4], WARM_UP + 2), (sessions[1:4], 2), (sessions[1:], WARM_UP + 1), (sessions[:2], 1)):
        for _ in range(count):
            turn(who, [7] * len(who))
    assert sizes == [(4, 4)] * 3 + [(4, 3)] * (2 + WARM_UP) + [(5, 4)] * 2 + [(5, 2)]
    sizes.clear()
    for _ in range(RECENT + WARM_UP):
        turn(sessions[:2], [7, 8])
    assert sizes == [(5, 2)] * (RECENT + WARM_UP - 2) + [(2, 2)] * 3


@pytest.mark.parametrize(("recorder", "why"), [(wrong, "% off"), (broken, "RuntimeError: operation not permitted")])
@torch.inference_mode()
def test_a_graph_that_fails_is_not_used(
    recorder: Recorder, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Law: the same logits by plain forwards, and the reason in the log, once."""
    model = tiny.model("llama")  # one of its own: it is not tried again once it was refused
    together, alone = opened("llama", [20, 30, 40], model), opened("llama", [20, 30, 40], model)
    monkeypatch.setitem(RECORDERS, "cpu", recorder)
    with caplog.at_level(logging.WARNING, "glimp.local"):
        for n in range(3 * WARM_UP):
            turn(together, [n, n + 1, n + 2])
    monkeypatch.delitem(RECORDERS, "cpu")
    for n in range(3 * WARM_UP):
        for session, token_id in zip(alone, [n, n + 1, n + 2], strict=True):
            session.feed([token_id])
    same(together, alone)
    assert len(caplog.records) == 1
    assert why in caplog.text


@pytest.mark.parametrize("policy", [RandomRate(0.5, seed=1), AlwaysLarge()])
def test_requests_at_once_write_what_they_write_alone(
    policy: Any, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: a graph for all changes the speed and not the words; nothing of it is left when the last request is done."""
    config = RouterConfig(speculate=False, max_reasoning_tokens=80, max_answer_tokens=40, max_step_tokens=40)
    router = tiny.router(policy, config)
    questions = [f"What is {number}?" for number in range(5)]
    plain = [router.generate(question) for question in questions]
    monkeypatch.setitem(RECORDERS, "cpu", again)
    with ThreadPoolExecutor(5) as threads:
        done = list(threads.map(router.generate, questions))
    assert [d.reasoning + d.answer for d in done] == [p.reasoning + p.answer for p in plain]
    assert sizes
    for _ in range(200):  # the scheduler takes sessions back between its turns
        if not any(map(has_batch, models_of(router))):
            break
        sleep(0.05)
    assert not any(map(has_batch, models_of(router)))


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_cuda_graphs_say_what_forwards_say(family: str, sizes: list[tuple[int, int]]) -> None:
    """Law: the same on a GPU, where graphs are recorded."""
    MODELS[family].to("cuda")  # type: ignore[arg-type]
    together, alone = opened(family, [20, 90, 200]), opened(family, [20, 90, 200])
    for n in range(80):
        turn(together, [n, n + 1, n + 2])
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(RECORDERS, "cuda")
        for n in range(80):
            for session, token_id in zip(alone, [n, n + 1, n + 2], strict=True):
                session.feed([token_id])
    same(together, alone)
    assert (3, 3) in sizes
