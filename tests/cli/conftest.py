"""The command line in this process, on a scripted pair."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from glimp_core import GlimpRouter
from glimp_core.cli import main
from glimp_core.model_description import shown_name
from glimp_core.testing import ScriptedEngine
from pairs import ENTROPIES, STEPS, commands_make


@dataclass
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str


class Glimp:
    """Runs command lines; `answer`, `error` and the like say what the pair will do, `made` what it was made with."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.script: dict[str, Any] = {"steps": STEPS, "answer": "It is 4.", "entropies": ENTROPIES}
        self.made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.asked: list[Any] = []
        commands_make(monkeypatch, self._pretend)

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = self._capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, out, err)

    def _pretend(self, *settings: Any, **options: Any) -> GlimpRouter:
        self.made.append((settings, options))
        small, large, policy, config, sampling = settings
        answer = self.script["answer"]

        def replying(request: Any) -> Any:
            self.asked.append(request)
            return answer(request) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]

        pair = [
            ScriptedEngine(**{**self.script, "answer": replying, "name": name})
            for name in map(shown_name, (small, large))
        ]
        return GlimpRouter(*pair, policy, config, sampling)


@pytest.fixture
def glimp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Glimp:
    """The command `glimp`, with scripted models."""
    return Glimp(capsys, monkeypatch)
