"""Loading of a model's config and weights from its source."""

import difflib
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from glimp_core.errors import ConfigError, ModelLoadError
from glimp_core.local.adapter import adapted
from glimp_core.local.cache import make_cache, tensor_bytes
from glimp_core.local.forward import ModelForward
from glimp_core.local.prepacking import prepack
from glimp_core.memory import machine_memory
from glimp_core.source import LOADING, ModelSource, adapter_of, attempt, sampling_defaults, whole

AMPLE = 0.3
"""A model that needs more than this share of the machine's memory in float32 keeps its stored type."""

WRITES_TEXT = ("ForCausalLM", "LMHead", "ForConditionalGeneration")
"""A class whose name contains one of these can continue a text."""

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings")
"""Values of a config that must be positive integers, if they are set."""

MOST_LAYERS = 10_000

GGUF_HEAD = 32 * 2**20
"""The names of the tensors are in this many first bytes of a .gguf file."""

GGUF_BIAS = re.compile(rb"\bblk\.0\.[a-z_]+\.bias")

SHOWN = 5
"""The number of tensors in a message."""


def load_config(source: ModelSource) -> Any:
    """Load the config, and refuse a model that cannot continue a text."""
    if source.loaded:
        model, _ = source.loaded
        _check_serves(model)
        return model.config
    source = whole(source)
    where, common = source.where()
    config = attempt(source, lambda: AutoConfig.from_pretrained(where, trust_remote_code=False, **common))
    classes = getattr(config, "architectures", None) or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ModelLoadError(f"the config of {source.name!r} has architectures={classes!r}, which is no list of names")
    writes = any(part in name for name in classes for part in WRITES_TEXT)
    if config.is_encoder_decoder or (classes and not writes):
        raise ModelLoadError(
            f"{source.name!r} is a {' / '.join(classes) or config.model_type}, which does not continue a text: "
            "choose a causal language model"
        )
    text = attempt(source, lambda: config.get_text_config(decoder=True))
    for size in SIZES:
        value = getattr(text, size, None)
        if isinstance(value, str | float) or (isinstance(value, int) and value < 1):
            raise ModelLoadError(f"the config of {source.name!r} has {size}={value!r}: it must be 1 or more")
    if (layers := getattr(text, "num_hidden_layers", None) or 0) > MOST_LAYERS:  # making them would take for ever
        raise ModelLoadError(f"the config of {source.name!r} has num_hidden_layers={layers}: no model has so many")
    return config


def load_model(source: ModelSource) -> Any:
    """Load the weights, ready to run: in evaluation mode, on their device, prepacked if requested.

    An adapter's weights are added to those of its base. Raises `ModelLoadError` for a model with missing weights, or
    with a forward that cannot be used.
    """
    model = source.loaded[0].eval() if source.loaded else _loaded(source)
    _check_serves(model)
    attempt(source, lambda: make_cache(model))
    sampling_defaults(model.generation_config)
    if source.options.get("prepacked"):
        prepack(model)
    return model


def _loaded(source: ModelSource) -> Any:
    device = device_of(source)
    adapter, base = adapter_of(source), whole(source)
    config = load_config(base)
    where, common = base.where()
    options: dict[str, Any] = {**common, "dtype": "auto", "use_safetensors": True}
    given = {name: source.options.get(name) for name in LOADING if name not in ("device", "revision")}
    options |= {name: value for name, value in given.items() if value is not None}
    if "gguf_file" in common:
        from transformers.utils.quantization_config import GgufConfig

        options.setdefault("quantization_config", GgufConfig(dequantize=True))
        del options["use_safetensors"]
    model, told = attempt(
        base,
        lambda: auto_class(config).from_pretrained(
            where, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True, **options
        ),
    )
    _check_whole(base, model, told)
    if "gguf_file" in common:
        _check_biases(base, model)
    model.eval()
    if "device_map" not in options:
        model = attempt(source, lambda: model.to(device))
    model = suited(model, source)
    return model if adapter is None else attempt(source, lambda: adapted(model, adapter, source))


def auto_class(config: Any) -> Any:
    """Return the class that loads a config's model with its head: a multimodal wrapper serves text as it is."""
    wrapper = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if wrapper else AutoModelForCausalLM


