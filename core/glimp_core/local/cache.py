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


SLACK = 64
"""So many tokens older than a window are kept: rejected drafts, and a reply asked for again, read nothing anew."""


class GrowLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """DynamicLayer's meaning on a buffer that doubles: appending costs the new tokens only, cutting nothing.

    Also exact for sliding attention, if its mask keeps to the window.
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
        """The shortest length that this layer can be cut to."""
        return 0

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

    def save(self) -> dict[str, Any]:
        """Return what is needed to go back to the present state: the length, and copies of other states."""
        held = vars(self)
        return {"length": self.length} | {name: _copied(held[name]) for name in held.keys() - GROWN}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go back to a saved state, of which the keys and values are still held."""
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
        if self.buffers is not None and needed <= self.capacity:
            return self.buffers
        capacity = max(needed, 2 * self.capacity, self._capacity)
        # zeros: a graph attends to the whole buffer, and what it masks must be numbers all the same
        grown = [states.new_zeros(*states.shape[:2], capacity, states.shape[3]) for states in (keys, values)]
        for buffer, held in zip(grown, self.buffers or (), strict=False):
            buffer[:, :, : self.length] = held[:, :, : self.length]
        return grown[0], grown[1]


class WindowLayer(GrowLayer):  # type: ignore[no-untyped-call]
    """A growable layer that forgets keys older than its window and `SLACK` tokens more."""

    is_sliding = True  # transformers makes the mask of all sliding layers for the first that says so

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.dropped = 0

    @property
    def floor(self) -> int:
        """The shortest length that this layer can be cut to."""
        return self.dropped + self.window - 1 if self.dropped else 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append [batch, heads, new, size] states and return all that are held."""
        held = super().update(key_states, value_states)
        kept = self.window - 1 + SLACK
        if self.length > kept + SLACK:  # not at every token: moving the rest costs as much as a window
            self.dropped += self.length - kept
            self._hold(*(states[:, :, -kept:] for states in held))
        return held

    def get_seq_length(self) -> int:
        """Return the number of tokens read."""
        return self.dropped + self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many keys a forward sees, and the position of the first."""
        return self.length + query_length, self.dropped

    def copy(self, length: int) -> "WindowLayer":
        """Return a layer of its own that holds the first `length` tokens, as far as they are not forgotten."""
        made = WindowLayer(self.window)
        if self.buffers is not None:
            made._hold(*(states[:, :, : length - self.dropped] for states in self.buffers))
            made.dropped = self.dropped
        return made

    def save(self) -> dict[str, Any]:
        """Return copies of the keys and values of the last window, from which the layer can go on."""
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
        """Hold copies of these states and nothing else."""
        self.buffers, self.length = None, 0
        GrowLayer.update(self, keys, values)


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


def make_cache(model: PreTrainedModel, windows: bool = False) -> Cache:
    """Make an empty cache in which every layer of a known kind of attention is growable.

    With `windows` those of sliding attention forget what is older, if no layers share their keys.
    """
    cache = DynamicCache(config=model.config)
    if rollback_kind(model) == "snapshot":
        cache.layers = [_growable(layer) for layer in cache.layers]
        return cache
    # the config may show fewer layers than the model asks for, and none for layers that share another's keys
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
            if isinstance(layer, GrowLayer) and "length" in saved:
                made.layers[number] = layer.copy(saved["length"])
            _restore(made.layers[number], saved)
        return made

    @property
    def bytes(self) -> int:
        """The memory of the copies."""
        return sum(_bytes(saved) for saved in self._layers)


GROWN = frozenset({*vars(GrowLayer()), "keys", "values", "dtype", "device"})
"""What a growable layer holds for its keys and values: of these a snapshot needs the length only."""


def _save(layer: Any) -> dict[str, Any]:
    """Copy all that a layer holds: layers of models to come keep states under names that nobody knows here."""
    if isinstance(layer, GrowLayer):
        return layer.save()
    # an attention layer makes new keys and values at each update, so that a reference to them is a copy
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


def own_states(cache: Cache) -> None:
    """Copy the states that are rows of a larger tensor: a row keeps the memory of all rows that it was packed with."""
    for layer in cache.layers:
        for name, held in list(vars(layer).items()):
            if not (isinstance(layer, GrowLayer) and name in GROWN):
                setattr(layer, name, _owned(held))


def _owned(held: Any) -> Any:
    if isinstance(held, torch.Tensor):
        return held.clone() if held.untyped_storage().nbytes() > _bytes(held) else held
    return {key: _owned(value) for key, value in held.items()} if isinstance(held, dict) else held


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
