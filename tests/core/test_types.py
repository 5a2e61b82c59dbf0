"""The values: what they refuse, and how they add up."""

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import ConfigError, Decision, ModelUsage, SamplingParams
from pairs import scripted_router

COUNTS = st.builds(ModelUsage, *[st.integers(0, 1000)] * 7, *[st.floats(0, 1e6)] * 2)


@given(COUNTS, COUNTS)
def test_usage_adds_field_by_field(one: ModelUsage, other: ModelUsage) -> None:
    """The sum of two usages is the sum of every field, whatever fields there are."""
    total = one + other
    for field in fields(ModelUsage):
        assert getattr(total, field.name) == getattr(one, field.name) + getattr(other, field.name)


@given(COUNTS)
def test_no_usage_is_the_zero(usage: ModelUsage) -> None:
    """Adding nothing changes nothing, and the seconds are those of the parts."""
    assert usage + ModelUsage() == usage == ModelUsage() + usage
    assert usage.seconds == usage.prefill_seconds + usage.decode_seconds


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1}, {"temperature": math.nan}, {"top_p": 0.0}, {"top_p": 1.01}, {"top_k": -1},
        {"max_tokens": 0}, {"max_tokens": -5},
        {"temperature": "hot"}, {"top_p": "0.9"}, {"max_tokens": 2.5}, {"seed": "x"},
    ],
)  # fmt: skip
def test_impossible_sampling_is_refused_with_its_name_and_value(values: dict[str, Any]) -> None:
    """A value that cannot work is a ConfigError that shows the name and the value."""
    (name, value), *_ = values.items()
    with pytest.raises(ConfigError, match=rf"{name}={value!r}"):
        SamplingParams(**values)


OPTIONAL = st.builds(
    SamplingParams,
    temperature=st.none() | st.just(0.0) | st.floats(0.01, 2),
    top_p=st.none() | st.floats(0.01, 1),
    top_k=st.none() | st.integers(0, 50),
    max_tokens=st.none() | st.integers(1, 99),
    stop=st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
    seed=st.none() | st.integers(),
)


@given(OPTIONAL, OPTIONAL, OPTIONAL)
def test_sampling_layers(call: SamplingParams, router: SamplingParams, model: SamplingParams) -> None:
    """Layering takes the topmost set value of each field, and its grouping does not matter."""
    assert call.over(router).over(model) == call.over(router.over(model))
    for field in fields(SamplingParams):
        layers = [getattr(params, field.name) for params in (call, router)]
        expected = next((value for value in layers if value not in (None, ())), layers[-1])
        assert getattr(call.over(router), field.name) == expected


def test_zero_temperature_is_a_set_value() -> None:
    """temperature=0 (greedy) of a call is not taken for "unset"."""
    assert SamplingParams(temperature=0.0).over(SamplingParams(temperature=0.7)).temperature == 0.0


def test_values_cannot_be_changed() -> None:
    """The values are frozen."""
    with pytest.raises(FrozenInstanceError):
        SamplingParams().seed = 3  # type: ignore[misc]


def test_a_decision_names_its_writer() -> None:
    """Intervening is writing by the large model, delegating by the small one."""
    assert (Decision(True).writer, Decision(False).writer) == ("large", "small")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("temperature", value) for value in (1e-300, 10**400, math.inf, math.nan, True, "0.5")],
        *[("top_p", value) for value in (1e-300, 0, 1.5, True)],
        *[(name, True) for name in ("top_k", "max_tokens", "seed")],
        *[("stop", value) for value in (5, (1,), b"x", (b"x",), True, {"a": 1}, ["x" * 2_000_000])],
    ],
)
def test_sampling_that_cannot_work_is_refused(name: str, value: Any) -> None:
    """Whatever would fail inside a model is a ConfigError that names the option."""
    with pytest.raises(ConfigError, match=name):
        SamplingParams(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("messages", value) for value in (None, 5, b"hi")],
        *[("tools", 5), ("response_format", 5), ("response_format", "json"), ("policy", "x"), ("sampling", {})],
        ("cancelled", True),
    ],
)
def test_arguments_of_another_kind_are_refused_at_once(name: str, value: Any) -> None:
    """An argument of another kind is a ConfigError that names it and says what to pass."""
    asked: Any = {"messages": "?", name: value}
    with pytest.raises(ConfigError, match=f"{name}=.* cannot work: pass"):
        scripted_router().stream(**asked)
