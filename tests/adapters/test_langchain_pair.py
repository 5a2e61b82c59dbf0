"""LangChain's standard integration suite, everything switched on, on a pair of your choice. Opt-in: it takes minutes.

GLIMP_SMALL=Qwen/Qwen3-0.6B GLIMP_LARGE=Qwen/Qwen3-8B python -m pytest tests/adapters/test_langchain_pair.py -m slow

GLIMP_OPTIONS holds further arguments of ChatGlimp, as JSON: '{"dtype": "float32", "reasoning": "inline"}'.
"""

import json
import os
from functools import cache
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool

from adapters.test_langchain_standard import Integration
from glimp_langchain import ChatGlimp

SMALL, LARGE = (os.environ.get(f"GLIMP_{role}", "") for role in ("SMALL", "LARGE"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not (SMALL and LARGE), reason="GLIMP_SMALL and GLIMP_LARGE are not set"),
]


@cache
def options() -> dict[str, Any]:
    """What makes the model: greedy, unless GLIMP_OPTIONS says otherwise."""
    given = json.loads(os.environ.get("GLIMP_OPTIONS", "{}"))
    return {"small": SMALL, "large": LARGE, "temperature": 0, "max_tokens": 200, **given}


class PairIntegration(Integration):
    """The suite on the pair that the environment names."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return options()

    @property
    def model_override_value(self) -> str:
        return LARGE


class TestPairJsonSchema(PairIntegration):
    """Structured output as the text of the answer."""


class TestPairFunctionCalling(PairIntegration):
    """Structured output as a forced tool call."""

    method = "function_calling"


class TestPairJsonMode(PairIntegration):
    """Structured output by JSON mode."""

    method = "json_mode"


PROMPT = "You help in a shop. Use the tools. When you know enough, give the customer the facts that you found out."


@tool
def home_of(customer: str) -> str:
    """Look up the city where a customer lives."""
    return {"ada": "Lyon"}.get(customer.strip().lower(), "unknown")


@tool
def weather_in(city: str) -> str:
    """Say what the weather is like in a city."""
    return {"lyon": "heavy rain, 12 degrees"}.get(city.strip().lower(), "sunny, 25 degrees")


@tool
def phone_of(customer: str) -> str:
    """Look up the telephone number of a customer."""
    return f"no number known for {customer}"


def test_an_agent_uses_two_of_its_three_tools() -> None:
    """What one tool tells goes into another, and what that tells into the answer; calls beside them do no harm."""
    agent = create_agent(ChatGlimp(**options()), [home_of, weather_in, phone_of], system_prompt=PROMPT)
    question = "In which city does our customer Ada live, and what is the weather like there?"
    messages = agent.invoke({"messages": [("human", question)]}, {"recursion_limit": 12})["messages"]
    results = [(message.name, message.content) for message in messages if isinstance(message, ToolMessage)]
    assert {("home_of", "Lyon"), ("weather_in", "heavy rain, 12 degrees")} <= set(results), results
    assert all(word in messages[-1].text for word in ("Lyon", "rain")), (results, messages[-1].text)


def texts(messages: list[AIMessage]) -> list[tuple[str, str]]:
    return [(str(message.content), message.additional_kwargs.get("reasoning_content", "")) for message in messages]


async def test_batches_are_singles() -> None:
    """Eight questions at once, greedily, give to the letter what eight single calls give."""
    llm = ChatGlimp(**{**options(), "dtype": "float32", "temperature": 0, "max_tokens": 24})
    questions = [f"In one sentence: what is the number {number} known for?" for number in range(3, 11)]
    singles = texts([llm.invoke(question) for question in questions])
    assert len(set(singles)) == 8
    assert texts(llm.batch(questions)) == singles
    assert texts(await llm.abatch(questions)) == singles
