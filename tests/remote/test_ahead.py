"""A large model at a server reads along while the small one writes, where that is wanted."""

from dataclasses import replace
from itertools import pairwise
from time import monotonic, sleep

import pytest

from glimp_core import AlwaysSmall, Delta, RouterConfig
from glimp_core.types import Decision, Glimpse, History, Step
from remote.kit import STEPS, TOP20, pair, run, script
from remote.scripts import Served, Trouble
from remote.served import ScriptedServer

AHEAD = replace(TOP20, prewarm=True)


class Pattern:
    """A large step, then two small ones, and so on."""

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        return Decision(sum(step.phase == "thinking" for step in history) % 3 == 0)


def ahead(served: Served) -> list[int]:
    """How many ids each request for one token had."""
    return [len(body["prompt"]) for body in served.asked if body["max_tokens"] == 1]


def test_the_server_reads_what_is_new_before_each_small_step() -> None:
    """The words are the same, each request ahead has more of the chain than the server has read or written."""
    policy = Pattern()
    with ScriptedServer(script(), pace=0.03) as small, ScriptedServer(script()) as large:
        plain, ids = run(pair(small, large, policy))
        assert ahead(large) == []
        done, same = run(pair(small, large, policy, AHEAD))
    assert same == ids
    writers = [step.engine for step in done.steps if step.phase == "thinking"]
    by_small = sum(
        writer == "small" and before != "large" for before, writer in zip([None, *writers], writers, strict=False)
    )
    assert 0 < by_small < len(STEPS)
    assert ("large", "small") in pairwise(writers)
    assert len(ahead(large)) == by_small
    assert ahead(large) == sorted(set(ahead(large)))
    assert done.usage.large.decode_tokens == plain.usage.large.decode_tokens + by_small
    assert done.usage.large.prefill_tokens == plain.usage.large.prefill_tokens
    assert done.usage.small.prefill_tokens == plain.usage.small.prefill_tokens


@pytest.mark.parametrize("config", [TOP20, RouterConfig(entropy="top20", prewarm=False)])
def test_a_server_is_not_asked_unless_that_is_wanted(config: RouterConfig) -> None:
    """It may bill for each request."""
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        run(pair(small, large, AlwaysSmall(), config))
    assert len(large.asked) == 1, "for the answer"


def test_one_request_ahead_at_a_time() -> None:
    """A server that has not read yet is not asked again; the answer does not wait for it."""
    slow = Trouble("delay", seconds=20)
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        router = pair(small, large, AlwaysSmall(), AHEAD)
        router.load()
        large.troubles.append(slow)
        started = monotonic()
        done, ids = run(router)
        assert monotonic() - started < 10
    assert ids == script().reply
    assert len(ahead(large)) == 1
    assert done.usage.large.prefill_tokens >= done.usage.prompt_tokens


def test_what_goes_wrong_ahead_changes_nothing() -> None:
    """A refused request ahead is not missed: the reply is whole."""
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        router = pair(small, large, AlwaysSmall(), AHEAD)
        router.load()
        large.troubles.append(Trouble("status", status=400))
        ids: list[int] = []
        for event in router.stream("What is two and two?"):
            while isinstance(event, Step) and not large.asked:
                sleep(0.01)
            ids += event.token_ids if isinstance(event, Delta) else ()
    assert not large.troubles
    assert ids == script().reply


def test_a_request_that_is_given_up_reads_no_more() -> None:
    """Closing the stream closes what was sent ahead."""
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        router = pair(small, large, AlwaysSmall(), AHEAD)
        router.load()
        large.closed_by_client = 0
        large.troubles.append(Trouble("stall"))
        events = router.stream("What is two and two?")
        next(event for event in events if isinstance(event, Step))
        while not large.running:
            sleep(0.01)
        events.close()
        deadline = monotonic() + 10
        while not large.closed_by_client:
            assert monotonic() < deadline
            sleep(0.01)
