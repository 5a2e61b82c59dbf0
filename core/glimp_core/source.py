"""Where a model comes from: Hugging Face ids, folders, GGUF files, the bundled pair, or objects already loaded.

What can be known of it without weights is loaded here, by transformers: whoever runs the model needs no more than that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from glimp_core import bundled
from glimp_core.errors import ConfigError, ModelLoadError, unknown_name
from glimp_core.types import SamplingParams

T = TypeVar("T")

LOADING = ("dtype", "device", "device_map", "quantization_config", "attn_implementation", "revision", "token")
COUNTS = ("max_batch", "max_cached_tokens")
SERVING = (*COUNTS, "prepacked")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from, and how it is to be loaded.

    `options` are transformers' own for loading: `dtype` (as stored, and float32 on a CPU that is slow in 16 bits),
    `device` (the GPU where there is one), `device_map`, `quantization_config`, `attn_implementation`, `revision`,
    `token`. Three are for serving: `max_batch`, how many requests run at once while others wait, `max_cached_tokens`,
    for how many tokens finished ones may keep room in the cache, and `prepacked`, whether a CPU keeps a second copy of
    float32 weights that is quicker for several tokens at once. Code from the model's folder is never run, and pickled
    weights are never read.
    Raises `ConfigError` for an unknown option.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    loaded: tuple[Any, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for option in self.options:
            if option not in LOADING + SERVING:
                raise unknown_name("model option", option, LOADING + SERVING)
        for option in COUNTS:
            value = self.options.get(option, 1)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{option}={value!r} cannot work: it must be 1 or more")

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
    from transformers import AutoTokenizer  # takes seconds, and brings torch
    from transformers.utils.hub import cached_file

    where, common = source.where()
    if not Path(where).exists():  # one file first: without a network every file is tried for half a minute
        attempt(source, lambda: cached_file(where, "config.json", **common))
    return attempt(source, lambda: AutoTokenizer.from_pretrained(where, **common))


def load_generation_config(source: ModelSource) -> Any:
    """Load the generation config, None where the model has none."""
    from transformers import GenerationConfig

    where, common = source.where()
    try:
        return GenerationConfig.from_pretrained(where, **common)
    except OSError:
        return None


def sampling_defaults(generation_config: Any) -> SamplingParams:
    """Return how a model's own generation config draws tokens: greedily unless it says otherwise."""
    if not getattr(generation_config, "do_sample", False):
        return SamplingParams(temperature=0.0)
    named = {name: getattr(generation_config, name, None) for name in ("temperature", "top_p", "top_k")}
    return SamplingParams(**{"temperature": 1.0} | {name: value for name, value in named.items() if value is not None})


def stop_ids(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """Return every id that ends a reply: the list of the generation config, and the tokenizer's own."""
    eos = getattr(generation_config, "eos_token_id", None)
    ids = eos if isinstance(eos, list) else [eos]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def attempt(source: ModelSource, load: Callable[[], T]) -> T:
    """Load something. Raises `ModelLoadError`, which names the model, for whatever goes wrong."""
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
