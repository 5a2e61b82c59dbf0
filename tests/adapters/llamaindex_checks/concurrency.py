"""Many calls at once, many loops, calls that are given up, models that fail."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode

from adapters.llamaindex_checks.hooks import QUESTION, Hooks

TICK = 0.005


async def ticks_during(work: Any) -> tuple[int, float]:
    """How often the loop came round while something was awaited, and the seconds it took."""
    count = 0

    async def tick() -> None:
        nonlocal count
        while True:
            await asyncio.sleep(TICK)
            count += 1

    ticker, started = asyncio.create_task(tick()), time.perf_counter()
    try:
        await work
    finally:
        ticker.cancel()
    return count, time.perf_counter() - started


def within(seconds: float, work: Callable[[], Any]) -> BaseException | None:
    """Run something in a thread; returns what it raised. Fails where it has not come back in time."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"still waiting after {seconds} s"
    return raised[0] if raised else None


def settled(written: Callable[[], int], within_tokens: int = 3) -> None:
    """Check that a model stops: a token may be under way, and then there are no more."""
    before = written()
    time.sleep(0.15)
    assert written() - before <= within_tokens, "the model goes on writing for nobody"
    after = written()
    time.sleep(0.1)
    assert written() == after, "the model goes on writing for nobody"


class Concurrency(Hooks):
    """Checks that need a slow LLM."""

    async def test_loop_stays_free(self) -> None:
        """Four calls at once leave the event loop running."""
        llm, _ = self.slow()
        llm.chat(QUESTION)
        count, seconds = await ticks_during(asyncio.gather(*(llm.achat(QUESTION) for _ in range(4))))
        assert count >= 0.1 * seconds / TICK, f"{count} ticks in {seconds:.2f} s"

    async def test_loop_stays_free_while_streaming(self) -> None:
        """The same for streams."""
        llm, _ = self.slow()

        async def stream() -> None:
            async for _ in await llm.astream_chat(QUESTION):
                pass

        count, seconds = await ticks_during(stream())
        assert count >= 0.1 * seconds / TICK, f"{count} ticks in {seconds:.2f} s"

    async def test_concurrent_calls_are_as_single_ones(self) -> None:
        """Four calls at once say what each says alone."""
        llm = self.llm()
        asked = [[ChatMessage(f"What is two and {n}?", role="user")] for n in range(4)]
        alone = [llm.chat(messages).message.content for messages in asked]
        together = await asyncio.gather(*(llm.achat(messages) for messages in asked))
        assert [response.message.content for response in together] == alone

    def test_many_loops(self) -> None:
        """One LLM serves loops one after another, and in several threads: extractors make a loop a call."""
        llm = self.llm()

        async def some() -> list[str | None]:
            responses = await asyncio.gather(*(llm.achat(QUESTION) for _ in range(3)))
            return [response.message.content for response in responses]

        expected = [llm.chat(QUESTION).message.content] * 3
        assert asyncio.run(some()) == asyncio.run(some()) == expected
        results: list[Any] = []
        threads = [threading.Thread(target=lambda: results.append(asyncio.run(some()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [expected] * 3

    def test_extractor_twice(self) -> None:
        """An extractor that makes a new loop for every call can be called twice."""
        extractor = SimpleLLMPathExtractor(llm=self.llm(), num_workers=4)
        nodes = [TextNode(text=f"Ann knows {name}.") for name in ("Bo", "Cy", "Di", "Ed", "Fy")]
        for _ in range(2):
            assert len(extractor(nodes)) == 5

    def test_nothing_runs_before_it_is_asked_for(self) -> None:
        """A stream that nobody reads costs nothing: LlamaIndex makes one and drops it where it has an output parser."""
        llm, written = self.slow()
        llm.stream_chat(QUESTION)
        llm.stream(PromptTemplate("Two and two?"))
        time.sleep(0.1)
        assert written() == 0

    def test_closed_stream(self) -> None:
        """Closing a stream stops the model, and the next call is served at once."""
        llm, written = self.slow()
        stream = llm.stream_chat(QUESTION)
        next(stream)
        stream.close()
        settled(written)

    def test_dropped_stream(self) -> None:
        """So does forgetting it."""
        llm, written = self.slow()
        stream = llm.stream_complete("What is two and two?")
        next(stream)
        del stream
        gc.collect()
        settled(written)

    async def test_cancelled_task(self) -> None:
        """Cancelling the task of a call stops the model."""
        llm, written = self.slow()
        task = asyncio.create_task(llm.achat(QUESTION))
        while not written():
            await asyncio.sleep(TICK)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(settled, written)

    async def test_left_async_stream(self) -> None:
        """Leaving an async stream stops the model."""
        llm, written = self.slow()
        async for _ in await llm.astream_chat(QUESTION):
            break
        gc.collect()
        await asyncio.sleep(TICK)
        await asyncio.to_thread(settled, written)

    async def test_closed_async_stream(self) -> None:
        """So does closing it."""
        llm, written = self.slow()
        stream: Any = await llm.astream_chat(QUESTION)
        await anext(stream)
        await stream.aclose()
        await asyncio.sleep(TICK)
        await asyncio.to_thread(settled, written)

    def test_failing_model(self) -> None:
        """A model's error reaches the caller, in whole replies and in streams; nothing waits for ever."""
        llm = self.failing()

        async def astream() -> None:
            async for _ in await llm.astream_chat(QUESTION):
                pass

        for work in (
            lambda: llm.chat(QUESTION),
            lambda: list(llm.stream_chat(QUESTION)),
            lambda: asyncio.run(llm.achat(QUESTION)),
            lambda: asyncio.run(astream()),
        ):
            assert "boom" in str(within(3, work))
