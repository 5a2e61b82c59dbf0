"""LlamaIndex's OpenAILike against the endpoint, held to our conformance suite for LLM classes.

    pip install --no-deps llama-index-llms-openai-like llama-index-llms-openai "openai<3"
    pytest -m slow tests/serve/test_llamaindex_openai_like.py

Without dependencies, since it asks for a transformers that Glimp cannot use, and needs none.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from llama_index.core.llms.llm import LLM
from llama_index.llms.openai_like import OpenAILike

from adapters.llamaindex_conformance import LLMConformance, Reply
from adapters.llamaindex_glimp import SlowEngine, Turns, pair
from glimp_core import GlimpRouter
from serve.conftest import Served, served

pytestmark = pytest.mark.slow


class TestOpenAILike(LLMConformance):
    """Every check. What fails is the client's own, and is marked below."""

    @pytest.fixture(autouse=True)
    def _endpoints(self) -> Iterator[None]:
        with ExitStack() as stack:
            self.endpoints = stack
            yield

    def _client(self, router: GlimpRouter) -> LLM:
        endpoint: Served = self.endpoints.enter_context(served(router))
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
