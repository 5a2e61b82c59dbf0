"""The `openai` client against the endpoint: sync, async, streamed, tools, parsed, cancelled."""

import asyncio
import json
import time
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from adapters.good_model import Endless
from glimp_core import GlimpRouter
from serve.conftest import Served, Serving

QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
THOUGHT = "The user wants something.\n\nI know how to help.\n\nDone."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Person(BaseModel):
    name: str
    age: int


def client(served: Served, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.v1, api_key="any", max_retries=0, **options)


def functions(message: Any) -> list[tuple[str, str]]:
    """The calls of a message: names and arguments, as they were written."""
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]


def test_a_whole_reply(good: Served) -> None:
    """Content, reasoning by both names, usage with its details, and the summary of the routing."""
    done = client(good).chat.completions.create(model="glimp", messages=QUESTION)
    (choice,) = done.choices
    assert choice.message.content == f"You said: {QUESTION[0]['content']}"
    assert choice.message.reasoning_content == choice.message.reasoning == THOUGHT  # type: ignore[attr-defined]
    assert (choice.finish_reason, done.model, done.object) == ("stop", "glimp", "chat.completion")
    assert done.usage
    assert done.usage.completion_tokens_details
    assert done.usage.completion_tokens_details.reasoning_tokens == len(THOUGHT) + 1  # and the closing tag
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.glimp["summary"]["routed_steps"] == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{}, {"tools": [WEATHER]}, {"tools": [WEATHER], "tool_choice": "required"}])
def test_a_stream_is_the_whole_reply_in_pieces(good: Served, options: dict[str, Any]) -> None:
    """Folded by the client's own accumulator, a stream is what the whole reply says, usage included."""
    asked = {"model": "glimp", "messages": QUESTION, **options}
    whole = client(good).chat.completions.create(**asked)
    with client(good).chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        reasoning = "".join(
            getattr(event.chunk.choices[0].delta, "reasoning_content", "")
            for event in stream
            if event.type == "chunk" and event.chunk.choices
        )
        folded = stream.get_final_completion()
    (one,), (other,) = whole.choices, folded.choices
    assert reasoning == one.message.reasoning_content == THOUGHT  # type: ignore[attr-defined]
    assert (one.message.content or "") == (other.message.content or "")
    assert one.finish_reason == other.finish_reason
    assert functions(one.message) == functions(other.message)
    assert whole.usage == folded.usage


def test_a_tool_is_called_and_its_result_answered(good: Served) -> None:
    """An agent's round: the call, its result, the answer."""
    asked = client(good).chat.completions.create(model="glimp", messages=QUESTION, tools=[WEATHER])
    message = asked.choices[0].message
    assert asked.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls
    (call,) = message.tool_calls
    assert call.type == "function"
    assert (call.function.name, list(json.loads(call.function.arguments))) == ("get_weather", ["city"])
    told = [*QUESTION, message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]
    done = client(good).chat.completions.create(model="glimp", messages=told, tools=[WEATHER])
    assert done.choices[0].finish_reason == "stop"


def test_an_answer_is_parsed(good: Served) -> None:
    """`parse` sends a strict schema and gets an object of its class."""
    done = client(good).chat.completions.parse(
        model="glimp", messages=[{"role": "user", "content": "42"}], response_format=Person
    )
    assert done.choices[0].message.parsed == Person(name="42", age=42)


def test_each_model_answers_alone(good: Served) -> None:
    """The list has the pair and its two models; each model on its own writes all tokens."""
    listed = {model.id: model.glimp["kind"] for model in client(good).models.list()}  # type: ignore[attr-defined]
    assert listed == {"glimp": "pair", "glimp:small": "small", "glimp:large": "large"}
    for name, share in (("glimp:small", 0), ("glimp:large", 1)):
        done = client(good).chat.completions.create(model=name, messages=QUESTION)
        assert done.glimp["summary"]["large_token_share"] == share  # type: ignore[attr-defined]
        assert done.model == client(good).models.retrieve(name).id == name


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({"threshold": 9.0}, 0),
        ({"threshold": 0.0}, 1),
        ({"policy": "always_large"}, 1),
        ({"policy": {"name": "target_rate", "rate": 0.0}}, 0),
    ],
)
def test_a_request_chooses_its_policy(good: Served, options: dict[str, Any], rate: float) -> None:
    """`threshold` and `policy` go through `extra_body`."""
    done = client(good).chat.completions.create(model="glimp", messages=QUESTION, extra_body=options)
    assert done.glimp["summary"]["intervention_rate"] == rate  # type: ignore[attr-defined]


def test_thinking_is_switched_off(good: Served) -> None:
    """By `reasoning_effort`, and by `reasoning`."""
    for options in ({"reasoning_effort": "none"}, {"extra_body": {"reasoning": "off"}}):
        done = client(good).chat.completions.create(model="glimp", messages=QUESTION, **options)  # type: ignore[call-overload]
        assert done.usage.completion_tokens_details.reasoning_tokens == 0
        assert not hasattr(done.choices[0].message, "reasoning_content")


def test_errors_are_of_the_clients_own_kinds(good: Served) -> None:
    """Each status becomes the exception that the client has for it, with the message and the field."""
    ask = client(good).chat.completions.create
    with pytest.raises(openai.NotFoundError, match="did you mean 'glimp'"):
        ask(model="glim", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="n=2 is not supported") as refused:
        ask(model="glimp", messages=QUESTION, n=2)
    assert (refused.value.param, refused.value.code) == ("n", "unsupported")
    with pytest.raises(openai.BadRequestError) as overflow:
        ask(model="glimp", messages=[{"role": "user", "content": "x" * 40_000}])
    assert overflow.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError, match="chat/completions"):
        client(good).completions.create(model="glimp", prompt="Hello")


async def test_async_streams_side_by_side(good: Served) -> None:
    """Several streams of one async client at once, each whole."""

    async def one(number: int) -> str:
        asked: list[Any] = [{"role": "user", "content": f"number {number}"}]
        stream = await aio.chat.completions.create(model="glimp", messages=asked, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async with openai.AsyncOpenAI(base_url=good.v1, api_key="any") as aio:
        assert await asyncio.gather(*map(one, range(8))) == [f"You said: number {n}" for n in range(8)]


def stops(engine: Endless) -> bool:
    """Whether a model that never ends has stopped, within the time that a few tokens take."""
    deadline = time.monotonic() + 5
    while engine.running and time.monotonic() < deadline:
        time.sleep(0.005)
    written = engine.written
    time.sleep(0.05)
    return not engine.running and engine.written == written


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_models(serving: Serving, stream: bool) -> None:
    """A closed stream and an abandoned whole reply both end the generation, and free the place in the queue."""
    engine = Endless()
    with serving(GlimpRouter(engine, engine)) as endless:
        if stream:
            with client(endless).chat.completions.create(model="glimp", messages=QUESTION, stream=True) as chunks:
                next(chunk for chunk in chunks if "reasoning_content" in chunk.choices[0].delta.model_extra)
        else:
            for seconds in (0.3, 2, 10):  # on a busy machine the model may not have begun before the client leaves
                with pytest.raises(openai.APITimeoutError):
                    client(endless, timeout=seconds).chat.completions.create(model="glimp", messages=QUESTION)
                if engine.written:
                    break
        assert engine.written
        assert stops(engine)
        assert endless.endpoint.queue.running == 0
