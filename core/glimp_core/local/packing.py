"""Many short forwards as one: the tokens of several sessions together, each attending to its own cache.

Nothing is padded and no cache is copied. The linear layers process all tokens at once, so the weights are read once.
Only attention is computed for each session separately, so every session gets the result that it would get alone, up
to rounding. If a model has only attention, the sessions' tokens form one row, of any lengths. Recurrent states need one
row for each session, and rows of equal length.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from itertools import chain
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from glimp_core.forking import renewed_in_children
from glimp_core.local.batch_graph import BatchGraph
from glimp_core.local.cache import Snapshot
from glimp_core.local.forward import ModelForward, distance, tolerance
from glimp_core.local.session import Forward, KVSession

log = logging.getLogger("glimp.local")

SHORT = 16
"""Forwards of at most this many tokens are packed. A longer one uses the processor fully by itself."""

GRAPHS = 4
"""Up to this many CUDA graphs of one token each are faster than one packed forward."""

PAUSE, SHORT_PAUSE = 1000, 32
"""Packing is tried again after this many forwards that could have been packed: the first number if it was found not to
work, the second after an error of a forward that worked before. `Packing.pause` and `short_pause` override them."""

NAME = "glimp_packed"

STRUCTURAL = (TypeError, AttributeError, IndexError, KeyError, ValueError, RuntimeError, StopIteration)
"""The errors of a model whose code uses the cache's return value itself, instead of passing it to the attention."""


def run_together(forwards: Sequence[Forward]) -> None:
    """Run forwards of one model, the short ones packed. Each session is then as if its forward had run alone.

    After an error, the forwards that ran are `done`, and the other sessions are unchanged.
    """
    packing = Packing.of(forwards[0].session.model)
    short = [forward for forward in forwards if packing.takes(forward)]
    # a graph needs fixed memory, and the memory of windows that forget and of states changes
    single = [forward for forward in short if len(forward.token_ids) == 1 and forward.session.keeps_all]
    batch = BatchGraph.of(packing.model) if len(single) > 1 else None
    if batch:
        batch.run(single)
    for group in _groups([forward for forward in short if not forward.done]):
        packing.run(group)
    for forward in forwards:
        if not forward.done:
            forward.run()
    if batch:
        batch.record(single)


def _groups(short: Sequence[Forward]) -> list[list[Forward]]:
    """Return the groups of forwards to pack: all if there is only attention, else those of equal length."""
    if not short or short[0].session.rollback == "crop":
        if len(short) > GRAPHS:
            return [list(short)]
        return [[forward for forward in short if len(forward.token_ids) > 1 or not forward.session.recorded]]
    groups: dict[int, list[Forward]] = {}
    for forward in short:
        groups.setdefault(len(forward.token_ids), []).append(forward)
    return list(groups.values())


