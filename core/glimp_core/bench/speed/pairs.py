"""Pairs to measure on: a given one, and one whose large model costs a known multiple of the small one."""

import copy
from typing import Any

import torch
from torch import nn

from glimp_core.local.loading import auto_class
from glimp_core.local.local_engine import LocalEngine
from glimp_core.source import ModelSource

NOISE = 0.02
"""Weights of the costlier twin are moved by this share of their spread, so that a draft is not always right."""


def costlier(engine: LocalEngine, factor: int, noise: float = NOISE) -> LocalEngine:
    """Return an engine that says nearly the same at `factor` times the cost: the added layers change nothing.

    Their output projections are zero, so that each adds its own time and no more. For clean ratios only.
    """
    engine.load()
    model, tokenizer = engine.loaded
    twin: Any = copy.deepcopy(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in twin.model.layers.parameters():
            parameter.add_(torch.randn_like(parameter) * noise * parameter.std(correction=0))
    count = len(twin.model.layers)
    for number in range(count, factor * count):
        twin.model.layers.append(_inert(twin.model.layers[number % count], number))
    twin.config.num_hidden_layers = factor * count
    if getattr(twin.config, "layer_types", None):
        twin.config.layer_types = [twin.config.layer_types[n % count] for n in range(factor * count)]
    return LocalEngine(ModelSource.of((twin, tokenizer)))


def _inert(layer: nn.Module, number: int) -> nn.Module:
    made: Any = copy.deepcopy(layer)
    with torch.no_grad():
        made.self_attn.o_proj.weight.zero_()
        made.mlp.down_proj.weight.zero_()
    made.self_attn.layer_idx = number
    return made  # type: ignore[no-any-return]


def longer(engine: LocalEngine, window: int) -> LocalEngine:
    """Return an engine of the same shape with random weights and a longer window: for what weights do not matter to."""
    engine.load()
    model, tokenizer = engine.loaded
    config = copy.deepcopy(model.config)
    config.get_text_config(decoder=True).max_position_embeddings = window
    config.eos_token_id = None
    torch.manual_seed(0)
    made = auto_class(config).from_config(config, dtype=model.dtype, trust_remote_code=False)
    return LocalEngine(ModelSource.of((made.eval(), tokenizer)))
