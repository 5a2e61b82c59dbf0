"""`<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>`: Kimi K2."""

from glimp_core.chat.formats.base import INDEX, NAME, Family, Frame
from glimp_core.chat.formats.named_calls import NamedCalls

KIMI = NamedCalls(
    "kimi",
    ("<|tool_call_begin|>functions.", NAME, ":", INDEX, "<|tool_call_argument_begin|>"),
    "<|tool_call_end|>",
    Frame("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
)
FAMILY = Family((KIMI,), signs=("<|tool_calls_section_begin|>",))
