"""Agents: every type, with tools, hand-offs, memory and structured answers; LlamaIndex's mock is the oracle."""

import itertools
from collections import Counter
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock, ToolCallBlock
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from adapters.llamaindex_checks.hooks import Hooks, Reply, recorded
from adapters.llamaindex_checks.tools import add, shout

TWO_TOOLS = (Reply(calls=(("add", {"a": 2, "b": 2}),)), Reply(calls=(("shout", {"text": "four"}),)), "It is FOUR.")
DIRECT = FunctionTool.from_defaults(shout, return_direct=True)
REACT = ('Thought: I add.\nAction: add\nAction Input: {"a": 2, "b": 2}', "Thought: I know.\nAnswer: It is 4.")


class Total(BaseModel):
    """A number."""

    number: int


def mock(*replies: Reply | str) -> MockFunctionCallingLLM:
    """LlamaIndex's mock with a script."""
    turns = itertools.chain(replies, itertools.repeat(replies[-1]))

    def answer(messages: Any, **kwargs: Any) -> ChatMessage:
        reply = next(turns)
        reply = Reply(reply) if isinstance(reply, str) else reply
        blocks = [
            ToolCallBlock(tool_call_id=f"call{at}", tool_name=name, tool_kwargs=arguments)
            for at, (name, arguments) in enumerate(reply.calls)
        ]
        message = ChatMessage(reply.text, role="assistant")
        message.blocks += blocks
        return message

    return MockFunctionCallingLLM(response_generator=answer, is_chat_model=True)


def ran(code: str) -> str:
    """Say that some code has run."""
    return f"ran {code.strip()}"


async def events_of(agent: Any, message: str, **kwargs: Any) -> tuple[Any, list[Any]]:
    """Run an agent; returns its result and its events."""
    handler = agent.run(user_msg=message, **kwargs)
    events = [event async for event in handler.stream_events()]
    return await handler, events


def counted(events: list[Any]) -> Counter[str]:
    """Count events by type, pieces of streams aside."""
    return Counter(type(event).__name__ for event in events if not isinstance(event, AgentStream))


