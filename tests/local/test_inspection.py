"""What is said of a model before its weights are read is what it takes when they are."""

import warnings
from pathlib import Path

import pytest
import torch

import tiny
from glimp_core.local import LocalEngine
from glimp_core.local.cache import make_cache
from glimp_core.local.loading import load_config

TOKENS = 100


def held(model: object) -> int:
    """The bytes that a prompt of 100 tokens really leaves in the cache, in views and not in room for more."""
    cache = make_cache(model)  # type: ignore[arg-type]
    with torch.no_grad():
        model(input_ids=torch.zeros(1, TOKENS, dtype=torch.long), past_key_values=cache)  # type: ignore[operator]
    return sum(
        tensor.numel() * tensor.element_size()
        for layer in cache.layers
        for value in vars(layer).values()
        for tensor in (value if isinstance(value, list | tuple) else [value])
        if isinstance(tensor, torch.Tensor)
    )


@pytest.mark.parametrize("family", tiny.CONFIGS)
def test_a_footprint_is_that_of_the_loaded_model(family: str, tmp_path: Path) -> None:
    """Parameters and weights exactly, the cache as it is after a prompt: told from config.json, without any weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tiny.model(family)
        model.config.save_pretrained(tmp_path)
        tiny.tokenizer().save_pretrained(tmp_path)
        facts = LocalEngine.from_pretrained(str(tmp_path), dtype="float32").inspect()
        taken = facts.footprint
        assert taken
        assert taken.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert taken.weight_bytes == 4 * taken.parameters
        assert taken.request_bytes(TOKENS) == pytest.approx(held(model), rel=0.05)  # recurrent states differ by a chunk


def test_quantised_weights_count_as_their_config_says(tmp_path: Path) -> None:
    """Four bits a parameter are half a byte."""
    config = tiny.CONFIGS["llama"]
    config.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    engine = LocalEngine.from_pretrained(str(tmp_path), quantization_config={"load_in_4bit": True})
    taken = engine.inspect().footprint
    assert taken
    assert taken.weight_bytes == pytest.approx(taken.parameters / 2, abs=1)
    assert load_config(engine.source).model_type == "llama"
