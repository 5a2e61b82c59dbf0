"""The endpoint as a process: it listens, says so, and ends its replies before it ends."""

import asyncio
import logging
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import uvicorn

from glimp_core.errors import ConfigError
from glimp_core.serve.application import LAST_WORDS_SECONDS, Endpoint, application
from glimp_core.serve.catalogue import ServedPair
from glimp_core.serve.service_settings import ServiceSettings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DrainingServer(uvicorn.Server):
    """Lets running replies go on for a while when it is told to end, and ends where no pair can be loaded."""

    def __init__(self, config: uvicorn.Config, endpoint: Endpoint):
        super().__init__(config)
        self._endpoint = endpoint

    async def on_tick(self, counter: int) -> bool:
        """Say whether to end: asked ten times a second."""
        hopeless = all(pair.error and not pair.loaded for pair in self._endpoint.catalogue.pairs)
        return hopeless or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, and end the running replies when their time is over."""
        seconds, stop = self._endpoint.settings.drain_seconds, self._endpoint.running.stop
        timer = asyncio.get_running_loop().call_later(seconds, stop)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises `ConfigError` if that cannot be."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}") from error


def run_endpoint(pairs: Iterable[ServedPair], settings: ServiceSettings, listening: socket.socket) -> None:
    """Serve until the process is told to end. Raises the error of a pair where none could be loaded."""
    app = application(pairs, settings)
    endpoint: Endpoint = app.state.endpoint
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=round(settings.drain_seconds) + 2 * LAST_WORDS_SECONDS,
    )
    DrainingServer(config, endpoint).run([listening])
    errors = [pair.error for pair in endpoint.catalogue.pairs if pair.error and not pair.loaded]
    if errors and len(errors) == len(endpoint.catalogue.pairs):
        raise errors[0]


@contextmanager
def logged_to_stderr() -> Iterator[None]:
    """Have the lines of the access log, and what goes wrong, on stderr for a while."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (("glimp", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for name in ("glimp", "uvicorn"):
            logger = logging.getLogger(name)
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
            logger.propagate = True


def hosts_for(host: str, more: Iterable[str]) -> tuple[str, ...]:
    """Return which `Host` headers are answered: on loopback its names alone, so that no web page can lead others here.

    A page of the web whose name is made to point at this machine would otherwise be let in by the browser.
    """
    given = tuple(more)
    if host in LOOPBACK:
        return (*LOOPBACK, "[::1]", *given)
    return given
