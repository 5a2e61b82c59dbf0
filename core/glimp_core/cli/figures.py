"""The figures under a reply, as a table and as one line."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from glimp_core.completion import Completion
from glimp_core.types import Role


def table(done: Completion) -> RenderableType:
    """Return steps, tokens and seconds by model, and under them what they add up to."""
    usage, steps, tokens = done.usage, _steps(done), _tokens(done)
    columns = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    columns.add_column("")
    for name in ("small", "large", "together"):
        columns.add_column(name, justify="right")
    _row(columns, "steps", steps["small"], steps["large"])
    _row(columns, "tokens written", tokens["small"], tokens["large"])
    _row(columns, "tokens read", usage.small.prefill_tokens, usage.large.prefill_tokens)
    seconds = (usage.small.seconds, usage.large.seconds, usage.small.seconds + usage.large.seconds)
    columns.add_row("seconds", *(f"{part:.2f}" for part in seconds))
    return Group(columns, Text(_sums(done)))


def line(done: Completion) -> str:
    """Return a reply's figures in one line."""
    figures, steps, tokens = done.summary(), _steps(done), _tokens(done)
    parts = [
        f"{figures.steps} steps ({steps['large']} large)",
        f"{sum(tokens.values())} tokens ({tokens['large']} large)",
    ]
    return ", ".join([*parts, f"{figures.seconds:.1f} s"])


def _row(columns: Table, label: str, small: int, large: int) -> None:
    columns.add_row(label, str(small), str(large), str(small + large))


def _sums(done: Completion) -> str:
    figures = done.summary()
    interventions = sum(routed.decision.intervene for routed in done.routed)
    lines = [f"{figures.seconds:.2f} s from the question to the end"]
    if figures.routed_steps:
        rate = f"intervention rate {figures.intervention_rate:.0%}"
        lines.append(f"{rate} ({interventions} of {figures.routed_steps} routed steps)")
    if figures.large_alone_seconds is not None:
        lines.append(f"the large model alone: {figures.large_alone_seconds:.2f} s (estimate)")
    if done.finish_reason == "length":
        lines.append("the answer was cut at its limit (--max-tokens)")
    if figures.thinking_end in ("budget", "repetition"):
        lines.append(f"the thinking was ended: {figures.thinking_end}")
    return "\n".join(lines)


def _steps(done: Completion) -> dict[Role, int]:
    return {writer: sum(step.engine == writer for step in done.steps) for writer in ("small", "large")}


def _tokens(done: Completion) -> dict[Role, int]:
    return {writer: sum(step.tokens for step in done.steps if step.engine == writer) for writer in ("small", "large")}
