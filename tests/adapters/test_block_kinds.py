"""Every kind of block that the two frameworks have: passed on, said to be left out, or refused by name."""

import re
from typing import Any, get_args

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages import content as langchain_content
from llama_index.core.base.llms import types as llamaindex_types
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock

from glimp_core import Completion, GlimpError, GlimpRouter
from glimp_core.testing import ScriptedEngine
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM

LANGCHAIN: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"text": "SECRET"}, "passed"),
    "text-plain": ({"text": "SECRET", "mime_type": "text/plain"}, "passed"),
    "refusal": ({"refusal": "SECRET"}, "passed"),
    "reasoning": ({"reasoning": "SECRET"}, "passed"),
    "tool_call": ({"name": "f", "args": {"a": "SECRET"}, "id": "1"}, "passed"),
    "tool_call_chunk": ({"name": "f", "args": '{"a": "SECRET"}', "id": "1", "index": 0}, "passed"),
    "invalid_tool_call": ({"name": "f", "args": '{"a": SECRET', "id": "1", "error": "e"}, "passed"),
    "server_tool_call": ({"name": "f", "args": {"a": "SECRET"}, "id": "1"}, "passed"),
    "server_tool_call_chunk": ({"name": "f", "args": '{"a": "SECRET"}', "id": "1"}, "passed"),
    "server_tool_result": ({"tool_call_id": "1", "status": "success", "output": "SECRET"}, "passed"),
    "non_standard": ({"value": {"type": "odd", "what": "SECRET"}}, "passed"),
    "image": ({"url": "SECRET"}, "refused"),
    "audio": ({"base64": "SECRET"}, "refused"),
    "video": ({"base64": "SECRET"}, "refused"),
    "file": ({"file_id": "SECRET"}, "refused"),
}
LLAMAINDEX: dict[str, tuple[dict[str, Any], str]] = {
    "TextBlock": ({"text": "SECRET"}, "passed"),
    "CitableBlock": ({"title": "t", "source": "s", "content": [TextBlock(text="SECRET")]}, "passed"),
    "CitationBlock": (
        {"title": "t", "source": "s", "cited_content": TextBlock(text="SECRET"), "additional_location_info": {}},
        "passed",
    ),
    "DocumentBlock": ({"data": b"SECRET", "document_mimetype": "text/plain"}, "passed"),
    "ThinkingBlock": ({"content": "SECRET"}, "passed"),
    "ToolCallBlock": ({"tool_name": "f", "tool_kwargs": {"a": "SECRET"}}, "passed"),
    "CachePoint": ({"cache_control": {"type": "ephemeral"}}, "left out"),
    "ImageBlock": ({"url": "http://example.org/SECRET"}, "refused"),
    "AudioBlock": ({"url": "http://example.org/SECRET"}, "refused"),
    "VideoBlock": ({"url": "http://example.org/SECRET"}, "refused"),
}
BLOCKS = get_args(get_args(llamaindex_types.ContentBlock)[0])


class Asked(list[Any]):
    """A router that keeps the requests it is asked."""

    def router(self) -> GlimpRouter:
        return GlimpRouter(ScriptedEngine(["Hm.</think>"]), ScriptedEngine(answer=lambda r: self.append(r) or "Done."))


def outcome(asked: Asked, call: Any) -> str:
    """What became of a block that holds a secret; an error names the kind in front of the match."""
    try:
        notes = call()
    except GlimpError as error:
        return f"refused: {error}"
    if "SECRET" in str(asked[-1].messages):
        return "passed"
    return "left out" if any("left out" in note for note in notes) else "lost"


def test_every_kind_of_block_is_known() -> None:
    """Law: a kind of block that a framework adds has to be decided on."""
    assert set(LANGCHAIN) >= set(langchain_content.KNOWN_BLOCK_TYPES)
    assert set(LLAMAINDEX) >= {block.__name__ for block in BLOCKS}


