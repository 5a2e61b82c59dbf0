"""Decoding on a GPU with CUDA graphs and without, and how fast its memory would allow it to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch

from glimp_core.local.batch_graph import forget_batch
from glimp_core.local.graph import RECORDERS, WARM_UP
from glimp_core.local.local_engine import LocalEngine
from glimp_core.local.packing import run_together
from glimp_core.local.session import Forward, KVSession

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
    """Seconds to decode a token of each request: by plain forwards, by a graph, and to read the weights once."""

    eager: float
    graph: float
    floor: float


def decode_pace(engine: LocalEngine, tokens: int = 64, requests: int = 1) -> DecodePace | None:
    """Measure how fast a model decodes for so many requests at once; None if nothing is recorded, as on a CPU."""
    engine.load()
    if engine.device.type not in RECORDERS:
        return None
    with eager():
        plain = _seconds(engine, tokens, requests)
    weights = sum(parameter.nbytes for parameter in engine.loaded[0].parameters())
    return DecodePace(plain, _seconds(engine, tokens, requests), weights / _bytes_a_second(engine.device))


@torch.inference_mode()
def _seconds(engine: LocalEngine, tokens: int, requests: int) -> float:
    sessions = [KVSession(engine.loaded[0]) for _ in range(requests)]
    for session in sessions:
        for forward in session.sync([*range(PROMPT)]):
            forward.run()
    taken = []
    for _ in range(WARM_UP + 1 + tokens):
        forwards = [Forward(session, [_best(session)]) for session in sessions]
        started = perf_counter()
        run_together(forwards)
        _best(sessions[-1])  # waits for the device
        taken.append(perf_counter() - started)
    forget_batch(engine.loaded[0])
    return median(taken[WARM_UP + 1 :])


def _best(session: KVSession) -> int:
    assert session.logits is not None
    return int(session.logits[-1].argmax())


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