class Packing:
    """How forwards of one model are packed, and whether packing was found to give the same results.

    The first packed forward is compared with its forwards run alone. If the results differ, forwards run one by one;
    this is logged and noted, and packing is tried again later.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self._forward = ModelForward.of(model)
        self.pause, self.short_pause = PAUSE, SHORT_PAUSE
        self._joined = self._proved = False
        self._resting = 0
        self._usual = model.config.get_text_config(decoder=True)._attn_implementation
        renewed_in_children(self)

    def renew(self) -> None:
        """Restore the model's own attention: the parent process may have been forked during a packed forward."""
        self.model.config.get_text_config(decoder=True)._attn_implementation = self._usual

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Packing":
        """Return the one of a model."""
        if model not in _packings:
            _packings[model] = cls(model)
        return _packings[model]

    def takes(self, forward: Forward) -> bool:
        """Whether a forward may be packed."""
        session = forward.session
        # a recurrent state that is still empty is not a tensor, so it cannot be a row with others
        ready = session.rollback == "crop" or (session.rollback == "snapshot" and bool(session.token_ids))
        return ready and len(forward.token_ids) <= SHORT and not forward.alone and self._forward.packable

    def run(self, forwards: Sequence[Forward]) -> None:
        """Run the forwards as one, if there is more than one and packing works. The others are left for the caller."""
        if len(forwards) < 2:
            return
        if self._resting:
            self._resting -= 1
            return
        if self._proved:
            self._attempt(forwards)
        else:
            self._prove(forwards)

    def _attempt(self, forwards: Sequence[Forward]) -> Exception | None:
        """Run the forwards as one. After an error of the model's code the sessions are unchanged."""
        clock = forwards[0].session.clock
        started, began = perf_counter(), clock()
        lengths = [len(forward.session.token_ids) for forward in forwards]
        try:
            _feed(forwards, self._joined)
        except BaseException as error:
            # some sessions may have read their tokens before another one failed: all are restored
            for forward, length in zip(forwards, lengths, strict=True):
                del forward.session.token_ids[length:]
                forward.session.repair()
            # a lack of memory does not mean that packing fails: the scheduler empties the caches and tries again
            if not isinstance(error, STRUCTURAL) or isinstance(error, torch.OutOfMemoryError):
                raise
            for forward in forwards:
                forward.session.read_back()
            if self._proved:
                self._rest(error, self.short_pause)
            return error
        # the seconds of one session cannot be measured, so they are divided by tokens
        tokens = sum(len(forward.token_ids) for forward in forwards)
        seconds, effort = (perf_counter() - started) / tokens, (clock() - began) / tokens
        for forward in forwards:
            forward.seconds, forward.done = seconds * len(forward.token_ids), True
            forward.effort = effort * len(forward.token_ids)
        return None

    def _prove(self, forwards: Sequence[Forward]) -> None:
        """Run the forwards with each way of packing, then alone, and compare. The results alone are kept."""
        kept = [_kept(forward.session) for forward in forwards]
        # joined is the second choice, because it copies the keys of all sessions in every layer
        for joined in (False, True):
            self._joined = joined
            error = self._attempt(forwards)
            if error is None:
                break
        else:
            self._rest(error, self.pause)
            return
        said = [forward.session.logits for forward in forwards]
        apart = 0.0
        for forward, before, packed in zip(forwards, kept, said, strict=True):
            forward.done = False
            _take_back(forward, before)
            forward.run()
            assert packed is not None
            assert forward.session.logits is not None
            apart = max(apart, distance(packed, forward.session.logits))
        self._proved = apart <= tolerance(self.model)
        if not self._proved:
            self._rest(f"logits are {apart:.0%} off", self.pause)

    def _rest(self, reason: object, pause: int) -> None:
        self._resting = pause
        said = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else reason
        name = type(self.model).__name__
        self._forward.note(f"requests of {name} are decoded one by one for a while: packed into one forward, {said}")


def _kept(session: KVSession) -> Snapshot | None:
    """Return a snapshot of a session, None if it can be cropped instead."""
    return None if session.rollback == "crop" else Snapshot(session.cache, len(session.token_ids))


def _take_back(forward: Forward, before: Snapshot | None) -> None:
    session = forward.session
    length = len(session.token_ids) - len(forward.token_ids)
    if before is None:
        session.trim(length)
    else:
        before.restore(session.cache)
        del session.token_ids[length:]


