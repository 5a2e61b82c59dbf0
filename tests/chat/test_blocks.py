"""The parts of a message, whoever wrote them."""

from typing import Any

import pytest

from glimp_core.chat.prompt.blocks import block_text
from glimp_core.errors import ConfigError
from glimp_core.surrogates import mended


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "text-plain", "text": "a", "mime_type": "text/plain"}, "a"), ({"text": "a"}, "a"),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}, "a"),
        ({"type": "document", "title": "t", "source": {"type": "content", "content": [{"text": "a"}]}}, "t\na"),
        ({"type": "search_result", "source": "u", "title": "t", "content": [{"text": "a"}]}, "t (u)\na"),
        ({"type": "file", "source_type": "text", "text": "a"}, "a"), ({"cachePoint": {"type": "default"}}, ""),
        ({"type": "refusal", "refusal": "no"}, "no"), ({"type": "web_search_call", "id": "1"}, "[web_search_call: {}]"),
        ({"type": "server_tool_use", "name": "web", "input": {"q": "x"}},
         '[server_tool_use: {"name": "web", "input": {"q": "x"}}]'),
    ],
)  # fmt: skip
def test_text_is_text_in_any_part(block: dict[str, Any], text: str) -> None:
    """Law: text is read wherever it stands, and what a hosted model did is told in words."""
    assert block_text(block, "assistant") == text


@pytest.mark.parametrize("kind", ["image", "image_url", "input_audio", "video", "document", "file"])
def test_what_is_no_text_is_refused_by_name(kind: str) -> None:
    """Law: nothing is left out that a model would have to see."""
    with pytest.raises(ConfigError, match=kind):
        block_text({"type": kind, "source": {"type": "base64", "data": "QQ=="}}, "user")


def test_half_characters_are_replaced_and_halves_joined() -> None:
    """Law: no text holds half a surrogate pair."""
    assert mended("a\ud83d b\ud83d\ude00") == "a\ufffd b\U0001f600"
