"""ChatGlimp in agents and graphs: what create_agent, its middleware and LangGraph's streaming need of a model."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    LLMToolSelectorMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from adapters.good_model import good_router, instance
from glimp_core import ContextOverflowError, EngineTimeoutError, GlimpRouter
from glimp_core.context import Context
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams
from glimp_langchain import ChatGlimp


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def double(a: int) -> int:
    """Double a number."""
    return 2 * a


class Person(BaseModel):
    """A person."""

    name: str
    age: int


QUESTION = {"messages": [HumanMessage("add and double 3")]}


def kinds(messages: list[Any]) -> list[str]:
    return [message.type for message in messages]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_agent_calls_its_tools_and_answers(streamed: bool) -> None:
    """An agent runs both calls of one message and answers with their results, whether run or streamed."""
    agent = create_agent(ChatGlimp(router=good_router()), [add, double])
    if streamed:
        states = [state async for state in agent.astream(QUESTION, stream_mode="values")]
        messages = states[-1]["messages"]
    else:
        messages = agent.invoke(QUESTION)["messages"]
        assert kinds((await agent.ainvoke(QUESTION))["messages"]) == kinds(messages)
    assert kinds(messages) == ["human", "ai", "tool", "tool", "ai"]
    assert [message.content for message in messages[2:4]] == ["6", "6"]
    assert len({call["id"] for call in messages[1].tool_calls}) == 2


@pytest.mark.parametrize("strategy", [Person, ProviderStrategy(Person), ToolStrategy(Person)])
@pytest.mark.parametrize("tools", [[], [double]])
@pytest.mark.parametrize("reasoning", [None, False])
def test_an_agent_answers_in_a_schema(strategy: Any, tools: list[Any], reasoning: Any) -> None:
    """A structured agent ends with an instance, by the provider's grammar or by a tool, with tools beside it or not."""
    agent = create_agent(ChatGlimp(router=good_router(), reasoning=reasoning), tools, response_format=strategy)
    result = agent.invoke({"messages": [HumanMessage("double 3")]})
    assert result["structured_response"] == Person(name="double 3", age=3)
    provider = not isinstance(strategy, ToolStrategy)
    assert kinds(result["messages"])[-1] == ("ai" if provider else "tool")
    assert any(isinstance(message, ToolMessage) and message.name == "double" for message in result["messages"]) == (
        bool(tools)
    )


class Moody(ScriptedEngine):
    """A good large model that fails some times first."""

    def __init__(self, *errors: Exception):
        super().__init__(answer="All is well.", steps=["Hm.</think>"])
        self.errors = list(errors)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Fail, or answer."""
        if params.phase == "answer" and self.errors:
            raise self.errors.pop()
        yield from super().generate(context, params)


def moody(*errors: Exception) -> tuple[ChatGlimp, Moody]:
    engine = Moody(*errors)
    return ChatGlimp(router=GlimpRouter(ScriptedEngine(["Hm.</think>"]), engine)), engine


def test_retry_middleware_tells_errors_apart() -> None:
    """A time-out is tried again; an error that would come again is not."""
    llm, _ = moody(EngineTimeoutError("slow"), EngineTimeoutError("slow"))
    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0)
    result = create_agent(llm, [], middleware=[retry]).invoke({"messages": [HumanMessage("Hello")]})
    assert result["messages"][-1].content == "All is well."
    llm, engine = moody(ContextOverflowError("long"), ContextOverflowError("long"))
    with pytest.raises(ContextOverflowError):
        create_agent(llm, [], middleware=[retry]).invoke({"messages": [HumanMessage("Hello")]})
    assert len(engine.errors) == 1


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_summarisation_knows_the_window(share: float) -> None:
    """Summarisation starts at a share of the pair's window, by the usage that the pair itself reported."""
    llm = ChatGlimp(router=good_router(window=10_000))
    middleware = SummarizationMiddleware(model=llm, trigger=("fraction", share), keep=("messages", 2))
    agent = create_agent(llm, [], middleware=[middleware])
    asked = [HumanMessage("a" * 1500)]
    history = [*asked, llm.invoke(asked)]
    assert history[1].usage_metadata["total_tokens"] > 2000
    messages = agent.invoke({"messages": [*history, HumanMessage("Hello")]})["messages"]
    assert ("summary" in str(messages[0].content)) == (share == 0.2)


def test_context_editing_counts_tokens_by_the_pair() -> None:
    """Context editing counts by the model, tools included, and clears old results beyond its limit."""
    edit = ClearToolUsesEdit(trigger=150, keep=1, clear_at_least=0)
    middleware = ContextEditingMiddleware(edits=[edit], token_count_method="model")
    router = good_router()
    agent = create_agent(ChatGlimp(router=router), [double], middleware=[middleware])
    call = {"name": "double", "args": {"a": 3}, "type": "tool_call"}
    history = [
        HumanMessage("Hello"),
        AIMessage("", tool_calls=[{**call, "id": "1"}]),
        ToolMessage("6" * 200, tool_call_id="1"),
        AIMessage("", tool_calls=[{**call, "id": "2"}]),
        ToolMessage("6" * 10, tool_call_id="2"),
    ]
    answer = agent.invoke({"messages": history})["messages"][-1]
    assert answer.usage_metadata["input_tokens"] < 10 + 200 + 10 + 200


def test_a_tool_selector_gets_its_choice() -> None:
    """The tool selector's schema of constants and unions is filled, and only chosen tools are offered."""
    selector = LLMToolSelectorMiddleware(model=ChatGlimp(router=good_router()), max_tools=1)
    agent = create_agent(ChatGlimp(router=good_router()), [add, double], middleware=[selector])
    messages = agent.invoke({"messages": [HumanMessage("add and double 3")]})["messages"]
    assert [call["name"] for call in messages[1].tool_calls] == ["add"]


def test_instances_follow_their_schema() -> None:
    """The good model of these tests fills references, constants and unions as a grammar would."""
    schema = {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"const": "x"}}}
    assert instance(schema, "") == "x"


def graph(llm: ChatGlimp) -> Any:
    """A graph of one node that asks the model."""

    async def chat(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node("chat", chat).add_edge(START, "chat").compile()


async def test_a_graph_streams_thoughts_with_their_writers() -> None:
    """A graph streams every chunk of a model that its node merely invoked, once, under one id, with who writes."""
    chunks = []
    async for chunk, info in graph(ChatGlimp(router=good_router())).astream(
        {"messages": [HumanMessage("Hello")]}, stream_mode="messages"
    ):
        assert info["langgraph_node"] == "chat"
        chunks.append(chunk)
    whole = ChatGlimp(router=good_router()).invoke("Hello")
    first, *others = (chunk for chunk in chunks if isinstance(chunk, AIMessageChunk))
    merged = first + others
    assert len({chunk.id for chunk in chunks}) == 1
    assert (merged.content, merged.additional_kwargs) == (whole.content, whole.additional_kwargs)
    assert [step["model"] for step in merged.additional_kwargs["glimp"]["steps"]] == [
        "small",
        "large",
        "small",
        "large",
    ]


async def test_batches_are_singles() -> None:
    """Eight questions at once, in threads or tasks, give what eight single calls give, in order."""
    llm = ChatGlimp(router=good_router(), temperature=0)
    questions = [f"Question {number}" for number in range(8)]
    singles = [llm.invoke(question).content for question in questions]
    assert [message.content for message in llm.batch(questions)] == singles
    assert [message.content for message in await llm.abatch(questions)] == singles
    assert [message.content for message in llm.batch(questions, {"max_concurrency": 2})] == singles
