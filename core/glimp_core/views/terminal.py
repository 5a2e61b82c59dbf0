"""A reply in the terminal, as rich renderables and as lines."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from glimp_core.figures import CompletionLike, summarise
from glimp_core.prices import Cost
from glimp_core.types import Role
from glimp_core.views.columns import Column, nats, picture, seconds, without_text

COLOURS: dict[Role, str] = {"small": "color(33)", "large": "color(166)"}
"""Blue and orange: also people with colour blindness can distinguish them, on dark and on light backgrounds."""

BARS = "▁▂▃▄▅▆▇█"


def reply(done: CompletionLike) -> RenderableType:
    """Return a reply as its steps, one a line, and its figures under them."""
    drawn = picture(done)
    table = plain_table("", "step", "writer", "H", "", "tokens", "time", "text", right=(1, 3, 5, 6))
    for column in drawn.columns:
        table.add_row(*_row(column, drawn.has_words))
    return Group(table, Text("\n".join([figures(done), *summarise(done).notes]), style="dim"))


def figures(done: CompletionLike) -> str:
    """Return the figures of a reply, one a line: they stand under every picture of it."""
    told = summarise(done)
    lines = [
        f"{seconds(told.seconds)} from the question to the end; large model: {told.large_token_share:.0%} of tokens"
    ]
    if told.routed_steps:
        interventions = sum(routed.decision.intervene for routed in done.routed)
        lines.append(
            f"intervention rate {told.intervention_rate:.0%} ({interventions} of {told.routed_steps} routed steps)"
        )
    if told.cost:
        lines.append(f"{price(told.cost)}: small {told.cost.small:.4g}, large {told.cost.large:.4g}")
    if told.large_alone_seconds is not None:
        lines.append(f"the large model alone: {seconds(told.large_alone_seconds)} (estimate)")
    if done.finish_reason == "length":
        lines.append("the answer was cut at its limit (max_tokens, --max-tokens)")
    if told.thinking_end in ("budget", "repetition"):
        lines.append(f"the thinking was ended: {told.thinking_end}")
    return "\n".join(lines)


def totals(done: CompletionLike) -> RenderableType:
    """Return steps, tokens and seconds by model, and under them the figures of the reply."""
    usage, steps, tokens = done.usage, _steps(done), _tokens(done)
    columns = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    columns.add_column("")
    for name in ("small", "large", "together"):
        columns.add_column(name, justify="right")
    _sum(columns, "steps", steps["small"], steps["large"])
    _sum(columns, "tokens written", tokens["small"], tokens["large"])
    _sum(columns, "tokens read", usage.small.prefill_tokens, usage.large.prefill_tokens)
    seconds = (usage.small.seconds, usage.large.seconds, usage.small.seconds + usage.large.seconds)
    columns.add_row("seconds", *(f"{part:.2f}" for part in seconds))
    return Group(columns, Text(figures(done)))


def line(done: CompletionLike) -> str:
    """Return a reply's figures in one line."""
    figures, steps, tokens = summarise(done), _steps(done), _tokens(done)
    parts = [
        f"{figures.steps} steps ({steps['large']} large)",
        f"{sum(tokens.values())} tokens ({tokens['large']} large)",
    ]
    parts += [f"{figures.seconds:.1f} s", *([price(figures.cost)] if figures.cost else [])]
    return ", ".join(parts)


def price(cost: Cost) -> str:
    """Return what a reply cost, in words."""
    return f"{cost.total:.4g} {inert(cost.currency)}"


def _sum(columns: Table, label: str, small: int, large: int) -> None:
    columns.add_row(label, str(small), str(large), str(small + large))


def _steps(done: CompletionLike) -> dict[Role, int]:
    return {role: sum(step.engine == role for step in done.steps) for role in ("small", "large")}


def _tokens(done: CompletionLike) -> dict[Role, int]:
    return {role: sum(step.tokens for step in done.steps if step.engine == role) for role in ("small", "large")}


def _row(column: Column, has_words: bool) -> Sequence[RenderableType]:
    step, colour = column.step, COLOURS[column.step.engine]
    entropy, bar = ("", "") if column.routed is None else (nats(column.routed.glimpse.entropy), _bar(column))
    words = inert(" ".join(step.text.split()))
    silent = without_text(step) if has_words else "not recorded"
    text = Text(words or f"({silent})", colour if words else "dim", no_wrap=True, overflow="ellipsis")
    name = step.engine if step.phase != "answer" else f"{step.engine} (answer)"
    tokens, time = str(step.tokens), seconds(step.seconds)
    return (Text("▏", colour), str(step.index), Text(name, colour), entropy, Text(bar, colour), tokens, time, text)


def _bar(column: Column) -> str:
    height = column.height or 0.0
    return BARS[min(int(height / 100 * len(BARS)), len(BARS) - 1)]


def plain_table(*names: str, right: Sequence[int]) -> Table:
    """Return an empty table without lines; the columns numbered in `right` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for number, name in enumerate(names):
        last = number == len(names) - 1
        table.add_column(name, justify="right" if number in right else "left", no_wrap=True, ratio=1 if last else None)
    return table


REPLACED = (*range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
"""Later control characters, line separators, what changes the direction of text, and halves of characters."""
INERT = {code: chr(0x2400 + code) for code in range(32)} | dict.fromkeys(REPLACED, "\ufffd")


def inert(text: str, kept: str = "") -> str:
    """Return text with symbols for control characters, except those `kept`, so that no text controls the terminal."""
    return text.translate({code: picture for code, picture in INERT.items() if chr(code) not in kept})
