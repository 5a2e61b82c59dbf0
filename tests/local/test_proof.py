"""The proof at load: what a model does wrongly on a cache is not used, or the model is refused."""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

import tiny
from glimp_core import AlwaysLarge, GlimpRouter, ModelLoadError, RouterConfig, SamplingParams
from glimp_core.local import LocalEngine, packing
from glimp_core.local.forward import ModelForward
from glimp_core.source import ModelSource
from hooks import local_engines

CONFIG = RouterConfig(reasoning="off", speculate=False, max_answer_tokens=24)
QUESTION = "What is 17 times 23?"
NAME = ModelForward.of(tiny.model("llama")).cache_argument
LONG = "Tell me of it. " * 40  # longer than the chunk in which a CPU reads


def counting(model: Any) -> list[int]:
    """Count a model's forwards: the list grows by the tokens of each."""
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, __, named: sizes.append(named["input_ids"].numel()), with_kwargs=True)
    return sizes


def asked(model: Any) -> GlimpRouter:
    """A router whose large model is `model`."""
    small = tiny.engine(seed=3)
    large = LocalEngine(ModelSource.of((model, tiny.tokenizer())))
    return GlimpRouter(small, large, AlwaysLarge(), CONFIG, SamplingParams(temperature=0))


def generated(model: Any, router: GlimpRouter, question: str) -> str:
    """What `model.generate()` answers to the same prompt."""
    tokens = tiny.tokenizer()
    messages = [{"role": "user", "content": question}]
    rendered = tokens.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False, tokenize=False)
    ids = torch.tensor([tokens(rendered, add_special_tokens=False)["input_ids"]])
    stops = [tokens.eos_token_id]
    written = model.generate(
        ids, max_new_tokens=24, do_sample=False, eos_token_id=stops, pad_token_id=0, use_cache=False
    )
    return tokens.decode(written[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
def test_a_sound_model_is_proved_with_few_forwards(family: str) -> None:
    """Law: at most 8 short forwards, once a model and process; nothing is switched off."""
    model = tiny.model(family, seed=11)
    sizes = counting(model)
    engines = [LocalEngine(ModelSource.of((model, tiny.tokenizer()))) for _ in range(2)]
    for engine in engines:
        engine.load()
    assert 0 < len(sizes) <= 8
    assert max(sizes) < 100
    assert engines[0].cache_use == engines[1].cache_use
    assert engines[0].cache_use.notes == ()
    assert engines[0].cache_use.several


class Odd(torch.nn.Module):
    """A tiny Llama behind a forward of its own, which may get something wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny.model("llama", seed=2, num_hidden_layers=3)
        self.config, self.generation_config = self.inner.config, self.inner.generation_config

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    def generate(self, *arguments: Any, **options: Any) -> Any:
        return self.inner.generate(*arguments, **options)


class SwallowsCache(Odd):
    """Names a cache and does not use it."""

    def forward(self, input_ids: torch.Tensor, cache: Any = None, **options: Any) -> Any:
        options.pop("use_cache", None)
        return self.inner(input_ids=input_ids, use_cache=False, **options)


class NamesNoCache(Odd):
    """Takes whatever it is given."""

    def forward(self, input_ids: torch.Tensor, **options: Any) -> Any:
        return self.inner(input_ids=input_ids)


class HasNoHead(Odd):
    """Gives hidden states, as `AutoModel` does."""

    def forward(self, input_ids: torch.Tensor, cache: Any = None, **options: Any) -> Any:
        return self.inner.model(input_ids=input_ids, **{NAME: cache})


class WantsItsOwnCache(Odd):
    """Refuses a cache that is not its own."""

    def forward(self, input_ids: torch.Tensor, cache: Any = None, **options: Any) -> Any:
        raise ValueError("Odd uses cache of its own")


class OneAtATime(Odd):
    """Reads several tokens on a state as if there were no state, as Mamba-1 does in transformers."""

    def forward(self, input_ids: torch.Tensor, cache: Any = None, **options: Any) -> Any:
        held = cache.get_seq_length()
        if held and input_ids.shape[1] > 1:
            out = self.inner(input_ids=input_ids, use_cache=False)
            self.inner(input_ids=input_ids, use_cache=True, **{NAME: cache})
            return out
        return self.inner(input_ids=input_ids, use_cache=True, **{NAME: cache})


class KeepsStateInside(Odd):
    """Keeps its state in the model, where sessions get in each other's way."""

    def forward(self, input_ids: torch.Tensor, cache: Any = None, **options: Any) -> Any:
        if cache.get_seq_length() == 0:
            self.own = DynamicCache(config=self.config)
        self.inner(input_ids=input_ids, use_cache=True, **{NAME: cache})
        return self.inner(input_ids=input_ids, use_cache=True, **{NAME: self.own})


class HidesState(Odd):
    """Lets the first logits hang on how many tokens a hidden counter saw: going back is not seen by it."""

    def forward(self, input_ids: torch.Tensor, cache: Any = None, **options: Any) -> Any:
        if cache.get_seq_length() == 0:
            cache.seen = 0
        cache.seen += input_ids.shape[1]
        out = self.inner(input_ids=input_ids, use_cache=True, **{NAME: cache})
        logits = out.logits.roll(cache.seen - cache.get_seq_length(), -1)
        return CausalLMOutputWithPast(logits=logits)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (SwallowsCache, "cache holds"),
        (NamesNoCache, "takes no cache"),
        (HasNoHead, "AutoModelForCausalLM"),
        (WantsItsOwnCache, "uses cache of its own"),
        (KeepsStateInside, "results differ"),
    ],
)
def test_what_cannot_serve_is_refused_by_name(made: Callable[[], Any], said: str) -> None:
    """Law: a model that does not go on from a cache is refused when it loads, with its class and the cause."""
    model = made().eval()
    with pytest.raises(ModelLoadError, match=said) as caught:
        asked(model).generate(QUESTION)
    assert type(model).__name__ in str(caught.value)


