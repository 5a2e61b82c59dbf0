"""Every way out of a call stops the models within a token and leaves nothing locked; errors reach the caller."""

import asyncio
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from langchain_core import exceptions
from langchain_core.runnables import Runnable, RunnableLambda

import glimp_core
from adapters.good_model import PAUSE, Endless
from glimp_core import GlimpRouter
from glimp_core.testing import ScriptedEngine
from glimp_langchain import ChatGlimp


@pytest.fixture
def engine() -> Iterator[Endless]:
    """An endless engine, which must have stopped when the test is over, and be free for the next request."""
    engine = Endless()
    yield engine
    settle(engine)


def settle(engine: Endless) -> None:
    """Check that the engine has stopped: no call is open and no token is added."""
    assert engine.written
    deadline = time.monotonic() + 2
    while engine.running and time.monotonic() < deadline:
        time.sleep(PAUSE)
    assert engine.running == 0
    written = engine.written
    time.sleep(10 * PAUSE)
    assert engine.written == written


def model(engine: Endless, **options: Any) -> ChatGlimp:
    return ChatGlimp(router=GlimpRouter(engine, engine), **options)


async def started(engine: Endless) -> None:
    """Wait until some tokens are written."""
    while engine.written < 5:
        await asyncio.sleep(PAUSE)


async def consume(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


CALLS: dict[str, Callable[[Runnable[Any, Any]], Coroutine[Any, Any, Any]]] = {
    "ainvoke": lambda llm: llm.ainvoke("Hello"),
    "astream": lambda llm: consume(llm.astream("Hello")),
    "v2": lambda llm: consume(llm.astream_events("Hello", version="v2")),
    "abatch": lambda llm: llm.abatch(["Hello", "Goodbye"]),
    "chain": lambda llm: (RunnableLambda(lambda x: x) | llm).ainvoke("Hello"),
}


@pytest.mark.parametrize("way", CALLS)
async def test_cancelling_a_task_stops_the_models(engine: Endless, way: str) -> None:
    """A cancelled task stops the models at once, whatever it awaited."""
    task = asyncio.create_task(CALLS[way](model(engine)))
    await started(engine)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    written = engine.written
    await asyncio.sleep(5 * PAUSE)
    assert engine.written <= written + 2 * 2  # a token a request may have been on its way


@pytest.mark.parametrize("way", CALLS)
async def test_a_timeout_of_asyncio_stops_the_models(engine: Endless, way: str) -> None:
    """`asyncio.wait_for` ends the models with the wait."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(CALLS[way](model(engine)), 0.05)


async def test_leaving_an_async_stream_stops_the_models(engine: Endless) -> None:
    """`break` and `aclose` end an async stream and the models with it."""
    async for _ in model(engine).astream("Hello"):
        break
    gc.collect()
    await asyncio.sleep(5 * PAUSE)
    assert engine.running == 0
    stream = model(engine).astream("Hello")
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_closing_protocol_events_stops_the_models(engine: Endless) -> None:
    """`aclose` of a v3 stream ends the models."""
    stream = await model(engine).astream_events("Hello", version="v3")
    iterator = aiter(stream)
    await anext(iterator)
    await stream.aclose()


def test_leaving_a_stream_stops_the_models(engine: Endless) -> None:
    """`break` and `close` end a stream and the models with it; so does dropping a v3 stream."""
    for _ in model(engine).stream("Hello"):
        break
    assert engine.running == 0
    stream = model(engine).stream("Hello")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.running == 0
    events = iter(model(engine).stream_events("Hello", version="v3"))
    next(events)
    del events
    gc.collect()


def test_an_interrupt_from_the_keyboard_stops_the_models(engine: Endless) -> None:
    """Ctrl-C ends `invoke` and the models."""
    timer = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model(engine).invoke("Hello")
    assert engine.running == 0


@pytest.mark.parametrize("call", [lambda llm: llm.invoke("Hello"), lambda llm: list(llm.stream("Hello"))])
def test_time_over_is_langchains_error(engine: Endless, call: Any) -> None:
    """`timeout` ends a call with an error that retry middleware knows, and Glimp's callers too."""
    with pytest.raises(exceptions.ModelTimeoutError, match=r"timeout=0\.05") as error:
        call(model(engine, timeout=0.05))
    assert isinstance(error.value, glimp_core.EngineTimeoutError)
    assert error.value.is_retryable


async def test_time_over_is_langchains_error_in_async(engine: Endless) -> None:
    """`timeout` ends an async call the same way, and one call may have its own."""
    with pytest.raises(exceptions.ModelTimeoutError):
        await model(engine).ainvoke("Hello", timeout=0.05)


ERRORS = [
    (glimp_core.ContextOverflowError, exceptions.ContextOverflowError, False),
    (glimp_core.EngineTimeoutError, exceptions.ModelTimeoutError, True),
    (glimp_core.RemoteEngineError, exceptions.ModelAPIError, True),
    (glimp_core.EngineError, exceptions.ModelError, False),
    (glimp_core.ModelLoadError, exceptions.ModelNotFoundError, False),
    (glimp_core.UnsupportedSchemaError, exceptions.ModelInvalidRequestError, False),
    (glimp_core.ConfigError, exceptions.ModelInvalidRequestError, False),
]


@pytest.mark.parametrize(("ours", "theirs", "retryable"), ERRORS)
async def test_errors_of_the_engine_reach_the_caller(ours: Any, theirs: Any, retryable: bool) -> None:
    """An error in the worker is raised in the caller, as Glimp's type and LangChain's at once, on every path."""
    llm = ChatGlimp(router=GlimpRouter(ScriptedEngine(["a\n\n"], error=ours("it broke")), ScriptedEngine()))
    calls = [lambda: llm.ainvoke("Hello"), lambda: consume(llm.astream("Hello"))]
    caught = []
    for call in calls:
        with pytest.raises(theirs, match="it broke") as error:
            await call()
        caught.append(error.value)
    for sync in (lambda: llm.invoke("Hello"), lambda: list(llm.stream("Hello"))):
        with pytest.raises(theirs, match="it broke") as error:
            sync()
        caught.append(error.value)
    assert all(isinstance(error, ours) and error.is_retryable is retryable for error in caught)


def test_a_prompt_that_is_too_long_is_langchains_overflow() -> None:
    """A prompt beyond the window is LangChain's ContextOverflowError, before any model runs."""
    engine = ScriptedEngine(window=100)
    with pytest.raises(exceptions.ContextOverflowError, match="window 100"):
        ChatGlimp(router=GlimpRouter(engine, engine)).invoke("x" * 100)
    assert not engine.history
