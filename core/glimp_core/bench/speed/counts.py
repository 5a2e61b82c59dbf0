"""Rows that are counts and not times: forwards of many requests at once, tokens that are reused, tokens a forward."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from glimp_core.bench.speed.measuring import GREEDY, Bench, Row, padded
from glimp_core.local.local_engine import LocalEngine
from glimp_core.policy import AlwaysLarge
from glimp_core.router import GlimpRouter

STEADY = replace(GREEDY, seed=1)
"""With a seed drafts do not depend on measured times, so that counts repeat."""

DRAFTED = "tokens a large forward with drafts, "

TOGETHER = 4
"""So many requests are sent at once."""

LETTER = "Dear Ann,\nthe boat leaves at nine on Monday. Bring a coat, and bread for two days.\nYours, Bob\n"

SCHEMA: Mapping[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "journey",
        "schema": {
            "type": "object",
            "properties": {
                "person": {"type": "string", "maxLength": 20},
                "day": {"enum": ["Monday", "Tuesday", "Wednesday"]},
                "hour": {"type": "integer", "minimum": 0, "maximum": 23},
                "luggage": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 4},
            },
            "required": ["person", "day", "hour", "luggage"],
            "additionalProperties": False,
        },
    },
}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "free text": ("Tell me in a few sentences how a boat floats.", {}),
    "JSON": (f"{LETTER}\nWho leaves when, and with what?", {"response_format": SCHEMA}),
    "an edit": (f"{LETTER}\nWrite this letter again with Tuesday in place of Monday. Change nothing else.", {}),
    "an answer with quotes": (f"{LETTER}\nWhat must Ann bring? Quote the sentence that says it, then answer.", {}),
}
"""What is asked for the rows on drafts, and how."""


@contextmanager
def counted(engine: LocalEngine) -> Iterator[list[int]]:
    """Collect how many tokens each forward of a model reads while the block runs."""
    model, _ = engine.loaded
    sizes: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, named: sizes.append(int(named["input_ids"].numel())), with_kwargs=True
    )
    try:
        yield sizes
    finally:
        hook.remove()


def forwards_together(bench: Bench, name: str) -> Row:
    """Count the large model's forwards for four requests at once, against those for one."""
    router = _large_alone(bench, 40)
    questions = [f"{bench.question} ({number})" for number in range(TOGETHER)]
    _ask_at_once(router, questions)  # the first packed forward of a model is also run one by one, to compare
    bench.large.forget()
    with counted(bench.large) as one:
        tokens = router.generate(questions[0], sampling=GREEDY).usage.completion_tokens
    bench.large.forget()
    with counted(bench.large) as all_of_them:
        _ask_at_once(router, questions)
    note = f"{len(all_of_them)} forwards for {TOGETHER} requests of about {tokens} tokens"
    return Row(name, len(all_of_them) / len(one), 1.2, False, note)


def cached_share(bench: Bench, name: str) -> Row:
    """Return which share of a second turn's prompt the large model need not read again."""
    router = _large_alone(bench, 24)
    bench.large.forget()
    history = [{"role": "user", "content": padded(bench.large, bench.question, 400)}]
    first = router.generate(history, sampling=GREEDY)
    turn = [*history, {"role": "assistant", "content": first.answer}, {"role": "user", "content": "And then?"}]
    second = router.generate(turn, sampling=GREEDY)
    cached, prompt = second.usage.large.cached_tokens, second.usage.prompt_tokens
    return Row(name, cached / prompt, 0.85, True, f"{cached} of {prompt} tokens")


def tokens_a_forward(bench: Bench, name: str) -> Row:
    """Count the tokens a forward of the large model when the small one drafts for it, for one kind of request."""
    question, options = KINDS[name.removeprefix(DRAFTED)]
    router = bench.router(AlwaysLarge(), reasoning="off", speculate=True, max_answer_tokens=96)
    bench.small.forget()
    bench.large.forget()
    with counted(bench.large) as forwards:
        done = router.generate(question, sampling=STEADY, **options)
    usage = done.usage.large
    note = f"{done.usage.completion_tokens} tokens in {len(forwards)} forwards; {usage.accepted_tokens} of "
    return Row(
        name, done.usage.completion_tokens / len(forwards), 1.0, True, note + f"{usage.drafted_tokens} drafted stood"
    )


def _large_alone(bench: Bench, tokens: int) -> GlimpRouter:
    router = bench.router(AlwaysLarge(), reasoning="off", speculate=False, max_answer_tokens=tokens)
    router.load()
    return router


def _ask_at_once(router: GlimpRouter, questions: list[str]) -> None:
    threads = [
        threading.Thread(target=router.generate, args=(question,), kwargs={"sampling": GREEDY})
        for question in questions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
