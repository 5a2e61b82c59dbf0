"""What measuring afterwards throws away: tokens of the reply by writer, and tokens written for nothing.

glimp bench --methods large,glimp,specreason,h-step@0.2 --json > run.json
python examples/experiments/sunk_cost.py run.json tiny-sunk-cost
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from plotting import read, save, seconds

PARTS = (
    ("small model", "#56b4e9"),
    ("large model", "#d55e00"),
    ("written by the small model and discarded", "#bbbbbb"),
)


TIME = {False: "wall time", True: "time in forwards"}


def tokens(row: dict[str, Any]) -> tuple[float, float, float]:
    """Return a method's tokens a question: kept of the small model, of the large one, and discarded."""
    large = row["large_token_share"] * row["tokens_per_question"]
    return row["tokens_per_question"] - large, large, row["discarded_tokens_per_question"]


def main() -> None:
    """Draw the figure of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("document", type=Path, help="what `glimp bench --json` printed")
    parser.add_argument("name", help="name of the result")
    parser.add_argument("--methods", nargs="*", help="labels to show (default: all)")
    arguments = parser.parse_args()
    run = read(arguments.document)
    rows = [row for row in run["methods"] if not arguments.methods or row["method"] in arguments.methods]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.32 * len(rows)))
    left = [0.0] * len(rows)
    for at, (label, colour) in enumerate(PARTS):
        widths = [tokens(row)[at] for row in rows]
        axes.barh(range(len(rows)), widths, left=left, color=colour, label=label)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for at, row in enumerate(rows):
        axes.text(left[at], at, f" {row['accuracy']:.0%}, {seconds(row, run):.2f} s", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(left))
    axes.set_xlabel(
        f"tokens a question ({run['set']}, n={run['n']}); beside the bars: right, {TIME[run.get('at_once', 1) > 1]}"
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -1.4)
    shown = {row["method"]: dict(zip(("small", "large", "discarded"), tokens(row), strict=True)) for row in rows}
    save(arguments.name, {"set": run["set"], "n": run["n"], "tokens_per_question": shown, "run": run}, figure)


if __name__ == "__main__":
    main()
