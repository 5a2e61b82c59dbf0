"""Servers that Glimp starts itself, with a `vllm` that has no models."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glimp_core import (
    AlwaysLarge,
    AlwaysSmall,
    Completion,
    ConfigError,
    EntropyThreshold,
    GlimpRouter,
    ModelLoadError,
    RandomRate,
    RemoteEngineError,
    RouterConfig,
    SamplingParams,
)
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.pair import Pair, release
from glimp_core.remote import LlamaCpp, RemoteEngine, RemoteGlimpser, Vllm
from glimp_core.remote.managed import stop_servers
from glimp_core.source import ModelSource, load_tokenizer
from glimp_core.testing import ScriptedEngine
from remote.kit import ANSWER, STEPS

SMALL, LARGE = "glimp-tiny-small", "glimp-tiny-large"
GREEDY = SamplingParams(temperature=0)
PROGRAM = Path(__file__).with_name("fake_vllm.py")


@dataclass
class FakeVllm:
    """A folder with a `vllm` in it, and what became of its starts."""

    folder: Path

    def vllm(self, options: dict[str, Any] | None = None, **trouble: Any) -> Vllm:
        """How it is to be run, and what goes wrong."""
        environment = {"FAKE_FOLDER": str(self.folder), "FAKE_TROUBLE": json.dumps(trouble)}
        return Vllm(python=str(self.folder / "vllm"), environment=environment, **options or {})

    @property
    def starts(self) -> list[dict[str, Any]]:
        """The starts so far, first to last."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("start-*"))]

    @property
    def requests(self) -> list[tuple[str, list[int]]]:
        """The prompts of completions, with the model that was asked."""
        return [tuple(json.loads(path.read_text())) for path in sorted(self.folder.glob("request-*"))]

    @property
    def alive(self) -> set[int]:
        """The processes that are there of all that were started."""
        return {start[kind] for start in self.starts for kind in ("pid", "child") if _alive(start[kind])}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def eventually(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return true()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeVllm]:
    """A fake vLLM with the script of the other tests, in the bundled pair's tokens."""
    table = Vocabulary.of(load_tokenizer(ModelSource.of(SMALL)))
    reply = [
        *(i for step in STEPS for i in table.encode(step)), table.markers["</think>"],
        *table.encode("\n\n" + ANSWER), table.markers["<|im_end|>"],
    ]  # fmt: skip
    script = {
        "reply": reply,
        "probe": table.encode(" 8, 9, 10, 11, 12, 13, 14, 15"),
        "bytes": [(piece or b"").hex() for piece in table.token_bytes],
        "open": table.markers["<think>"],
    }
    (tmp_path / "script.json").write_text(json.dumps(script))
    (tmp_path / "vllm").write_text(f'#!/bin/sh\nexec {sys.executable} -S {PROGRAM} "$@"\n')
    (tmp_path / "vllm").chmod(0o755)
    made = FakeVllm(tmp_path)
    yield made
    stop_servers()
    assert eventually(lambda: not made.alive, 1)


def ask(router: GlimpRouter, sampling: SamplingParams = GREEDY) -> Completion:
    return router.generate("What is two and two?", sampling=sampling)


def pair(large: Vllm) -> GlimpRouter:
    """A small model without weights, and a large one at a server."""
    small = ScriptedEngine(STEPS, answer="It is here.")
    return GlimpRouter.from_pretrained(small, LARGE, AlwaysLarge(), engine=large)


def said(done: Completion) -> str:
    return done.reasoning + done.answer


WHOLE = "".join(STEPS) + ANSWER


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
    assert eventually(lambda: not fake.alive, 1)
    assert eventually(lambda: not any(log.exists() for log in logs), 1)


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
    import threading

    from glimp_core import Cancelled

    router = GlimpRouter.from_pretrained(SMALL, LARGE, AlwaysSmall(), engine=fake.vllm(slow=1.0))
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        list(router.stream("hi", cancelled=cancelled))
    assert time.monotonic() - began < 0.9
    assert said(ask(router)) == WHOLE
    assert len(fake.starts) == 2


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
    assert any("was asked again" in note for note in done.summary().notes)


def test_one_restart_and_then_the_small_model(fake: FakeVllm) -> None:
    """A server that dies again is not started a third time: its error is raised, or the small model writes the rest."""
    router = pair(fake.vllm(dies_in_reply=9))
    with pytest.raises(RemoteEngineError, match="ended again after it had been started anew"):
        ask(router)
    assert len(fake.starts) == 2
    done = ask(GlimpRouter(router.small, router.large, AlwaysLarge(), RouterConfig(on_large_failure="small")))
    assert len(fake.starts) == 2
    assert done.answer == "It is here."
    assert any("started anew" in note for note in done.summary().notes)


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
        ("os._exit(3)", 1.0),
        ("sys.exit(3)", 0.0),
        ("raise KeyboardInterrupt", 0.0),
    ],
)
def test_nothing_is_left_however_the_process_ends(fake: FakeVllm, end: str, seconds: float) -> None:
    """kill -9, also with a forked child left: gone within a second; an orderly end waits until all is."""
    environment = {**os.environ, "FAKE_FOLDER": str(fake.folder)}
    command = [sys.executable, "-c", USER, str(fake.folder / "vllm"), end]
    user = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert user.stdout
    assert user.stdout.readline() == b"up\n"
    assert len(fake.alive) == 2
    if "sleep" in end:
        user.kill()
    user.wait(10)
    assert eventually(lambda: not fake.alive, seconds + 0.25)


