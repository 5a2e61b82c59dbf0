"""Small alone, large alone and the pair on held-out problems: python examples/benchmarks/tiny_pair.py [--problems 50].

Prints a table and, as the last line, the same figures as one JSON document.
"""

import argparse
import json
import os
import platform
from dataclasses import asdict, dataclass

from glimp_core import AlwaysLarge, AlwaysSmall, EntropyThreshold, GlimpRouter, Policy, RandomRate, RouterConfig
from glimp_core.bundled import LARGE, SMALL
from glimp_core.bundled.problems import HELD_OUT, grade, make_problem
from glimp_core.config import AnswerBy


@dataclass(frozen=True)
class Row:
    """What one way of answering came to; `large_share` is of all tokens written."""

    method: str
    accuracy: float
    intervention_rate: float
    large_share: float
    seconds: float


def measure(method: str, policy: Policy, problems: int, answer_by: AnswerBy = "large") -> Row:
    """Answer the first held-out problems one after the other."""
    router = GlimpRouter.from_pretrained(SMALL, LARGE, policy, RouterConfig(answer_by=answer_by))
    router.load()
    right = steps = interventions = tokens = large = 0
    seconds = 0.0
    for seed in range(HELD_OUT, HELD_OUT + problems):
        problem = make_problem(seed)
        done = router.generate(problem.question)
        right += grade(problem, done.answer)
        steps += len(done.routed)
        interventions += sum(routed.decision.intervene for routed in done.routed)
        tokens += done.usage.completion_tokens
        large += sum(step.tokens for step in done.steps if step.engine == "large")
        seconds += done.finish.seconds
    return Row(method, right / problems, interventions / max(1, steps), large / tokens, seconds / problems)


def main() -> None:
    """Measure each method and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=50)
    parser.add_argument("--thresholds", type=float, nargs="*", default=[0.1, 0.3, 0.5])
    arguments = parser.parse_args()
    n = arguments.problems
    rows = [measure("small alone", AlwaysSmall(), n, "small"), measure("large alone", AlwaysLarge(), n)]
    for threshold in arguments.thresholds:
        rows.append(measure(f"entropy over {threshold:g}", EntropyThreshold(threshold), n))
        rate = rows[-1].intervention_rate
        rows.append(measure(f"at random, {rate:.0%}", RandomRate(rate), n))
    print(f"{'method':18} {'right':>6} {'intervened':>11} {'large tokens':>13} {'s/question':>11}")
    for row in rows:
        shares = f"{row.accuracy:6.0%} {row.intervention_rate:11.0%} {row.large_share:13.0%}"
        print(f"{row.method:18} {shares} {row.seconds:11.2f}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"problems": n, "machine": machine, "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
