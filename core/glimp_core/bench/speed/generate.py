"""What Glimp is compared with: transformers' generate(), called once or once a step."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch

from glimp_core.completion import Completion
from glimp_core.local.local_engine import LocalEngine


def generate_seconds(engine: LocalEngine, token_ids: Sequence[int], new: int, **options: Any) -> float:
    """Return the time of one greedy generate() call that writes `new` tokens; `options` are its own."""
    model, _ = engine.loaded
    ids = torch.tensor([token_ids], device=model.device)
    mask = torch.ones_like(ids)
    started = perf_counter()
    length = {"max_new_tokens": new, "min_new_tokens": new}
    model.generate(ids, attention_mask=mask, do_sample=False, **length, **options)
    return perf_counter() - started


def generate_per_step_seconds(small: LocalEngine, large: LocalEngine, prompt: Sequence[int], done: Completion) -> float:
    """Return the time of the same steps by one generate() call each, all ids read anew: a glimpse, then the step."""
    token_ids, seconds = list(prompt), 0.0
    for step in done.steps:
        if step.entropy is not None:
            seconds += generate_seconds(small, token_ids, 1)
        seconds += generate_seconds(small if step.engine == "small" else large, token_ids, step.tokens)
        token_ids += [token_ids[-1]] * step.tokens  # only the number of tokens matters to the time
    return seconds
