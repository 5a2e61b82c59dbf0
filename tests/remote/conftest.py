"""Two scripted servers, and the pair that talks to them."""

from collections.abc import Iterator

import pytest

from glimp_core import GlimpRouter, RandomRate
from remote.kit import pair, script
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
    monkeypatch.setattr("glimp_core.remote.server.FIRST_WAIT", 0.0005)
