"""Structured output: a bound model and the parser that fits it."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough

from glimp_core.errors import unknown_name
from glimp_langchain._tools import is_model, response_format, tool_specs

Method = Literal["json_schema", "function_calling", "json_mode"]


def structured(
    model: BaseChatModel, schema: Any, method: Method, include_raw: bool, strict: bool | None, bound: Mapping[str, Any]
) -> Runnable[LanguageModelInput, Any]:
    """Return the model bound to a schema, piped into its parser. See `ChatGlimp.with_structured_output`."""
    if method not in ("json_schema", "function_calling", "json_mode"):
        raise unknown_name("method", str(method), ["json_schema", "function_calling", "json_mode"])
    if schema is None and method != "json_mode":
        raise ValueError(f"method={method!r} needs a schema; only 'json_mode' can do without")
    traced = {"ls_structured_output_format": {"kwargs": {"method": method}, "schema": schema}} if schema else {}
    if method == "function_calling":
        (tool,) = tool_specs([schema], strict=strict)
        name = tool["function"]["name"]
        llm = model.bind_tools([tool], tool_choice=name, parallel_tool_calls=False, **traced, **bound)
        parser = _call_parser(schema, name)
    else:
        form = {"type": "json_object"} if schema is None else response_format(schema, strict)
        llm = model.bind(response_format=form, **traced, **bound)
        parser = PydanticOutputParser(pydantic_object=schema) if is_model(schema) else JsonOutputParser()
    return _with_raw(llm, parser) if include_raw else llm | parser


def _call_parser(schema: Any, name: str) -> BaseOutputParser[Any]:
    if is_model(schema):
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)


def _with_raw(
    llm: Runnable[LanguageModelInput, Any], parser: BaseOutputParser[Any]
) -> Runnable[LanguageModelInput, Any]:
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")
