"""A host with chat completions alone: it goes on with a begun message in its own way, or never does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from glimp_core.remote.chat_form import BROKEN_OFF
from remote.kit import ANSWER, STEPS

THOUGHT = "<think>\n" + "".join(STEPS)
PIECE = 3
"""How many characters come in one line of a stream."""


class ChatHost:
    """Serves one reply.

    `way`: it goes on with a last message of the assistant "unasked", by a "field" of the request, by a "prefix" in the
    message, or "never". `apart`: thoughts come as `reasoning_content`. `breaks`: so many streams break.
    """

    def __init__(self, way: str, apart: bool = False, breaks: int = 0):
        self.way, self.apart, self.breaks = way, apart, breaks
        self.asked: list[dict[str, Any]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def document(self, status: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.document(200, {"data": [{"id": "scripted", "owned_by": "host"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path != "/v1/chat/completions":
                    return self.document(404, {"error": {"message": "this is a chat model"}})
                if host.way != "field" and "continue_final_message" in body:
                    return self.document(400, {"error": {"message": "unknown field"}})
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                for line in host.lines(body):
                    self.wfile.write(b"data: " + json.dumps(line).encode() + b"\n\n")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def lines(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the lines of one reply."""
        thought, said = self.reply(body)
        fields = [("reasoning_content" if self.apart else "content", text) for text in cut(thought)]
        fields += [("content", text) for text in cut(said)]
        for count, (name, text) in enumerate(fields):
            if self.breaks and count == 4 and "think" in str(body["messages"]):
                self.breaks -= 1
                return
            yield {"choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}]}
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}

    def reply(self, body: dict[str, Any]) -> tuple[str, str]:
        """Return what it thinks and says."""
        self.asked.append(body)
        last = body["messages"][-1]
        if schema := (body.get("response_format") or {}).get("json_schema", {}).get("schema"):
            return "", '"glimp"' if "enum" in schema else '{"n": 4}'
        goes_on = {"unasked": True, "field": body.get("continue_final_message"), "prefix": last.get("prefix")}
        if last["role"] != "assistant" or not goes_on.get(self.way):
            return "", "Sure! Wednesday, Thursday."
        begun = last["content"].rstrip()  # as templates do
        for _, broken, end in BROKEN_OFF:
            if begun.endswith(broken):
                return (end, "") if "<think>" in begun else ("", end)
        whole = f"{THOUGHT}</think>\n\n{ANSWER}"
        assert whole.startswith(begun), begun
        thought, tag, said = whole[len(begun) :].rpartition("</think>")
        return (thought, said.lstrip()) if self.apart and tag else (thought + tag, said)

    def __enter__(self) -> "ChatHost":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()


def cut(text: str) -> list[str]:
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
