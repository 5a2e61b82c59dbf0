"""Does a pair call tools when it should, only then, and with arguments of the right types?

python examples/experiments/tool_calls.py --small SMALL --large LARGE NAME

Ten prompts need a tool and ten do not. Those that need one are asked with tool_choice="required", then all with "auto".
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plotting import save

from glimp_core import Completion, GlimpRouter, RouterConfig, SamplingParams

FOLDER = Path(__file__).parent
TOOLS: list[dict[str, Any]] = json.loads((FOLDER / "tools.json").read_text(encoding="utf-8"))


def prompts() -> list[dict[str, Any]]:
    """Read the prompts, each with the tool that it needs, or null."""
    lines = (FOLDER / "tool_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def asked(router: GlimpRouter, sampling: SamplingParams) -> Iterator[dict[str, Any]]:
    """Ask everything; yields a row a reply."""
    needing = [prompt for prompt in prompts() if prompt["tool"]]
    for choice, asked in (("required", needing), ("auto", prompts())):
        for prompt in asked:
            done = router.generate(prompt["prompt"], tools=TOOLS, tool_choice=choice, sampling=sampling)
            yield row(choice, prompt, done)


def row(choice: str, prompt: dict[str, Any], done: Completion) -> dict[str, Any]:
    """Say of one reply whether it calls, whether validly, and whether the tool that was needed."""
    calls = [{"name": call.name, "arguments": call.arguments} for call in (*done.tool_calls, *done.invalid_tool_calls)]
    return {
        "choice": choice, **prompt, "called": bool(calls),
        "valid": bool(calls) and not done.invalid_tool_calls,
        "right_tool": any(call["name"] == prompt["tool"] for call in calls),
        "calls": calls, "answer": done.answer, "seconds": round(done.finish.seconds, 2),
    }  # fmt: skip


def counted(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count the rows by what was asked for."""
    groups = {
        "required": [row for row in rows if row["choice"] == "required"],
        "auto, tool needed": [row for row in rows if row["choice"] == "auto" and row["tool"]],
        "auto, no tool needed": [row for row in rows if row["choice"] == "auto" and not row["tool"]],
    }
    keys = ("called", "valid", "right_tool")
    return {
        name: {"of": len(own), **{key: sum(row[key] for row in own) for key in keys}} for name, own in groups.items()
    }


def main() -> None:
    """Ask, count and keep the replies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="name of the result")
    parser.add_argument("--small", required=True)
    parser.add_argument("--large", required=True)
    parser.add_argument("--dtype", help="type of the weights (default: as they are kept)")
    parser.add_argument("--reasoning", default="auto")
    parser.add_argument("--max-tokens", type=int, default=192)
    arguments = parser.parse_args()
    options = {"dtype": arguments.dtype} if arguments.dtype else {}
    config = RouterConfig(reasoning=arguments.reasoning)
    router = GlimpRouter.from_pretrained(arguments.small, arguments.large, config=config, **options)
    rows = []
    for reply in asked(router, SamplingParams(temperature=0, max_tokens=arguments.max_tokens)):
        rows.append(reply)
        said = ", ".join(f"{call['name']}({call['arguments']})" for call in reply["calls"]) or repr(
            reply["answer"][:60]
        )
        print(f"{reply['choice']:9}{reply['prompt'][:44]:46}{said}", flush=True)
    counts = counted(rows)
    for name, found in counts.items():
        print(f"{name:22}", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items()))
    save(arguments.name, {"small": router.small.name, "large": router.large.name, "counts": counts, "rows": rows})


if __name__ == "__main__":
    main()
