"""One question, many ways: each model alone, transformers' generate() with and without an assistant, and the pair.

python examples/benchmarks/baselines.py [--small glimp-tiny-small --large glimp-tiny-large] [--tokens 96] [--rounds 3]

All ways take turns in one process, greedy and cold; the median counts. Prints a table, and one JSON document as the
last line.
"""

import argparse
import json
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from glimp_core import AlwaysLarge, AlwaysSmall, GlimpRouter, Policy, RandomRate, RouterConfig
from glimp_core.bench.machine import commit, machine
from glimp_core.completion import Completion
from glimp_core.local import LocalEngine
from glimp_core.local.speed.baselines import OfficialSchedule, generate_per_step_seconds, generate_seconds
from glimp_core.local.speed.measuring import GREEDY, prompt_ids

QUESTION = "Start with 3 and count modulo 31. First *8. Second +1. Third *9. Fourth -4. Fifth *7. What is the result?"


class Ways:
    """What is timed: every way returns its seconds and how many tokens it wrote."""

    def __init__(self, small: LocalEngine, large: LocalEngine, question: str, tokens: int, rate: float):
        self.small, self.large, self.question, self.tokens = small, large, question, tokens
        self.shared = RandomRate(rate, seed=1)
        self.prompt = prompt_ids(large, question)

    def all(self) -> dict[str, Callable[[], tuple[float, int]]]:
        """Return every way by its name."""
        return {
            "large alone": lambda: self.routed(AlwaysLarge()),
            "small alone": lambda: self.routed(AlwaysSmall()),
            "generate()": lambda: (generate_seconds(self.large, self.prompt, self.tokens), self.tokens),
            "generate(assistant_model=small)": self.assisted,
            "pair": lambda: self.routed(self.shared),
            "pair, drafting for the large model": lambda: self.routed(self.shared, speculate=True),
            "large alone, the small one drafting": lambda: self.routed(AlwaysLarge(), speculate=True),
            "pair by generate() a step, no kept caches": self.per_step,
            "pair on the authors' schedule, kept caches": lambda: self.routed(
                self.shared, OfficialSchedule.like(self.small), OfficialSchedule.like(self.large)
            ),
        }

    def routed(
        self,
        policy: Policy,
        small: LocalEngine | None = None,
        large: LocalEngine | None = None,
        speculate: bool = False,
    ) -> tuple[float, int]:
        """Have the pair answer."""
        pair = small or self.small, large or self.large
        done = self.reply(policy, *pair, speculate)
        return done.finish.seconds, done.usage.completion_tokens

    def reply(self, policy: Policy, small: LocalEngine, large: LocalEngine, speculate: bool = False) -> Completion:
        """Answer once, cold."""
        small.forget()
        large.forget()
        config = RouterConfig(reasoning="inline", max_answer_tokens=self.tokens, speculate=speculate)
        return GlimpRouter(small, large, policy, config).generate(self.question, sampling=GREEDY)

    def assisted(self) -> tuple[float, int]:
        """Have transformers speculate."""
        assistant = self.small.loaded[0]
        return generate_seconds(self.large, self.prompt, self.tokens, assistant_model=assistant), self.tokens

    def per_step(self) -> tuple[float, int]:
        """Write the steps of the pair by a call each."""
        done = self.reply(self.shared, self.small, self.large)
        return generate_per_step_seconds(self.small, self.large, self.prompt, done), done.usage.completion_tokens


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", default="glimp-tiny-small")
    parser.add_argument("--large", default="glimp-tiny-large")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rate", type=float, default=0.25, help="of the steps that the large model writes in the pair")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    small, large = (
        LocalEngine.from_pretrained(name, dtype=arguments.dtype) for name in (arguments.small, arguments.large)
    )
    small.load()
    large.load()
    ways = Ways(small, large, arguments.question, arguments.tokens, arguments.rate).all()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds + 1):
        for name, way in ways.items():
            seconds, tokens = way()
            taken[name].append(1000 * seconds / tokens)
    rows: list[dict[str, Any]] = [{"way": name, "ms_a_token": median(each[1:])} for name, each in taken.items()]
    shown = Table("way", "ms a token", "of the large model alone")
    for row in rows:
        row["of_large_alone"] = row["ms_a_token"] / rows[0]["ms_a_token"]
        shown.add_row(row["way"], f"{row['ms_a_token']:.2f}", f"{row['of_large_alone']:.2f}")
    Console().print(shown)
    named = {name: getattr(arguments, name) for name in ("small", "large", "dtype", "tokens", "rate", "rounds")}
    print(json.dumps({**named, "rows": rows, "machine": machine(), "commit": commit()}))


if __name__ == "__main__":
    main()
