"""Routing as instrumentation events, for those who ask for them (`routing_events=True`)."""

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent

from glimp_core import Step

dispatcher = get_dispatcher(__name__)


class GlimpStepEvent(BaseEvent):
    """One finished step: which model wrote it (`engine`), and its first token's entropy in nats where it was routed."""

    index: int
    phase: str
    engine: str
    entropy: float | None
    tokens: int
    seconds: float
    end: str

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "GlimpStepEvent"


def dispatch(step: Step) -> None:
    """Send a step to whoever listens."""
    dispatcher.event(
        GlimpStepEvent(
            index=step.index,
            phase=step.phase,
            engine=step.engine,
            entropy=step.entropy,
            tokens=step.tokens,
            seconds=step.seconds,
            end=step.end,
        )
    )
