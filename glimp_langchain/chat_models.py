"""ChatGlimp: a small and a large local model as one LangChain chat model."""

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import asdict
from typing import Any, Self, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils import secret_from_env
from pydantic import ConfigDict, Field, SecretStr, ValidationError, model_validator

from glimp_core import ConfigError, GlimpRouter, Policy, SamplingParams, __version__
from glimp_core.aio import stream_in_thread
from glimp_core.errors import unknown_name
from glimp_core.pair_model import PairModel
from glimp_langchain._calls import Call, core_messages, tool_specs
from glimp_langchain._copies import LiveCopies
from glimp_langchain._errors import langchain_errors, what_is_wrong
from glimp_langchain._options import TEXTS, ChatGlimpOptions, concealed_token, profile_of
from glimp_langchain._replies import PROVIDER, ReplyStream, result_of
from glimp_langchain._structured import Method, structured


class ChatGlimp(LiveCopies, PairModel, BaseChatModel):
    """A small and a large model that write one chain of thought, as one chat model.

    Setup:
        `pip install "glimp[langchain]"`. No key and no server are needed. Weights load at the first call, once in a
        process: objects that name the same models share them (`glimp_core.pair.release()` frees them).

    Completion params:
        - `temperature`, `top_p`, `top_k`, `seed`: sampling; unset values come from the models' generation_config.
        - `max_tokens`: limits the answer. `max_reasoning_tokens` limits the thinking. The limits are independent.
        - `stop`: strings that end the answer, in addition to those of a call. They do not end the thinking.
        - `reasoning`: "auto" (also True), "inline" (routes the visible reply) or "off" (also False).
        - `reasoning_effort`: "none", "low", "medium", "high" or "xhigh": amount of thinking, see `RouterConfig`.
        - `threshold`: the entropy in nats above which the large model writes a step (default 1.0); or a `policy`.
        - `chat_template_kwargs`: variables for the models' templates, for example `{"preserve_thinking": True}`.
        - `step_events`: whether the run around the model gets each decision as a custom event, "glimp_step".
        - `timeout`: the longest time of a call in seconds. `max_retries` is accepted and has no effect.

    Client params:
        - `small`, `large`: a Hugging Face id, a folder, a `.gguf` file, a loaded `(model, tokenizer)` or an engine; or
          a `router` made of them; or both as `model="small+large"`; or all from a pair file (`config_file`).
        - `http://host:8001/v1#name` is a model on a server: `small_tokenizer`, `large_tokenizer`, `api_key_env`.
        - `dtype`, `device`, `device_map`, `quantization_config`, `attn_implementation`, `revision`: how they load.
        - `max_batch`, `max_cached_tokens`, `max_memory_bytes`, `prepacked`: how they run.
        - `config`: a `RouterConfig`. `api_key` (or `hf_token`): a token of the hub, else HF_TOKEN.

    A call may set all params except the client params. It may also set `model=`, the large model of that call.

    Instantiate:
        ```python
        from glimp_langchain import ChatGlimp

        llm = ChatGlimp(small="Qwen/Qwen3-0.6B", large="Qwen/Qwen3-8B", threshold=1.0, temperature=0.6)
        ```

    Invoke:
        ```python
        message = llm.invoke([("system", "Answer in French."), ("human", "Good morning!")])
        message.content
        ```

    Stream:
        ```python
        for chunk in llm.stream("What is 17 times 23?"):
            print(chunk.content, end="")
        ```

    Async:
        A cancelled task stops the models within a token.

        ```python
        await llm.ainvoke("What is 17 times 23?")
        [chunk.content async for chunk in llm.astream("What is 17 times 23?")]
        await llm.abatch(["What is 2 + 2?", "What is 3 + 3?"])
        ```

    Tool calling:
        A grammar enforces the schemas of the tools.

        ```python
        def get_weather(city: str) -> str:
            '''Say what the weather is like in a city.'''
            return "sunny"

        llm.bind_tools([get_weather]).invoke("What is the weather like in Paris?").tool_calls
        llm.bind_tools([get_weather], tool_choice="any").invoke("Hello").tool_calls
        ```

    Structured output:
        ```python
        from pydantic import BaseModel

        class Joke(BaseModel):
            setup: str
            punchline: str

        llm.with_structured_output(Joke).invoke("Tell me a joke about cats")
        ```

    JSON mode:
        ```python
        json_llm = llm.bind(response_format={"type": "json_object"})
        json_llm.invoke("Three random numbers, as a JSON object").content
        ```

    Token usage:
        Thinking is included, and also counted separately.

        ```python
        llm.invoke("Hello").usage_metadata
        ```

    Logprobs:
        For the answer's tokens, if one local model writes the answer.

        ```python
        llm.invoke("Hello", logprobs=True).response_metadata["logprobs"]["content"]
        ```

    Response metadata:
        ```python
        llm.invoke("Hello").response_metadata["finish_reason"]
        ```

    Reasoning:
        ```python
        message = llm.invoke("What is 17 times 23?")
        message.additional_kwargs["reasoning_content"]  # also the first of message.content_blocks
        llm.invoke("What is 17 times 23?", reasoning=False)
        ```

    Routing:
        The first chunk of each step has its writer. The message has all steps.

        ```python
        message.additional_kwargs["glimp"]["steps"]  # [{"step": 0, "model": "small", "entropy": 0.1, ...}, ...]
        message.response_metadata["glimp"]  # {"steps": 4, "interventions": 1, "switches": 2, "large_tokens": 7, ...}
        ```
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        populate_by_name=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # an error about one option would show all options, also the token
    )

    option_texts = TEXTS

    router: GlimpRouter | None = Field(None, description=TEXTS["router"])
    policy: Policy | None = Field(None, description=TEXTS["policy"])
    logprobs: bool = Field(False, description=TEXTS["logprobs"])
    step_events: bool = Field(False, description=TEXTS["step_events"])
    streaming: bool | None = Field(None, description=TEXTS["streaming"])
    max_retries: int | None = Field(None, description=TEXTS["max_retries"])
    hf_token: SecretStr | None = Field(
        default_factory=secret_from_env("HF_TOKEN", default=None), alias="api_key", description=TEXTS["hf_token"]
    )

    def __init__(self, **options: Unpack[ChatGlimpOptions]) -> None:
        super().__init__(**concealed_token(options))

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, given: Any) -> Any:
        """Split `model="small+large"`, read the file, and refuse unknown options: Pydantic would ignore them."""
        given = dict(given)
        if model := given.pop("model", None):
            small, _, large = str(model).rpartition("+")
            given |= {"large": large, **({"small": small} if small else {})}
        known = {*cls.model_fields, "model", "api_key", "config_file"}
        for name in given:
            if name not in known:
                raise unknown_name("option", name, known)
        return cls.options_with_file(given)

    @model_validator(mode="after")
    def _check_glimp_fields(self) -> Self:
        self._check_options()
        return self

    @model_validator(mode="after")
    def _set_glimp_version(self) -> Self:
        self._add_version("glimp", __version__)
        return self

    @property
    def model_name(self) -> str:
        """Both models' names, as in "Qwen/Qwen3-0.6B+Qwen/Qwen3-8B"."""
        return self.pair.name

    @property
    def active_router(self) -> GlimpRouter:
        """The router of this model: the passed one, or one made from the fields. Making one loads no weights."""
        if self.router is not None and self.router_config() == self.router.config:
            return self.router
        router = self.pair.router(self.routing_policy(), self.router_config())
        if self.router is not None:
            router.sampling, router.taps = self.router.sampling, self.router.taps
        return router

    def warm_up(self) -> Self:
        """Load the weights of both models now, and not at the first call. The profile then has their window."""
        router = self.active_router
        router.load()
        if self.profile is not None:
            self.profile.setdefault("max_input_tokens", router.window)
        return self

    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | Mapping[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to the model: functions, `BaseTool`s, Pydantic or TypedDict classes, or schemas.

        `tool_choice` is None or "auto" (the model decides), "any", "required" or True (it must call a tool), "none", or
        a tool's name. A demanded call is one call, unless `parallel_tool_calls=True`. Other arguments, such as
        `response_format`, are bound unchanged.
        """
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=tool_specs(tools, strict), **choice, **kwargs)

    def with_structured_output(
        self,
        schema: Mapping[str, Any] | type | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Make the model answer with a schema: a Pydantic (v2 or v1) or TypedDict class, a JSON schema or a function.

        The thinking is not constrained. A grammar enforces the schema of the answer with every `method`: "json_schema"
        as the text of the answer, "function_calling" as a forced tool call, "json_mode" as JSON (of any form without a
        schema). Returns instances of a Pydantic class, or else dicts; with `include_raw` a dict of `raw`, `parsed`
        and `parsing_error`. Other arguments are bound unchanged.
        """
        return structured(self, schema, method, include_raw, strict, kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the large model's token ids of a text, without a template."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        large = self.active_router.large
        encode: Callable[[str], list[int]] | None = getattr(large, "encode", None)
        if encode is None:
            raise NotImplementedError(f"{large.name!r} cannot show its tokens: use get_num_tokens_from_messages")
        return encode(text)

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return the number of the large model's tokens in a prompt, with its template and `tools`."""
        with langchain_errors():
            shown = core_messages(messages), tool_specs(tools), self.chat_template_kwargs
            return self.active_router.count_tokens(*shown) if messages else 0

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Call.of(self, messages, stop, kwargs)
        with closing(call.events(threading.Event())) as events:
            return result_of(events, call.model.model_name)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Call.of(self, messages, stop, kwargs)
        async with aclosing(stream_in_thread(call.events)) as events:
            return result_of([event async for event in events], call.model.model_name)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = Call.of(self, messages, stop, kwargs)
        reply = ReplyStream(call.model.model_name)
        with closing(call.events(threading.Event())) as events:
            for message in (message for event in events for message in reply.push(event)):
                chunk = ChatGenerationChunk(message=message)
                if run_manager:  # only if the caller does not report chunks itself
                    run_manager.on_llm_new_token(str(message.content), chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = Call.of(self, messages, stop, kwargs)
        reply = ReplyStream(call.model.model_name)
        async with aclosing(stream_in_thread(call.events)) as events:
            async for event in events:
                for message in reply.push(event):
                    chunk = ChatGenerationChunk(message=message)
                    if run_manager:
                        await run_manager.on_llm_new_token(str(message.content), chunk=chunk)
                    yield chunk

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        if stop := list(self.sampling(stop or ()).stop):
            params["ls_stop"] = stop
        return params

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        outputs = [output for output in llm_outputs if output]
        counts = [output["token_usage"] for output in outputs]
        names = {name: sum(count[name] for count in counts) for name in (counts[0] if counts else ())}
        return {"token_usage": names, "model_name": self.model_name}

    def with_options(self, given: Mapping[str, Any]) -> Self:
        """Return a copy of this model with some fields changed; None changes nothing. Raises `ConfigError`."""
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("model") in (self.model_name, self.model_name.rpartition("+")[2]):
            del given["model"]
        if not given:
            return self
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set - {"metadata"}}
        if "model" in given and (router := fields.pop("router", None)):
            fields = {**asdict(router.sampling), "small": router.small, "config": router.config, **fields}
            fields.setdefault("policy", None if self.threshold is not None else router.policy)
        if {"threshold", "policy"} & set(given):
            fields |= {"threshold": None, "policy": None}
        if "model" in given:
            fields.pop("profile", None)
        try:
            return type(self).model_validate({**fields, **given})
        except ValidationError as error:
            raise ConfigError(what_is_wrong(error, given)) from error

    @property
    def _llm_type(self) -> str:
        return "chat-glimp"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Everything that changes a reply: the key of LangChain's response caches."""
        sampling = self.sampling().over(self.router.sampling if self.router else SamplingParams())
        return {
            "model_name": self.model_name,
            "pair": self.pair.identity,
            "policy": repr(self.routing_policy()),
            "config": asdict(self.router_config()),
            "sampling": asdict(sampling),
            "chat_template_kwargs": self.chat_template_kwargs,
            "logprobs": self.logprobs,
        }

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The environment variables of the secrets."""
        return {"hf_token": "HF_TOKEN"}

    def _made_elsewhere(self) -> tuple[GlimpRouter | None, Policy | None]:
        return self.router, self.policy

    def _loading(self) -> dict[str, Any]:
        token = self.hf_token.get_secret_value() if self.hf_token else None
        own = token is not None and token != os.environ.get("HF_TOKEN")  # the core finds the one in the environment
        return super()._loading() | ({"token": token} if own else {})

    def _resolve_model_profile(self) -> ModelProfile | None:
        return profile_of(self.model_name, self.router_config(), self.max_tokens, self.pair.window)
