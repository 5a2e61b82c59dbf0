"""What `GlimpRouter.stream` yields, in order: one Start, then for every step a Routed, its Deltas and a
Step (the answer has no Routed and may hold ToolCallDeltas), and one Finish. The completion, the trace and
every figure are folds of these."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from glimp_core.entropy import TokenMeasure
from glimp_core.prices import Prices
from glimp_core.types import Decision, FinishReason, Glimpse, Phase, Role, Step, ThinkingEnd, ToolCallDelta

Mode = Literal["thinking", "inline", "large_only", "off"]
"""What the pair does: routes a chain of thought, routes the visible reply, leaves the whole reply
to one model because it does not think, or answers with thinking switched off."""


@dataclass(frozen=True, slots=True)
class Start:
    """A request begins: the mode that was settled, the size of the prompt, and notes the user should see.

    `prices` are those that the router was given.
    """

    mode: Mode
    prompt_tokens: int
    notes: tuple[str, ...] = ()
    prices: Prices | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """The small model glimpsed at step `index`, and the policy chose its writer."""

    index: int
    glimpse: Glimpse
    decision: Decision


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text. The deltas of a reply, joined, equal its reasoning and its answer.

    `measure` is there where the request asked for it and the engine can tell.
    """

    index: int
    phase: Phase
    engine: Role
    text: str
    token_ids: tuple[int, ...]
    measure: TokenMeasure | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """A request is done. `thinking_end` says what ended the routed steps; `notes` are notes on the way."""

    finish_reason: FinishReason
    thinking_end: ThinkingEnd | None
    seconds: float
    notes: tuple[str, ...] = ()


Event: TypeAlias = Start | Routed | Delta | ToolCallDelta | Step | Finish
