"""How cost grows: milliseconds a token with the context, tokens a second with the requests at once.

python examples/benchmarks/scaling.py [--model glimp-tiny-large] [--contexts 256 1024] [--at-once 1 2 4 8] [--prepacked]

The contexts are read by a model of the same shape with random weights and a window that is long enough. Prints a table,
and one JSON document as the last line.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from glimp_core import AlwaysLarge, GlimpRouter, RouterConfig
from glimp_core.bench.machine import commit, machine
from glimp_core.bench.speed.floor import floor_seconds, recorded
from glimp_core.bench.speed.measuring import GREEDY, padded
from glimp_core.bench.speed.pairs import longer
from glimp_core.local import LocalEngine

QUESTION = "Start with 3 and count modulo 31. First *8. Second +1. Third *9. What is the result?"


def router(engine: LocalEngine, tokens: int) -> GlimpRouter:
    """Return one model as a pair, which answers at once."""
    config = RouterConfig(reasoning="off", max_answer_tokens=tokens, speculate=False)
    return GlimpRouter(engine, engine, AlwaysLarge(), config)


def by_context(engine: LocalEngine, contexts: list[int], tokens: int, rounds: int) -> list[dict[str, Any]]:
    """Return milliseconds a decoded token after contexts of some lengths, and how much of it is not the forward."""
    if not contexts:
        return []
    long, rows = longer(engine, max(contexts) + 512), []
    for context in contexts:
        question = padded(long, QUESTION, context)
        spent: list[tuple[float, float]] = []
        for _ in range(rounds + 1):
            long.forget()
            with recorded() as schedule:
                done = router(long, tokens).generate(question, sampling=GREEDY)
            used, forwards = done.usage.large, len([each for each in schedule if len(each.token_ids) == 1])
            around = max(0.0, done.finish.seconds - floor_seconds(schedule)) / max(1, forwards)
            spent.append((1000 * used.decode_seconds / max(1, used.decode_tokens), 1000 * around))
        token, around = (median(values) for values in zip(*spent[1:], strict=True))
        rows.append({"context": context, "ms_a_token": token, "ms_around_the_forward": around})
    return rows


def by_requests(engine: LocalEngine, at_once: list[int], tokens: int, rounds: int) -> list[dict[str, Any]]:
    """Return tokens a second with some numbers of requests at once."""
    questions = [f"{QUESTION} ({number})" for number in range(max(at_once))]
    pair = router(engine, tokens)

    def rate(workers: int) -> float:
        started = perf_counter()
        with ThreadPoolExecutor(workers) as threads:
            ask = lambda question: pair.generate(question, sampling=GREEDY).usage.completion_tokens  # noqa: E731
            return sum(threads.map(ask, questions)) / (perf_counter() - started)

    rate(at_once[0])
    rows = [
        {"at_once": workers, "tokens_a_second": median(rate(workers) for _ in range(rounds))} for workers in at_once
    ]
    return [row | {"times_as_many": row["tokens_a_second"] / rows[0]["tokens_a_second"]} for row in rows]


def table(rows: list[dict[str, Any]]) -> Table:
    """Lay rows of numbers out."""
    made = Table(*rows[0])
    for row in rows:
        made.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    return made


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glimp-tiny-large")
    parser.add_argument("--contexts", type=int, nargs="*", default=[256, 1024, 4096, 8192])
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=48, help="written by each request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepacked", action="store_true", help="keep a second, packed copy of float32 weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    engine = LocalEngine.from_pretrained(arguments.model, prepacked=arguments.prepacked)
    engine.load()
    measured = {
        "contexts": by_context(engine, arguments.contexts, arguments.tokens, arguments.rounds),
        "at_once": by_requests(engine, arguments.at_once, arguments.tokens, arguments.rounds),
    }
    for rows in filter(None, measured.values()):
        Console().print(table(rows))
    measured_with = {"model": arguments.model, "prepacked": arguments.prepacked}
    print(json.dumps({**measured_with, **measured, "machine": machine(), "commit": commit()}))


if __name__ == "__main__":
    main()
