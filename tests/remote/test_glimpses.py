"""A glimpse at a server is the entropy of its first token, of the definition that it names."""

import pytest

from glimp_core import AlwaysSmall, ConfigError, EntropyThreshold, RouterConfig, SamplingParams
from glimp_core.context import Context, Span
from glimp_core.entropy import paper_code_entropy, top_entropy
from glimp_core.types import Request
from remote.kit import STEPS, TABLE, glimpser, pair, run, script
from remote.served import ScriptedServer

KINDS = ["vllm", "old vllm", "sglang", "llamacpp"]


def sure(position: int) -> float:
    return 0.3 + 0.6 * (position % 7) / 7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tempered", [False, True])
def test_a_glimpse_is_the_entropy_of_the_first_token(kind: str, tempered: bool) -> None:
    """Entropy and the likeliest token are those of the distribution, raw, whatever the server makes of temperature."""
    said = script(sure=sure)
    with ScriptedServer(said, kind, tempered=tempered) as served:
        small = glimpser(served)
        assert small.findings.scale == ("tempered" if tempered else "raw")
        for temperature in (0.0, 0.6):
            sampling = SamplingParams(temperature=temperature)
            with Context(Request(({"role": "user", "content": "?"},), sampling=sampling)) as context:
                at = 0
                for step in STEPS[:3]:
                    glimpse = small.glimpse(context, "top20")
                    top = said.distribution(at, said.reply[at])[:20]
                    expected = paper_code_entropy((_label(i), lp) for i, lp in top)
                    assert glimpse.entropy == pytest.approx(expected, abs=1e-6)
                    assert glimpse.text == _label(top[0][0])
                    assert glimpse.definition == "top20"
                    span = tuple(TABLE.encode(step))
                    context.append(Span(step, span, TABLE.key))
                    at += len(span)


def _label(token_id: int) -> str:
    piece = TABLE.token_bytes[token_id]
    return f"<{token_id}>" if piece is None else piece.decode(errors="replace")


@pytest.mark.parametrize("tempered", [False, True])
def test_the_whole_vocabulary(tempered: bool) -> None:
    """Where a server shows all of it, a glimpse is exact; it costs a second request a step."""
    said = script(sure=sure)
    with ScriptedServer(said, max_logprobs=-1, tempered=tempered) as small, ScriptedServer(said) as large:
        router = pair(small, large, AlwaysSmall(), RouterConfig())
        done, ids = run(router, sampling=SamplingParams(temperature=0.7))
        assert ids == said.reply
        assert len(small.asked) == 2 * len(STEPS)
        at = 0
        for routed, step in zip(done.routed, done.steps, strict=False):
            expected = top_entropy(lp for _, lp in said.distribution(at, said.reply[at]))
            assert routed.glimpse.entropy == pytest.approx(expected, abs=1e-6)
            at += len(TABLE.encode(step.text))


def test_a_definition_that_the_server_cannot_give_is_refused() -> None:
    """A router that measures the whole vocabulary needs a server that shows it; the error says what to set."""
    says = r"--max-logprobs -1 .*RouterConfig\(entropy='top20'\)"
    with ScriptedServer(script()) as served, pytest.raises(ConfigError, match=says):
        run(pair(served, served, config=RouterConfig()))


def test_policies_decide_on_what_was_seen() -> None:
    """A threshold between two steps' entropies sends one to the large model and leaves the other."""
    starts = [len(TABLE.encode("".join(STEPS[:n]))) for n in range(len(STEPS))]
    said = script(sure=lambda at: 0.2 if at == starts[1] else 0.99)
    with ScriptedServer(said) as small, ScriptedServer(said) as large:
        done, _ = run(pair(small, large, EntropyThreshold(1.0, entropy="top20")))
    assert [step.engine for step in done.steps if step.phase == "thinking"] == ["small", "large", "small", "small"]
