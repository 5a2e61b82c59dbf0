"""Random models of a family, as checkpoints on disk and as the objects that were saved."""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

import tiny
from local.families.architecture import OMITTED, SIZES, Architecture, Each

LOUD, READABLE = 3, 12
"""What weights are multiplied by, so that no two tokens are equally likely: matrices, and the rows of the head."""

RATES = ("A_log", "conv", ".D", "dt_")
"""Parameters of recurrent layers that are rates and not matrices: larger ones would let a state overflow."""


def missing(architecture: Architecture) -> str:
    """Return why the installed transformers has not got a family, "" where it has."""
    asked = [architecture.model_type, *([architecture.text.model_type] if architecture.text else [])]
    unknown = [model_type for model_type in asked if model_type not in CONFIG_MAPPING]
    return f"transformers {transformers.__version__} has no {' and no '.join(unknown)}" if unknown else ""


def config_of(architecture: Architecture, layers: int) -> Any:
    """Return the config of a family with so many layers."""
    kind = type(AutoConfig.for_model(architecture.model_type))
    text = architecture.text
    if text is None:
        return kind(**_options(architecture, layers))
    inner = {**_options(text, layers), "model_type": text.model_type}
    return kind(**architecture.options, text_config=inner)


def build(architecture: Architecture, layers: int, seed: int) -> Any:
    """Make a random model in float32 that writes ASCII and is never undecided between two tokens."""
    torch.manual_seed(seed)
    loader = AutoModelForImageTextToText if architecture.text else AutoModelForCausalLM
    with contextlib.redirect_stderr(io.StringIO()):
        model = loader.from_config(config_of(architecture, layers), dtype=torch.float32).eval()
    tokenizer = tiny.tokenizer()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and not any(part in name for part in RATES):
                parameter.mul_(LOUD)
        for token_id, row in enumerate(model.get_output_embeddings().weight):
            row.mul_(READABLE if _readable(tokenizer, token_id) else 0)
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=0)
    return model


def save(model: Any, folder: Path) -> Path:
    """Write a checkpoint as the hub has it: config, weights, tokenizer."""
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def load(folder: Path) -> Any:
    """Return what transformers makes of a checkpoint: the language model, or where it has no such class, all of it."""
    known = type(AutoConfig.from_pretrained(folder)) in MODEL_FOR_CAUSAL_LM_MAPPING
    loader = AutoModelForCausalLM if known else AutoModelForImageTextToText
    return loader.from_pretrained(folder).eval()


def _options(architecture: Architecture, layers: int) -> dict[str, Any]:
    options = {**SIZES, "num_hidden_layers": layers, **architecture.options}
    return {
        name: value.over(layers) if isinstance(value, Each) else value
        for name, value in options.items()
        if value is not OMITTED
    }


def _readable(tokenizer: Any, token_id: int) -> bool:
    if token_id >= len(tokenizer) or token_id in tokenizer.added_tokens_decoder:
        return False
    text = tokenizer.decode([token_id])
    return text.isascii() and (text.isprintable() or not text.strip())
