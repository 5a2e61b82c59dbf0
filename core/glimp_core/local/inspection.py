"""What a model in this process is, without its weights: its size by a model on the meta device, and its formats."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from glimp_core.local.cache import make_cache
from glimp_core.local.loading import auto_class, device_memory, device_of, widened
from glimp_core.local.session import CacheUse
from glimp_core.memory import free_memory
from glimp_core.model_facts import Footprint
from glimp_core.source import ModelSource

SHAPED = torch.bfloat16
"""The type of the model without weights: mixtures of experts on the meta device run in no other."""

TOKENS = 64
"""The cache is measured after so many tokens, and after twice as many."""


def footprint_of(source: ModelSource, config: Any) -> Footprint:
    """Return the memory that a model will take, from its config alone.

    Its modules are made on the meta device, where tensors have shapes and no memory. Weights that are quantised in
    their files count as the files say.
    """
    device = device_of(source)
    stored = _stored_dtype(source, config)
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        model = auto_class(config).from_config(config, dtype=SHAPED, trust_remote_code=False).eval()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        dtype = torch.float32 if widened(source, stored, device, parameters) else stored
        cache = _cache_bytes(model, dtype)
    return Footprint(
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        parameters=parameters,
        weight_bytes=round(parameters * _bytes_each(source, config, dtype)),
        state_bytes=cache[0] if cache else None,
        bytes_per_token=cache[1] if cache else None,
        total=device_memory(device),
        free=torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory() or device_memory(device),
    )


def path_in_words(use: CacheUse, packed: bool) -> str:
    """Say how a proved cache is used: how it goes back, how it is fed, and whether requests share forwards."""
    back = {"crop": "cut back", "snapshot": "taken back to snapshots", "refill": "read anew"}[use.rollback]
    fed = "several tokens at a time" if use.several else "one token at a time"
    return f"{use.rollback}: the cache is {back}, fed {fed}, " + (
        "packed: requests share forwards" if packed else "one by one: each request has its own forwards"
    )


def _stored_dtype(source: ModelSource, config: Any) -> torch.dtype:
    """The type that weights are loaded in before a slow processor has them widened."""
    given = source.options.get("dtype")
    named = getattr(torch, given, None) if isinstance(given, str) else None
    if isinstance(named, torch.dtype):
        return named
    text = config.get_text_config(decoder=True)
    stored = getattr(config, "dtype", None) or getattr(text, "dtype", None)
    if "gguf_file" in source.where()[1] or not isinstance(stored, torch.dtype):
        return torch.float32
    return stored


def _bytes_each(source: ModelSource, config: Any, dtype: torch.dtype) -> float:
    """The bytes of a parameter: fewer where the weights are quantised, as far as the config tells."""
    given = source.options.get("quantization_config") or getattr(config, "quantization_config", None)
    if given is None:
        return dtype.itemsize
    read = given if isinstance(given, Mapping) else vars(given)
    bits = read.get("bits") or (4 if read.get("load_in_4bit") else 8)
    return bits / 8 if isinstance(bits, int) else 1.0


def _cache_bytes(model: Any, dtype: torch.dtype) -> tuple[int, float] | None:
    """What a request takes at first, and for each token; None for code that needs real numbers."""
    held = []
    for tokens in (TOKENS, 2 * TOKENS):
        try:
            cache = make_cache(model)
            with torch.no_grad():
                ids = torch.zeros(1, tokens, dtype=torch.long)
                model(input_ids=ids, past_key_values=cache, use_cache=True)
        except Exception:  # whatever code of models does with tensors that have no values
            return None
        held.append(sum(_tensor_bytes(vars(layer), dtype) for layer in cache.layers))
    each = (held[1] - held[0]) / TOKENS
    return round(held[0] - each * TOKENS), each


def _tensor_bytes(held: Any, dtype: torch.dtype) -> int:
    """The bytes of all tensors in something; those of the model's type as they are in `dtype`."""
    if isinstance(held, torch.Tensor):
        return held.numel() * (dtype if held.dtype == SHAPED else held.dtype).itemsize
    values = held.values() if isinstance(held, Mapping) else held if isinstance(held, list | tuple) else ()
    return sum(_tensor_bytes(value, dtype) for value in values)
