"""Accuracy of each method at the same cost: the same share of tokens by the large model, or the same time.

glimp bench --methods glimp@9/0.3/0,random@0/0.2/1,h-step@9/0.2/-1 --out run.jsonl
python examples/experiments/equal_cost.py run.jsonl tiny-equal-cost

Between two thresholds of a method accuracy is interpolated; a cost that its thresholds do not span is left out.
Intervals are 95 % of a bootstrap over questions, differences are paired.
"""

import argparse
import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from plotting import COLOURS, MARKERS, save

from glimp_core.bench import Bootstrap, Ledger, Record
from glimp_core.bootstrap import Draw, Statistic, mean, ratio

COSTS: dict[str, tuple[Callable[[Record], float], Callable[[Record], float]]] = {
    "large_token_share": (lambda r: float(r.large_tokens), lambda r: float(r.tokens)),
    "cpu_seconds": (lambda r: r.cpu_seconds, lambda r: 1.0),
    "seconds": (lambda r: r.seconds, lambda r: 1.0),
}


def at_cost(settings: list[list[Record]], cost: str, wanted: float) -> Statistic:
    """Return the statistic that is a method's accuracy at a cost, from its records at several thresholds."""
    above, below = COSTS[cost]
    costs = [ratio([above(r) for r in records], [below(r) for r in records]) for records in settings]
    rights = [mean([float(r.correct) for r in records]) for records in settings]

    def accuracy(draw: Draw) -> float:
        points = sorted((cost(draw), right(draw)) for cost, right in zip(costs, rights, strict=True))
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            if x0 <= wanted <= x1:
                return y0 if x1 == x0 else y0 + (y1 - y0) * (wanted - x0) / (x1 - x0)
        return math.nan

    return accuracy


def compare(runs: dict[str, list[list[Record]]], cost: str, wanted: float, resamples: Bootstrap) -> dict[str, Any]:
    """Return each method's accuracy at a cost, and how far glimp is above it."""
    statistics = {name: at_cost(settings, cost, wanted) for name, settings in runs.items()}
    row: dict[str, Any] = {}
    for name, statistic in statistics.items():
        value = statistic(resamples.everything)
        if math.isnan(value):
            continue
        row[name] = {"accuracy": round(value, 4), "interval": _rounded(resamples.interval(statistic))}
        if name != "glimp" and "glimp" in statistics:
            over = _difference(statistics["glimp"], statistic)
            row[name] |= {"glimp_above": round(over(resamples.everything), 4)}
            row[name] |= {"glimp_above_interval": _rounded(resamples.interval(over))}
    return row


def draw(rows: list[dict[str, Any]], n: int) -> Figure:
    """Draw accuracy over the large model's share of tokens, a line a method, with 95 % intervals."""
    figure, axes = plt.subplots(figsize=(6.5, 4))
    shares = [row for row in rows if row["cost"] == "large_token_share"]
    names = dict.fromkeys(name for row in shares for name in row["methods"])
    width = 0.01 * (max(row["value"] for row in shares) - min(row["value"] for row in shares))  # keeps bars apart
    for place, name in enumerate(names):
        found = [(row["value"], row["methods"][name]) for row in shares if name in row["methods"]]
        across = [value + (place - len(names) / 2) * width for value, _ in found]
        up = [figures["accuracy"] for _, figures in found]
        ends = [figures["interval"] for _, figures in found]
        bars = [
            [u - end[0] for u, end in zip(up, ends, strict=True)],
            [end[1] - u for u, end in zip(up, ends, strict=True)],
        ]
        axes.errorbar(
            across, up, yerr=bars, label=name, color=COLOURS[name], marker=MARKERS[name], markersize=4, linewidth=1
        )
    axes.set_xlabel("share of tokens by the large model")
    axes.set_ylabel(f"right, of {n}; bars: 95 %")
    axes.set_ylim(0, 1.03)
    axes.legend(fontsize=8)
    return figure


def _difference(one: Statistic, other: Statistic) -> Statistic:
    return lambda draw: one(draw) - other(draw)


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in interval]


def main() -> None:
    """Print and keep the table of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledger", type=Path, help="what `glimp bench --out` wrote")
    parser.add_argument("name", help="name of the result")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.1, 0.15, 0.2, 0.3, 0.4, 0.5])
    parser.add_argument("--relative-times", type=float, nargs="*", default=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    arguments = parser.parse_args()
    if not arguments.ledger.exists():
        parser.error(f"no file {arguments.ledger}")
    ledger = Ledger(arguments.ledger)
    runs, time = _runs(ledger), _time_of_large(ledger)
    n = min(len(settings[0]) for settings in runs.values())
    resamples = Bootstrap(n)
    document: dict[str, Any] = {"n": n, "large_alone": time, "at": []}
    wanted = [("large_token_share", share, share) for share in arguments.shares]
    wanted += [(cost, part, part * time[cost]) for cost in time for part in arguments.relative_times]
    for cost, shown, value in wanted:
        row = compare(runs, cost, value, resamples)
        document["at"].append({"cost": cost, "relative": shown, "value": round(value, 4), "methods": row})
        print(f"{cost} {shown:.2f}:", ", ".join(f"{name} {figures['accuracy']:.1%}" for name, figures in row.items()))
    save(arguments.name, document, draw(document["at"], n))


def _runs(ledger: Ledger) -> dict[str, list[list[Record]]]:
    """The records of methods with two numbers or more, in one order of questions."""
    found: dict[str, dict[float, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(ledger, key=lambda record: record.question):
        if record.value is not None:
            found[record.method][record.value].append(record)
    return {name: list(settings.values()) for name, settings in found.items() if len(settings) > 1}


def _time_of_large(ledger: Ledger) -> dict[str, float]:
    large = [record for record in ledger if record.method == "large"]
    everything = range(len(large))
    return {
        cost: mean([COSTS[cost][0](record) for record in large])(everything)
        for cost in ("seconds", "cpu_seconds")
        if large
    }


if __name__ == "__main__":
    main()
