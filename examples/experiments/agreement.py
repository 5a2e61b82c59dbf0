"""Is the small model's first-token entropy a sign of how far it agrees with the large model on the step?

python examples/experiments/agreement.py --n 100 tiny-agreement

At every step both models write on from the same chain, which goes on with what the large model wrote.
"""

import argparse
import difflib
import itertools
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from plotting import save

from glimp_core import Context, GlimpRouter, Request, RouterConfig
from glimp_core.bench.judging import WrittenStep
from glimp_core.bench.questions import question_set
from glimp_core.chain import Chain, Clock, write_step
from glimp_core.plan import settle

EDGES = (0.0, 0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 1.2, 2.0, 99.0)


def steps(router: GlimpRouter, question: str) -> Iterator[dict[str, Any]]:
    """Follow one question; yields entropy, whether both steps are the same, and how alike they are."""
    with Context(Request(({"role": "user", "content": question},)), router.config.reasoning) as context:
        plan = settle(router.small.prepare(context), router.large.prepare(context), router.config)
        chain = Chain(context, plan, router.config, router.sampling)
        while chain.routed:
            glimpse = router.small.glimpse(context)
            small, large = (WrittenStep.by(engine, chain) for engine in (router.small, router.large))
            alike = difflib.SequenceMatcher(None, small.text, large.text, autojunk=False).ratio()
            yield {"entropy": glimpse.entropy, "same": small.text == large.text, "alike": alike}
            for _ in write_step(chain, large, "large", Clock()):
                pass


def binned(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return count and agreement for each bin of entropy."""
    rows = []
    for low, high in itertools.pairwise(EDGES):
        inside = [step for step in found if low <= step["entropy"] < high]
        if inside:
            same, alike = (sum(step[key] for step in inside) / len(inside) for key in ("same", "alike"))
            rows.append({"from": low, "to": high, "steps": len(inside), "same": same, "alike": alike})
    return rows


def draw(rows: list[dict[str, Any]], total: int) -> Figure:
    """Draw the share of steps and the agreement, a bar a bin."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(6.5, 5), sharex=True)
    places = range(len(rows))
    labels = [
        f"{row['from']:g} to {row['to']:g}" if row["to"] < EDGES[-1] else f"{row['from']:g} and more" for row in rows
    ]
    shares = [row["steps"] / total for row in rows]
    above.bar(places, shares, color="#0072b2")
    for place, share in zip(places, shares, strict=True):
        above.text(place, share, f"{share:.1%}", ha="center", va="bottom", fontsize=8)
    above.set_yscale("log")
    above.set_ylim(top=3)
    above.set_ylabel(f"share of {total:,} steps, log scale")
    below.bar(places, [row["same"] for row in rows], color="#d55e00", width=0.4, align="edge", label="the same step")
    below.bar(places, [row["alike"] for row in rows], color="#e69f00", width=-0.4, align="edge", label="alike (0 to 1)")
    below.set_ylabel("small and large agree")
    below.set_xticks(places, labels, rotation=30, ha="right")
    below.set_xlabel("entropy of the small model's first token, nats")
    below.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def main() -> None:
    """Follow some questions and keep the histogram."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="name of the result")
    parser.add_argument("--set", default="tiny")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", default="glimp-tiny-small")
    parser.add_argument("--large", default="glimp-tiny-large")
    parser.add_argument("--reasoning", default="auto")
    parser.add_argument("--max-tokens", type=int, default=2048)
    arguments = parser.parse_args()
    config = RouterConfig(reasoning=arguments.reasoning, max_answer_tokens=arguments.max_tokens)
    router = GlimpRouter.from_pretrained(arguments.small, arguments.large, config=config)
    questions = question_set(arguments.set, arguments.n, arguments.seed)
    found = [step for question in questions for step in steps(router, question.text)]
    rows = binned(found)
    for row in rows:
        within = f"H {row['from']:5g} to {row['to']:5g}: {row['steps']:5d} steps"
        print(f"{within}, same {row['same']:.3f}, alike {row['alike']:.3f}")
    entropies = [round(step["entropy"], 4) for step in found]
    document = {"set": arguments.set, "n": len(questions), "seed": arguments.seed, "bins": rows, "entropies": entropies}
    save(arguments.name, document, draw(rows, len(found)))


if __name__ == "__main__":
    main()
