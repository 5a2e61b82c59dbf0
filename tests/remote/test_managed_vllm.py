"""Real vLLM, started by Glimp: opt-in, by GLIMP_VLLM=/path/to/vllm (tools of a CPU build will do) and `-m slow`.

Two servers start one after the other, a minute each on two cores, and serve all tests of this file.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glimp_core import AlwaysLarge, Completion, EntropyThreshold, GlimpRouter, RouterConfig, SamplingParams
from glimp_core.remote import Vllm
from glimp_core.remote.managed import stop_servers
from glimp_core.remote.stream_usage import StreamUsage
from glimp_core.remote.wire import CompletionChunk

VLLM = os.environ.get("GLIMP_VLLM", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not VLLM, reason="GLIMP_VLLM is not set"),
]

SMALL, LARGE = "glimp-tiny-small", "glimp-tiny-large"
GREEDY = SamplingParams(temperature=0)
FLAGS = ["--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "4", "--block-size", "32",
         "--num-gpu-blocks-override", "128"]  # fmt: skip
ENVIRONMENT = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "TORCH_COMPILE_DISABLE": "1",
               "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": "", "VLLM_CPU_KVCACHE_SPACE": "1"}  # fmt: skip
NGRAM = '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 2}'
QUESTIONS = [
    "Ann has 12 apples. Bob has 3 fewer than Ann. How many have they?",
    "Start with 5 and count modulo 31. First *9. Second +3. Third *8. What is the result?",
    "Start with 11 and count modulo 31. First +7. Second *9. Third -4. Fourth *8. What is the result?",
]


def engine(**options: Any) -> Vllm:
    """vLLM as it serves the bundled pair on a CPU."""
    return Vllm(python=VLLM, flags=FLAGS, environment=ENVIRONMENT, **options)


@pytest.fixture(scope="module")
def served() -> Iterator[GlimpRouter]:
    router = GlimpRouter.from_pretrained(SMALL, LARGE, engine=engine(), dtype="float32")
    began = time.monotonic()
    router.load()
    print(f"\nboth servers up after {time.monotonic() - began:.0f} s")
    yield router
    stop_servers()


class Counted:
    """Counts the completions that an engine asks its server for."""

    def __init__(self, router: GlimpRouter, patch: pytest.MonkeyPatch):
        self.small = self.large = 0
        for role in ("small", "large"):
            engine: Any = getattr(router, role)
            # a server that Glimp started tells of its requests nowhere, and this is where each of them begins
            patch.setattr(engine, "_feed", self._counting(role, engine._feed))

    def _counting(self, role: str, feed: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            setattr(self, role, getattr(self, role) + 1)
            return feed(*args)

        return counted


def seconds_of_steps(done: Completion, role: str) -> list[float]:
    return [step.seconds for step in done.steps if step.engine == role and step.phase == "thinking"]


def test_a_managed_pair_equals_the_local_one(served: GlimpRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token for token, by the same writers, in nine routed runs; a step is one request, a refused glimpse one more."""
    here = GlimpRouter.from_pretrained(SMALL, LARGE, dtype="float32", config=RouterConfig(speculate=False))
    added: dict[str, list[float]] = {"small": [], "large": []}
    for threshold, entropy in ((0.3, "top20"), (1.0, "top20"), (0.3, "full")):
        policy, config = EntropyThreshold(threshold, entropy=entropy), RouterConfig(entropy=entropy, speculate=False)
        for question in QUESTIONS:
            one = GlimpRouter(here.small, here.large, policy, config).generate(question, sampling=GREEDY)
            with monkeypatch.context() as patch:
                counted = Counted(served, patch)
                other = GlimpRouter(served.small, served.large, policy, config).generate(question, sampling=GREEDY)
            writers = "".join(step.engine[0] for step in other.steps)
            apart = [abs(a.glimpse.entropy - b.glimpse.entropy) for a, b in zip(one.routed, other.routed, strict=True)]
            print(
                f"{threshold} {entropy}: {writers}, requests {counted.small} + {counted.large}, entropies within "
                f"{max(apart, default=0):.1e}, read again {other.usage.small.prefill_tokens} + "
                f"{other.usage.large.prefill_tokens}, cached {other.usage.small.cached_tokens} + "
                f"{other.usage.large.cached_tokens}, of a prompt of {other.usage.prompt_tokens}, "
                f"{other.usage.completion_tokens} written"
            )
            assert [(s.engine, s.tokens, s.text) for s in one.steps] == [
                (s.engine, s.tokens, s.text) for s in other.steps
            ]
            assert (one.reasoning, one.answer) == (other.reasoning, other.answer)
            assert max(apart, default=0) < 1e-3
            assert other.summary().notes == ()
            own = sum(step.engine == "small" for step in other.steps)
            # of the whole vocabulary one token is asked for: what goes on after it is a second request
            assert 0 <= counted.small - len(other.routed) <= (own if entropy == "full" else 0)
            assert counted.large == sum(step.engine == "large" for step in other.steps)
            for role in ("small", "large"):
                both = zip(seconds_of_steps(one, role), seconds_of_steps(other, role), strict=True)
                added[role] += [1000 * (there - local) for local, there in both]
    for role, times in added.items():
        print(f"added to a step of the {role} model: median {statistics.median(times):.0f} ms of {len(times)}")


