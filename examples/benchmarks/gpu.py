"""How fast a GPU decodes, for one request and for some at once: by plain forwards, by CUDA graphs, and as its memory
allows; random weights, real shapes. A turn is one token of every request.

python examples/benchmarks/gpu.py [--shapes qwen3-0.6b qwen3-8b] [--at-once 1 8] [--dtype bfloat16] [--tokens 64]

Prints a table, and one JSON document as the last line.
"""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

from glimp_core import bundled
from glimp_core.bench.machine import commit, machine
from glimp_core.bench.speed.graphs import decode_pace
from glimp_core.local import LocalEngine
from glimp_core.source import ModelSource

COMMON: dict[str, Any] = {"vocab_size": 151_936, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 1e6}
SHAPES = {
    "qwen3-0.6b": Qwen3Config(
        **COMMON, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        tie_word_embeddings=True,
    ),
    "qwen3-8b": Qwen3Config(
        **COMMON, hidden_size=4096, intermediate_size=12_288, num_hidden_layers=36, num_attention_heads=32,
        tie_word_embeddings=False,
    ),
}  # fmt: skip


def engine(shape: str, dtype: str) -> LocalEngine:
    """Return an engine on a model of a shape, with random weights, on the GPU."""
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(SHAPES[shape], dtype=getattr(torch, dtype), trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(bundled.path("glimp-tiny-small"), trust_remote_code=False)
    return LocalEngine(ModelSource.of((model, tokenizer)))


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--at-once", nargs="*", type=int, default=[1, 8], metavar="REQUESTS")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA GPU, and torch finds none")
    rows = []
    for shape in arguments.shapes:
        model = engine(shape, arguments.dtype)
        for requests in arguments.at_once:
            pace = decode_pace(model, arguments.tokens, requests)
            assert pace
            milliseconds = {name: 1000 * seconds for name, seconds in asdict(pace).items()}
            rows.append({"shape": shape, "at_once": requests, **milliseconds})
        torch.cuda.empty_cache()
    table = Table("shape", "at once", "eager, ms a turn", "graph, ms a turn", "reading the weights, ms")
    for row in rows:
        times = (f"{row[name]:.2f}" for name in ("eager", "graph", "floor"))
        table.add_row(row["shape"], str(row["at_once"]), *times)
    Console().print(table)
    print(json.dumps({"dtype": arguments.dtype, "rows": rows, "machine": machine(), "commit": commit()}))


if __name__ == "__main__":
    main()
