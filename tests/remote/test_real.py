"""A real server beside the local engine on the same weights, in float32. Opt-in: it needs a server and minutes.

vllm serve MODEL --dtype float32 --max-logprobs -1 --served-model-name served
GLIMP_SERVER=http://127.0.0.1:8000/v1 GLIMP_MODEL=MODEL python -m pytest -s tests/remote/test_real.py -m slow
"""

import json
import os
import time
import urllib.request
from contextlib import closing
from typing import Any

import pytest

from glimp_core import AlwaysSmall, EntropyThreshold, GlimpRouter, RandomRate, RouterConfig, SamplingParams
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.context import Context
from glimp_core.remote import RemoteEngine, RemoteGlimpser
from glimp_core.types import GenerationParams, Request

URL, FOLDER = os.environ.get("GLIMP_SERVER", ""), os.environ.get("GLIMP_MODEL", "")
NAME = os.environ.get("GLIMP_SERVED_NAME", "served")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not (URL and FOLDER), reason="GLIMP_SERVER and GLIMP_MODEL are not set"),
]

GREEDY = SamplingParams(temperature=0)
QUESTIONS = (
    "What is the capital of France, and what is it known for?",
    "List three primary colours, one a line.",
    "Explain in two paragraphs why the sky is blue.",
    "Write a haiku about rain, and then one about snow.",
    "Füge die Zahlen 17 und 25 zusammen. Erkläre es kurz.",
    "How does a bicycle stay upright? Answer in two paragraphs.",
)
INLINE = {"reasoning": "inline", "max_answer_tokens": 48, "max_step_tokens": 6}
"""Short steps, for many glimpses."""


@pytest.fixture(scope="module")
def local() -> Any:
    import torch

    from glimp_core.local import LocalEngine

    torch.set_num_threads(1)
    return LocalEngine.from_pretrained(FOLDER, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def remote() -> RemoteGlimpser:
    return RemoteGlimpser(URL, NAME, tokenizer=FOLDER, timeout=300)


def test_what_the_server_does(remote: RemoteGlimpser) -> None:
    """vLLM speaks token ids, keeps stop strings, streams, shows raw log-probabilities and aborts closed streams."""
    print(f"\n{remote.capabilities}")
    found = remote.capabilities
    assert (found.ids, found.keeps_stop, found.in_one_piece, found.scale, found.by_id) == (
        True,
        True,
        False,
        "raw",
        True,
    )
    assert found.aborts is not False


def _write(engine: Any, question: str, tokens: int = 64) -> str:
    with Context(Request(({"role": "user", "content": question},), sampling=GREEDY), "inline") as context:
        chunks = engine.generate(context, GenerationParams("answer", tokens, stepwise=False, sampling=GREEDY))
        with closing(chunks):
            return "".join(chunk.text for chunk in chunks)


def test_greedy_text_is_the_same(local: Any, remote: RemoteGlimpser) -> None:
    """The same weights write the same greedy text here and there."""
    same = [_write(local, question) == _write(remote, question) for question in QUESTIONS]
    print(f"\nsame greedy text: {sum(same)} of {len(same)}")
    assert all(same)


@pytest.mark.parametrize("entropy", ["top20", "full"])
def test_entropies_and_routed_text_are_the_same(local: Any, remote: RemoteGlimpser, entropy: Any) -> None:
    """Routed with the same draws, a remote pair writes what a local one does, and sees the same entropies."""
    config = RouterConfig(entropy=entropy, **INLINE)  # type: ignore[arg-type]
    large = RemoteEngine(URL, NAME, tokenizer=FOLDER, timeout=300)
    pairs = [GlimpRouter(local, local, AlwaysSmall(), config), GlimpRouter(remote, large, AlwaysSmall(), config)]
    mixed = GlimpRouter(local, large, RandomRate(0.5), config)
    worst, glimpses = 0.0, 0
    for question in QUESTIONS[: 6 if entropy == "top20" else 2]:
        here, there = (pair.generate(question, sampling=GREEDY) for pair in pairs)
        assert there.answer == here.answer == mixed.generate(question, sampling=GREEDY).answer
        for one, other in zip(here.routed, there.routed, strict=True):
            worst = max(worst, abs(one.glimpse.entropy - other.glimpse.entropy))
            glimpses += 1
    print(f"\n{entropy}: {glimpses} glimpses, entropies differ by {worst:.6f} nats at most")
    assert worst <= 0.02


def test_closing_a_stream_stops_the_server(remote: RemoteGlimpser) -> None:
    """Tokens of a step that another model writes are not generated: the server's counter stands still."""

    def written() -> float:
        with urllib.request.urlopen(f"{URL.removesuffix('/v1')}/metrics") as answer:
            text = answer.read().decode()
        return sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith("vllm:generation_tokens_total")
        )

    with Context(Request(({"role": "user", "content": QUESTIONS[2]},), sampling=GREEDY), "inline") as context:
        remote.glimpse(context, "top20")
        context.hand_to(None)
        time.sleep(0.5)
        before = written()
        time.sleep(1.5)
        assert written() == before