def test_drafts_of_the_large_model_change_no_word(served: GlimpRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    """With vLLM's n-gram drafter under the large model text, forms and requests are the same; a seed has its note."""
    config = RouterConfig(entropy="top20")
    drafted = GlimpRouter.from_pretrained(
        served.small, LARGE, config=config, engine=engine(large=["--speculative-config", NGRAM]), dtype="float32"
    )
    drafted.load()
    take = StreamUsage.take
    for question in QUESTIONS:
        found = []
        for large in (served.large, drafted.large):
            lines: list[int] = []
            with monkeypatch.context() as patch:
                # how many tokens a line of a stream holds is summed up and told nowhere
                patch.setattr(StreamUsage, "take", _noting(take, lines))
                router = GlimpRouter(served.small, large, AlwaysLarge(), config)
                counted = Counted(router, patch)
                done = router.generate(question, sampling=GREEDY)
            print(f"{counted.large} requests, {len(lines)} lines for {sum(lines)} tokens, at most {max(lines)} in one")
            found.append((done.reasoning, done.answer, counted.large))
        assert found[0] == found[1]
    schema = {"type": "object", "properties": {"result": {"type": "integer", "maximum": 99}}, "required": ["result"]}
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    bound = [
        GlimpRouter(served.small, large, AlwaysLarge(), config).generate(
            QUESTIONS[1], response_format=form, sampling=GREEDY
        )
        for large in (served.large, drafted.large)
    ]
    print([done.answer for done in bound])
    assert bound[0].answer == bound[1].answer
    seeded = GlimpRouter(served.small, drafted.large, AlwaysLarge(), config).generate(
        QUESTIONS[0], sampling=SamplingParams(temperature=0.8, seed=7)
    )
    assert any("a seed gives another text" in note for note in seeded.summary().notes)


def _noting(take: Callable[..., None], lines: list[int]) -> Callable[..., None]:
    def noted(meter: StreamUsage, piece: CompletionChunk) -> None:
        take(meter, piece)
        if piece.token_ids:
            lines.append(len(piece.token_ids))

    return noted


USER = """
import sys
from glimp_core import AlwaysLarge, GlimpRouter
from remote.test_managed_vllm import LARGE, engine
from glimp_core.testing import ScriptedEngine
router = GlimpRouter.from_pretrained(ScriptedEngine(["a"]), LARGE, AlwaysLarge(), engine=engine(), dtype="float32")
for event in router.stream("Start with 5 and count modulo 31. First *9. Second +3. What is the result?"):
    if type(event).__name__ == "Delta":
        print("writing", flush=True)
        sys.stdin.read()
"""


def test_kill_in_a_reply_leaves_nothing() -> None:
    """kill -9 of the user in the middle of a reply: every process of the server is gone within a second."""
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{os.environ.get('PYTHONPATH', '')}"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    shared = set(os.listdir("/dev/shm"))
    with subprocess.Popen([sys.executable, "-c", USER], env=environment, **pipes) as user:
        assert user.stdout
        assert user.stdout.readline() == b"writing\n"
        (guard,) = _children(user.pid)
        left = {guard} | set(_descendants(guard))
        print(f"\n{len(left)} processes")
        user.kill()
        killed = time.monotonic()
        while left and time.monotonic() < killed + 5:
            left = {pid for pid in left if _runs(pid)}
            time.sleep(0.02)
        seconds = time.monotonic() - killed
        memory = set(os.listdir("/dev/shm")) - shared
        print(f"left after {seconds:.2f} s: {left} of its processes, {memory} of its shared memory")
        assert not left
        assert not memory
        assert seconds < 1


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for child in (task / "children").read_text().split()
    ]


def _descendants(pid: int) -> list[int]:
    return [found for child in _children(pid) for found in (child, *_descendants(child))]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
