"""Calls and answers checked, when they are whole, for what no grammar could hold."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from glimp_core.calls import InvalidToolCall, ToolCall, ToolCallDelta
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.context import Context
from glimp_core.errors import OutputValidationError


class OutputCheck:
    """Checks what one request's reply holds: every call, as some slip past a grammar or are read from a server."""

    def __init__(self, context: Context):
        self._requirements = OutputRequirements.of_context(context)

    def delta(self, delta: ToolCallDelta) -> ToolCallDelta:
        """Return a delta, its tool called as it was given, and a call that breaks its schema an invalid one."""
        names = {tool.name: tool.given for tool in self._requirements.tools}
        delta = replace(delta, name=names.get(delta.name, delta.name))
        if delta.call and delta.call.name in names:
            delta = replace(delta, call=replace(delta.call, name=names[delta.call.name]))
        call = delta.call
        if not isinstance(call, ToolCall):
            return delta
        tool = next((tool for tool in self._requirements.tools if tool.given == call.name), None)
        if tool is None or (broken := _violation(call.arguments, _closed(tool.parameters))) is None:
            return delta
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        return replace(delta, call=InvalidToolCall(call.id, call.name, arguments, broken))

    def answer(self, text: str) -> None:
        """Raise `OutputValidationError` for an answer that breaks its schema; one that was cut is let pass."""
        if self._requirements.unheld and self._requirements.checked:
            check_answer(text, self._requirements.schema)


def check_answer(text: str, schema: Any) -> None:
    """Raise `OutputValidationError` for JSON that breaks a schema; text that is no JSON is let pass."""
    try:
        value = json.loads(text) if schema else None
    except (ValueError, RecursionError):
        return
    if schema and (broken := _violation(value, schema)):
        raise OutputValidationError(f"the answer does not follow its schema: {broken}", text)


_OPEN = ("additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref", "if")


def _closed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return parameters that take no others than they name, as the grammar has them too."""
    if "properties" not in parameters or any(keyword in parameters for keyword in _OPEN):
        return parameters
    return {**parameters, "additionalProperties": False}


def _violation(value: Any, schema: Mapping[str, Any]) -> str | None:
    from glimp_core.chat.grammar.validation import violation  # jsonschema is loaded by the first value to check

    return violation(value, schema)
