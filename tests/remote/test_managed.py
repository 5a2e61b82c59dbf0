"""Servers that Glimp starts itself, with a `vllm` that has no models."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from glimp_core import (
    AlwaysLarge,
    AlwaysSmall,
    Cancelled,
    GlimpRouter,
    ModelLoadError,
    RandomRate,
    RemoteEngineError,
    RouterConfig,
    SamplingParams,
)
from glimp_core.pair import Pair, release
from glimp_core.remote import RemoteEngine, RemoteGlimpser
from remote.managed_kit import LARGE, SMALL, WHOLE, FakeVllm, ask, eventually, pair, said


def test_one_word_starts_two_servers(fake: FakeVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs before the first request; then both serve, small first, each with its flags and a key of its own."""
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_FOLDER", str(fake.folder))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    router = GlimpRouter.from_pretrained(SMALL, LARGE, RandomRate(0.5), engine="vllm", dtype="float32", max_batch=3)
    assert fake.starts == []
    done = ask(router)
    assert said(done) == WHOLE
    assert {step.engine for step in done.steps} == {"small", "large"}
    assert done.routed[0].glimpse.definition == "top20"
    assert done.summary().notes == ()
    first, second = fake.starts
    assert second["time"] - first["time"] > 0
    for start, name in ((first, SMALL), (second, LARGE)):
        flags = " ".join(start["arguments"])
        assert flags.startswith("serve /")
        assert f"/{name} --served-model-name {name} " in flags
        for flag in ("--host 127.0.0.1", "--max-logprobs -1", "--dtype float32", "--max-num-seqs 3"):
            assert flag in flags
        assert len(start["key"]) > 20
        assert start["key"] not in flags + repr(router) + repr(router.small)
    assert first["key"] != second["key"]
    assert "vllm" not in sys.modules


def test_equal_arguments_share_a_server(fake: FakeVllm) -> None:
    """Two routers of the same words have two servers together; other flags are another server."""
    routers = [GlimpRouter.from_pretrained(SMALL, LARGE, RandomRate(0.5), engine=fake.vllm()) for _ in range(2)]
    routers.append(Pair(SMALL, LARGE, {"engine": fake.vllm()}).router(RandomRate(0.5)))
    assert {said(ask(router)) for router in routers} == {WHOLE}
    assert len(fake.starts) == 2
    other = fake.vllm({"large": ["--max-model-len", "99"]})
    ask(GlimpRouter.from_pretrained(SMALL, LARGE, AlwaysLarge(), engine=other))
    assert len(fake.starts) == 3
    assert fake.starts[2]["arguments"][-6:-4] == ["--max-model-len", "99"]
    release()


def test_a_server_that_nobody_refers_to_ends(fake: FakeVllm) -> None:
    """When its engines are gone, so is it, with its children and its log."""
    router = GlimpRouter.from_pretrained(SMALL, LARGE, AlwaysSmall(), engine=fake.vllm())
    ask(router)
    logs = [_log_of(engine) for engine in (router.small, router.large)]
    assert all(log.exists() for log in logs)
    assert len(fake.alive) == 4
    del router

    def ended() -> bool:
        gc.collect()  # again, as the thread of the loop may have held the last reply when it was collected first
        return not fake.alive

    assert eventually(ended, 5)
    assert eventually(lambda: not any(log.exists() for log in logs), 5)


def _log_of(engine: Any) -> Path:
    log = engine.managed.log.path
    assert isinstance(log, Path)
    return log


def test_either_model_may_stay_in_this_process(fake: FakeVllm) -> None:
    """A mapping gives each role its engine, and an engine that is one already is left alone."""
    small = GlimpRouter.from_pretrained(SMALL, LARGE, engine={"large": fake.vllm()})
    assert not isinstance(small.small, RemoteEngine)
    assert isinstance(small.large, RemoteEngine)
    assert small.config.entropy == "full"
    large = GlimpRouter.from_pretrained(SMALL, LARGE, engine={"small": fake.vllm(), "large": "transformers"})
    assert isinstance(large.small, RemoteGlimpser)
    assert not isinstance(large.large, RemoteEngine)
    assert large.config.entropy == "top20"
    again = GlimpRouter.from_pretrained(small.small, LARGE, engine=fake.vllm())
    assert again.small is small.small
    assert again.large.name == LARGE
    assert fake.starts == []


def test_a_slow_start_is_waited_for_and_shown(fake: FakeVllm, caplog: pytest.LogCaptureFixture) -> None:
    """The log `glimp.servers` tells what the server writes, and how long it took."""
    caplog.set_level("DEBUG", "glimp.servers")
    router = GlimpRouter.from_pretrained(SMALL, LARGE, AlwaysSmall(), engine=fake.vllm(slow=0.8))
    router.small.load()
    told = [record.getMessage() for record in caplog.records if record.name == "glimp.servers"]
    assert f"vLLM {SMALL}: Loading weights" in told
    assert told[-1].startswith(f"vLLM {SMALL}: up after ")


def test_a_request_that_is_cancelled_does_not_wait_for_a_start(fake: FakeVllm) -> None:
    """It ends at once, and the server goes on starting for the next one."""
    router = GlimpRouter.from_pretrained(SMALL, LARGE, AlwaysSmall(), engine=fake.vllm(waits=True))
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    with pytest.raises(Cancelled):
        list(router.stream("hi", cancelled=cancelled))
    (fake.folder / "go").touch()
    router.small.load()
    assert len(fake.starts) == 1


