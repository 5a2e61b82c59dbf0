"""What a pair does when its large model's engine fails."""

from collections.abc import Sequence

import pytest

from glimp_core import AlwaysLarge, GlimpRouter, RemoteEngineError, RouterConfig
from glimp_core.context import Context
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Request
from pairs import STEPS

GO_ON = RouterConfig(on_large_failure="small")


def pair(error_at: int, steps: Sequence[str] = STEPS, config: RouterConfig = GO_ON) -> GlimpRouter:
    """A pair of which the large model fails at its token number `error_at`, in every call."""
    small = ScriptedEngine(steps, "It is 4.", name="small")
    large = ScriptedEngine(steps, "It is 4.", name="large", error=RemoteEngineError("gone"), error_at=error_at)
    return GlimpRouter(small, large, AlwaysLarge(), config)


def test_the_error_is_raised_unless_the_small_model_may_go_on() -> None:
    """By default the failure of the large model is the caller's to see."""
    with pytest.raises(RemoteEngineError, match="gone"):
        pair(0, config=RouterConfig()).generate("?")


def test_a_large_model_that_says_nothing_is_replaced() -> None:
    """The small model writes all of the reply, each step is glimpsed at once, and the summary says why."""
    done = pair(0).generate("?")
    assert done.reasoning + done.answer == "".join(STEPS).removesuffix("</think>") + "It is 4."
    assert {step.engine for step in done.steps} == {"small"}
    assert [routed.index for routed in done.routed] == [0, 1, 2, 3]
    assert done.summary().notes == ("the large model failed and the small one wrote the rest: gone",)


def test_what_was_read_of_a_failed_step_stays() -> None:
    """Text that the large model wrote before it failed is a step of its own, and the small model follows it."""
    done = pair(5).generate("?")
    first, *rest = done.steps
    assert (first.engine, first.text, first.end, first.tokens) == ("large", "Two a", "failure", 5)
    assert {step.engine for step in rest} == {"small"}
    assert done.usage.completion_tokens == sum(step.tokens for step in done.steps)
    assert [routed.index for routed in done.routed] == [step.index for step in done.steps if step.phase == "thinking"]


def test_a_failed_answer_is_gone_on_with() -> None:
    """An answer that breaks off is finished by the small model, and the reply is complete."""
    done = pair(3, steps=()).generate("?")
    assert [(step.engine, step.text, step.end) for step in done.steps if step.phase == "answer"] == [
        ("large", "It ", "failure"), ("small", "It is 4.", "eos"),
    ]  # fmt: skip
    assert done.finish_reason == "stop"


def test_json_that_was_begun_does_not_change_hands() -> None:
    """A bound reply of which the caller has read a part cannot be finished by another model."""
    with pytest.raises(RemoteEngineError):
        pair(3, steps=()).generate("?", response_format={"type": "json_object"})
    assert pair(0, steps=()).generate("?", response_format={"type": "json_object"}).answer == "It is 4."


def test_a_step_that_was_begun_is_withdrawn_when_another_writes_it() -> None:
    """Handing the step to an engine withdraws what others began, and not what it began itself; so does the end."""
    first, second, third = ScriptedEngine(), ScriptedEngine(), ScriptedEngine()
    withdrawn: list[ScriptedEngine] = []
    with Context(Request(({"role": "user", "content": "?"},))) as context:
        context.begin(first, lambda: withdrawn.append(first))
        context.begin(second, lambda: withdrawn.append(second))
        context.hand_to(first)
        assert withdrawn == [second]
        context.begin(third, lambda: withdrawn.append(third))
    assert withdrawn == [second, third]
