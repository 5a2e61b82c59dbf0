"""LlamaIndex's OpenAILike against the endpoint, held to our conformance suite for LLM classes.

    pip install --no-deps llama-index-llms-openai-like llama-index-llms-openai "openai<3"
    pytest -m slow tests/serve/test_llamaindex_openai_like.py

Without dependencies, since it asks for a transformers that Glimp cannot use, and needs none.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from llama_index.core.llms.llm import LLM
from llama_index.llms.openai_like import OpenAILike

from adapters.llamaindex_checks.hooks import QUESTION
from adapters.llamaindex_conformance import LLMConformance, Reply
from adapters.llamaindex_glimp import SlowEngine, Turns, pair
from glimp_core import GlimpRouter
from serve.conftest import Served, served
from serve.test_service import waited_for

pytestmark = pytest.mark.slow

KEPT_OPEN = "a stream is in a cycle of references: its connection is closed when garbage is collected"
USAGE = "the counts are in raw.usage of the client's own class"
OF_THE_CLIENT = {
    "test_arguments_stay_as_they_are": "structured_predict changes the caller's llm_kwargs",
    "test_calls": "the arguments of a call are its JSON",
    "test_closed_async_stream": KEPT_OPEN,
    "test_closed_stream": KEPT_OPEN,
    "test_completion_streams": "the first and the last chunk have no text",
    "test_completions_show_the_answer_alone": "each chunk of reasoning becomes one without text",
    "test_counts_agree": USAGE,
    "test_empty_replies": "the text of an empty reply is None",
    "test_failing_model": "the endpoint tells no client what an error that is not Glimp's own says",
    "test_finish_reason": "raw is the client's own class",
    "test_history_stays_as_it_is": "chat_with_tools writes into the caller's history",
    "test_images_are_refused": "the refusal is openai's BadRequestError, no ValueError",
    "test_left_async_stream": KEPT_OPEN,
    "test_load_llm": "load_llm does not know the class",
    "test_metadata": "num_output is -1",
    "test_metadata_extractors": "load_llm does not know the class",
    "test_names_come_back": "a tool is sent by one name and looked up by another",
    "test_old_reasoning_is_not_sent_back": USAGE,
    "test_one_call_at_a_time": "additional_kwargs keep the calls that allow_parallel_tool_calls=False cuts off",
    "test_payload": "the payload of a completion names no model",
    "test_program_modes[function-reply0]": "the mode is not used: the reply is read as JSON",
    "test_prompt_arguments": "a missing prompt is a TypeError",
    "test_reasoning_is_apart": "reasoning of whole replies is dropped",
    "test_reasoning_is_counted": USAGE,
    "test_replies_can_be_stored": "a reply that was written as JSON does not come back equal",
    "test_roles[chatbot]": "roles that only LlamaIndex has are sent as they are",
    "test_roles[model]": "roles that only LlamaIndex has are sent as they are",
    "test_token_counts": USAGE,
    "test_too_long_a_prompt": "the refusal is openai's BadRequestError, no ValueError",
    "test_unusual_conversations": "a cache point is refused by the client",
}
"""The checks that fail, by what of the client they fail for; the endpoint is asked rightly and answers rightly."""


class TestOpenAILike(LLMConformance):
    """Every check; those of `OF_THE_CLIENT` have to fail."""

    @pytest.fixture(autouse=True)
    def _known(self, request: pytest.FixtureRequest) -> None:
        name = request.node.name
        reason = OF_THE_CLIENT.get(name) or OF_THE_CLIENT.get(name.partition("[")[0])
        if reason:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture(autouse=True)
    def _endpoints(self) -> Iterator[None]:
        with ExitStack() as stack:
            self.endpoints = stack
            yield

    def _client(self, router: GlimpRouter) -> LLM:
        return self._at(self.endpoints.enter_context(served(router)))

    def _at(self, endpoint: Served) -> LLM:
        llm: LLM = OpenAILike(
            model="glimp",
            api_base=endpoint.v1,
            api_key="any",
            is_chat_model=True,
            is_function_calling_model=True,
            should_use_structured_outputs=True,
            context_window=4000,
            max_retries=0,
            reuse_client=False,
        )
        return llm

    def llm(self) -> LLM:
        return self._client(pair(answer="It is 4, and no more than that."))

    def scripted(self, *replies: Reply | str, thinking: str = "") -> LLM:
        return self._client(pair(answer=Turns(*replies), thinking=thinking, window=100_000))

    def slow(self) -> tuple[LLM, Callable[[], int]]:
        router = pair(SlowEngine, answer="It is four. " * 12)
        engines: Any = (router.small, router.large)
        return self._client(router), lambda: sum(engine.written for engine in engines)

    def failing(self) -> LLM:
        return self._client(pair(error=RuntimeError("boom"), error_at=3))

    def test_an_abandoned_stream_ends_when_it_is_collected(self) -> None:
        """The endpoint hears of it as soon as the client closes the connection, and the models stop."""
        router = pair(SlowEngine, answer="It is four. " * 500)
        endpoint = self.endpoints.enter_context(served(router))
        engines: Any = (router.small, router.large)
        stream = self._at(endpoint).stream_chat(QUESTION)
        next(stream)
        stream.close()
        gc.collect()
        assert waited_for(lambda: endpoint.endpoint.queue.running == 0)
        assert sum(engine.written for engine in engines) < 3000
