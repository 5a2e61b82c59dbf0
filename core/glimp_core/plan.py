"""The plan of a request before any forward: the mode and the token budgets."""

from dataclasses import dataclass

from glimp_core.config import RouterConfig
from glimp_core.errors import ConfigError, ContextOverflowError
from glimp_core.events import Mode
from glimp_core.types import Phase, Prompt

MINIMUM_ROOM = 16
"""The least number of tokens that have to be free in the window after the prompt."""

CLOSING = 8
"""Tokens of the window that are reserved for the end of thinking, if a model has no single token for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The mode, the token budgets of the routed steps and of the answer, and notes for the user."""

    mode: Mode
    reasoning_tokens: int
    answer_tokens: int
    notes: tuple[str, ...] = ()

    @property
    def first_phase(self) -> Phase:
        """The phase that the reply starts with."""
        return self.mode if self.mode == "thinking" or self.mode == "inline" else "answer"


def settle(
    small: Prompt,
    large: Prompt,
    config: RouterConfig,
    max_tokens: int | None = None,
    bound: bool = False,
    max_completion_tokens: int | None = None,
) -> Plan:
    """Return the plan of a request from the prompts of both models.

    A `bound` reply may have calls or JSON, and is never routed step by step. `max_completion_tokens` limits thinking
    and answer together; each of them gets at least one token. Raises `ConfigError` for a pair of which only one model
    thinks, and for a limit that is too small for a demanded answer. Raises `ContextOverflowError` for a prompt that
    fills a window.
    """
    mode = _mode(small, large, config)
    free = room = min(_room("small", small), _room("large", large))
    if max_completion_tokens is not None:
        room = min(room, max_completion_tokens)
        max_tokens = min(max_tokens or room, room)
    answer = min(max_tokens or config.max_answer_tokens, room)
    if mode == "inline" and not bound:
        return Plan(mode, answer, answer)
    if mode == "thinking":
        answer = min(answer, max(1, room // 2, room - config.max_reasoning_tokens))
    _check_length(answer, small, large, config)
    if mode == "thinking":
        thinking = min(config.max_reasoning_tokens, room - answer, free - CLOSING - answer)
        return Plan(mode, max(1, thinking), answer)
    if mode == "inline":
        return Plan("off" if large.thinking == "closed" else "large_only", 0, answer, (_bound_note(config),))
    return Plan(mode, 0, answer, _notes(mode, small, large, config))


def _mode(small: Prompt, large: Prompt, config: RouterConfig) -> Mode:
    if config.reasoning != "auto":
        return config.reasoning
    thinking = _thinking(small, large)
    if all(thinking):
        return "thinking"
    if any(thinking):
        one, other = ("small", "large") if thinking[0] else ("large", "small")
        raise ConfigError(
            f"only the {one} model thinks, the {other} one does not, so they cannot share a chain of thought: "
            f"choose two models that think, or pass reasoning='inline' or reasoning='off'"
        )
    return "off" if "closed" in (small.thinking, large.thinking) else "large_only"


def to_be_switched_on(small: Prompt, large: Prompt) -> bool:
    """Return whether one model thinks and the other one can: then thinking has to be switched on in its template."""
    able = [prompt.thinking == "open" or prompt.can_think for prompt in (small, large)]
    return all(able) and any(_thinking(small, large)) and not all(_thinking(small, large))


def _thinking(small: Prompt, large: Prompt) -> list[bool]:
    return [prompt.thinking == "open" for prompt in (small, large)]


def _notes(mode: Mode, small: Prompt, large: Prompt, config: RouterConfig) -> tuple[str, ...]:
    if config.reasoning == "auto" and small.can_think and large.can_think:
        return (
            "both models can think, but their templates leave it off by default, so that nothing is routed: "
            "reasoning_effort='medium', or the template's own option in chat_template_kwargs, switches it on",
        )
    if mode != "large_only" or config.answer_by == "routed":
        return ()
    return (
        f"this pair does not think, so the {config.answer_by} model writes the whole reply and the other one "
        "at most drafts for it; reasoning='inline' routes the visible steps, which gained nothing on the one pair that "
        "was tried (docs/performance.md)",
    )


def _bound_note(config: RouterConfig) -> str:
    who = "model that the first glimpse chooses" if config.answer_by == "routed" else f"{config.answer_by} model"
    return f"reasoning='inline' routes text; this reply may hold tool calls or JSON, so the {who} writes it at once"


def _check_length(answer: int, small: Prompt, large: Prompt, config: RouterConfig) -> None:
    shortest = {"small": small.shortest_answer, "large": large.shortest_answer}
    asked = shortest if config.answer_by == "routed" else {config.answer_by: shortest[config.answer_by]}
    needed = max(length() for length in asked.values())
    if answer < needed:
        raise ConfigError(
            f"an answer of at most {answer} tokens cannot hold what the request demands: the shortest call or JSON "
            f"that fits has {needed} tokens; raise max_tokens, or max_answer_tokens"
        )


def _room(role: str, prompt: Prompt) -> int:
    room = prompt.window - prompt.tokens
    if room < MINIMUM_ROOM:
        raise ContextOverflowError(
            f"the prompt has {prompt.tokens} tokens and the {role} model's window {prompt.window}: "
            f"shorten it by at least {MINIMUM_ROOM - room} tokens or choose a model with a longer window"
        )
    return room
