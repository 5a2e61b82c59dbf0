"""KV caches that can be rolled back: growable layers with O(1) crop, and snapshots of recurrent states."""

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
        made = type(self)()
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


class GrowIndexedLayer(GrowLayer, DynamicIndexedLayer):  # type: ignore[no-untyped-call]
    """A growable layer of sparse attention, whose indexer has keys of its own."""

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
    """A growable layer of attention that has convolution and recurrent states beside its keys."""

    def __init__(self, number_of_states: int = 1) -> None:
        GrowLayer.__init__(self)
        LinearAttentionLayer.__init__(self, number_of_states)


def rollback_kind(model: PreTrainedModel) -> RollbackKind:
    """Tell how this model's cache can be made shorter, as far as its layers show; the proof at load has the last word.

    `Cache.is_croppable` does not say it.
    """
    layers = DynamicCache(config=model.config).layers
    stateful = getattr(model, "_is_stateful", False)
    croppable = (DynamicLayer, DynamicSlidingWindowLayer, DynamicIndexedLayer, DummyLayer)
    return "crop" if not stateful and all(type(layer) in croppable for layer in layers) else "snapshot"


def make_cache(model: PreTrainedModel) -> Cache:
    """Make an empty cache in which every layer of a known kind of attention is growable."""
    cache = DynamicCache(config=model.config)
    if rollback_kind(model) == "snapshot":
        cache.layers = [_growable(layer) for layer in cache.layers]
        return cache
    # the config may show fewer layers than the model asks for, and none for layers that share another's keys
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    shown = [*cache.layers, *[None] * count][:count]
    return Cache(layers=[GrowIndexedLayer() if type(x) is DynamicIndexedLayer else GrowLayer() for x in shown])


def _growable(layer: Any) -> Any:
    """Return a growable layer that holds what `layer` would, or the layer itself."""
    if type(layer) is LinearAttentionAndFullAttentionLayer:
        return GrowHybridLayer(layer.number_of_states)
    return GrowLayer() if type(layer) is DynamicLayer else layer


def held_lengths(cache: Cache) -> set[int] | None:
    """Return how many tokens the attention layers hold that hold any; None for a cache of recurrent states alone."""
    attention: list[Any] = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
    return {layer.get_seq_length() for layer in attention if layer.is_initialized} if attention else None


class Snapshot:
    """The state of a cache that holds `length` tokens: whatever its layers hold, copied; lengths of growable ones."""

    def __init__(self, cache: Cache, length: int):
        self.length = length
        self._layers = [_save(layer) for layer in cache.layers]

    def restore(self, cache: Cache) -> None:
        """Bring the cache back to this state."""
        for layer, saved in zip(cache.layers, self._layers, strict=True):
            _restore(layer, saved)

    def copied(self, cache: Cache, made: Cache) -> Cache:
        """Bring `made`, an empty cache, to this state of `cache`, in memory of its own; returns it."""
        layers: list[Any] = cache.layers
        for number, (layer, saved) in enumerate(zip(layers, self._layers, strict=True)):
            if isinstance(layer, GrowLayer):
                made.layers[number] = layer.copy(saved[LENGTH])
            _restore(made.layers[number], saved)
        return made

    @property
    def bytes(self) -> int:
        """The memory of the copies."""
        return sum(_bytes(saved) for saved in self._layers)


LENGTH = "length"
GROWN = frozenset(vars(GrowLayer()))
"""What a growable layer holds for its keys and values: of these a snapshot needs the length only."""


def _save(layer: Any) -> dict[str, Any]:
    """Copy all that a layer holds: layers of models to come keep states under names that nobody knows here."""
    held = vars(layer)
    if isinstance(layer, GrowLayer):
        return {LENGTH: layer.length} | {name: _copied(held[name]) for name in held.keys() - GROWN}
    # an attention layer makes new keys and values at each update, so that a reference to them is a copy
    references = {"keys", "values"} if isinstance(layer, DynamicLayer) else set[str]()
    return {name: value if name in references else _copied(value) for name, value in held.items()}


def _restore(layer: Any, saved: Mapping[str, Any]) -> None:
    grown: frozenset[str] = GROWN if isinstance(layer, GrowLayer) else frozenset()
    if grown:
        layer.crop(saved[LENGTH] - layer.get_seq_length())
    for name in vars(layer).keys() - saved.keys() - grown:
        delattr(layer, name)
    for name in saved.keys() - grown:
        setattr(layer, name, saved[name] if name in ("keys", "values") else _copied(saved[name]))


def state_bytes(cache: Cache) -> int:
    """Return the memory of all that the layers hold besides growable keys and values."""
    return sum(
        _bytes(
            {name: held for name, held in vars(layer).items() if not (isinstance(layer, GrowLayer) and name in GROWN)}
        )
        for layer in cache.layers
    )


def grown_bytes(cache: Cache) -> int:
    """Return the memory of the growable keys and values, also of the room that is not used yet."""
    return sum(_bytes(layer.buffers) for layer in cache.layers if isinstance(layer, GrowLayer))


def _copied(held: Any) -> Any:
    """Copy tensors, in whatever they are nested: states are written in place, also after they were restored."""
    if isinstance(held, torch.Tensor):
        return held.clone()
    if isinstance(held, dict):
        return {key: _copied(value) for key, value in held.items()}
    if isinstance(held, list | tuple | set) and not hasattr(held, "_fields"):
        return type(held)(_copied(value) for value in held)
    return held


def _bytes(held: Any) -> int:
    if isinstance(held, torch.Tensor):
        return held.numel() * held.element_size()
    if isinstance(held, Mapping):
        return sum(map(_bytes, held.values()))
    return sum(map(_bytes, held)) if isinstance(held, list | tuple | set) else 0
