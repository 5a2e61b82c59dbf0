"""Grows a trained model by layers that change nothing until they are trained."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@torch.no_grad()
def grow(model: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """Return the model with `layers` layers; the last ones are new and add nothing to the residual stream yet."""
    config = LlamaConfig(**{**model.config.to_dict(), "num_hidden_layers": layers})
    config._attn_implementation = model.config._attn_implementation
    grown = LlamaForCausalLM(config)
    grown.load_state_dict(model.state_dict(), strict=False)
    for layer in grown.model.layers[model.config.num_hidden_layers :]:
        for last in (layer.self_attn.o_proj, layer.mlp.down_proj):
            for parameter in last.parameters():
                torch.nn.init.zeros_(parameter)
    return grown
