"""The completion, its usage and its document are sums over the events."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import (
    AlwaysSmall,
    Completion,
    EntropyThreshold,
    GlimpRouter,
    ModelUsage,
    Routed,
    RouterConfig,
    Step,
    ToolCall,
)
from glimp_core.events import Finish, Start
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Decision, Glimpse
from pairs import scripted_router


def test_document_adds_up() -> None:
    """The steps' tokens sum to completion_tokens, a model's decoded tokens to its steps', the phases to the whole."""
    document = scripted_router(policy=EntropyThreshold(1.0)).generate("2+2?").document()
    usage, steps = document["usage"], document["steps"]
    assert sum(step["tokens"] for step in steps) == usage["completion_tokens"]
    assert usage["reasoning_tokens"] + usage["answer_tokens"] == usage["completion_tokens"]
    for model in ("small", "large"):
        characters = sum(
            step["tokens"] - (step["end"] in ("close", "eos")) for step in steps if step["engine"] == model
        )
        assert usage[model]["decode_tokens"] == characters
    assert usage["small"]["glimpses"] == document["summary"]["routed_steps"] == 4


def test_document_is_json_and_has_the_documented_keys() -> None:
    """The document survives JSON and holds at least the published keys."""
    document = scripted_router().generate("2+2?").document()
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    keys = {"answer", "reasoning", "tool_calls", "finish_reason", "steps", "usage", "summary"}
    assert keys <= document.keys()
    assert {"index", "phase", "engine", "entropy", "tokens", "seconds"} <= document["steps"][0].keys()
    assert {"prompt_tokens", "completion_tokens", "small", "large"} <= document["usage"].keys()
    assert {"intervention_rate", "large_token_share", "seconds"} <= document["summary"].keys()


def test_summary_counts_interventions_among_routed_steps() -> None:
    """The intervention rate is of the routed steps alone, the token share of all that was written."""
    done = scripted_router(policy=EntropyThreshold(1.0)).generate("2+2?")
    summary = done.summary()
    assert (summary.routed_steps, summary.steps, summary.intervention_rate) == (4, 5, 0.5)
    large = sum(step.tokens for step in done.steps if step.engine == "large")
    assert math.isclose(summary.large_token_share, large / done.usage.completion_tokens)
    thinking = [step for step in done.steps if step.phase == "thinking"]
    share = sum(step.tokens for step in thinking if step.engine == "large") / sum(step.tokens for step in thinking)
    assert math.isclose(summary.thinking_large_token_share, share)


TIMES = st.floats(0.001, 10)


@given(
    st.lists(st.tuples(st.sampled_from(["small", "large"]), st.integers(1, 50), TIMES), min_size=1, max_size=8),
    st.integers(0, 100), st.integers(1, 300), TIMES,
)  # fmt: skip
def test_usage_is_the_sum_of_glimpses_and_steps(
    written: list[tuple[str, int, float]], prompt: int, read: int, pace: float
) -> None:
    """Each model's usage is the sum over its steps, and the small model's has the glimpses too."""
    glimpse = ModelUsage(forwards=1, glimpses=1, prefill_tokens=3, prefill_seconds=0.25)
    events: list[Start | Routed | Step | Finish] = [Start("thinking", prompt)]
    for index, (engine, tokens, seconds) in enumerate(written):
        usage = ModelUsage(forwards=tokens, prefill_tokens=read, decode_tokens=tokens, decode_seconds=seconds)
        events.append(Routed(index, Glimpse(1.0, usage=glimpse), Decision(engine == "large")))
        events.append(Step(index, "thinking", engine, "x", tokens, seconds, "break", 1.0, usage))  # type: ignore[arg-type]
    done = Completion.fold([*events, Finish("stop", "close", pace)])
    steps = len(written)
    assert done.usage.small.forwards + done.usage.large.forwards == steps + sum(tokens for _, tokens, _ in written)
    assert done.usage.small.glimpses == steps
    assert done.usage.completion_tokens == sum(tokens for _, tokens, _ in written)
    large = [(tokens, seconds) for engine, tokens, seconds in written if engine == "large"]
    assert math.isclose(done.usage.large.decode_seconds, math.fsum(seconds for _, seconds in large), abs_tol=1e-9)


def test_estimate_of_the_large_model_alone_is_its_own_pace() -> None:
    """The large model alone is estimated as reading the prompt once and writing every token at its measured pace."""
    usage = ModelUsage(prefill_tokens=40, decode_tokens=10, prefill_seconds=0.4, decode_seconds=2.0)
    steps = [
        Step(0, "thinking", "small", "x", 30, 1.0, "close"),
        Step(1, "answer", "large", "y", 10, 2.4, "eos", usage=usage),
    ]
    done = Completion.fold([Start("thinking", 20), *steps, Finish("stop", "close", 3.4)])
    assert done.summary().large_alone_seconds == pytest.approx(0.4 * 20 / 40 + 40 * 2.0 / 10)


def test_no_estimate_without_a_measurement() -> None:
    """Where the large model wrote nothing there is no pace, and so no estimate."""

    done = scripted_router(policy=AlwaysSmall(), config=RouterConfig(answer_by="small")).generate("?")
    assert done.summary().large_alone_seconds is None


def test_tool_calls_are_apart_from_the_text() -> None:
    """A reply that calls a tool has the call, no answer text, and says why it is over."""
    call = ToolCall("1", "add", {"a": 2, "b": [2, "ü"]})
    done = scripted_router(answer=[call]).generate("?")
    assert (done.tool_calls, done.answer, done.finish_reason) == ((call,), "", "tool_calls")
    assert done.document()["tool_calls"] == [{"id": "1", "name": "add", "arguments": {"a": 2, "b": [2, "ü"]}}]


def test_prompt_tokens_are_those_of_the_large_model() -> None:
    """The prompt is counted in the large model's own tokens."""

    class Doubling(ScriptedEngine):
        def prepare(self, context):  # type: ignore[no-untyped-def]
            prompt = super().prepare(context)
            return type(prompt)(prompt.tokens * 2, prompt.window, prompt.thinking)

    assert GlimpRouter(ScriptedEngine(), Doubling()).generate("four").usage.prompt_tokens == 8
