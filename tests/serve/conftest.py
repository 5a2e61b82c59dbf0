"""Endpoints on loopback, each in a thread of this process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import httpx
import pytest

from adapters.good_model import good_router
from glimp_core import GlimpRouter
from glimp_core.serve import ServedPair, ServiceSettings, application
from glimp_core.serve.application import Endpoint
from glimp_core.serve.listening import DrainingServer, listen


def is_installed(package: str) -> bool:
    """Whether a client of the endpoint is there to be tried."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


CLIENTS = {"langchain_openai": "test_langchain_openai.py", "litellm": "test_litellm.py"}
CLIENTS["llama_index.llms.openai_like"] = "test_llamaindex_openai_like.py"
collect_ignore = [file for client, file in CLIENTS.items() if not is_installed(client)]

Serving = Callable[..., AbstractContextManager["Served"]]


@dataclass
class Served:
    """An endpoint that is up: where, and what is behind it."""

    url: str
    endpoint: Endpoint
    server: DrainingServer

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"

    def post(self, timeout: float = 30, **body: Any) -> httpx.Response:
        """Ask for a chat completion."""
        asked = {"model": "glimp", "messages": [{"role": "user", "content": "Hello"}], **body}
        return httpx.post(f"{self.v1}/chat/completions", json=asked, timeout=timeout)


@contextmanager
def served(*routers: GlimpRouter, settings: ServiceSettings | None = None, **named: GlimpRouter) -> Iterator[Served]:
    """Serve routers: one as "glimp", others by their names."""
    import uvicorn

    pairs = [ServedPair("glimp", router) for router in routers] + [ServedPair(*pair) for pair in named.items()]
    app = application(pairs, settings)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = DrainingServer(config, app.state.endpoint)
    with listen("127.0.0.1", 0) as sock:
        thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield Served(f"http://127.0.0.1:{sock.getsockname()[1]}", app.state.endpoint, server)
        finally:
            server.should_exit = True
            thread.join(timeout=15)
    assert not thread.is_alive()


@pytest.fixture
def serving() -> Serving:
    """What serves routers for a while."""
    return served


@pytest.fixture(scope="module")
def good() -> Iterator[Served]:
    """A pair that replies like a good model."""
    with served(good_router()) as endpoint:
        yield endpoint
