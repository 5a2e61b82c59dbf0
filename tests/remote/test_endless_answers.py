"""Servers whose answers never end: the timeouts hold, and what is read of an answer has a limit."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from glimp_core import EngineError, EngineTimeoutError, RemoteEngineError
from remote.kit import TABLE, engine, limited
from remote.scripts import Served

TIMEOUT = 0.5
PATIENCE = 30.0

EMPTY = {"index": 0, "text": "", "token_ids": [], "finish_reason": None}
TOKEN = {"index": 0, "text": "a", "token_ids": TABLE.encode("a"), "finish_reason": None}


def line(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@contextmanager
def endless(
    path: str, beginning: bytes, part: bytes, kind: str = "text/event-stream", pause: float = 0.0
) -> Iterator[str]:
    """A server that answers on one path with a part again and again, and with a listing elsewhere; yields its URL."""
    listing = json.dumps({"data": [{"id": "scripted", "owned_by": "vllm", "max_model_len": 2048}]}).encode()

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            if path.encode() not in head.split(b"\r\n")[0]:
                length = b"content-length: %d" % len(listing)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + length + b"\r\n\r\n" + listing
                )
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: " + kind.encode() + b"\r\n\r\n" + beginning)
            while True:
                connection.sendall(part)
                time.sleep(pause)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}/v1").url
        listener.shutdown(socket.SHUT_RDWR)


def failure(url: str) -> EngineError:
    """The error that the first use of a server ends with, within a time that its timeout bounds."""
    started = time.monotonic()
    with pytest.raises(EngineError) as raised:
        engine(Served(url), timeout=TIMEOUT, retries=1).load()
    assert time.monotonic() - started < PATIENCE
    return raised.value


@pytest.mark.parametrize(
    "part", [b": ping\n\n", line({"choices": [EMPTY]}), line({"choices": [], "usage": {"prompt_tokens": 5}})]
)
def test_lines_without_a_token_are_silence(part: bytes) -> None:
    """A stream that goes on and says nothing ends with the timeout."""
    with endless("/completions", b"", part, pause=0.01) as url:
        assert isinstance(failure(url), EngineTimeoutError)


def test_a_reply_that_never_ends() -> None:
    """A server that does not keep to max_tokens is refused for it."""
    with endless("/completions", b"", line({"choices": [TOKEN]})) as url:
        assert "violates the protocol" in str(failure(url))


def test_a_document_that_never_ends() -> None:
    """However slowly it comes, it has the time of the timeout."""
    with endless("/models", b"[", b"0,", "application/json", pause=0.01) as url:
        error = failure(url)
    assert isinstance(error, EngineTimeoutError)
    assert "no whole answer within 0.5 seconds" in str(error)


@pytest.mark.parametrize(("path", "kind"), [("/models", "application/json"), ("/completions", "text/event-stream")])
def test_what_is_kept_of_an_answer_has_a_limit(path: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document, or one event of a stream, may have so many bytes and no more."""
    limited(monkeypatch, LARGEST=2**20)
    with endless(path, b"data: ", b"x" * 2**18, kind) as url:
        error = failure(url)
    assert isinstance(error, RemoteEngineError)
    assert "sends more than 1 MB without an end" in str(error)
