"""Tools: what the model is shown, what comes back, whole and streamed."""

import inspect
from typing import Any, Generic, TypeVar

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from adapters.llamaindex_checks.hooks import QUESTION, Hooks, Reply, read, recorded

T = TypeVar("T")
ADD = ("add", {"a": 2, "b": 2})
SHOUT = ("shout", {"text": "four"})


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def shout(text: str) -> str:
    """Say it loudly."""
    return text.upper()


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(shout)]


class Box(BaseModel, Generic[T]):
    """A box."""

    content: T


class Tools(Hooks):
    """Checks of `chat_with_tools` and what stands on it."""

    def _scripted(self, *replies: Reply | str) -> FunctionCallingLLM:
        llm = self.scripted(*replies)
        assert isinstance(llm, FunctionCallingLLM)
        assert llm.metadata.is_function_calling_model
        return llm

    async def _everywhere(self, llm: FunctionCallingLLM, tools: list[Any], **kwargs: Any) -> list[ChatResponse]:
        """The final responses of the four ways to chat with tools."""
        asked: dict[str, Any] = {"tools": tools, "user_msg": "What is two and two?", **kwargs}
        return [
            llm.chat_with_tools(**asked),
            await llm.achat_with_tools(**asked),
            (await read(llm.stream_chat_with_tools(**asked))).last,
            (await read(await llm.astream_chat_with_tools(**asked))).last,
        ]

    async def test_calls(self) -> None:
        """Calls come as blocks and in additional_kwargs, where the streaming parsers look; their ids differ."""
        llm = self._scripted(Reply(calls=(ADD, SHOUT)))
        for response in await self._everywhere(llm, TOOLS, allow_parallel_tool_calls=True):
            blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
            assert [(block.tool_name, block.tool_kwargs) for block in blocks] == [ADD, SHOUT]
            assert len(response.message.additional_kwargs["tool_calls"]) == 2
            calls = llm.get_tool_calls_from_response(response)
            assert [(call.tool_name, call.tool_kwargs) for call in calls] == [ADD, SHOUT]
            assert len({call.tool_id for call in calls}) == 2

    async def test_equal_calls_stay(self) -> None:
        """Two equal calls are two calls."""
        for response in await self._everywhere(
            llm := self._scripted(Reply(calls=(ADD, ADD))), TOOLS, allow_parallel_tool_calls=True
        ):
            assert len(llm.get_tool_calls_from_response(response)) == 2

    async def test_one_call_at_a_time(self) -> None:
        """Without allow_parallel_tool_calls there is one call, in streams too, in every chunk."""
        llm = self._scripted(Reply(calls=(ADD, SHOUT)))
        for response in await self._everywhere(llm, TOOLS, allow_parallel_tool_calls=False):
            assert [call.tool_name for call in llm.get_tool_calls_from_response(response)] == ["add"]
            assert len(response.message.additional_kwargs["tool_calls"]) == 1
        for chunk in llm.stream_chat_with_tools(TOOLS, "Two and two?", allow_parallel_tool_calls=False):
            assert len(llm.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)) <= 1

    async def test_calls_while_streaming(self) -> None:
        """Every chunk can be asked for its calls; a call grows, and the last chunk has all of it."""
        llm = self._scripted(Reply(calls=(ADD,)))
        stream = await read(await llm.astream_chat_with_tools(TOOLS, "Two and two?"))
        seen = [llm.get_tool_calls_from_response(chunk, error_on_no_tool_call=False) for chunk in stream.chunks]
        assert seen[-1] == [ToolSelection(tool_id=seen[-1][0].tool_id, tool_name="add", tool_kwargs=ADD[1])]
        assert stream.check() == ""

    async def test_no_call(self) -> None:
        """A reply without calls gives none, has no key for them, and is a ValueError where one is due."""
        llm = self._scripted("Four.")
        for response in await self._everywhere(llm, TOOLS):
            assert response.message.content == "Four."
            assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
            assert "tool_calls" not in response.message.additional_kwargs
            with pytest.raises(ValueError, match="tool call"):
                llm.get_tool_calls_from_response(response)

    async def test_tool_required(self) -> None:
        """`tool_required` is a named parameter: LlamaIndex drops it otherwise. It reaches the chat."""
        llm = self._scripted(Reply(calls=(ADD,)))
        prepare = llm._prepare_chat_with_tools  # what LlamaIndex has its LLMs override, and calls itself
        assert "tool_required" in inspect.signature(prepare).parameters
        plain, required = (prepare(TOOLS, "Hi", tool_required=flag) for flag in (False, True))
        assert plain != required

    @pytest.mark.parametrize(
        "choice", [None, "auto", "none", "required", "add", {"type": "function", "function": {"name": "add"}}]
    )
    async def test_tool_choice(self, choice: Any) -> None:
        """Every spelling of a tool choice is taken."""
        for response in await self._everywhere(self._scripted("Four."), TOOLS, tool_choice=choice):
            assert response.message.content == "Four."

    async def test_no_tools(self) -> None:
        """An empty list of tools is a plain chat."""
        for response in await self._everywhere(self._scripted("Four."), []):
            assert response.message.content == "Four."

    async def test_history_stays_as_it_is(self) -> None:
        """The caller's chat_history is not appended to."""
        history = list(QUESTION)
        self._scripted("Four.").chat_with_tools(TOOLS, user_msg="And three?", chat_history=history)
        assert history == QUESTION

    async def test_long_descriptions(self) -> None:
        """A description of more than 1024 characters is no error: there is no server that refuses it."""
        tool = FunctionTool.from_defaults(add, description="Adds. " * 400)
        assert self._scripted(Reply(calls=(ADD,))).chat_with_tools([tool], "Two and two?").message is not None

    async def test_predict_and_call(self) -> None:
        """The tool is called, whichever of two calls the model makes too many."""
        llm = self._scripted(Reply(calls=(ADD, SHOUT)))
        assert llm.predict_and_call(TOOLS, "Two and two?").response == "4"
        assert (await llm.apredict_and_call(TOOLS, "Two and two?")).response == "4"
        both = llm.predict_and_call(TOOLS, "Two and two?", allow_parallel_tool_calls=True)
        assert both.response == "4\n\nFOUR"

    async def test_names_come_back(self) -> None:
        """A name that models are not shown as it is, such as a generic class's, comes back as it was."""
        tool = get_function_tool(Box[int])
        shown = tool.metadata.to_openai_tool()["function"]["name"]
        llm = self._scripted(Reply(calls=((shown, {"content": 3}),)))
        assert llm.predict_and_call([tool], "A box with a three.").sources[0].raw_output == Box[int](content=3)

    async def test_results_without_names(self) -> None:
        """Results are sent back with the id of the call alone, as agents do."""
        llm = self._scripted(Reply(calls=(ADD,)), "Four.")
        first = llm.chat_with_tools(TOOLS, "Two and two?")
        call = llm.get_tool_calls_from_response(first)[0]
        result = ChatMessage("4", role="tool", additional_kwargs={"tool_call_id": call.tool_id})
        history = [*QUESTION, first.message, result]
        with recorded() as recorder:
            assert llm.chat_with_tools(TOOLS, chat_history=history).message.content == "Four."
        assert recorder.unwritable == []
