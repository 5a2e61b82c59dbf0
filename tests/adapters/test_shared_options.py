"""What is the same in both adapters and the core, because it is in one place."""

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage, TextBlock

import tiny
from glimp_core import GlimpRouter, Request
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
