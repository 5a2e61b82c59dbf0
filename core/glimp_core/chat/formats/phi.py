"""`<|tool_call|>[{...}]<|/tool_call|>` and `functools[{...}]`: Phi-4-mini; Granite 3 leaves the end out."""

from glimp_core.chat.formats.base import Family
from glimp_core.chat.formats.json_calls import JsonCalls

PHI = JsonCalls("phi", "<|tool_call|>", "<|/tool_call|>", together=True, listed=True, between=", ")
FUNCTOOLS = JsonCalls("functools", "functools", together=True, listed=True, between=", ")
FAMILY = Family((PHI, FUNCTOOLS), signs=("<|/tool_call|>", "functools["))
