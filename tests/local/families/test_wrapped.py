"""A model inside a wrapper is served as it is without: the cache reaches the forward through it."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import tiny
from glimp_core import AlwaysLarge, GlimpRouter, RouterConfig
from local.families.laws import GREEDY, LONG, PLAIN, SHORT, ask, ids

FAMILIES = ["qwen3", "lfm2"]


def adapted(family: str) -> Any:
    """A model with a LoRA adapter that changes what it says."""
    adapter = LoraConfig(target_modules=["q_proj", "v_proj"], r=4, init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(tiny.model(family, seed=2), adapter).eval()


def compiled(family: str) -> Any:
    """A model that `torch.compile` has wrapped; its graphs are run as they are traced, without a compiler."""
    torch.compiler.reset()
    return torch.compile(tiny.model(family, seed=2), backend="eager", dynamic=True)


def written_and_generated(model: Any) -> tuple[list[int], list[int]]:
    """What Glimp has a pair of one model write, and what `generate()` does; after a long prompt."""
    tokenizer = tiny.tokenizer()
    config = RouterConfig(**PLAIN)
    router = GlimpRouter.from_pretrained((model, tokenizer), (model, tokenizer), AlwaysLarge(), config, GREEDY)
    messages = ask(SHORT, LONG)
    prompt = torch.tensor(
        [tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, enable_thinking=False)]
    )
    reference = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=PLAIN["max_answer_tokens"],
        do_sample=False,
    )  # fmt: skip
    return ids(router, messages), reference[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_peft(family: str) -> None:
    """A model wrapped by PEFT writes what its own `generate()` writes, and not what its base does."""
    model = adapted(family)
    glimp, reference = written_and_generated(model)
    assert glimp == reference
    with model.disable_adapter():
        assert written_and_generated(model)[1] != reference


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_compiled_model(family: str) -> None:
    """A model wrapped by `torch.compile` writes what it writes unwrapped."""
    glimp, reference = written_and_generated(compiled(family))
    assert glimp == reference == written_and_generated(tiny.model(family, seed=2))[0]
