"""Is the entropy of a step's first token the right signal, and where is it blind? Measured on the bundled pair.

python examples/experiments/signals/measure.py --n 200 tiny-signals

Both kinds of text are measured: the number puzzles and the sorting puzzles. Half of the questions choose thresholds,
the other half tests them, on the same kind and on the other one.
"""

import argparse
import sys
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "tiny_pair")]

import judge
import matplotlib.pyplot as plt
import torch
from dialogs import head
from matplotlib.figure import Figure
from observe import AFTER, SIGNALS, Task, observe
from pairtools import load
from plotting import RESULTS, save

from glimp_core import bundled
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.bundled.sorting import make_sorting_problem

MAKERS = {"numbers": make_problem, "sorting": make_sorting_problem}
FIRST_SEED = 4 * HELD_OUT
"""No training, benchmark or calibration uses problems from here on."""
EDGES = (0.0, 0.001, 0.01, 0.05, 0.3, 1.0, 2.0, 99.0)
RATES = (0.05, 0.1, 0.2, 0.4)
CLOSE = 0.9
"""The share of the gap between small and large that a chosen threshold must close."""
PAPER_RATE, FEW = 0.25, 10
"""The rate and the number of questions with which `glimp bench --preset paper` chooses thresholds."""
LEAST = 1e-4
"""Where the figure's axis of entropies begins."""
THRESHOLD = 0.3
"""The threshold of the README; a wrong step at or below it is a silent error."""


def gather(folder: Path, kind: str, n: int) -> list[list[judge.Observation]]:
    """Return the observations of `n` held-out questions of a kind, a list a question."""
    small, tokenizer = load(folder / bundled.SMALL)
    large, _ = load(folder / bundled.LARGE)
    stops = [at for token, at in tokenizer.get_vocab().items() if token.endswith("ĊĊ")] + [tokenizer.eos_token_id]
    problems = [MAKERS[kind](FIRST_SEED + at) for at in range(n)]
    tasks = [
        Task(tokenizer.encode(head("", p.question)), [tokenizer.encode(step.text) for step in p.steps()])
        for p in problems
    ]
    found = observe(small, large, tokenizer, tasks, stops)
    return [list(group) for _, group in groupby(found, key=lambda o: o.question)]


