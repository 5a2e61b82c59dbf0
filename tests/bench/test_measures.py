"""What experiments ask of a local engine: measures of tokens, cold caches, the entropy of the authors' code."""

import math

import pytest
import torch

import tiny
from glimp_core.bench.judging import WrittenStep
from glimp_core.chain import Chain
from glimp_core.config import RouterConfig
from glimp_core.context import Context, Span
from glimp_core.engine import Engine
from glimp_core.entropy import entropy, paper_code_entropy
from glimp_core.local import LocalEngine
from glimp_core.local.sampling import top20_entropy
from glimp_core.plan import settle
from glimp_core.types import GenerationParams, Request, SamplingParams

SHORT = RouterConfig(max_step_tokens=11, max_reasoning_tokens=60, max_answer_tokens=20)
REQUEST = Request(({"role": "user", "content": "How many are two and two?"},))


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return tiny.engine(seed=3)


def chain(context: Context, engine: Engine, sampling: SamplingParams | None = None) -> Chain:
    prompt = engine.prepare(context)
    return Chain(context, settle(prompt, prompt, SHORT), SHORT, sampling or SamplingParams())


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_step_measures_what_one_plain_forward_over_it_shows(engine: LocalEngine, temperature: float) -> None:
    """Entropy and surprisal of a step are sums over its tokens, of the raw distributions, however they were drawn."""
    with Context(REQUEST) as context:
        step = WrittenStep.by(engine, chain(context, engine, SamplingParams(temperature, seed=1)), logprobs=True)
        prompt = engine.conversation(context).prompt.token_ids
    written = [token_id for chunk in step.chunks for token_id in chunk.token_ids]
    model, _ = engine.loaded
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *written]])).logits[0, len(prompt) - 1 : -1]
    table = logits[:, : len(engine.table.token_bytes)].float().log_softmax(-1)
    assert step.tokens == len(written) > 5
    assert step.measure.entropy == pytest.approx(sum(entropy(row.tolist()) for row in table), rel=1e-4, abs=1e-4)
    surprises = [-float(row[token_id]) for row, token_id in zip(table, written, strict=True)]
    assert step.measure.surprisal == pytest.approx(math.fsum(surprises), rel=1e-4, abs=1e-4)


def test_nothing_is_measured_unasked(engine: LocalEngine) -> None:
    """Measuring costs time, so chunks come without it by default."""
    with Context(REQUEST) as context:
        step = WrittenStep.by(engine, chain(context, engine))
    assert step.tokens > 0
    assert all(chunk.measure is None for chunk in step.chunks)


def test_an_engine_that_forgets_reads_the_prompt_again(engine: LocalEngine) -> None:
    """After forget() a request finds nothing in the cache; without it, it finds the prompt."""

    def cached() -> int:
        with Context(REQUEST) as context:
            *_, last = engine.generate(context, GenerationParams("thinking", 4))
            return last.usage.cached_tokens

    cached()
    assert cached() > 0
    engine.forget()
    assert cached() == 0


def test_a_request_of_its_own_feeds_a_token_at_least(engine: LocalEngine) -> None:
    """A finished request leaves keys and values, not logits: asking for the same chain again costs one forward."""
    for forwards in (None, 1):
        with Context(REQUEST) as context:
            glimpse = engine.glimpse(context)
            assert forwards in (None, glimpse.usage.forwards)
            assert engine.glimpse(context).usage.forwards == 0


def test_the_glimpse_of_the_top_20_is_that_of_the_authors_code(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are no character by themselves share one text, and the entropy knows it once."""
    broken = [at for at, piece in enumerate(engine.table.token_bytes) if piece in (b"\xff", b"\xfe", b"\xc3")]
    logits = torch.full((280,), -9.0)
    logits[broken] = torch.tensor([3.0, 2.0, 1.0])
    logits[7] = 2.5
    texts = [(tokens_text(engine, int(at)), float(lp)) for lp, at in zip(*logits.log_softmax(-1).topk(20), strict=True)]
    assert [text for text, _ in texts[:4]].count("\ufffd") == 3
    assert top20_entropy(logits, engine.table) == pytest.approx(paper_code_entropy(texts), abs=1e-5)
    assert top20_entropy(logits, engine.table) < entropy(logits.log_softmax(-1).tolist())


def tokens_text(engine: LocalEngine, token_id: int) -> str:
    pieces = engine.table.token_bytes
    piece = pieces[token_id] if token_id < len(pieces) else None
    return f"<{token_id}>" if piece is None else piece.decode(errors="replace")


def test_both_definitions_come_from_one_distribution(engine: LocalEngine) -> None:
    """A glimpse of either kind leaves the context alone, and the top 20 hold at most ln 20 nats."""
    with Context(REQUEST) as context:
        context.append(Span("So", (), "text"))
        full, top = engine.glimpse(context, "full"), engine.glimpse(context, "top20")
    assert (full.definition, top.definition) == ("full", "top20")
    assert (full.text, full.margin) == (top.text, top.margin)
    assert 0 < top.entropy <= math.log(20)
