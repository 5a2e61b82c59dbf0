"""From where a model comes from to its config and its weights."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from glimp_core.errors import ModelLoadError
from glimp_core.local.prepacking import prepack
from glimp_core.memory import machine_memory
from glimp_core.source import LOADING, ModelSource, attempt

AMPLE = 0.3
"""A model that takes more than this share of the machine's memory in float32 is left as it is stored."""

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
    """Load the weights, ready to run: evaluation mode, on its device, prepacked if that is asked for."""
    model = source.loaded[0].eval() if source.loaded else _loaded(source)
    if source.options.get("prepacked"):
        prepack(model)
    return model


def _loaded(source: ModelSource) -> Any:
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
    return suited(model if "device_map" in options else attempt(source, lambda: model.to(device)), source)


def suited(model: Any, source: ModelSource) -> Any:
    """Widen 16-bit weights to float32 on a processor that computes slowly in 16 bits, if memory is ample.

    There a prompt takes three times as long to read in bfloat16, and tokens take no less. A `dtype` is kept to.
    """
    chosen = {"dtype", "quantization_config", "device_map"} & {key for key, value in source.options.items() if value}
    if chosen or model.device.type != "cpu" or model.dtype not in (torch.bfloat16, torch.float16) or fast_in_16_bits():
        return model
    ample = 4 * sum(parameter.numel() for parameter in model.parameters()) <= AMPLE * machine_memory()
    return model.float() if ample else model


def fast_in_16_bits() -> bool:
    """Return whether this processor has instructions for bfloat16; one that does not tell is believed to."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return told.get("architecture") != "x86_64" or any(told.get(name) for name in ("avx512_bf16", "amx_bf16"))


def default_device() -> str:
    """Return the best device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def context_window(config: Any) -> int:
    """Return how many tokens the model can attend to; models without a limit get a large one."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or 1_000_000)
