"""ChatGlimp: a small and a large local model as one LangChain chat model."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from glimp_core.aio import stream_in_thread
from glimp_langchain._calls import Call
from glimp_langchain._errors import langchain_errors
from glimp_langchain._messages import core_messages
from glimp_langchain._replies import PROVIDER, ReplyStream, result_of
from glimp_langchain._settings import GlimpSettings
from glimp_langchain._structured import Method, structured
from glimp_langchain._tools import tool_specs


class ChatGlimp(GlimpSettings):
    """A small and a large local model that share one chain of thought, as one chat model.

    Setup:
        `pip install "glimp[langchain]"`. The models are open ones; no key and no server are needed. Weights load at the
        first call, once in a process: whoever names the same models shares them (`glimp_core.pair.release()` lets go).

    Completion params:
        - `temperature`, `top_p`, `top_k`, `seed`: how tokens are drawn; unset, as the models' generation_config says.
        - `max_tokens`: bounds the answer. `max_reasoning_tokens` bounds the thinking. Neither takes the other's room.
        - `stop`: strings that end the answer, added to those of a call; the thinking is not searched for them.
        - `reasoning`: "auto" (also True), "inline" (routes the visible reply) or "off" (also False).
        - `threshold`: the entropy in nats above which the large model writes a step (default 1.0); or a whole `policy`.
        - `chat_template_kwargs`: what the models' templates take, for example `{"preserve_thinking": True}`.
        - `step_events`: whether the run around the model gets each decision as a custom event, "glimp_step".
        - `timeout`: seconds a call may take. `max_retries` is accepted and has no effect: nothing is sent anywhere.

    Client params:
        - `small`, `large`: a Hugging Face id, a folder, a `.gguf` file, a loaded `(model, tokenizer)` or an engine; or
          a `router` made of them; or both as `model="small+large"`.
        - `dtype`, `device`, `device_map`, `quantization_config`, `attn_implementation`, `revision`: how they load.
        - `max_batch`, `max_cached_tokens`, `prepacked`: how they serve.
        - `config`: a `RouterConfig`. `api_key` (or `hf_token`): a token of the hub, else HF_TOKEN.

    All but the client params may also be given in a call, and `model=` too: the large model of that call.

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
        Thinking is included, and also counted apart.

        ```python
        llm.invoke("Hello").usage_metadata
        ```

    Logprobs:
        Of the answer's tokens, if a local model writes the answer alone.

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
        Live on the first chunk of each step, and complete on the message.

        ```python
        message.additional_kwargs["glimp"]["steps"]  # [{"step": 0, "model": "small", "entropy": 0.1, ...}, ...]
        message.response_metadata["glimp"]  # {"steps": 4, "interventions": 1, "switches": 2, "large_tokens": 7, ...}
        ```
    """

    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | Mapping[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to the model: functions, `BaseTool`s, Pydantic or TypedDict classes, or schemas.

        `tool_choice` is None or "auto" (the model decides), "any", "required" or True (it must call one), "none", or
        a tool's name. A call that must be made is one call, unless `parallel_tool_calls=True`. Other arguments,
        `response_format` among them, are bound as they are.
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
        """Make the model answer in a schema: a Pydantic (v2 or v1) or TypedDict class, a JSON schema or a function.

        The model thinks freely; a grammar then holds the answer to the schema, by every `method`: "json_schema" as
        the text of the answer, "function_calling" as a forced tool call, "json_mode" as JSON (of any kind, without
        a schema). Returns instances of a Pydantic class, else dicts; with `include_raw` a dict of `raw`, `parsed`
        and `parsing_error`. Other arguments are bound as they are.
        """
        return structured(self, schema, method, include_raw, strict, kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text in the large model's tokens, without a template."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        large = self._router().large
        encode: Callable[[str], list[int]] | None = getattr(large, "encode", None)
        if encode is None:
            raise NotImplementedError(f"{large.name!r} cannot show its tokens: use get_num_tokens_from_messages")
        return encode(text)

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Count the tokens of a prompt by the large model's own template, `tools` included."""
        with langchain_errors():
            shown = core_messages(messages), tool_specs(tools), self.chat_template_kwargs
            return self._router().count_tokens(*shown) if messages else 0

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
                if run_manager:  # only where the caller does not report chunks itself
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
        if stop := list(self._sampling(stop).stop):
            params["ls_stop"] = stop
        return params

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        outputs = [output for output in llm_outputs if output]
        counts = [output["token_usage"] for output in outputs]
        names = {name: sum(count[name] for count in counts) for name in (counts[0] if counts else ())}
        return {"token_usage": names, "model_name": self.model_name}
