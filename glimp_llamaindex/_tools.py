"""Tools between LlamaIndex and the core: their specifications, the choice among them, the calls made."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools.types import BaseTool

from glimp_core import ConfigError


def tool_specs(tools: Sequence[BaseTool | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tools in the core's format. Dicts are not changed. Raises `ConfigError` for other types."""
    return [_spec(tool) for tool in tools]


def tool_demands(tools: Sequence[BaseTool], choice: Any, required: bool) -> dict[str, Any]:
    """Return the keyword arguments of a chat with these tools; without tools it is a plain chat."""
    demands: dict[str, Any] = {"tools": tool_specs(tools)} if tools else {}
    if choice or required:  # an explicit choice wins
        demands["tool_choice"] = choice or "required"
    return demands


def arguments_of(block: ToolCallBlock) -> dict[str, Any]:
    """Return the arguments of a call, as far as they are complete. Never raises."""
    if isinstance(block.tool_kwargs, dict):
        return block.tool_kwargs
    try:
        arguments = parse_partial_json(block.tool_kwargs)
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def selections(response: ChatResponse) -> list[ToolSelection]:
    """Return the tool calls of a reply, finished or still streaming."""
    return [
        ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=arguments_of(block))
        for block in response.message.blocks
        if isinstance(block, ToolCallBlock)
    ]


def without_calls(response: ChatResponse) -> str:
    """Return what a reply holds that has no call: the calls that are invalid, and why, else its text."""
    broken = response.raw.get("invalid_tool_calls") if isinstance(response.raw, dict) else None
    said = [f"the call of {call['name']!r} is invalid: {call['error']}" for call in broken or ()]
    return "; ".join(said) or repr(response.message.content)


def only_first_call(response: ChatResponse) -> ChatResponse:
    """Return a reply with only its first tool call."""
    blocks, seen = [], 0
    for block in response.message.blocks:
        seen += isinstance(block, ToolCallBlock)
        if not isinstance(block, ToolCallBlock) or seen == 1:
            blocks.append(block)
    if seen <= 1:
        return response
    extra = dict(response.message.additional_kwargs)
    extra["tool_calls"] = extra.get("tool_calls", [])[:1]
    message = response.message.model_copy(update={"blocks": blocks, "additional_kwargs": extra})
    return response.model_copy(update={"message": message})


def call_dicts(blocks: Sequence[ToolCallBlock]) -> list[dict[str, Any]]:
    """Return calls in OpenAI's shape, for `additional_kwargs`: core's streaming parsers read only this."""
    return [
        {"id": block.tool_call_id, "type": "function", "function": {"name": block.tool_name, "arguments": _json(block)}}
        for block in blocks
    ]


def _spec(tool: object) -> dict[str, Any]:
    if isinstance(tool, Mapping):
        return dict(tool)
    if not isinstance(tool, BaseTool):
        raise ConfigError(f"{tool!r} is no tool of LlamaIndex: wrap it with FunctionTool.from_defaults(...)")
    spec = tool.metadata.to_openai_tool(skip_length_check=True)
    return {**spec, "function": {**spec["function"], "name": tool.metadata.get_name()}}  # the core maps names itself


def _json(block: ToolCallBlock) -> str:
    if isinstance(block.tool_kwargs, str):
        return block.tool_kwargs
    return json.dumps(block.tool_kwargs, ensure_ascii=False)
