"""With `glimp.trace` a reply brings its trace along: the very lines of a trace file."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from glimp_core import GlimpRouter
from glimp_core.testing import ScriptedEngine
from glimp_core.trace import load
from serve.conftest import Served, Serving

ASKED: dict[str, Any] = {"model": "glimp", "messages": [{"role": "user", "content": "Hi"}], "glimp": {"trace": True}}


def chunks(url: str, **body: Any) -> list[dict[str, Any]]:
    """The documents of a stream, in order."""
    with httpx.stream("POST", f"{url}/v1/chat/completions", json={"stream": True, **body}, timeout=30) as response:
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def written(lines: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_lines_are_a_trace(good: Served, tmp_path: Path) -> None:
    """Streamed lines, joined, load as one finished request, whose steps are the streamed pieces of text."""
    streamed = chunks(good.url, **ASKED)
    lines = [chunk["glimp"]["line"] for chunk in streamed if "line" in chunk.get("glimp", {})]
    (request,) = load(written(lines, tmp_path / "trace.jsonl"))
    texts: dict[int, str] = {}
    writers: dict[int, str] = {}
    for chunk in streamed:
        told = chunk.get("glimp", {})
        if chunk["choices"] and "index" in told:
            delta = chunk["choices"][0]["delta"]
            texts[told["index"]] = texts.get(told["index"], "") + delta.get("content", delta.get("reasoning_content"))
            writers[told["index"]] = told["engine"]
    assert [(step.text, step.engine) for step in request.completion.steps] == [
        (texts[n], writers[n]) for n in sorted(texts)
    ]
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"
    assert streamed[-1]["glimp"]["summary"]["steps"] == len(request.completion.steps)


def test_a_whole_reply_has_the_lines_too(good: Served, tmp_path: Path) -> None:
    """They are in the one document, in order."""
    told = good.post(**ASKED).json()["glimp"]
    (request,) = load(written(told["lines"], tmp_path / "trace.jsonl"))
    assert len(request.completion.steps) == told["summary"]["steps"]


def test_nobody_gets_what_was_not_asked_for(good: Served) -> None:
    """Without the wish, chunks of text have no routing data."""
    streamed = chunks(good.url, **{**ASKED, "glimp": {}})
    assert [chunk for chunk in streamed if "glimp" in chunk] == [streamed[-1]]


@pytest.mark.parametrize("trace", [True, False])
def test_a_reply_that_fails_ends_its_stream(serving: Serving, tmp_path: Path, trace: bool) -> None:
    """What was written stays, then comes an error, without its cause, and the end; the trace says what broke it."""
    engine = ScriptedEngine(["One.\n\n", "Two.</think>"], error=RuntimeError("secret"), error_at=2)
    with serving(GlimpRouter(engine, engine)) as endpoint:
        streamed = chunks(endpoint.url, **{**ASKED, "glimp": {"trace": trace}})
        whole = endpoint.post()
    assert streamed[-1]["error"]["code"] == whole.json()["error"]["code"] == "internal_error"
    assert whole.status_code == 500
    assert "secret" not in whole.text + json.dumps(streamed)
    lines = [chunk["glimp"]["line"] for chunk in streamed if "line" in chunk.get("glimp", {})]
    assert [line["kind"] for line in lines] == (["start", "routed", "broken"] if trace else [])
