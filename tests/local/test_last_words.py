"""A model that would rather say nothing: its answer has a word all the same."""

from typing import Any

import pytest

import tiny
from glimp_core import AlwaysLarge, AlwaysSmall, RouterConfig, SamplingParams
from hooks import after_forwards, models_of

ENDS = tiny.tokenizer().eos_token_id
OPENINGS = [tiny.tokenizer().encode(text, add_special_tokens=False)[0] for text in ("<", "{", "`", "\n")]


def silence(arguments: Any, output: Any) -> None:
    """Give the end of the reply nearly all probability, and what opens a call the rest."""
    output.logits[..., ENDS], output.logits[..., OPENINGS] = 1e4, 1e3


@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]])
@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("reasoning", ["auto", "off", "inline"])
@pytest.mark.parametrize("policy", [AlwaysLarge(), AlwaysSmall()])
def test_an_answer_is_never_empty(policy: Any, reasoning: Any, speculate: bool, tools: Any) -> None:
    """Law: a reply that would end without a word gets one, which opens no call, and may end after it."""
    config = RouterConfig(reasoning=reasoning, speculate=speculate, max_answer_tokens=40)
    router = tiny.router(policy, config)
    with after_forwards(models_of(router), silence):
        done = router.generate("?", tools=tools, sampling=SamplingParams(temperature=0))
    assert done.answer.lstrip()[0].isalnum()
    assert not done.tool_calls
    assert done.finish_reason == "stop"
    assert done.usage.answer_tokens < 20
