"""Many short forwards as one: the tokens of several sessions side by side, each attending to its own cache.

Nothing is padded and no cache is copied. The linear layers see one long row of tokens; only attention is
taken apart again, session by session, so every session gets what it would get alone, up to rounding.
"""

import logging
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any
from weakref import WeakSet

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from glimp_core.local.batch_graph import BatchGraph
from glimp_core.local.forward import ModelForward, distance, tolerance
from glimp_core.local.session import Forward, KVSession

SHORT = 16
"""Forwards of at most this many tokens are packed; a longer one keeps the processor busy by itself."""

GRAPHS = 4
"""So many graphs of one token each are launched sooner than a packed forward is put together."""

NAME = "glimp_packed"
_unpackable: WeakSet[PreTrainedModel] = WeakSet()
_proved: WeakSet[PreTrainedModel] = WeakSet()
log = logging.getLogger("glimp.local")


def run_together(forwards: Sequence[Forward]) -> None:
    """Run forwards of one model, the short ones packed into one; each session ends as if it had run alone.

    After an error those that were run are `done`, and the sessions of the others are as they were.
    """
    short = [forward for forward in forwards if len(forward.token_ids) <= SHORT and _packable(forward)]
    single = [forward for forward in short if len(forward.token_ids) == 1]
    batch = BatchGraph.of(single[0].session.model) if len(single) > 1 else None
    if batch:
        batch.run(single)
        short = [forward for forward in short if not forward.done]
    if len(short) > GRAPHS:
        _run_packed(short)
    elif len(slow := [f for f in short if len(f.token_ids) > 1 or not f.session.recorded]) > 1:
        _run_packed(slow)
    for forward in forwards:
        if not forward.done:
            forward.run()
    if batch:
        batch.record(single)


def _packable(forward: Forward) -> bool:
    """Whether the model's attention is the kind that can be taken apart, and has not failed at it before."""
    session, model = forward.session, forward.session.model
    fit = session.rollback == "crop" and ModelForward.of(model).packable
    return fit and not forward.alone and model not in _unpackable


def _run_packed(forwards: Sequence[Forward]) -> None:
    """Run forwards as one; the first time that a model is packed, each alone as well, and compare."""
    model = forwards[0].session.model
    started = perf_counter()
    try:
        _feed(forwards)
    except BaseException as error:
        for forward in forwards:
            forward.session.repair()
        if not isinstance(error, TypeError | AttributeError | IndexError | ValueError):
            raise
        _give_up(model, f"{type(error).__name__}: {error}")  # its attention looks into its keys
        return
    share = (perf_counter() - started) / sum(len(forward.token_ids) for forward in forwards)
    if model in _proved:
        for forward in forwards:
            forward.seconds, forward.done = share * len(forward.token_ids), True
    else:
        _compare_with_alone(forwards)


def _compare_with_alone(forwards: Sequence[Forward]) -> None:
    """Run anew alone what has just been run packed; what was said alone is kept, and decides about packing."""
    model = forwards[0].session.model
    apart = 0.0
    for forward in forwards:
        session, packed = forward.session, forward.session.logits
        session.trim(len(session.token_ids) - len(forward.token_ids))
        forward.run()
        assert packed is not None
        assert session.logits is not None
        apart = max(apart, distance(packed, session.logits))
    if apart <= tolerance(model):
        _proved.add(model)
    else:
        _give_up(model, f"packed, its logits are {apart:.0%} off")


def _give_up(model: PreTrainedModel, reason: str) -> None:
    _unpackable.add(model)
    remark = f"requests of {type(model).__name__} are decoded one at a time, since it cannot be packed: {reason}"
    ModelForward.of(model).remarks.append(remark)
    log.warning(remark)


def _feed(forwards: Sequence[Forward]) -> None:
    model = forwards[0].session.model
    sizes = [len(forward.token_ids) for forward in forwards]
    ids = [i for forward in forwards for i in forward.token_ids]
    positions = [len(f.session.token_ids) + n for f, size in zip(forwards, sizes, strict=True) for n in range(size)]
    ends = torch.tensor(sizes).cumsum(0).tolist()
    wanted = [end - n for end, forward in zip(ends, forwards, strict=True) for n in range(forward.keep, 0, -1)]
    config = model.config.get_text_config(decoder=True)
    config._attn_implementation = NAME
    try:
        picked = ModelForward.of(model)(
            torch.tensor([ids], device=model.device),
            torch.tensor([positions], device=model.device),
            PackedCache([forward.session for forward in forwards], sizes),
            torch.tensor(wanted, device=model.device),
        )
    finally:
        config._attn_implementation = "sdpa"
    logits = torch.split(picked[0].float(), [forward.keep for forward in forwards])
    for forward, own in zip(forwards, logits, strict=True):
        forward.session.took(forward.token_ids, own)


class PackedCache(Cache):
    """The caches of several sessions as one: what comes in is dealt out, what goes out is a list."""

    def __init__(self, sessions: Sequence[KVSession], sizes: Sequence[int]):
        super().__init__(layers=[])
        self._sessions = sessions
        self._sizes = list(sizes)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Append to each session's layer its own tokens of [1, heads, tokens, size]; returns lists of all it holds."""
        keys, values = torch.split(key_states, self._sizes, 2), torch.split(value_states, self._sizes, 2)
        layers: list[Any] = [session.cache.layers[layer_idx] for session in self._sessions]
        held = [layer.update(key, value) for layer, key, value in zip(layers, keys, values, strict=True)]
        return Packed((key for key, _ in held), self._sizes), Packed((value for _, value in held), self._sizes)


class Packed(list[torch.Tensor]):
    """Keys or values of several sessions, [1, heads, held, size] each; `sizes` tells how many of them are new."""

    def __init__(self, states: Iterable[torch.Tensor], sizes: list[int]):
        super().__init__(states)
        self.sizes = sizes


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: Packed,
    value: Packed,
    attention_mask: None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend session by session; `query` is [1, heads, tokens, size] with the sessions side by side."""
    outputs: list[torch.Tensor] = []
    for own_query, own_key, own_value in zip(torch.split(query, key.sizes, 2), key, value, strict=True):
        mask = causal_mask(own_query.shape[2], own_key.shape[2], sliding_window, query.device)
        output, _ = sdpa_attention_forward(module, own_query, own_key, own_value, mask, is_causal=False, **options)
        outputs.append(output)
    return torch.cat(outputs, 1), None


def causal_mask(new: int, held: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Return which of `held` keys the last `new` positions may see, [1, 1, new, held]; None where they see all."""
    if new == 1 and (window is None or held <= window):
        return None
    queries = torch.arange(held - new, held, device=device)[:, None]
    keys = torch.arange(held, device=device)[None]
    seen = keys <= queries
    if window is not None:
        seen &= keys > queries - window
    return seen[None, None]


AttentionInterface.register(NAME, packed_attention)
