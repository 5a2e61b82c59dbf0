"""GlimpLLMs over scripted models, as the conformance suite asks for them."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from llama_index.core.llms.llm import LLM

from adapters.llamaindex_checks.hooks import Hooks, Reply
from glimp_core import Context, GlimpRouter, Request, ToolCall
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams
from glimp_llamaindex import GlimpLLM


class Turns:
    """Scripted replies, one a request; repeated when they run out."""

    def __init__(self, *replies: Reply | str):
        self._turns = itertools.chain(replies, itertools.repeat(replies[-1]))
        self._ids = itertools.count()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> str | list[ToolCall]:
        with self._lock:
            reply = next(self._turns)
            if isinstance(reply, Reply) and reply.calls:
                return [ToolCall(f"call{next(self._ids):05}", *call) for call in reply.calls]
            return reply.text if isinstance(reply, Reply) else reply


class SlowEngine(ScriptedEngine):
    """Writes a token every four milliseconds, and counts them."""

    written = 0

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        for chunk in super().generate(context, params):
            time.sleep(0.004)
            self.written += 1
            yield chunk


def pair(kind: type[ScriptedEngine] = ScriptedEngine, thinking: str = "", **script: Any) -> GlimpRouter:
    """A router over two scripted models; the large one writes every second step."""
    steps = [part + "\n\n" for part in thinking.split("\n\n")]
    steps = [*steps[:-1], thinking.split("\n\n")[-1] + "</think>"] if thinking else []
    script = {"steps": steps, "entropies": [0.1, 2.0], "window": 4000, **script}
    return GlimpRouter(kind(**script), kind(**script))


class GlimpHooks(Hooks):
    """The hooks for GlimpLLM, or for a class made of it."""

    llm_class: type[GlimpLLM] = GlimpLLM

    def llm(self) -> LLM:
        return self.llm_class(router=pair(answer="It is 4, and no more than that."))

    def scripted(self, *replies: Reply | str, thinking: str = "") -> LLM:
        return self.llm_class(router=pair(answer=Turns(*replies), thinking=thinking, window=100_000))

    def slow(self) -> tuple[LLM, Callable[[], int]]:
        router = pair(SlowEngine, answer="It is four. " * 12)
        small, large = router.small, router.large
        assert isinstance(small, SlowEngine)
        assert isinstance(large, SlowEngine)
        return self.llm_class(router=router), lambda: small.written + large.written

    def failing(self) -> LLM:
        return self.llm_class(router=pair(error=RuntimeError("boom"), error_at=3))

    def weights(self, llm: LLM) -> Any:
        assert isinstance(llm, GlimpLLM)
        return llm.router


class Asked:
    """An answer that remembers what was asked."""

    def __init__(self, answer: Any = "It is 4."):
        self.answer = answer
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Any:
        self.requests.append(request)
        return self.answer

    @property
    def last(self) -> Request:
        return self.requests[-1]


def asked(answer: Any = "It is 4.", thinking: str = "One.\n\nTwo.", **options: Any) -> tuple[GlimpLLM, Asked]:
    """A GlimpLLM and what it asks its models."""
    script = Asked(answer)
    return GlimpLLM(router=pair(answer=script, thinking=thinking, window=100_000), **options), script