def test_a_start_that_fails_shows_the_end_of_the_log(fake: FakeVllm) -> None:
    """The error has the exit code, the place of the log and its last lines; asking again tries again."""
    router = GlimpRouter.from_pretrained(SMALL, LARGE, engine=fake.vllm({"logs": str(fake.folder / "logs")}, dies=3))
    for attempt in (1, 2):
        with pytest.raises(ModelLoadError, match=r"exit code 3 before(.|\n)*ValueError: the card is full\nshutting"):
            ask(router)
        assert len(fake.starts) == attempt
    assert len(list((fake.folder / "logs").glob("glimp-vLLM-glimp-tiny-small-*.log"))) == 2


def test_a_start_that_takes_too_long(fake: FakeVllm) -> None:
    """It is given up after `start_timeout`, and nothing of it is left."""
    router = GlimpRouter.from_pretrained(SMALL, LARGE, engine=fake.vllm({"start_timeout": 0.3}, slow=30))
    with pytest.raises(ModelLoadError, match="not up after 0 seconds: allow more with start_timeout"):
        ask(router)
    assert eventually(lambda: not fake.alive, 1)


@pytest.mark.parametrize("trouble", [{"dies_in_reply": 1}, {"freezes_in_reply": 1}])
def test_a_server_that_dies_in_a_reply(fake: FakeVllm, trouble: dict[str, int]) -> None:
    """The stream breaks as soon as the process is gone, goes on after one restart, and no word is lost."""
    router = pair(fake.vllm(**trouble))
    began = time.monotonic()
    done = ask(router)
    assert time.monotonic() - began < 20
    assert said(done) == WHOLE
    assert len(fake.starts) == 2
    assert any("the request was repeated" in note for note in done.summary().notes)


def test_one_restart_and_then_the_small_model(fake: FakeVllm) -> None:
    """A server that dies again is not started a third time: its error is raised, or the small model writes the rest."""
    router = pair(fake.vllm(dies_in_reply=9))
    with pytest.raises(RemoteEngineError, match="ended again after a restart"):
        ask(router)
    assert len(fake.starts) == 2
    done = ask(GlimpRouter(router.small, router.large, AlwaysLarge(), RouterConfig(on_large_failure="small")))
    assert len(fake.starts) == 2
    assert done.answer == "It is here."
    assert any("after a restart" in note for note in done.summary().notes)


USER = """
import os, sys, time
from glimp_core.remote import Vllm
from glimp_core.remote.bridge import the_loop
from glimp_core.remote.managed import ManagedServer
server = ManagedServer.of(Vllm(python=sys.argv[1]).command("large", "glimp-tiny-large", {}))
the_loop().run(server.ready())
print("up", flush=True)
exec(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("end", "seconds"),
    [
        ("time.sleep(60)", 1.0),
        ("os.fork() or time.sleep(3); time.sleep(60)", 1.0),
        pytest.param("os._exit(3)", 1.0, marks=pytest.mark.slow),
        ("sys.exit(3)", 0.0),
        pytest.param("raise KeyboardInterrupt", 0.0, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_left_however_the_process_ends(fake: FakeVllm, end: str, seconds: float) -> None:
    """kill -9, also with a forked child left: all is gone within a second, with its shared memory."""
    environment = {**os.environ, "FAKE_FOLDER": str(fake.folder), "FAKE_TROUBLE": '{"shares": true}'}
    command = [sys.executable, "-c", USER, str(fake.folder / "vllm"), end]
    user = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert user.stdout
    assert user.stdout.readline() == b"up\n"
    assert len(fake.alive) == 2
    shared = [Path("/dev/shm", name) for name in fake.starts[0]["shared"]]
    assert all(path.exists() or not path.parent.exists() for path in shared)
    if "sleep" in end:
        user.kill()
    user.wait(10)
    assert eventually(lambda: not fake.alive and not any(path.exists() for path in shared), seconds + 0.25)


def test_drafts_of_a_server(fake: FakeVllm) -> None:
    """Lines of several tokens are read to the token, glimpses too; the flags go through, and a seed has its note."""
    flags = ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}']
    engine = fake.vllm({"large": flags}, merge=4, drafted={"timings": {"draft_n": 8, "draft_n_accepted": 5}})
    router = GlimpRouter.from_pretrained(SMALL, LARGE, RandomRate(0.5), engine=engine)
    done = ask(router)
    assert said(done) == WHOLE
    assert done.summary().notes == ()
    requests = sum(step.engine == "large" for step in done.steps)
    assert (done.usage.large.drafted_tokens, done.usage.large.accepted_tokens) == (8 * requests, 5 * requests)
    seeded = ask(router, SamplingParams(temperature=0.7, seed=3))
    assert [note for note in seeded.summary().notes if "a seed gives another text" in note]
    assert fake.starts[1]["arguments"][-6:-4] == flags


def test_signals_of_the_terminal_do_not_reach_a_server(fake: FakeVllm) -> None:
    """Ctrl-C goes to the whole group of a terminal's processes: a server has one of its own."""
    router = GlimpRouter.from_pretrained(SMALL, LARGE, AlwaysSmall(), engine=fake.vllm())
    router.small.load()
    (start,) = fake.starts
    assert os.getpgid(start["pid"]) != os.getpgid(0)
    with suppress(ProcessLookupError):
        os.kill(start["pid"], signal.SIGKILL)
    assert eventually(lambda: not fake.alive, 1)
