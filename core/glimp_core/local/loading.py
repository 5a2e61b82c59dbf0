"""From a name to a model: Hugging Face ids, folders, GGUF files, the bundled pair, or objects already loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from glimp_core import bundled
from glimp_core.errors import ModelLoadError, unknown_name

OPTIONS = ("dtype", "device", "device_map", "quantization_config", "attn_implementation", "revision", "token")
WRITES_TEXT = ("ForCausalLM", "LMHead", "ForConditionalGeneration")
"""A class of which the name holds one of these can continue a text."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from, and how it is to be loaded.

    `options` are transformers' own: `dtype` ("auto" by default), `device` (the GPU where there is one),
    `device_map`, `quantization_config`, `attn_implementation`, `revision`, `token`. Code from the model's
    folder is never run, and pickled weights are never read. Raises `ConfigError` for an unknown option.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    loaded: tuple[Any, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for option in self.options:
            if option not in OPTIONS:
                raise unknown_name("model option", option, OPTIONS)

    @classmethod
    def of(cls, what: Any, **options: Any) -> "ModelSource":
        """Describe a name, a path, or a loaded `(model, tokenizer)`."""
        if isinstance(what, tuple):
            model, _ = what
            return cls(getattr(model, "name_or_path", "") or type(model).__name__, options, what)
        return cls(str(what), options)

    def where(self) -> tuple[str, dict[str, Any]]:
        """Return the folder or id, and the keyword arguments that every from_pretrained of it takes."""
        common = {name: self.options[name] for name in ("revision", "token") if self.options.get(name) is not None}
        if self.name in bundled.NAMES:
            return str(bundled.path(self.name)), common
        path = Path(self.name).expanduser()
        if path.is_file():
            if path.suffix != ".gguf":
                raise ModelLoadError(
                    f"{self.name!r} is a file but not a .gguf one: name a folder, a .gguf file or a hub id"
                )
            return str(path.parent), {**common, "gguf_file": path.name}
        return str(path) if path.exists() else self.name, common


def load_tokenizer(source: ModelSource) -> Any:
    """Load the tokenizer alone."""
    if source.loaded:
        return source.loaded[1]
    where, common = source.where()
    return _attempt(source, lambda: AutoTokenizer.from_pretrained(where, **common))


def load_config(source: ModelSource) -> Any:
    """Load the config alone, and refuse a model that cannot continue a text."""
    if source.loaded:
        return source.loaded[0].config
    where, common = source.where()
    config = _attempt(source, lambda: AutoConfig.from_pretrained(where, **common))
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
    options |= {name: value for name, value in source.options.items() if value is not None and name != "device"}
    if "gguf_file" in common:
        from transformers.utils.quantization_config import GgufConfig

        options.setdefault("quantization_config", GgufConfig(dequantize=True))
    else:
        options["use_safetensors"] = True
    model = _attempt(source, lambda: AutoModelForCausalLM.from_pretrained(where, **options)).eval()
    device = source.options.get("device") or default_device()
    return model if "device_map" in options else _attempt(source, lambda: model.to(device))


def default_device() -> str:
    """Return the best device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def context_window(config: Any) -> int:
    """Return how many tokens the model can attend to; models without a limit get a large one."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or 1_000_000)


def stop_ids(generation_config: GenerationConfig, tokenizer: Any) -> frozenset[int]:
    """Return every id that ends a reply: the list of the generation config, and the tokenizer's own."""
    eos: Any = generation_config.eos_token_id
    ids = eos if isinstance(eos, list) else [eos]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def _attempt(source: ModelSource, load: Any) -> Any:
    try:
        return load()
    except ModelLoadError:
        raise
    except Exception as error:
        raise ModelLoadError(f"cannot load {source.name!r}: {_first_line(error)}{_hint(source)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _hint(source: ModelSource) -> str:
    if Path(source.name).expanduser().exists():
        return ""
    return " (no such folder or file; a hub id needs the network, or a copy that was downloaded before)"
