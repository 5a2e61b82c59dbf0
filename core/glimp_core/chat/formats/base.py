"""How model families write tool calls: the marks that open one, and the grammar of one that is demanded."""
# ruff: noqa: RUF001, RUF002 (DeepSeek's marks are written with full-width bars)

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from glimp_core.chat.formats.xml_grammar import raw_parameters, xml_function
from glimp_core.chat.grammar.json_schema import normalize_schema
from glimp_core.chat.grammar.lark import GAP, Choice, Grammar, Json, Many, Marker, Node, Optional
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.prompt.template import Template
from glimp_core.chat.request.tools import Tool

Role = Callable[[Sequence[Tool], bool], Node]


@dataclass(frozen=True, slots=True)
class ToolCallFormat:
    """One family's way to write calls.

    `openings` are the marks that open a call in free text, `inner` those inside one; `write` gives the grammar of one
    call, or of several, of some tools. `bare` says that a reply may be a call without any mark, `xml` that parameters
    are XML elements.
    """

    name: str
    openings: tuple[str, ...]
    inner: tuple[str, ...]
    write: Role
    bare: bool = False
    xml: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks that calls are written with."""
        return self.openings + self.inner

    def calls(self, tools: Sequence[Tool], many: bool) -> Node:
        """Return the grammar of a demanded call of one of the tools, or of several."""
        return self.write(tools, many)

    def grammar(self, node: Node, tools: Sequence[Tool]) -> Grammar:
        """Return a grammar in which calls may stand."""
        return Grammar(node, raw_parameters(tools) if self.xml else None)


def call_object(tools: Sequence[Tool], key: str = "arguments") -> Json:
    """Return the grammar of `{"name": ..., key: {...}}` for one of the tools."""
    schemas = {f"t{n}": normalize_schema(tool.parameters, f"#/$defs/t{n}") for n, tool in enumerate(tools)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, key: {"$ref": f"#/$defs/t{n}"}},
            "required": ["name", key],
            "additionalProperties": False,
        }
        for n, tool in enumerate(tools)
    ]
    return _json({"anyOf": calls, "$defs": schemas})


def tagged(tools: Sequence[Tool], many: bool) -> Node:
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen, and what we ask of other models."""
    return _several(Seq((Marker("<tool_call>"), GAP, call_object(tools), GAP, Marker("</tool_call>"))), "\n", many)


def xml(tools: Sequence[Tool], many: bool) -> Node:
    """`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`: Qwen-coder, Qwen 3.5."""
    functions = Choice(tuple(xml_function(tool) for tool in tools))
    return _several(Seq((Marker("<tool_call>"), "\n", functions, "\n", Marker("</tool_call>"))), "\n", many)


def llama(tools: Sequence[Tool], many: bool) -> Node:
    """`{"name": ..., "parameters": {...}}` and nothing else, or behind `<|python_tag|>`: Llama 3."""
    return Seq((Optional(Marker("<|python_tag|>")), _several(call_object(tools, "parameters"), "; ", many)))


def mistral_list(tools: Sequence[Tool], many: bool) -> Node:
    """`[TOOL_CALLS][{"name": ..., "arguments": {...}}]`: Mistral up to its tokenizer v7."""
    return Seq((Marker("[TOOL_CALLS]"), GAP, "[", _several(call_object(tools), ", ", many), "]"))


def mistral_named(tools: Sequence[Tool], many: bool) -> Node:
    """`[TOOL_CALLS]name[ARGS]{...}`: Mistral from its tokenizer v11 on."""
    named = Choice(tuple(Seq((tool.name, Marker("[ARGS]"), _arguments(tool))) for tool in tools))
    return _several(Seq((Marker("[TOOL_CALLS]"), named)), "", many)


def deepseek(tools: Sequence[Tool], many: bool, fenced: bool = True) -> Node:
    """Calls between `<｜tool▁calls▁begin｜>` and `<｜tool▁calls▁end｜>`; `fenced` arguments: V3 and R1, plain: V3.1."""
    begin, separator, end = Marker("<｜tool▁call▁begin｜>"), Marker("<｜tool▁sep｜>"), Marker("<｜tool▁call▁end｜>")

    def call(tool: Tool) -> Node:
        if fenced:
            return Seq((begin, "function", separator, tool.name, "\n```json\n", _arguments(tool), "\n```", end))
        return Seq((begin, tool.name, separator, _arguments(tool), end))

    calls = _several(Choice(tuple(map(call, tools))), "\n" if fenced else "", many)
    return Seq((Marker("<｜tool▁calls▁begin｜>"), calls, Marker("<｜tool▁calls▁end｜>")))


GENERIC = ToolCallFormat("generic", ("<tool_call>",), ("</tool_call>",), tagged)
"""For templates that show no tools: these are then explained in words, and asked for in Hermes' markup."""
HERMES = ToolCallFormat("hermes", ("<tool_call>",), ("</tool_call>",), tagged)
XML = ToolCallFormat("xml", ("<tool_call>", "<function="), ("</tool_call>",), xml, xml=True)
LLAMA = ToolCallFormat("llama", ("<|python_tag|>",), (), llama, bare=True)
MISTRAL_LIST = ToolCallFormat("mistral list", ("[TOOL_CALLS]",), (), mistral_list)
MISTRAL_NAMED = ToolCallFormat("mistral named", ("[TOOL_CALLS]",), ("[ARGS]", "[CALL_ID]"), mistral_named)
_OPENINGS = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>")
_INNER = ("<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>")
DEEPSEEK = ToolCallFormat("deepseek", _OPENINGS, _INNER, deepseek)
DEEPSEEK_PLAIN = ToolCallFormat("deepseek plain", _OPENINGS, _INNER, partial(deepseek, fenced=False))
FORMATS = (GENERIC, HERMES, XML, LLAMA, MISTRAL_LIST, MISTRAL_NAMED, DEEPSEEK, DEEPSEEK_PLAIN)


def format_of(template: Template) -> ToolCallFormat:
    """Choose the dialect by what a template itself writes; one that shows no tools gets the generic one."""
    source = template.source
    if template.arguments is None:
        return GENERIC
    marks = (
        ("<function=", XML),
        ("<arg_key>", GENERIC),
        ("<tool_call>", HERMES),
        ("[ARGS]", MISTRAL_NAMED),
        ("[TOOL_CALLS]", MISTRAL_LIST),
        ("tool▁call▁begin", DEEPSEEK if "```json" in source else DEEPSEEK_PLAIN),
    )
    other = LLAMA if template.names_parameters else GENERIC
    return next((dialect for mark, dialect in marks if mark in source), other)


def _arguments(tool: Tool) -> Json:
    return _json(normalize_schema(tool.parameters))


def _several(call: Node, between: Node, many: bool) -> Node:
    return Many(call, between) if many else call


def _json(schema: Mapping[str, Any]) -> Json:
    return Json(json.dumps(schema, ensure_ascii=False))
