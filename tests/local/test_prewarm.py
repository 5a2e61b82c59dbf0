"""Reading ahead: the large model reads along while the small one writes."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import pytest

import tiny
from glimp_core import AlwaysSmall, GlimpRouter, RandomRate, RouterConfig
from glimp_core.events import Routed
from glimp_core.local.scheduler import Scheduler
from glimp_core.types import Step
from hooks import before_forwards, local_engines, models_of

LIMITS: dict[str, Any] = {"max_reasoning_tokens": 120, "max_answer_tokens": 24, "max_step_tokens": 10}
POLICIES = [RandomRate(0.5, seed=1), AlwaysSmall()]


def router(policy: Any = POLICIES[0], apart: bool = True, **settings: Any) -> GlimpRouter:
    """A pair whose models have a thread each, as on two devices, unless they are not kept `apart`."""
    made = tiny.router(policy, RouterConfig(**LIMITS, **settings))
    if apart:
        local_engines(made)[1].scheduler = Scheduler("another device")
    return made


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("policy", POLICIES)
def test_reading_ahead_changes_no_word(policy: Any, apart: bool) -> None:
    """Law: the same reply, and no token is read twice."""
    plain = router(policy, prewarm=False).generate("What is it?")
    done = router(policy, apart, prewarm=True).generate("What is it?")
    assert (done.reasoning, done.answer) == (plain.reasoning, plain.answer)
    assert [step.engine for step in done.steps] == [step.engine for step in plain.steps]
    read = [usage.large.prefill_tokens + usage.large.decode_tokens for usage in (done.usage, plain.usage)]
    assert read[0] == read[1]
    assert done.usage.large.cached_tokens == plain.usage.large.cached_tokens == 0


def test_the_large_model_has_read_when_its_turn_comes() -> None:
    """While the small model writes a step, the large one reads all before it."""
    made = router(AlwaysSmall(), prewarm=True)
    events = made.stream("What is it?")
    assert isinstance(next(event for event in events if isinstance(event, Routed | Step)), Routed)
    assert not local_engines(made)[1].pool.leased
    next(event for event in events if isinstance(event, Step))
    deadline = monotonic() + 30
    while not any(session.logits is not None for session in local_engines(made)[1].pool.leased):
        assert monotonic() < deadline
        sleep(0.01)
    events.close()


@pytest.mark.parametrize(("prewarm", "reads"), [(None, False), (True, True), (False, False)])
def test_on_one_device_only_where_it_is_wanted(prewarm: bool | None, reads: bool) -> None:
    """By default nobody reads ahead on a device that the other model needs."""
    made = router(AlwaysSmall(), apart=False, prewarm=prewarm)
    small, large = models_of(made)
    order: list[str] = []
    made.load()  # which runs forwards, too
    notes_small = before_forwards([small], lambda _: order.append("small"))
    notes_large = before_forwards([large], lambda _: order.append("large"))
    with notes_small, notes_large:
        made.generate("What is it?")
    last = len(order) - 1 - order[::-1].index("small")
    assert ("large" in order[:last]) is reads


@pytest.mark.slow
def test_many_at_once_and_some_closed() -> None:
    """Law: requests that read ahead side by side, between others that are given up, say what they say alone."""
    made = router(prewarm=True)
    questions = [f"What is {n}?" for n in range(12)]
    alone = [made.generate(question).reasoning for question in questions]

    def ask(at: int) -> str | None:
        if at % 3 == 2:
            stream = made.stream(questions[at])
            for _ in zip(range(at), stream, strict=False):
                pass
            stream.close()
            return None
        return made.generate(questions[at]).reasoning

    with ThreadPoolExecutor(6) as threads:
        said = list(threads.map(ask, range(12)))
    assert said == [None if at % 3 == 2 else reasoning for at, reasoning in enumerate(alone)]
    assert local_engines(made)[1].pool.leased == ()


def test_what_reading_meets_reaches_the_caller() -> None:
    """Law: an error of the thread that reads ahead is raised, and the next request is answered."""
    made = router(prewarm=True)
    made.load()

    def fail(arguments: Any) -> None:
        raise RuntimeError("the device is gone")

    with before_forwards(models_of(made)[1:], fail), pytest.raises(RuntimeError, match="the device is gone"):
        made.generate("What is it?")
    assert made.generate("What is it?").answer
