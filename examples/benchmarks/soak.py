"""Many short requests from many threads, some of them given up: no wrong answer, no leak, no stuck thread.

python examples/benchmarks/soak.py [--requests 2000] [--threads 16] [--given-up 0.3] [--speculate]

Every question is first answered alone; each of the many requests must then say the same to the letter. Those that are
given up close their stream after a random number of events, or are cancelled from another thread. Prints one JSON
document.
"""

import argparse
import gc
import json
import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import torch

from glimp_core import GlimpRouter, RouterConfig, SamplingParams
from glimp_core.bench.machine import commit, machine
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.completion import Completion
from glimp_core.errors import Cancelled

PATIENCE = 300.0
"""A request that takes longer, in seconds, is stuck."""


class Soak:
    """One router under load, and what every question must be answered with."""

    def __init__(self, router: GlimpRouter, questions: list[str], given_up: float):
        self.router = router
        self.questions = questions
        self.given_up = given_up
        self.counts: Counter[str] = Counter()
        self.expected = {question: _words(router.generate(question)) for question in questions}

    def ask(self, seed: int) -> None:
        """Answer one question, or give it up in one of two ways."""
        chance = random.Random(seed)
        question = chance.choice(self.questions)
        fate = chance.random() / self.given_up if self.given_up else 1.0
        if fate >= 1:
            outcome = "right" if _words(self.router.generate(question)) == self.expected[question] else "wrong"
        else:
            outcome = self._close(question, chance) if fate < 0.5 else self._cancel(question, chance)
        self.counts[outcome] += 1

    def _close(self, question: str, chance: random.Random) -> str:
        events = self.router.stream(question)
        for _ in zip(range(chance.randrange(1, 60)), events, strict=False):
            pass
        events.close()  # type: ignore[attr-defined]
        return "closed"

    def _cancel(self, question: str, chance: random.Random) -> str:
        cancelled = threading.Event()
        timer = threading.Timer(chance.uniform(0, 0.5), cancelled.set)
        timer.start()
        try:
            done = self.router.generate(question, cancelled=cancelled)
        except Cancelled:
            return "cancelled"
        finally:
            timer.cancel()
        return "right" if _words(done) == self.expected[question] else "wrong"


def _words(done: Completion) -> str:
    return done.reasoning + done.answer


def resident_mib() -> float | None:
    """Return the memory of this process in MiB, None where the system does not tell."""
    gc.collect()
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def main() -> None:
    """Soak a router, and exit with 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--questions", type=int, default=64, help="different questions")
    parser.add_argument("--given-up", type=float, default=0.3, help="share of the requests that is given up")
    parser.add_argument("--speculate", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    router = GlimpRouter.from_pretrained(
        "glimp-tiny-small", "glimp-tiny-large", config=RouterConfig(speculate=arguments.speculate or None),
        sampling=SamplingParams(temperature=0), dtype="float32",
    )  # fmt: skip
    questions = [make_problem(HELD_OUT + number).question for number in range(arguments.questions)]
    soak, memory = Soak(router, questions, arguments.given_up), [resident_mib()]
    started = perf_counter()
    with ThreadPoolExecutor(arguments.threads) as threads:
        for quarter in range(4):
            seeds = range(quarter * arguments.requests // 4, (quarter + 1) * arguments.requests // 4)
            futures = [threads.submit(soak.ask, seed) for seed in seeds]
            for future in futures:
                future.result(timeout=PATIENCE)
            memory.append(resident_mib())
            print(f"{seeds.stop} requests, {memory[-1]} MiB, {dict(soak.counts)}", file=sys.stderr)
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    document = {
        "requests": arguments.requests, "threads": arguments.threads, "outcomes": dict(soak.counts),
        "mib": memory, "threads_left": left, "seconds": perf_counter() - started,
        "machine": machine(), "commit": commit(),
    }  # fmt: skip
    print(json.dumps(document))
    sys.exit(bool(soak.counts["wrong"]))


if __name__ == "__main__":
    main()
