"""The session law, family by family: whatever was done to a session, it says what a fresh one says."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from glimp_core.local import LocalEngine
from glimp_core.local.forward import distance
from glimp_core.local.packing import run_together
from glimp_core.local.session import Forward, KVSession
from glimp_core.source import ModelSource
from hooks import before_forwards
from local.families.building import build, load, missing, save
from local.families.test_families import SERVED, marked

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["read", "draft", "fork", "fail", "pack"]),
        st.integers(0, 40),
        st.lists(st.integers(3, 250), min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=5,
)
CLOSE = 0.01
"""How far apart logits in float32 may be, relative to their norm."""


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    """An engine on a random model of a family."""
    if reason := missing(request.param):
        pytest.skip(reason)
    folder = save(build(request.param, request.param.layers[0], seed=3), tmp_path_factory.mktemp("model"))
    made = LocalEngine(ModelSource.of((load(folder), tiny.tokenizer())))
    made.load()
    return made


def read(session: KVSession, token_ids: Sequence[int], keep: int = 1) -> None:
    for forward in session.sync(token_ids, keep):
        forward.run()


def broken(session: KVSession, token_ids: Sequence[int]) -> None:
    """Begin to read, and fail when all layers have taken the tokens."""
    with suppress(ZeroDivisionError), before_forwards([session.model.get_output_embeddings()], lambda _: 1 / 0):
        read(session, token_ids)


def packed(session: KVSession, token_ids: Sequence[int], other: KVSession) -> None:
    """Read all but one token, and that one in a forward with another session."""
    read(session, token_ids[:-1])
    run_together([Forward(session, token_ids[-1:]), Forward(other, [5])])


@pytest.mark.parametrize("engine", marked(SERVED), indirect=True)
@settings(max_examples=5, deadline=None)
@given(edits=EDITS)
@torch.inference_mode()
def test_a_session_says_what_a_fresh_one_says(engine: LocalEngine, edits: list[tuple[str, int, list[int]]]) -> None:
    """Law: after any sequence of extending, cutting, drafts, forks, forwards that fail and forwards in company."""
    model, use = engine.loaded[0], engine.cache_use
    drafts = use.several and use.rollback != "refill"

    def fresh(token_ids: Sequence[int], keep: int = 1) -> Any:
        made = KVSession(model, use)
        read(made, token_ids, keep)
        return made.logits

    session, other, token_ids = KVSession(model, use), KVSession(model, use), [7, 8, 9]
    read(session, token_ids)
    read(other, [9, 8])
    for what, kept, added in edits:
        token_ids = [*token_ids[:kept], *added]
        keep = min(len(added), 3) if what == "draft" and drafts else 1
        if what == "fork":
            session = session.fork(min(kept, len(session.token_ids)))
        session.plan(token_ids, [len(token_ids) // 2])
        if what == "fail":
            broken(session, token_ids)
        if what == "pack" and len(token_ids) > 1:
            packed(session, token_ids, other)
        read(session, token_ids, keep)
        for said, expected in ((session, fresh(token_ids, keep)), (other, fresh(other.token_ids))):
            assert said.logits is not None
            assert distance(said.logits, expected) < CLOSE
        assert session.token_ids == token_ids
