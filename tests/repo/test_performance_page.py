"""Every figure in the tables of docs/performance.md, and in the one of signals in docs/evidence.md, is one that a
command printed, and is kept under examples/."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

SPEED = {
    "time of a routed run, divided by its bare forwards": "routed run / floor",
    "routed run against the authors' schedule": "authors' schedule with kept caches / routed run",
    "routed run against one `generate()` for each step": "generate() per step without caches / routed run",
    "one model against `generate()`": "generate() / our decode, one model",
    "with drafts against without": "routed run / routed run with speculation",
    "throughput of 8 requests at once against one at a time": "throughput of 8 at once / one at a time",
    "first token of a second turn against a cold start": "first token of a second turn, cold / warm",
}
WAYS = {
    "large model alone, by `generate()`": "generate()",
    "large model with the small one as its assistant, by `generate(assistant_model=small)`":
        "generate(assistant_model=small)",
    "large model with the small one drafting, by Glimp": "large alone, the small one drafting",
    "pair, a quarter of the steps by the large model": "pair",
    "the same pair with drafts": "pair, drafting for the large model",
    "the same pair on the authors' schedule": "pair on the authors' schedule, kept caches",
    "the same pair, one `generate()` for each step": "pair by generate() a step, no kept caches",
}  # fmt: skip
METHODS = {
    "small alone": "small",
    "large alone": "large",
    "pair at 0.3 nats": "glimp",
    "pair at random, 6.3 %": "random",
}


def table(root: Path, head: str, page: str = "performance.md") -> dict[str, list[str]]:
    """The rows of the table of the page whose head line begins so, by their first cell."""
    text = (root / "docs" / page).read_text()
    (found,) = re.findall(rf"^\| {re.escape(head)}.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]
    return {first: rest for first, *rest in cells}


def kept(root: Path, path: str) -> Any:
    return json.loads((root / "examples" / path).read_text())


def same(shown: str, value: float) -> bool:
    """Whether a value is what is shown, to its last digit."""
    digits = len(shown.partition(".")[2])
    return abs(float(shown) - value) <= 0.5 * 10**-digits + 1e-9


@pytest.mark.parametrize(("column", "name"), [(1, "speed-tiny"), (2, "speed-qwen")])
def test_the_speeds_are_those_that_were_printed(root: Path, column: int, name: str) -> None:
    """Each row has its row in the results; where a cell has several ratios, each of them is there."""
    rows = kept(root, f"benchmarks/results/{name}.json")["rows"]
    shown = table(root, "compared")
    assert set(shown) == set(SPEED)
    for first, cells in shown.items():
        values = [row["value"] for row in rows if row["what"] == SPEED[first]]
        figures = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)x?(?=[,;]|$| and| by|x)", cells[column])
        assert figures, first
        assert any(same(figures[0], value) for value in values), (first, figures, values)
        assert all(any(same(number, value) for number in figures) for value in values), (first, figures, values)


def test_the_ways_take_the_times_that_were_printed(root: Path) -> None:
    """Relative to the large model alone."""
    rows = {row["way"]: row["of_large_alone"] for row in kept(root, "benchmarks/results/baselines-tiny.json")["rows"]}
    shown = table(root, "way ")
    assert set(shown) == set(WAYS)
    assert all(same(cell, rows[WAYS[first]]) for first, (cell,) in shown.items())


def test_the_methods_have_the_accuracies_that_were_printed(root: Path) -> None:
    """With their intervals, rates, shares and times."""
    rows = {row["method"]: row for row in kept(root, "experiments/results/tiny.json")["run"]["methods"]}
    for first, (right, rate, share, time) in table(root, "|").items():
        row = rows[METHODS[first]]
        accuracy, low, high = re.findall(r"\d+\.\d", right)
        assert same(accuracy, 100 * row["accuracy"])
        assert same(low, 100 * row["interval"][0])
        assert same(high, 100 * row["interval"][1])
        assert not rate or same(rate.removesuffix(" %"), 100 * row["intervention_rate"])
        assert same(share.removesuffix(" %"), 100 * row["large_token_share"])
        assert same(time, row["seconds_per_question"] / rows["large"]["seconds_per_question"])


def test_the_signals_see_what_was_printed(root: Path) -> None:
    """The areas under the curve of both kinds of text, with their intervals."""
    kinds = kept(root, "experiments/results/tiny-signals.json")["kinds"]
    for first, cells in table(root, "signal", "evidence.md").items():
        for cell, kind in zip(cells, ("numbers", "sorting"), strict=True):
            worth = kinds[kind]["signals"][re.findall(r"`(.+)`", first)[0]]
            figures = re.findall(r"\d\.\d+", cell)
            assert len(figures) == 3
            assert all(map(same, figures, (worth["area"], *worth["interval"])))
