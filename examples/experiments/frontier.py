"""Accuracy against time and against the large model's share of tokens, over the thresholds of each method.

glimp bench --methods small,large,glimp@0/0.1/0.3,random@0.1/0.3 --json > run.json
python examples/experiments/frontier.py run.json tiny-frontier
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from plotting import COLOURS, MARKERS, kind, read, save

SHARE = ("large_token_share", "share of tokens by the large model")
ALONE = (
    ("seconds_per_question", "seconds a question (wall)"),
    ("cpu_seconds_per_question", "processor seconds a question"),
    SHARE,
)
SIDE_BY_SIDE = (("forward_seconds_per_question", "seconds in forwards a question, of shared batches"), SHARE)
"""What is told of a run with --at-once: wall time is that of all replies that were being written."""


def draw(axes: Axes, rows: list[dict[str, Any]], key: str) -> None:
    """Draw one line a method, a point a threshold, with the 95 % interval of its accuracy."""
    lines = defaultdict(list)
    for row in rows:
        lines[kind(row["method"])].append((row["value"] or 0, row[key], row["accuracy"], *row["interval"]))
    for name, points in lines.items():
        _, across, up, low, high = zip(*sorted(points), strict=True)
        below = [u - end for u, end in zip(up, low, strict=True)]
        above = [end - u for u, end in zip(up, high, strict=True)]
        alone = name in ("small", "large")
        axes.errorbar(
            across, up, yerr=(below, above), label=None if alone else name, color=COLOURS[name], marker=MARKERS[name],
            markersize=4, linewidth=0 if alone else 1, elinewidth=0.5, alpha=0.9,
        )  # fmt: skip
        if alone:
            axes.annotate(name, (across[0], up[0]), xytext=(5, -10), textcoords="offset points")


def main() -> None:
    """Draw the figure of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("document", type=Path, help="what `glimp bench --json` printed")
    parser.add_argument("name", help="name of the result")
    arguments = parser.parse_args()
    run = read(arguments.document)
    shown = ALONE if run.get("at_once", 1) == 1 else SIDE_BY_SIDE
    figure, panels = plt.subplots(1, len(shown), figsize=(1 + 4 * len(shown), 4), sharey=True)
    for axes, (key, label) in zip(panels, shown, strict=True):
        draw(axes, run["methods"], key)
        axes.set_xlabel(label)
    panels[0].set_ylabel(f"right, of {run['n']} ({run['set']}); bars: 95 %")
    panels[0].legend(fontsize=8)
    save(arguments.name, {"run": run}, figure)


if __name__ == "__main__":
    main()