@pytest.mark.parametrize("made", [OneAtATime, HidesState])
@pytest.mark.parametrize("question", [QUESTION, LONG])
def test_what_works_in_part_is_used_in_part(made: Callable[[], Any], question: str) -> None:
    """Law: what a model gets wrong is not used, a note says so, and each reply is that of `generate()`."""
    model = made().eval()
    router, sizes = asked(model), counting(model)
    router.load()
    assert len(sizes) <= 8
    done = router.generate(question)
    again = router.generate([
        {"role": "user", "content": question},
        {"role": "assistant", "content": done.answer[:-3] + "?"},
        {"role": "user", "content": "And?"},
    ])  # fmt: skip
    assert done.answer == generated(model.inner, router, question)
    assert any(type(model).__name__ in note for note in done.finish.notes)
    local_engines(router)[1].forget()
    assert router.generate(question).answer == done.answer
    assert again.answer


class Wraps(torch.nn.Module):
    """A wrapper as PEFT's: names some arguments, and hands on the rest."""

    def __init__(self, base: Any):
        super().__init__()
        self.base_model = base

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base_model, name)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **options: Any) -> Any:
        return self.base_model(input_ids=input_ids, attention_mask=attention_mask, **options)


def hooked(model: Any) -> Any:
    """A model whose forward an instance attribute hides, as accelerate's hooks do."""
    forward = model.forward
    model.forward = lambda *arguments, **options: forward(*arguments, **options)
    return model


def compiled(model: Any) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize(
    "wrap", [Wraps, lambda model: Wraps(Wraps(model)), hooked, pytest.param(compiled, marks=pytest.mark.slow)]
)
def test_wrapped_models_answer_as_generate(wrap: Callable[[Any], Any]) -> None:
    """Law: the cache reaches the innermost forward, whatever stands around it."""
    model = tiny.model("llama", seed=2, num_hidden_layers=3)
    wrapped = wrap(copy.deepcopy(model))
    router = asked(wrapped)
    done = router.generate(QUESTION)
    assert done.answer == generated(model, router, QUESTION)
    assert done.usage.large.prefill_tokens < 2 * done.usage.prompt_tokens


@pytest.fixture
def crooked_packing() -> Iterator[None]:
    """Attention of packed rows that takes the first row's keys for all."""

    def crooked(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        key[:], value[:] = [key[0]] * len(key), [value[0]] * len(value)
        return packing.packed_attention(module, query, key, value, mask, **options)

    AttentionInterface.register(packing.NAME, crooked)
    yield
    AttentionInterface.register(packing.NAME, packing.packed_attention)


@pytest.mark.usefixtures("crooked_packing")
def test_packing_that_is_wrong_is_not_used() -> None:
    """Law: the first packed forward is compared with each alone; what differs is never seen in a reply."""
    router = asked(tiny.model("llama", seed=5, num_hidden_layers=3))
    questions = ["What is it?", "Who are you, and where?", "Name three primes.", "Why?"]
    alone = [router.generate(question).answer for question in questions]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(router.generate, questions))
    assert [done.answer for done in together] == alone
    after = router.generate("What is it?")
    assert any("packed into one forward" in note for note in after.finish.notes)


@pytest.mark.parametrize("family", ["llama", "lfm2", "qwen3-next"])
def test_low_precision_is_not_taken_for_a_fault(family: str) -> None:
    """Rounding in bfloat16 switches nothing off."""
    engine = LocalEngine(ModelSource.of((tiny.model(family, seed=4).to(torch.bfloat16), tiny.tokenizer())))
    engine.load()
    assert engine.cache_use.notes == ()
