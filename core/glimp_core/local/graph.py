"""Decoding one token as a CUDA graph: one launch in place of the hundreds of kernels that a forward is made of.

A graph reads and writes fixed memory: tokens, positions, keys and values are tensors that stay where they are. It
attends to whole buffers, of which masks show what is held, and serves its sessions until the buffers of one grow.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import WeakSet

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from glimp_core.local.forward import ModelForward

log = logging.getLogger("glimp.local")

WARM_UP = 8
"""A graph costs about three forwards, and is made when sessions have decoded so many tokens into their buffers."""

NAME = "glimp_graph"
TOLERANCE = 0.1
"""How far a graph's logits may be from the forward's they repeat, relative to their norm: rounding is far below."""

Replay: TypeAlias = Callable[[], torch.Tensor]
Recorder: TypeAlias = Callable[[Replay, torch.device], Replay]
Rows: TypeAlias = Sequence[Sequence[Any]]
"""The layers of each session."""
TokenIds: TypeAlias = Sequence[int | None]
"""A token for each session, None if it gets none."""
_refused: WeakSet[PreTrainedModel] = WeakSet()


class DecodeGraph:
    """The single-token forward of some sessions over fixed memory, recorded while it feeds `token_ids` to them."""

    def __init__(self, model: PreTrainedModel, rows: Rows, token_ids: TokenIds, record: Recorder):
        self._model = model
        self._rows = rows
        self._buffers = [[layer.buffers for layer in layers if layer.buffers] for layers in rows]
        self._inputs = self._told(token_ids).to(model.device)
        self._replay = record(self._forward, model.device)

    @property
    def fits(self) -> bool:
        """Whether the memory is still what it was, with room for one more token of every session."""
        firsts = [(layers[0], buffers[0]) for layers, buffers in zip(self._rows, self._buffers, strict=True)]
        return all(layer.buffers is buffer and layer.length < layer.capacity for layer, buffer in firsts)

    def decode(self, token_ids: TokenIds) -> torch.Tensor:
        """Feed a token to each session that gets one; returns float32 logits [sessions, vocabulary]."""
        self._inputs.copy_(self._told(token_ids))
        # a copy: the next replay writes its logits into the same memory
        logits = self._replay().to(torch.float32, copy=True)
        _grew(self._rows, token_ids, 1)
        return logits

    def _told(self, token_ids: TokenIds) -> torch.Tensor:
        """Return tokens and positions; a session that gets none is fed a 0, which its next token overwrites."""
        return torch.tensor([[token_id or 0 for token_id in token_ids], [layers[0].length for layers in self._rows]])

    def _forward(self) -> torch.Tensor:
        config = self._model.config.get_text_config(decoder=True)
        usual, config._attn_implementation = config._attn_implementation, NAME
        token_ids, positions = self._inputs
        try:
            logits = ModelForward.of(self._model)(
                token_ids[:, None], positions[:, None], FixedCache(self._buffers, positions), 1
            )[:, -1]
        finally:
            config._attn_implementation = usual
        return logits


class FixedCache(Cache):
    """Every session's buffers of every layer, [1, heads, capacity, size], written at positions that a tensor holds."""

    def __init__(self, buffers: Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]], positions: torch.Tensor):
        super().__init__(layers=[])
        self._buffers = buffers
        self._positions = positions
        self._masks: dict[tuple[int, int, int | None], torch.Tensor] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Write the states [sessions, heads, 1, size] of a token each and return the layer's whole buffers."""
        held = [layers[layer_idx] for layers in self._buffers]
        for row, (keys, values) in enumerate(held):
            position = self._positions[row : row + 1]
            keys.index_copy_(2, position, key_states[row : row + 1])
            values.index_copy_(2, position, value_states[row : row + 1])
        return Fixed([keys for keys, _ in held], self), [values for _, values in held]

    def seen(self, row: int, capacity: int, window: int | None) -> torch.Tensor:
        """Return which places of a session's buffer its newest token may see, [1, 1, 1, capacity]; for all layers."""
        key = (row, capacity, window)
        if key not in self._masks:
            places = torch.arange(capacity, device=self._positions.device)
            seen = places <= self._positions[row]
            seen = seen if window is None else seen & (places > self._positions[row] - window)
            self._masks[key] = seen[None, None, None]
        return self._masks[key]


class Fixed:
    """Each session's keys in their buffer, and the cache that knows which of them are seen."""

    def __init__(self, states: Sequence[torch.Tensor], cache: FixedCache):
        self.states = states
        self.cache = cache


def graph_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: Fixed,
    value: Sequence[torch.Tensor],
    attention_mask: None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend session by session to whole buffers; `query` is [sessions, heads, 1, size]."""
    outputs: list[torch.Tensor] = []
    for row, (keys, values) in enumerate(zip(key.states, value, strict=True)):
        mask = key.cache.seen(row, keys.shape[2], sliding_window)
        own = query[row : row + 1]
        outputs.append(sdpa_attention_forward(module, own, keys, values, mask, is_causal=False, **options)[0])
    return torch.cat(outputs), None


def cuda_graph(step: Replay, device: torch.device) -> Replay:
    """Record a step as a CUDA graph; it runs twice before, as CUDA wants it."""
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        step()
        step()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # other threads, of another device's scheduler for example, may use CUDA while this one records
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        logits = step()

    def replay() -> torch.Tensor:
        graph.replay()
        return logits

    return replay


RECORDERS: dict[str, Recorder] = {"cuda": cuda_graph}
"""How a step is recorded, by the kind of device; on others forwards stay as they are."""


def can_record(model: PreTrainedModel) -> bool:
    """Whether a model's decoding may be tried as a graph: on this device, with this attention, not refused before."""
    return model.device.type in RECORDERS and model not in _refused and ModelForward.of(model).recordable


def decode_graph(model: PreTrainedModel, rows: Rows, logits: torch.Tensor, token_ids: TokenIds) -> DecodeGraph | None:
    """Return a graph that goes on from the forward that has just fed `token_ids` to some sessions.

    `rows` are their layers, `logits` [sessions, vocabulary] of those that got a token what that forward said, to which
    the graph must come too when it repeats it. None, and why in the log, if none can be made: the tokens are then to be
    fed again.
    """
    try:
        # one step back: the graph is recorded over the forward just made, so that both can be compared
        _grew(rows, token_ids, -1)
        graph = DecodeGraph(model, rows, token_ids, RECORDERS[model.device.type])
        said = graph.decode(token_ids)[[token_id is not None for token_id in token_ids]]
        away = float(((said - logits).norm(dim=-1) / logits.norm(dim=-1)).max())
        reason = f"their logits are {away:.0%} off" if not away <= TOLERANCE else None
    except Exception as error:  # whatever in a model's code cannot be recorded
        reason = f"{type(error).__name__}: {error}"
    if reason is None:
        return graph
    _refused.add(model)
    log.warning("%s decodes without CUDA graphs: %s", type(model).__name__, reason)
    return None


def _grew(rows: Rows, token_ids: TokenIds, tokens: int) -> None:
    """Have the layers of the sessions that get a token take note of it."""
    for layers, token_id in zip(rows, token_ids, strict=True):
        for layer in layers if token_id is not None else ():
            layer.grew(tokens)


AttentionInterface.register(NAME, graph_attention)