def _feed(forwards: Sequence[Forward], joined: bool) -> None:
    sessions = [forward.session for forward in forwards]
    model, rows = sessions[0].model, sessions[0].rollback != "crop"
    sizes = [len(forward.token_ids) for forward in forwards]
    ids = [list(forward.token_ids) for forward in forwards]
    starts = [len(session.token_ids) for session in sessions]
    positions = [[*range(start, start + size)] for start, size in zip(starts, sizes, strict=True)]
    config = model.config.get_text_config(decoder=True)
    cache = PackedCache(sessions, sizes, rows, joined, config._attn_implementation)
    keep: int | torch.Tensor = max(forward.keep for forward in forwards)
    if not rows:
        # in the row of all tokens, the last tokens of a session are before the first of the next session
        ends = torch.tensor(sizes).cumsum(0).tolist()
        wanted = [end - n for end, forward in zip(ends, forwards, strict=True) for n in range(forward.keep, 0, -1)]
        keep = torch.tensor(wanted, device=model.device)
        ids, positions = [[*chain.from_iterable(ids)]], [[*chain.from_iterable(positions)]]
    # transformers looks up the attention by this name in every layer, so no module has to be replaced
    config._attn_implementation = NAME
    token = _running.set(cache)
    try:
        fed, at = torch.tensor(ids, device=model.device), torch.tensor(positions, device=model.device)
        logits = ModelForward.of(model)(fed, at, cache, keep).float()
    finally:
        _running.reset(token)
        config._attn_implementation = cache.usual
    keeps = [forward.keep for forward in forwards]
    said = logits if rows else torch.split(logits[0], keeps)
    for forward, own in zip(forwards, said, strict=True):
        forward.session.took(forward.token_ids, own[-forward.keep :])


