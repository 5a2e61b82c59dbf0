"""Around every request: who may come in, and the line of the access log that tells of it."""

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
"""What is answered without a key, besides the files of the page, which has to ask for it."""


class KeyGuard:
    """Lets those in who send the key as their bearer token; it is compared in constant time."""

    def __init__(self, app: ASGIApp, key: str):
        self.app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
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
        return hmac.compare_digest(given, self._key) and scheme.lower() == "bearer"


class AccessLog:
    """Logs one JSON line a request, without a word of what was asked or answered."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log how it went; handlers add to `scope["state"]["told"]`."""
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
