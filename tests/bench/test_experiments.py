"""The scripts under examples/experiments, on small runs of a scripted pair."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.scripts import ENTROPIES, STEPS, question, router
from glimp_core import GlimpRouter
from glimp_core.bench import Ledger, parse, run, summarise
from glimp_core.testing import ScriptedEngine
from pairs import commands_make

SCRIPTS = Path(__file__).parents[2] / "examples" / "experiments"
QUESTIONS = [question(str(at), expected="4" if at else "5") for at in range(4)]
METHODS = "small,large,glimp@9/1/0,random@0/1"


@pytest.fixture(scope="module", autouse=True)
def _matplotlib() -> None:
    pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run as `glimp bench` leaves it: its document and its records."""
    folder = tmp_path_factory.mktemp("run")
    ledger = Ledger(folder / "run.jsonl")
    small = ScriptedEngine(STEPS, "?", ENTROPIES, name="small")
    methods = run(router(small), parse(METHODS), QUESTIONS, ledger)
    document = {"set": "made up", "commit": "c0ffee", "command": "glimp bench"}
    document |= summarise(ledger, methods, QUESTIONS)
    (folder / "run.json").write_text("noise\n" + json.dumps(document))
    return folder / "run.json", folder / "run.jsonl"


def ran(script: str, name: Path, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a script in this process, and return the document that it keeps."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments), str(name)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    document: dict[str, Any] = json.loads(name.with_name(name.name + ".json").read_text())
    assert {"command", "commit", "machine"} <= set(document)
    return document


@pytest.mark.parametrize("script", ["frontier.py", "sunk_cost.py"])
def test_figures_of_a_run(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A figure is drawn, and the run that it shows is kept beside it."""
    document = ran(script, tmp_path / "figure", files[0], monkeypatch=monkeypatch)
    assert [row["method"] for row in document["run"]["methods"]][:3] == ["small", "large", "glimp@9"]
    assert (tmp_path / "figure.svg").read_text().rstrip().endswith("</svg>")


def test_accuracy_at_equal_cost(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between thresholds accuracy is interpolated; beyond them there is none."""
    document = ran(
        "equal_cost.py", tmp_path / "equal", files[1], "--shares", "0.01", "0.5", "--", monkeypatch=monkeypatch
    )
    rows = {row["relative"]: row["methods"] for row in document["at"] if row["cost"] == "large_token_share"}
    assert rows[0.01] == {}
    assert rows[0.5]["glimp"]["accuracy"] == rows[0.5]["random"]["accuracy"] == 0.75
    assert rows[0.5]["random"]["glimp_above"] == 0


def test_a_threshold_is_chosen_on_one_run_and_told_of_another(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fewest interventions that close enough of the gap."""
    document = ran("calibration.py", tmp_path / "cal", files[0], files[0], monkeypatch=monkeypatch)
    assert document["chosen"]["glimp"]["value"] == 9
    assert document["chosen"]["glimp"]["test"]["gap_closed"] == 1


def test_agreement_by_entropy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of the large model's chain is compared with the small one's, in the bin of its entropy."""
    other = [STEPS[0], "Else.\n\n", *STEPS[2:]]

    def pretend(small: object, large: object, **options: Any) -> GlimpRouter:
        return router(ScriptedEngine(other, "4", ENTROPIES), ScriptedEngine(STEPS, "4"))

    commands_make(monkeypatch, pretend)
    document = ran("agreement.py", tmp_path / "agreement", "--n", "2", monkeypatch=monkeypatch)
    same = {row["from"]: row["same"] for row in document["bins"]}
    assert sum(row["steps"] for row in document["bins"]) == len(document["entropies"]) == 2 * len(STEPS)
    assert same == {0.1: 1, 0.5: 1, 1.2: 1, 2.0: 0}


def test_the_table_of_a_run(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a method, with what it stands against, beside the run that it shows."""
    document = ran("tables.py", tmp_path / "table", files[0], monkeypatch=monkeypatch)
    _, _, *lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {row['method']}" for row in document["run"]["methods"]]
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith("| large | 75.0% (")
