"""LoRA adapters: weights that are added to those of a base model."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch

from glimp_core.errors import ModelLoadError
from glimp_core.source import ModelSource

WEIGHTS = "adapter_model.safetensors"


def adapted(model: Any, config: dict[str, Any], source: ModelSource) -> Any:
    """Return a base model with the adapter of `source` in it: merged into weights that can hold it, else beside them.

    Raises `ModelLoadError` if PEFT is not installed, and for an adapter that is not one of weights.
    """
    if importlib.util.find_spec("peft") is None:
        raise ModelLoadError(f"{source.name!r} is a LoRA adapter, which needs PEFT: pip install 'glimp[peft]'")
    if config.get("peft_type") != "LORA":
        raise ModelLoadError(
            f"{source.name!r} is an adapter of the type {config.get('peft_type')!r}, and only LORA can be loaded: "
            "merge it into its base with PEFT, save that, and name its folder"
        )
    if config.get("megatron_config"):  # PEFT would import a module that the config names
        raise ModelLoadError(f"{source.name!r} is an adapter for Megatron, which Glimp does not load")
    where, options = source.where()
    from transformers.utils.hub import cached_file

    file = cached_file(where, WEIGHTS, _raise_exceptions_for_missing_entries=False, **options)
    if file is None:
        raise ModelLoadError(
            f"{source.name!r} has no {WEIGHTS}, and pickled weights are never read: save the adapter anew with PEFT"
        )
    return _merged(model, str(Path(file).parent))


def _merged(model: Any, folder: str) -> Any:
    from peft import PeftModel

    _make_room(model, Path(folder, WEIGHTS))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        wrapped: Any = PeftModel.from_pretrained(model, folder, torch_device=str(model.device))
    if getattr(model, "is_quantized", False):  # weights in 4 or 8 bits cannot take the product up without a loss
        return wrapped.get_base_model().eval()
    return wrapped.merge_and_unload(safe_merge=True).eval()


def _make_room(model: Any, weights: Path) -> None:
    """Give the embeddings as many rows as an adapter that was trained with added tokens has saved of them."""
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    embedded = [shape[0] for name, shape in shapes.items() if name.endswith(("embed_tokens.weight", "lm_head.weight"))]
    if embedded and max(embedded) != model.get_input_embeddings().weight.shape[0]:
        with torch.no_grad():
            model.resize_token_embeddings(max(embedded), mean_resizing=False)
