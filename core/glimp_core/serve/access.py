"""Middleware around every request: the check of the API key, and the access log."""

import hmac
import json
import logging
from time import perf_counter, time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glimp_core.serve.failures import Failure, Refused
from glimp_core.serve.replying import failed

access_log = logging.getLogger("glimp.serve.access")
OPEN_PATHS = ("/", "/health")
"""Paths that need no key. The files of the page need none either, because the page asks the user for the key."""


class KeyGuard:
    """Middleware that passes only requests with the key as their bearer token. Others get status 401."""

    def __init__(self, app: ASGIApp, key: str):
        self.app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application, or refuse it."""
        if scope["type"] != "http" or self._allowed(scope):
            await self.app(scope, receive, send)
            return
        refused = Refused("the API key is missing or wrong: send it as a bearer token", 401, code="invalid_api_key")
        refused.headers["WWW-Authenticate"] = "Bearer"
        await failed(Failure.of(refused))(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith("/page/"):
            return True
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        given = token.strip().encode("latin-1", "replace")
        # in constant time: the time of == would show how many leading characters of a guess are right
        return hmac.compare_digest(given, self._key) and scheme.lower() == "bearer"


class AccessLog:
    """Middleware that logs one JSON line for each request, without the text of the request and the reply."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application, and log the outcome; handlers add fields to `scope["state"]["told"]`."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, told, status = perf_counter(), dict[str, Any](), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope.setdefault("state", {})["told"] = told
        try:
            await self.app(scope, receive, watched)
        finally:
            line = {
                "time": round(time(), 3),
                "client": (scope.get("client") or ("",))[0],
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "seconds": round(perf_counter() - begun, 4),
                **told,
            }
            access_log.info(json.dumps(line))
