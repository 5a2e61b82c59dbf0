"""`<|tool_call_start|>[name(key=value)]<|tool_call_end|>`: LFM2 and 2.5."""

from glimp_core.chat.formats.base import Family
from glimp_core.chat.formats.python_calls import PythonCalls

LFM2 = PythonCalls("lfm2", "<|tool_call_start|>", "<|tool_call_end|>")
FAMILY = Family((LFM2,), signs=(LFM2.start,))
