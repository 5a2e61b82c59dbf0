"""What goes wrong between here and a server changes no letter of a reply: it is whole, or there is a typed error."""

import email.utils
import time
from typing import Any

import pytest

from glimp_core import (
    AlwaysLarge,
    AlwaysSmall,
    EngineTimeoutError,
    GlimpRouter,
    RemoteEngineError,
    RouterConfig,
)
from remote.kit import ANSWER, STEPS, TABLE, TOP20, engine, limited, pair, run, script, step
from remote.scripts import Served, Trouble
from remote.served import ScriptedServer

WHOLE = "".join(STEPS)
pytestmark = pytest.mark.usefixtures("no_pauses")


def _every_byte(stride: int, said: str = "é😀.\n\n", server: str = "vllm") -> None:
    with ScriptedServer(script((said,)), server) as served:
        remote = engine(served)
        assert step(remote) == said
        for kind in ("reset", "eof", "short"):
            for at in range(0, 2600, stride):
                served.troubles = [Trouble(kind, at)]
                assert step(remote) == said, (kind, at)


def test_resets_at_every_byte() -> None:
    """A stream may break anywhere, in the middle of a line or of a character, and the step is whole."""
    _every_byte(stride=53)


@pytest.mark.parametrize("server", ["old vllm", "sglang", "llamacpp", "text"])
def test_streams_of_every_server_break(server: str) -> None:
    """Also where ids come in other ways, or not at all."""
    _every_byte(211, "Two and two.\n\n", server)


def test_a_server_that_hangs_up_after_each_stream() -> None:
    """llama.cpp announces Keep-Alive and closes the connection after a stream: nothing is sent on it any more."""
    with ScriptedServer(script(), "llamacpp") as served:
        done, _ = run(pair(served, served, AlwaysLarge()))
    assert done.reasoning + done.answer == WHOLE + ANSWER
    assert not [note for note in done.summary().notes if "was repeated" in note]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_resets_at_every_byte_without_exception() -> None:
    """The same, at each single byte."""
    _every_byte(stride=1)


def test_tokens_that_arrived_are_not_asked_for_again(servers: tuple[Served, Served]) -> None:
    """A broken stream goes on after its last token: the second request's prompt holds the first one's reply."""
    with ScriptedServer(script()) as served:
        remote = engine(served)
        remote.load()
        served.troubles = [Trouble("eof", 900)]
        assert step(remote) == STEPS[0]
        first, second = served.asked
        arrived = second["prompt"][len(first["prompt"]) :]
        assert arrived
        assert STEPS[0].encode().startswith(TABLE.decode(arrived))
        assert second["max_tokens"] == first["max_tokens"] - len(arrived)


@pytest.mark.parametrize("trouble", [Trouble("status", status=500), Trouble("refuse"), Trouble("garbage", 0)])
def test_a_server_that_stays_broken_is_an_error_that_says_why(trouble: Trouble) -> None:
    """After the retries there is one error; it names the server and what it did."""
    with ScriptedServer(script()) as served:
        remote = engine(served)
        remote.load()
        served.troubles = [trouble] * 10
        with pytest.raises(RemoteEngineError, match=r"'scripted' at http://127.0.0.1:\d+/v1 failed 4 times in a row"):
            step(remote)
        assert len(served.troubles) == 6


def test_a_server_that_is_not_there() -> None:
    """Nobody listens: an error, after the retries."""
    with ScriptedServer(script()) as served:
        pass
    with pytest.raises(RemoteEngineError, match="failed 2 times in a row"):
        engine(served, retries=1).load()


@pytest.mark.parametrize(("status", "says"), [(400, "too much"), (401, "api_key"), (404, "base_url")])
def test_a_refusal_is_not_asked_again(status: int, says: str) -> None:
    """What the server will not do is told at once, with what to do about it."""
    with ScriptedServer(script()) as served:
        remote = engine(served)
        remote.load()
        served.troubles = [Trouble("status", status=status)]
        with pytest.raises(RemoteEngineError, match=says):
            step(remote)
        assert len(served.asked) == 1


def test_a_server_may_ask_for_a_pause() -> None:
    """Retry-After is waited for, in seconds; a pause that is too long is an error instead."""
    with ScriptedServer(script()) as served:
        remote = engine(served)
        remote.load()
        served.troubles = [Trouble("status", status=429, retry_after="0.3")]
        started = time.monotonic()
        assert step(remote) == STEPS[0]
        assert time.monotonic() - started >= 0.3
        served.troubles = [Trouble("status", status=429, retry_after="3600")]
        with pytest.raises(RemoteEngineError, match="pause of 3600 seconds"):
            step(remote)


def test_a_pause_may_be_a_date() -> None:
    """Retry-After may say until when, which is waited for as well."""
    with ScriptedServer(script()) as served:
        remote = engine(served)
        remote.load()
        until = email.utils.formatdate(time.time() + 2, usegmt=True)
        served.troubles = [Trouble("status", status=503, retry_after=until)]
        started = time.monotonic()
        assert step(remote) == STEPS[0]
        assert time.monotonic() - started >= 0.9  # dates have whole seconds


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt waits twice as long as the one before it, less what chance takes off."""
    limited(monkeypatch, FIRST_WAIT=0.1)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    with ScriptedServer(script()) as served:
        remote = engine(served)
        remote.load()
        served.troubles = [Trouble("status", status=500)] * 3
        started = time.monotonic()
        assert step(remote) == STEPS[0]
        assert time.monotonic() - started >= 0.1 + 0.2 + 0.4


def test_silence_before_the_first_token_is_a_timeout() -> None:
    """A server that takes a request and says nothing is not asked again: it may be at work on it."""
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=0.3)
        remote.load()
        served.troubles = [Trouble("stall", 0)]
        with pytest.raises(EngineTimeoutError, match=r"no answer for 0.3 seconds: allow more with timeout="):
            step(remote)
        assert len(served.asked) == 1


def test_silence_in_the_middle_is_a_broken_stream() -> None:
    """A stream that falls silent is closed, and gone on with in another request."""
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=0.3)
        remote.load()
        served.troubles = [Trouble("stall", 900)]
        assert step(remote) == STEPS[0]
        assert (len(served.asked), served.closed_by_client) == (2, 1)


def test_a_lost_end_mark_costs_nothing() -> None:
    """A stream without [DONE] is over when the reply is, also where the server keeps it open."""
    with ScriptedServer(script()) as served:
        remote = engine(served)
        remote.load()
        for trouble in (Trouble("no_done"), Trouble("no_done", at=1)):
            served.troubles = [trouble]
            started = time.monotonic()
            assert step(remote) == STEPS[0]
            assert time.monotonic() - started < 15, "the server keeps such a stream open for 20 seconds"
        assert len(served.asked) == 2


def test_the_summary_says_how_a_server_did(servers: tuple[Served, Served], router: GlimpRouter) -> None:
    """Requests that had to be sent again are a note in the summary, one for each server."""
    servers[0].troubles = [Trouble("status", status=503), Trouble("reset", 2000)]
    done, _ = run(router)
    (note,) = done.summary().notes
    assert note.startswith("'scripted' failed twice and the request was repeated; the first failure: HTTP 503")
    assert run(router)[0].summary().notes == ()


@pytest.mark.parametrize("policy", [AlwaysSmall(), AlwaysLarge()])
def test_a_large_server_that_is_down_from_the_start(policy: Any) -> None:
    """With on_large_failure="small" a pair answers also when its large model cannot be reached at all."""
    with ScriptedServer(script()) as gone:
        pass
    config = RouterConfig(entropy="top20", on_large_failure="small")
    with ScriptedServer(script()) as served:
        done, _ = run(pair(served, gone, policy, config, retries=0))
        assert (done.reasoning, done.answer) == (WHOLE, ANSWER)
        assert {step.engine for step in done.steps} == {"small"}
        assert "the large model failed" in done.summary().notes[0]
        with pytest.raises(RemoteEngineError):
            run(pair(served, gone, policy, TOP20, retries=0))
