"""The measuring script of tools/shape.py counts what it says."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from shape import patched_names, private_reads

TESTS = """
import random
from glimp_core import router
from glimp_core.local import scheduler

def test_it(self, engine, monkeypatch):
    self._own, engine._pool._leased, engine.__dict__, engine.public
    monkeypatch.setattr("glimp_core.local.scheduler.IDLE_SECONDS", 1)
    monkeypatch.setattr(scheduler.Scheduler, "submit", None)
    monkeypatch.setattr(engine, "forward", None)
    monkeypatch.setattr("random.uniform", None)
    monkeypatch.setattr(random.Random, "seed", None)
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "download", None)
"""


def test_private_reads_and_patched_names_are_found(tmp_path: Path) -> None:
    """Only what belongs to others is a private read, and only what is Glimp's a patched name."""
    (tmp_path / "test_some.py").write_text(TESTS)
    (reads,) = private_reads(tmp_path).values()
    assert sorted(read.partition(": ")[2] for read in reads) == ["engine._pool", "engine._pool._leased"]
    (patched,) = patched_names(tmp_path).values()
    targets = [ast.parse(name.partition(": ")[2]).body[0].value.args[0] for name in patched]
    assert [ast.unparse(target) for target in targets] == [
        "'glimp_core.local.scheduler.IDLE_SECONDS'",
        "scheduler.Scheduler",
        "engine",
    ]


@pytest.mark.slow
def test_the_script_measures_this_checkout(root: Path) -> None:
    """One JSON document with the sizes, and requests that entered the router's file and more."""
    command = [sys.executable, str(root / "tools" / "shape.py"), "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=True)
    figures = json.loads(done.stdout)
    assert figures["packages"]["glimp_core"]["lines"] > 1000
    plain, tool_call = figures["requests"].values()
    assert 10 < plain["files"] < tool_call["files"]
    assert 5 < plain["deepest"] < tool_call["deepest"]
