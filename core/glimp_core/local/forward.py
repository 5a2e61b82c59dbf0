"""The call of a model's forward, with the names of its arguments, which differ between models."""

import inspect
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from time import perf_counter, thread_time
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers.cache_utils import Cache

from glimp_core.errors import ModelLoadError
from glimp_core.local.few_rows import FEWEST, MOST, FewRows, quicker_by_blocks

log = logging.getLogger("glimp.local")

CACHE_ARGUMENTS = ("cache", "past_key_values", "cache_params")
"""The names of the cache argument of a forward: since transformers 5.24; before; in the first Mamba models."""

WRAPPERS = ("_orig_mod", "base_model", "module", "model")
"""The attributes in which wrappers keep the wrapped model: `torch.compile`, PEFT, data parallelism, and user code."""

PLAIN_ATTENTION = frozenset({"full_attention", "sliding_attention", "attention"})
"""The kinds of layers whose attention is known from the config, so that our own mask can replace the model's."""

WITHOUT_MASK = frozenset({"linear_attention", "conv", "mamba", "recurrent", "hybrid", "hybrid_sliding", "moe", "mlp"})
"""The kinds of layers that use states, or only the current token. Chunked and sparse attention are in neither list."""

TOLERANCES = {torch.float64: 1e-5, torch.float32: 5e-3, torch.float16: 0.05}
COARSE = 0.2
"""The largest difference of logits that are computed in two ways, relative to their norm, by dtype. In bfloat16 and
with quantised weights, rounding alone can select another expert. With a wrong cache the difference is usually about 1.
"""


class ModelForward:
    """Calls a causal language model with a cache, for any version of transformers and any wrapper.

    If a cache is passed with a wrong argument name, a forward with `**kwargs` ignores it without an error, and reads
    every token without its context. Raises `ModelLoadError` if no forward inside the model has a cache argument.
    """

    def __init__(self, model: Any):
        self._model = model
        arguments = _arguments(model)
        names = [name for name in CACHE_ARGUMENTS if name in arguments]
        if not names:
            own = " and keeps a `state` of its own" if "state" in arguments else ""
            raise ModelLoadError(
                f"{type(model).__name__} cannot serve: its forward takes no cache{own}. Choose a causal language model "
                f"whose forward takes one of {', '.join(CACHE_ARGUMENTS)}; this one takes {', '.join(arguments)}"
            )
        self.cache_argument = names[0]
        if kind := _own_cache(model):
            raise ModelLoadError(
                f"{type(model).__name__} cannot serve: it keeps a {kind} of its own, and Glimp needs the common one of "
                "transformers. Choose another model, or serve it and name the server with RemoteEngine"
            )
        self.takes_positions = "position_ids" in arguments
        self.takes_logits_to_keep = "logits_to_keep" in arguments
        self.notes: list[str] = []
        """Features that failed with this model while it ran, for the summary of each request."""

    @cached_property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    @classmethod
    def of(cls, model: Any) -> "ModelForward":
        """Return the object of a model. The signatures are read once."""
        if model not in _known:
            _known[model] = cls(model)
        return _known[model]

    def note(self, text: str) -> None:
        """Log a message, and add it to the summary of each request from now on."""
        log.warning(text)
        if text not in self.notes:
            self.notes.append(text)

    @property
    def packable(self) -> bool:
        """Whether our own mask can be used, so that one forward can process several sessions."""
        return self._attends_by(PLAIN_ATTENTION | WITHOUT_MASK, ("sdpa", "eager"))

    @property
    def recordable(self) -> bool:
        """Whether a forward can be recorded over fixed memory: it uses positions, and only attention."""
        return self._attends_by(PLAIN_ATTENTION, ("sdpa",)) and self.takes_positions and self.takes_logits_to_keep

    @cached_property
    def few_rows(self) -> AbstractContextManager[Any]:
        """What a few tokens are read in: by blocks of the weights, if that is quicker on this machine."""
        return FewRows() if quicker_by_blocks(self._model) else nullcontext()

    def _attends_by(self, kinds: frozenset[str], implementations: Sequence[str]) -> bool:
        implementation = self._model.config.get_text_config(decoder=True)._attn_implementation
        return self._kinds <= kinds and implementation in implementations

    @cached_property
    def _kinds(self) -> frozenset[str]:
        config = self._model.config.get_text_config(decoder=True)
        kinds = set(getattr(config, "layer_types", None) or ())
        if getattr(config, "attention_chunk_size", None):  # a config may not list the kinds of its layers
            kinds.add("chunked_attention")
        return frozenset(kinds)

    def __call__(
        self, token_ids: torch.Tensor, positions: torch.Tensor, cache: Cache, keep: int | torch.Tensor
    ) -> torch.Tensor:
        """Feed ids [rows, tokens] at positions [rows, tokens]; returns logits [rows, keep, vocabulary].

        `keep` is how many of the last tokens, or the indices of the tokens, whose logits are wanted.
        """
        options: dict[str, Any] = {self.cache_argument: cache, "use_cache": True}
        if self.takes_positions:  # without them, Bamba and others compute wrong positions with a cache
            options["position_ids"] = positions
        if self.takes_logits_to_keep:
            options["logits_to_keep"] = keep
        with self.few_rows if FEWEST <= token_ids.numel() <= MOST else nullcontext():
            output = self._model(input_ids=token_ids, **options)
        logits: torch.Tensor | None = getattr(output, "logits", None)
        if logits is None:
            raise ModelLoadError(
                f"{type(self._model).__name__} gives no logits: load it with AutoModelForCausalLM, not with AutoModel"
            )
        if isinstance(keep, int):
            return logits[:, -keep:]
        return logits if self.takes_logits_to_keep else logits[:, keep]


