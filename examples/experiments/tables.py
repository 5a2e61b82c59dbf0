"""A run as a table: accuracy, how much the large model wrote, time, and how far glimp is ahead of each method.

glimp bench --methods small,large,glimp,random --json > run.json
python examples/experiments/tables.py run.json tiny
"""

import argparse
from pathlib import Path
from typing import Any

from plotting import RESULTS, read, save, seconds

HEAD = (
    "method", "right (95 %)", "gap closed", "steps by large", "tokens by large", "time of large alone",
    "discarded tokens", "glimp is ahead by (95 %)",
)  # fmt: skip


def markdown(run: dict[str, Any]) -> str:
    """Return the methods of a run as a Markdown table, its set, number of questions and command above it."""
    large = next((seconds(row, run) for row in run["methods"] if row["method"] == "large"), None)
    ahead = {row["against"]: row for row in run["comparisons"]}
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    lines += [
        _line(_cells(row, large and seconds(row, run) / large, ahead.get(row["method"]))) for row in run["methods"]
    ]
    head = f"{run['set']}, n={run['n']}, seed {run['seed']}, commit {run['commit']}: `{run['command']}`"
    return head + "\n\n" + "\n".join(lines) + "\n"


def _cells(row: dict[str, Any], time: float | None, ahead: dict[str, Any] | None) -> list[str]:
    closed = row.get("gap_closed")
    shown = row["method"] if "@" in row["method"] or row["value"] is None else f"{row['method']} ({row['value']:g})"
    return [
        shown,
        f"{row['accuracy']:.1%} ({_span(row['interval'])})",
        "-" if closed is None else f"{closed:.0%}",
        f"{row['intervention_rate']:.1%}",
        f"{row['large_token_share']:.1%}",
        "-" if time is None else f"{time:.2f}",
        f"{row['discarded_tokens_per_question']:.0f}",
        "" if ahead is None else f"{100 * ahead['accuracy_difference']:.1f} points ({_span(ahead['interval'])})",
    ]


def _span(interval: list[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print and keep the table of a run, with the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("document", type=Path, help="what `glimp bench --json` printed")
    parser.add_argument("name", help="name of the result")
    arguments = parser.parse_args()
    run = read(arguments.document)
    save(arguments.name, {"run": run})
    path = RESULTS / f"{arguments.name}.md"
    path.write_text(markdown(run), encoding="utf-8")
    print(markdown(run))


if __name__ == "__main__":
    main()