def _check_whole(source: ModelSource, model: Any, told: dict[str, Any]) -> None:
    """Refuse weights that leave parameters at random values. Buffers have their own values."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if missing := sorted(parameters & set(told["missing_keys"])):
        raise ModelLoadError(
            f"the weights of {source.name!r} lack {len(missing)} of {len(parameters)} tensors: {_listed(missing)}. "
            "Download the model again, or choose one whose config.json belongs to its weights"
        )
    if mismatched := sorted(told["mismatched_keys"]):
        sizes = [f"{name} is {list(stored)} and should be {list(wanted)}" for name, stored, wanted in mismatched]
        raise ModelLoadError(f"weights of {source.name!r} have other sizes than its config says: {_listed(sizes)}")


def _check_biases(source: ModelSource, model: Any) -> None:
    """Refuse a .gguf file whose biases transformers ignores silently: its output would be wrong."""
    with Path(source.name).expanduser().open("rb") as file:
        stored = sorted({name.decode() for name in GGUF_BIAS.findall(file.read(GGUF_HEAD))})
    if stored and not any(name.endswith(".bias") for name, _ in model.named_parameters()):
        raise ModelLoadError(
            f"{source.name!r} has biases ({_listed(stored)}), which transformers leaves out for a "
            f"{model.config.model_type}: use the folder with its safetensors, or let llama.cpp serve the file with "
            "engine='llama.cpp'"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _check_serves(model: Any) -> None:
    """Refuse a model that cannot continue a text, if this is known before a forward."""
    can_generate = getattr(model, "can_generate", None)
    if callable(can_generate) and not can_generate():
        raise ModelLoadError(
            f"{type(model).__name__} has no head that gives logits: load it with AutoModelForCausalLM, not AutoModel"
        )
    ModelForward.of(model)


def suited(model: Any, source: ModelSource) -> Any:
    """Convert 16-bit weights to float32 on a processor that is slow in 16 bits, if there is enough memory.

    There, reading a prompt in bfloat16 takes three times as long, and decoding is not faster. An explicit `dtype` is
    kept.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return model.float() if widened(source, model.dtype, model.device, parameters) else model


def widened(source: ModelSource, dtype: torch.dtype, device: torch.device, parameters: int) -> bool:
    """Return whether weights of a dtype are converted to float32 when they load, see `suited`."""
    chosen = {"dtype", "quantization_config", "device_map"} & {key for key, value in source.options.items() if value}
    if chosen or device.type != "cpu" or dtype not in (torch.bfloat16, torch.float16) or fast_in_16_bits():
        return False
    return 4 * parameters <= AMPLE * machine_memory()


def fast_in_16_bits() -> bool:
    """Return whether this processor has instructions for bfloat16; True if it does not report them."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return told.get("architecture") != "x86_64" or any(told.get(name) for name in ("avx512_bf16", "amx_bf16"))


def device_of(source: ModelSource) -> torch.device:
    """Return the requested device, else the best one. Raises `ConfigError` for a device that does not exist."""
    given = source.options.get("device")
    if given is None:
        return torch.device(default_device())
    present = _present_devices()
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError):
        close = difflib.get_close_matches(str(given), present, n=1)
        meant = f": did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"device={given!r} is unknown{meant}; this machine has {', '.join(present)}") from None
    if device.type not in present or (device.index or 0) >= _count(device.type):
        raise ConfigError(
            f"device={str(given)!r} is not on this machine, as far as this build of torch can tell; it has "
            f"{', '.join(present)}: choose one of these, or leave device out"
        )
    return device


def _present_devices() -> list[str]:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    numbered = [f"{accelerator.type}:{n}" for n in range(torch.accelerator.device_count())] if accelerator else []
    return ["cpu", *([accelerator.type] if accelerator else []), *(numbered if len(numbered) > 1 else [])]


def _count(kind: str) -> int:
    return 1 if kind == "cpu" else torch.accelerator.device_count()


def default_device() -> str:
    """Return the best device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory of a device; 8 GiB if it does not report them."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine_memory() or 8 * 2**30


def weight_bytes(model: Any) -> int:
    """Return the memory of a model's weights and buffers, packed copies of them included."""
    tensors = [*model.parameters(), *model.buffers()]
    packed = [x.weight for x in model.modules() if isinstance(x, torch.nn.Linear) and isinstance(x.forward, partial)]
    return tensor_bytes([*tensors, *packed])


def check_fits(source: ModelSource, weights: int) -> None:
    """Refuse weights that take all of the memory that a model may take."""
    most = source.options.get("max_memory_bytes")
    if most is not None and weights >= most:
        raise ModelLoadError(
            f"the weights of {source.name!r} take {weights:,} bytes, and max_memory_bytes={most:,} is for weights and "
            "caches together: raise it, load with a smaller dtype or quantised, or choose a smaller model"
        )


def context_window(config: Any) -> int:
    """Return the context window in tokens; a model without a limit gets a large one."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or 1_000_000)