def test_a_schema_holds(remote: RemoteGlimpser) -> None:
    """A response_format makes JSON certain, also where the tokens run out."""
    properties = {"city": {"type": "string"}, "people": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["city", "people"]}
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}}
    router = GlimpRouter(remote, remote, config=RouterConfig(entropy="top20"))
    for limit in (16, 40, 100):
        done = router.generate(
            QUESTIONS[0], response_format=form, sampling=SamplingParams(temperature=0, max_tokens=limit)
        )
        print(f"\n{limit}: {done.answer!r}")
        assert set(json.loads(done.answer)) == {"city", "people"}


def test_a_demanded_call_comes(remote: RemoteGlimpser) -> None:
    """tool_choice="required" gives a call of an offered tool with arguments that fit."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    router = GlimpRouter(remote, remote, config=RouterConfig(entropy="top20"))
    done = router.generate("What is the weather in Paris?", tools=[tool], tool_choice="required", sampling=GREEDY)
    print(f"\n{done.tool_calls} {done.invalid_tool_calls}")
    assert [call.name for call in done.tool_calls] == ["weather"]
    assert isinstance(done.tool_calls[0].arguments["city"], str)
    assert done.finish_reason == "tool_calls"


def test_a_call_or_json(remote: RemoteGlimpser) -> None:
    """With tools and a response_format the reply is a call or the JSON, one of the two."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": parameters}}
    router = GlimpRouter(remote, remote, config=RouterConfig(entropy="top20"))
    sampling = SamplingParams(temperature=0, max_tokens=60)
    done = router.generate("What is the weather in Paris?", tools=[tool], response_format=form, sampling=sampling)
    print(f"\n{done.answer!r} {done.tool_calls}")
    assert done.tool_calls or set(json.loads(done.answer)) == {"city"}


SMALL, LARGE = (os.environ.get(f"GLIMP_THINKING_{size}", "") for size in ("SMALL", "LARGE"))
"""A pair that thinks, each as "URL MODEL_FOLDER", served under the names of the folders."""


@pytest.mark.skipif(not (SMALL and LARGE), reason="GLIMP_THINKING_SMALL and GLIMP_THINKING_LARGE are not set")
def test_a_pair_that_thinks() -> None:
    """A chain of thought routed over two servers is the one of the same pair in this process, decision by decision."""
    from glimp_core.local import LocalEngine

    (small_url, small_folder), (large_url, large_folder) = SMALL.split(), LARGE.split()
    small, large = (LocalEngine.from_pretrained(folder, dtype="float32") for folder in (small_folder, large_folder))
    there = [
        RemoteGlimpser(small_url, os.path.basename(small_folder), tokenizer=small_folder, timeout=300),
        RemoteEngine(large_url, os.path.basename(large_folder), tokenizer=large_folder, timeout=300),
    ]
    policy, config = EntropyThreshold(0.3, entropy="top20"), RouterConfig(entropy="top20")
    for seed in range(6):
        question = make_problem(HELD_OUT + seed).question
        done = [
            GlimpRouter(a, b, policy, config).generate(question, sampling=GREEDY)
            for a, b in ((small, large), there, (small, there[1]), (there[0], large))
        ]
        print(f"\n{done[0].summary().intervention_rate:.2f} {len(done[0].steps)} steps: {done[0].answer[-60:]!r}")
        assert {one.reasoning for one in done} == {done[0].reasoning}
        assert {one.answer for one in done} == {done[0].answer}
        for one in done[1:]:
            pairs = zip(done[0].routed, one.routed, strict=True)
            assert max(abs(a.glimpse.entropy - b.glimpse.entropy) for a, b in pairs) <= 0.02
