"""The signal laboratory of examples/experiments/signals: its statistics, and its shortcut for right steps."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.test_experiments import ran
from glimp_core import bundled
from glimp_core.bundled.problems import HELD_OUT, make_problem

pytest.importorskip("matplotlib")

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES / "experiments" / "signals"), str(EXAMPLES / "tiny_pair")]

import judge  # noqa: E402
import torch  # noqa: E402
from observe import Observation, Task, observe  # noqa: E402
from pairtools import decode, load, prompt  # noqa: E402


def step(question: int, signal: float, wrong: bool, large_wrong: bool = False, kl: float = 0.0) -> Any:
    """Return an observation in which only what a test looks at is set."""
    signals = {"first-entropy": signal}
    return Observation(question, 0, 1, signals, wrong, wrong, large_wrong, kl, 0.0)


marked = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


@given(marked)
def test_the_area_is_the_share_of_pairs_in_the_right_order(steps: list[tuple[int, bool]]) -> None:
    """Compared with counting every pair; None without a wrong or without a right step."""
    wrong = [value for value, is_wrong in steps if is_wrong]
    right = [value for value, is_wrong in steps if not is_wrong]
    pairs = [(w > r) + (w == r) / 2 for w in wrong for r in right]
    area = judge.area([[step(0, value, is_wrong)] for value, is_wrong in steps], "first-entropy")
    assert area == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


@given(st.lists(st.floats(-9, 9), min_size=3, max_size=20, unique=True))
def test_a_rank_correlation_sees_order_alone(values: list[float]) -> None:
    """Any increasing function of a signal goes along with it fully, any decreasing one against it."""
    rising = [[step(0, value, False, kl=value**3) for value in values]]
    falling = [[step(0, value, False, kl=-(value**3)) for value in values]]
    if len({value**3 for value in values}) == len(values):
        assert judge.correlation(rising, "first-entropy") == pytest.approx(1)
        assert judge.correlation(falling, "first-entropy") == pytest.approx(-1)


@given(marked)
def test_a_threshold_lies_between_the_two_models_alone(steps: list[tuple[int, bool]]) -> None:
    """At the ends one model writes all; the chosen threshold closes what it must; a rate is not passed."""
    questions = [[step(at, value, is_wrong)] for at, (value, is_wrong) in enumerate(steps)]
    small = sum(not is_wrong for _, is_wrong in steps) / len(steps)
    assert judge.routed(questions, "first-entropy", float("inf")) == (small, 0)
    assert judge.routed(questions, "first-entropy", -float("inf")) == (1, 1)
    solved, _ = judge.routed(questions, "first-entropy", judge.threshold_for(questions, "first-entropy", 0.5))
    assert solved >= small + 0.5 * (1 - small) - 1e-9
    assert judge.routed(questions, "first-entropy", judge.threshold_at(questions, "first-entropy", 0.2))[1] <= 0.2


@given(marked, st.floats(0, 1))
def test_random_routing_lies_between_the_models(steps: list[tuple[int, bool]], rate: float) -> None:
    """At the ends it is one model alone; with one step a question it is the mixture of both."""
    questions = [[step(at, value, is_wrong)] for at, (value, is_wrong) in enumerate(steps)]
    small = sum(not is_wrong for _, is_wrong in steps) / len(steps)
    assert judge.at_random(questions, rate) == pytest.approx(small + rate * (1 - small))


def test_a_rate_is_met_elsewhere_as_well_as_questions_are_alike() -> None:
    """Exactly where all questions are the same, hardly where each has one value of its own."""
    alike = [[step(at, value, False) for value in range(10)] for at in range(12)]
    assert judge.rates_elsewhere(alike, "first-entropy", 0.3, 4) == (0.3, 0.3)
    apart = [[step(at, at, False)] for at in range(12)]
    low, high = judge.rates_elsewhere(apart, "first-entropy", 0.5, 4)
    assert low < 0.5 < high


def test_an_interval_holds_its_figure_and_is_the_same_each_time() -> None:
    """Of questions half of which are wrong; one that cannot be counted has none."""
    questions = [[step(at, at % 7, at % 2 == 0)] for at in range(40)]
    interval = judge.interval(questions, lambda q: judge.silent_share(q, 2))
    assert interval is not None
    assert interval[0] <= judge.silent_share(questions, 2) <= interval[1]  # type: ignore[operator]
    assert interval == judge.interval(questions, lambda q: judge.silent_share(q, 2))
    assert judge.interval([[step(0, 1, False)]], lambda q: judge.silent_share(q, 2)) is None


def test_a_step_is_right_where_the_small_model_would_write_it() -> None:
    """Reading the right reasoning gives the same verdict as writing each step out."""
    small, tokenizer = load(bundled.path(bundled.SMALL))
    large, _ = load(bundled.path(bundled.LARGE))
    stops = [at for token, at in tokenizer.get_vocab().items() if token.endswith("ĊĊ")] + [tokenizer.eos_token_id]
    problems = [make_problem(HELD_OUT + at) for at in range(4)]
    tasks = [Task(prompt(p, tokenizer), [tokenizer.encode(s.text) for s in p.steps()]) for p in problems]
    verdicts = [o.small_wrong for o in observe(small, large, tokenizer, tasks, stops)]
    written = []
    for task in tasks:
        row = list(task.prompt)
        for ids in task.steps:
            written.append(decode(small, [row], stops, 24) != [ids])
            row += ids
    assert verdicts == written
    assert any(verdicts)
    assert not all(verdicts)


@pytest.mark.slow
def test_the_script_measures_both_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a document, a table and a figure."""
    document = ran("signals/measure.py", tmp_path / "signals", "--n", 4, monkeypatch=monkeypatch)
    assert set(document["kinds"]) == {"numbers", "sorting"}
    assert len(document["carried"]) == 4
    assert "A threshold carried over" in (tmp_path / "signals.md").read_text()
    assert torch.get_num_threads() == 1
