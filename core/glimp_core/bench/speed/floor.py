"""The floor: the bare time of exactly the forwards that a run needed, with nothing around them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

from glimp_core.local.cache import make_cache
from glimp_core.local.forward import ModelForward, positions_after
from glimp_core.local.session import KVSession


@dataclass(frozen=True, slots=True)
class RecordedForward:
    """One forward of a run: the model, the ids it read, and where in the context they stood."""

    model: Any
    token_ids: tuple[int, ...]
    start: int
    keep: int


@contextmanager
def recorded() -> Iterator[list[RecordedForward]]:
    """Collect the forwards of all sessions while the block runs."""
    schedule: list[RecordedForward] = []
    feed = KVSession.feed

    def noting(self: KVSession, token_ids: Sequence[int], keep: int = 1) -> None:
        schedule.append(RecordedForward(self.model, tuple(token_ids), len(self.token_ids), keep))
        feed(self, token_ids, keep)

    KVSession.feed = noting  # type: ignore[method-assign]
    try:
        yield schedule
    finally:
        KVSession.feed = feed  # type: ignore[method-assign]


@torch.inference_mode()
def floor_seconds(schedule: Sequence[RecordedForward]) -> float:
    """Run the forwards of a schedule again, bare, and return the time spent inside them."""
    caches: dict[int, Any] = {}
    seconds = 0.0
    for forward in schedule:
        cache = caches.setdefault(id(forward.model), make_cache(forward.model))
        if (extra := cache.get_seq_length() - forward.start) > 0:
            cache.crop(-extra)
        ids = torch.tensor([forward.token_ids], device=forward.model.device)
        positions = positions_after(forward.start, forward.token_ids, ids.device)
        started = perf_counter()
        ModelForward.of(forward.model)(ids, positions, cache, forward.keep)
        seconds += perf_counter() - started
    return seconds
