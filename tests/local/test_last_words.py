"""A model that would rather say nothing: its answer has a word all the same."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, AlwaysSmall, RouterConfig, SamplingParams
from glimp_core.local.session import KVSession


@pytest.fixture
def _eager_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both models give the end of the reply nearly all probability, everywhere, and what opens a call the rest."""
    took, end = KVSession.took, tiny.tokenizer().eos_token_id
    openings = [tiny.tokenizer().encode(text, add_special_tokens=False)[0] for text in ("<", "{", "`", "\n")]

    def stopping(self: KVSession, token_ids: Sequence[int], logits: torch.Tensor) -> None:
        logits = logits.clone()
        logits[:, end], logits[:, openings] = 1e4, 1e3
        took(self, token_ids, logits)

    monkeypatch.setattr(KVSession, "took", stopping)


@pytest.mark.usefixtures("_eager_to_stop")
@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]])
@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("reasoning", ["auto", "off", "inline"])
@pytest.mark.parametrize("policy", [AlwaysLarge(), AlwaysSmall()])
def test_an_answer_is_never_empty(policy: Any, reasoning: Any, speculate: bool, tools: Any) -> None:
    """Law: a reply that would end without a word gets one, which opens no call, and may end after it."""
    config = RouterConfig(reasoning=reasoning, speculate=speculate, max_answer_tokens=40)
    done = tiny.router(policy, config).generate("?", tools=tools, sampling=SamplingParams(temperature=0))
    assert done.answer.lstrip()[0].isalnum()
    assert not done.tool_calls
    assert done.finish_reason == "stop"
    assert done.usage.answer_tokens < 20