@pytest.mark.parametrize("kind", LANGCHAIN)
def test_no_block_of_langchain_is_lost(kind: str) -> None:
    """Law: a block of an assistant reaches the request, is said to be left out, or is refused by its kind."""
    fields, wanted = LANGCHAIN[kind]
    asked = Asked()
    history: list[BaseMessage] = [HumanMessage("a"), AIMessage([{"type": kind, **fields}]), HumanMessage("b")]
    llm = ChatGlimp(router=asked.router())
    found = outcome(asked, lambda: llm.invoke(history).response_metadata["glimp"]["notes"])
    assert found.startswith(wanted)
    assert wanted != "refused" or re.search(repr(kind), found)


@pytest.mark.parametrize("kind", sorted(set(langchain_content.KNOWN_BLOCK_TYPES)))
def test_what_a_user_cannot_say_is_refused(kind: str) -> None:
    """Law: of a user's blocks, too, none is lost."""
    asked = Asked()
    llm = ChatGlimp(router=asked.router())
    message = HumanMessage(["a", {"type": kind, **LANGCHAIN[kind][0]}])
    found = outcome(asked, lambda: llm.invoke([message]).response_metadata["glimp"]["notes"])
    assert found.startswith(("passed", "refused"))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block.__name__))
def test_no_block_of_llamaindex_is_lost(block: Any) -> None:
    """Law: the same for LlamaIndex's blocks, in the current loop of tools."""
    fields, wanted = LLAMAINDEX[block.__name__]
    asked = Asked()
    llm = GlimpLLM(router=asked.router())
    turn = ChatMessage(role="assistant", blocks=[TextBlock(text="b"), block(**fields)])
    found = outcome(asked, lambda: llm.chat([ChatMessage("a"), turn]).raw["routing"]["summary"]["notes"])
    assert found.startswith(wanted)
    assert wanted != "refused" or block.__name__ in found


def test_a_quotation_that_is_an_image_is_refused() -> None:
    """Law: blocks inside blocks are read by the same rule."""
    cited = {"title": "t", "source": "s", "cited_content": ImageBlock(url="http://example.org/x")}
    block = llamaindex_types.CitationBlock(**cited, additional_location_info={})
    with pytest.raises(GlimpError, match="ImageBlock"):
        GlimpLLM(router=Asked().router()).chat([ChatMessage(role="user", blocks=[block])])


def test_calls_of_older_histories_are_read() -> None:
    """Law: calls that stand beside the blocks, in any shape that integrations kept them in, are calls."""
    shapes: list[Any] = [
        {"id": "1", "type": "function", "function": {"name": "f g", "arguments": '{"x": 1}'}},
        {"tool_id": "1", "tool_name": "f g", "tool_kwargs": {"x": 1}},
        {"id": "1", "name": "f g", "input": {"x": 1}},
    ]
    for extra in [*({"tool_calls": [shape]} for shape in shapes), {"function_call": shapes[0]["function"]}]:
        asked = Asked()
        turn = ChatMessage(role="assistant", content=None, additional_kwargs=extra)
        result = ChatMessage(role="tool", content="51", additional_kwargs={"tool_call_id": "1"})
        GlimpLLM(router=asked.router()).chat([ChatMessage("q"), turn, result])
        (call,) = asked[-1].messages[1]["tool_calls"]
        assert call["function"] == {"name": "f g", "arguments": {"x": 1}}


def test_the_notes_are_those_of_the_core() -> None:
    """Law: what an adapter leaves out, the core leaves out, in the same words."""
    blocks = [{"type": "text", "text": "b"}, {"type": "redacted_thinking", "data": "x"}]
    router = Asked().router()
    said: Completion = router.generate([{"role": "user", "content": "a"}, {"role": "assistant", "content": blocks}])
    message = ChatGlimp(router=router).invoke([HumanMessage("a"), AIMessage(blocks)])  # type: ignore[arg-type]
    assert message.response_metadata["glimp"]["notes"] == list(said.summary().notes)
