"""What must hold for every family: each law takes a pair of models of one family and asserts.

Through public doors only. A reply's token ids are those of its deltas, in order; the reference is what transformers
makes of the same folder.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import tiny
from glimp_core import AlwaysLarge, Completion, Delta, GlimpRouter, Policy, RouterConfig, SamplingParams
from glimp_core.types import Decision, Glimpse, History
from hooks import local_engines
from local.families.architecture import Architecture
from local.families.building import build, load, save

LIMITS: dict[str, Any] = {"max_step_tokens": 7, "max_reasoning_tokens": 21, "max_answer_tokens": 6}
PLAIN: dict[str, Any] = {"reasoning": "off", "speculate": False, "max_answer_tokens": 12}
INLINE: dict[str, Any] = {"reasoning": "inline", "max_answer_tokens": 21}
GREEDY = SamplingParams(temperature=0)
SEEDED = SamplingParams(temperature=0, seed=1)

SHORT = "What is 17 times 23?"
LONG = "You are careful, and think step by step; then you say what you have found, and are brief. " * 4
"""Over 256 tokens: on a CPU such a prompt is read in more than one forward."""
QUESTIONS = (SHORT, "Why is the sky blue today?", "Name three primes.", "Who wrote Faust, and when?")

CLOSE = 0.02
"""How far apart, in nats, the log-probability of a token may be on a cache and without one, in float32."""


class Alternate:
    """The small model writes the first step, the large one the second, and so on."""

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        return Decision(len(history) % 2 == 1, "in turn")


class Pair:
    """A small and a large model of a family, saved to folders and served from there.

    `models` are what transformers makes of the folders. Raises what `GlimpRouter.load` raises.
    """

    def __init__(self, architecture: Architecture, folder: Path):
        self.architecture = architecture
        layers = architecture.layers
        small = save(build(architecture, layers[0], seed=3), folder / "small")
        large = save(build(architecture, layers[1], seed=2), folder / "large")
        self.models = {"small": load(small), "large": load(large)}
        self.served = GlimpRouter.from_pretrained(str(small), str(large))
        self.served.load()
        self.tokenizer = tiny.tokenizer()

    def router(self, policy: Policy | None = None, small: Any = None, **config: Any) -> GlimpRouter:
        """Return a router of the pair, in which the models take turns unless a policy says otherwise."""
        chosen = RouterConfig(**{"speculate": False, **LIMITS, **config})
        return GlimpRouter(small or self.served.small, self.served.large, policy or Alternate(), chosen, GREEDY)

    def plain(self) -> GlimpRouter:
        """Return a router with which the large model answers alone and at once."""
        return self.router(AlwaysLarge(), **PLAIN)

    @cached_property
    def inline(self) -> GlimpRouter:
        """A router of the same models, handed over as they are, with a template that knows no thinking.

        There a conversation only grows at its end, and caches are gone back to that hold what has been replaced since.
        """
        plain = tiny.tokenizer(tiny.PLAIN)
        small, large = ((self.models[role], plain) for role in ("small", "large"))
        config = RouterConfig(**{"speculate": False, **LIMITS, **INLINE})
        return GlimpRouter.from_pretrained(small, large, Alternate(), config, GREEDY)

    def prompt(self, messages: list[dict[str, str]], **options: Any) -> list[int]:
        """Return the ids that the template makes of a conversation."""
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **options)

    @torch.inference_mode()
    def uncached(self, role: str, prompt: list[int], chain: list[int]) -> torch.Tensor:
        """Return the log-probabilities [tokens, vocabulary] of what follows each token, by one forward and no cache.

        Of the rows of the head, those that stand for no token are left out.
        """
        logits = self.models[role](input_ids=torch.tensor([prompt + chain]), use_cache=False).logits
        return logits[0, len(prompt) - 1 : -1, : len(self.tokenizer)].float().log_softmax(-1)

    @cached_property
    def twin(self) -> Any:
        """The large model once more, handed over as (model, tokenizer): a draft that always agrees."""
        model = copy.deepcopy(self.models["large"])
        return GlimpRouter.from_pretrained((model, self.tokenizer), self.served.large).small


def ask(question: str, system: str = "") -> list[dict[str, str]]:
    """Return a conversation that begins."""
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": question}]


def written(router: GlimpRouter, messages: list[dict[str, str]], **options: Any) -> tuple[list[int], Completion]:
    """Return the ids of a reply, and the reply."""
    events = list(router.stream(messages, **options))
    return [i for event in events if isinstance(event, Delta) for i in event.token_ids], Completion.fold(events)


def forget(router: GlimpRouter) -> None:
    """Drop all kept caches."""
    for engine in local_engines(router):
        engine.forget()


def ids(router: GlimpRouter, messages: list[dict[str, str]]) -> list[int]:
    """Return the ids of a reply."""
    return written(router, messages)[0]


def equals_generate(pair: Pair) -> None:
    """The large model alone writes what `generate()` writes, after a short prompt and a long one."""
    for messages in (ask(SHORT), ask(SHORT, LONG)):
        forget(pair.served)
        prompt = torch.tensor([pair.prompt(messages, enable_thinking=False)])
        with torch.inference_mode():
            reference = pair.models["large"].generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=PLAIN["max_answer_tokens"]
            )
        assert ids(pair.plain(), messages) == reference[0, prompt.shape[1] :].tolist()


def cached_equals_uncached(pair: Pair) -> None:
    """Each token of a routed chain is what its writer says without a cache, and as likely."""
    for messages in (ask(SHORT), ask(SHORT, LONG)):
        forget(pair.served)
        events = list(pair.router().stream(messages, logprobs=True))
        deltas = [event for event in events if isinstance(event, Delta) and event.phase == "thinking"]
        prompt, chain = pair.prompt(messages), [i for delta in deltas for i in delta.token_ids]
        said = {role: pair.uncached(role, prompt, chain) for role in ("small", "large")}
        assert {delta.engine for delta in deltas} == {"small", "large"}
        at = 0
        for delta in deltas:
            rows = said[delta.engine][at : at + len(delta.token_ids)]
            assert rows.argmax(-1).tolist() == list(delta.token_ids), f"token {at} of {len(chain)}, by {delta.engine}"
            if delta.measure is not None:
                surprisal = -float(rows.max(-1).values.sum())
                assert abs(delta.measure.surprisal - surprisal) < CLOSE, (
                    f"token {at} of {len(chain)}, by {delta.engine}"
                )
            at += len(delta.token_ids)


def kept_equals_fresh(pair: Pair) -> None:
    """A reply that the models write in turns is the same with the caches that it left behind as with none."""
    router = pair.inline
    forget(router)
    first = ids(router, ask(SHORT, LONG))
    assert ids(router, ask(SHORT, LONG)) == first
    forget(router)
    assert ids(router, ask(SHORT, LONG)) == first


def second_turn(pair: Pair) -> None:
    """The next turn of a conversation is answered as if it were the first that the models see of it.

    Also where what was said has been edited since, so that the caches hold what is no part of the conversation.
    """
    for router, edits in ((pair.router(), False), (pair.inline, True)):
        forget(router)
        said = written(router, ask(SHORT, LONG))[1].answer
        turns = [next_turn(said), next_turn(said[: len(said) // 2] + "!")][: 1 + edits]
        warm = [ids(router, turn) for turn in turns]
        for turn, expected in zip(turns, warm, strict=True):
            forget(router)
            assert ids(router, turn) == expected, f"with {turn[2]['content']!r} for {said!r}"


def fork(pair: Pair) -> None:
    """A request that shares its system prompt with another is answered as if it were alone."""
    router = pair.router()
    forget(router)
    ids(router, ask("Who?", LONG))
    warm = ids(router, ask("Where does the sun rise in the winter?", LONG))
    forget(router)
    assert ids(router, ask("Where does the sun rise in the winter?", LONG)) == warm


def four_at_once(pair: Pair) -> None:
    """Four requests at once write what each of them writes alone."""
    for router in (pair.plain(), pair.router()):
        alone = []
        for question in QUESTIONS:
            forget(router)
            alone.append(ids(router, ask(question)))
        forget(router)
        assert together(router) == alone


def drafted(pair: Pair) -> None:
    """With the small model drafting, one that always agrees or hardly ever, the words are the same."""
    messages = ask(SHORT, LONG)
    for policy, small in ((AlwaysLarge(), pair.twin), (Alternate(), pair.served.small)):
        plain = ids(pair.router(policy, small), messages)
        # with a seed drafts are made whatever they cost here
        tokens, done = written(pair.router(policy, small, speculate=True), messages, sampling=SEEDED)
        assert tokens == plain
        said = any("not drafted" in note for note in done.finish.notes)
        assert done.usage.large.drafted_tokens or said, "neither drafted nor said why not"


def together(router: GlimpRouter) -> list[list[int]]:
    """Ask all questions at once."""
    with ThreadPoolExecutor(len(QUESTIONS)) as threads:
        return list(threads.map(lambda question: ids(router, ask(question)), QUESTIONS))


def next_turn(said: str) -> list[dict[str, str]]:
    """Return the conversation in which something was said, and the next question."""
    return [*ask(SHORT, LONG), {"role": "assistant", "content": said}, *ask("And 18 times 23?")]


@contextmanager
def forwards(engine: Any) -> Iterator[list[int]]:
    """Count the tokens of each forward of an engine's model."""
    fed: list[int] = []
    hook = engine.loaded[0].register_forward_pre_hook(
        lambda module, args, options: fed.append((options["input_ids"] if "input_ids" in options else args[0]).numel()),
        with_kwargs=True,
    )
    try:
        yield fed
    finally:
        hook.remove()


LAWS: Mapping[str, Callable[[Pair], None]] = {
    law.__name__: law
    for law in (
        equals_generate, cached_equals_uncached, kept_equals_fresh, second_turn, fork, four_at_once, drafted,
    )
}  # fmt: skip
