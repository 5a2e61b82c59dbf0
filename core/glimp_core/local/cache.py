"""KV caches that can be rolled back: growable layers with O(1) crop, and snapshots of recurrent states."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import (
    Cache,
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)

RollbackKind = Literal["crop", "snapshot", "refill"]
"""How a cache is made shorter: by cutting it, by going back to a saved state, or by reading anew."""


class GrowLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """DynamicLayer's meaning on a buffer that doubles: appending costs the new tokens only, cutting nothing.

    Also exact for sliding-window models, whose attention mask, not the cache, keeps to the window.
    """

    def __init__(self, capacity: int = 256) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0
        self._capacity = capacity
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append [batch, heads, new, size] states and return all that are held."""
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        start, end = self.length, self.length + key_states.shape[2]
        keys, values = self.buffers = self._reserved(key_states, value_states, end)
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        return self._show(end)

    @property
    def capacity(self) -> int:
        """How many tokens fit before the buffers grow."""
        return 0 if self.buffers is None else self.buffers[0].shape[2]

    def grew(self, tokens: int) -> None:
        """Take note of tokens that were written into the buffers from outside."""
        self.length += tokens

    def get_seq_length(self) -> int:
        """Return the number of tokens held."""
        return self.length

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last `-tokens_to_remove` tokens (transformers' sign)."""
        if self.is_initialized:
            self._show(max(0, self.length + tokens_to_remove))

    def copy(self, length: int) -> "GrowLayer":
        """Return a layer of its own that holds the first `length` tokens."""
        made = GrowLayer()
        if self.buffers is not None:
            keys, values = self.buffers
            made.update(keys[:, :, :length], values[:, :, :length])
        return made

    def reset(self) -> None:
        """Hold nothing, and keep no memory."""
        self.length, self.is_initialized = 0, False
        self.keys = self.values = self.buffers = None

    def _show(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.buffers is not None
        keys, values = self.buffers
        self.length = length
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]
        return self.keys, self.values

    def _reserved(self, keys: torch.Tensor, values: torch.Tensor, needed: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.buffers is not None and needed <= self.capacity:
            return self.buffers
        capacity = max(needed, 2 * self.capacity, self._capacity)
        # zeros: a graph attends to the whole buffer, and what it masks must be numbers all the same
        grown = [states.new_zeros(*states.shape[:2], capacity, states.shape[3]) for states in (keys, values)]
        for buffer, held in zip(grown, self.buffers or (), strict=False):
            buffer[:, :, : self.length] = held[:, :, : self.length]
        return grown[0], grown[1]


def rollback_kind(model: PreTrainedModel) -> RollbackKind:
    """Tell how this model's cache can be made shorter; `Cache.is_croppable` does not say."""
    layers = DynamicCache(config=model.config).layers
    if getattr(model, "_is_stateful", False) or any(isinstance(x, LinearAttentionCacheLayerMixin) for x in layers):
        return "snapshot"
    croppable = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
    return "crop" if all(type(layer) in croppable for layer in layers) else "refill"


def make_cache(model: PreTrainedModel) -> Cache:
    """Make an empty cache in which every plain attention layer is growable."""
    cache = DynamicCache(config=model.config)
    kind = rollback_kind(model)
    if kind == "crop":
        count = model.config.get_text_config(decoder=True).num_hidden_layers
        return Cache(layers=[GrowLayer() for _ in range(count)])
    if kind == "snapshot":
        cache.layers = [GrowLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class Snapshot:
    """The state of a cache that holds `length` tokens: copies of recurrent states, lengths of growable layers."""

    def __init__(self, cache: Cache, length: int):
        self.length = length
        self._layers = [_save(layer) for layer in cache.layers]

    def restore(self, cache: Cache) -> None:
        """Bring the cache back to this state."""
        for layer, saved in zip(cache.layers, self._layers, strict=True):
            _restore(layer, saved)


def _save(layer: Any) -> dict[str, Any]:
    saved: dict[str, Any] = {}
    if isinstance(layer, LinearAttentionCacheLayerMixin):
        saved["conv"], saved["recurrent"] = _clones(layer.conv_states), _clones(layer.recurrent_states)
        saved["previous"] = dict(layer.has_previous_state)
    if isinstance(layer, GrowLayer):
        saved["length"] = layer.length
    elif isinstance(layer, DynamicLayer):  # updates make new tensors here, so a reference is a copy
        saved["states"] = (layer.keys, layer.values, getattr(layer, "cumulative_length", None))
    return saved


def _restore(layer: Any, saved: Mapping[str, Any]) -> None:
    if "conv" in saved:
        _copy_back(saved["conv"], layer.conv_states)
        _copy_back(saved["recurrent"], layer.recurrent_states)
        layer.has_previous_state = dict(saved["previous"])
    if "length" in saved:
        layer.crop(saved["length"] - layer.get_seq_length())
    if "states" in saved:
        layer.keys, layer.values, cumulative_length = saved["states"]
        if cumulative_length is not None:
            layer.cumulative_length = cumulative_length


def _clones(states: Mapping[Any, torch.Tensor | None]) -> dict[Any, torch.Tensor | None]:
    return {key: None if state is None else state.clone() for key, state in states.items()}


def _copy_back(saved: Mapping[Any, torch.Tensor | None], states: Mapping[Any, torch.Tensor]) -> None:
    for key, state in saved.items():
        if state is not None:
            states[key].copy_(state)
