"""Every method on tiny real models: drafts that are thrown away leave no trace, and costs are counted."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import more_methods
import pytest

import tiny
from glimp_core import Decision, GlimpRouter, Glimpse, RouterConfig, SamplingParams
from glimp_core.bench import KINDS, Method, Question, Record, answer, methods
from glimp_core.policy import EntropyThreshold
from hooks import before_forwards, models_of

SHORT = RouterConfig(max_step_tokens=11, max_reasoning_tokens=60, max_answer_tokens=20)
QUESTION = Question("q", "How many are two and two?", "", lambda reply: True)
NUMBERS = {
    "priming": 2.0,
    "h-step": 1.0,
    "ppl-step": 3.0,
    "specreason": 5.0,
    "random": 0.5,
    "margin": 0.2,
    "first": 1,
    "bookends": 1,
}


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in more_methods.MORE.items():
        monkeypatch.setitem(KINDS, name, kind)


@pytest.fixture(scope="module")
def pair() -> GlimpRouter:
    router = tiny.router(EntropyThreshold(1.5), SHORT)
    router.sampling = SamplingParams(temperature=2.0, seed=4)  # greedy, such models write one letter over and over
    return router


def ran(pair: GlimpRouter, name: str, value: float | None = None) -> Record:
    return answer(pair, Method(name, value), QUESTION)


@dataclass(frozen=True)
class Again:
    """Repeats decisions that were made before."""

    made: tuple[bool, ...]

    def decide(self, glimpse: Glimpse, history: Any) -> Decision:
        return Decision(self.made[len(history)])


@pytest.mark.parametrize("name", sorted({*KINDS, *more_methods.MORE}))
def test_every_method_runs_and_counts(pair: GlimpRouter, name: str) -> None:
    """Each writes a whole reply within the budget, and its models' time is part of its time."""
    record = answer(pair, Method(name, NUMBERS.get(name)).settled(1.5), QUESTION)
    assert record.error is None
    assert 0 < record.tokens <= 60 + 20 + 1
    assert 0 < record.small_seconds + record.large_seconds < record.seconds
    assert (record.discarded_tokens > 0) == any(d["intervene"] and "measure" in d for d in record.decisions)


@pytest.mark.parametrize(("threshold", "like"), [(float("inf"), float("inf")), (-1.0, 0.0)])
def test_at_the_ends_of_the_dial_it_does_not_matter_when_one_measures(
    pair: GlimpRouter, threshold: float, like: float
) -> None:
    """Keeping every draft is writing with the small model, keeping none is writing with the large one."""
    drafted, routed = ran(pair, "h-step", threshold), ran(pair, "glimp", like)
    assert (drafted.reasoning, drafted.answer) == (routed.reasoning, routed.answer)
    assert (drafted.discarded_tokens > 0) == (threshold < 0)


@pytest.mark.parametrize("name", ["h-step", "ppl-step"])
def test_a_draft_that_is_thrown_away_leaves_no_trace(
    pair: GlimpRouter, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply is the one that routing writes when it decides the same steps the same way beforehand."""
    measures = sorted(decision["measure"] for decision in ran(pair, name, float("inf")).decisions)
    record = ran(pair, name, measures[len(measures) // 2 - 1] + 1e-5)
    made = tuple(bool(decision["intervene"]) for decision in record.decisions)
    assert set(made) == {True, False}
    again = partial(methods.route, policy=Again(made))
    monkeypatch.setitem(methods.KINDS, "again", methods.MethodKind("as before", "own", lambda *_: again))
    repeated = ran(pair, "again", 0.0)
    assert (record.reasoning, record.answer) == (repeated.reasoning, repeated.answer)


def test_each_question_starts_cold(pair: GlimpRouter) -> None:
    """A question is read anew each time, so that no method profits from the prompt that the one before it has read."""

    def fed() -> int:
        sizes: list[int] = []
        with before_forwards(models_of(pair), lambda arguments: sizes.append(arguments["input_ids"].numel())):
            ran(pair, "small")
        return sum(sizes)

    pair.load()
    assert fed() == fed()


@pytest.mark.parametrize(("plain", "drafted"), [("large", "large-draft"), ("glimp", "glimp-draft")])
def test_drafts_leave_the_reply_as_it_is(pair: GlimpRouter, plain: str, drafted: str) -> None:
    """Greedy, drafts change what a reply costs and no token of it. With a seed they are made in any case."""
    greedy = GlimpRouter(pair.small, pair.large, pair.policy, pair.config, SamplingParams(temperature=0, seed=1))
    one, other = (answer(greedy, Method(name).settled(1.5), QUESTION) for name in (plain, drafted))
    assert (one.reasoning, one.answer, one.decisions) == (other.reasoning, other.answer, other.decisions)
    assert other.small_seconds > 0
