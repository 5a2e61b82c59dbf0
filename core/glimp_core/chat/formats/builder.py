"""A tool call while it is parsed: its name and its arguments as they arrive, and the finished call."""

import ast
import json
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from glimp_core.json_values import mended, with_texts
from glimp_core.types import InvalidToolCall, ToolCall, ToolCallDelta

NAMES = ("name", "tool_name")
"""The keys under which models put a tool's name."""
ARGUMENTS = ("arguments", "parameters")
"""The keys under which models put a call's arguments."""


def new_call_id() -> str:
    """Return an id that no other call has."""
    return f"call_{uuid.uuid4().hex[:24]}"


class ToolCallBuilder:
    """Emits the deltas of call number `index`: the name once, fragments of the arguments, and the finished call.

    The fragments, joined, are the arguments as JSON. Nothing is emitted before the name is known.
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

    @property
    def whole(self) -> bool:
        """Whether a name and complete arguments have been read."""
        return bool(self.name and self.arguments.strip()) and self._values() is not None

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

    def read_whole(self, written: str, names: Sequence[str] = ()) -> bool:
        """Read a call that could not be read as it came: Python's quotes, a lost brace, or another nesting.

        An object whose only key is one of `names` is a call of that tool.
        """
        value: Any = read_object(written)
        if isinstance(value, dict) and len(value) == 1 and (name := next(iter(value))) in names:
            value = {"name": name, "arguments": value[name]}
        elif isinstance(value, dict) and isinstance(inner := value.get("function"), (dict, str)):
            value = inner if isinstance(inner, dict) else {**value, "name": inner}
        name = next((value[key] for key in NAMES if key in value), None) if isinstance(value, dict) else None
        if self._shown or not isinstance(value, dict) or not isinstance(name, str):
            return False
        self.set_name(name)
        found: Any = next((value[key] for key in ARGUMENTS if key in value), {})
        self.arguments = found if isinstance(found, str) else _dumped(found) or str(found)
        self.finish()
        return True

    def read_arguments(self, written: str) -> bool:
        """Read arguments that could not be read as they came."""
        value = read_object(written)
        if self._shown or value is None:
            return False
        self.arguments = _dumped(value) or ""
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
        if text in ("", "null", '""'):
            return {}
        value = _loaded(text)
        value = _loaded(value) if isinstance(value, str) else value
        return with_texts(value, mended, mended) if isinstance(value, dict) else None


def read_object(text: str) -> dict[str, Any] | None:
    """Read a JSON object as models write them by mistake, too; None if it is none.

    What is mended: Python's quotes and words, commas behind the last member, lost closing braces, backslashes that
    escape nothing, a code fence.
    """
    text = re.sub(r"^```\w*|```$", "", text.strip()).strip()
    for read in (_loaded, _python, lambda text: _loaded(_mended(text))):
        if (value := _dict(read(text))) is not None:
            return value
    return None


def _python(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _mended(text: str) -> str:
    """Leave out commas in front of a closing bracket, double stray backslashes, and close what is left open."""
    written: list[str] = []
    open_brackets: list[str] = []
    in_string = False
    at = 0
    while at < len(text):
        c = text[at]
        if in_string and c == "\\":
            stray = text[at + 1 : at + 2] not in tuple('"\\/bfnrtu')
            written.append("\\\\" if stray else text[at : at + 2])
            at += 1 if stray else 2
            continue
        if c == '"':
            in_string = not in_string
        elif not in_string and c in "{[":
            open_brackets.append("}" if c == "{" else "]")
        elif not in_string and c in "}]":
            while written and (written[-1].isspace() or written[-1] == ","):
                written.pop()
            if open_brackets:
                open_brackets.pop()
        written.append(c)
        at += 1
    return "" if in_string else "".join(written) + "".join(reversed(open_brackets))


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
