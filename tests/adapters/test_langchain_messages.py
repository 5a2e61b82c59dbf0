"""LangChain messages as the core takes them."""

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call

import tiny
from adapters.good_model import good_router
from glimp_core.chat.formats.template import Template
from glimp_core.chat.prompt.messages import normalised, read_messages
from glimp_langchain import ChatGlimp
from glimp_langchain._calls import core_messages
from glimp_langchain._errors import ModelInvalidRequestError

CALL = tool_call(name="add", args={"a": 1, "b": "é"}, id="call_1")
CORE_CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "é"}}}


def plain(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """The messages as they stand in a request."""
    return read_messages(core_messages(messages))[0]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SystemMessage("Be kind."), {"role": "system", "content": "Be kind."}),
        (HumanMessage("Hi", name="Ann"), {"role": "user", "content": "Hi", "name": "Ann"}),
        (AIMessage("Hello"), {"role": "assistant", "content": "Hello"}),
        (AIMessageChunk("Hello"), {"role": "assistant", "content": "Hello"}),
        (ChatMessage("Hi", role="developer"), {"role": "system", "content": "Hi"}),
        (FunctionMessage("3", name="add"), {"role": "tool", "content": "3", "tool_call_id": "", "name": "add"}),
        (
            ToolMessage("3", tool_call_id="x", name="add", artifact=object()),
            {"role": "tool", "content": "3", "tool_call_id": "x", "name": "add"},
        ),
        (
            ToolMessage("too large", tool_call_id="x", status="error"),
            {"role": "tool", "content": "Error: too large", "tool_call_id": "x"},
        ),
        (
            ToolMessage([{"type": "text", "text": "3"}, {"type": "json", "json": {"a": "é"}}], tool_call_id="x"),
            {"role": "tool", "content": '3{"a": "é"}', "tool_call_id": "x"},
        ),
        (
            AIMessage("", additional_kwargs={"reasoning_content": "Hm."}, tool_calls=[CALL]),
            {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [CORE_CALL]},
        ),
        (
            AIMessage([{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Hi"}, CALL]),
            {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "tool_calls": [CORE_CALL]},
        ),
        (
            AIMessage([{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hi"}]),
            {"role": "assistant", "content": "Hi", "reasoning_content": "Hm."},
        ),
        (
            AIMessage([{"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1, "b": "é"}}]),
            {"role": "assistant", "content": "", "tool_calls": [CORE_CALL]},
        ),
        (
            AIMessage([{"type": "tool_use", "id": "call_1", "name": "add", "input": {}}], tool_calls=[CALL]),
            {"role": "assistant", "content": "", "tool_calls": [CORE_CALL]},
        ),
        (
            HumanMessage(["a", {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}, {"text": "c"}]),
            {"role": "user", "content": "abc"},
        ),
    ],
)
def test_every_kind_of_message_has_one_form(message: BaseMessage, expected: dict[str, Any]) -> None:
    """Role, text, reasoning, calls and names arrive; what models cannot read of them does not."""
    assert plain([message]) == [expected]


def test_a_broken_call_is_shown_as_it_was_written() -> None:
    """A call that could not be read goes back as its raw text, so that its result has something to follow."""
    message = AIMessage("", invalid_tool_calls=[invalid_tool_call(name="add", args='{"a": ', id="x", error="cut")])
    (converted,) = plain([message])
    assert converted["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": '}


def test_anthropic_results_come_before_the_words_beside_them() -> None:
    """Results in a user's message answer the calls before it; the text is what the user says next."""
    message = HumanMessage(
        [
            {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "3"}]},
            {"type": "tool_result", "tool_use_id": "y", "content": "no", "is_error": True},
            {"type": "text", "text": "Go on."},
        ]
    )
    assert plain([message]) == [
        {"role": "tool", "content": "3", "tool_call_id": "x"},
        {"role": "tool", "content": "Error: no", "tool_call_id": "y"},
        {"role": "user", "content": "Go on."},
    ]
    message.content = message.content[:1]
    assert [converted["role"] for converted in plain([message])] == ["tool"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "https://example.org/a.png"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}},
        {"type": "audio", "base64": "aaaa"},
        {"type": "file", "file_id": "a"},
    ],
)
def test_what_is_not_text_is_refused(block: dict[str, Any]) -> None:
    """Content that the models cannot read is an error that names it, not silently left out."""
    with pytest.raises(ModelInvalidRequestError, match=f"{block['type']!r}"):
        ChatGlimp(router=good_router()).invoke([HumanMessage(["What is this?", block])])


def test_the_given_messages_stay_as_they_are() -> None:
    """Conversion changes nothing of what it reads."""
    messages = [HumanMessage("Hi"), AIMessage("", tool_calls=[CALL]), ToolMessage("3", tool_call_id="call_1")]
    before = [message.model_dump() for message in messages]
    core_messages(messages)
    assert [message.model_dump() for message in messages] == before


def test_a_reply_can_be_sent_back() -> None:
    """What the model said, thinking included, goes back to its template; so does a reply in content blocks."""
    for version in ("v0", "v1"):
        llm = ChatGlimp(router=good_router(), output_version=version)
        (said,) = plain([llm.invoke("Hello")])
        assert said["content"] == "You said: Hello"
        assert said["reasoning_content"].startswith("The user wants something.")


def test_the_core_settles_names_and_failures() -> None:
    """What an adapter leaves to the core is settled there: a result's name, its failure, and two messages in a row."""
    messages = [
        HumanMessage("Add."),
        HumanMessage("Now."),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("too large", tool_call_id="call_1", status="error"),
    ]
    user, _, result = normalised(core_messages(messages), Template(tiny.tokenizer()), in_words=False)
    assert user["content"] == "Add.\n\nNow."
    assert (result["name"], result["content"]) == ("add", "Error: too large")
