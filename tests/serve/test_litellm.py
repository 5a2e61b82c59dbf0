"""LiteLLM against the endpoint: completions, streams, tools, formats and errors through its OpenAI provider.

    python -m venv litellm && litellm/bin/pip install ".[serve,langchain]" litellm pytest ...
    pytest -m slow tests/serve/test_litellm.py

In an environment of its own, since it pins much of what others need.
"""

import json
from typing import Any

import litellm
import pytest
from pydantic import BaseModel

from serve.conftest import Served

pytestmark = pytest.mark.slow

QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class City(BaseModel):
    name: str


def ask(good: Served, **options: Any) -> Any:
    """Ask through LiteLLM, as Aider and many others do."""
    asked = {"model": "openai/glimp", "api_base": good.v1, "api_key": "any", "messages": QUESTION, "num_retries": 0}
    return litellm.completion(**{**asked, **options})


def test_a_reply_with_its_reasoning(good: Served) -> None:
    """Content, reasoning, usage."""
    done = ask(good)
    message = done.choices[0].message
    assert message.content == "You said: What is the weather in Paris?"
    assert message.reasoning_content.startswith("The user wants something.")
    assert done.usage.completion_tokens_details.reasoning_tokens > 0


def test_a_stream_is_the_reply(good: Served) -> None:
    """Its pieces, put together by LiteLLM's own builder, are the whole reply."""
    chunks = list(ask(good, stream=True, stream_options={"include_usage": True}))
    built, whole = litellm.stream_chunk_builder(chunks, messages=QUESTION), ask(good)
    assert built.choices[0].message.content == whole.choices[0].message.content
    assert built.choices[0].message.reasoning_content == whole.choices[0].message.reasoning_content
    assert built.usage.total_tokens == whole.usage.total_tokens


def test_a_tool_is_called(good: Served) -> None:
    """By a stream and at once."""
    for stream in (False, True):
        reply = ask(good, tools=[WEATHER], stream=stream)
        done = litellm.stream_chunk_builder(list(reply)) if stream else reply
        (call,) = done.choices[0].message.tool_calls
        assert (call.function.name, list(json.loads(call.function.arguments))) == ("get_weather", ["city"])
        assert done.choices[0].finish_reason == "tool_calls"


def test_a_class_is_filled(good: Served) -> None:
    """`response_format` is a Pydantic class."""
    done = ask(good, response_format=City)
    assert City.model_validate_json(done.choices[0].message.content).name


def test_errors_are_its_own_kinds(good: Served) -> None:
    """A long prompt, an unknown model, a value that cannot work."""
    with pytest.raises(litellm.BadRequestError, match="context_length_exceeded"):
        ask(good, messages=[{"role": "user", "content": "x" * 40_000}])
    with pytest.raises(litellm.NotFoundError):
        ask(good, model="openai/glim")
    with pytest.raises(litellm.BadRequestError, match="temperature=-1 cannot work"):
        ask(good, temperature=-1)
