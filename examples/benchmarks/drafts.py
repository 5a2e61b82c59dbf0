"""What drafts win on replies of several kinds, cold and warm: time and large forwards with them and without.

    python examples/benchmarks/drafts.py SMALL LARGE [--tokens 64] [--only edit] [--json FILE]

Greedy, one request at a time, all in one process. "Cold" is the first request of its kind in a process that has
measured nothing yet; "warm" is the same request again, when what drafts win here is known. Both begin with empty
caches, and times include the prompt. Processor time is compared, which other programs disturb less.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from glimp_core import AlwaysLarge, Completion, GlimpRouter, RouterConfig, SamplingParams
from glimp_core.bench.machine import commit, machine
from glimp_core.bench.speed.counts import LETTER, SCHEMA
from glimp_core.local import LocalEngine, SpeculativeEngine
from glimp_core.local.draft_length import DraftLengthController

CODE = '''def mean(values):
    """Return the mean of some values."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values)
'''

TOOL = {
    "type": "function",
    "function": {
        "name": "book_seat",
        "description": "Book a seat on a boat.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "day": {"type": "string"}, "hour": {"type": "integer"}},
            "required": ["name", "day", "hour"],
        },
    },
}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "explain": ("Tell me in a few sentences how a boat floats.", {}),
    "json": (f"{LETTER}\nWho leaves when, and with what?", {"response_format": SCHEMA}),
    "edit": (f"{CODE}\nRename `total` to `amount` in this function. Write the whole function again.", {}),
    "quotes": (f"{LETTER}\nWhat must Ann bring? Quote the sentence that says it, then answer.", {}),
    "tool": ("Book a seat for Ann on Monday at nine.", {"tools": [TOOL], "tool_choice": "required"}),
}


def main() -> None:
    """Measure each kind and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("small")
    parser.add_argument("large")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    small, large = LocalEngine.from_pretrained(args.small), LocalEngine.from_pretrained(args.large)
    small.load()
    large.load()
    _ask(small, large, "Hello!", {}, 8)  # the first forwards of a process take longer
    rows = []
    for kind, (question, options) in KINDS.items():
        if args.only in kind:
            rows.append(_measured(small, large, kind, (question, options), args.tokens))
            print(_line(rows[-1]), flush=True)
    if args.json:
        document = {"small": args.small, "large": args.large, "rows": rows, "machine": machine(), "commit": commit()}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


def _measured(
    small: LocalEngine, large: LocalEngine, kind: str, request: tuple[str, dict[str, Any]], tokens: int
) -> dict[str, Any]:
    lengths = DraftLengthController()
    drafted = SpeculativeEngine(large, small, lengths)
    plain, alone, wall = _ask(small, large, *request, tokens)
    cold, first, first_wall = _ask(small, drafted, *request, tokens)
    warm, again, again_wall = _ask(small, drafted, *request, tokens)
    usage, twice = first.usage, again.usage
    return {
        "kind": kind,
        "tokens": alone.usage.completion_tokens,
        "prompt_tokens": alone.usage.prompt_tokens,
        "plain_seconds": plain,
        "cold": plain / cold,
        "warm": plain / warm,
        "cold_wall": wall / first_wall,
        "warm_wall": wall / again_wall,
        "same_text": _said(first) == _said(again) == _said(alone),
        "forwards": [alone.usage.large.forwards, usage.large.forwards, twice.large.forwards],
        "drafted": [usage.large.drafted_tokens, twice.large.drafted_tokens],
        "accepted": [usage.large.accepted_tokens, twice.large.accepted_tokens],
        "large_prefill_seconds": alone.usage.large.prefill_seconds,
        "small_seconds": [one.small.prefill_seconds + one.small.decode_seconds for one in (usage, twice)],
        "small_prefill_seconds": [one.small.prefill_seconds for one in (usage, twice)],
        "notes": list(again.summary().notes),
    }


def _ask(
    small: LocalEngine, large: Any, question: str, options: dict[str, Any], tokens: int
) -> tuple[float, Completion, float]:
    """Ask with empty caches; returns processor seconds, the reply, and seconds."""
    for engine in (small, getattr(large, "target", large)):
        engine.forget()
    config = RouterConfig(reasoning="off", speculate=False, max_answer_tokens=tokens)
    router = GlimpRouter(small, large, AlwaysLarge(), config)
    cpu, wall = process_time(), perf_counter()
    done = router.generate(question, sampling=SamplingParams(temperature=0), **options)
    return process_time() - cpu, done, perf_counter() - wall


def _said(done: Completion) -> Any:
    return done.answer, [(call.name, call.arguments) for call in done.tool_calls]


def _line(row: dict[str, Any]) -> str:
    forwards = " > ".join(map(str, row["forwards"]))
    return (
        f"{row['kind']:8} {row['prompt_tokens']:4} + {row['tokens']:3} tokens, {row['plain_seconds']:6.1f} s plain; "
        f"plain / drafted: cold {row['cold']:.2f}, warm {row['warm']:.2f}; large forwards {forwards}; "
        f"drafted {row['drafted']}, accepted {row['accepted']}; same text {row['same_text']}"
    )


if __name__ == "__main__":
    main()
