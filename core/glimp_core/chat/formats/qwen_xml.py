"""`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`: Qwen 3.5, Nemotron 3."""

from glimp_core.chat.formats.base import NAME, Family, Frame
from glimp_core.chat.formats.tagged_calls import ParameterMarkup, TaggedCalls

QWEN_XML = TaggedCalls(
    "qwen xml",
    header=("<function=", NAME, ">\n"),
    parameter=ParameterMarkup("<parameter=", ">\n", "\n</parameter>\n"),
    end="</function>",
    frame=Frame("<tool_call>\n", "\n</tool_call>", "\n", each=True),
)
FAMILY = Family((QWEN_XML,), signs=("<function=",))
