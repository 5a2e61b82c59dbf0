"""What tokens cost: one arithmetic behind the usage, both adapters, the command line and the budget of a policy."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.llms import ChatMessage

from glimp_core import (
    AlwaysLarge,
    ConfigError,
    GlimpRouter,
    Glimpse,
    ModelPrice,
    ModelUsage,
    Prices,
    RouterConfig,
    Step,
    TokenBudget,
)
from glimp_core.pair_file import read_pair
from glimp_core.serve.reply_writers import usage_document
from glimp_core.views.terminal import figures, line
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM
from pairs import scripted_router

PRICES = Prices(ModelPrice(1.0, 2.0), ModelPrice(30.0, 40.0, cached=3.0), "EUR")
counts = st.integers(0, 10**7)
prices = st.floats(0, 1000)


@given(prices, prices, st.none() | prices, counts, counts, counts, st.booleans())
def test_every_token_has_its_price(
    prompt: float, completion: float, cached: float | None, read: int, kept: int, written: int, served: bool
) -> None:
    """A prompt token, a cached one and a written one cost a millionth of their price, here and at a server."""
    if served:
        usage = ModelUsage(
            sent_tokens=read + kept + 1, sent_cached_tokens=kept, prefill_tokens=7, decode_tokens=written
        )
        read += 1
    else:
        usage = ModelUsage(prefill_tokens=read, cached_tokens=kept, decode_tokens=written)
    exact = (
        read * Fraction(prompt) + kept * Fraction(prompt if cached is None else cached) + written * Fraction(completion)
    )
    assert ModelPrice(prompt, completion, cached).of(usage, written) == pytest.approx(float(exact / 10**6), rel=1e-9)


def router(**options: Any) -> GlimpRouter:
    made = scripted_router(**options)
    return GlimpRouter(made.small, made.large, made.policy, RouterConfig(prices=PRICES))


def test_a_reply_says_everywhere_what_it_cost() -> None:
    """Completion, summary, document, endpoint, both adapters and the terminal say the same amount."""
    done = router().generate("?")
    cost, tokens = done.usage.cost, {"small": 0, "large": 0}
    assert cost
    for step in done.steps:
        tokens[step.engine] += step.tokens
    assert min(tokens.values()) > 0
    assert cost.small == pytest.approx(tokens["small"] * 2e-6)  # a scripted model reads nothing
    assert cost.large == pytest.approx(tokens["large"] * 40e-6)
    assert (cost.total, cost.currency) == (cost.small + cost.large, "EUR")
    told = {"total": cost.total, "small": cost.small, "large": cost.large, "currency": "EUR"}
    assert done.document()["usage"]["cost"] == done.document()["summary"]["cost"] == told
    assert (usage_document(done.usage)["cost"], usage_document(done.usage)["cost_details"]) == (cost.total, told)
    metadata = ChatGlimp(router=router()).invoke("?").response_metadata["glimp"]["cost_in_billionths"]
    assert metadata["total"] == pytest.approx(cost.total * 1e9, abs=1)
    response = GlimpLLM(router=router()).chat([ChatMessage("?")])
    assert response.raw["usage"]["cost"] == told  # type: ignore[index]
    assert f"{cost.total:.4g} EUR" in figures(done)
    assert line(done).endswith(f"{cost.total:.4g} EUR")


def test_without_prices_nothing_is_said() -> None:
    """No amount is made up."""
    done = scripted_router().generate("?")
    assert done.usage.cost is done.summary().cost is None
    assert "cost" not in usage_document(done.usage)


def spent(steps: list[Step]) -> float:
    return sum(step.tokens for step in steps if step.engine == "large") * 40e-6


@given(st.integers(0, 4000), st.integers(1, 30))
def test_a_budget_of_money_is_passed_by_less_than_a_step(millionths: int, length: int) -> None:
    """The large model writes until its money is spent, and finishes the step that it is in."""
    policy, steps = TokenBudget(AlwaysLarge(), money=millionths / 1e6, prices=PRICES), list[Step]()
    for index in range(120):
        writer = policy.decide(Glimpse(1.0), steps).engine
        steps.append(Step(index, "thinking", writer, "", length, 0.0, "break", usage=ModelUsage(decode_tokens=length)))
    assert min(millionths, 120 * length * 40) <= round(spent(steps) * 1e6) < millionths + length * 40 + 1


def test_the_budget_of_a_file_counts_by_its_prices(tmp_path: Path) -> None:
    """[prices] reach the router, a wrapped budget among its policies, and `config=` beside the file."""
    file = tmp_path / "pair.toml"
    file.write_text(
        'small = "glimp-tiny-small"\nlarge = "glimp-tiny-large"\n'
        '[policy]\nname = "max_consecutive"\nlarge = 3\npolicy = { name = "token_budget", money = 0.002 }\n'
        '[prices]\nlarge = { prompt = 30, completion = 40, cached = 3 }\ncurrency = "EUR"\n'
    )
    told = Prices(None, ModelPrice(30, 40, 3), "EUR")
    policy: Any = read_pair(file).policy
    assert (policy.policy.money, policy.policy.tokens, policy.policy.prices) == (0.002, None, told)
    assert GlimpRouter.from_file(file).config.prices == told
    assert GlimpRouter.from_file(file, config=RouterConfig(reasoning="off")).config.prices == told
    assert ChatGlimp(config_file=str(file)).active_router.config.prices == told


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TokenBudget(AlwaysLarge(), money=1.0), "without the price of the large model"),
        (lambda: TokenBudget(AlwaysLarge(), money=1.0, prices=Prices(ModelPrice(1, 1))), "without the price"),
        (lambda: TokenBudget(AlwaysLarge(), money=-1.0, prices=PRICES), "money=-1.0"),
        (lambda: ModelPrice(-1.0, 0.0), "prompt=-1.0"),
        (lambda: ModelPrice(1.0, float("nan")), "completion=nan"),
    ],
)
def test_what_cannot_be_counted_is_refused(make: Any, says: str) -> None:
    """The error names what is missing, or shows the value."""
    with pytest.raises(ConfigError, match=says):
        make()
