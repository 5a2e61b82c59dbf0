"""The cache: whatever was held before, a session answers as a fresh one would."""

from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from glimp_core.local import cache
from glimp_core.local.cache import rollback_kind
from glimp_core.local.session import CPU_CHUNK, KVSession, common_prefix
from hooks import before_forwards

FAMILIES = list(tiny.CONFIGS)
MODELS: dict[str, Any] = {}


def model(family: str) -> Any:
    if family not in MODELS:
        MODELS[family] = tiny.model(family)
    return MODELS[family]


@torch.inference_mode()
def sync(session: KVSession, token_ids: Sequence[int], keep: int = 1) -> list[int]:
    """Bring a session to some ids; returns the sizes of the forwards it took."""
    sizes = []
    for forward in session.sync(list(token_ids), keep):
        forward.run()
        sizes.append(len(forward.token_ids))
    return sizes


@pytest.mark.parametrize("slack", [64, 3])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 40), st.lists(st.integers(3, 250), min_size=1, max_size=24)), max_size=6)
)
def test_cached_equals_uncached(family: str, slack: int, edits: list[tuple[int, list[int]]]) -> None:
    """Law: after any sequence of extending, cutting and forking, with drafts and states kept anywhere, the logits are
    those of a fresh session; also if a window forgets what is older at once."""
    with mock.patch.object(cache, "SLACK", slack):
        session, token_ids = KVSession(model(family)), [7, 8, 9]
        sync(session, token_ids)
        for number, (kept, added) in enumerate(edits):
            token_ids = token_ids[:kept] + added
            if number % 3 == 1:
                session = session.fork(min(kept, len(session.token_ids)))
            session.plan(token_ids, [len(token_ids) // 2, len(token_ids) - 3])
            keep = min(len(added), 1 + number % 4)
            sync(session, token_ids, keep)
            fresh = KVSession(model(family))
            sync(fresh, token_ids, keep)
            assert session.token_ids == token_ids
            assert session.logits is not None
            torch.testing.assert_close(session.logits, fresh.logits, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_a_window_keeps_a_window(family: str) -> None:
    """Keys older than the window and its slack are dropped, and a prompt that branches early reads from a mark."""
    session, token_ids = KVSession(model(family)), [*range(3, 253)] * 2
    session.plan(token_ids, [40])
    sync(session, token_ids)
    sliding = [layer for layer in session.cache.layers if isinstance(layer, cache.WindowLayer)]
    assert sliding
    assert all(layer.length <= 8 - 1 + 2 * cache.SLACK for layer in sliding)
    assert sync(session, [*token_ids[:48], 5, 6]) == [10]
    assert sync(session, [*token_ids[:48], 5, 7]) == [1]


@pytest.mark.parametrize(
    ("family", "kind"),
    [("llama", "crop"), ("mistral", "crop"), ("gemma3", "crop"), ("lfm2", "snapshot"), ("qwen3-next", "snapshot")],
)
def test_rollback_kind(family: str, kind: str) -> None:
    """Attention can be cut, recurrence cannot."""
    assert rollback_kind(model(family)) == kind


def test_nothing_new_costs_nothing() -> None:
    """Asking again for what is held runs no forward."""
    session = KVSession(model("llama"))
    sync(session, range(10, 20))
    assert sync(session, range(10, 20)) == []


def test_only_new_tokens_are_fed() -> None:
    """A longer context costs its new tokens, a shorter one its last."""
    session = KVSession(model("llama"))
    sync(session, range(10, 30))
    assert sync(session, range(10, 35)) == [5]
    assert sync(session, range(10, 20)) == [1]


def test_long_prefills_run_in_chunks() -> None:
    """A prefill is cut into forwards of at most CPU_CHUNK tokens, and one chunk gives what many give."""
    token_ids = [3 + i % 200 for i in range(CPU_CHUNK + 100)]
    session = KVSession(model("llama"))
    assert sync(session, token_ids) == [CPU_CHUNK, 100]
    with torch.inference_mode():
        whole = model("llama")(input_ids=torch.tensor([token_ids])).logits[0, -1]
    assert session.logits is not None
    torch.testing.assert_close(session.logits[-1], whole, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma3", "lfm2"])
def test_a_forward_that_breaks_off_leaves_a_usable_session(family: str) -> None:
    """After an error half way through the layers the next sync answers as a fresh session would."""
    session = KVSession(model(family))
    sync(session, range(10, 20))
    with before_forwards([model(family).model.layers[-1]], lambda _: 1 / 0), pytest.raises(ZeroDivisionError):
        sync(session, range(10, 25))
    sync(session, range(10, 25))
    fresh = KVSession(model(family))
    sync(fresh, range(10, 25))
    assert session.logits is not None
    torch.testing.assert_close(session.logits, fresh.logits, atol=1e-3, rtol=1e-3)


def test_keep_returns_the_last_positions() -> None:
    """`keep` asks for the logits of that many last positions, held or not."""
    session = KVSession(model("llama"))
    sync(session, range(10, 30))
    sync(session, range(10, 30), keep=4)
    assert session.logits is not None
    assert session.logits.shape[0] == 4


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    """It is the longest prefix of both."""
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n in (len(a), len(b)) or a[n] != b[n]
