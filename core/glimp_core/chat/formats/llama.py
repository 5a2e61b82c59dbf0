"""`{"name": ..., "parameters": {...}}` alone or behind `<|python_tag|>`: Llama 3. Lists of Python calls too."""

from collections.abc import Sequence

from glimp_core.chat.formats.base import Family, NewCall
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.json_calls import JsonCalls
from glimp_core.chat.formats.python_calls import add_python_calls
from glimp_core.chat.formats.values import read_objects
from glimp_core.chat.request.tools import Tool


class LlamaCalls(JsonCalls):
    """Objects, or behind the marker a call of a built-in tool in Python."""

    __slots__ = ()

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read what stands behind the marker."""
        if (yield from chars.skip_blank()) == "{":
            yield from read_objects(chars, new_call)
            return True
        text, _ = yield from chars.upto("\0")
        add_python_calls(text, new_call, "it is neither JSON nor a Python call")
        return True


LLAMA = LlamaCalls(
    "llama", "<|python_tag|>", together=True, between="; ", arguments_key="parameters", optional_start=True
)
FAMILY = Family((LLAMA,), signs=("<|python_tag|>", '"parameters": '))
