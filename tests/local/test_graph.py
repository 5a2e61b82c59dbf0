"""Decoding over fixed memory, as CUDA graphs do."""

import logging
from typing import Any

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, RandomRate, RouterConfig, SamplingParams
from glimp_core.local.graph import RECORDERS, WARM_UP, Recorder
from glimp_core.local.session import KVSession
from hooks import local_engines
from recorders import again, broken, wrong

FAMILIES = ("llama", "qwen3", "mistral", "gemma3")


@torch.inference_mode()
def greedy(model: Any, prompt: list[int], count: int) -> tuple[list[int], list[bool]]:
    """Decode some tokens; says of each whether a graph made it."""
    session, token_ids, recorded = KVSession(model), [], []
    for forward in session.sync(prompt):
        forward.run()
    for _ in range(count):
        assert session.logits is not None
        token_ids.append(int(session.logits[-1].argmax()))
        recorded.append(session.recorded)
        session.feed([token_ids[-1]])
    return token_ids, recorded


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_says_what_forwards_say(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the same tokens, over growing buffers and past a sliding window; most of them by a graph."""
    model, prompt = tiny.model(family), [*range(20, 220)]
    plain, _ = greedy(model, prompt, 120)
    monkeypatch.setitem(RECORDERS, "cpu", again)
    decoded, recorded = greedy(model, prompt, 120)
    assert decoded == plain
    grown = 256 - len(prompt)  # where the buffers grow, another graph has to be made
    assert recorded == [at >= WARM_UP and not grown <= at < grown + WARM_UP + 1 for at in range(120)]


def test_a_session_goes_on_after_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: what a graph has written can be cut, copied and read on like the rest."""
    monkeypatch.setitem(RECORDERS, "cpu", again)
    model = tiny.model("llama")
    with torch.inference_mode():
        session = KVSession(model)
        for forward in session.sync([*range(20, 40)]):
            forward.run()
        for token_id in range(40, 60):
            session.feed([token_id])
        assert session.recorded
        fork = session.fork(55 - 20)
        for wanted in ([*range(20, 50), 7, 8], [*range(20, 50), 7, 8, 9]):
            for forward in session.sync(wanted):
                forward.run()
        for forward in fork.sync([*range(20, 50), 7, 8, 9]):
            forward.run()
        fresh = KVSession(model)
        for forward in fresh.sync([*range(20, 50), 7, 8, 9]):
            forward.run()
    assert session.logits is not None
    for other in (fork, fresh):
        torch.testing.assert_close(session.logits, other.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("recorder", "why"), [(wrong, "% off"), (broken, "RuntimeError: operation not permitted")])
def test_a_graph_that_fails_is_not_used(
    recorder: Recorder, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Law: the same tokens by plain forwards, and the reason in the log, once."""
    model, prompt = tiny.model("llama"), [*range(20, 60)]
    plain, _ = greedy(model, prompt, 40)
    monkeypatch.setitem(RECORDERS, "cpu", recorder)
    with caplog.at_level(logging.WARNING, "glimp.local"):
        decoded, recorded = greedy(model, prompt, 40)
    assert decoded == plain
    assert not any(recorded)
    assert len(caplog.records) == 1
    assert "LlamaForCausalLM decodes without CUDA graphs" in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("speculate", [None, True])
@pytest.mark.parametrize("policy", [RandomRate(0.5, seed=1), AlwaysLarge()])
def test_a_pair_with_graphs_writes_what_it_writes_without(
    policy: Any, speculate: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: graphs change the speed and not the words, routed, drafted or alone."""
    config = RouterConfig(speculate=speculate, max_reasoning_tokens=160, max_answer_tokens=40, max_step_tokens=40)
    router = tiny.router(policy, config)
    router.sampling = SamplingParams(temperature=0, seed=1)  # with a seed drafts do not hang on measured times
    plain = router.generate("What is it?")
    monkeypatch.setitem(RECORDERS, "cpu", again)
    for engine in local_engines(router):
        engine.forget()
    done = router.generate("What is it?")
    assert done.reasoning + done.answer == plain.reasoning + plain.answer
    assert done.usage.large.forwards == plain.usage.large.forwards


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cuda_graph_says_what_forwards_say(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the same on a GPU, where graphs are recorded."""
    model, prompt = tiny.model(family).to("cuda"), [*range(20, 220)]  # type: ignore[arg-type]
    decoded, recorded = greedy(model, prompt, 120)
    assert any(recorded)
    monkeypatch.delitem(RECORDERS, "cuda")
    plain, _ = greedy(model, prompt, 120)
    assert decoded == plain