class PackedCache(Cache):
    """The caches of several sessions as one cache: new states are divided among them, and held states are a list.

    The sessions' tokens form one row, or one row each (`rows`). Some models compute with keys before the attention
    (latent attention). They get the keys of all sessions as one tensor (`joined`), and the attention splits it by the
    lengths that are stored here. `usual` is the model's own attention.
    """

    def __init__(self, sessions: Sequence[KVSession], sizes: Sequence[int], rows: bool, joined: bool, usual: str):
        super().__init__(layers=[])
        self.usual = usual
        self.sessions = sessions
        self._joined = joined
        self._axis = 0 if rows else 2
        self._parts = [1] * len(sessions) if rows else list(sizes)
        self._lengths: dict[int, list[int]] = {}
        self._masks: dict[Any, torch.Tensor | None] = {}

    def mask(self, new: int, held: int, window: int | None, query: torch.Tensor) -> torch.Tensor | None:
        """Return `causal_mask` in the form of the model's attention. Layers of one kind share it within a forward."""
        key = (new, held, window, query.device)
        if key not in self._masks:
            seen = causal_mask(new, held, window, query.device)
            if seen is not None and self.usual == "eager":
                least = torch.finfo(query.dtype).min
                seen = torch.zeros_like(seen, dtype=query.dtype).masked_fill_(~seen, least)
            self._masks[key] = seen
        return self._masks[key]

    def split(self, states: torch.Tensor) -> Sequence[torch.Tensor]:
        """Split new states, [1, heads, tokens, size] or [rows, heads, tokens, size], by session."""
        return torch.split(states, self._parts, self._axis)

    def split_joined(self, states: torch.Tensor, layer_idx: int) -> Sequence[torch.Tensor]:
        """Split all held states, [1, heads, held tokens of all, size], by session."""
        return torch.split(states, self._lengths[layer_idx], 2)

    def together(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join the outputs of the attention, [1, tokens, heads, size] for each session."""
        return torch.cat(list(outputs), 1 if self._axis == 2 else 0)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Append to each session's layer its own tokens. Returns all held states of the sessions."""
        added = zip(self._layers(layer_idx), self.split(key_states), self.split(value_states), strict=True)
        keys, values = zip(*(layer.update(key, value) for layer, key, value in added), strict=True)
        if not self._joined:
            return list(keys), list(values)
        self._lengths[layer_idx] = [key.shape[2] for key in keys]
        return torch.cat(keys, 2), torch.cat(values, 2)

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        """Return the convolution states of all sessions, [sessions, ...]. The memory may be written to."""
        return _side_by_side([layer.conv_states for layer in self._layers(layer_idx)], state_idx)

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        """Return the recurrent states of all sessions, [sessions, ...]. The memory may be written to."""
        return _side_by_side([layer.recurrent_states for layer in self._layers(layer_idx)], state_idx)

    def update_conv_state(
        self, conv_states: torch.Tensor, layer_idx: int, state_idx: int = 0, **kwargs: Any
    ) -> torch.Tensor:
        """Store new states [sessions, ...] in the sessions. Returns them after the earlier states."""
        added = zip(self._layers(layer_idx), torch.split(conv_states, 1), strict=True)
        return torch.cat([layer.update_conv_state(state, state_idx, **kwargs) for layer, state in added])

    def update_recurrent_state(
        self, recurrent_states: torch.Tensor, layer_idx: int, state_idx: int = 0, **kwargs: Any
    ) -> torch.Tensor:
        """Store new states [sessions, ...] in the sessions."""
        held = self.get_recurrent_state(layer_idx, state_idx)
        # in place, because each session refers to its row of this memory
        return recurrent_states if held is None else held.copy_(recurrent_states)

    def has_previous_state(self, layer_idx: int | None = None, state_idx: int | None = None) -> bool:
        """Every session has read something, or it would not be here."""
        return True

    def is_recording_past(self, layer_idx: int) -> bool:
        """No session records its past: states are kept as copies."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return a length that is not 0, since no session is at its beginning; positions and masks are given."""
        return max(len(session.token_ids) for session in self.sessions)

    def _layers(self, layer_idx: int) -> list[Any]:
        return [session.cache.layers[layer_idx] for session in self.sessions]


def _side_by_side(held: Sequence[dict[int, torch.Tensor | None]], state_idx: int) -> torch.Tensor | None:
    """Return the states of several sessions as the rows of one tensor, and let each session refer to its row.

    So states are copied only if the group of sessions changes, not at every token. Kernels write to the rows in place.
    """
    states = [own for session in held if (own := session[state_idx]) is not None]
    if len(states) < len(held):
        return None
    first = states[0]
    size, memory = first.numel(), first.untyped_storage().data_ptr()
    adjoining = first.is_contiguous() and all(
        state.untyped_storage().data_ptr() == memory and state.storage_offset() == first.storage_offset() + row * size
        for row, state in enumerate(states)
    )
    if adjoining:  # they are already rows of one tensor; in inference mode `_base` does not show this
        return first.as_strided((len(states), *first.shape[1:]), first.stride(), first.storage_offset())
    together = torch.cat(states)
    for session, own in zip(held, torch.split(together, 1), strict=True):
        session[state_idx] = own
    return together


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention for each session. `query` is [1, heads, tokens, size], or [sessions, heads, tokens, size].

    `key` and `value` are the return values of the packed cache, or what the model has computed from them.
    """
    cache = _running.get()
    if isinstance(key, torch.Tensor):
        layer_idx: Any = module.layer_idx
        key, value = cache.split_joined(key, layer_idx), cache.split_joined(value, layer_idx)
    attend: Callable[..., Any] = sdpa_attention_forward
    if cache.usual == "eager":  # with sinks, soft caps and other features of the model's own code
        attend = sys.modules[type(module).__module__].eager_attention_forward
        options["sliding_window"] = sliding_window
    else:
        options["is_causal"] = False
    outputs: list[torch.Tensor] = []
    for own_query, own_key, own_value in zip(cache.split(query), key, value, strict=True):
        mask = cache.mask(own_query.shape[2], own_key.shape[2], sliding_window, query)
        outputs.append(attend(module, own_query, own_key, own_value, mask, **options)[0])
    return cache.together(outputs), None


def causal_mask(new: int, held: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Return which of `held` keys the last `new` positions attend to, [1, 1, new, held]; None if to all."""
    # without a mask sdpa may use its fastest kernel, and decoding feeds one new token
    if new == 1 and (window is None or held <= window):
        return None
    queries = torch.arange(held - new, held, device=device)[:, None]
    keys = torch.arange(held, device=device)[None]
    seen = keys <= queries
    if window is not None:
        seen &= keys > queries - window
    return seen[None, None]


AttentionInterface.register(NAME, packed_attention)
_packings: WeakKeyDictionary[PreTrainedModel, Packing] = WeakKeyDictionary()
_running: ContextVar[PackedCache] = ContextVar("glimp_packed_cache")
"""The cache of the packed forward in this thread: not every model passes the cache to its attention."""
