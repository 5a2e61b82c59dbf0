"""Chooses a threshold on one set of questions and tests it on another.

glimp bench --seed 1 --methods small,large,glimp@0.05/0.1/0.3,random@... --json > calibration.json
glimp bench --seed 0 --methods (the same) --json > test.json
python examples/experiments/calibration.py calibration.json test.json tiny-calibration

The threshold chosen is the one of fewest interventions among those that close `--close` of the gap between small and
large on the calibration set.
"""

import argparse
from pathlib import Path
from typing import Any

from plotting import kind, read, save, seconds

SHOWN = ("accuracy", "interval", "gap_closed", "gap_closed_interval", "intervention_rate", "large_token_share")


def choose(rows: list[dict[str, Any]], method: str, close: float) -> dict[str, Any]:
    """Return the row of fewest interventions that closes enough of the gap, the best one where none does."""
    candidates = [row for row in rows if kind(row["method"]) == method]
    enough = [row for row in candidates if row["gap_closed"] is not None and row["gap_closed"] >= close]
    if enough:
        return min(enough, key=lambda row: row["intervention_rate"])
    return max(candidates, key=lambda row: row["accuracy"])


def main() -> None:
    """Print and keep what was chosen, and how it did on both sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("name", help="name of the result")
    parser.add_argument("--close", type=float, default=0.9, help="share of the gap to close on the calibration set")
    arguments = parser.parse_args()
    before, after = read(arguments.calibration), read(arguments.test)
    by_label = {row["method"]: row for row in after["methods"]}
    methods = list(dict.fromkeys(kind(row["method"]) for row in before["methods"] if "@" in row["method"]))
    chosen = {method: choose(before["methods"], method, arguments.close) for method in methods}
    document: dict[str, Any] = {"close": arguments.close, "chosen": {}}
    for name, run in (("calibration", before), ("test", after)):
        document[name] = {key: run[key] for key in ("set", "seed", "n")}
    for method, row in chosen.items():
        tested = by_label[row["method"]]
        document["chosen"][method] = {
            "value": row["value"], "calibration": _shown(row, before), "test": _shown(tested, after),
        }  # fmt: skip
        print(f"{row['method']:20} calibration {_line(row, before)}   test {_line(tested, after)}")
    save(arguments.name, document)


def _shown(row: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    return {**{key: row.get(key) for key in SHOWN}, "time_of_large": _time(row, run)}


def _time(row: dict[str, Any], run: dict[str, Any]) -> float:
    large = next(other for other in run["methods"] if other["method"] == "large")
    return round(seconds(row, run) / seconds(large, run), 4)


def _line(row: dict[str, Any], run: dict[str, Any]) -> str:
    closed = f"{row['gap_closed']:.0%}" if row.get("gap_closed") is not None else "-"
    figures = f"{row['accuracy']:.1%} right, {row['intervention_rate']:.1%} of steps, gap closed {closed}"
    return f"{figures}, time {_time(row, run):.0%}"


if __name__ == "__main__":
    main()
