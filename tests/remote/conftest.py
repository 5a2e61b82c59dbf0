"""Two scripted servers, and the pair that talks to them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from glimp_core import GlimpRouter, RandomRate
from remote.kit import limited, pair, script
from remote.managed_kit import FakeVllm, fake_vllm
from remote.scripts import Served
from remote.served import ScriptedServer


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Served, Served]]:
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        yield small, large


@pytest.fixture(scope="module")
def router(servers: tuple[Served, Served]) -> GlimpRouter:
    """Half of the steps by either model, whatever they glimpse."""
    made = pair(*servers, RandomRate(0.5))
    made.load()
    return made


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    limited(monkeypatch, FIRST_WAIT=0.0005)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVllm]:
    """A `vllm` without models; temporary files, logs too, are in its folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with fake_vllm(tmp_path) as made:
        yield made
