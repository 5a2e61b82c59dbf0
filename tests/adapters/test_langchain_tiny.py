"""LangChain's standard integration suite on real models: the local engine, templates and grammars, random weights.

Whatever the plumbing and the grammar can promise holds; what takes a model that knows something may fail.
"""

from functools import cache
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage

import tiny
from adapters.test_langchain_standard import Integration
from glimp_core import GlimpRouter, RouterConfig
from glimp_langchain import ChatGlimp

takes_a_good_model = pytest.mark.xfail(reason="random weights decide nothing and copy nothing", strict=False)
versions = pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)


@cache
def router() -> GlimpRouter:
    """One pair for all classes; short thoughts, a long window."""
    config = RouterConfig(max_reasoning_tokens=12, max_step_tokens=6)
    return tiny.router(config=config, max_position_embeddings=16_384)


class TinyIntegration(Integration):
    """The suite on a pair of tiny random models."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"router": router(), "reasoning": self.reasoning, "temperature": 0, "max_tokens": 100}

    @property
    def model_override_value(self) -> str:
        return router().large.name

    @takes_a_good_model
    @versions
    def test_tool_calling(self, model: BaseChatModel) -> None:
        super().test_tool_calling(model)

    @takes_a_good_model
    async def test_tool_calling_async(self, model: BaseChatModel) -> None:
        await super().test_tool_calling_async(model)

    @takes_a_good_model
    @versions
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)

    @takes_a_good_model
    def test_unicode_tool_call_integration(self, model: BaseChatModel) -> None:
        super().test_unicode_tool_call_integration(model)


class TestTinyJsonSchema(TinyIntegration):
    """Structured output as the text of the answer, after thinking."""


class TestTinyFunctionCallingWithoutThinking(TinyIntegration):
    """Structured output as a forced tool call, without thinking."""

    method = "function_calling"
    reasoning = False


@pytest.mark.slow
class TestTinyFunctionCalling(TinyIntegration):
    """Structured output as a forced tool call, after thinking."""

    method = "function_calling"


@pytest.mark.slow
class TestTinyJsonMode(TinyIntegration):
    """Structured output by JSON mode, after thinking."""

    method = "json_mode"


@pytest.mark.slow
class TestTinyJsonSchemaWithoutThinking(TinyIntegration):
    """Structured output as the text of the answer, without thinking."""

    reasoning = False


@pytest.mark.slow
class TestTinyJsonModeWithoutThinking(TinyIntegration):
    """Structured output by JSON mode, without thinking."""

    method = "json_mode"
    reasoning = False


def texts(messages: list[AIMessage]) -> list[tuple[str, str]]:
    return [(str(message.content), message.additional_kwargs["reasoning_content"]) for message in messages]


async def test_batches_of_real_models_are_singles() -> None:
    """Eight questions at once, greedily, give to the letter what eight single calls give."""
    llm = ChatGlimp(router=router(), temperature=0, max_tokens=20)
    questions = [f"Question {number}" for number in range(8)]
    singles = texts([llm.invoke(question) for question in questions])
    assert len(set(singles)) > 1
    assert texts(llm.batch(questions)) == singles
    assert texts(await llm.abatch(questions)) == singles


def test_a_second_turn_finds_the_first_in_the_cache() -> None:
    """A conversation that is sent again is not read again: most of it is reported as read from the cache."""
    llm = ChatGlimp(router=router(), temperature=0, max_tokens=20, reasoning=False)
    first = llm.invoke([("human", "word " * 100)])
    again = llm.invoke([("human", "word " * 100), first, ("human", "And then?")])
    details = again.usage_metadata["input_token_details"]
    assert details["cache_read"] > 0.8 * first.usage_metadata["input_tokens"]
    assert details["cache_read"] + details["cache_creation"] == again.usage_metadata["input_tokens"]


def test_tokens_are_counted_with_the_options_of_the_template() -> None:
    """What `chat_template_kwargs` adds to a prompt is counted, as it is when the prompt is used."""
    template = tiny.PLAIN + "{% if motto is defined %}{{ motto }}{% endif %}"
    pair = tiny.router(small=tiny.tokenizer(template), large=tiny.tokenizer(template))
    plain, loud = (ChatGlimp(router=pair, chat_template_kwargs=given) for given in ({}, {"motto": "ab"}))
    question = [HumanMessage("Hello")]
    assert loud.get_num_tokens_from_messages(question) == plain.get_num_tokens_from_messages(question) + 2
    usage = loud.invoke(question, max_tokens=2).usage_metadata
    assert usage["input_tokens"] == loud.get_num_tokens_from_messages(question)
