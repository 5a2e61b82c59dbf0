"""What is GlimpLLM's own: its options, and what it asks of the core."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jinja2
import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
)
from llama_index.core.types import PydanticProgramMode

from adapters.llamaindex_checks.hooks import QUESTION
from adapters.llamaindex_checks.structured import PROMPT, SONG, Song
from adapters.llamaindex_checks.tools import TOOLS, add
from adapters.llamaindex_glimp import SlowEngine, asked, pair
from glimp_core import (
    AlwaysLarge,
    ConfigError,
    EngineTimeoutError,
    Finish,
    GlimpRouter,
    Request,
    RouterConfig,
    ToolCall,
)
from glimp_core.testing import ScriptedEngine
from glimp_llamaindex import GlimpLLM


class TestMaking:
    """Options, checked at once."""

    def test_imports_no_torch(self) -> None:
        """Importing the package and making an LLM by names imports neither torch nor transformers."""
        code = (
            "import sys; from glimp_llamaindex import GlimpLLM; llm = GlimpLLM('a/small', 'a/large', dtype='bfloat16');"
            "llm.to_dict(); assert not {'torch', 'transformers'} & set(sys.modules), 'torch was imported'"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

    def test_limits_reach_the_models(self) -> None:
        """How many requests are served at once is said where the models are named."""
        engine = GlimpLLM(small="a", large="b", max_batch=3, max_cached_tokens=512, prepacked=True).router.large
        assert engine.source.options == {"max_batch": 3, "max_cached_tokens": 512, "prepacked": True}  # type: ignore[attr-defined]

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

    def test_taps(self) -> None:
        """A tap on the router sees the requests of the LLM, with the config of its fields."""
        seen: list[Any] = []

        def tap(asked: Any, events: Any) -> Any:
            for event in events:
                seen.append(event)
                yield event

        llm = GlimpLLM(small=ScriptedEngine(), large=ScriptedEngine())
        llm.router.taps.append(tap)
        llm.chat(QUESTION)
        assert isinstance(seen[-1], Finish)
        given = GlimpRouter(ScriptedEngine(), ScriptedEngine(), taps=[tap])
        seen.clear()
        GlimpLLM(router=given, max_reasoning_tokens=9).chat(QUESTION)
        assert isinstance(seen[-1], Finish)

    def test_policy(self) -> None:
        """A policy is for all calls, one of a call wins; copies have it, through dicts, pickles and a given router."""

        def share(llm: GlimpLLM, **kwargs: Any) -> float:
            return llm.chat(QUESTION, **kwargs).raw["routing"]["summary"]["intervention_rate"]

        llm = GlimpLLM(router=pair(thinking="One.\n\nTwo."), policy=AlwaysLarge())
        assert [share(llm), share(llm, writer="small"), share(llm, threshold=1.0)] == [1.0, 0.0, 0.5]
        for again in (GlimpLLM.from_dict(llm.to_dict()), pickle.loads(pickle.dumps(llm)), copy.deepcopy(llm)):
            assert share(again) == 1.0
        with pytest.raises(ConfigError, match="not both"):
            GlimpLLM(router=pair(), policy=AlwaysLarge(), threshold=1.0)

    def test_metadata(self) -> None:
        """num_output has room for thinking and answer, and leaves half of the window for prompts."""
        config = RouterConfig(max_reasoning_tokens=100, max_answer_tokens=50)
        engines = {"small": ScriptedEngine(window=1000), "large": ScriptedEngine(window=800, name="big")}
        assert GlimpLLM(**engines, config=config).metadata.num_output == 150
        assert GlimpLLM(**engines, config=config, reasoning="off").metadata.num_output == 50
        assert GlimpLLM(**engines, config=config, max_tokens=70).metadata.num_output == 170
        assert not GlimpLLM(**engines, is_function_calling_model=False).metadata.is_function_calling_model
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

    def test_one_stop(self) -> None:
        """A single text may stand for a list of stops."""
        llm, script = asked(stop="END")
        llm.chat(QUESTION)
        assert script.last.sampling.stop == ("END",)

    def test_class_as_format(self) -> None:
        """response_format takes a Pydantic class, as OpenAI's client does, and refuses what is none."""
        llm, script = asked(SONG.model_dump_json())
        llm.chat(QUESTION, response_format=Song)
        assert script.last.response_format["json_schema"]["schema"] == Song.model_json_schema()  # type: ignore[index]
        for wrong in (lambda: llm.chat(QUESTION, response_format=int), lambda: llm.structured_predict(dict, PROMPT)):  # type: ignore[type-var]
            with pytest.raises(ConfigError, match="is no Pydantic class"):
                wrong()

    def test_no_tool(self) -> None:
        """A bare function is refused with the way to make it a tool."""
        with pytest.raises(ConfigError, match="FunctionTool"):
            asked()[0].chat_with_tools([add], "Two and two?")  # type: ignore[list-item]

    def test_misspelt(self) -> None:
        """An argument that looks misspelt is refused; a foreign one is not."""
        llm, _ = asked()
        with pytest.raises(ConfigError, match="did you mean 'temperature'"):
            llm.chat(QUESTION, temprature=0)
        assert llm.chat(QUESTION, user="me", logit_bias={}).message.content

    def test_routing(self) -> None:
        """threshold, writer and policy choose who writes, by field and by call."""

        def shares(llm: GlimpLLM, **kwargs: Any) -> list[str]:
            return [step["engine"] for step in llm.chat(QUESTION, **kwargs).raw["routing"]["steps"][:2]]

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
        assert not llm.chat(QUESTION, reasoning=off).raw["routing"]["summary"]["routed_steps"]
        assert asked(reasoning="off")[0].chat(QUESTION).raw["routing"]["summary"]["mode"] == "off"
        assert llm.chat(QUESTION, reasoning=True).raw["routing"]["summary"]["routed_steps"] == 2

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
            "json_schema": {"name": "Song", "schema": Song.model_json_schema()},
        }


def rendered(request: Request) -> str:
    """Render a request's own template, as a tokenizer would."""
    return jinja2.Template(request.chat_template_kwargs["chat_template"], trim_blocks=True, lstrip_blocks=True).render()
