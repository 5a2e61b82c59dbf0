"""Decoding on a GPU with CUDA graphs and without, and how fast its memory would allow it to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch

from glimp_core.local.engine import LocalEngine
from glimp_core.local.graph import RECORDERS, WARM_UP
from glimp_core.local.session import KVSession

PROMPT = 64


@contextmanager
def eager() -> Iterator[None]:
    """Have nothing recorded while the block runs."""
    kept = dict(RECORDERS)
    RECORDERS.clear()
    try:
        yield
    finally:
        RECORDERS.update(kept)


@dataclass(frozen=True, slots=True)
class DecodePace:
    """Seconds a token: by plain forwards, by a graph, and to read the weights once from memory."""

    eager: float
    graph: float
    floor: float


def decode_pace(engine: LocalEngine, tokens: int = 64) -> DecodePace | None:
    """Measure how fast a model decodes; None where nothing is recorded, as on a CPU."""
    engine.load()
    if engine.device.type not in RECORDERS:
        return None
    with eager():
        plain = _seconds(engine, tokens)
    weights = sum(parameter.nbytes for parameter in engine.loaded[0].parameters())
    return DecodePace(plain, _seconds(engine, tokens), weights / _bytes_a_second(engine.device))


@torch.inference_mode()
def _seconds(engine: LocalEngine, tokens: int) -> float:
    session = KVSession(engine.loaded[0])
    for forward in session.sync([*range(PROMPT)]):
        forward.run()
    taken = []
    for _ in range(WARM_UP + 1 + tokens):
        assert session.logits is not None
        token_id = int(session.logits[-1].argmax())
        started = perf_counter()
        session.feed([token_id])
        int(session.logits[-1].argmax())  # waits for the device
        taken.append(perf_counter() - started)
    return median(taken[WARM_UP + 1 :])


def _bytes_a_second(device: torch.device) -> float:
    """How fast the device reads and writes its memory: the best of some large copies."""
    source = torch.zeros(2**28, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), 0.0
    for _ in range(8):
        int(target[0])
        started = perf_counter()
        target.copy_(source)
        int(target[0])
        best = max(best, 2 * source.nbytes / (perf_counter() - started))
    return best
