"""The same signals on a real pair, block by block of what its large model writes. There is no right reasoning here.

python examples/experiments/signals/blocks.py SMALL LARGE --set reasoning-gym:gsm_symbolic --n 8 qwen-signals

The truth is the large model: the divergence of its distribution from the small model's, a token, and whether both would
write the same first token. Both models must share a tokenizer.
"""

import argparse
import sys
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "tiny_pair")]

import judge
import torch
from observe import SIGNALS, Task, observe
from pairtools import decode, load
from plotting import RESULTS, save
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from glimp_core.bench.questions import question_set


def task(large: PreTrainedModel, tokenizer: Tokenizer, question: str, limit: int) -> Task:
    """Return the prompt of a question, and the blocks of the large model's greedy reply of at most `limit` tokens."""
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer.encode(text, add_special_tokens=False)
    (reply,) = decode(large, [prompt], [tokenizer.eos_token_id], limit)
    blocks: list[list[int]] = [[]]
    for token in reply:
        blocks[-1].append(token)
        if "\n\n" in tokenizer.decode(blocks[-1]):
            blocks.append([])
    return Task(prompt, [block for block in blocks if block])


def described(questions: judge.Questions) -> dict[str, Any]:
    """Return how each signal goes along with the divergence, and how often the models disagree."""
    steps = list(chain(*questions))
    signals = {}
    for name in SIGNALS:
        figure = partial(judge.correlation, signal=name)
        signals[name] = {"value": figure(questions), "interval": judge.interval(questions, figure)}
    disagree = sum(o.first_wrong for o in steps) / len(steps)
    return {"questions": len(questions), "blocks": len(steps), "first_tokens_that_differ": disagree, "signals": signals}


def markdown(found: dict[str, Any]) -> str:
    """Return what was found as a Markdown table."""
    lines = [
        f"{found['questions']} questions, {found['blocks']} blocks; the first tokens differ in "
        f"{found['first_tokens_that_differ']:.1%} of the blocks.",
        "",
        "| signal | rank correlation with the divergence a token (95 %) |",
        "|---|---|",
    ]
    for name, figure in found["signals"].items():
        span = figure["interval"]
        shown = f"{figure['value']:.2f} ({span[0]:.2f} to {span[1]:.2f})" if span else "-"
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Let the large model write, read it with both, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("name", help="name of the result")
    parser.add_argument("--set", default="reasoning-gym:gsm_symbolic")
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=160, help="of each reply")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (small, tokenizer), (large, _) = load(arguments.small), load(arguments.large)
    stops = [at for token, at in tokenizer.get_vocab().items() if token.endswith("ĊĊ")] + [tokenizer.eos_token_id]
    tasks = []
    for number, question in enumerate(question_set(arguments.set, arguments.n), 1):
        tasks.append(task(large, tokenizer, question.text, arguments.max_tokens))
        print(f"question {number} of {arguments.n}: {len(tasks[-1].steps)} blocks", flush=True)
    found = observe(small, large, tokenizer, tasks, stops)
    questions = [list(group) for _, group in groupby(found, key=lambda o: o.question)]
    document = {"set": arguments.set, "n": len(questions), "max_tokens": arguments.max_tokens, **described(questions)}
    save(arguments.name, document)
    (RESULTS / f"{arguments.name}.md").write_text(markdown(document), encoding="utf-8")
    print(markdown(document))


if __name__ == "__main__":
    main()
