"""The table of families: which laws hold for each, and what it costs.

make families ARGS="[family ...] [--json FILE]"

Tiny random models of every family, float32, one thread; counts, no timings. A family that is refused by name is no
wrong result; a law that does not hold is. The exit status is 1 if there is one.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from glimp_core import AlwaysLarge, ModelLoadError
from local.families.architecture import Architecture
from local.families.building import missing
from local.families.laws import (
    LAWS,
    LONG,
    PLAIN,
    QUESTIONS,
    SEEDED,
    SHORT,
    Pair,
    ask,
    forget,
    forwards,
    next_turn,
    together,
    written,
)
from local.families.multimodal import ALL

HEADINGS = ("family", "keeps", "laws", "4 alone > at once", "second turn", "drafts")


def row_of(architecture: Architecture) -> dict[str, Any]:
    """Try all laws on a family; returns its row, in which `wrong` names the laws that do not hold."""
    row: dict[str, Any] = {"family": architecture.name, "keeps": architecture.kind, "wrong": [], "note": ""}
    if reason := missing(architecture):
        return {**row, "note": f"not tried: {reason}"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            pair = Pair(architecture, Path(folder))
        except ModelLoadError as error:
            return {**row, "note": f"refused: {error}", "wrong": [] if architecture.refused else ["refused"]}
        except Exception as error:  # whatever a model's code raises: a table with a gap in it is better than none
            return {**row, "note": f"{type(error).__name__}: {error}", "wrong": ["loading"]}
        row["wrong"] = [name for name, law in LAWS.items() if not _holds(law, pair)]
        return {**row, **figures(pair)}


def figures(pair: Pair) -> dict[str, Any]:
    """Count what a family costs: forwards of four requests, cached tokens of a second turn, forwards with drafts."""
    plain, counts = pair.plain(), {}
    with forwards(pair.served.large) as fed:
        for question in QUESTIONS:
            forget(pair.served)
            written(plain, ask(question))
        counts["alone"], _ = len(fed), fed.clear()
        forget(pair.served)
        together(plain)
        counts["at_once"], _ = len(fed), fed.clear()
    forget(pair.served)
    first = written(plain, ask(SHORT, LONG))[1]
    second = written(plain, next_turn(first.answer))[1].usage
    counts |= {"cached": second.large.cached_tokens, "prompt": second.prompt_tokens}
    for name, speculate in (("plain", False), ("drafted", True)):
        forget(pair.served)
        router = pair.router(AlwaysLarge(), pair.twin, **{**PLAIN, "speculate": speculate})
        # with a seed drafts are made whatever they cost here
        counts[name] = written(router, ask(SHORT), sampling=SEEDED)[1].usage.large.forwards
    return counts


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: dict[str, Any]) -> Sequence[str]:
    laws = "wrong: " + ", ".join(row["wrong"]) if row["wrong"] else row["note"].split(":")[0] or f"all {len(LAWS)}"
    if "alone" not in row:
        return row["family"], row["keeps"], laws, "", "", ""
    return (
        row["family"], row["keeps"], laws, f"{row['alone']} > {row['at_once']}", f"{row['cached']} of {row['prompt']}",
        f"{row['plain']} > {row['drafted']}",
    )  # fmt: skip


def _holds(law: Any, pair: Pair) -> bool:
    try:
        law(pair)
    except Exception as error:
        print(f"{pair.architecture.name}: {law.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


def main() -> int:
    """Print the table, and one line that sums it up."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("families", nargs="*", metavar="family")
    options.add_argument("--json", type=Path, help="write the rows here, too")
    asked = options.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("glimp").setLevel(logging.ERROR)
    rows = []
    for architecture in ALL:
        if not asked.families or architecture.name in asked.families:
            rows.append(row_of(architecture))
            print(".", end="", file=sys.stderr, flush=True)
    print(markdown(rows))
    wrong = [row["family"] for row in rows if row["wrong"]]
    refused = [row["family"] for row in rows if row["note"].startswith("refused")]
    tried = [row for row in rows if not row["note"].startswith("not tried")]
    counts = f"{len(tried)} families, {len(refused)} refused by name, {len(wrong)} wrong"
    print(f"\n{counts}; transformers {transformers.__version__}")
    if asked.json:
        asked.json.write_text(json.dumps({"transformers": transformers.__version__, "rows": rows}, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