def described(questions: judge.Questions) -> dict[str, Any]:
    """Return what the signals are worth on one kind of text."""
    steps = list(chain(*questions))
    wrong = [o for o in steps if o.small_wrong]
    silent = partial(judge.silent_share, threshold=THRESHOLD)
    return {
        "questions": len(questions),
        "steps": len(steps),
        "wrong_steps": len(wrong),
        "wrong_after_a_right_first_token": sum(not o.first_wrong for o in wrong),
        "small_alone": judge.routed(questions, "early", float("inf"))[0],
        "large_alone": judge.routed(questions, "early", -float("inf"))[0],
        "silent_share": {"value": silent(questions), "interval": judge.interval(questions, silent)},
        "rates_elsewhere": judge.rates_elsewhere(questions, "first-entropy", PAPER_RATE, min(FEW, len(questions) // 2)),
        "calibration": judge.calibration(questions, EDGES),
        "at_random": {str(rate): judge.at_random(questions[len(questions) // 2 :], rate) for rate in RATES},
        "signals": {name: _worth(questions, name) for name in SIGNALS},
    }


def _worth(questions: judge.Questions, signal: str) -> dict[str, Any]:
    area, rank = partial(judge.area, signal=signal), partial(judge.correlation, signal=signal)
    return {
        "area": area(questions), "interval": judge.interval(questions, area), "rank_correlation": rank(questions),
        "needs_the_step": signal in AFTER, "at_rate": {str(rate): _gain(questions, signal, rate) for rate in RATES},
    }  # fmt: skip


def _gain(questions: judge.Questions, signal: str, rate: float) -> dict[str, Any]:
    """Return what a signal solves at a rate, and how far it is ahead of the first token's entropy: thresholds of one
    half of the questions, used on the other half."""
    chosen_on, tested = questions[: len(questions) // 2], questions[len(questions) // 2 :]
    threshold, usual = (judge.threshold_at(chosen_on, name, rate) for name in (signal, "first-entropy"))

    def ahead(drawn: judge.Questions) -> float:
        return judge.routed(drawn, signal, threshold)[0] - judge.routed(drawn, "first-entropy", usual)[0]

    solved, measured = judge.routed(tested, signal, threshold)
    return {"solved": solved, "rate": measured, "ahead": ahead(tested), "interval": judge.interval(tested, ahead)}


def carried(kinds: dict[str, judge.Questions]) -> list[dict[str, Any]]:
    """Return what a threshold does that was chosen on one kind of text and used on another."""
    rows = []
    for origin, chosen_on in kinds.items():
        threshold = judge.threshold_for(chosen_on[: len(chosen_on) // 2], "first-entropy", CLOSE)
        for used, questions in kinds.items():
            tested = questions[len(questions) // 2 :]
            solved, rate = judge.routed(tested, "first-entropy", threshold)
            interval = judge.interval(tested, lambda q, t=threshold: judge.routed(q, "first-entropy", t)[0])
            rows.append(
                {"chosen_on": origin, "used_on": used, "threshold": threshold, "solved": solved, "interval": interval,
                 "rate": rate}
            )  # fmt: skip
    return rows


def markdown(document: dict[str, Any]) -> str:
    """Return the document as Markdown tables."""
    lines = [line for kind, found in document["kinds"].items() for line in _kind_lines(kind, found)]
    lines += ["## A threshold carried over", ""]
    lines += ["| chosen on | used on | threshold | solved (95 %) | steps by the large model |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['chosen_on']} | {row['used_on']} | {row['threshold']:.4g} | {_share(row, 'solved')} "
        f"| {row['rate']:.1%} |"
        for row in document["carried"]
    ]
    return "\n".join(lines) + "\n"


def _kind_lines(kind: str, found: dict[str, Any]) -> list[str]:
    heads = [f"{rate:.0%} of the steps" for rate in RATES]
    return [
        f"## {kind.capitalize()}",
        "",
        f"{found['questions']} questions, {found['steps']} steps. Small alone solves {found['small_alone']:.1%}, large "
        f"alone {found['large_alone']:.1%}. {found['wrong_steps']} steps of the small model are wrong, "
        f"{found['wrong_after_a_right_first_token']} of them after a right first token.",
        f"A threshold chosen for {PAPER_RATE:.0%} of the steps on {FEW} questions gives "
        f"{found['rates_elsewhere'][0]:.1%} to {found['rates_elsewhere'][1]:.1%} on the others (95 %).",
        f"Silent errors, wrong steps with H_init of at most {THRESHOLD}: {_share(found['silent_share'], 'value')}.",
        "",
        "| signal | area under the curve (95 %) | rank correlation with the divergence |",
        "|---|---|---|",
        *(
            f"| {_named(name, worth)} | {_number(worth['area'], worth['interval'])} "
            f"| {_number(worth['rank_correlation'])} |"
            for name, worth in found["signals"].items()
        ),
        "",
        "Solved at equal rates, and how many points ahead of first-entropy (95 %):",
        "",
        f"| signal | {' | '.join(heads)} |",
        "|---|" + "---|" * len(heads),
        *(
            f"| {_named(name, worth)} | {' | '.join(map(_gained, worth['at_rate'].values()))} |"
            for name, worth in found["signals"].items()
        ),
        f"| random | {' | '.join(f'{solved:.1%}' for solved in found['at_random'].values())} |",
        "",
        "| H_init | steps | wrong | divergence, nats a step |",
        "|---|---|---|---|",
        *(
            f"| {row['from']:g} to {row['to']:g} | {row['steps']} | {row['wrong']:.1%} | {row['kl']:.3f} |"
            for row in found["calibration"]
        ),
        "",
    ]


def _named(name: str, worth: dict[str, Any]) -> str:
    return name + (" (needs the step)" if worth["needs_the_step"] else "")


def _gained(at: dict[str, Any]) -> str:
    low, high = (100 * end for end in at["interval"])
    return f"{at['solved']:.1%} with {at['rate']:.1%}: {100 * at['ahead']:+.1f} ({low:+.1f} to {high:+.1f})"


def _share(found: dict[str, Any], name: str) -> str:
    if found[name] is None:
        return "-"
    low, high = found["interval"]
    return f"{found[name]:.1%} ({low:.1%} to {high:.1%})"


def _number(value: float | None, span: tuple[float, float] | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({span[0]:.3f} to {span[1]:.3f})" if span else "")


def draw(document: dict[str, Any]) -> Figure:
    """Draw a column a kind: the area of every signal with its interval, and below it how often H_init is right."""
    figure, panels = plt.subplots(2, len(document["kinds"]), figsize=(8, 6), sharey="row", sharex="row")
    for column, (kind, found) in enumerate(document["kinds"].items()):
        _draw_areas(panels[0][column], found["signals"])
        panels[0][column].set_title(kind)
        rows = found["calibration"]
        places = [max(row["from"], LEAST) for row in rows]
        panels[1][column].step(places, [row["wrong"] for row in rows], where="post", color="#d55e00")
        panels[1][column].set_xscale("log")
        panels[1][column].set_xlabel("H_init in nats")
    panels[0][0].invert_yaxis()
    panels[1][0].set_ylabel("wrong steps of the small model")
    return figure


def _draw_areas(panel: Any, signals: dict[str, Any]) -> None:
    for place, (name, worth) in enumerate(signals.items()):
        if worth["area"] is not None:
            low, high = worth["interval"]
            colour = "#0072b2" if name in AFTER else "#d55e00"
            panel.plot([low, high], [place, place], color=colour)
            panel.plot(worth["area"], place, "o", color=colour)
    panel.axvline(0.5, color="#7f7f7f", linewidth=0.8)
    panel.set_xlabel("area under the curve (0.5: blind)")
    panel.set_yticks(range(len(SIGNALS)), SIGNALS)


def main() -> None:
    """Measure both kinds, and keep the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="name of the result")
    parser.add_argument("--n", type=int, default=200, help="questions of each kind")
    shipped = bundled.path(bundled.SMALL).parent
    parser.add_argument("--folder", type=Path, default=shipped, help="holds both models' folders")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = {kind: gather(arguments.folder, kind, arguments.n) for kind in MAKERS}
    document = {
        "n": arguments.n,
        "kinds": {kind: described(questions) for kind, questions in kinds.items()},
        "carried": carried(kinds),
    }
    save(arguments.name, document, draw(document))
    text = markdown(document)
    (RESULTS / f"{arguments.name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
