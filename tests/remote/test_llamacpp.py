"""llama.cpp's real server with the bundled pair in float32, beside the same pair in this process."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import glimp_core
from glimp_core import (
    AlwaysLarge,
    Completion,
    Delta,
    EntropyThreshold,
    GlimpRouter,
    RouterConfig,
    SamplingParams,
)
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.local import LocalEngine
from glimp_core.remote import RemoteEngine, RemoteGlimpser
from remote.kit import limited
from remote.llamacpp import LlamaCpp, write_gguf

pytestmark = pytest.mark.skipif(not find_spec("xllamacpp"), reason="llama.cpp is not there: pip install xllamacpp")

FOLDERS = {role: Path(glimp_core.__file__).parent / "bundled" / f"glimp-tiny-{role}" for role in ("small", "large")}
GREEDY = SamplingParams(temperature=0)
TOP20 = RouterConfig(entropy="top20")
STORY = "Write a poem about ten."
"""The small model does not come to an end with it soon."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    for role, source in FOLDERS.items():
        write_gguf(source, folder / f"{role}.gguf")
    return {role: folder / f"{role}.gguf" for role in FOLDERS}


@pytest.fixture(scope="module")
def local() -> dict[str, LocalEngine]:
    return {role: LocalEngine.from_pretrained(str(folder), dtype="float32") for role, folder in FOLDERS.items()}


def test_a_remote_pair_writes_what_a_local_one_does(files: dict[str, Path], local: dict[str, LocalEngine]) -> None:
    """Chains, writers, answers and entropies are those of this process; asked again, the server has it in its cache."""
    policy = EntropyThreshold(0.3, entropy="top20")
    with LlamaCpp(files["small"]) as one, LlamaCpp(files["large"]) as other:
        small = RemoteGlimpser(one.url, "tiny", tokenizer=str(FOLDERS["small"]))
        engine = RemoteEngine(other.url, "tiny", tokenizer=str(FOLDERS["large"]))
        pairs = [(local["small"], local["large"]), (small, engine), (local["small"], engine)]
        for number in range(2):
            question = make_problem(HELD_OUT + 1 + number).question
            here, *there = (GlimpRouter(*pair, policy, TOP20).generate(question, sampling=GREEDY) for pair in pairs)
            for done in there:
                assert (done.reasoning, done.answer) == (here.reasoning, here.answer)
                assert [step.engine for step in done.steps] == [step.engine for step in here.steps]
                for ours, theirs in zip(here.routed, done.routed, strict=True):
                    assert ours.glimpse.entropy == pytest.approx(theirs.glimpse.entropy, abs=0.01)
                assert done.summary().notes == ()
            assert {step.engine for step in here.steps if step.phase == "thinking"} == {"small", "large"}
        again = GlimpRouter(small, engine, policy, TOP20).generate(question, sampling=GREEDY)
        assert again.usage.large.cached_tokens > again.usage.large.prefill_tokens
        assert again.usage.small.cached_tokens > 0


def test_slots_that_share_one_small_context(files: dict[str, Path]) -> None:
    """Three replies at once that fit one by one, and not together: all are whole, and the summary says why."""
    config = replace(TOP20, reasoning="off")
    sampling = SamplingParams(temperature=0, max_tokens=120)
    questions = [STORY, "nothing nothing nothing", "Write a story about apples."]
    with LlamaCpp(files["small"], context=256, slots=4, shared=True) as server:
        small = RemoteGlimpser(server.url, "tiny", tokenizer=str(FOLDERS["small"]))
        router = GlimpRouter(small, small, AlwaysLarge(), config)
        small.load()
        alone = [router.generate(question, sampling=sampling) for question in questions]
        assert sum(done.usage.completion_tokens for done in alone) > 256
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda question: router.generate(question, sampling=sampling), questions))
        last = router.generate(questions[0], sampling=sampling)
    assert [done.answer for done in together] == [done.answer for done in alone]
    assert any("share one context of 256 tokens" in note for done in together for note in done.summary().notes)
    assert "--parallel N" in last.summary().notes[0]


def _terminate(server: LlamaCpp) -> None:
    server.signal(signal.SIGTERM)


def _restart(server: LlamaCpp) -> None:
    server.kill()
    server.start()


def _freeze(server: LlamaCpp) -> None:
    server.signal(signal.SIGSTOP)


def _pause(server: LlamaCpp) -> None:
    server.signal(signal.SIGSTOP)
    threading.Timer(0.5, server.signal, (signal.SIGCONT,)).start()


@pytest.mark.parametrize(
    ("happens", "says", "writers"),
    [
        (_terminate, "the large model failed", {"large", "small"}),
        (_restart, "was repeated", {"large"}),
        (_freeze, "no answer for 1 seconds", {"large", "small"}),
        (_pause, "", {"large"}),
    ],
)
def test_a_server_that_is_stopped_in_the_middle(
    files: dict[str, Path],
    local: dict[str, LocalEngine],
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[LlamaCpp], None],
    says: str,
    writers: set[str],
) -> None:
    """kill -TERM, kill -9 and a restart, SIGSTOP: no word is lost or said twice, and the summary tells of it."""
    limited(monkeypatch, ASK_AFTER=0.1)
    config, sampling = (
        replace(TOP20, reasoning="off", on_large_failure="small"),
        SamplingParams(temperature=0, max_tokens=100),
    )
    tokenizer, restarts = str(FOLDERS["small"]), 20 if happens is _restart else 1
    with LlamaCpp(files["small"]) as server:
        engine = RemoteEngine(server.url, "tiny", tokenizer=tokenizer, token_timeout=1, retries=restarts)
        router = GlimpRouter(local["small"], engine, AlwaysLarge(), config)
        whole = router.generate(STORY, sampling=sampling)
        events, begun = [], False
        for event in router.stream(STORY, sampling=sampling):
            events.append(event)
            if isinstance(event, Delta) and not begun:
                begun = True
                happens(server)
    done = Completion.fold(events)
    assert done.usage.completion_tokens == whole.usage.completion_tokens == 100
    assert whole.answer.startswith(done.steps[0].text)
    assert done.answer == "".join(step.text for step in done.steps)
    assert {step.engine for step in done.steps} == writers
    told = [note for note in done.summary().notes if "'tiny'" in note]
    assert bool(told) == bool(says)
    assert says in " ".join(told)
