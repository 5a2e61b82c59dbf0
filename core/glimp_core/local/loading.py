"""From where a model comes from to its config and its weights."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from glimp_core.errors import ModelLoadError
from glimp_core.source import LOADING, ModelSource, attempt

WRITES_TEXT = ("ForCausalLM", "LMHead", "ForConditionalGeneration")
"""A class of which the name holds one of these can continue a text."""


def load_config(source: ModelSource) -> Any:
    """Load the config alone, and refuse a model that cannot continue a text."""
    if source.loaded:
        return source.loaded[0].config
    where, common = source.where()
    config = attempt(source, lambda: AutoConfig.from_pretrained(where, **common))
    classes = getattr(config, "architectures", None) or []
    writes = any(part in name for name in classes for part in WRITES_TEXT)
    if config.is_encoder_decoder or (classes and not writes):
        raise ModelLoadError(
            f"{source.name!r} is a {' / '.join(classes) or config.model_type}, which does not continue a text: "
            "choose a causal language model"
        )
    return config


def load_model(source: ModelSource) -> Any:
    """Load the weights, ready to run: evaluation mode, on its device."""
    if source.loaded:
        return source.loaded[0].eval()
    load_config(source)
    where, common = source.where()
    options: dict[str, Any] = {**common, "dtype": "auto", "trust_remote_code": False}
    given = {name: source.options.get(name) for name in LOADING if name != "device"}
    options |= {name: value for name, value in given.items() if value is not None}
    if "gguf_file" in common:
        from transformers.utils.quantization_config import GgufConfig

        options.setdefault("quantization_config", GgufConfig(dequantize=True))
    else:
        options["use_safetensors"] = True
    model: Any = attempt(source, lambda: AutoModelForCausalLM.from_pretrained(where, **options))
    model.eval()
    device = source.options.get("device") or default_device()
    return model if "device_map" in options else attempt(source, lambda: model.to(device))


def default_device() -> str:
    """Return the best device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def context_window(config: Any) -> int:
    """Return how many tokens the model can attend to; models without a limit get a large one."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or 1_000_000)
