"""The openai client of one server: one connection pool. Its own retries and variables with keys are not used."""

import asyncio
import email.utils
import os
import ssl
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from glimp_core.errors import ConfigError, GlimpError, RemoteEngineError

GATEWAY = frozenset({502, 503, 504})
"""The statuses of a proxy that cannot reach its server."""

NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
"""OpenSSL's names of the error for an answer that is not TLS."""

RETRIED = frozenset({408, 425, 429})
"""The statuses below 500 with which a request is sent again."""

LONGEST = 500
"""The longest text of a server in an error, in characters: a proxy may answer with a web page."""


STREAM = "text/event-stream"
EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")

LARGEST = 64 * 2**20
"""The most bytes of a document, or of one event of a stream. The log-probabilities of a whole vocabulary have fewer."""

ANSWER_WITHIN = 5.0
"""Seconds that a server has to answer a liveness request."""

CONNECT_WITHIN = 0.8
"""The share of that time in which its host must accept the connection.

The kernel of the host accepts connections, also if the server's process is busy or stopped. So if a connection is
neither accepted nor refused, the host itself is gone.
"""

Liveness = Literal["answers", "silent", "refuses", "unreachable"]
"""The result of a liveness request: any answer; no answer; a refused connection; no sign of the host itself."""


class TransientError(Exception):
    """A failure after which the request may be sent again. `wait` is the pause that the server asks for, in seconds.

    `status` is the HTTP status, if there is one. `frozen` says that a silent server did not answer a liveness request
    either.
    """

    def __init__(
        self,
        what: str,
        wait: float | None = None,
        timed_out: bool = False,
        status: int | None = None,
        frozen: bool = False,
    ):
        super().__init__(what)
        self.wait = wait
        self.timed_out = timed_out
        self.status = status
        self.frozen = frozen


class RequestRejected(RemoteEngineError):
    """A request that the server refuses for good. `status` is the HTTP status."""

    def __init__(self, status: int, says: str):
        super().__init__(says)
        self.status = status


class ManagedProcess(Protocol):
    """The process of a server that Glimp starts."""

    async def ready(self) -> None:
        """Wait until it accepts requests, and start it if it is not running. Raises `GlimpError`."""
        ...

    async def died(self) -> str:
        """Wait until it has ended, and return a sentence about that."""
        ...

    @property
    def drafts(self) -> bool:
        """Whether the server drafts for its model (speculative decoding)."""
        ...


