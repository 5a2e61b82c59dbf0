"""Peak memory of a run beyond what it must hold: the weights and the keys and values."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from glimp_core.bench.speed.floor import recorded
from glimp_core.local.local_engine import LocalEngine


def peak_beyond(run: Callable[[], Any], engines: Sequence[LocalEngine]) -> float | None:
    """Return (peak - before - keys and values) / weights of one run; None if the system does not tell.

    Before the run the weights are in memory. The peak is the GPU's, or the process's on Linux.
    """
    for engine in engines:
        engine.load()
        engine.forget()
    weights = sum(t.nbytes for engine in engines for t in engine.loaded[0].parameters())
    before = _peak(reset=True)
    if before is None:
        return None
    with recorded() as schedule:
        run()
    tokens = {id(f.model): f.start + len(f.token_ids) for f in schedule}
    held = sum(tokens.get(id(engine.loaded[0]), 0) * _bytes_a_token(engine.loaded[0].config) for engine in engines)
    after = _peak()
    return None if after is None else max(0.0, after - before - held) / weights


def _bytes_a_token(config: Any) -> int:
    text = config.get_text_config(decoder=True)
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    width = torch.finfo(getattr(config, "dtype", None) or torch.float32).bits // 8
    return int(2 * text.num_hidden_layers * text.num_key_value_heads * size * width)


def _peak(reset: bool = False) -> int | None:
    """Peak bytes since the last reset."""
    if torch.cuda.is_available():
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.max_memory_allocated())
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
