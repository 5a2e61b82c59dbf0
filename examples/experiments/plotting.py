"""What all figures and tables of the experiments share: how they look, and what is kept with them."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from glimp_core.bench.machine import commit, machine

RESULTS = Path(__file__).parent / "results"

COLOURS = {
    "glimp": "#d55e00", "glimp-top20": "#cc79a7", "random": "#7f7f7f", "margin": "#e69f00", "h-step": "#0072b2",
    "ppl-step": "#56b4e9", "specreason": "#009e73", "request": "#8c564b", "paper-schedule": "#f0a3ff",
    "priming": "#a6761d", "bookends": "#66a61e", "cue": "#7570b3", "glimp-words": "#e7298a",
    "trigreason": "#999933", "official": "#aa4499", "small": "#000000", "large": "#000000",
}  # fmt: skip
"""One colour a method, in every figure; told apart also by those who see fewer colours."""

MARKERS = dict(zip(COLOURS, "oPxs^vD*+ph1X34<>", strict=True))

plt.rcParams.update(
    {
        "figure.constrained_layout.use": True, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#e6e6e6", "axes.axisbelow": True, "legend.frameon": False,
        "svg.hashsalt": "glimp",
    }
)  # fmt: skip


def kind(method: str) -> str:
    """Return the method of a label: "glimp" of "glimp@0.3"."""
    return method.partition("@")[0]


def seconds(row: dict[str, Any], run: dict[str, Any]) -> float:
    """Return the wall time of a question; of replies written side by side, their share of the time in forwards."""
    beside = run.get("at_once", 1) > 1
    return float(row["forward_seconds_per_question" if beside else "seconds_per_question"])


def read(path: Path) -> dict[str, Any]:
    """Read a document of `glimp bench --json`: the last line of the file."""
    return json.loads(path.read_text(encoding="utf-8").splitlines()[-1])


def save(name: str, document: dict[str, Any], figure: Figure | None = None) -> None:
    """Keep a document under `results/`, with its command, commit and machine, and its figure beside it."""
    path = RESULTS / name
    path.parent.mkdir(exist_ok=True)
    script = next(RESULTS.parent.rglob(Path(sys.argv[0]).name)).relative_to(RESULTS.parent).as_posix()
    command = f"python examples/experiments/{script} {shlex.join(sys.argv[1:])}".strip()
    document = {"command": command, "commit": commit(), "machine": machine(), **document}
    path.with_name(f"{path.name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if figure is not None:
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    print(f"wrote {path}.json" + (" and .svg" if figure is not None else ""))
