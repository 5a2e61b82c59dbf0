"""Whoever stops waiting stops the server: streams are closed at once, from threads and from async code."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage

from glimp_core import AlwaysLarge, AlwaysSmall, Cancelled, Delta, GlimpRouter, RouterConfig
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM
from remote.kit import pair, script
from remote.scripts import Served, Trouble
from remote.served import ScriptedServer

LONG = script(("slow " * 300 + "\n\n",))
CONFIG = RouterConfig(entropy="top20", max_step_tokens=2000)


@pytest.fixture
def servers() -> Iterator[tuple[Served, Served]]:
    """Two that would take half a minute each."""
    with ScriptedServer(LONG, pace=0.02) as small, ScriptedServer(LONG, pace=0.02) as large:
        yield small, large


def _router(servers: tuple[Served, Served], policy: Any = None) -> GlimpRouter:
    router = pair(*servers, policy or AlwaysSmall(), CONFIG)
    router.load()
    return router


def _until(condition: Any, seconds: float = 3) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "in time"
        time.sleep(0.005)


@pytest.mark.parametrize("wait", ["thread", "consumer"])
def test_cancelling_closes_the_stream_at_once(servers: tuple[Served, Served], wait: str) -> None:
    """Setting `cancelled`, from any thread and also while nobody reads, ends the request and frees the server."""
    small, _ = servers
    cancelled = threading.Event()
    events = _router(servers).stream("?", cancelled=cancelled)
    for _, event in zip(range(5), events, strict=False):
        assert event
    assert small.running == 1
    threading.Timer(0.05, cancelled.set).start()
    if wait == "thread":
        with pytest.raises(Cancelled):
            list(events)
    _until(lambda: small.running == 0)
    assert small.closed_by_client >= 1


def test_leaving_a_stream_closes_it(servers: tuple[Served, Served]) -> None:
    """Whoever stops reading stops the server."""
    with closing(_router(servers).stream("?")) as events:
        for event in events:
            if isinstance(event, Delta):
                break
    assert servers[0].running == 1
    _until(lambda: servers[0].running == 0)


@pytest.mark.parametrize("trouble", [Trouble("stall"), Trouble("status", status=429, retry_after="30")])
@pytest.mark.parametrize("policy", [AlwaysSmall(), AlwaysLarge()])
def test_cancelling_while_a_server_keeps_us_waiting(
    servers: tuple[Served, Served], trouble: Trouble, policy: Any
) -> None:
    """Nobody waits for a first token, or for a pause that a server asked for, once the request is cancelled."""
    router, cancelled = _router(servers, policy), threading.Event()
    servers[isinstance(policy, AlwaysLarge)].troubles = [trouble]
    threading.Timer(0.3, cancelled.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        list(router.stream("?", cancelled=cancelled))
    assert time.monotonic() - started < 10
    _until(lambda: not any(served.running for served in servers))


async def _langchain_stream(router: GlimpRouter) -> None:
    async for chunk in ChatGlimp(router=router).astream([HumanMessage("?")]):
        if chunk.additional_kwargs.get("reasoning_content"):
            break


async def _langchain_task(router: GlimpRouter) -> None:
    await asyncio.wait_for(ChatGlimp(router=router).ainvoke([HumanMessage("?")]), 0.5)


async def _llamaindex_stream(router: GlimpRouter) -> None:
    async for _ in await GlimpLLM(router=router).astream_chat([ChatMessage("?")]):
        break


async def _llamaindex_task(router: GlimpRouter) -> None:
    await asyncio.wait_for(GlimpLLM(router=router).achat([ChatMessage("?")]), 0.5)


WAYS = [_langchain_stream, _langchain_task, _llamaindex_stream, _llamaindex_task]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", [AlwaysSmall(), AlwaysLarge()])
async def test_async_callers_close_streams(servers: tuple[Served, Served], way: Any, policy: Any) -> None:
    """A stream that is left and a task that is cancelled free the servers in a moment, behind both adapters."""
    router = _router(servers, policy)
    with suppress(asyncio.TimeoutError):
        await way(router)
    await asyncio.to_thread(_until, lambda: not any(served.running for served in servers))
    assert sum(served.closed_by_client for served in servers) >= 1
    assert all(served.written < 200 for served in servers), "of 1500 tokens"
