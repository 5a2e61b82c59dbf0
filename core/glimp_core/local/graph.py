"""Decoding one token with a CUDA graph: one launch instead of the hundreds of kernels of a forward.

A graph reads and writes fixed memory: the tensors of tokens, positions, keys and values keep their addresses. It
attends to whole buffers, in which masks show the used places. It is used until the buffers of one session grow.
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
"""A graph costs about three forwards. It is made when sessions have decoded this many tokens into their buffers."""

NAME = "glimp_graph"
TOLERANCE = 0.1
"""The largest difference of a graph's logits from those of the plain forward, relative to their norm."""

GraphReplay: TypeAlias = Callable[[], torch.Tensor]
Recorder: TypeAlias = Callable[[GraphReplay, torch.device], GraphReplay]
Rows: TypeAlias = Sequence[Sequence[Any]]
"""The layers of each session."""
TokenIds: TypeAlias = Sequence[int | None]
"""One token for each session, None for a session without a token."""
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
        """Whether the memory is unchanged, with space for one more token of every session."""
        firsts = [(layers[0], buffers[0]) for layers, buffers in zip(self._rows, self._buffers, strict=True)]
        return all(layer.buffers is buffer and layer.length < layer.capacity for layer, buffer in firsts)

    def decode(self, token_ids: TokenIds) -> torch.Tensor:
        """Feed a token to each session that has one. Returns float32 logits [sessions, vocabulary]."""
        self._inputs.copy_(self._told(token_ids))
        # a copy, because the next replay writes its logits into the same memory
        logits = self._replay().to(torch.float32, copy=True)
        _grew(self._rows, token_ids, 1)
        return logits

    def _told(self, token_ids: TokenIds) -> torch.Tensor:
        """Return tokens and positions. A session without a token is fed a 0, which its next token overwrites."""
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
    """The buffers of all sessions and layers, [1, heads, capacity, size], written at positions from a tensor."""

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
        """Return the places of a session's buffer that its newest token attends to, [1, 1, 1, capacity]."""
        key = (row, capacity, window)
        if key not in self._masks:
            places = torch.arange(capacity, device=self._positions.device)
            seen = places <= self._positions[row]
            seen = seen if window is None else seen & (places > self._positions[row] - window)
            self._masks[key] = seen[None, None, None]
        return self._masks[key]


class Fixed:
    """The keys of each session in their buffers, and the cache with their masks."""

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


def cuda_graph(step: GraphReplay, device: torch.device) -> GraphReplay:
    """Record a step as a CUDA graph. It runs twice before, as CUDA requires."""
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
"""How a step is recorded, by the kind of device. On other devices no graphs are used."""


def can_record(model: PreTrainedModel) -> bool:
    """Whether a graph of a model may be tried: the device and the attention support it, and none has failed."""
    return model.device.type in RECORDERS and model not in _refused and ModelForward.of(model).recordable


def decode_graph(model: PreTrainedModel, rows: Rows, logits: torch.Tensor, token_ids: TokenIds) -> DecodeGraph | None:
    """Return a graph that continues after the forward that has just fed `token_ids` to some sessions.

    `rows` are their layers. `logits` [sessions, vocabulary] are the results of that forward for the sessions with a
    token; the graph repeats the forward and has to give the same. Returns None, with the reason in the log, if no graph
    can be made. The tokens then have to be fed again.
    """
    try:
        # one step back: the graph is recorded for the last forward, so that both results can be compared
        _grew(rows, token_ids, -1)
        graph = DecodeGraph(model, rows, token_ids, RECORDERS[model.device.type])
        said = graph.decode(token_ids)[[token_id is not None for token_id in token_ids]]
        away = float(((said - logits).norm(dim=-1) / logits.norm(dim=-1)).max())
        reason = f"their logits are {away:.0%} off" if not away <= TOLERANCE else None
    except Exception as error:  # any part of a model's code that cannot be recorded
        reason = f"{type(error).__name__}: {error}"
    if reason is None:
        return graph
    _refused.add(model)
    log.warning("%s decodes without CUDA graphs: %s", type(model).__name__, reason)
    return None


def _grew(rows: Rows, token_ids: TokenIds, tokens: int) -> None:
    """Count the token in the layers of each session that has one."""
    for layers, token_id in zip(rows, token_ids, strict=True):
        for layer in layers if token_id is not None else ():
            layer.grew(tokens)


AttentionInterface.register(NAME, graph_attention)
