"""The source of a model: a Hugging Face id, a folder, a GGUF file, the bundled pair, or loaded objects.

Everything that needs no weights (tokenizer, generation config) is loaded here, with transformers.
"""

import copy
import difflib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from secrets import token_bytes
from typing import Any, TypeVar

from glimp_core import bundled
from glimp_core.errors import ConfigError, ModelLoadError, unknown_name
from glimp_core.options import LOAD_OPTIONS, SECRETS, concealed
from glimp_core.types import SamplingParams

T = TypeVar("T")

COUNTS = ("max_batch", "max_cached_tokens", "max_memory_bytes")
SERVING = (*COUNTS, "prepacked")
LOADING = tuple(name for name in LOAD_OPTIONS if name not in (*SERVING, "engine"))
"""The options that are transformers' own."""

_SALT = token_bytes(16)

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
DTYPE_ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp64": "float64"}

ADAPTER_CONFIG = "adapter_config.json"
"""The file that makes a folder an adapter of another model, in the format of PEFT."""

LONGEST = 500
"""The most characters of another library's message that an error repeats."""

PROBE = "the answer is 42"
"""A text that every usable tokenizer can encode and decode."""

WHOLE_TOKENIZER = (
    "A model's folder should hold a whole tokenizer.json: download it again, or copy that file from the model that it "
    "was made from"
)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The source of a model, and its loading options.

    `options` are `LoadOptions`: those of transformers, and those that say how the model runs. Code from the model's
    folder is never run, and pickled weights are never read. Raises `ConfigError` for an unknown option or dtype.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    loaded: tuple[Any, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for option in self.options:
            if option not in LOAD_OPTIONS:
                raise unknown_name("model option", option, LOAD_OPTIONS)
        object.__setattr__(self, "options", concealed(self.options))
        for option in COUNTS:
            value = self.options.get(option, 1)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{option}={value!r} cannot work: it must be 1 or more")
        if self.options.get("dtype") is not None:
            object.__setattr__(self, "options", {**self.options, "dtype": dtype_name(self.options["dtype"])})

    @classmethod
    def of(cls, what: Any, **options: Any) -> "ModelSource":
        """Describe a name, a path, or a loaded `(model, tokenizer)`."""
        if isinstance(what, tuple):
            model, _ = what
            return cls(getattr(model, "name_or_path", "") or type(model).__name__, options, what)
        name = str(what)
        if isinstance(what, os.PathLike) and not (is_path(name) or Path(name).exists() or name in bundled.NAMES):
            name = os.path.join(".", name)  # a path, also where it reads like a hub id
        return cls(name, options)

    def where(self) -> tuple[str, dict[str, Any]]:
        """Return the folder or id, and the keyword arguments that every from_pretrained of it takes.

        Raises `ModelLoadError` for a path where nothing is, and for a misspelt name of a bundled model.
        """
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
        if path.is_dir():
            return str(path), common
        if is_path(self.name):
            raise ModelLoadError(f"cannot load {self.name!r}: {_missing_path(path)}")
        if close := difflib.get_close_matches(self.name, bundled.NAMES, n=1, cutoff=0.8):
            raise ModelLoadError(f"cannot load {self.name!r}: did you mean {close[0]!r}, which comes with Glimp?")
        return self.name, common


def option_keys(options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a key for options: their texts, and for a token a digest that only this process can make."""
    digest = {name: blake2b(str(options[name]).encode(), key=_SALT).hexdigest() for name in SECRETS if name in options}
    return tuple((name, digest.get(name) or repr(options[name])) for name in sorted(options))


def dtype_name(dtype: Any) -> Any:
    """Return the name that torch has for a dtype; a mapping of dtypes by part of the model stays as it is.

    Raises `ConfigError` for one that models do not compute in.
    """
    if isinstance(dtype, Mapping):
        return dtype
    given = str(dtype).removeprefix("torch.")
    name = DTYPE_ALIASES.get(given, given)
    if name not in DTYPES:
        raise ConfigError(
            f"dtype={given!r} is none that models compute in: choose float32 (fp32), bfloat16 (bf16), float16 (fp16) "
            "or auto; weights in 8 or 4 bits are chosen with quantization_config"
        )
    return name


def is_path(name: str) -> bool:
    """Return whether a name can only be a path: a hub id is `name` or `owner/name`."""
    return name.startswith((".", "~", os.sep)) or name.endswith(".gguf") or name.count("/") > 1 or "\\" in name


def _missing_path(path: Path) -> str:
    """Return the error for a path that does not exist, with a similar path if there is one."""
    path = Path(os.path.abspath(path))  # the written path: `resolve` would follow links
    nearest = next(parent for parent in path.parents if parent.is_dir())
    if nearest != path.parent:
        return f"there is no folder {str(path.parent)!r}"
    siblings = [entry.name for entry in nearest.iterdir() if entry.is_dir() or entry.suffix == ".gguf"]
    close = difflib.get_close_matches(path.name, siblings, n=1)
    meant = f": did you mean {close[0]!r}?" if close else ""
    return f"there is no {path.name!r} in the folder {str(nearest)!r}{meant}"


def adapter_of(source: ModelSource) -> dict[str, Any] | None:
    """Return the PEFT config of an adapter, None for a whole model. Raises `ModelLoadError` for one without a base."""
    if source.loaded or (file := _adapter_config(source)) is None:
        return None
    config = attempt(source, lambda: json.loads(Path(file).read_text()))
    if not isinstance(config, dict) or not isinstance(config.get("base_model_name_or_path"), str):
        raise ModelLoadError(f"the {ADAPTER_CONFIG} of {source.name!r} names no base_model_name_or_path: add it")
    return config


def _adapter_config(source: ModelSource) -> Any:
    """Return the path of an adapter's config. Local files are tried before the network, which may be slow."""
    where, common = source.where()
    if "gguf_file" in common:
        return None
    if Path(where).exists():
        return _held(source, ADAPTER_CONFIG)
    here = {"local_files_only": True, "_raise_exceptions_for_connection_errors": False}
    if _held(source, "config.json", **here):
        return None
    held = _held(source, ADAPTER_CONFIG, **here)
    return held or (None if _held(source, "config.json") else _held(source, ADAPTER_CONFIG))


def whole(source: ModelSource) -> ModelSource:
    """Return the source of the whole model: of an adapter its base, which may lie beside it; else the source itself.

    Raises `ModelLoadError` if the base is not there, or is an adapter itself.
    """
    config = adapter_of(source)
    if config is None:
        return source
    named = config["base_model_name_or_path"]
    places = [Path(named).expanduser(), Path(source.where()[0], named)]
    name = next((str(place) for place in places if place.exists()), named)
    options = {**source.options, "revision": config.get("revision")}
    base = ModelSource(name, {option: value for option, value in options.items() if value is not None})
    try:
        nested = adapter_of(base)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"{source.name!r} is an adapter, and its base model is missing: {error}. Put it there, or write its place "
            f"into {ADAPTER_CONFIG} as base_model_name_or_path"
        ) from error
    if nested is not None:
        raise ModelLoadError(f"{source.name!r} is an adapter of {named!r}, which is an adapter too: merge that first")
    return base


def load_tokenizer(source: ModelSource) -> Any:
    """Load the tokenizer alone, that of an adapter's base if it has none of its own.

    Raises `ModelLoadError` if there is none that can encode a text.
    """
    if source.loaded:
        return _usable(source, _handed_over(source.loaded[1]))
    from transformers import AutoTokenizer  # takes seconds, and brings torch

    base = whole(source)
    if base is not source and not _held(source, "tokenizer_config.json"):
        source = base
    where, common = source.where()
    try:
        tokenizer = attempt(source, lambda: AutoTokenizer.from_pretrained(where, trust_remote_code=False, **common))
    except ModelLoadError as error:
        if "backend tokenizer" in str(error):
            raise ModelLoadError(f"{error}. {WHOLE_TOKENIZER}") from error
        raise
    if not getattr(tokenizer, "chat_template", None) and (file := _held(source, "chat_template.json")):
        # in older multimodal checkpoints only the processor has the template
        tokenizer.chat_template = attempt(source, lambda: json.loads(Path(file).read_text())["chat_template"])
    return _usable(source, tokenizer)


def _handed_over(tokenizer: Any) -> Any:
    """The tokenizer that a user passed; of a processor the one inside, with the processor's chat template."""
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None or hasattr(tokenizer, "encode"):
        return tokenizer
    if not getattr(inner, "chat_template", None):
        inner = copy.copy(inner)
        inner.chat_template = getattr(tokenizer, "chat_template", None)
    return inner


def _held(source: ModelSource, name: str, **options: Any) -> Any:
    """The path of one of a model's files, None if it has no such file."""
    from transformers.utils.hub import cached_file

    where, common = source.where()
    common.pop("gguf_file", None)
    hint = "" if Path(where).exists() else _hub_hint(source)
    found = {"_raise_exceptions_for_missing_entries": False, **common, **options}
    return attempt(source, lambda: cached_file(where, name, **found), hint)


def _usable(source: ModelSource, tokenizer: Any) -> Any:
    """Refuse a tokenizer that cannot encode: transformers makes an empty one if a folder has none."""
    try:
        read = tokenizer.decode(tokenizer.encode(PROBE, add_special_tokens=False))
    except Exception as error:  # a user may pass any object as a tokenizer
        raise ModelLoadError(
            f"{type(tokenizer).__name__} cannot serve {source.name!r} as a tokenizer: {_first_line(error)}"
        ) from error
    if _letters(read) != _letters(PROBE):
        raise ModelLoadError(
            f"{source.name!r} has no usable tokenizer: it reads {PROBE!r} as {read!r}. {WHOLE_TOKENIZER}"
        )
    return tokenizer


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def load_generation_config(source: ModelSource) -> Any:
    """Load the generation config, None if the model has none."""
    from transformers import GenerationConfig

    source = whole(source)
    where, common = source.where()
    try:
        return GenerationConfig.from_pretrained(where, trust_remote_code=False, **common)
    except OSError:
        return None
    except Exception as error:
        raise ModelLoadError(f"generation_config.json of {source.name!r} is broken: {_first_line(error)}") from error


def sampling_defaults(generation_config: Any) -> SamplingParams:
    """Return how a model's own generation config draws tokens: greedily unless it says otherwise.

    Raises `ModelLoadError` if it says something that cannot be.
    """
    if not getattr(generation_config, "do_sample", False):
        return SamplingParams(temperature=0.0)
    named = {name: getattr(generation_config, name, None) for name in ("temperature", "top_p", "top_k")}
    try:
        return SamplingParams(
            **{"temperature": 1.0} | {name: value for name, value in named.items() if value is not None}
        )
    except ConfigError as error:
        raise ModelLoadError(f"{error}, and the model's generation config has it so: correct it there") from error


def stop_ids(tokenizer: Any, *configs: Any) -> frozenset[int]:
    """Return every id that ends a reply: those of the first config that names any, and the tokenizer's own.

    Raises `ModelLoadError` for one that is no id.
    """
    named = next((eos for config in configs if (eos := getattr(config, "eos_token_id", None)) is not None), None)
    listed = named if isinstance(named, list | tuple) else [named]
    ids = [i for i in [*listed, tokenizer.eos_token_id] if i is not None]
    if strange := [i for i in ids if not isinstance(i, int) or i < 0]:
        raise ModelLoadError(f"eos_token_id={strange[0]!r} in the model's config is no token id: correct it there")
    return frozenset(ids)


def attempt(source: ModelSource, load: Callable[[], T], hint: str = "") -> T:
    """Load something. Raises `ModelLoadError`, which names the model, for whatever goes wrong."""
    try:
        return load()
    except ModelLoadError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise ModelLoadError(
                f"cannot load {source.name!r}: it needs code from its own folder (auto_map in its config), and Glimp "
                "never runs that. Choose a model that transformers has the code of, or load it yourself and pass "
                "(model, tokenizer)"
            ) from error
        if source.name.endswith(".gguf"):  # what breaks in one is rarely what the message is about
            hint = ". Is the file whole? Download it again"
        raise ModelLoadError(f"cannot load {source.name!r}: {_first_line(error)}{hint}") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0]
    told = " ".join(text.split()) if first.rstrip().endswith(":") else first  # which is no sentence alone
    return told if len(told) <= LONGEST else told[:LONGEST] + "..."


def _hub_hint(source: ModelSource) -> str:
    """What to look at where a hub id was not found; the ids that were downloaded before may be what was meant."""
    from huggingface_hub.constants import HF_HUB_CACHE

    held = [folder.name[8:].replace("--", "/") for folder in Path(HF_HUB_CACHE).glob("models--*")]
    close = difflib.get_close_matches(source.name, held, n=1)
    meant = f"; did you mean {close[0]!r}, which is here?" if close else ""
    return f" (no folder or file of this name is here; a hub id needs the network, or a copy downloaded before{meant})"
