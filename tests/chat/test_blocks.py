"""The parts of a message, whoever wrote them."""

import base64
from typing import Any

import pytest

from glimp_core import GlimpRouter
from glimp_core.chat.prompt.blocks import read_content
from glimp_core.chat.prompt.messages import read_messages
from glimp_core.chat.request.tools import CALLABLE, shown_names
from glimp_core.errors import ConfigError
from glimp_core.json_values import mended
from glimp_core.testing import ScriptedEngine

IN_BASE64 = base64.b64encode(b"a").decode()
FILE = {"filename": "a.txt", "file_data": f"data:text/plain;base64,{IN_BASE64}"}


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "text-plain", "text": "a", "mime_type": "text/plain"}, "a"), ({"text": "a"}, "a"),
        ({"type": "text-plain", "base64": IN_BASE64, "mime_type": "text/plain"}, "a"),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}, "a"),
        ({"type": "document", "source": {"type": "base64", "media_type": "text/csv", "data": IN_BASE64}}, "a"),
        ({"type": "document", "title": "t", "source": {"type": "content", "content": [{"text": "a"}]}}, "t\na"),
        ({"document": {"format": "md", "name": "x", "source": {"bytes": b"a"}}}, "a"),
        ({"type": "file", "file": FILE}, "a"), ({"type": "resource", "resource": {"uri": "u", "text": "a"}}, "a"),
        ({"type": "search_result", "source": "u", "title": "t", "content": [{"text": "a"}]}, "t (u)\na"),
        ({"type": "file", "source_type": "text", "text": "a"}, "a"), ({"cachePoint": {"type": "default"}}, ""),
        ({"type": "guard_content", "guard_content": {"text": "a"}}, "a"),
        ({"guardContent": {"text": {"text": "a", "qualifiers": ["query"]}}}, "a"),
        ({"type": "non_standard", "value": {"type": "text", "text": "a"}}, "a"), ({"json": {"a": 1}}, '{"a": 1}'),
        ({"type": "refusal", "refusal": "no"}, "no"), ({"type": "web_search_call", "id": "1"}, "[web_search_call: {}]"),
        ({"type": "server_tool_use", "name": "web", "input": {"q": "x"}},
         '[server_tool_use: {"name": "web", "input": {"q": "x"}}]'),
    ],
)  # fmt: skip
def test_text_is_text_in_any_part(block: dict[str, Any], text: str) -> None:
    """Law: text is read wherever it stands, and what a hosted model did is told in words."""
    assert read_content([block], "assistant").text == text


@pytest.mark.parametrize("kind", ["image", "image_url", "input_audio", "video", "document", "file", "text-plain"])
@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
def test_what_is_no_text_is_refused_by_name(kind: str, role: str) -> None:
    """Law: nothing is left out that a model would have to see."""
    with pytest.raises(ConfigError, match=kind):
        read_content([{"type": kind, "source": {"type": "url", "url": "https://example.org"}}], role)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "redacted_thinking", "data": "x"}, {"type": "reasoning", "id": "r", "encrypted_content": "x"},
        {"reasoningContent": {"redactedContent": b"x"}}, {"type": "thinking", "thinking": "", "signature": "x"},
        {"type": "cache_point"}, {"cachePoint": {"type": "default"}},
        {"type": "web_search_tool_result", "content": [{"url": "u", "encrypted_content": "x"}]},
        {"type": "image_generation_call", "result": "x" * 3000},
    ],
)  # fmt: skip
def test_what_no_model_can_read_is_said_to_be_left_out(block: dict[str, Any]) -> None:
    """Law: of a part that is not passed on the request says so at its start, once."""
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}, block]},
    ]
    router = GlimpRouter(ScriptedEngine(["Hm.</think>"]), ScriptedEngine())
    done = router.generate([*history, *history, {"role": "user", "content": "c"}])
    assert len([note for note in done.start.notes if "left out" in note]) == 1
    assert "x" not in read_messages(history)[0][1]["content"]


def test_thoughts_calls_and_results_are_found_among_the_parts() -> None:
    """Law: whoever's parts they are, a call is a call, its result a result, and a summary of thoughts a thought."""
    parts: list[dict[str, Any]] = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
        {"toolUse": {"toolUseId": "2", "name": "f", "input": {"x": 1}}},
        {"type": "function_call", "id": "fc", "call_id": "3", "name": "f", "arguments": '{"x": 1}'},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}]},
        {"toolResult": {"toolUseId": "2", "content": [{"text": "r"}], "status": "success"}},
        {"type": "function_call_output", "call_id": "3", "output": "r"},
    ]
    plain, _ = read_messages([{"role": "assistant", "content": parts}, {"role": "user", "content": results}])
    assert plain[0]["reasoning_content"] == "Hm."
    assert [call["id"] for call in plain[0]["tool_calls"]] == ["1", "2", "3"]
    assert all(call["function"] == {"name": "f", "arguments": {"x": 1}} for call in plain[0]["tool_calls"])
    assert plain[1:] == [{"role": "tool", "content": "r", "tool_call_id": call_id} for call_id in "123"]


def test_a_call_that_is_told_twice_is_one() -> None:
    """Law: parts that repeat the calls of their message add none, others do."""
    call = {"id": "1", "function": {"name": "f", "arguments": {}}}
    parts = [{"type": "tool_use", "id": call_id, "name": "f", "input": {}} for call_id in ("1", "2")]
    plain, _ = read_messages([{"role": "assistant", "content": parts, "tool_calls": [call]}])
    assert [call["id"] for call in plain[0]["tool_calls"]] == ["1", "2"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [({"refusal": "no"}, "no"), ({"audio": {"id": "1", "transcript": "hi"}}, "hi"),
     ({"function_call": {"name": "f", "arguments": "{}"}}, "f")],
)  # fmt: skip
def test_what_an_assistant_says_beside_its_content_is_read(message: dict[str, Any], shown: str) -> None:
    """Law: no field of OpenAI's messages that says something is passed over."""
    ((plain,), left_out) = read_messages([{"role": "assistant", "content": None, **message}])
    assert shown in (plain["content"] or plain["tool_calls"][0]["function"]["name"])
    assert not left_out


def test_names_that_no_markup_carries_are_told_apart() -> None:
    """Law: two tools never share the name that a model is shown, in tools and in histories alike."""
    names = shown_names(["a b", "a_b", "a-b", "a[b]", "x" * 200, "x" * 201], {"offered": "a_b"})
    assert names["offered"] == "a_b"
    assert names["a-b"] == "a-b"
    assert len(set(names.values())) == 7
    assert all(CALLABLE.fullmatch(name) for name in names.values())


def test_half_characters_are_replaced_and_halves_joined() -> None:
    """Law: no text holds half a surrogate pair."""
    assert mended("a\ud83d b\ud83d\ude00") == "a\ufffd b\U0001f600"
