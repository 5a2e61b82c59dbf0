"""What smaller weights cost and save on this machine: speed, memory, and how far the model's predictions move.

python examples/benchmarks/quantised.py MODEL [--kinds float32 bfloat16 int8 int4] [--tokens 24]

`int8` and `int4` are weight-only, by torchao (`pip install torchao==0.18.0`). Predictions are compared with those of
float32 on one text: the share of places with the same likeliest token, the divergence in nats, and how far the entropy
moves, which is what a threshold is compared with. Prints a table, and one JSON document as the last line.
"""

import argparse
import gc
import json
from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from glimp_core.bench.machine import commit, machine
from glimp_core.local import LocalEngine
from glimp_core.local.session import KVSession

TEXT = """A baker sells rolls in bags of six. On Monday she filled 14 bags and had 4 rolls left over, so she baked
6 * 14 + 4 = 88 rolls. On Tuesday she wants to bake a quarter more. A quarter of 88 is 22, which makes 110 rolls.

How many bags does she need then? 110 divided by 6 is 18 with 2 left over. If no roll may stay on the shelf, the two
need a bag of their own, so she needs 19 bags. To check: 18 bags hold 108 rolls, and 108 + 2 = 110.

The shop next door sells the same rolls one by one, at 35 cents. For the price of a bag of six at 1.80 euros one gets
five rolls there, with five cents to spare. Whoever wants six or more is better off with the baker."""


def options(kind: str) -> dict[str, Any]:
    """Return how an engine is told to load a kind of weights."""
    if kind in ("float32", "bfloat16"):
        return {"dtype": kind}
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    if kind == "int8":
        chosen: Any = Int8WeightOnlyConfig()
    elif torch.cuda.is_available():
        chosen = Int4WeightOnlyConfig(group_size=32, int4_packing_format="tile_packed_to_4d")
    else:
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

        chosen = PrototypeInt4WeightOnlyConfig(group_size=32)
    return {"dtype": "bfloat16", "quantization_config": TorchAoConfig(chosen)}


@torch.inference_mode()
def measure(model: str, kind: str, tokens: int) -> tuple[dict[str, Any], torch.Tensor]:
    """Return what one kind takes, and its logits [places, vocabulary] on the text."""
    engine = LocalEngine.from_pretrained(model, **options(kind))
    engine.load()
    session, token_ids = KVSession(engine.loaded[0]), engine.encode(TEXT)
    for forward in session.sync(token_ids, keep=len(token_ids)):
        forward.run()
    assert session.logits is not None
    logits, taken = session.logits, []
    for at in range(tokens):
        started = perf_counter()
        session.feed([token_ids[at]])
        taken.append(perf_counter() - started)
    weights = sum(part.nbytes for each in engine.loaded[0].parameters() for part in plain(each)) / 2**20
    return {"kind": kind, "ms_a_token": 1000 * median(taken), "weights_mib": weights}, logits


def plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the tensors that hold the numbers of a tensor, which may be a packed one."""
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from plain(getattr(tensor, name))
    else:
        yield tensor


def moved(logits: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """Return how far predictions are from those of float32."""
    log_p, log_q = reference.log_softmax(-1), logits.log_softmax(-1)
    entropies = [-(each.exp() * each).sum(-1) for each in (log_q, log_p)]
    return {
        "same_token": float((logits.argmax(-1) == reference.argmax(-1)).float().mean()),
        "divergence": float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
        "entropy_moved": float((entropies[0] - entropies[1]).abs().mean()),
    }


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kinds", nargs="*", default=["float32", "bfloat16", "int8", "int4"])
    parser.add_argument("--tokens", type=int, default=24, help="decoded for the time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, reference = [], None
    for kind in ["float32", *(kind for kind in arguments.kinds if kind != "float32")]:
        row, logits = measure(arguments.model, kind, arguments.tokens)
        reference = logits if reference is None else reference
        rows.append(row | moved(logits, reference))
        gc.collect()
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else value for value in row.values()))
    Console().print(table)
    print(json.dumps({"model": arguments.model, "rows": rows, "machine": machine(), "commit": commit()}))


if __name__ == "__main__":
    main()
