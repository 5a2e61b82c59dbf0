"""What is the same in both adapters and the core, because it is in one place."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage, TextBlock

import tiny
from glimp_core import AlwaysLarge, EntropyThreshold, GlimpRouter, Request, RouterConfig, SamplingParams
from glimp_core.context import Context
from glimp_core.tap import Asked
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Prompt
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM


class Reading(ScriptedEngine):
    """Keeps the requests that it is asked."""

    def __init__(self) -> None:
        super().__init__(answer="ok", name="reading")
        self.requests: list[Request] = []

    def prepare(self, context: Context) -> Prompt:
        self.requests.append(context.request)
        return super().prepare(context)


def rendered(request: Request) -> int:
    """How many tokens a real model's prompt of the request has."""
    return tiny.router().count_tokens(request.messages)


def test_text_parts_are_joined_alike() -> None:
    """Parts of one message's text follow each other as they are, as in LangChain's `.text`, by every door."""
    engine = Reading()
    router = GlimpRouter(engine, ScriptedEngine(answer="ok"))
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    ChatGlimp(router=router).invoke([HumanMessage(parts)])
    GlimpLLM(router=router).chat([ChatMessage(role="user", blocks=[TextBlock(text="a"), TextBlock(text="b")])])
    asked = [request.messages[0]["content"] for request in engine.requests]
    assert asked == ["ab", "ab"]
    request = Request(({"role": "user", "content": parts},))
    assert rendered(request) == rendered(Request(({"role": "user", "content": "ab"},)))
    assert Asked("1", "s", "l", router.policy, router.config, request).question == "ab"


@pytest.mark.parametrize("model", [ChatGlimp, GlimpLLM])
def test_every_field_is_described(model: type[ChatGlimp] | type[GlimpLLM]) -> None:
    """Editors and forms show what a field is for, also for those that the framework has."""
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_reasoning_may_be_a_word_or_a_boolean() -> None:
    """True and False are the words "auto" and "off", in both adapters."""
    router = GlimpRouter(ScriptedEngine(), ScriptedEngine())
    for given, config in ((True, "auto"), (False, "off"), ("inline", "inline")):
        for model in (ChatGlimp(router=router, reasoning=given), GlimpLLM(router=router, reasoning=given)):
            assert model.router_config().reasoning == config


FILE = """
small = {model = "glimp-tiny-small", device = "cpu"}
large = "glimp-tiny-large"
threshold = 0.3
load = {dtype = "float32"}
router = {reasoning = "inline"}
sampling = {temperature = 0, stop = ["END"], max_completion_tokens = 9}
"""


@pytest.fixture
def pair_file(tmp_path: Path) -> str:
    (tmp_path / "pair.toml").write_text(FILE)
    return str(tmp_path / "pair.toml")


def active(model: Any) -> GlimpRouter:
    return model.active_router if isinstance(model, ChatGlimp) else model.router  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", [ChatGlimp, GlimpLLM])
def test_a_pair_file_makes_the_model(model: Any, pair_file: str) -> None:
    """`config_file` is as good as its settings as options; copies and pickles of the model keep them."""
    made = model(config_file=pair_file)
    router = GlimpRouter.from_file(pair_file)
    assert made.sampling() == SamplingParams(temperature=0, stop=("END",), max_completion_tokens=9)
    assert made.router_config() == RouterConfig(reasoning="inline")
    assert made.routing_policy() == EntropyThreshold(0.3)
    assert (active(made).small, active(made).large) == (router.small, router.large)
    for copied in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert copied.pair == made.pair
    assert json.loads(json.dumps(made.pair.identity))


def test_a_saved_llm_keeps_a_described_model(pair_file: str) -> None:
    """LlamaIndex writes the table of a model down as it is."""
    made = GlimpLLM(config_file=pair_file)
    assert GlimpLLM.from_dict(json.loads(json.dumps(made.to_dict()))).pair == made.pair


@pytest.mark.parametrize("model", [ChatGlimp, GlimpLLM])
def test_options_win_over_the_file(model: Any, pair_file: str) -> None:
    """Each option replaces the file's, a policy its threshold; None leaves the file's; a router leaves it no room."""
    made = model(config_file=pair_file, large="glimp-tiny-small", policy=AlwaysLarge(), temperature=0.5, dtype=None)
    assert made.pair.names == ("glimp-tiny-small", "glimp-tiny-small")
    assert (made.routing_policy(), made.temperature, made.dtype) == (AlwaysLarge(), 0.5, "float32")
    assert model(config_file=pair_file, threshold=2.0).routing_policy() == EntropyThreshold(2.0)
    with pytest.raises(ValueError, match="not both"):
        model(config_file=pair_file, router=GlimpRouter(ScriptedEngine(), ScriptedEngine()))
    with pytest.raises(ValueError, match="cannot be read"):
        model(config_file="missing.toml")


@pytest.mark.parametrize("model", [ChatGlimp, GlimpLLM])
def test_an_address_is_a_model_at_a_server(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL becomes the engine for its role, named as at the server; what only servers take is refused elsewhere."""
    monkeypatch.setenv("GLIMP_TEST_KEY", "sk-hidden")
    address = "http://127.0.0.1:1/v1#big"
    options = {"large_tokenizer": "glimp-tiny-large", "api_key_env": "GLIMP_TEST_KEY"}
    made = model(small="glimp-tiny-small", large=address, **options)
    assert made.pair.name == "glimp-tiny-small+big"
    assert repr(active(made).large) == "RemoteEngine('http://127.0.0.1:1/v1', 'big')"
    assert active(made).large is active(model(small="glimp-tiny-small", large=address, **options)).large
    assert repr(active(model(small=address, large=address)).small).startswith("RemoteGlimpser(")
    assert "hidden" not in repr(made) + str(made.pair.identity)
    with pytest.raises(ValueError, match="large_tokenizer cannot work here"):
        model(small=address, large="glimp-tiny-large", large_tokenizer="x")
