"""The scripts under examples/benchmarks, on the bundled pair, as briefly as they can run."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from glimp_core.bench.speed.graphs import decode_pace
from glimp_core.local import LocalEngine
from glimp_core.local.graph import RECORDERS

SCRIPTS = Path(__file__).parents[2] / "examples" / "benchmarks"


def ran(script: str, *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a script in this process and return the document that it prints last; it must end well."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    try:
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    except SystemExit as end:
        assert not end.code  # noqa: PT017
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"machine", "commit"} <= set(document)
    return document


def test_a_soak_counts_what_became_of_each_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every request is answered rightly or was given up; nothing is left behind."""
    arguments = ("--requests", "12", "--threads", "4", "--questions", "2", "--given-up", "0.5")
    document = ran("soak.py", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert sum(document["outcomes"].values()) == 12
    assert "wrong" not in document["outcomes"]
    assert document["outcomes"]["right"] > 0
    assert len(document["mib"]) == 5


def test_cost_by_context_and_by_requests(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each context and each number of requests."""
    arguments = ("--contexts", "64", "128", "--at-once", "1", "2", "--tokens", "6", "--rounds", "1")
    document = ran("scaling.py", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert [row["context"] for row in document["contexts"]] == [64, 128]
    assert all(row["ms_a_token"] > 0 for row in document["contexts"])
    assert [row["at_once"] for row in document["at_once"]] == [1, 2]
    assert document["at_once"][0]["times_as_many"] == 1


def test_every_way_is_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The pair, each model alone, and what transformers offers, against the large model alone."""
    document = ran("baselines.py", "--tokens", "12", "--rounds", "1", monkeypatch=monkeypatch, capsys=capsys)
    times = {row["way"]: row["of_large_alone"] for row in document["rows"]}
    assert times["large alone"] == 1
    assert times["small alone"] < 1
    assert len(times) == 9


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU benchmark says so in a line; the row of the speed bench is left out."""
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="needs a CUDA GPU"):
        runpy.run_path(str(SCRIPTS / "gpu.py"), run_name="__main__")
    assert decode_pace(LocalEngine.from_pretrained("glimp-tiny-small")) is None


@pytest.mark.parametrize("requests", [1, 3])
def test_the_pace_of_graphs(requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something is recorded, both paces and the floor are told."""
    recorded: list[int] = []
    monkeypatch.setitem(RECORDERS, "cpu", lambda step, device: recorded.append(len(step())) or step)
    pace = decode_pace(LocalEngine.from_pretrained("glimp-tiny-small"), tokens=4, requests=requests)
    assert recorded == [requests]
    assert pace
    assert min(pace.eager, pace.graph, pace.floor) > 0
