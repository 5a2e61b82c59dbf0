"""The rows of `glimp bench speed`: what is promised of the engine's speed, measured here and now.

Each row is a ratio of two things timed in turn in one process; the median of a few rounds stands.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from glimp_core.bench.engines import Rerendered
from glimp_core.bench.speed.counts import DRAFTED, KINDS, STEADY, cached_share, forwards_together, tokens_a_forward
from glimp_core.bench.speed.floor import floor_seconds, recorded
from glimp_core.bench.speed.generate import generate_per_step_seconds, generate_seconds
from glimp_core.bench.speed.grammar import new_schema, token_with_grammar
from glimp_core.bench.speed.graphs import decode_pace
from glimp_core.bench.speed.measuring import GREEDY, Bench, Row, padded, prompt_ids
from glimp_core.bench.speed.pairs import costlier, longer
from glimp_core.bench.speed.peak_memory import peak_beyond
from glimp_core.completion import Completion
from glimp_core.config import RouterConfig
from glimp_core.events import Delta, Routed
from glimp_core.pair_check import Pace
from glimp_core.policy import AlwaysLarge, RandomRate
from glimp_core.router import GlimpRouter

SHARED = RandomRate(0.5, seed=1)
"""Both models write about half of the steps: what is measured must hold under switches."""


ALONE = "large alone / with drafts, "

WITH_DRAFTS = {"JSON": 1.4, "an edit": 2.5}
"""How many times as fast drafts are to make a reply of a kind; others are not to take longer."""


def measure(bench: Bench, only: str | None = None) -> Iterator[Row]:
    """Yield every row that this machine can measure, as soon as it is; `only` those whose name holds a text."""
    bench.small.load()
    bench.large.load()
    for name, row in ROWS.items():
        if only is None or only in name:
            made = row(bench, name)
            if made is not None:
                yield made


def _seconds(done: Completion) -> float:
    return done.finish.seconds


def _per_token(done: Completion) -> float:
    return done.finish.seconds / done.usage.completion_tokens


def _engine_over_floor(bench: Bench, name: str) -> Row:
    policy = SHARED
    with recorded() as schedule:
        done = bench.run(policy)
    value = bench.ratio(lambda: _seconds(bench.run(policy)), lambda: floor_seconds(schedule))
    each = 1000 * floor_seconds(schedule) / len(schedule)
    note = f"{done.usage.completion_tokens} tokens, forwards of {each:.1f} ms (the promise is for 10 ms or more)"
    return Row(name, value, 1.03, False, note)


def _over_official_schedule(bench: Bench, name: str) -> Row:
    policy = SHARED
    small, large = Rerendered(bench.small), Rerendered(bench.large)

    def official() -> Completion:
        return bench.run(policy, small=small, large=large)

    with recorded() as schedule:
        done = bench.run(policy)
    with recorded() as official_schedule:
        tokens = official().usage.completion_tokens  # text that is encoded anew may go another way
    value = bench.ratio(lambda: _per_token(official()), lambda: _per_token(bench.run(policy)))
    forwards = bench.ratio(
        lambda: floor_seconds(official_schedule) / tokens,
        lambda: floor_seconds(schedule) / done.usage.completion_tokens,
    )
    note = f"{done.usage.completion_tokens / len(done.steps):.0f} tokens a step; {forwards:.2f} by the forwards alone"
    return Row(name, value, 1.1, True, note)


def _over_generate_per_step(bench: Bench, name: str) -> Row:
    policy = SHARED
    question = padded(bench.large, bench.question, 700)
    done = bench.run(policy, question)
    prompt = prompt_ids(bench.large, question)
    value = bench.ratio(
        lambda: generate_per_step_seconds(bench.small, bench.large, prompt, done),
        lambda: _seconds(bench.run(policy, question)),
    )
    note = f"prompt of {len(prompt)} tokens, {done.usage.completion_tokens} written in {len(done.steps)} steps"
    return Row(name, value, 2.0, True, note)


def _realised_over_ideal(bench: Bench, name: str) -> Row:
    policy = SHARED
    done, alone = bench.run(policy), bench.run(AlwaysLarge())
    share = done.summary().large_token_share
    cost = _pace(alone.usage.large) / _pace(done.usage.small)

    realised = bench.ratio(lambda: _per_token(bench.run(AlwaysLarge())), lambda: _per_token(bench.run(policy)))
    ideal = Pace(1, cost).ideal(share).speedup
    note = f"{realised:.2f}x of {ideal:.2f}x; the large model wrote {share:.0%} and costs {cost:.1f}x"
    return Row(name, realised / ideal, 0.9, True, note)


def _speculation(bench: Bench, name: str) -> Row:
    policy = SHARED
    large = costlier(bench.small, 3)

    def seconds(speculate: bool) -> float:
        bench.small.forget()
        large.forget()
        router = bench.router(policy, large=large, speculate=speculate)
        return _seconds(router.generate(bench.question, sampling=GREEDY))

    value = bench.ratio(lambda: seconds(False), lambda: seconds(True))
    return Row(
        "routed run / routed run with speculation", value, 1.2, True, "a large model that costs 3x, and mostly agrees"
    )


def _alone_over_drafted(bench: Bench, name: str) -> Row:
    question, options = KINDS[name.removeprefix(ALONE)]
    tokens: list[int] = []

    def seconds(speculate: bool) -> float:
        bench.small.forget()
        bench.large.forget()
        router = bench.router(AlwaysLarge(), reasoning="off", speculate=speculate, max_answer_tokens=64)
        done = router.generate(question, sampling=GREEDY, **options)
        tokens.append(done.usage.completion_tokens)
        return _seconds(done)

    value = bench.ratio(lambda: seconds(False), lambda: seconds(True))
    target = WITH_DRAFTS.get(name.removeprefix(ALONE), 1.0)
    return Row(name, value, target, True, f"{tokens[-1]} tokens, empty caches, the prompt included")


def _throughput(bench: Bench, name: str) -> Row:
    router = bench.router(AlwaysLarge(), reasoning="off", max_answer_tokens=64, speculate=False)
    router.load()
    questions = [f"{bench.question} ({n})" for n in range(8)]
    tokens: list[int] = []

    def ask(question: str) -> int:
        return router.generate(question, sampling=GREEDY).usage.completion_tokens

    def rate(workers: int) -> float:
        started = perf_counter()
        with ThreadPoolExecutor(workers) as threads:
            tokens[:] = threads.map(ask, questions)
        return sum(tokens) / (perf_counter() - started)

    value = bench.ratio(lambda: rate(8), lambda: rate(1))
    return Row(name, value, 3.0, True, f"{sum(tokens)} tokens")


def _over_generate(bench: Bench, name: str) -> Row:
    router = bench.router(AlwaysLarge(), reasoning="off", speculate=False, max_answer_tokens=128)
    prompt = prompt_ids(bench.large, bench.question, "off")
    new = router.generate(bench.question, sampling=GREEDY).usage.completion_tokens

    def own() -> float:
        bench.large.forget()
        return _seconds(router.generate(bench.question, sampling=GREEDY))

    value = bench.ratio(lambda: generate_seconds(bench.large, prompt, new), own)
    return Row(name, value, 1.05, True, f"{new} tokens")


def _over_prompt_lookup(bench: Bench, name: str) -> Row:
    question, _ = KINDS["an edit"]
    router = bench.router(AlwaysLarge(), reasoning="off", speculate=True, max_answer_tokens=64)
    prompt = prompt_ids(bench.large, question, "off")
    new = router.generate(question, sampling=STEADY).usage.completion_tokens

    def own() -> float:
        bench.large.forget()
        bench.small.forget()
        return _seconds(router.generate(question, sampling=STEADY))

    value = bench.ratio(lambda: generate_seconds(bench.large, prompt, new, prompt_lookup_num_tokens=10), own)
    return Row(name, value, 1.0, True, f"{new} tokens")


def _second_turn(bench: Bench, name: str) -> Row:
    history = [{"role": "user", "content": padded(bench.large, bench.question, 1000)}]
    router = bench.router(AlwaysLarge(), reasoning="off", speculate=False, max_answer_tokens=4)
    first = router.generate(history, sampling=GREEDY)
    turn = [*history, {"role": "assistant", "content": first.answer}, {"role": "user", "content": "And then?"}]

    def first_token(cold: bool) -> float:
        bench.large.forget()
        if not cold:
            router.generate(history, sampling=GREEDY)
        started = perf_counter()
        events = router.stream(turn, sampling=GREEDY)
        next(event for event in events if isinstance(event, Delta | Routed))
        seconds = perf_counter() - started
        events.close()
        return seconds

    value = bench.ratio(lambda: first_token(cold=True), lambda: first_token(cold=False))
    return Row(name, value, 5.0, True, "history of 1,000 tokens")


def _overhead_growth(bench: Bench, name: str) -> Row:
    engine = longer(bench.small, 8192)
    router = GlimpRouter(engine, engine, AlwaysLarge(), RouterConfig(reasoning="off", max_answer_tokens=48))

    def overhead(tokens: int) -> float:
        engine.forget()
        with recorded() as schedule:
            done = router.generate(padded(engine, bench.question, tokens), sampling=GREEDY)
        decode = [forward for forward in schedule if len(forward.token_ids) == 1]
        return max(1e-6, done.finish.seconds - floor_seconds(schedule)) / max(1, len(decode))

    value = bench.ratio(lambda: overhead(3900), lambda: overhead(250))
    return Row(name, value, 1.2, False, "random weights, the small model's shape")


def _pace(usage: Any) -> float:
    return float(usage.decode_seconds / max(1, usage.decode_tokens))


def _graphs(bench: Bench, name: str) -> Row | None:
    pace = decode_pace(bench.small)
    if pace is None:
        return None
    note = f"{1000 * pace.graph:.2f} ms a token, {pace.graph / pace.floor:.2f}x what reading the weights takes"
    return Row(name, pace.eager / pace.graph, 2.0, True, note)


def _peak_memory(bench: Bench, name: str) -> Row | None:
    value = peak_beyond(lambda: bench.run(SHARED), [bench.small, bench.large])
    return None if value is None else Row(name, value, 0.10, False)


def _import(bench: Bench, name: str) -> Row:
    script = "import sys, glimp_core; print(len({'torch', 'transformers'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return Row(name, float(said), 0, False)


ROWS: dict[str, Callable[[Bench, str], Row | None]] = {
    "routed run / floor": _engine_over_floor,
    "authors' schedule with kept caches / routed run": _over_official_schedule,
    "generate() per step without caches / routed run": _over_generate_per_step,
    "realised / ideal speed-up": _realised_over_ideal,
    "routed run / routed run with speculation": _speculation,
    "throughput of 8 at once / one at a time": _throughput,
    "generate() / our decode, one model": _over_generate,
    "generate() with prompt lookup / our drafts, an edit": _over_prompt_lookup,
    "decode forwards of 4 at once / of 1": forwards_together,
    "cached share of a second turn": cached_share,
    **{f"{DRAFTED}{kind}": tokens_a_forward for kind in KINDS},
    **{f"{ALONE}{kind}": _alone_over_drafted for kind in KINDS},
    "first token of a second turn, cold / warm": _second_turn,
    "overhead a token at 4k context / at 256": _overhead_growth,
    "decode on a GPU, forwards / CUDA graphs": _graphs,
    "a token with a grammar / without": token_with_grammar,
    "a new schema, in milliseconds": new_schema,
    "peak memory beyond weights and KV / weights": _peak_memory,
    "heavy modules that `import glimp_core` loads": _import,
}
