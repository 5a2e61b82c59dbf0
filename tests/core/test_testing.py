"""The scripted engine keeps to the contract of a real one."""

from typing import Any

import pytest

from glimp_core import (
    Cancelled,
    Context,
    Engine,
    GlimpError,
    GlimpRouter,
    Glimpser,
    Request,
    SamplingParams,
    ToolCall,
    ToolCallDelta,
)
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams
from pairs import STEPS, scripted_router

ASKED = Request(({"role": "user", "content": "2+2?"},))


def write(engine: ScriptedEngine, limit: int = 999, context: Context | None = None) -> list[Chunk]:
    params = GenerationParams("answer", limit, stepwise=False)
    return list(engine.generate(context or Context(ASKED), params))


def test_it_is_an_engine_that_can_glimpse() -> None:
    """It passes for both roles."""
    assert isinstance(ScriptedEngine(), Engine)
    assert isinstance(ScriptedEngine(), Glimpser)


def test_only_the_last_chunk_has_an_end() -> None:
    """Every call ends with exactly one end, on its last chunk."""
    ends = [chunk.end for chunk in write(ScriptedEngine(answer="four"))]
    assert ends[-1] == "eos"
    assert set(ends[:-1]) == {None}


def test_every_token_has_an_id_and_usage_only_grows() -> None:
    """The ids count the characters, and the usage of a call never goes back."""
    chunks = write(ScriptedEngine(answer="four"))
    assert [token for chunk in chunks for token in chunk.token_ids] == [*map(ord, "four"), 0]
    counts = [chunk.usage.decode_tokens for chunk in chunks]
    assert counts == sorted(counts)


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_cuts_and_says_so(limit: int) -> None:
    """No more than max_tokens are written, and the end is "length"."""
    chunks = write(ScriptedEngine(answer="four"), limit)
    assert ("".join(chunk.text for chunk in chunks), chunks[-1].end) == ("four"[:limit], "length")


def test_a_cancelled_context_stops_it() -> None:
    """It raises Cancelled at the next token."""
    context = Context(ASKED)
    context.cancelled.set()
    with pytest.raises(Cancelled):
        write(ScriptedEngine(answer="four"), context=context)


def test_entropies_are_shown_in_turn_and_the_last_one_again() -> None:
    """The n-th step shows the n-th entropy; past the list the last one stays."""
    done = scripted_router(entropies=[0.25, 0.5]).generate("?")
    assert [routed.glimpse.entropy for routed in done.routed] == [0.25, 0.5, 0.5, 0.5]


def test_a_script_belongs_to_a_request() -> None:
    """Each request starts the script anew, and the history tells all of them."""
    router = scripted_router()
    for _ in range(2):
        assert router.generate("?").reasoning == "".join(STEPS).removesuffix("</think>")
    small = router.small
    assert isinstance(small, ScriptedEngine)
    assert [text for call, text in small.history if call == "glimpse"].count("") == 2


def test_tool_calls_come_in_pieces_and_whole() -> None:
    """A call is announced, spelled and completed."""
    call = ToolCall("7", "add", {"a": 1})
    pieces = [chunk.tool_call for chunk in write(ScriptedEngine(answer=[call])) if chunk.tool_call]
    assert pieces[0] == ToolCallDelta(0, "7", "add")
    assert "".join(piece.arguments for piece in pieces) == '{"a": 1}'
    assert pieces[-1].call == call


def test_answers_may_depend_on_the_request() -> None:
    """An answer can be a function of what was asked."""
    router = scripted_router(answer=lambda request: f"seed {request.sampling.seed}")
    assert router.generate("?", sampling=SamplingParams(seed=3)).answer == "seed 3"


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [{"name": "f", "parameters": {"type": "string"}}]}, {"tools": [{"name": "f"}], "tool_choice": "g"},
        {"response_format": {"type": "json_schema", "schema": {"type": "objekt"}}}, {"response_format": {"type": "x"}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
        {"messages": [{"role": "user", "content": b"hi"}]}, {"messages": [{"role": "user", "content": [["a"]]}]},
    ],
)  # fmt: skip
def test_it_refuses_what_a_model_refuses(asked: Any) -> None:
    """Law: a request that no model takes is refused by the scripted engine, too."""
    router = GlimpRouter(ScriptedEngine(), ScriptedEngine())
    with pytest.raises(GlimpError):
        router.generate(**{"messages": "x", **asked})
