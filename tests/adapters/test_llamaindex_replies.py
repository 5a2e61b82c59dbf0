"""What GlimpLLM makes of messages, and what it reports of a reply."""

import itertools
import json
import pickle
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    CitableBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.prompts import PromptTemplate

from adapters.llamaindex_checks.hooks import QUESTION, recorded
from adapters.llamaindex_checks.structured import PROMPT, SONG, Song
from adapters.llamaindex_checks.tools import TOOLS
from adapters.llamaindex_glimp import asked
from glimp_core import (
    GlimpError,
    GlimpRouter,
    InvalidToolCall,
    ToolCallDelta,
)
from glimp_core.testing import ScriptedEngine
from glimp_llamaindex import GlimpLLM, StructuredOutputError


class TestMessages:
    """Messages as the core gets them."""

    def test_tool_loop(self) -> None:
        """In a tool loop reasoning goes back; calls have their arguments, results the id of their call."""
        call = ToolCallBlock(tool_call_id="call00000", tool_name="Gen[int]", tool_kwargs='{"a": 2}')
        thought = ThinkingBlock(content="Hm.")
        turn = ChatMessage(role="assistant", blocks=[thought, TextBlock(text=""), call])
        result = ChatMessage("4", role="tool", additional_kwargs={"tool_call_id": "call00000"})
        llm, script = asked()
        llm.chat([*QUESTION, turn, result])
        assert script.last.messages[1:] == (
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "call00000", "type": "function", "function": {"name": "Gen[int]", "arguments": {"a": 2}}}
                ],
                "reasoning_content": "Hm.",
            },
            {"role": "tool", "content": "4", "tool_call_id": "call00000"},
        )
        llm.chat([*QUESTION, turn, result, *QUESTION])
        assert "reasoning_content" not in script.last.messages[1]

    def test_roles(self) -> None:
        """Eight roles become four."""
        llm, script = asked()
        roles = ("system", "developer", "user", "assistant", "chatbot", "model", "tool", "function")
        llm.chat([ChatMessage("x", role=role) for role in roles])
        assert [message["role"] for message in script.last.messages] == [
            "system", "system", "user", "assistant", "assistant", "assistant", "tool", "tool",
        ]  # fmt: skip

    def test_citable(self) -> None:
        """A citable block shows its source."""
        llm, script = asked()
        llm.chat([ChatMessage(role="user", blocks=[CitableBlock(title="Sums", source="sums.md", content="2+2=4")])])
        assert script.last.messages[0]["content"] == "Sums (sums.md)\n2+2=4"


class TestReporting:
    """What comes back."""

    @pytest.mark.parametrize(
        ("position", "kinds"), [("first", ["thinking", "text"]), ("last", ["text", "thinking"]), ("omit", ["text"])]
    )
    def test_thinking_position(self, position: Any, kinds: list[str]) -> None:
        """The thinking stands where it is wanted; DocumentContextExtractor wants the text first."""
        llm, _ = asked(thinking_position=position)
        for message in (llm.chat(QUESTION).message, list(llm.stream_chat(QUESTION))[-1].message):
            assert [block.block_type for block in message.blocks] == kinds

    def test_routing_report(self) -> None:
        """raw['routing'] has every step, its writer and the entropy that decided, and the split of the usage."""
        raw = asked()[0].chat(QUESTION).raw
        assert raw is not None
        steps = raw["routing"]["steps"]
        assert [(s["phase"], s["engine"], s["entropy"]) for s in steps] == [
            ("thinking", "small", 0.1), ("thinking", "large", 2.0), ("answer", "large", None),
        ]  # fmt: skip
        assert sum(step["tokens"] for step in steps) == raw["usage"]["completion_tokens"]
        assert raw["routing"]["summary"]["intervention_rate"] == 0.5
        assert raw["routing"]["small"]["glimpses"] == 2
        assert json.dumps(raw)

    def test_streams_say_who_writes(self) -> None:
        """Each chunk says which model is writing."""
        chunks = list(asked()[0].stream_chat(QUESTION))[:-1]
        writers = {(chunk.raw["step"]["index"], chunk.raw["step"]["engine"]) for chunk in chunks}
        assert writers == {(0, "small"), (1, "large"), (2, "large")}

    async def test_step_events(self) -> None:
        """Routing events are sent to those who ask for them, and to nobody else."""
        for wanted, expected in ((True, ["small", "large", "large"]), (False, [])):
            llm, _ = asked(routing_events=wanted)
            for call in (lambda llm=llm: llm.chat(QUESTION), lambda llm=llm: list(llm.stream_chat(QUESTION))):
                with recorded() as recorder:
                    call()
                assert [event.engine for event in recorder.of("GlimpStepEvent")] == expected
                assert recorder.unwritable == []

    def test_failed_structure(self) -> None:
        """A reply that is no object is an error of both trees, with the text and the reason."""
        llm, _ = asked('{"name": "Ann", "sec')
        with pytest.raises(StructuredOutputError, match="no Song") as caught:
            llm.structured_predict(Song, PROMPT, topic="Ann")
        assert isinstance(caught.value, GlimpError)
        assert caught.value.text == '{"name": "Ann", "sec'
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.finish_reason) == (str(caught.value), caught.value.finish_reason)
        with pytest.raises(StructuredOutputError):
            list(llm.stream_structured_predict(Song, PROMPT, topic="Ann"))

    def test_cut_structure_says_so(self) -> None:
        """Where the tokens ran out, the error says that more are needed."""
        llm, _ = asked(SONG.model_dump_json(), max_tokens=5)
        with pytest.raises(StructuredOutputError, match="raise max_tokens") as caught:
            llm.structured_predict(Song, PromptTemplate("A song."))
        assert caught.value.finish_reason == "length"

    def test_objects_grow(self) -> None:
        """Each partial object knows more than the one before; the first knows something."""
        llm, _ = asked(SONG.model_dump_json())
        *parts, last = llm.stream_structured_predict(Song, PROMPT, topic="Ann")
        known = [part.model_dump(exclude_none=True) for part in parts]
        assert known[0] == {"name": "Ann"}
        assert all(before != after for before, after in itertools.pairwise(known))
        assert last == SONG

    def test_malformed_calls(self) -> None:
        """A call that is none is reported in raw, and is no tool call in any chunk that follows."""
        bad = InvalidToolCall("call00000", "add", "{nonsense", "no JSON")

        class Babbling(ScriptedEngine):
            def generate(self, context: Any, params: Any) -> Any:
                for chunk in super().generate(context, params):
                    if chunk.end == "eos":
                        yield type(chunk)("", (), chunk.usage, tool_call=ToolCallDelta(0, "call00000", "add"))
                        yield type(chunk)("", (), chunk.usage, tool_call=ToolCallDelta(0, call=bad))
                    yield chunk

        engine = Babbling(answer="add(", thinking="none")
        llm = GlimpLLM(router=GlimpRouter(engine, engine))
        last = list(llm.stream_chat_with_tools(TOOLS, "Hi"))[-1]
        assert llm.get_tool_calls_from_response(last, error_on_no_tool_call=False) == []
        assert last.raw["invalid_tool_calls"][0]["error"] == "no JSON"  # type: ignore[index]
        with pytest.raises(ValueError, match="the call of 'add' is invalid: no JSON"):
            llm.get_tool_calls_from_response(last)
        assert last.message.model_dump() == llm.chat_with_tools(TOOLS, "Hi").message.model_dump()
