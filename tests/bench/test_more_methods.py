"""The methods of examples/experiments/more_methods.py, which decide once, or go by place and word."""

import more_methods
import pytest

from bench.scripts import ENTROPIES, STEPS, Sure, decisions, question, router, wrote
from glimp_core import EngineError
from glimp_core.bench import KINDS, Method, answer
from glimp_core.testing import ScriptedEngine


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in more_methods.MORE.items():
        monkeypatch.setitem(KINDS, name, kind)


@pytest.mark.parametrize(("threshold", "writer"), [(0.05, "large"), (0.1, "small")])
def test_request_decides_once_and_for_all(threshold: float, writer: str) -> None:
    """One glimpse, at the first token, and one model for the whole reply."""
    record = answer(router(), Method("request", threshold), question())
    assert wrote(record) == [writer == "large"]
    assert (record.large_tokens if writer == "large" else record.small_tokens) == record.tokens


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bookends", 1, [True, False, False, True, False]),
        ("cue", None, [False, False, True, True, False]),
    ],
)
def test_rules_of_place_and_word(name: str, value: float | None, expected: list[bool]) -> None:
    """First steps by their place, conclusions and doubts by their word."""
    assert decisions(Method(name, value)) == expected


@pytest.mark.parametrize("name", sorted(more_methods.MORE))
@pytest.mark.parametrize("fails_at", [0, 1])
def test_every_method_ends_when_the_large_model_fails(name: str, fails_at: int) -> None:
    """With on_large_failure="small" the small model writes the rest."""
    small = Sure((0.9, 0.9), steps=STEPS, answer="4", entropies=ENTROPIES, name="small")
    large = ScriptedEngine(STEPS, "4", error=EngineError("gone"), error_at=fails_at, name="large")
    method = Method(name, None if name == "cue" else 0.5)
    record = answer(router(small, large, on_large_failure="small"), method, question())
    assert (record.correct, record.error) == (True, None)
    assert record.small_tokens > 0
