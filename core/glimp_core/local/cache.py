"""KV caches that can restore an earlier length: growable layers with O(1) crop, and snapshots of recurrent states."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import (
    Cache,
    DummyLayer,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
)

RollbackKind = Literal["crop", "snapshot", "refill"]
"""How a cache is shortened: it is cropped, a snapshot is restored, or the tokens are read again."""


SLACK = 64
"""This many tokens older than a window are kept, so that rejected drafts and repeated replies need no token again."""


class GrowLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A DynamicLayer on a buffer that doubles its size: an append copies only the new tokens, a crop copies nothing.

    It is also exact for sliding attention, if the mask limits the attention to the window.
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
    def floor(self) -> int:
        """The shortest length that this layer can be cropped to."""
        return 0

    @property
    def capacity(self) -> int:
        """How many tokens fit before the buffers grow."""
        return 0 if self.buffers is None else self.buffers[0].shape[2]

    def capacity_for(self, tokens: int) -> int:
        """Return how many tokens fit once the buffers have grown for so many."""
        return self.capacity if tokens <= self.capacity else max(tokens, 2 * self.capacity, self._capacity)

    def grew(self, tokens: int) -> None:
        """Count tokens that a graph has written into the buffers."""
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
        made = type(self)()
        if self.buffers is not None:
            keys, values = self.buffers
            made.update(keys[:, :, :length], values[:, :, :length])
        return made

    def save(self) -> dict[str, Any]:
        """Return a snapshot of the current state: the length, and copies of other states."""
        held = vars(self)
        return {"length": self.length} | {name: _copied(held[name]) for name in held.keys() - GROWN}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Restore a snapshot. Its keys and values must still be in the buffers."""
        self.crop(saved["length"] - self.length)
        for name in vars(self).keys() - saved.keys() - GROWN:
            delattr(self, name)
        for name in saved.keys() - GROWN:
            setattr(self, name, _copied(saved[name]))

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
        capacity = self.capacity_for(needed)
        if self.buffers is not None and capacity == self.capacity:
            return self.buffers
        # zeros: a graph attends to the whole buffer, and NaN in a masked place would make the result NaN
        grown = [states.new_zeros(*states.shape[:2], capacity, states.shape[3]) for states in (keys, values)]
        for buffer, held in zip(grown, self.buffers or (), strict=False):
            buffer[:, :, : self.length] = held[:, :, : self.length]
        return grown[0], grown[1]


class WindowLayer(GrowLayer):  # type: ignore[no-untyped-call]
    """A growable layer that drops keys older than its window and `SLACK` more tokens."""

    is_sliding = True  # transformers makes the mask of all sliding layers for the first layer with this attribute

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.dropped = 0

    @property
    def floor(self) -> int:
        """The shortest length that this layer can be cropped to."""
        return self.dropped + self.window - 1 if self.dropped else 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append [batch, heads, new, size] states and return all that are held."""
        held = super().update(key_states, value_states)
        kept = self.window - 1 + SLACK
        if self.length > kept + SLACK:  # not at every token, because moving the rest copies a whole window
            self.dropped += self.length - kept
            self._hold(*(states[:, :, -kept:] for states in held))
        return held

    def get_seq_length(self) -> int:
        """Return the number of tokens read."""
        return self.dropped + self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of keys for a forward, and the position of the first one."""
        return self.length + query_length, self.dropped

    def copy(self, length: int) -> "WindowLayer":
        """Return a separate layer with the first `length` tokens, without those that were dropped."""
        made = WindowLayer(self.window)
        if self.buffers is not None:
            made._hold(*(states[:, :, : length - self.dropped] for states in self.buffers))
            made.dropped = self.dropped
        return made

    def save(self) -> dict[str, Any]:
        """Return copies of the keys and values of the last window, from which the layer can continue."""
        if self.buffers is None:
            return {}
        start = max(0, self.length - self.window + 1)
        states = [buffer[:, :, start : self.length].clone() for buffer in self.buffers]
        return {"window": states, "dropped": self.dropped + start}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go back to a saved state."""
        if saved:
            self._hold(*saved["window"])
            self.dropped = saved["dropped"]
        else:
            self.reset()

    def reset(self) -> None:
        """Hold nothing, and keep no memory."""
        super().reset()
        self.dropped = 0

    def _hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Replace the content by copies of these states."""
        self.buffers, self.length = None, 0
        GrowLayer.update(self, keys, values)


