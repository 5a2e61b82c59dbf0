"""Calls and JSON out of tiny real models with random weights: the worst writers there are."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from chat.schemas import Case, object_cases
from chat.templates import TEMPLATES
from glimp_core import Completion, ConfigError, GlimpRouter, RouterConfig, SamplingParams, UnsupportedSchemaError
from glimp_core.chat.grammar.validation import is_valid
from glimp_core.events import Delta
from glimp_core.local import LocalEngine
from glimp_core.source import ModelSource
from glimp_core.types import ToolCallDelta

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}, "words": {"type": "array", "items": {"type": "string"}}},
    "required": ["answer", "words"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}
SAMPLED = SamplingParams(temperature=1.0, seed=1, max_tokens=160)


def engine(template: str = tiny.THINKING, seed: int = 0) -> LocalEngine:
    return LocalEngine(ModelSource.of((tiny.model(seed=seed), tiny.tokenizer(template))))


@pytest.fixture(scope="module")
def thinking() -> GlimpRouter:
    """A pair that thinks before it answers, briefly."""
    return GlimpRouter(engine(), engine(seed=1), config=RouterConfig(max_reasoning_tokens=24))


@pytest.fixture(scope="module", params=TEMPLATES)
def plain(request: Any) -> GlimpRouter:
    """A pair that does not think, with the template of each family."""
    template = TEMPLATES[request.param]
    return GlimpRouter(engine(template), engine(template, seed=1), config=RouterConfig(speculate=False))


def weather(done: Completion) -> Any:
    (call,) = done.tool_calls
    assert call.name == "get_weather"
    assert is_valid(call.arguments, WEATHER["function"]["parameters"])  # type: ignore[index]
    assert (done.answer, done.finish_reason, done.invalid_tool_calls) == ("", "tool_calls", ())
    return call


@pytest.mark.parametrize(
    "choice", ["required", "get_weather", {"type": "function", "function": {"name": "get_weather"}}]
)
@pytest.mark.parametrize("sampling", [SAMPLED, SamplingParams(temperature=0.0, max_tokens=120)])
def test_a_demanded_call_comes_after_free_thinking(
    thinking: GlimpRouter, choice: Any, sampling: SamplingParams
) -> None:
    """Law: thinking is never masked, and the answer after it is a valid call."""
    done = thinking.generate("Weather?", tools=[WEATHER], tool_choice=choice, sampling=sampling)
    weather(done)
    free = thinking.generate("Weather?", tools=[WEATHER], sampling=sampling)
    assert done.reasoning == free.reasoning != ""


def test_every_family_calls_when_it_must(plain: GlimpRouter) -> None:
    """Law: with any template a demanded call is valid, at every limit that it fits."""
    for limit in (180, 181, 220):
        sampling = SamplingParams(temperature=1.0, seed=limit, max_tokens=limit)
        weather(plain.generate("Weather?", tools=[WEATHER], tool_choice="required", sampling=sampling))


def test_streamed_pieces_make_the_whole_call(thinking: GlimpRouter) -> None:
    """Law: the fragments of a streamed call are its name and its arguments, and no piece of it is text."""
    events = list(thinking.stream("Weather?", tools=[WEATHER], tool_choice="required", sampling=SAMPLED))
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    call = deltas[-1].call
    assert call
    assert (deltas[0].id, deltas[0].name) == (call.id, "get_weather")
    assert json.loads("".join(delta.arguments for delta in deltas)) == call.arguments
    assert not any(event.text for event in events if isinstance(event, Delta) and event.phase == "answer")
    done = Completion.fold(events)
    assert sum(step.tokens for step in done.steps) == done.usage.completion_tokens


@pytest.mark.parametrize("reasoning", ["auto", "off", "inline"])
def test_a_demanded_format_is_kept(thinking: GlimpRouter, reasoning: Any) -> None:
    """Law: with or without thinking the answer is JSON that follows the schema, and is reported as text."""
    done = thinking.generate("Count.", response_format=FORMAT, sampling=SAMPLED, reasoning=reasoning)
    jsonschema.validate(json.loads(done.answer), SCHEMA)
    assert (done.finish_reason, done.tool_calls) == ("stop", ())


def test_a_format_beside_tools_gives_one_of_the_two(plain: GlimpRouter) -> None:
    """Law: an answer that may call tools or follow a schema does one of them."""
    for seed in range(3):
        sampling = SamplingParams(temperature=1.0, seed=seed, max_tokens=160)
        done = plain.generate("Weather?", tools=[WEATHER], response_format=FORMAT, sampling=sampling)
        if done.tool_calls:
            weather(done)
        else:
            jsonschema.validate(json.loads(done.answer), SCHEMA)


def test_many_calls_end_in_time(thinking: GlimpRouter) -> None:
    """Law: where any number of calls may come, all of them are whole."""
    done = thinking.generate(
        "Weather?", tools=[WEATHER], tool_choice="required", parallel_tool_calls=True, sampling=SAMPLED
    )
    assert done.tool_calls
    assert done.invalid_tool_calls == ()


def test_without_requirements_nothing_changes(thinking: GlimpRouter) -> None:
    """Law: offering tools in a prompt that is otherwise the same does not touch what is drawn."""
    sampling = SamplingParams(temperature=0.0, max_tokens=60)
    free = thinking.generate("Hello.", sampling=sampling)
    none = thinking.generate("Hello.", tools=[WEATHER], tool_choice="none", sampling=sampling)
    assert (free.reasoning, free.answer) == (none.reasoning, none.answer)


def test_drafts_do_not_change_a_call() -> None:
    """Law: with speculation the same call is written, greedily in float32, as without."""
    calls = []
    for speculate in (True, False):
        router = GlimpRouter(engine(TEMPLATES["hermes"]), engine(TEMPLATES["hermes"], 1),
                             config=RouterConfig(speculate=speculate))  # fmt: skip
        sampling = SamplingParams(temperature=0.0, max_tokens=120)
        call = weather(router.generate("Weather?", tools=[WEATHER], tool_choice="required", sampling=sampling))
        calls.append((call.name, call.arguments))
    assert calls[0] == calls[1]


def test_a_limit_that_is_too_short_is_an_error(thinking: GlimpRouter) -> None:
    """Law: what cannot be whole is refused before any forward, with the number of tokens it needs."""
    with pytest.raises(ConfigError, match=r"at most 5 tokens .* has \d+ tokens"):
        thinking.generate("x", response_format=FORMAT, sampling=SamplingParams(max_tokens=5))


def test_what_cannot_be_enforced_is_an_error(thinking: GlimpRouter) -> None:
    """Law: a schema that no value follows is refused, an unknown tool with the nearest one."""
    with pytest.raises(UnsupportedSchemaError, match="no finite value"):
        thinking.generate("x", response_format={"type": "json_schema", "schema": {"not": {}}})
    with pytest.raises(ConfigError, match="did you mean 'get_weather'"):
        thinking.generate("x", tools=[WEATHER], tool_choice="get_wether")


def test_the_glimpse_may_choose_who_writes_the_call() -> None:
    """Law: with answer_by="routed" one glimpse chooses the writer of the whole call."""
    config = RouterConfig(answer_by="routed", max_step_tokens=20, speculate=False)
    router = GlimpRouter(engine(TEMPLATES["hermes"]), engine(TEMPLATES["hermes"], 1), config=config)
    done = router.generate("Weather?", tools=[WEATHER], tool_choice="required", sampling=SAMPLED)
    weather(done)
    assert len(done.routed) == len(done.steps) == 1


@pytest.mark.parametrize("by", ["small", "large", "routed"])
def test_bound_answers_are_written_by_whom_the_configuration_names(by: Any) -> None:
    """Law: calls and JSON are the answer, and `answer_by` says who writes it, after thinking that both share."""
    router = GlimpRouter(engine(), engine(seed=1), config=RouterConfig(max_reasoning_tokens=24, answer_by=by))
    call = router.generate("Weather?", tools=[WEATHER], tool_choice="required", sampling=SAMPLED)
    weather(call)
    answer = router.generate("Count.", response_format=FORMAT, sampling=SAMPLED)
    jsonschema.validate(json.loads(answer.answer), SCHEMA)
    for done in (call, answer):
        *thoughts, last = done.steps
        assert {step.phase for step in thoughts} == {"thinking"}
        assert last.phase == "answer"
        assert last.engine == by or (by == "routed" and last.entropy is not None)


@given(case=object_cases(), seed=st.integers(0, 99), more=st.integers(0, 20))
@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_random_weights_write_valid_json(thinking: GlimpRouter, case: Case, seed: int, more: int) -> None:
    """Law: for random schemas and limits, a model that knows nothing writes JSON that validates."""
    sampling = SamplingParams(temperature=2.0, seed=seed, max_tokens=case.shortest + more)
    wanted = {"type": "json_schema", "schema": case.schema}
    done = thinking.generate("Go.", response_format=wanted, sampling=sampling, reasoning="off")
    jsonschema.validate(json.loads(done.answer), case.schema)
