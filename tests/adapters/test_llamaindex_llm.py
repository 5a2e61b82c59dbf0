"""What is GlimpLLM's own: its options, what it asks of the core, what it reports."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jinja2
import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    CitableBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode

from adapters.llamaindex_checks.hooks import QUESTION, recorded
from adapters.llamaindex_checks.structured import PROMPT, SONG, Song
from adapters.llamaindex_checks.tools import TOOLS
from adapters.llamaindex_glimp import SlowEngine, pair
from glimp_core import (
    AlwaysLarge,
    ConfigError,
    EngineTimeoutError,
    GlimpError,
    GlimpRouter,
    InvalidToolCall,
    Request,
    RouterConfig,
    ToolCall,
    ToolCallDelta,
)
from glimp_core.testing import ScriptedEngine
from glimp_llamaindex import GlimpLLM, StructuredOutputError


class Asked:
    """An answer that remembers what was asked."""

    def __init__(self, answer: Any = "It is 4."):
        self.answer = answer
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Any:
        self.requests.append(request)
        return self.answer

    @property
    def last(self) -> Request:
        return self.requests[-1]


def asked(answer: Any = "It is 4.", thinking: str = "One.\n\nTwo.", **options: Any) -> tuple[GlimpLLM, Asked]:
    """A GlimpLLM and what it asks its models."""
    script = Asked(answer)
    return GlimpLLM(router=pair(answer=script, thinking=thinking, window=100_000), **options), script


class TestMaking:
    """Options, checked at once."""

    def test_imports_no_torch(self) -> None:
        """Importing the package and making an LLM by names imports neither torch nor transformers."""
        code = (
            "import sys; from glimp_llamaindex import GlimpLLM; llm = GlimpLLM('a/small', 'a/large', dtype='bfloat16');"
            "llm.to_dict(); assert not {'torch', 'transformers'} & set(sys.modules), 'torch was imported'"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({}, "small=None"),
            ({"small": "a", "large": "b", "treshold": 1}, "did you mean 'threshold'"),
            ({"small": "a", "large": "b", "temperature": -1.0}, "temperature=-1.0"),
            ({"small": "a", "large": "b", "threshold": -1.0}, "threshold=-1.0"),
            ({"small": "a", "large": "b", "router": pair()}, "not both"),
            ({"router": "a router"}, "is no GlimpRouter"),
        ],
    )
    def test_refusals(self, options: dict[str, Any], said: str) -> None:
        """What cannot work is refused by the constructor, in one clear sentence."""
        with pytest.raises(ConfigError, match=said):
            GlimpLLM(**options)

    def test_living_models_are_referred_to(self) -> None:
        """An LLM over living engines is written down by reference, which names them in this process alone."""
        llm = GlimpLLM(small=ScriptedEngine(), large=ScriptedEngine(), config=RouterConfig(answer_by="small"))
        again = GlimpLLM.from_json(llm.to_json())
        assert (again.small, again.large) == (llm.small, llm.large)
        assert again.config == llm.config
        gone = {**llm.to_dict(), "small": {"key": "of-another-process", "description": "ScriptedEngine"}}
        with pytest.raises(ConfigError, match="another process"):
            GlimpLLM.from_dict(gone)

    def test_metadata(self) -> None:
        """num_output has room for thinking and answer, and leaves half of the window for prompts."""
        config = RouterConfig(max_reasoning_tokens=100, max_answer_tokens=50)
        engines = {"small": ScriptedEngine(window=1000), "large": ScriptedEngine(window=800, name="big")}
        assert GlimpLLM(**engines, config=config).metadata.num_output == 150
        assert GlimpLLM(**engines, config=config, reasoning="off").metadata.num_output == 50
        assert GlimpLLM(**engines, config=config, max_tokens=70).metadata.num_output == 170
        metadata = GlimpLLM(**engines).metadata
        assert (metadata.context_window, metadata.num_output, metadata.model_name) == (800, 400, "scripted+big")

    def test_secrets(self) -> None:
        """There is no option for a secret, and none in the payload."""
        assert "token" not in GlimpLLM.model_fields
        assert set(GlimpLLM("a/b", "c/d", threshold=0.5).model_dump()) >= {"small", "large", "threshold"}

    def test_tokenizer(self) -> None:
        """Models without a tokenizer here say so."""
        with pytest.raises(ConfigError, match="no tokenizer"):
            _ = asked()[0].tokenizer


class TestAsking:
    """What reaches the core."""

    @pytest.mark.parametrize(
        ("name", "value", "read"),
        [
            ("temperature", 0.5, lambda request: request.sampling.temperature),
            ("top_p", 0.5, lambda request: request.sampling.top_p),
            ("top_k", 5, lambda request: request.sampling.top_k),
            ("seed", 5, lambda request: request.sampling.seed),
            ("max_tokens", 5, lambda request: request.sampling.max_tokens),
            ("stop", ["END"], lambda request: list(request.sampling.stop)),
            ("chat_template_kwargs", {"a": 1}, lambda request: request.chat_template_kwargs),
        ],
    )
    def test_options(self, name: str, value: Any, read: Callable[[Request], Any]) -> None:
        """A field is the default, an argument of the call wins."""
        llm, script = asked(**{name: value})
        llm.chat(QUESTION)
        assert read(script.last) == value
        other, script = asked()
        other.chat(QUESTION, **{name: value})
        assert read(script.last) == value

    def test_aliases(self) -> None:
        """max_new_tokens is max_tokens."""
        llm, script = asked(max_tokens=500)
        llm.chat(QUESTION, max_new_tokens=7)
        assert script.last.sampling.max_tokens == 7

    def test_misspelt(self) -> None:
        """An argument that looks misspelt is refused; a foreign one is not."""
        llm, _ = asked()
        with pytest.raises(ConfigError, match="did you mean 'temperature'"):
            llm.chat(QUESTION, temprature=0)
        assert llm.chat(QUESTION, user="me", logit_bias={}).message.content

    def test_routing(self) -> None:
        """threshold, writer and policy choose who writes, by field and by call."""

        def shares(llm: GlimpLLM, **kwargs: Any) -> list[str]:
            return [step["engine"] for step in llm.chat(QUESTION, **kwargs).raw["routing"]["steps"][:2]]  # type: ignore[index]

        llm, _ = asked()
        assert shares(llm) == ["small", "large"]
        assert shares(llm, threshold=5.0) == shares(llm, writer="small") == ["small", "small"]
        assert shares(llm, policy=AlwaysLarge()) == shares(llm, writer="large") == ["large", "large"]
        assert shares(asked(threshold=0.0)[0]) == ["large", "large"]
        assert shares(asked(threshold=0.0)[0], writer="small") == ["small", "small"]
        with pytest.raises(ConfigError, match="unknown writer 'big'"):
            llm.chat(QUESTION, writer="big")

    @pytest.mark.parametrize("off", ["off", False])
    def test_reasoning(self, off: Any) -> None:
        """Thinking is switched off by field and by call."""
        llm, _ = asked()
        assert not llm.chat(QUESTION, reasoning=off).raw["routing"]["summary"]["routed_steps"]  # type: ignore[index]
        assert asked(reasoning="off")[0].chat(QUESTION).raw["routing"]["summary"]["mode"] == "off"  # type: ignore[index]
        assert llm.chat(QUESTION, reasoning=True).raw["routing"]["summary"]["routed_steps"] == 2  # type: ignore[index]

    def test_timeout(self) -> None:
        """A reply that takes too long is given up."""
        llm = GlimpLLM(router=pair(SlowEngine, answer="slow " * 100), timeout=0.05)
        with pytest.raises(EngineTimeoutError, match=r"timeout=0\.05"):
            llm.chat(QUESTION)

    def test_verbatim(self) -> None:
        """A formatted prompt is its own template; so is what the user's own functions make."""
        prompt = '<|im_start|>user\n"{{ x }}" \\ {% y %}\n<think>'
        llm, script = asked()
        llm.complete(prompt, formatted=True)
        assert rendered(script.last) == prompt
        llm.completion_to_prompt = lambda text: f"[{text}]"
        llm.complete("Hi")
        assert rendered(script.last) == "[Hi]"
        llm.messages_to_prompt = lambda messages: f"<{messages[0].content}>"
        llm.chat([ChatMessage("Hi")])
        assert rendered(script.last) == "<Hi>"

    def test_tool_choices(self) -> None:
        """A required call, a named tool and one call at a time reach the core."""
        llm, script = asked()
        llm.chat_with_tools(TOOLS, "Hi", tool_required=True)
        assert (script.last.tool_choice, script.last.parallel_tool_calls) == ("required", False)
        llm.chat_with_tools(TOOLS, "Hi", tool_choice="add", allow_parallel_tool_calls=True)
        assert (script.last.tool_choice, script.last.parallel_tool_calls) == ("add", True)
        assert [tool["function"]["name"] for tool in script.last.tools] == ["add", "shout"]

    def test_streamed_function_program_requires_its_call(self) -> None:
        """LlamaIndex forgets `tool_required` when it streams; the FUNCTION mode asks for it all the same."""
        llm, script = asked([ToolCall("call00000", "Song", SONG.model_dump())])
        llm.pydantic_program_mode = PydanticProgramMode.FUNCTION
        assert list(llm.stream_structured_predict(Song, PROMPT, topic="Ann"))[-1] == SONG
        assert script.last.tool_choice == "required"

    def test_schema(self) -> None:
        """A structured prediction demands the schema of its class."""
        llm, script = asked(SONG.model_dump_json())
        llm.structured_predict(Song, PROMPT, topic="Ann")
        assert script.last.response_format == {
            "type": "json_schema",
            "json_schema": {"name": "Song", "schema": Song.model_json_schema(), "strict": True},
        }


def rendered(request: Request) -> str:
    """Render a request's own template, as a tokenizer would."""
    return jinja2.Template(request.chat_template_kwargs["chat_template"], trim_blocks=True, lstrip_blocks=True).render()


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
                    {"id": "call00000", "type": "function", "function": {"name": "Gen_int_", "arguments": {"a": 2}}}
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
        writers = {(chunk.raw["step"]["index"], chunk.raw["step"]["engine"]) for chunk in chunks}  # type: ignore[index]
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
        with pytest.raises(StructuredOutputError):
            list(llm.stream_structured_predict(Song, PROMPT, topic="Ann"))

    def test_cut_structure_says_so(self) -> None:
        """Where the tokens ran out, the error says that more are needed."""
        llm, _ = asked(SONG.model_dump_json(), max_tokens=5)
        with pytest.raises(StructuredOutputError, match="raise max_tokens") as caught:
            llm.structured_predict(Song, PromptTemplate("A song."))
        assert caught.value.finish_reason == "length"

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
        assert last.message.model_dump() == llm.chat_with_tools(TOOLS, "Hi").message.model_dump()
