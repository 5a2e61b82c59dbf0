"""What observers see of a call: one pair of events, all of it JSON, the right counts of tokens."""

import json
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM

from adapters.llamaindex_checks.hooks import QUESTION, Hooks, Recorder, read, recorded, usage

ENDPOINTS = (
    "chat",
    "complete",
    "stream_chat",
    "stream_complete",
    "achat",
    "acomplete",
    "astream_chat",
    "astream_complete",
)


async def call(llm: LLM, endpoint: str) -> Any:
    """Call an endpoint to its end; returns the response, of a stream the last one."""
    asked = QUESTION if "chat" in endpoint else "What is two and two?"
    result = getattr(llm, endpoint)(asked)
    if endpoint.startswith("a"):
        result = await result
    return (await read(result)).last if "stream" in endpoint else result


class Observation(Hooks):
    """Checks with LlamaIndex's own instrumentation listening."""

    async def _observed(self, llm: LLM, endpoint: str) -> Recorder:
        with recorded() as recorder:
            await call(llm, endpoint)
        return recorder

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    async def test_events(self, endpoint: str) -> None:
        """One call is one pair of events, of the types that LlamaIndex's own mock sends."""
        oracle = "chat" if endpoint == "achat" else endpoint  # the mock's achat calls its chat, and is counted twice
        expected = await self._observed(MockFunctionCallingLLM(is_chat_model=True), oracle)
        assert (await self._observed(self.llm(), endpoint)).names == expected.names

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    async def test_events_are_json(self, endpoint: str) -> None:
        """Every event can be written as JSON: exporters do."""
        assert (await self._observed(self.llm(), endpoint)).unwritable == []

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    async def test_token_counts(self, endpoint: str) -> None:
        """TokenCountingHandler counts one call, with the numbers of raw['usage']."""
        llm, counter = self.llm(), TokenCountingHandler()
        llm.callback_manager = CallbackManager([counter])
        counts = usage(await call(llm, endpoint))
        assert len(counter.llm_token_counts) == 1
        assert counter.prompt_llm_token_count == counts["prompt_tokens"] > 0
        assert counter.completion_llm_token_count == counts["completion_tokens"] > 0
        assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]

    async def test_counts_agree(self) -> None:
        """All endpoints count the same tokens for the same question."""
        llm = self.llm()
        counts = [usage(await call(llm, endpoint)) for endpoint in ENDPOINTS]
        assert all(count["completion_tokens"] == counts[0]["completion_tokens"] for count in counts)
        assert all(count["prompt_tokens"] == counts[0]["prompt_tokens"] for count in counts)

    async def test_finish_reason(self) -> None:
        """The raw response says why the reply ended."""
        assert (await call(self.llm(), "chat")).raw["finish_reason"] in ("stop", "length")

    async def test_payload(self) -> None:
        """The payload of start events is JSON, and names the model and the temperature."""
        llm = self.llm()
        payload = json.loads(json.dumps(llm.to_payload()))
        assert payload["class_name"] == llm.class_name()
        assert payload["model"] == llm.metadata.model_name
        assert "temperature" in payload

    async def test_metadata(self) -> None:
        """The metadata leaves room for a prompt."""
        metadata = self.llm().metadata
        assert 0 < metadata.num_output < metadata.context_window
        assert metadata.model_name != "unknown"
