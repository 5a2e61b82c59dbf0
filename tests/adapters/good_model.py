"""A scripted pair that replies like a good model: it honours tools, tool_choice and response_format.

It copies what it needs from the last thing the user said: the first number for a number, the whole text for a string.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glimp_core import GlimpRouter, Request, RouterConfig, ToolCall
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.request.tools import Tool
from glimp_core.context import Context
from glimp_core.testing import Reply, ScriptedEngine
from glimp_core.types import Chunk, GenerationParams

STEPS = ("The user wants something.\n\n", "I know how to help.\n\n", "Done.</think>")
ENTROPIES = (0.1, 2.0, 0.5)


def good_router(steps: Sequence[str] = STEPS, config: RouterConfig | None = None, **options: Any) -> GlimpRouter:
    """A pair of which both models think in `steps` and answer as `reply` says."""
    small = ScriptedEngine(steps, reply, ENTROPIES, name="good-small", **options)
    large = ScriptedEngine(steps, reply, name="good-large", **options)
    return GlimpRouter(small, large, config=config)


def reply(request: Request) -> Reply:
    """Call a tool where one is due, else answer in the format that is asked for."""
    said = [str(message["content"]) for message in request.messages if message["role"] == "user"]
    prompt = said[-1] if said else ""
    requirements = OutputRequirements.of(request)
    if tools := due_tools(request, requirements, prompt):
        round_ = sum(message["role"] == "tool" for message in request.messages)
        return [
            ToolCall(f"call_{round_}_{at}", tool.name, instance(tool.parameters, prompt))
            for at, tool in enumerate(tools)
        ]
    if requirements.schema is not None:
        return json.dumps(instance(requirements.schema, prompt), ensure_ascii=False)
    return f"You said: {prompt}"


def due_tools(request: Request, requirements: OutputRequirements, prompt: str) -> list[Tool]:
    """The tools to call: those the user speaks of, until their results are there, or a new one if one must be."""
    done = {call["function"]["name"] for message in request.messages for call in message.get("tool_calls", ())}
    answered = request.messages[-1]["role"] == "tool"
    spoken_of = [] if answered else [tool for tool in requirements.tools if named(tool.name, prompt)]
    if requirements.must_call and not spoken_of:
        spoken_of = [tool for tool in requirements.tools if tool.name not in done] or list(requirements.tools)
    return spoken_of[:1] if requirements.one_call else spoken_of


def named(name: str, prompt: str) -> bool:
    """Whether a prompt speaks of a tool: with all words of its name but "get"."""
    return all(word in prompt.lower() for word in name.lower().split("_") if word != "get")


def instance(schema: Mapping[str, Any], prompt: str, root: Mapping[str, Any] | None = None) -> Any:
    """A value of a JSON schema, made of what the prompt says; optional fields are left out."""
    root = schema if root is None else root
    if "$ref" in schema:
        return instance(root["$defs"][schema["$ref"].rpartition("/")[2]], prompt, root)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return instance(schema[key][0], prompt, root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type", "object"):
        case "object":
            fields = schema.get("properties", {})
            return {name: instance(fields[name], prompt, root) for name in schema.get("required", ())}
        case "array":
            return [instance(schema.get("items", {"type": "string"}), prompt, root)]
        case "integer" | "number":
            number = re.search(r"-?\d+", prompt)
            return int(number[0]) if number else 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return prompt or "something"


PAUSE = 0.002


class Endless(ScriptedEngine):
    """Thinks without an end, a token every two milliseconds; counts tokens and the calls that are open."""

    def __init__(self) -> None:
        super().__init__(["so it goes on, " * 4000], reply)
        self.written = 0
        self.running = 0

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write slowly."""
        self.running += 1
        try:
            for chunk in super().generate(context, params):
                self.written += 1
                time.sleep(PAUSE)
                yield chunk
        finally:
            self.running -= 1
