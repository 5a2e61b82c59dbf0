"""`glimp bench speed` measures routed replies of a like length on any pair."""

import pytest

import tiny
from glimp_core import RouterConfig
from glimp_core.bench.speed import Bench, measure
from glimp_core.bench.speed.measuring import ANSWER, STEP
from glimp_core.bench.speed.rows import SHARED

CONFIG = RouterConfig(max_step_tokens=400, max_reasoning_tokens=900, max_answer_tokens=900)


def bench(template: str, tokens: int = 60, config: RouterConfig = CONFIG) -> Bench:
    one = tiny.tokenizer(template)
    return Bench.of(tiny.router(config=config, small=one, large=one), "What is it?", tokens, rounds=1)


@pytest.mark.parametrize(
    ("template", "phase", "rest"), [(tiny.THINKING, "thinking", ANSWER + 1), (tiny.PLAIN, "inline", 0)]
)
def test_what_is_measured_has_switches_and_an_end(template: str, phase: str, rest: int) -> None:
    """Thinking, or the reply of a pair that has none, is shared in short steps, however long the pair would go on."""
    done = bench(template).run(SHARED)
    routed = [step for step in done.steps if step.entropy is not None]
    assert {step.engine for step in routed} == {"small", "large"}
    assert {step.phase for step in routed} == {phase}
    assert max(step.tokens for step in routed) <= STEP
    assert sum(step.tokens for step in routed) <= 60
    assert done.usage.completion_tokens - sum(step.tokens for step in routed) <= rest


@pytest.mark.parametrize("template", [tiny.THINKING, pytest.param(tiny.PLAIN, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [
        "routed run / floor",
        "authors' schedule",
        "per step",
        "ideal",
        "generate() / our",
        "alone / with drafts, an edit",
    ],
)
def test_a_row_of_any_pair(name: str, template: str) -> None:
    """Each is a ratio, its target and what it was taken on."""
    (row,) = measure(bench(template, 40), name)
    assert 0 < row.value < 100
    assert row.target > 0
    assert "token" in row.note or "model wrote" in row.note


@pytest.mark.parametrize("name", ["4 at once", "cached share", "large forward with drafts", "prompt lookup"])
def test_rows_of_counts(name: str) -> None:
    """Forwards and tokens are counted, and say of what; the promises on counts hold for attention models."""
    rows = list(measure(bench(tiny.THINKING, 40), name))
    assert rows
    assert all("token" in row.note for row in rows)
    if name != "prompt lookup":  # that one is timed
        assert all(row.met for row in rows)
