"""One question, many ways: each model alone, transformers' generate() with and without an assistant, and the pair.

python examples/benchmarks/baselines.py [--small glimp-tiny-small --large glimp-tiny-large] [--tokens 96] [--rounds 3]

All ways take turns in one process, greedy and cold; the median counts. Prints a table, and one JSON document as the
last line.
"""

import argparse
import json
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from glimp_core import AlwaysLarge, AlwaysSmall, GlimpRouter, Policy, RandomRate
from glimp_core.bench.engines import Rerendered
from glimp_core.bench.machine import commit, machine
from glimp_core.bench.speed.generate import generate_per_step_seconds, generate_seconds
from glimp_core.bench.speed.measuring import GREEDY, Bench, prompt_ids
from glimp_core.context import Context
from glimp_core.types import GenerationParams, Request

QUESTION = "Start with 3 and count modulo 31. First *8. Second +1. Third *9. Fourth -4. Fifth *7. What is the result?"


class Ways:
    """What is timed: every way returns its seconds and how many tokens it wrote."""

    def __init__(self, bench: Bench, rate: float):
        self.bench = bench
        self.shared = RandomRate(rate, seed=1)
        self.prompt = prompt_ids(bench.large, bench.question, bench.config.reasoning)
        self.tokens = bench.run(AlwaysLarge(), speculate=False).usage.completion_tokens

    def all(self) -> dict[str, Callable[[], tuple[float, int]]]:
        """Return every way by its name."""
        return {
            "large alone": lambda: self.routed(AlwaysLarge()),
            "small alone": lambda: self.routed(AlwaysSmall(), answer_by="small"),
            "generate()": self.generated,
            "generate(assistant_model=small)": lambda: self.generated(assistant_model=self.bench.small.loaded[0]),
            "pair": lambda: self.routed(self.shared),
            "pair, drafting for the large model": lambda: self.routed(self.shared, speculate=True),
            "large alone, the small one drafting": self.drafted,
            "pair by generate() a step, no kept caches": self.per_step,
            "pair on the authors' schedule, kept caches": self.official,
        }

    def routed(self, policy: Policy, speculate: bool = False, **changes: Any) -> tuple[float, int]:
        """Have the pair answer."""
        done = self.bench.run(policy, speculate=speculate, **changes)
        return done.finish.seconds, done.usage.completion_tokens

    def generated(self, **options: Any) -> tuple[float, int]:
        """Have transformers write what the large model alone writes."""
        return generate_seconds(self.bench.large, self.prompt, self.tokens, **options), self.tokens

    def drafted(self) -> tuple[float, int]:
        """Have the large model write it all in one go, as a pair that does not think is served."""
        bench, request = self.bench, Request(({"role": "user", "content": self.bench.question},))
        engine = bench.large.drafted_by(bench.small)
        assert engine
        bench.small.forget()
        bench.large.forget()
        params = GenerationParams("thinking", self.tokens, stepwise=False, sampling=GREEDY)
        started = perf_counter()
        with Context(request, bench.config.reasoning) as context:
            written = sum(len(chunk.token_ids) for chunk in engine.generate(context, params))
        return perf_counter() - started, written

    def per_step(self) -> tuple[float, int]:
        """Write the steps of the pair by a call each."""
        done = self.bench.run(self.shared, speculate=False)
        seconds = generate_per_step_seconds(self.bench.small, self.bench.large, self.prompt, done)
        return seconds, done.usage.completion_tokens

    def official(self) -> tuple[float, int]:
        """Have the pair answer with two requests a step."""
        return self.routed(self.shared, small=Rerendered(self.bench.small), large=Rerendered(self.bench.large))


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", default="glimp-tiny-small")
    parser.add_argument("--large", default="glimp-tiny-large")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--tokens", type=int, default=96, help="of thinking at most, or of a reply that has none")
    parser.add_argument("--rate", type=float, default=0.25, help="of the steps that the large model writes in the pair")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    router = GlimpRouter.from_pretrained(arguments.small, arguments.large, dtype=arguments.dtype)
    router.load()
    ways = Ways(Bench.of(router, arguments.question, arguments.tokens), arguments.rate).all()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    wrote: dict[str, int] = {}
    for _ in range(arguments.rounds + 1):
        for name, way in ways.items():
            seconds, wrote[name] = way()
            taken[name].append(1000 * seconds / wrote[name])
    rows: list[dict[str, Any]] = [
        {"way": name, "tokens": wrote[name], "ms_a_token": median(each[1:])} for name, each in taken.items()
    ]
    shown = Table("way", "tokens", "ms a token", "of the large model alone")
    for row in rows:
        row["of_large_alone"] = row["ms_a_token"] / rows[0]["ms_a_token"]
        shown.add_row(row["way"], str(row["tokens"]), f"{row['ms_a_token']:.2f}", f"{row['of_large_alone']:.2f}")
    Console().print(shown)
    named = {name: getattr(arguments, name) for name in ("small", "large", "dtype", "tokens", "rate", "rounds")}
    print(json.dumps({**named, "rows": rows, "machine": machine(), "commit": commit()}))


if __name__ == "__main__":
    main()
