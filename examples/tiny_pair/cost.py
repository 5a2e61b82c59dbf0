"""Measures what a decoded token costs in each tiny model: one thread, batch 1, KV cache."""

import argparse
import statistics
import time
from pathlib import Path

import torch
from pairtools import load, prompt
from transformers import DynamicCache, PreTrainedModel

from glimp_core import bundled
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.local.forward import ModelForward, positions_after

TOKENS = 150


@torch.inference_mode()
def milliseconds(model: PreTrainedModel, row: list[int]) -> float:
    """Return the median time of a greedy decoding step after the prompt `row`."""
    feed, cache = ModelForward.of(model), DynamicCache(config=model.config)
    ids = torch.tensor([row])
    logits = feed(ids, positions_after(0, row, ids.device), cache, 1)
    times = []
    for length in range(len(row), len(row) + TOKENS):
        begun = time.perf_counter()
        token = logits.argmax(-1)
        logits = feed(token, torch.tensor([[length]]), cache, 1)
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times)


def main() -> None:
    """Print both costs and their ratio, the median of five turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds both models' folders")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    small, tokenizer = load(folder / bundled.SMALL)
    large, _ = load(folder / bundled.LARGE)
    row = prompt(make_problem(HELD_OUT), tokenizer)
    turns = [(milliseconds(small, row), milliseconds(large, row)) for _ in range(5)]
    cheap, dear = (statistics.median(costs) for costs in zip(*turns, strict=True))
    print(f"small {cheap:.2f} ms, large {dear:.2f} ms, ratio {dear / cheap:.2f}")


if __name__ == "__main__":
    main()
