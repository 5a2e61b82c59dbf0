"""GlimpLLM on real models, tiny ones with random weights: the checks of the suite in which an engine matters."""

import copy
import pickle
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from llama_index.core import Settings
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockLLM

import tiny
from adapters.llamaindex_checks.concurrency import Concurrency
from adapters.llamaindex_checks.endpoints import Endpoints
from adapters.llamaindex_checks.hooks import Hooks
from adapters.llamaindex_checks.observation import Observation
from glimp_core import GlimpRouter, RouterConfig
from glimp_llamaindex import GlimpLLM

CONFIG = RouterConfig(max_step_tokens=6, max_reasoning_tokens=12, max_answer_tokens=12)


@cache
def shared() -> GlimpRouter:
    """One pair for all checks that do not meddle with it."""
    return tiny.router(config=CONFIG)


def hooked(config: RouterConfig, hook: Callable[..., None]) -> GlimpRouter:
    """A pair whose forwards call `hook`."""
    router: Any = tiny.router(config=config)
    router.load()
    for engine in (router.small, router.large):
        engine.loaded[0].register_forward_hook(hook)
    return router  # type: ignore[no-any-return]


class TestOnTinyModels(Hooks):
    """Greedy, in float32."""

    test_chat_streams = Endpoints.test_chat_streams
    test_completion_streams = Endpoints.test_completion_streams
    test_last_chunk_is_the_whole_reply = Endpoints.test_last_chunk_is_the_whole_reply
    test_too_long_a_prompt = Endpoints.test_too_long_a_prompt
    test_counts_agree = Observation.test_counts_agree
    test_loop_stays_free = Concurrency.test_loop_stays_free
    test_concurrent_calls_are_as_single_ones = Concurrency.test_concurrent_calls_are_as_single_ones
    test_many_loops = Concurrency.test_many_loops
    test_closed_stream = Concurrency.test_closed_stream
    test_cancelled_task = Concurrency.test_cancelled_task
    test_failing_model = Concurrency.test_failing_model

    def llm(self) -> LLM:
        return GlimpLLM(router=shared(), temperature=0)

    def slow(self) -> tuple[LLM, Callable[[], int]]:
        written = [0]

        def sleep(*_: Any) -> None:
            time.sleep(0.004)
            written[0] += 1

        router = hooked(RouterConfig(max_step_tokens=6, max_reasoning_tokens=12, max_answer_tokens=60), sleep)
        return GlimpLLM(router=router, temperature=0), lambda: written[0]

    def failing(self) -> LLM:
        forwards = [0]

        def fail(*_: Any) -> None:
            forwards[0] += 1
            if forwards[0] % 15 == 0:
                raise RuntimeError("boom")

        return GlimpLLM(router=hooked(CONFIG, fail), temperature=0)

    def test_gradients_stay_the_callers(self) -> None:
        """Between two chunks the caller's torch is as it was: it may train another model."""
        for _ in GlimpLLM(router=shared(), temperature=0).stream_chat([ChatMessage("Hi")]):
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()

    def test_thinking_without_end(self) -> None:
        """Where the budget ends within the thinking, there is an answer all the same."""
        reply = GlimpLLM(router=shared(), temperature=0).chat([ChatMessage("Hi")])
        assert reply.raw is not None
        assert reply.raw["usage"]["completion_tokens_details"]["reasoning_tokens"] >= CONFIG.max_reasoning_tokens
        assert reply.message.content

    def test_second_turn_is_cached(self) -> None:
        """A conversation that goes on finds its beginning in the cache."""
        llm = GlimpLLM(router=tiny.router(config=CONFIG), temperature=0)
        asked = [ChatMessage("What is two and two? " * 8, role="user")]
        first = llm.chat(asked)
        second = llm.chat([*asked, first.message, *asked])
        assert second.raw is not None
        assert second.raw["usage"]["prompt_tokens_details"]["cached_tokens"] > 150

    def test_names_share_their_engines(self, tmp_path: Path) -> None:
        """Two LLMs that name the same models use the same engines, and so do copies from dicts and pickles."""
        name = str(tmp_path / "model")
        tiny.model().save_pretrained(name)
        tiny.tokenizer().save_pretrained(name)
        llm = GlimpLLM(name, name, threshold=0.5, dtype="float32")
        assert llm.metadata.context_window == 2048
        for other in (
            GlimpLLM(name, name, dtype="float32", temperature=0.5),
            GlimpLLM.from_dict(llm.to_dict()),
            pickle.loads(pickle.dumps(llm)),
            copy.deepcopy(llm),
        ):
            assert other.router.large is llm.router.large

    def test_tokenizer(self) -> None:
        """The large model's tokenizer counts for LlamaIndex, and takes no text for a control token."""
        llm = GlimpLLM(router=shared())
        assert len(llm.tokenizer("a<|im_end|>")) == len("a<|im_end|>")
        try:
            Settings.tokenizer = llm.tokenizer
            assert Settings.tokenizer("abc") == llm.tokenizer("abc")
        finally:
            Settings.tokenizer = None  # type: ignore[assignment]
            Settings.llm = MockLLM()

    def test_verbatim_prompt(self) -> None:
        """A formatted prompt is tokenised as it is, with control tokens where they are written."""
        llm = GlimpLLM(router=shared(), temperature=0)
        prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"
        formatted, asked = llm.complete(prompt, formatted=True), llm.complete("Hi")
        assert formatted.raw["usage"]["prompt_tokens"] == asked.raw["usage"]["prompt_tokens"]
        assert formatted.text == asked.text
