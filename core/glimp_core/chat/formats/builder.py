"""One tool call while it is read: its name and arguments as they come, and what it is in the end."""

import ast
import json
import uuid
from collections.abc import Callable
from typing import Any

from glimp_core.types import InvalidToolCall, ToolCall, ToolCallDelta

ARGUMENTS = ("arguments", "parameters")
"""The keys under which models put a call's arguments."""


def new_call_id() -> str:
    """Return an id that no other call has."""
    return f"call_{uuid.uuid4().hex[:24]}"


class ToolCallBuilder:
    """Puts the deltas of call number `index`: name once, fragments of the arguments, and the finished call.

    The fragments joined are the arguments as JSON. Nothing is put before the name is known.
    """

    def __init__(self, index: int, put: Callable[[ToolCallDelta], None]):
        self.id = new_call_id()
        self.index = index
        self.name = ""
        self.spelled = ""
        """The name as it is being read, in quotes."""
        self.arguments = ""
        self._shown = 0
        self._put = put

    def set_name(self, name: str) -> None:
        """Learn the tool's name."""
        if name and not self.name:
            self.name = name
            self._put(ToolCallDelta(self.index, self.id, name))
            self._show()

    def add(self, fragment: str) -> None:
        """Take the next piece of the arguments."""
        self.arguments += fragment
        self._show()

    def finish(self) -> None:
        """Say what the call is."""
        values = self._values()
        if self.name and values is not None:
            if not self._shown:
                self._put(ToolCallDelta(self.index, arguments=_dumped(values) or "{}"))
            self._put(ToolCallDelta(self.index, call=ToolCall(self.id, self.name, values)))
        else:
            missing = "its arguments are not a JSON object" if self.name else "it names no tool"
            self.reject(self.arguments, missing)

    def reject(self, written: str, error: str) -> None:
        """Say that this cannot be a call."""
        if not self.name:
            self._put(ToolCallDelta(self.index, self.id))
        self._put(ToolCallDelta(self.index, call=InvalidToolCall(self.id, self.name, self.arguments or written, error)))

    def read_whole(self, written: str) -> bool:
        """Read a call that could not be read as it came: Python's quotes, or a call inside a `function` key."""
        value = read_object(written)
        value = value.get("function", value) if value else None
        if self._shown or not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return False
        self.set_name(value["name"])
        found: Any = next((value[key] for key in ARGUMENTS if key in value), {})
        self.arguments = found if isinstance(found, str) else _dumped(found) or str(found)
        self.finish()
        return True

    def _show(self) -> None:
        if self.name and self.arguments.startswith("{"):
            fragment = self.arguments[self._shown :]
            self._shown = len(self.arguments)
            if fragment:
                self._put(ToolCallDelta(self.index, arguments=fragment))

    def _values(self) -> dict[str, Any] | None:
        text = self.arguments.strip()
        if not text or text == "null":
            return {}
        value = _loaded(text)
        return value if isinstance(value, dict) else _dict(_loaded(value)) if isinstance(value, str) else None


def read_object(text: str) -> dict[str, Any] | None:
    """Read a JSON object, or a Python dict as models write them by mistake; None where it is neither."""
    if (value := _dict(_loaded(text))) is not None:
        return value
    try:
        return _dict(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _loaded(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _dumped(value: Any) -> str | None:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return None


def _dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) and all(isinstance(key, str) for key in value) else None
