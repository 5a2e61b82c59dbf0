"""Decoding one token as a CUDA graph: one launch in place of the hundreds of kernels that a forward is made of.

A graph reads and writes fixed memory, so the token, its position and the keys and values are tensors that stay where
they are. It attends to a whole buffer, of which a mask shows what is held, and serves one session until that grows.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import WeakSet

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from glimp_core.local.cache import GrowLayer

log = logging.getLogger("glimp.local")

WARM_UP = 8
"""A graph costs about three forwards, and is made when a session has decoded so many tokens into its buffers."""

NAME = "glimp_graph"
TOLERANCE = 0.1
"""How far a graph's logits may be from the forward's they repeat, relative to their norm: rounding is far below."""

Replay: TypeAlias = Callable[[], torch.Tensor]
Recorder: TypeAlias = Callable[[Replay, torch.device], Replay]
_refused: WeakSet[PreTrainedModel] = WeakSet()


class DecodeGraph:
    """A session's single-token forward over fixed memory, recorded while it repeats the one that fed `token_id`."""

    def __init__(self, model: PreTrainedModel, layers: Sequence[GrowLayer], token_id: int, record: Recorder):
        self._model = model
        self._layers = layers
        self._buffers = [layer.buffers for layer in layers if layer.buffers]
        self._token_id = torch.tensor([[token_id]], device=model.device)
        self._position = torch.tensor([layers[0].length - 1], device=model.device)
        self._replay = record(self._forward, model.device)

    @property
    def fits(self) -> bool:
        """Whether the memory is still what it was, with room for one more token."""
        layer = self._layers[0]
        return layer.buffers is self._buffers[0] and layer.length < layer.capacity

    def decode(self, token_id: int) -> torch.Tensor:
        """Feed one token; returns float32 logits [1, vocabulary]."""
        self._token_id.fill_(token_id)
        self._position.fill_(self._layers[0].length)
        logits = self._replay().to(torch.float32, copy=True)
        for layer in self._layers:
            layer.grew(1)
        return logits

    def _forward(self) -> torch.Tensor:
        config = self._model.config.get_text_config(decoder=True)
        usual, config._attn_implementation = config._attn_implementation, NAME
        try:
            logits: torch.Tensor = self._model(
                input_ids=self._token_id,
                position_ids=self._position[None],
                past_key_values=FixedCache(self._buffers, self._position),
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        finally:
            config._attn_implementation = usual
        return logits


class FixedCache(Cache):
    """Buffers [1, heads, capacity, size] of every layer, written at a position that a tensor holds."""

    def __init__(self, buffers: Sequence[tuple[torch.Tensor, torch.Tensor]], position: torch.Tensor):
        super().__init__(layers=[])
        self._buffers = buffers
        self._position = position

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Write the states of one token and return the layer's whole buffers."""
        keys, values = self._buffers[layer_idx]
        keys.index_copy_(2, self._position, key_states)
        values.index_copy_(2, self._position, value_states)
        return Fixed(keys, self._position), values


class Fixed:
    """Keys in their buffer, and the position of the newest of them."""

    def __init__(self, states: torch.Tensor, position: torch.Tensor):
        self.states = states
        self.position = position

    def seen(self, window: int | None) -> torch.Tensor:
        """Return which places of the buffer the newest token may see, [1, 1, 1, capacity]."""
        places = torch.arange(self.states.shape[2], device=self.states.device)
        seen = places <= self.position
        return (seen if window is None else seen & (places > self.position - window))[None, None, None]


def graph_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: Fixed,
    value: torch.Tensor,
    attention_mask: None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to a buffer; `query` is [1, heads, 1, size]."""
    mask = key.seen(sliding_window)
    output: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key.states, value, mask, is_causal=False, **options
    )
    return output


def cuda_graph(step: Replay, device: torch.device) -> Replay:
    """Record a step as a CUDA graph; it runs twice before, as CUDA wants it."""
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        step()
        step()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
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
    usual = model.config.get_text_config(decoder=True)._attn_implementation == "sdpa"
    return usual and model.device.type in RECORDERS and model not in _refused


def decode_graph(
    model: PreTrainedModel, layers: Sequence[Any], logits: torch.Tensor, token_id: int
) -> DecodeGraph | None:
    """Return a graph that goes on from the forward that has just fed `token_id`; None, and why in the log, if none can.

    The graph repeats that forward first and must come to its `logits`. After None the last token is to be fed again.
    """
    try:
        graph = DecodeGraph(model, layers, token_id, RECORDERS[model.device.type])
        for layer in layers:
            layer.grew(-1)
        away = float((graph.decode(token_id) - logits).norm() / logits.norm())
        reason = f"their logits are {away:.0%} off" if not away <= TOLERANCE else None
    except Exception as error:  # whatever in a model's code cannot be recorded
        reason = f"{type(error).__name__}: {error}"
    if reason is None:
        return graph
    _refused.add(model)
    log.warning("%s decodes without CUDA graphs: %s", type(model).__name__, reason)
    return None


AttentionInterface.register(NAME, graph_attention)