class Agents(Hooks):
    """Checks of what agents need."""

    @pytest.mark.parametrize("streaming", [True, False])
    async def test_function_agent(self, streaming: bool) -> None:
        """Two tools after one another, with the events that LlamaIndex's own mock gives."""

        def agent(llm: LLM) -> FunctionAgent:
            return FunctionAgent(tools=[add, shout], llm=llm, streaming=streaming)

        with recorded() as recorder:
            result, events = await events_of(agent(self.scripted(*TWO_TOOLS)), "Shout two and two.")
        expected, oracle = await events_of(agent(mock(*TWO_TOOLS)), "Shout two and two.")
        assert str(result) == str(expected) == "It is FOUR."
        assert counted(events) == counted(oracle)
        assert [call.tool_name for call in result.tool_calls] == ["add", "shout"]
        assert recorder.unwritable == []

    async def test_agent_streams(self) -> None:
        """An agent's stream has the answer in deltas and the reasoning in thinking_delta."""
        llm = self.scripted(*TWO_TOOLS, thinking="Hm.\n\nTools.")
        _, events = await events_of(FunctionAgent(tools=[add, shout], llm=llm), "Shout two and two.")
        streams = [event for event in events if isinstance(event, AgentStream)]
        assert "".join(event.delta for event in streams) == "It is FOUR."
        assert "".join(event.thinking_delta or "" for event in streams) == "Hm.\n\nTools." * 3

    async def test_parallel_calls(self) -> None:
        """An agent may call two tools at once."""
        llm = self.scripted(Reply(calls=(("add", {"a": 2, "b": 2}), ("shout", {"text": "four"}))), "Both done.")
        result, events = await events_of(FunctionAgent(tools=[add, shout], llm=llm), "Do both.")
        assert counted(events)["ToolCallResult"] == 2
        assert str(result) == "Both done."

    async def test_first_tool(self) -> None:
        """`initial_tool_choice` names a tool."""
        agent = FunctionAgent(tools=[add, shout], llm=self.scripted(*TWO_TOOLS), initial_tool_choice="add")
        assert str((await events_of(agent, "Shout two and two."))[0]) == "It is FOUR."

    async def test_no_tools(self) -> None:
        """A FunctionAgent without tools answers."""
        assert str((await events_of(FunctionAgent(tools=[], llm=self.scripted("Hello.")), "Hi."))[0]) == "Hello."

    async def test_hand_off(self) -> None:
        """An AgentWorkflow hands over between agents, which are FunctionAgents where tools are made of functions."""
        hand_off = Reply(calls=(("handoff", {"to_agent": "shouter", "reason": "It shouts."}),))
        llm = self.scripted(hand_off, Reply(calls=(("shout", {"text": "four"}),)), "It is FOUR.")
        adder = FunctionAgent(name="adder", description="Adds.", tools=[add], llm=llm, can_handoff_to=["shouter"])
        shouter = FunctionAgent(name="shouter", description="Shouts.", tools=[shout], llm=llm)
        workflow = AgentWorkflow(agents=[adder, shouter], root_agent="adder")
        result, _ = await events_of(workflow, "Shout four.")
        assert str(result) == "It is FOUR."
        assert result.current_agent_name == "shouter"
        (agent,) = AgentWorkflow.from_tools_or_functions([add], llm=llm).agents.values()
        assert isinstance(agent, FunctionAgent)

    async def test_return_direct(self) -> None:
        """The result of a `return_direct` tool is the reply, and its message is taken in the next turn."""
        llm = self.scripted(Reply(calls=(("shout", {"text": "four"}),)), "As I said.")
        agent, memory = FunctionAgent(tools=[DIRECT], llm=llm), Memory.from_defaults()
        assert str((await events_of(agent, "Shout four.", memory=memory))[0]) == "FOUR"
        assert str((await events_of(agent, "Again?", memory=memory))[0]) == "As I said."

    async def test_code_agent_hands_off(self) -> None:
        """A CodeActAgent with a colleague chats with one tool, the hand-off, and reads code from the deltas."""
        hand_off = Reply(calls=(("handoff", {"to_agent": "shouter", "reason": "It shouts."}),))
        llm = self.scripted("<execute>\nprint(2 + 2)\n</execute>", hand_off, "It is FOUR.")
        coder = CodeActAgent(
            name="coder", description="Codes.", llm=llm, code_execute_fn=ran, can_handoff_to=["shouter"]
        )
        shouter = FunctionAgent(name="shouter", description="Shouts.", tools=[shout], llm=llm)
        result, _ = await events_of(AgentWorkflow(agents=[coder, shouter], root_agent="coder"), "Shout four.")
        assert (str(result), result.current_agent_name) == ("It is FOUR.", "shouter")

    async def test_react_agent(self) -> None:
        """A ReActAgent reads its actions from the text, which must not hold the reasoning."""
        llm = self.scripted(*REACT, thinking="Thought: no.\nAnswer: wrong")
        result, events = await events_of(ReActAgent(tools=[add], llm=llm), "Two and two?")
        assert str(result) == "It is 4."
        assert counted(events)["ToolCallResult"] == 1

    async def test_code_agent(self) -> None:
        """A CodeActAgent finds its code in the text."""
        llm = self.scripted("<execute>\nprint(2 + 2)\n</execute>", "It is 4.")
        result, events = await events_of(CodeActAgent(code_execute_fn=ran, llm=llm), "Two and two?")
        assert str(result) == "It is 4."
        assert counted(events)["ToolCallResult"] == 1

    async def test_early_stopping(self) -> None:
        """An agent that has gone too far is asked to sum up, in a system message that comes last."""
        llm = self.scripted(TWO_TOOLS[0], "Summed up.")
        agent = FunctionAgent(tools=[add], llm=llm, early_stopping_method="generate")
        result, _ = await events_of(agent, "Two and two?", max_iterations=1)
        assert str(result) == "Summed up."

    async def test_structured_answer(self) -> None:
        """An agent with an output class gives an object at the end."""
        llm = self.scripted(TWO_TOOLS[0], "It is 4.", '{"number": 4}')
        result, _ = await events_of(FunctionAgent(tools=[add], llm=llm, output_cls=Total), "Two and two?")
        assert result.get_pydantic_model(Total) == Total(number=4)

    @pytest.mark.parametrize("kind", [Memory, ChatMemoryBuffer])
    async def test_memory(self, kind: Any) -> None:
        """Two turns over one memory: reasoning and calls are kept, and the second turn knows the first."""
        llm = self.scripted(*TWO_TOOLS, "Still FOUR.", thinking="Hm.")
        memory = kind.from_defaults()
        agent = FunctionAgent(tools=[add, shout], llm=llm)
        await events_of(agent, "Shout two and two.", memory=memory)
        with recorded() as recorder:
            result, _ = await events_of(agent, "Again?", memory=memory)
        assert str(result) == "Still FOUR."
        (asked,) = [event.messages for event in recorder.of("LLMChatStartEvent")]
        assert [message.role.value for message in asked] == [
            "user", "assistant", "tool", "assistant", "tool", "assistant", "user",
        ]  # fmt: skip
        assert any(isinstance(block, ThinkingBlock) for message in asked for block in message.blocks)
        assert recorder.unwritable == []
