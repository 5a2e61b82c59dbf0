"""The grammar of a function call whose parameters are XML elements, as Qwen-coder writes them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llguidance import regex_to_lark

from glimp_core.chat.grammar.json_schema import MAX_STRING, normalize_schema, resolved
from glimp_core.chat.grammar.lark import Choice, Json, Node, Optional, Upto
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.request.tools import Tool
from glimp_core.errors import UnsupportedSchemaError

_END = "\n</parameter>\n"


def xml_function(tool: Tool) -> Node:
    """Return the grammar of `<function=name>...</function>`: parameters in the order of the schema, each once."""
    schema = normalize_schema(tool.parameters)
    required = schema.get("required", ())
    parameters: list[Node] = []
    for name, part in schema["properties"].items():
        written = Seq((f"<parameter={name}>\n", _value(resolved(part, schema), schema)))
        parameters.append(written if name in required else Optional(written))
    return Seq((f"<function={tool.name}>\n", *parameters, "</function>"))


def raw_parameters(tools: Sequence[Tool]) -> frozenset[bytes]:
    """Return the parameters that are written as they are, as b"function parameter"."""
    properties = ((tool, name, part) for tool in tools for name, part in tool.parameters["properties"].items())
    texts = ((tool, name) for tool, name, part in properties if _is_text(resolved(part, tool.parameters)))
    return frozenset(f"{tool.name} {name}".encode() for tool, name in texts)


def _value(schema: Any, root: Mapping[str, Any]) -> Node:
    """The value of a parameter: strings as they are, all else as JSON. A `format` is not enforced here."""
    if not isinstance(schema, Mapping):
        return Seq((Json("{}"), _END))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values:
        return Seq((Choice(tuple(v if isinstance(v, str) else json.dumps(v) for v in values)), _END))
    if _is_text(schema):
        return Upto(_text_pattern(schema), _END, _END.strip())
    whole = {**{key: root[key] for key in ("$defs", "definitions") if key in root}, **schema}
    return Seq((Json(json.dumps(whole, ensure_ascii=False)), _END))


def _is_text(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "string" and not {"const", "enum"} & set(schema)


def _text_pattern(schema: Mapping[str, Any]) -> str:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", MAX_STRING)
    if "pattern" not in schema:
        return f"(?s:.{{{shortest},{'' if longest == MAX_STRING else longest}}})"
    if shortest or longest != MAX_STRING:
        raise UnsupportedSchemaError(
            f"'pattern' beside 'minLength' or 'maxLength' cannot be enforced in this model's XML markup: {schema!r}"
        )
    pattern = regex_to_lark(schema["pattern"], "dw").replace("\\/", "/")
    before = "" if pattern.startswith("^") else "(?s:.*)"
    after = "" if pattern.endswith("$") else "(?s:.*)"
    return f"{before}(?:{pattern.removeprefix('^').removesuffix('$')}){after}"
