"""Structured output: a bound model and its parser."""

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import AddableDict, Runnable, RunnableGenerator, RunnableMap, RunnablePassthrough

from glimp_core.chat.request.requirements import check_answer
from glimp_core.errors import unknown_name
from glimp_langchain._calls import is_model, response_format, tool_specs
from glimp_langchain._errors import OutputValidationError, langchain_errors

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
        parser: Runnable[Any, Any] = _checked(None) | _call_parser(schema, name)
    else:
        form: dict[str, Any] = {"type": "json_object"} if schema is None else response_format(schema, strict)
        llm = model.bind(response_format={**form, "check": False}, **traced, **bound)
        read = PydanticOutputParser(pydantic_object=schema) if is_model(schema) else JsonOutputParser()
        parser = _checked(form.get("json_schema", {}).get("schema")) | read
    return _with_raw(llm, parser) if include_raw else llm | parser


def _checked(schema: Any) -> Runnable[Any, Any]:
    """Return what passes a reply on, and raises `OutputValidationError` behind one that cannot be read.

    That is an invalid call, or an answer that breaks what of its schema no grammar holds. With `include_raw` it is the
    parsing error.
    """

    def passed(messages: Iterator[BaseMessage]) -> Iterator[BaseMessage]:
        whole: Any = None
        for message in messages:
            whole = message if whole is None else whole + message
            yield message
        _check(whole, schema)

    async def apassed(messages: AsyncIterator[BaseMessage]) -> AsyncIterator[BaseMessage]:
        whole: Any = None
        async for message in messages:
            whole = message if whole is None else whole + message
            yield message
        _check(whole, schema)

    return RunnableGenerator(passed, apassed, name="check_reply")


def _check(message: Any, schema: Any) -> None:
    if not isinstance(message, AIMessage):
        return
    if message.invalid_tool_calls and not message.tool_calls:
        errors = message.response_metadata["glimp"]["invalid_calls"]
        raise OutputValidationError(f"the call is invalid: {errors[0]}", message.invalid_tool_calls[0]["args"] or "")
    with langchain_errors():
        check_answer(message.text, schema)


def _call_parser(schema: Any, name: str) -> BaseOutputParser[Any]:
    if is_model(schema):
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)


def _with_raw(llm: Runnable[LanguageModelInput, Any], parser: Runnable[Any, Any]) -> Runnable[LanguageModelInput, Any]:
    """Return what gives the raw reply, what was parsed of it, and the error of the parser, streamed as they come."""
    caught = RunnableGenerator(partial(_caught, parser), partial(_acaught, parser))
    return (
        RunnableMap(raw=llm)
        | RunnablePassthrough.assign(parsed=itemgetter("raw") | caught)
        | RunnableGenerator(_told_apart, _atold_apart)
    )


def _caught(parser: Runnable[Any, Any], messages: Iterator[Any]) -> Iterator[Any]:
    """Parse, and return an error if parsing fails."""
    first = next(messages)
    try:
        if isinstance(first, AIMessageChunk):
            yield from parser.transform(chain([first], messages))
        else:  # a whole reply, which parsers that stream do not take
            yield parser.invoke(first)
    except OutputParserException as error:
        yield error


async def _acaught(parser: Runnable[Any, Any], messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    first = await anext(messages)

    async def all_messages() -> AsyncIterator[Any]:
        yield first
        async for message in messages:
            yield message

    try:
        if isinstance(first, AIMessageChunk):
            async for value in parser.atransform(all_messages()):
                yield value
        else:
            yield await parser.ainvoke(first)
    except OutputParserException as error:
        yield error


def _told_apart(parts: Iterator[Mapping[str, Any]]) -> Iterator[AddableDict]:
    """Move errors into a key of their own."""
    error = None
    for part in parts:
        error = error or _error(part)
        yield AddableDict(part if _error(part) is None else {**part, "parsed": None})
    yield AddableDict(parsing_error=error)


async def _atold_apart(parts: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[AddableDict]:
    error = None
    async for part in parts:
        error = error or _error(part)
        yield AddableDict(part if _error(part) is None else {**part, "parsed": None})
    yield AddableDict(parsing_error=error)


def _error(part: Mapping[str, Any]) -> OutputParserException | None:
    parsed = part.get("parsed")
    return parsed if isinstance(parsed, OutputParserException) else None
