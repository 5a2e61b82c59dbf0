"""A small endpoint that speaks what the page is told: its files, the list of models, and streams of replies."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from glimp_core import AlwaysLarge, AlwaysSmall, EntropyThreshold, GlimpRouter, Policy
from glimp_core.events import Delta, Event
from glimp_core.tap import Asked
from glimp_core.trace.file import lines

DONE = b"data: [DONE]\r\n\r\n"
CORE = Path(__file__).parents[2] / "core" / "glimp_core"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

Answer = Callable[[dict[str, Any]], Iterator[Any]]
"""Makes the chunks of a reply from the body of a request; bytes among them are sent as they are."""


def models(threshold: float | None = 0.3) -> list[dict[str, Any]]:
    """The list of models: a pair, and each of its models alone."""
    names = {"pair": "glimp", "small": "glimp-tiny-small", "large": "glimp-tiny-large"}
    told = {**names, "policy": "EntropyThreshold", "threshold": threshold, "entropy": "full"}
    kinds = {"glimp": "pair", "glimp:small": "small", "glimp:large": "large"}
    return [{"id": name, "object": "model", "glimp": {**told, "kind": kind}} for name, kind in kinds.items()]


def chunks(router: GlimpRouter, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The chunks of a reply: the lines of its trace among the deltas of its text."""
    told: list[dict[str, Any]] = []

    def tap(asked: Asked, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            told.extend(
                {"glimp": 1, "run": line.run, "kind": line.kind, **line.model_dump(mode="json", exclude_defaults=True)}
                for line in lines(asked, event)
            )
            yield event

    tapped = GlimpRouter(router.small, router.large, policy_of(body), router.config, router.sampling, taps=(tap,))  # type: ignore[arg-type]
    for event in tapped.stream(body["messages"]):
        if isinstance(event, Delta):
            name = "reasoning_content" if event.phase == "thinking" else "content"
            about = {"index": event.index, "phase": event.phase, "engine": event.engine}
            yield {"choices": [{"index": 0, "delta": {name: event.text}}], "glimp": about}
        yield from ({"choices": [], "glimp": {"line": line}} for line in told)
        told.clear()


def policy_of(body: dict[str, Any]) -> Policy:
    """The policy that a request asks for."""
    kind = body["model"].partition(":")[2]
    return {"small": AlwaysSmall(), "large": AlwaysLarge()}.get(kind) or EntropyThreshold(body.get("threshold", 0.3))


@contextmanager
def serving(answer: Answer, key: str = "") -> Iterator["Endpoint"]:
    """An endpoint on a free port of this machine, for as long as the context lasts."""
    endpoint = Endpoint(answer, key)
    thread = threading.Thread(target=endpoint.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.shutdown()
        endpoint.server_close()
        thread.join()


class Endpoint(ThreadingHTTPServer):
    """The server; `bodies` are the requests that came, `left` those whose reader went away."""

    daemon_threads = True

    def __init__(self, answer: Answer, key: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.key = answer, key
        self.bodies: list[dict[str, Any]] = []
        self.left = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            return self._json(200, {"data": models()}) if self._known() else None
        if self.path == "/health":
            return self._json(200, {"status": "loaded"})
        file = {"/": "index.html"}.get(self.path, self.path.rpartition("/")[2])
        path = CORE / "views/templates/style.css" if file == "report.css" else CORE / "serve/page" / file
        if not path.is_file():
            return self._json(404, {"error": {"message": f"there is no {self.path}"}})
        return self._send(200, TYPES[path.suffix], path.read_bytes())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._known():
            return
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        try:
            for chunk in self.server.answer(body):
                self.wfile.write(
                    chunk if isinstance(chunk, bytes) else b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n"
                )
        except OSError:
            self.server.left.set()

    def _known(self) -> bool:
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self._json(401, {"error": {"message": "the key is missing or wrong: send it as a bearer token"}})
            return False
        return True

    def _json(self, status: int, document: Any) -> None:
        self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", "default-src 'self'")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass
