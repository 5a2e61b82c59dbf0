"""A silent stream: whether its server is still there is asked, and not waited for."""

import pytest

from glimp_core import AlwaysLarge, ConfigError, EngineTimeoutError, RemoteEngineError, RouterConfig
from remote.kit import ANSWER, STEPS, engine, limited, pair, run, script, step
from remote.scripts import Trouble
from remote.served import ScriptedServer

LONG = 120.0
"""A timeout in seconds that a test which waits for it does not survive."""

WHOLE = "".join(STEPS)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are asked after a short silence, and attempts follow each other at once."""
    limited(monkeypatch, ASK_AFTER=0.05, FIRST_WAIT=0.0005)


@pytest.mark.parametrize("at", [0, 900])
def test_a_server_that_takes_no_connections_is_not_waited_for(at: int) -> None:
    """A server that leaves its streams open and silent, as vLLM does on SIGTERM, is an error at once."""
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=LONG, token_timeout=LONG)
        remote.load()
        served.troubles = [Trouble("leave", at)]
        with pytest.raises(RemoteEngineError, match=r"'scripted' at .* failed 4 times in a row"):
            step(remote)


def test_the_small_model_goes_on_after_a_large_one_that_left() -> None:
    """With on_large_failure="small" nothing of the reply is lost."""
    config = RouterConfig(entropy="top20", on_large_failure="small")
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        router = pair(small, large, AlwaysLarge(), config, timeout=LONG, token_timeout=LONG)
        router.load()
        large.troubles = [Trouble("leave", 900)]
        done, _ = run(router)
    assert (done.reasoning, done.answer) == (WHOLE, ANSWER)
    assert "accepts no new connections" in " ".join(done.summary().notes)


def test_a_restart_changes_nothing() -> None:
    """A server that comes back goes on after the tokens that arrived."""
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=LONG, token_timeout=LONG, retries=12)
        remote.load()
        served.troubles = [Trouble("leave", 900, seconds=0.3)]
        assert step(remote) == STEPS[0]
        assert len(served.asked) == 2


@pytest.mark.parametrize("at", [0, 900])
def test_a_slow_server_that_answers_is_waited_for(at: int) -> None:
    """A pause of a server that is there breaks nothing, however often it is asked."""
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=LONG)
        remote.load()
        served.troubles, asked = [Trouble("pause", at, seconds=0.6)], served.probes
        assert step(remote) == STEPS[0]
        assert len(served.asked) == 1
        assert served.probes - asked > 2


def test_a_frozen_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers nothing any more in mid-stream, as after SIGSTOP, is an error long before its timeout."""
    limited(monkeypatch, ANSWER_WITHIN=0.1)
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=LONG, token_timeout=LONG)
        remote.load()
        served.troubles = [Trouble("freeze", 900, seconds=3)]
        with pytest.raises(EngineTimeoutError, match="it answers no other question: is it stopped"):
            step(remote)
        assert len(served.asked) == 1


@pytest.mark.parametrize("at", [0, 900])
def test_a_host_that_is_gone_is_not_waited_for(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where packets are lost, no connection is refused: a stream is given up, also while a prompt may be read."""
    limited(monkeypatch, ANSWER_WITHIN=0.2)
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=LONG, token_timeout=LONG)
        remote.load()
        served.troubles = [Trouble("vanish", at)]
        with pytest.raises(EngineTimeoutError, match="its host answers nothing any more: is it stopped"):
            step(remote)
        assert len(served.asked) == 1


def test_a_server_that_thaws_goes_on() -> None:
    """A short standstill costs its time and no word."""
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=LONG)
        remote.load()
        served.troubles = [Trouble("freeze", 900, seconds=0.5)]
        assert step(remote) == STEPS[0]


def test_silence_between_tokens_has_a_limit_of_its_own() -> None:
    """It is shorter than that of the first token, for which a server may have to read a long prompt."""
    with ScriptedServer(script()) as served:
        remote = engine(served, timeout=LONG, token_timeout=0.3)
        remote.load()
        served.troubles = [Trouble("stall", 900)]
        assert step(remote) == STEPS[0]
        served.troubles = [Trouble("delay", seconds=1)]
        assert step(remote) == STEPS[0]
        assert len(served.asked) == 3
    with ScriptedServer(script()) as served, pytest.raises(ConfigError, match="token_timeout=0"):
        engine(served, token_timeout=0)