class Client:
    """An HTTP client of the server at `base_url`, which is used unchanged. Use it only in the loop's thread.

    `timeout` is the longest silence, `connect_timeout` the longest time to connect, in seconds. The key is sent only to
    this server, and is never shown. No proxy is used for a `managed` server. Raises `ConfigError` for an invalid
    address or key.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout: float,
        connect_timeout: float,
        managed: ManagedProcess | None = None,
    ):
        self.managed = managed
        self.base_url = _checked(base_url)
        self._api_key = _sendable(api_key)
        self.timeout = timeout
        self._connect_timeout = connect_timeout
        self._lists = self._completes = False
        if find_spec("openai") is None:
            raise ConfigError('a remote engine needs the openai client: pip install "glimp[remote]"')

    @property
    def root(self) -> str:
        """The address without /v1, where servers show their state."""
        return self.base_url.removesuffix("/v1")

    async def get(self, path: str, kind: type = object) -> Any:
        """Get a document, as JSON or as text. A path with a host is used unchanged. Raises the errors of `lines`."""
        client = self._openai  # outside of the timeout: the first use imports the client, which takes long
        with self._translated():
            async with asyncio.timeout(self.timeout):  # the client's own timeout is for a silence, not for the whole
                document = await client.get(path, cast_to=kind, options=self._options)
        self._lists |= path == "/models"
        return document

    async def liveness(self) -> Liveness:
        """Send a liveness request, which is cheap for the server, and return its result."""
        import openai

        limits = openai.Timeout(ANSWER_WITHIN, connect=CONNECT_WITHIN * ANSWER_WITHIN)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._openai.get("/models", cast_to=object, options={**self._options, "timeout": limits})
        except (openai.APITimeoutError, TimeoutError) as error:
            return "unreachable" if type(error.__cause__).__name__ == "ConnectTimeout" else "silent"
        except openai.APIConnectionError:
            return "refuses"
        except openai.APIError:
            return "answers"
        return "answers"

    async def lines(self, body: dict[str, Any], once: bool = False) -> AsyncGenerator[Any, None]:
        """Yield the documents of a stream. With `once`, its connection is not used for another request.

        Raises `TransientError`, or `RemoteEngineError` for a refusal.
        """
        import openai

        options = self._options
        if once:
            options = {**options, "headers": {**options["headers"], "Connection": "close"}}
        with self._translated():
            stream = await self._openai.post(
                "/chat/completions" if "messages" in body else "/completions",
                cast_to=object,
                body=body,
                options=options,
                stream=True,
                stream_cls=openai.AsyncStream[Any],
            )
        try:
            kind = stream.response.headers.get("content-type", "")
            if not kind.startswith(STREAM):
                raise RemoteEngineError(
                    f"{self.base_url} answers with {kind or 'an untyped text'!r}, not with a stream of events: "
                    "is base_url right? It mostly ends in /v1"
                )
            self._completes = True
            with self._translated():
                async for line in stream:
                    yield line
        finally:
            await stream.close()  # also if the caller stops early: the server sees it and stops writing

    @cached_property
    def _openai(self) -> Any:
        import openai

        return openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key or "none",
            max_retries=0,
            timeout=openai.Timeout(self.timeout, connect=self._connect_timeout),
            http_client=openai.DefaultAsyncHttpxClient(
                event_hooks={"response": [self._bound]}, trust_env=self.managed is None
            ),
        )

    async def _bound(self, response: Any) -> None:
        """Make a response fail if it is too large. Called before its body is read.

        The client reads a document, and each event of a stream, completely into memory. So a broken server could fill
        the memory.
        """
        read, streams = response.aiter_bytes, response.headers.get("content-type", "").startswith(STREAM)

        async def bounded(*chunk: Any) -> AsyncGenerator[bytes, None]:
            size, last = 0, b""
            async for part in read(*chunk):
                ended = streams and any(end in last + part for end in EVENT_ENDS)
                size, last = 0 if ended else size + len(part), part[-3:]
                if size > LARGEST:
                    raise RemoteEngineError(f"{self.base_url} sends more than {LARGEST >> 20} MB without an end")
                yield part

        response.aiter_bytes = bounded

    @cached_property
    def _options(self) -> dict[str, Any]:
        """The options of every request. They omit the headers that variables for OpenAI's own servers would add."""
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
            raise self._translate(error) from None  # not chained: the text of the original error may contain the key

    def _translate(self, error: Exception) -> Exception:
        import openai

        if isinstance(error.__cause__, GlimpError):  # raised by what reads for the client
            return error.__cause__
        if isinstance(error, TimeoutError):
            return TransientError(f"no whole answer within {self.timeout:g} seconds", timed_out=True)
        status = getattr(error, "status_code", None) or _code(getattr(error, "body", None))
        if isinstance(error, openai.APIError) and status and status < 500 and status not in RETRIED:
            return self._refusal(status, str(error))
        if isinstance(error, openai.APIStatusError):
            by_proxy = self._by_proxy() if status in GATEWAY else ""
            says = self._clean(f"HTTP {status}: {error}")[:LONGEST] + by_proxy
            return TransientError(says, _retry_after(error.response.headers), status=status)
        if no_tls := self._without_tls(error):
            return no_tls
        names = {type(error).__name__, type(error.__cause__).__name__}
        timed_out = any(name.endswith("Timeout") or name == "APITimeoutError" for name in names)
        if timed_out and "ConnectTimeout" not in names and "PoolTimeout" not in names:
            return TransientError(f"no answer for {self.timeout:g} seconds", timed_out=True)
        if "ConnectTimeout" in names:
            says = f"no connection within {self._connect_timeout:g} seconds"
        else:
            says = self._clean(f"{error} ({error.__cause__})" if error.__cause__ else f"{error!r}")[:LONGEST]
        return TransientError(says + self._by_proxy(), status=status)

    def _refusal(self, status: int, says: str) -> RequestRejected:
        advice = {
            401: "pass the key that it requires as api_key=...",
            403: "pass a key with this permission as api_key=...",
            404: "is base_url right? It mostly ends in /v1. Is model one that it serves?",
            407: f"the proxy requires a name and a password{self._by_proxy()}",
        }
        if status in (404, 405) and self._lists and not self._completes:
            advice[status] = (
                "it has /models and no /completions: a server with chat completions alone cannot be the small model. "
                "It can be the large model only if it continues a message that the assistant has begun. vLLM, SGLang "
                "and llama.cpp have both"
            )
        hint = f" ({advice[status]})" if status in advice else ""
        return RequestRejected(
            status, self._clean(f"{self.base_url} refuses with HTTP {status}: {says}")[:LONGEST] + hint
        )

    def _without_tls(self, error: BaseException | None) -> RemoteEngineError | None:
        """Return an error if the cause is TLS, which another attempt does not change."""
        while error and not isinstance(error, ssl.SSLError):
            error = error.__cause__ or error.__context__
        if isinstance(error, ssl.SSLCertVerificationError):
            return RemoteEngineError(
                f"the certificate of {self.base_url} is not trusted ({error.verify_message}): name the file of its "
                "authority in the variable SSL_CERT_FILE"
            )
        if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
            return RemoteEngineError(
                f"{self.base_url} does not speak TLS: write http:// instead of https://, or give the port that does"
            )
        return None

    def _by_proxy(self) -> str:
        """Return a sentence about the proxy that was used, "" without one. Its password is not shown."""
        parts, proxies = urlsplit(self.base_url), getproxies()
        scheme = parts.scheme if parts.scheme in proxies else "all"
        if scheme not in proxies or proxy_bypass(parts.hostname or ""):
            return ""
        proxy = proxies[scheme].rpartition("@")[2].rpartition("//")[2]
        return (
            f"; it was asked through the proxy {proxy} of the variable {scheme.upper()}_PROXY: "
            f"set NO_PROXY={parts.hostname} to ask it directly"
        )

    def _clean(self, text: str) -> str:
        """Remove the key from a server's text: some servers repeat the key that they got."""
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
    """Return the status in an error that a server sent inside a stream."""
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _retry_after(headers: Any) -> float | None:
    """Return the pause that a server asks for, in seconds. The header has seconds or a date."""
    value = headers.get("retry-after")
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        when = email.utils.parsedate_tz(value or "")
        return max(0.0, email.utils.mktime_tz(when) - time.time()) if when else None
