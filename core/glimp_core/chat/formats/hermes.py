"""`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen 2.5 and 3, and what others are asked for."""

from collections.abc import Sequence

from glimp_core.chat.formats.base import Family, NewCall
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.json_calls import JsonCalls
from glimp_core.chat.formats.qwen_xml import QWEN_XML
from glimp_core.chat.request.tools import Tool


class HermesCalls(JsonCalls):
    """Objects between tags; Qwen's tags are read in their place, for the one model has learnt from the other."""

    __slots__ = ()

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read what stands between the tags."""
        if (yield from chars.skip_markup(QWEN_XML.header[0])):
            chars.unread(QWEN_XML.header[0])
            return (yield from QWEN_XML.parse(chars, new_call, tools, marker))
        return (yield from JsonCalls.parse(self, chars, new_call, tools, marker))


HERMES = HermesCalls("hermes", "<tool_call>\n", "\n</tool_call>", between="\n")
FAMILY = Family((HERMES,), signs=("<tool_call>",))
