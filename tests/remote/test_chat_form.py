"""Hosts with chat completions alone as the large model: the reply is the same, or they are refused in one sentence."""

import json
from typing import Any

import pytest

from glimp_core import ConfigError, GlimpRouter, ModelLoadError, RandomRate, RemoteEngineError
from remote.chatting import ChatHost
from remote.kit import ANSWER, STEPS, TOP20, engine, glimpser, run, script
from remote.served import ScriptedServer

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
pytestmark = pytest.mark.usefixtures("no_pauses")


def large(host: ChatHost, **options: Any) -> Any:
    return engine(host, window=4096, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["unasked", "field", "prefix"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_host_that_goes_on_writes_its_part(way: str, apart: bool) -> None:
    """Both write, no letter is lost or twice, also where a stream breaks, and messages go as they were given."""
    with ScriptedServer(script()) as small, ChatHost(way, apart, breaks=1) as host:
        router = GlimpRouter(glimpser(small), large(host), RandomRate(0.5), TOP20)
        done, _ = run(router)
        assert str(router.large.findings).startswith("uses only messages")  # type: ignore[attr-defined]
    assert (done.reasoning, done.answer.strip()) == ("".join(STEPS), ANSWER)
    assert {step.engine for step in done.steps if step.phase == "thinking"} == {"small", "large"}
    assert host.breaks == 0
    last = host.asked[-1]["messages"]
    assert last[0] == {"role": "user", "content": "What is two and two?"}
    assert [message["role"] for message in last] == ["user", "assistant"]
    assert done.usage.large.sent_tokens > 0


@pytest.mark.parametrize("way", ["never", "prefix"])
def test_a_host_that_begins_anew_is_refused(way: str) -> None:
    """The sentence says what it wrote and what to use; as the small model none can serve."""
    with ChatHost(way) as host:
        if way == "never":
            with pytest.raises(ModelLoadError, match=r"completions alone and does not continue .*'Sure! Wed.*vLLM"):
                large(host).load()
        with pytest.raises(RemoteEngineError, match="chat completions alone cannot be the small model"):
            glimpser(host, window=4096).load()  # type: ignore[arg-type]


def test_json_from_a_host() -> None:
    """A response_format is the host's to keep, behind the thinking."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    with ScriptedServer(script()) as small, ChatHost("unasked") as host:
        done = GlimpRouter(glimpser(small), large(host), RandomRate(0.5), TOP20).generate("?", response_format=form)
    assert json.loads(done.answer) == {"n": 4}


def test_tools_are_refused() -> None:
    """A host would read calls out of the text by itself."""
    with ScriptedServer(script()) as small, ChatHost("unasked") as host, pytest.raises(ConfigError, match="use tools"):
        GlimpRouter(glimpser(small), large(host), RandomRate(0.5), TOP20).generate("?", tools=[TOOL])
