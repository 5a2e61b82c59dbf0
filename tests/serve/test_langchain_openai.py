"""LangChain's ChatOpenAI against the endpoint: its standard integration suite, and an agent."""

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel

from adapters.good_model import ENTROPIES, STEPS, reply
from glimp_core import GlimpRouter, Request
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.testing import Reply, ScriptedEngine
from serve.conftest import Served, served

REASONING = ["reasoning_output"]


def obey(request: Request) -> Reply:
    """Reply like a good model, which fills the keys that a prompt for JSON names."""
    requirements = OutputRequirements.of(request)
    prompt = str(request.messages[-1]["content"])
    if requirements.schema == {} and not requirements.must_call:
        return json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", prompt), prompt))
    return reply(request)


@pytest.fixture(scope="module")
def obedient() -> Iterator[Served]:
    """An endpoint of such a pair."""
    small, large = (ScriptedEngine(STEPS, obey, ENTROPIES) for _ in "ab")
    with served(GlimpRouter(small, large)) as endpoint:
        yield endpoint


def chat(endpoint: Served, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": "glimp", "base_url": endpoint.v1, "api_key": "any", "max_retries": 0, **options})


class Suite(ChatModelIntegrationTests):
    """All that an endpoint of texts can have."""

    method = "json_schema"
    endpoint: Served

    @pytest.fixture(autouse=True)
    def _served(self, obedient: Served) -> None:
        type(self).endpoint = obedient

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        loops_own = openai.DefaultAsyncHttpxClient()  # the one that LangChain keeps belongs to the first test's loop
        options = {"base_url": self.endpoint.v1, "api_key": "any", "max_retries": 0, "stream_usage": True}
        return {"model": "glimp", "http_async_client": loops_own, **options}

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": self.method}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return False

    @property
    def model_override_value(self) -> str:
        return "glimp:large"

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[Any]]:
        return {"invoke": REASONING, "stream": REASONING}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        model = chat(self.endpoint, stream_usage=True)
        if not stream:
            return model.invoke("Hello there")
        first, *others = model.stream("Hello there")
        return first + others  # type: ignore[return-value]


@pytest.mark.slow
class TestJsonSchema(Suite):
    """Structured output as the text of the answer."""


@pytest.mark.slow
class TestFunctionCalling(Suite):
    """Structured output as a forced tool call."""

    method = "function_calling"


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def test_an_agent_works(good: Served) -> None:
    """It calls the tool, reads the result, and answers; the routing is in the metadata of nobody but who asks."""

    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"sunny in {city}"

    agent = create_agent(chat(good), [get_weather])
    question = HumanMessage("What is the weather in Paris?")
    messages = agent.invoke({"messages": [question]})["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert messages[1].tool_calls[0]["name"] == "get_weather"


def test_a_class_is_filled(good: Served) -> None:
    """By the methods that send a schema."""
    for method in ("json_schema", "function_calling"):
        found = chat(good).with_structured_output(Trip, method=method).invoke("3 days")
        assert isinstance(found, Trip), method


def test_a_long_prompt_is_told_as_one(good: Served) -> None:
    """LangChain's middleware shortens a conversation when it sees this error."""
    with pytest.raises(ContextOverflowError):
        chat(good).invoke("x" * 40_000)