def tolerance(model: Any) -> float:
    """Return the largest difference of logits of one text that are computed in two ways, relative to their norm."""
    parameters = list(model.parameters())
    quantised = getattr(model, "hf_quantizer", None) is not None or any(
        type(parameter.data) is not torch.Tensor or not parameter.is_floating_point() for parameter in parameters
    )
    return COARSE if quantised else TOLERANCES.get(model.dtype, COARSE)


def distance(some: torch.Tensor, others: torch.Tensor) -> float:
    """Return the difference of two [rows, vocabulary] of logits: the median over the rows, relative to their norm."""
    centred = others - others.mean(-1, keepdim=True)
    apart = (some - others).norm(dim=-1) / centred.norm(dim=-1).clamp(min=1e-9)
    return float(apart.nan_to_num(nan=torch.inf).median())


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return the clock by which forwards on a device are compared.

    On a CPU it is the time that the thread runs: the time of other programs says nothing about a model.
    """
    return thread_time if device.type == "cpu" else perf_counter


def positions_after(held: int, token_ids: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return the positions [1, tokens] of ids that follow `held` others."""
    return torch.arange(held, held + len(token_ids), device=device)[None]


def _own_cache(model: Any) -> str | None:
    """Return the class of cache that a model requires and that its own module defines, from the forwards inside."""
    kinds = {type(module) for module in model.modules()} if isinstance(model, torch.nn.Module) else set()
    for forward in (inspect.unwrap(kind.forward) for kind in kinds):
        for name in CACHE_ARGUMENTS:
            named = str(getattr(forward, "__annotations__", {}).get(name, ""))
            for cache in re.findall(r"\w*Cache\b", named):
                found = getattr(sys.modules.get(forward.__module__), cache, None)
                if found is not None and found.__module__ == forward.__module__:
                    return str(cache)
    return None


def _arguments(model: Any) -> Mapping[str, Any]:
    """Return the arguments of the outermost forward that names a cache, looking through wrappers; else the model's."""
    seen, inner = [], model
    while isinstance(inner, torch.nn.Module) and inner not in seen:
        # the forward of the class: hooks of accelerate and others replace that of the instance and hide its signature
        arguments = inspect.signature(inspect.unwrap(type(inner).forward)).parameters
        if "state" in arguments or not arguments.keys().isdisjoint(CACHE_ARGUMENTS):
            return arguments
        seen.append(inner)
        inner = next((child for name in WRAPPERS if (child := getattr(inner, name, None)) is not None), None)
    return inspect.signature(type(model).forward).parameters


_known: WeakKeyDictionary[Any, ModelForward] = WeakKeyDictionary()
