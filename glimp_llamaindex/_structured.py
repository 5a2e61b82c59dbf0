"""Structured prediction by grammar: the model thinks freely, then its answer can only be an object of the schema."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.bridge.pydantic import BaseModel, ValidationError
from llama_index.core.instrumentation.events.llm import LLMStructuredPredictEndEvent, LLMStructuredPredictStartEvent
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.program.utils import create_flexible_model
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index_instrumentation import get_dispatcher

from glimp_core import GlimpError
from glimp_llamaindex._requests import response_format

dispatcher = get_dispatcher(__name__)


class StructuredOutputError(GlimpError):
    """A reply that is no object of the schema; `text` is what the model wrote, `finish_reason` why it stopped."""

    def __init__(self, message: str, text: str, finish_reason: str):
        super().__init__(message)
        self.text = text
        self.finish_reason = finish_reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.text, self.finish_reason)  # pipelines send it between processes


class GrammarPrediction(FunctionCallingLLM):
    """The four structured hooks, bound by the schema's grammar in the default program mode.

    The modes FUNCTION and LLM run LlamaIndex's own programs.
    """

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return an object of `output_cls`. Raises `StructuredOutputError` if the reply is none."""
        if self.pydantic_program_mode != PydanticProgramMode.DEFAULT:
            return super().structured_predict(output_cls, prompt, _copied(llm_kwargs), **prompt_args)  # type: ignore[no-any-return]
        _started(output_cls, prompt, prompt_args)
        response = self.chat(self._asked(prompt, prompt_args), **_bound(output_cls, llm_kwargs))
        return _ended(_parsed(output_cls, response))

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return an object of `output_cls`. Raises `StructuredOutputError` if the reply is none."""
        if self.pydantic_program_mode != PydanticProgramMode.DEFAULT:
            return await super().astructured_predict(  # type: ignore[no-any-return]
                output_cls, prompt, _copied(llm_kwargs), **prompt_args
            )
        _started(output_cls, prompt, prompt_args)
        response = await self.achat(self._asked(prompt, prompt_args), **_bound(output_cls, llm_kwargs))
        return _ended(_parsed(output_cls, response))

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if self.pydantic_program_mode != PydanticProgramMode.DEFAULT:
            return super()._structured_stream_call(output_cls, prompt, self._called(llm_kwargs), **prompt_args)
        messages, kwargs = self._asked(prompt, prompt_args), _bound(output_cls, llm_kwargs)

        def objects() -> Generator[Any, None, None]:
            growing = _Growing(output_cls)
            for response in self.stream_chat(messages, **kwargs):
                if (partial := growing.take(response)) is not None:
                    yield partial
            yield growing.whole()

        return objects()

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if self.pydantic_program_mode != PydanticProgramMode.DEFAULT:
            return await super()._structured_astream_call(output_cls, prompt, self._called(llm_kwargs), **prompt_args)
        messages, kwargs = self._asked(prompt, prompt_args), _bound(output_cls, llm_kwargs)

        async def objects() -> AsyncGenerator[Any, None]:
            growing = _Growing(output_cls)
            async with aclosing(await self.astream_chat(messages, **kwargs)) as responses:
                async for response in responses:
                    if (partial := growing.take(response)) is not None:
                        yield partial
            yield growing.whole()

        return objects()

    def _asked(self, prompt: BasePromptTemplate, prompt_args: dict[str, Any]) -> list[ChatMessage]:
        return self._extend_messages(prompt.format_messages(llm=self, **prompt_args))

    def _called(self, llm_kwargs: dict[str, Any] | None) -> dict[str, Any]:
        """Say once more that a call is required: LlamaIndex's function program forgets it when it streams."""
        function = self.pydantic_program_mode == PydanticProgramMode.FUNCTION
        return {**(llm_kwargs or {}), **({"call_required": True} if function else {})}


class _Growing:
    """An object of a schema while its JSON is written."""

    def __init__(self, output_cls: type[BaseModel]):
        self._output_cls = output_cls
        self._partial_cls = create_flexible_model(output_cls)
        self._seen: dict[str, Any] = {}
        self._last: ChatResponse | None = None

    def take(self, response: ChatResponse) -> BaseModel | None:
        """Take the reply so far; return the object so far where it has changed."""
        self._last = response
        if not response.delta:
            return None
        try:
            fields = parse_partial_json(response.message.content or "")
        except ValueError:
            return None
        known = {name: value for name, value in fields.items() if value is not None} if isinstance(fields, dict) else {}
        if known == self._seen:
            return None
        self._seen = known
        return self._partial_cls.model_validate(known)

    def whole(self) -> BaseModel:
        """Return the finished object."""
        assert self._last is not None, "a stream has at least one chunk"
        return _parsed(self._output_cls, self._last)


def _bound(output_cls: type[BaseModel], llm_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    return {**(llm_kwargs or {}), "response_format": response_format(output_cls)}


def _copied(llm_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    return dict(llm_kwargs or {})  # LlamaIndex's programs pop from it


def _parsed(output_cls: type[Model], response: ChatResponse) -> Model:
    text, reason = response.message.content or "", str((response.raw or {}).get("finish_reason"))
    try:
        return output_cls.model_validate_json(text)
    except ValidationError as error:
        advice = "raise max_tokens" if reason == "length" else "loosen the rules the schema cannot express"
        raise StructuredOutputError(
            f"the reply is no {output_cls.__name__} (it ended with {reason!r}): {error}\n{advice}; it was: {text!r}",
            text,
            reason,
        ) from error


def _started(output_cls: type[BaseModel], prompt: BasePromptTemplate, prompt_args: dict[str, Any]) -> None:
    event = LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
    dispatcher.event(event)


def _ended(output: Model) -> Model:
    dispatcher.event(LLMStructuredPredictEndEvent(output=output))
    return output
