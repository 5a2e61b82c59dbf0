"""Remote engines on scripted servers: one request a small step, two a large one, the same text everywhere."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tiny
from glimp_core import (
    AlwaysLarge,
    AlwaysSmall,
    ConfigError,
    GlimpRouter,
    RandomRate,
    RouterConfig,
    SamplingParams,
)
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.testing import ScriptedEngine
from remote.kit import ANSWER, STEPS, TABLE, TOKENS, TOP20, engine, glimpser, pair, run, script
from remote.scripts import Script, Served
from remote.served import ScriptedServer

WHOLE = "".join(STEPS)
KINDS = ["vllm", "old vllm", "sglang", "llamacpp"]


@pytest.fixture(autouse=True)
def _counts(request: pytest.FixtureRequest) -> None:
    """Each test counts its own requests."""
    if "servers" in request.fixturenames:
        for served in request.getfixturevalue("servers"):
            served.asked.clear()
            served.headers.clear()
            served.closed_by_client = served.written = 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merge", [1, 3])
def test_every_server_gives_the_same_reply(kind: str, merge: int) -> None:
    """However a server names ids, cuts stops and merges tokens into chunks, the reply is the script to the last id."""
    said = script()
    with ScriptedServer(said, kind, merge=merge) as small, ScriptedServer(said, kind, merge=merge) as large:
        done, ids = run(pair(small, large))
    assert (done.reasoning, done.answer) == (WHOLE, ANSWER)
    assert ids == said.reply
    assert {step.engine for step in done.steps} == {"small", "large"}
    assert [step.text for step in done.steps if step.phase == "thinking"] == list(STEPS)


def test_one_request_a_small_step_two_a_large_one(router: GlimpRouter, servers: tuple[Served, Served]) -> None:
    """A glimpse and the small model's step are one request; a large step costs the glimpse and the step."""
    small, large = servers
    done, _ = run(router)
    by_large = sum(step.engine == "large" for step in done.steps if step.phase == "thinking")
    assert 0 < by_large < len(STEPS)
    assert len(small.asked) == len(STEPS)
    assert len(large.asked) == by_large + 1  # and the answer
    assert done.usage.small.glimpses == len(STEPS)


def test_a_step_that_another_writes_is_stopped_at_once() -> None:
    """When the large model takes over, the small one's server is left within a moment and stops to write."""
    long = script(("word " * 200 + "\n\n", "End.\n\n"))
    with ScriptedServer(long, pace=0.002) as small, ScriptedServer(long, pace=0.002) as large:
        router = pair(small, large, AlwaysLarge(), RouterConfig(entropy="top20", max_step_tokens=2000))
        router.load()
        before = small.written
        done, _ = run(router)
        assert done.reasoning == "word " * 200 + "\n\nEnd.\n\n"
        assert small.closed_by_client >= 2, "once by the probe; a short step may end before it is left"
        assert small.written - before < 300, "of 1015 tokens"


def test_connections_are_used_again(servers: tuple[Served, Served]) -> None:
    """Streams that end by themselves leave their connection to the next request."""
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        router = pair(small, large, AlwaysSmall())
        router.load()
        before = small.connections
        for _ in range(5):
            run(router)
        assert len(small.asked) == 5 * len(STEPS)
        assert small.connections - before <= 1


def test_the_law_of_drawing_reaches_the_server(router: GlimpRouter, servers: tuple[Served, Served]) -> None:
    """Temperature, top-p, top-k and a seed go with every request, the limit of the answer with the answer."""
    law = SamplingParams(temperature=0.6, top_p=0.9, top_k=7, seed=3, max_tokens=9)
    run(router, sampling=law)
    asked = [*servers[0].asked, *servers[1].asked]
    assert {(body["temperature"], body["top_p"], body["top_k"]) for body in asked} == {(0.6, 0.9, 7)}
    seeds = [body["seed"] for body in servers[0].asked]
    assert len(set(seeds)) == len(seeds)
    assert servers[1].asked[-1]["max_tokens"] == 9
    servers[0].asked.clear()
    run(router, sampling=law)
    assert [body["seed"] for body in servers[0].asked] == seeds


def test_what_nobody_says_is_left_to_the_server(router: GlimpRouter, servers: tuple[Served, Served]) -> None:
    """Without a generation config beside the tokenizer, an unsaid law is the server's own."""
    run(router)
    assert not {"temperature", "top_p", "top_k", "seed"} & set(servers[0].asked[0])


def test_a_tempering_server_is_told_the_temperature() -> None:
    """Log-probabilities at an unknown temperature could not be read: it is said where nobody said it."""
    with ScriptedServer(script(), tempered=True) as served:
        run(pair(served, served))
        assert served.asked[0]["temperature"] == 1.0


def test_usage(router: GlimpRouter) -> None:
    """Tokens add up, and each model's part is what its server was sent for the first time and wrote."""
    done, ids = run(router)
    assert done.usage.completion_tokens == len(ids)
    small, large = done.usage.small, done.usage.large
    assert small.decode_tokens + large.decode_tokens == len(ids)
    prompt = done.usage.prompt_tokens
    thinking = len(TABLE.encode(WHOLE))
    assert prompt <= small.prefill_tokens <= prompt + thinking
    assert small.prefill_seconds > 0
    assert done.summary().large_alone_seconds


def test_cached_tokens_are_what_the_server_says() -> None:
    """The prompt tokens that a server found in its prefix cache are reported, once a request."""
    with ScriptedServer(script(), cached=16) as small, ScriptedServer(script(), cached=8) as large:
        done, _ = run(pair(small, large, AlwaysLarge()))
        assert done.usage.large.cached_tokens == 8
        assert done.usage.large.prefill_tokens == done.usage.prompt_tokens - 8 + len(TABLE.encode(WHOLE)) + 1


