"""The conformance suite on a peer, LlamaIndex's own HuggingFaceLLM: what it finds there.

    pip install --no-deps llama-index-llms-huggingface
    pytest tests/adapters/llamaindex_peer.py

No part of the test run, as its failures are the peer's. The model is tiny, or writes what it is told to.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from llama_index.core.llms.llm import LLM

import tiny
from adapters.llamaindex_conformance import LLMConformance, Reply

peer = pytest.importorskip("llama_index.llms.huggingface")


def made(model: Any) -> LLM:
    """A HuggingFaceLLM as its own documentation makes one, greedy."""
    options = {"context_window": 2048, "max_new_tokens": 48, "generate_kwargs": {"do_sample": False}}
    tokenizer = tiny.tokenizer(tiny.PLAIN)
    llm: LLM = peer.HuggingFaceLLM(model=model, tokenizer=tokenizer, device_map="cpu", is_chat_model=True, **options)
    return llm


def hooked(hook: Callable[..., None]) -> LLM:
    """An LLM of which the model runs `hook` after every forward."""
    model = tiny.model()
    model.register_forward_hook(hook)
    return made(model)


def writing(replies: Iterator[str]) -> LLM:
    """An LLM of which the model writes these replies, one a call."""
    model, tokenizer = tiny.model(), tiny.tokenizer(tiny.PLAIN)

    def generate(input_ids: Any, streamer: Any = None, **_: Any) -> Any:
        token_ids = torch.tensor(tokenizer(next(replies), add_special_tokens=False).input_ids)
        if streamer is not None:
            for ids in (input_ids[0], *token_ids.split(1)):
                streamer.put(ids)
            streamer.end()
        return torch.cat([input_ids, token_ids[None]], dim=1)

    model.generate = generate
    return made(model)


class TestHuggingFaceLLM(LLMConformance):
    """Every check; those of tools can only find that there are none."""

    def llm(self) -> LLM:
        return made(tiny.model())

    def scripted(self, *replies: Reply | str, thinking: str = "") -> LLM:
        texts = [reply if isinstance(reply, str) else reply.text for reply in replies]
        said = [f"<think>\n{thinking}\n</think>\n\n{text}" if thinking else text for text in texts]
        return writing(itertools.chain(said, itertools.repeat(said[-1])))

    def slow(self) -> tuple[LLM, Callable[[], int]]:
        written = [0]

        def sleep(*_: Any) -> None:
            time.sleep(0.01)
            written[0] += 1

        return hooked(sleep), lambda: written[0]

    def failing(self) -> LLM:
        forwards = [0]

        def fail(*_: Any) -> None:
            forwards[0] += 1
            if forwards[0] % 15 == 0:
                raise RuntimeError("boom")

        return hooked(fail)

    def weights(self, llm: LLM) -> Any:
        return llm._model  # type: ignore[attr-defined]  # HuggingFaceLLM shows its weights nowhere else
