"""The endpoint as an ASGI application: its routes, its middleware, and its handlers of errors."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from glimp_core.errors import GlimpError
from glimp_core.serve.access import AccessLog, KeyGuard
from glimp_core.serve.catalogue import Catalogue, ServedPair
from glimp_core.serve.chat_request import ChatRequest
from glimp_core.serve.failures import Failure, Refused
from glimp_core.serve.reply_run import ReplyRun, RunningReplies
from glimp_core.serve.replying import PieceStream, failed, unless_left
from glimp_core.serve.request_queue import RequestQueue
from glimp_core.serve.service_metrics import ServiceMetrics
from glimp_core.serve.service_settings import ServiceSettings
from glimp_core.views.notebook import TEMPLATES

log = logging.getLogger("glimp.serve")
PAGE = Path(__file__).parent / "page"
REPORT_STYLE = TEMPLATES / "style.css"
"""The style of a trace's report. The page uses the same colours and charts."""
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
NO_COMPLETIONS = "this endpoint has chat completions alone: a pair needs messages. Use /v1/chat/completions"
LAST_WORDS_SECONDS = 5
"""Seconds that replies have to end after they were cancelled."""

LEFT = 499
"""The status of a request whose client disconnected before the reply began. Only the log shows it."""


class Endpoint:
    """The handlers of one endpoint and their shared state. `application` makes an ASGI application of it."""

    def __init__(self, catalogue: Catalogue, settings: ServiceSettings):
        self.catalogue, self.settings = catalogue, settings
        self.queue = RequestQueue(settings.max_running, settings.max_waiting)
        self.metrics = ServiceMetrics(self.queue)
        self.running = RunningReplies()

    async def chat(self, request: Request) -> Response:
        """Answer a chat completion, as a stream or as one document."""
        body = await self._body(request)
        allowed = self.settings.template_options
        asked = ChatRequest.of(body, self.catalogue, allowed)
        run = ReplyRun(asked, self.metrics, self.running, request.state.told)
        pieces = run.pieces(self.queue, self.settings.timeout)
        if not asked.stream:
            return Response(await unless_left(request.receive, _whole(pieces)), media_type="application/json")
        # The first piece is read before the response starts, so that a failure before it still has its own status.
        first = await unless_left(request.receive, anext(pieces))
        return PieceStream(first, pieces, self.settings.drain_seconds + LAST_WORDS_SECONDS)

    async def models(self, request: Request) -> Response:
        """List the models."""
        return JSONResponse({"object": "list", "data": self.catalogue.documents()})

    async def one_model(self, request: Request) -> Response:
        """Return one entry of the list."""
        return JSONResponse(self.catalogue.find(request.path_params["model"]).document())

    async def completions(self, request: Request) -> Response:
        """Refuse the request: a pair needs messages."""
        raise Refused(NO_COMPLETIONS, status=404, code="unsupported")

    async def health(self, request: Request) -> Response:
        """Return the state of the endpoint, with status 503 if it cannot answer requests."""
        told = self._health()
        return JSONResponse(told, 200 if told["status"] == "loaded" else 503)

    async def page_health(self, request: Request) -> Response:
        """Return the same to the page, always with status 200: a browser's console shows any other as an error."""
        return JSONResponse(self._health())

    def _health(self) -> dict[str, Any]:
        pairs = {
            pair.name: {"status": pair.status, **({"error": str(pair.error)} if pair.error else {})}
            for pair in self.catalogue.pairs
        }
        counts = {"running": self.queue.running, "waiting": self.queue.waiting}
        return {"status": self.catalogue.status(), "pairs": pairs, **counts}

    async def show_metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.metrics.registry), headers={"Content-Type": content_type})

    async def _body(self, request: Request) -> bytes:
        """Read the body within the limits. Raises `Refused`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(f"Content-Type is {kind!r:.100}: send application/json", status=415)
        limit, length = self.settings.max_body_bytes, request.headers.get("content-length", "0")
        body = bytearray()
        # Content-Length refuses a large body before it is read; the loop below is for bodies without that header.
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > limit:
                        raise _too_large(limit)
        except TimeoutError as error:
            raise Refused(f"the body did not come within {self.settings.body_seconds:g} s", status=408) from error
        return bytes(body)


def _too_large(limit: int) -> Refused:
    return Refused(f"the body is larger than {limit} bytes: shorten the messages", status=413)


def application(pairs: Iterable[ServedPair], settings: ServiceSettings | None = None) -> Starlette:
    """Return an ASGI application that serves pairs through OpenAI's API. Their weights load when it starts.

    Raises `ConfigError` if there is no pair, or if two pairs have the same name.
    """
    endpoint = Endpoint(Catalogue(pairs), settings or ServiceSettings())
    app = Starlette(
        routes=_routes(endpoint),
        middleware=_middleware(endpoint.settings),
        exception_handlers={GlimpError: _on_error, HTTPException: _on_http_error, ClientDisconnect: _on_left},
        lifespan=_lifespan,
    )
    app.state.endpoint = endpoint
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    endpoint: Endpoint = app.state.endpoint
    endpoint.catalogue.warm_up()
    yield
    endpoint.running.stop()


def _routes(endpoint: Endpoint) -> list[Route | Mount]:
    return [
        Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
        Route("/v1/completions", endpoint.completions, methods=["POST"]),
        Route("/v1/models", endpoint.models),
        Route("/v1/models/{model:path}", endpoint.one_model),
        Route("/health", endpoint.health),
        Route("/metrics", endpoint.show_metrics),
        Route("/", _page),
        Route("/page/report.css", _report_style),
        Route("/page/health", endpoint.page_health),
        Mount("/page", PageFiles(directory=PAGE)),
    ]


def _middleware(settings: ServiceSettings) -> list[Middleware]:
    around = [Middleware(AccessLog)]  # the first one is the outermost: it also logs requests that the others refuse
    if settings.cors_origins:
        headers, methods = ["authorization", "content-type"], ["GET", "POST"]
        origins = list(settings.cors_origins)
        around.append(Middleware(CORSMiddleware, allow_origins=origins, allow_headers=headers, allow_methods=methods))
    if settings.allowed_hosts:
        around.append(Middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False))
    if settings.api_key is not None:
        around.append(Middleware(KeyGuard, key=settings.api_key))
    return around


class PageFiles(StaticFiles):
    """The files of the page, with headers that forbid it to load anything from other hosts."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file with the headers of the page."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(PAGE_HEADERS)
        return response


async def _page(request: Request) -> Response:
    return FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)


async def _report_style(request: Request) -> Response:
    return FileResponse(REPORT_STYLE, headers=PAGE_HEADERS)


async def _whole(pieces: AsyncGenerator[bytes, None]) -> bytes:
    async with aclosing(pieces):
        return b"".join([piece async for piece in pieces])


async def _on_error(request: Request, error: Exception) -> Response:
    failure = Failure.of(error, request.app.state.endpoint.running.draining)
    request.state.told.setdefault("outcome", failure.code)
    return failed(failure)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    failure = Failure.of(Refused(message, error.status_code))
    return failed(replace(failure, headers=dict(error.headers or {})))


async def _on_left(request: Request, error: Exception) -> Response:
    return Response(status_code=LEFT)