def test_cached_tokens_of_a_glimpsed_step() -> None:
    """A server tells them at the end of the step, when the glimpse has counted the prompt as read: it is set right."""
    with ScriptedServer(script(), cached=16) as small, ScriptedServer(script()) as large:
        done, _ = run(pair(small, large, AlwaysSmall()))
        first = done.routed[0].glimpse.usage + done.steps[0].usage
        assert (first.cached_tokens, first.prefill_tokens) == (16, done.usage.prompt_tokens - 16)
        assert done.usage.small.cached_tokens == done.usage.cached_tokens == 16


def test_many_at_once(router: GlimpRouter, servers: tuple[Served, Served]) -> None:
    """Requests of many threads share a pool of connections, and none sees another's tokens."""
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda _: run(router)[1], range(48)))
    assert replies == [script().reply] * 48
    assert all(served.connections < 60 for served in servers)


def test_different_tokenizers() -> None:
    """Models of different vocabularies hand over text, and each server gets the chain in its own ids."""
    other = tiny.tokenizer(merges=["\n\n", "he", "on"])
    assert Vocabulary(other).key != TABLE.key
    with ScriptedServer(script()) as small, ScriptedServer(script(tokens=other)) as large:
        router = GlimpRouter(glimpser(small), engine(large, tokenizer=other), RandomRate(0.5), TOP20)
        done, _ = run(router)
    assert (done.reasoning, done.answer) == (WHOLE, ANSWER)
    assert {step.engine for step in done.steps} == {"small", "large"}


def test_an_engine_that_is_given_passes() -> None:
    """from_pretrained takes remote engines as they are."""
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        one, two = glimpser(small), engine(large)
        router = GlimpRouter.from_pretrained(small=one, large=two, config=TOP20)
        assert (router.small, router.large) == (one, two)
        assert router.window == 4096


def test_an_engine_that_cannot_glimpse_is_no_small_model() -> None:
    """A RemoteEngine is refused as the small model before anything is sent."""
    with ScriptedServer(script()) as served:
        one: Any = engine(served)
        with pytest.raises(ConfigError, match="cannot be the small model"):
            GlimpRouter(one, one)
        assert served.connections == 0


def test_nothing_is_sent_before_the_first_request() -> None:
    """Making engines and routers reaches for no server."""
    with ScriptedServer(script()) as served:
        pair(served, served)
        assert served.connections == 0


def test_a_mixed_pair_with_a_local_model() -> None:
    """A model in this process and one at a server share a chain, in either role."""
    steps = [*STEPS[:-1], STEPS[-1] + "</think>"]
    for small_is_remote in (True, False):
        with ScriptedServer(script()) as served:
            here = ScriptedEngine(steps, "\n\n" + ANSWER, name="here")
            there = glimpser(served) if small_is_remote else engine(served)
            roles: Any = (there, here) if small_is_remote else (here, there)
            done = GlimpRouter(*roles, RandomRate(0.5), TOP20).generate("?")
            assert (done.reasoning, done.answer) == (WHOLE, ANSWER)
            assert {step.engine for step in done.steps} == {"small", "large"}


def test_an_end_that_no_config_told_of() -> None:
    """A control token with which a server stops is an end, and no part of the text."""
    said = script()
    other = TABLE.token_bytes.index(None)
    assert other not in (TOKENS.eos_token_id, said.open_id)
    stranger = Script(TABLE, [*said.reply[:-1], other], said.open_id, size=said.size)
    for kind in KINDS:
        with ScriptedServer(stranger, kind) as served:
            done, _ = run(pair(served, served))
            assert (done.answer, done.steps[-1].end) == (ANSWER, "eos")


def test_a_step_longer_than_a_glimpse_asks_for() -> None:
    """A step goes on with a further request where the first one's limit ended it."""
    long = "x" * 700 + "\n\n"
    with ScriptedServer(script((long, "End.\n\n"))) as served:
        config = RouterConfig(entropy="top20", max_step_tokens=1000)
        done, _ = run(pair(served, served, AlwaysSmall(), config))
        assert done.steps[0].text == long


def test_max_step_tokens_closes_a_stream() -> None:
    """A step that reaches its limit is cut there, and what follows is glimpsed at anew."""
    with ScriptedServer(script(("abcdefghij" * 4 + "k" * 60 + "\n\n",))) as served:
        done, _ = run(pair(served, served, AlwaysSmall(), RouterConfig(entropy="top20", max_step_tokens=40)))
        assert [(step.tokens, step.end) for step in done.steps[:3]] == [(40, "length"), (40, "length"), (21, "break")]


def test_a_blank_line_before_the_text_is_no_step() -> None:
    """A server that stops at a leading blank line is asked on: the step ends with its text."""
    with ScriptedServer(script(("\n\nOne.\n\n", "Two.\n\n"))) as served:
        done, _ = run(pair(served, served, AlwaysSmall()))
        assert [step.text for step in done.steps[:2]] == ["\n\nOne.\n\n", "Two.\n\n"]


@pytest.mark.parametrize("definition", ["top20", "full"])
def test_every_prompt_that_is_sent_counts(definition: Any) -> None:
    """A server is paid for each prompt anew: the counts are those of all requests, and of what its cache held."""
    whole = {"max_logprobs": -1, "cached": 5}
    with ScriptedServer(script(), **whole) as small, ScriptedServer(script(), **whole) as large:
        done, _ = run(pair(small, large, RandomRate(0.5), RouterConfig(entropy=definition)))
    for served, usage in ((small, done.usage.small), (large, done.usage.large)):
        assert usage.sent_tokens == sum(len(body["prompt"]) for body in served.asked)
        assert 0 < usage.sent_cached_tokens <= 5 * len(served.asked)
