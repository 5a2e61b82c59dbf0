"""GlimpLLM: a pair of models as one LlamaIndex LLM."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Self, Unpack

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import (
    Field,
    PrivateAttr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection, default_completion_to_prompt
from llama_index.core.tools.types import BaseTool

from glimp_core import ConfigError, GlimpRouter, Policy
from glimp_core.errors import unknown_name
from glimp_core.pair import Reference
from glimp_core.pair_model import PairModel
from glimp_llamaindex._calls import Call, verbatim
from glimp_llamaindex._messages import core_messages
from glimp_llamaindex._options import TEXTS, GlimpLLMOptions
from glimp_llamaindex._replies import ReplyStream, Shape, ThinkingPosition, chat_response, completion_response
from glimp_llamaindex._requests import Demands
from glimp_llamaindex._structured import GrammarPrediction
from glimp_llamaindex._tools import only_first_call, selections, tool_demands, without_calls


class GlimpLLM(GrammarPrediction, PairModel, FunctionCallingLLM):
    """A small and a large model that write one chain of thought, as one LlamaIndex LLM.

        llm = GlimpLLM(small="Qwen/Qwen3-0.6B", large="Qwen/Qwen3-8B", threshold=1.0)

    The models are `small` and `large`, or those of `router=` (a `GlimpRouter`), or those of `config_file="pair.toml"`.
    A `threshold` or a `policy` decides. The thinking is not in the text: it is a `ThinkingBlock`, and in streams
    `additional_kwargs["thinking_delta"]`. `raw["usage"]` counts tokens, `raw["routing"]` has the writer of each step.
    Keyword arguments of a call override the fields; `Demands` lists them. As in all of LlamaIndex, `system_prompt` is
    for `predict`, `stream` and the structured methods; `chat` and `complete` send only their messages. Raises
    `GlimpError`, which is a `ValueError`. Making an object loads no weights and imports no torch; copies share the
    models.
    """

    option_texts = TEXTS

    thinking_position: ThinkingPosition = Field(default="first", description=TEXTS["thinking_position"])
    is_function_calling_model: bool = Field(default=True, description=TEXTS["is_function_calling_model"])
    routing_events: bool = Field(default=False, description=TEXTS["routing_events"])

    _given: GlimpRouter | None = PrivateAttr(default=None)
    _policy: Policy | None = PrivateAttr(default=None)
    _made: GlimpRouter | None = PrivateAttr(default=None)

    def __init__(
        self,
        small: Any = None,
        large: Any = None,
        *,
        router: GlimpRouter | None = None,
        policy: Policy | None = None,
        **options: Unpack[GlimpLLMOptions],
    ):
        for name in options:
            if name not in {*type(self).model_fields, "config_file"}:
                raise unknown_name("option", name, {*type(self).model_fields, "router", "policy", "config_file"})
        named = {"small": _living(small), "large": _living(large), "router": _living(router), "policy": policy}
        fields = self.options_with_file({**options, **named})
        routing = fields.pop("router", None), fields.pop("policy", None)
        super().__init__(**fields)
        self._given, self._policy = routing
        self._check_options()

    @classmethod
    def class_name(cls) -> str:
        """Return the name of this class in saved data."""
        return "GlimpLLM"

    @property
    def router(self) -> GlimpRouter:
        """The router of this LLM, made at the first use. Its weights load at the first request."""
        given, made, config = self._given, self._made, self.router_config()
        if given is not None and self._policy is None and config == given.config:
            return given
        if made is not None and config == made.config:
            return made
        if given is None:
            router = self.pair.router(self._policy, config)
        else:
            policy = self._policy or given.policy
            router = GlimpRouter(given.small, given.large, policy, config, given.sampling, given.taps)
        self._made = router
        return router

    @property
    def tokenizer(self) -> Callable[[str], list[int]]:
        """The large model's tokenizer, for `Settings.tokenizer`. Raises `ConfigError` if it is not in this process."""
        large = self.router.large
        encode: Callable[[str], list[int]] | None = getattr(large, "encode", None)
        if encode is None:
            raise ConfigError(f"{large.name!r} has no tokenizer in this process")
        return encode

    @property
    def metadata(self) -> LLMMetadata:
        """The metadata for LlamaIndex, known without weights. `num_output` includes thinking and answer."""
        window = self.pair.window or self.router.window
        config = self.router_config().with_effort()
        thinking = config.max_reasoning_tokens if config.reasoning == "auto" else 0
        return LLMMetadata(
            context_window=window,
            num_output=min(thinking + (self.max_tokens or config.max_answer_tokens), window // 2),
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.pair.name,
        )

    def to_payload(self) -> dict[str, Any]:
        """Return the data of this LLM for observability, without secrets."""
        pair = self.pair
        return {
            "class_name": self.class_name(),
            **self.metadata.model_dump(),
            "model": pair.name,
            "small": pair.identity["small"],
            "large": pair.identity["large"],
            "temperature": self.temperature,
            "threshold": self.threshold,
        }

    def load(self) -> None:
        """Load the weights of both models now, rather than at the first request."""
        self.router.load()

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return self._chat_call(messages, kwargs).run(chat_response)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt; a `formatted` one is sent to both models as it is."""
        return self._completion_call(prompt, formatted, kwargs).run(completion_response)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation bit by bit; nothing runs before the first `next()`, closing stops the models."""
        return self._chat_call(messages, kwargs).stream(ReplyStream.chat)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Answer a prompt bit by bit."""
        return self._completion_call(prompt, formatted, kwargs).stream(ReplyStream.completion)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation; the event loop stays free."""
        return await self._chat_call(messages, kwargs).arun(chat_response)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt; the event loop stays free."""
        return await self._completion_call(prompt, formatted, kwargs).arun(completion_response)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation bit by bit; the event loop stays free."""
        return self._chat_call(messages, kwargs).astream(ReplyStream.chat)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Answer a prompt bit by bit; the event loop stays free."""
        return self._completion_call(prompt, formatted, kwargs).astream(ReplyStream.completion)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if user_msg is not None:
            asked = user_msg if isinstance(user_msg, ChatMessage) else ChatMessage(user_msg, role=MessageRole.USER)
            messages.append(asked)
        demands = tool_demands(tools, kwargs.pop("tool_choice", None), tool_required)
        return {"messages": messages, **demands, "parallel_tool_calls": allow_parallel_tool_calls, **kwargs}

    def _validate_chat_with_tools_response(
        self, response: ChatResponse, tools: Sequence[BaseTool], allow_parallel_tool_calls: bool = False, **kwargs: Any
    ) -> ChatResponse:
        return response if allow_parallel_tool_calls else only_first_call(response)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls of a reply, finished or streaming. Raises `ValueError` if one is due and none is."""
        calls = selections(response)
        if not calls and error_on_no_tool_call:
            raise ValueError(f"expected a tool call and the reply has none: {without_calls(response)}")
        return calls

    def _chat_call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Call:
        if self.messages_to_prompt not in (None, messages_to_prompt):
            return self._verbatim_call(self.messages_to_prompt(messages), kwargs)
        return self._call(core_messages(messages), kwargs)

    def _completion_call(self, prompt: str, formatted: bool, kwargs: dict[str, Any]) -> Call:
        if formatted:
            return self._verbatim_call(prompt, kwargs)
        if self.completion_to_prompt not in (None, default_completion_to_prompt):
            return self._verbatim_call(self.completion_to_prompt(prompt), kwargs)
        return self._call([{"role": "user", "content": prompt}], kwargs)

    def _verbatim_call(self, prompt: str, kwargs: dict[str, Any]) -> Call:
        messages, template = verbatim(prompt)
        given = kwargs.get("chat_template_kwargs") or self.chat_template_kwargs
        return self._call(messages, {**kwargs, "chat_template_kwargs": {**given, **template}})

    def _call(self, messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> Call:
        fields = {name: getattr(self, name) for name in ("threshold", "timeout", "chat_template_kwargs")}
        demands = Demands.of({**fields, **{name: value for name, value in kwargs.items() if value is not None}})
        demands = replace(demands, sampling=demands.sampling.over(self.sampling()))
        shape = Shape(self.pair.name, self.thinking_position, demands.one_call)
        return Call(lambda: self.router, messages, demands, shape, self.routing_events)

    def _made_elsewhere(self) -> tuple[GlimpRouter | None, Policy | None]:
        return self._given, self._policy

    @field_validator("stop", mode="before")
    @classmethod
    def _several(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_serializer("dtype", "quantization_config")
    def _plain(self, option: Any) -> Any:
        if option is None or isinstance(option, (str, dict)):
            return option
        return option.to_dict() if hasattr(option, "to_dict") else str(option).removeprefix("torch.")

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Write the LLM down, with references in place of objects that live in this process."""
        data: dict[str, Any] = handler(self.model_copy(update={"small": None, "large": None}))
        references = self._references()
        if self._policy is not None:  # any object with a `decide`: the router that has it stands for all
            references = {"small": None, "large": None, "router": Reference.to(self.router)}
        written = {name: asdict(model) if isinstance(model, Reference) else model for name, model in references.items()}
        return {**data, **written, "class_name": self.class_name()}

    def __getstate__(self) -> dict[str, Any]:
        references = self._references()
        stand_in = self.model_copy(update={name: references[name] for name in ("small", "large")})
        stand_in._given = stand_in._made = None
        state: dict[str, Any] = super(GlimpLLM, stand_in).__getstate__()
        state["__dict__"] |= {"router": references["router"], "policy": self._policy}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the fields, never the models."""
        copied = self.model_copy()
        for name, value in copied.__dict__.items():
            if isinstance(value, (list, dict)):
                copied.__dict__[name] = copy.deepcopy(value)
        return copied

    def _references(self) -> dict[str, Any]:
        """Return the models as they can be written down: names as they are, objects of this process by reference."""
        living = {"small": self.small, "large": self.large, "router": self._given}
        return {
            name: model if model is None or isinstance(model, str | Mapping) else Reference.to(model)
            for name, model in living.items()
        }


def _living(model: Any) -> Any:
    """Return the object that a reference stands for, or what was given."""
    if isinstance(model, Mapping) and "model" not in model:  # which describes one
        model = Reference(**model)
    return model.resolve() if isinstance(model, Reference) else model