def test_drafts_of_a_server(fake: FakeVllm) -> None:
    """Lines of several tokens are read to the token, glimpses too; the flags go through, and a seed has its note."""
    flags = ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}']
    engine = fake.vllm({"large": flags}, merge=4)
    router = GlimpRouter.from_pretrained(SMALL, LARGE, RandomRate(0.5), engine=engine)
    assert said(ask(router)) == WHOLE
    assert ask(router).summary().notes == ()
    seeded = ask(router, SamplingParams(temperature=0.7, seed=3))
    assert [note for note in seeded.summary().notes if "a seed gives another text" in note]
    assert fake.starts[1]["arguments"][-6:-4] == flags


def test_no_vllm_is_one_error_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, the two commands that make an environment for it are named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=r"venv ~/vllm-env.*pip install vllm"):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine="vllm")
    with pytest.raises(ConfigError, match="not found at '/nowhere/bin/vllm'"):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine=Vllm(python="/nowhere/bin/python3"))
    with pytest.raises(ConfigError, match=r"reads .gguf files, and 'glimp-tiny-small' is a folder with 0"):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine=LlamaCpp())


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        ("vlm", {}, "did you mean 'vllm'"),
        (3, {}, "engine=3 cannot work"),
        ({"larg": "vllm"}, {}, "did you mean 'large'"),
        ("FAKE", {"device": "cuda:1"}, "device='cuda:1' is for models in this process"),
        ("FAKE", {"prepacked": True}, "prepacked=True is for models in this process"),
        ("FAKE", {"dtype": "int3"}, "dtype='int3'"),
    ],
)
def test_mistakes(fake: FakeVllm, engine: Any, options: dict[str, Any], says: str) -> None:
    """They are refused before anything starts."""
    with pytest.raises(ConfigError, match=says):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine=fake.vllm() if engine == "FAKE" else engine, **options)
    assert fake.starts == []


@pytest.mark.parametrize(
    "options",
    [
        {"memory": {"small": 0}},
        {"memory": {"smal": 0.1}},
        {"memory": {"small": 1.5}},
        {"memory": {"small": True}},
        {"large": "--flag"},
        {"start_timeout": 0},
    ],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    """They are refused where they are written."""
    with pytest.raises(ConfigError, match="cannot work"):
        Vllm(**options)


@pytest.mark.parametrize(
    ("memory", "flags", "small", "large"),
    [
        ({}, [], "--kv-cache-memory-bytes 4294967296", "--gpu-memory-utilization 0.72"),
        ({"small": 0.2, "large": 2**30}, [], "--gpu-memory-utilization 0.2", "--kv-cache-memory-bytes 1073741824"),
        ({}, ["--gpu_memory_utilization=0.4"], "", ""),
    ],
)
def test_two_servers_share_a_card(
    fake: FakeVllm, monkeypatch: pytest.MonkeyPatch, memory: Any, flags: Sequence[str], small: str, large: str
) -> None:
    """The small model's cache is exact, and the large model gets what is free when its turn comes."""
    (fake.folder / "nvidia-smi").write_text("#!/bin/sh\necho 60000, 80000\necho 70000, 80000\n")
    (fake.folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    engine = fake.vllm({"memory": memory, "flags": flags})
    ask(GlimpRouter.from_pretrained(SMALL, LARGE, EntropyThreshold(1.0, entropy="top20"), engine=engine))
    for start, wanted in zip(fake.starts, (small, large), strict=True):
        found = " ".join(start["arguments"])
        if wanted:
            assert wanted in found
        else:
            assert found.count("gpu") == 1


def test_signals_of_the_terminal_do_not_reach_a_server(fake: FakeVllm) -> None:
    """Ctrl-C goes to the whole group of a terminal's processes: a server has one of its own."""
    router = GlimpRouter.from_pretrained(SMALL, LARGE, AlwaysSmall(), engine=fake.vllm())
    router.small.load()
    (start,) = fake.starts
    assert os.getpgid(start["pid"]) != os.getpgid(0)
    with suppress(ProcessLookupError):
        os.kill(start["pid"], signal.SIGKILL)
    assert eventually(lambda: not fake.alive, 1)
