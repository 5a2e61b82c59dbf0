"""The openai client of one server: one connection pool, no retries of its own, nothing from the environment."""

import asyncio
import email.utils
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from glimp_core.errors import ConfigError, GlimpError, RemoteEngineError

RETRIED = frozenset({408, 425, 429})
"""The refusals that may be taken back, beside all from 500 on."""

LONGEST = 500
"""What a server says is told up to this length: a proxy may answer with a whole page."""


class TransientError(Exception):
    """Something that may go better next time; `wait` is how long the server asks to be left alone, in seconds."""

    def __init__(self, what: str, wait: float | None = None, timed_out: bool = False):
        super().__init__(what)
        self.wait = wait
        self.timed_out = timed_out


class RequestRejected(RemoteEngineError):
    """A request that the server will not serve, however often it is sent; `status` is HTTP's."""

    def __init__(self, status: int, says: str):
        super().__init__(says)
        self.status = status


class Client:
    """Speaks HTTP with the server at `base_url`, which is used as it is given. To be used in the loop's thread only.

    `timeout` is the longest silence, `connect_timeout` the longest time to connect, in seconds. The key is
    sent to this server and shown to nobody. Raises `ConfigError` for an address or a key that cannot be one.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout: float, connect_timeout: float):
        self.base_url = _checked(base_url)
        self._api_key = _sendable(api_key)
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        if find_spec("openai") is None:
            raise ConfigError('a remote engine needs the openai client: pip install "glimp[remote]"')

    @property
    def root(self) -> str:
        """The address beside the API, where servers show their state."""
        return self.base_url.removesuffix("/v1")

    async def get(self, path: str, kind: type = object) -> Any:
        """Get a document, as JSON or as text. A path with a host is taken as it is. Raises like `lines`."""
        with self._translated():
            return await self._openai.get(path, cast_to=kind, options=self._options)

    async def lines(self, body: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield what the lines of a stream say. Raises `TransientError`, or `RemoteEngineError` for a refusal."""
        import openai

        with self._translated():
            stream = await self._openai.post(
                "/completions",
                cast_to=object,
                body=body,
                options=self._options,
                stream=True,
                stream_cls=openai.AsyncStream[Any],
            )
        try:
            kind = stream.response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise RemoteEngineError(
                    f"{self.base_url} answers with {kind or 'an untyped text'!r}, not with a stream of events: "
                    "is base_url right? It mostly ends in /v1"
                )
            with self._translated():
                async for line in stream:
                    yield line
        finally:
            await stream.close()

    @cached_property
    def _openai(self) -> Any:
        import openai

        return openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key or "none",
            max_retries=0,
            timeout=openai.Timeout(self._timeout, connect=self._connect_timeout),
        )

    @cached_property
    def _options(self) -> dict[str, Any]:
        """What goes with every request: the key alone, and nothing that variables mean for OpenAI's own servers."""
        import openai

        custom = (line.partition(":")[0].strip() for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n"))
        unwanted = ["OpenAI-Organization", "OpenAI-Project", *filter(None, custom)]
        headers: dict[str, Any] = {name: openai.Omit() for name in unwanted if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {self._api_key}" if self._api_key else openai.Omit()
        return {"headers": headers}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (GlimpError, TransientError, asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:
            raise self._translate(error) from None  # its own text may hold the key; what it says is told

    def _translate(self, error: Exception) -> Exception:
        import openai

        status = getattr(error, "status_code", None) or _code(getattr(error, "body", None))
        if isinstance(error, openai.APIError) and status and status < 500 and status not in RETRIED:
            return self._refusal(status, str(error))
        if isinstance(error, openai.APIStatusError):
            return TransientError(
                self._clean(f"HTTP {status}: {error}")[:LONGEST], _retry_after(error.response.headers)
            )
        names = {type(error).__name__, type(error.__cause__).__name__}
        timed_out = any(name.endswith("Timeout") or name == "APITimeoutError" for name in names)
        if timed_out and "ConnectTimeout" not in names and "PoolTimeout" not in names:
            return TransientError(f"no answer for {self._timeout:g} seconds", timed_out=True)
        return TransientError(
            self._clean(f"{error} ({error.__cause__})" if error.__cause__ else f"{error!r}")[:LONGEST]
        )

    def _refusal(self, status: int, says: str) -> RequestRejected:
        advice = {
            401: "pass the key that it wants as api_key=...",
            403: "pass a key that may do this as api_key=...",
            404: "is base_url right? It mostly ends in /v1. Is model one that it serves?",
        }
        hint = f" ({advice[status]})" if status in advice else ""
        return RequestRejected(
            status, self._clean(f"{self.base_url} refuses with HTTP {status}: {says}")[:LONGEST] + hint
        )

    def _clean(self, text: str) -> str:
        """A server may show the key that it got."""
        return text.replace(self._api_key, "***") if self._api_key else text


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url={base_url!r} is no address: give one such as 'http://localhost:8000/v1'")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"base_url holds more than an address ({parts.scheme}://{parts.hostname}...): pass a key as api_key=..."
        )
    return base_url.rstrip("/")


def _sendable(api_key: str | None) -> str | None:
    if api_key and not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
        raise ConfigError(
            "api_key has a line break, a blank end or a letter that HTTP cannot send: strip it, or look for what else "
            "is wrong with it"
        )
    return api_key


def _code(body: object) -> int | None:
    """The status in the error that a server put into its stream."""
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _retry_after(headers: Any) -> float | None:
    """How long a server asks to be left alone, in seconds; it says so in seconds or with a date."""
    value = headers.get("retry-after")
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        when = email.utils.parsedate_tz(value or "")
        return max(0.0, email.utils.mktime_tz(when) - time.time()) if when else None
