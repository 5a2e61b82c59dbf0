"""The events of `GlimpRouter.stream`, in order: one Start, then for each step a Routed, its Deltas and a Step, and one
Finish. The answer has no Routed and may have ToolCallDeltas. The completion, the trace and all figures are computed
from these events."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from glimp_core.entropy import TokenMeasure
from glimp_core.prices import Prices
from glimp_core.types import Decision, FinishReason, Glimpse, Phase, Role, Step, ThinkingEnd, ToolCallDelta

Mode = Literal["thinking", "inline", "large_only", "off"]
"""How the pair answers: the chain of thought is routed; the visible reply is routed; one model writes the whole reply,
because the pair does not think; or thinking is switched off."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first event: the mode, the number of prompt tokens (in the large model's), and notes for the user.

    `prices` are those of the router.
    """

    mode: Mode
    prompt_tokens: int
    notes: tuple[str, ...] = ()
    prices: Prices | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """A decision: the glimpse of step `index`, and the writer that the policy chose."""

    index: int
    glimpse: Glimpse
    decision: Decision


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text. The deltas of a reply, joined, equal its reasoning and its answer.

    `measure` has its log-probabilities, if the request asked for them and the engine supports it.
    """

    index: int
    phase: Phase
    engine: Role
    text: str
    token_ids: tuple[int, ...]
    measure: TokenMeasure | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event. `thinking_end` says what ended the routed steps; `notes` are those after the start."""

    finish_reason: FinishReason
    thinking_end: ThinkingEnd | None
    seconds: float
    notes: tuple[str, ...] = ()


Event: TypeAlias = Start | Routed | Delta | ToolCallDelta | Step | Finish
