"""The endpoint as a process: its socket, its shutdown, and its log on stderr."""

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
    """A server that finishes running replies when it shuts down, and that stops if no pair can be loaded."""

    def __init__(self, config: uvicorn.Config, endpoint: Endpoint):
        super().__init__(config)
        self._endpoint = endpoint

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; uvicorn calls this ten times a second."""
        hopeless = all(pair.error and not pair.loaded for pair in self._endpoint.catalogue.pairs)
        return hopeless or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more requests, and cancel the running replies after `drain_seconds`."""
        seconds, stop = self._endpoint.settings.drain_seconds, self._endpoint.running.stop
        timer = asyncio.get_running_loop().call_later(seconds, stop)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ConfigError` if the address cannot be used."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}") from error


def run_endpoint(pairs: Iterable[ServedPair], settings: ServiceSettings, listening: socket.socket) -> None:
    """Serve until the process gets SIGINT or SIGTERM. Raises the error of the first pair if no pair could be loaded."""
    app = application(pairs, settings)
    endpoint: Endpoint = app.state.endpoint
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        # longer than the drain, so that a cancelled stream can still send its error
        timeout_graceful_shutdown=round(settings.drain_seconds) + 2 * LAST_WORDS_SECONDS,
    )
    DrainingServer(config, endpoint).run([listening])
    errors = [pair.error for pair in endpoint.catalogue.pairs if pair.error and not pair.loaded]
    if errors and len(errors) == len(endpoint.catalogue.pairs):
        raise errors[0]


@contextmanager
def logged_to_stderr() -> Iterator[None]:
    """Write the access log and warnings to stderr inside the block."""
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
    """Return the accepted `Host` headers. On loopback these are only the names of this machine and `more`.

    This stops DNS rebinding: a web page whose host name resolves to 127.0.0.1 has the same origin as this server for a
    browser, but its requests have that host name in `Host`.
    """
    given = tuple(more)
    if host in LOOPBACK:
        return (*LOOPBACK, "[::1]", *given)
    return given
