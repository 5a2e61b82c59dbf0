"""Drafts out of the text itself, and drafts inside a grammar: fewer forwards, the same words."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from glimp_core import AlwaysLarge, Completion, GlimpRouter, RouterConfig, SamplingParams
from glimp_core.local import SpeculativeEngine
from glimp_core.local.draft_length import LONGEST_DRAFT, DraftLengthController, Place
from glimp_core.local.drafting import LONGEST_MATCH, RECENT_MATCHES, SHORTEST_MATCH, PromptLookup

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "place": {"enum": ["a harbour", "a mountain", "a river"]},
        "counts": {"type": "array", "items": {"type": "integer", "maximum": 99, "minimum": 0}, "maxItems": 4},
    },
    "required": ["name", "place", "counts"],
    "additionalProperties": False,
}
SEEDED = SamplingParams(temperature=0, seed=1)
"""With a seed, how much is drafted does not hang on measured times."""
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}]


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 20))
def test_a_proposal_is_what_followed_the_longest_repeat(token_ids: list[int], room: int) -> None:
    """Law: it equals the plain search over all earlier places; nothing is proposed without a repeat of five."""
    lookup = PromptLookup()
    lookup.follow(token_ids)
    ends = [
        end
        for end in range(SHORTEST_MATCH, len(token_ids))
        if token_ids[end - SHORTEST_MATCH : end] == token_ids[-SHORTEST_MATCH:]
    ][-RECENT_MATCHES:]

    def repeated(end: int) -> int:
        most = min(end, LONGEST_MATCH)
        return next((n for n in range(most, 0, -1) if token_ids[end - n : end] == token_ids[-n:]), 0)

    best = max(ends, key=lambda end: (repeated(end), end), default=None)
    wanted = [] if best is None else token_ids[best : best + min(room, repeated(best), LONGEST_DRAFT)]
    assert lookup.propose(room).token_ids == wanted


@given(st.lists(st.integers(0, 2), min_size=8, max_size=40), st.integers(1, 39))
def test_text_may_come_in_pieces(token_ids: list[int], cut: int) -> None:
    """Law: what was followed in pieces is proposed from as what was followed at once."""
    whole, parts = PromptLookup(), PromptLookup()
    whole.follow(token_ids)
    parts.follow(token_ids[:cut])
    parts.follow(token_ids[len(parts) :])
    assert whole.propose(8) == parts.propose(8)


def test_bad_proposals_rest_and_good_ones_come_back() -> None:
    """After a proposal that did not stand there is none for a few rounds, by count."""
    lookup = PromptLookup()
    lookup.follow([1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5])
    assert lookup.propose(2).token_ids == [6, 7]
    lookup.record(2, 0)
    assert [lookup.rests() for _ in range(4)] == [True, True, False, False]
    lookup.record(2, 2)
    assert not lookup.rests()


def test_longer_repeats_are_surer() -> None:
    """A proposal is the surer the longer the run is that it follows, and its later tokens surer than its first."""
    lookup = PromptLookup()
    lookup.follow([1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5])
    assert lookup.propose(2).sure == pytest.approx([2 / 3, 3 / 4])


def pair(kind: str, **changes: Any) -> tuple[Any, Any]:
    """A target, drafted for by its twin or by a stranger."""
    seed = 2 if kind == "twin" else 5
    return tiny.engine(seed=seed, num_hidden_layers=3, **changes), tiny.engine(seed=2, num_hidden_layers=3, **changes)


def asked(kind: str, speculate: bool, **options: Any) -> tuple[list[int], Completion]:
    """What a pair writes: the ids of all its tokens, and the reply."""
    small, large = pair(kind)
    options.setdefault("sampling", SEEDED)
    config = RouterConfig(reasoning="off", max_answer_tokens=160, speculate=speculate)
    events = list(GlimpRouter(small, large, AlwaysLarge(), config).stream("Where, and how many?", **options))
    return [i for event in events for i in getattr(event, "token_ids", ())], Completion.fold(events)


@pytest.mark.parametrize("kind", ["twin", "stranger"])
@pytest.mark.parametrize(
    "options",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}},
        {"response_format": {"type": "json_object"}},
        pytest.param({"tools": TOOLS, "tool_choice": "required"}, marks=pytest.mark.slow),
    ],
)
def test_a_grammar_is_drafted_in(kind: str, options: Any) -> None:
    """Law: under a grammar the drafted reply is the plain one, token for token, whoever drafts."""
    plain, alone = asked(kind, False, **options)
    drafted, done = asked(kind, True, **options)
    assert drafted == plain
    assert [(call.name, call.arguments) for call in done.tool_calls] == [
        (call.name, call.arguments) for call in alone.tool_calls
    ]
    assert done.usage.large.drafted_tokens > 0
    if "tools" not in options:
        assert json.loads(done.answer) == json.loads(alone.answer)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_seed_repeats_a_drafted_reply_under_a_grammar(seed: int) -> None:
    """Law: with a seed a drafted reply under a schema is valid, and the same again."""
    options = {"response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}}
    sampling = SamplingParams(temperature=1.0, seed=seed)
    first = asked("stranger", True, sampling=sampling, **options)
    assert asked("stranger", True, sampling=sampling, **options)[0] == first[0]
    assert set(json.loads(first[1].answer)) == {"name", "place", "counts"}


def test_how_sure_the_model_was_is_told_of_drafted_tokens() -> None:
    """Law: the measures of a drafted reply are those of the plain one."""
    small, large = pair("twin")
    measures = {}
    for speculate in (False, True):
        config = RouterConfig(reasoning="off", max_answer_tokens=40, speculate=speculate)
        events = GlimpRouter(small, large, AlwaysLarge(), config).stream("Why?", logprobs=True)
        measures[speculate] = [event.measure for event in events if getattr(event, "measure", None)]
    plain, drafted = measures[False], measures[True]
    assert plain
    for name in ("entropy", "surprisal"):
        assert sum(getattr(one, name) for one in plain) == pytest.approx(
            sum(getattr(one, name) for one in drafted), rel=1e-3
        )


class LookupAlone(DraftLengthController):
    """Has the small model rest, and all verified that is looked up."""

    def asks(self, place: Place) -> bool:
        return False

    def lookup_length(self, sure: Sequence[float], unread: int) -> int:
        return len(sure)


def test_repeated_text_costs_no_small_forward() -> None:
    """A reply that goes round in circles, as random weights do, is drafted from itself while the small model rests."""
    small, large = pair("stranger")
    config = RouterConfig(reasoning="off", max_answer_tokens=160, speculate=False)
    plain = GlimpRouter(small, large, AlwaysLarge(), config).generate("Where, and how many?")
    looking_up = SpeculativeEngine(large, small, LookupAlone())
    drafted = GlimpRouter(small, looking_up, AlwaysLarge(), config).generate("Where, and how many?")
    assert drafted.answer == plain.answer
    assert drafted.usage.large.accepted_tokens > 40
    assert drafted.usage.small.decode_tokens == 0
    assert drafted.usage.large.forwards < 0.7 * plain.usage.large.forwards