class GrowIndexedLayer(GrowLayer, DynamicIndexedLayer):  # type: ignore[no-untyped-call]
    """A growable layer of sparse attention, whose indexer has its own keys."""

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last `-tokens_to_remove` tokens (transformers' sign)."""
        GrowLayer.crop(self, tokens_to_remove)
        if self.indexer_keys is not None:
            self.indexer_keys = self.indexer_keys[:, : self.length]
        if self.indexer_position_ids is not None:
            self.indexer_position_ids = self.indexer_position_ids[..., : self.length]

    def copy(self, length: int) -> "GrowIndexedLayer":
        """Return a layer of its own that holds the first `length` tokens."""
        made: Any = GrowLayer.copy(self, length)
        if self.indexer_keys is not None:
            made.update_indexer(self.indexer_keys[:, :length])
        if self.indexer_position_ids is not None:
            made.indexer_position_ids = self.indexer_position_ids[..., :length]
        return made  # type: ignore[no-any-return]


class GrowHybridLayer(GrowLayer, LinearAttentionAndFullAttentionLayer):  # type: ignore[no-untyped-call,misc,override]
    """A growable layer of attention that also has convolution and recurrent states."""

    def __init__(self, number_of_states: int = 1) -> None:
        GrowLayer.__init__(self)
        LinearAttentionLayer.__init__(self, number_of_states)


def rollback_kind(model: PreTrainedModel) -> RollbackKind:
    """Return how this model's cache can be shortened, judged by its layers. The test at load decides.

    `Cache.is_croppable` of transformers is wrong for some caches.
    """
    layers = DynamicCache(config=model.config).layers
    stateful = getattr(model, "_is_stateful", False)
    croppable = (DynamicLayer, DynamicSlidingWindowLayer, DynamicIndexedLayer, DummyLayer)
    return "crop" if not stateful and all(type(layer) in croppable for layer in layers) else "snapshot"


def make_cache(model: PreTrainedModel, windows: bool = False) -> Cache:
    """Make an empty cache in which every layer of a known kind of attention is growable.

    With `windows`, layers of sliding attention drop older keys, unless layers share their keys.
    """
    cache = DynamicCache(config=model.config)
    if rollback_kind(model) == "snapshot":
        cache.layers = [_growable(layer) for layer in cache.layers]
        return cache
    # the config may have fewer layers than the model uses, and none for layers that share another's keys
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    layers = cache.layers
    plain = len(layers) == count and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    if plain and windows:
        return Cache(layers=[_windowed(layer) for layer in layers])
    shown = [*layers, *[None] * count][:count]
    return Cache(layers=[GrowIndexedLayer() if type(x) is DynamicIndexedLayer else GrowLayer() for x in shown])


def _windowed(layer: Any) -> GrowLayer:
    return WindowLayer(layer.sliding_window) if type(layer) is DynamicSlidingWindowLayer else GrowLayer()


def _growable(layer: Any) -> Any:
    """Return a growable layer in place of `layer`, or the layer itself."""
    if type(layer) is LinearAttentionAndFullAttentionLayer:
        return GrowHybridLayer(layer.number_of_states)
    return GrowLayer() if type(layer) is DynamicLayer else layer


def held_lengths(cache: Cache) -> set[int] | None:
    """Return the number of tokens in the attention layers; None for a cache with only recurrent states."""
    attention: list[Any] = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
    return {layer.get_seq_length() for layer in attention if layer.is_initialized} if attention else None


class Snapshot:
    """A snapshot of a cache with `length` tokens: copies of its layers' states, and lengths of growable layers."""

    def __init__(self, cache: Cache, length: int):
        self.length = length
        self._layers = [_save(layer) for layer in cache.layers]

    def restore(self, cache: Cache) -> None:
        """Restore the cache to this state."""
        for layer, saved in zip(cache.layers, self._layers, strict=True):
            _restore(layer, saved)

    def copied(self, cache: Cache, made: Cache) -> Cache:
        """Copy this state of `cache` into `made`, an empty cache, with its own memory. Returns it."""
        layers: list[Any] = cache.layers
        for number, (layer, saved) in enumerate(zip(layers, self._layers, strict=True)):
            if isinstance(layer, GrowLayer) and "length" in saved:
                made.layers[number] = layer.copy(saved["length"])
            _restore(made.layers[number], saved)
        return made

    @property
    def bytes(self) -> int:
        """The memory of the copies."""
        return sum(tensor_bytes(saved) for saved in self._layers)


GROWN = frozenset({*vars(GrowLayer()), "keys", "values", "dtype", "device"})
"""Attributes of a growable layer for its keys and values: a snapshot needs only their length."""


def _save(layer: Any) -> dict[str, Any]:
    """Copy all attributes of a layer: layers of future models may keep states under unknown names."""
    if isinstance(layer, GrowLayer):
        return layer.save()
    # an attention layer makes new tensors at each update, so a reference to the old ones is as good as a copy
    references = {"keys", "values"} if isinstance(layer, DynamicLayer) else set[str]()
    return {name: value if name in references else _copied(value) for name, value in vars(layer).items()}


def _restore(layer: Any, saved: Mapping[str, Any]) -> None:
    if isinstance(layer, GrowLayer):
        layer.restore(saved)
        return
    for name in vars(layer).keys() - saved.keys():
        delattr(layer, name)
    for name, value in saved.items():
        setattr(layer, name, value if name in ("keys", "values") else _copied(value))


def state_bytes(cache: Cache) -> int:
    """Return the bytes of everything in the layers except growable keys and values."""
    return sum(
        tensor_bytes(
            {name: held for name, held in vars(layer).items() if not (isinstance(layer, GrowLayer) and name in GROWN)}
        )
        for layer in cache.layers
    )


def grown_bytes(cache: Cache) -> int:
    """Return the bytes of the growable keys and values, including unused space."""
    return sum(tensor_bytes(layer.buffers) for layer in cache.layers if isinstance(layer, GrowLayer))


def own_states(cache: Cache) -> None:
    """Copy states that are rows of a larger tensor: a row keeps the memory of all rows of that tensor alive."""
    for layer in cache.layers:
        for name, held in list(vars(layer).items()):
            if not (isinstance(layer, GrowLayer) and name in GROWN):
                setattr(layer, name, _owned(held))


def _owned(held: Any) -> Any:
    if isinstance(held, torch.Tensor):
        return held.clone() if held.untyped_storage().nbytes() > tensor_bytes(held) else held
    return {key: _owned(value) for key, value in held.items()} if isinstance(held, dict) else held


def _copied(held: Any) -> Any:
    """Copy tensors in any nested containers: states are written in place, also after they were restored."""
    if isinstance(held, torch.Tensor):
        return held.clone()
    if isinstance(held, dict):
        return {key: _copied(value) for key, value in held.items()}
    if isinstance(held, list | tuple | set) and not hasattr(held, "_fields"):
        return type(held)(_copied(value) for value in held)
    return held


def tensor_bytes(held: Any) -> int:
    """Return the memory of the tensors in any nested containers."""
    if isinstance(held, torch.Tensor):
        return held.numel() * held.element_size()
    if isinstance(held, Mapping):
        return sum(map(tensor_bytes, held.values()))
    return sum(map(tensor_bytes, held)) if isinstance(held, list | tuple | set) else 0
