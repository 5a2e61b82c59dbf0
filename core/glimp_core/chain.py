"""The state of one reply while it is written: its steps, its phase and what is left of its budgets."""

from collections.abc import Callable

from glimp_core.chat.output.check import OutputCheck
from glimp_core.config import RouterConfig
from glimp_core.context import Context, Span, ThinkingClosed
from glimp_core.plan import CLOSING, Plan
from glimp_core.steps import in_circles
from glimp_core.stopping import StopMatcher
from glimp_core.types import FinishReason, GenerationParams, Phase, Role, SamplingParams, Step, ThinkingEnd

MOST_TOKENS = 4
"""A token of one vocabulary is hardly ever more than so many of another one."""


class Chain:
    """Grows by whole steps. `routed` while the next step is to be glimpsed at, `complete` when all is said.

    `room` counts the tokens that are left in the fuller window, where two vocabularies count a step differently.
    """

    def __init__(
        self,
        context: Context,
        plan: Plan,
        config: RouterConfig,
        sampling: SamplingParams,
        room: Callable[[], int] | None = None,
    ):
        self.context = context
        self.plan = plan
        self.config = config
        self.sampling = sampling
        self.stop = StopMatcher(sampling.stop)
        self.check = OutputCheck(context)
        self.steps: list[Step] = []
        self.phase: Phase = plan.first_phase
        self.thinking_end: ThinkingEnd | None = None
        self.complete = False
        self.tool_calls = False
        self._room = room
        self._visible = plan.first_phase != "thinking"
        self._left = {"thinking": plan.reasoning_tokens, "inline": plan.answer_tokens, "answer": plan.answer_tokens}

    @property
    def routed(self) -> bool:
        """Whether the next step has its writer chosen by a glimpse."""
        return not self.complete and (self.phase != "answer" or self.config.answer_by == "routed")

    @property
    def answer_by(self) -> Role:
        """Who writes the answer when it is not routed."""
        return "small" if self.config.answer_by == "small" else "large"

    @property
    def finish_reason(self) -> FinishReason:
        """Why the reply is over: "length" only when the answer itself was cut, be it at a paragraph break."""
        if self.tool_calls:
            return "tool_calls"
        return "length" if not self.steps or self.steps[-1].end in ("length", "break") else "stop"

    @property
    def _bound(self) -> bool:
        """Whether what is written now may hold calls or JSON, which cannot be written step by step."""
        return self.phase != "thinking" and self.context.request.bound

    def spares(self, writer: Role, begun: bool) -> bool:
        """Whether the reply may go on without `writer`, who failed; a call or JSON it has begun cannot change hands."""
        return writer == "large" and self.config.on_large_failure == "small" and not (begun and self._bound)

    def params(self) -> GenerationParams:
        """Say how the next step is to be written."""
        left = self._left[self.phase]
        stepwise = self.routed and not self._bound
        limit = min(left, self.config.max_step_tokens) if stepwise else left
        if stepwise and (room := self._free()) is not None:
            limit = max(1, min(limit, room // MOST_TOKENS))
        logprobs = self.context.request.logprobs
        return GenerationParams(self.phase, limit, stepwise, self.sampling, len(self.steps), logprobs)

    def _free(self) -> int | None:
        """Return how many tokens of the fuller window this phase may fill; None where one count holds for both."""
        if self._room is None:
            return None
        return self._room() - (self.plan.answer_tokens + CLOSING if self.phase == "thinking" else 0)

    def show(self, text: str) -> str:
        """Return what may be shown of the next written text.

        Stop strings apply to the visible reply alone; the blank lines that part it from the thinking
        belong to neither.
        """
        if self.phase == "thinking":
            return text
        if not self._visible:
            text = text.lstrip("\n")
            self._visible = bool(text)
        return self.stop.push(text)

    def append(self, step: Step, written: str, token_ids: tuple[int, ...], vocabulary: str) -> None:
        """Take a finished step with all that was written of it, and settle what follows."""
        self.steps.append(step)
        self.context.append(Span(written, token_ids, vocabulary))
        self._left[self.phase] -= step.tokens
        if (room := self._free()) is not None:
            self._left[self.phase] = min(self._left[self.phase], room)
        if self.phase == "thinking":
            self._after_thinking(step)
        else:
            self._after_visible(step)

    def _after_thinking(self, step: Step) -> None:
        self.thinking_end = self.ending(step)
        if self.thinking_end:
            self.context.append(ThinkingClosed(written=self.thinking_end == "close"))
            self.phase = "answer"

    def _after_visible(self, step: Step) -> None:
        ending = self.ending(step)
        over = (self._bound or not self.routed) and step.end != "failure"
        self.complete = step.end in ("eos", "stop") or self._left[self.phase] <= 0 or over
        if self.phase == "inline":
            self.thinking_end = ending
            if ending == "repetition" and not self.complete:  # the large model finishes what went in circles
                self._left["answer"] = self._left["inline"]
                self.phase = "answer"
        elif ending == "repetition":
            self.complete = True

    def ending(self, step: Step) -> ThinkingEnd | None:
        """Say what ends the routed steps with this one, the last of the chain; None if they go on."""
        if step.end in ("close", "eos"):
            return "close" if step.end == "close" else "eos"
        if self._left[self.phase] <= 0:
            return "budget"
        texts = [earlier.text for earlier in self.steps if earlier.phase == self.phase]
        return "repetition" if in_circles(texts) else None
