"""How much memory a cache will take: known for each model from its first forward, which is part of its proof."""

from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from transformers.cache_utils import Cache

from glimp_core.local.cache import GrowLayer, WindowLayer, state_bytes, tensor_bytes


@dataclass(frozen=True, slots=True)
class CacheGrowth:
    """What a token takes in each layer of a model, and what its recurrent states take, in bytes."""

    places: tuple[int, ...]
    states: int

    @classmethod
    def of(cls, model: Any, cache: Cache) -> "CacheGrowth":
        """Return that of a model, measured on a cache that holds something if it was not measured before."""
        if model not in _known:
            measured = cls(tuple(_place_bytes(layer) for layer in cache.layers), state_bytes(cache))
            if not any(measured.places) and not measured.states:
                return measured
            _known[model] = measured
        return _known[model]

    def bytes_after(self, cache: Cache, tokens: int) -> int:
        """Return what a cache and its states take at most after so many more tokens."""
        grown = sum(each * _capacity_after(x, tokens) for x, each in zip(cache.layers, self.places, strict=False))
        return grown + max(self.states, state_bytes(cache))

    def snapshot_bytes(self, cache: Cache) -> int:
        """Return what a kept state takes at most: recurrent states, and the keys of windows."""
        windows = zip(cache.layers, self.places, strict=False)
        return self.states + sum(each * x.window for x, each in windows if isinstance(x, WindowLayer))


class CacheOwner(Protocol):
    """The pool that decides whether the cache of a session may grow."""

    def claim(self, session: Any, tokens: int) -> None:
        """Make room for so many more tokens. Raises `EngineError` if there is no room."""


def _place_bytes(layer: Any) -> int:
    if not isinstance(layer, GrowLayer) or layer.buffers is None:
        return 0
    return tensor_bytes(layer.buffers) // layer.capacity


def _capacity_after(layer: Any, tokens: int) -> int:
    return layer.capacity_for(layer.length + tokens) if isinstance(layer, GrowLayer) else 0


_known: WeakKeyDictionary[Any, CacheGrowth] = WeakKeyDictionary()
