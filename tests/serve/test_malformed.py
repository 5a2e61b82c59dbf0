"""Whatever a client sends, it is answered with what is wrong, and never with a failure of the server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from adapters.good_model import good_router
from glimp_core.serve import ServedPair, ServiceSettings, application
from glimp_core.serve.chat_request import DEMANDS, LABELS, NEUTRAL, OWN, SAMPLING

FIELDS = sorted({*DEMANDS, *OWN, *SAMPLING, *NEUTRAL, *LABELS} - {"model", "messages", "stream"})
VALID: dict[str, Any] = {"model": "glimp", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
WORDS = st.sampled_from(
    ["type", "function", "name", "parameters", "json_schema", "schema", "object", "role", "content", "text", "auto"]
)
JSON = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """The endpoint without a network, where an error in it is raised."""
    with TestClient(application([ServedPair("glimp", good_router())], ServiceSettings(max_body_bytes=5000))) as client:
        yield client


def check(response: httpx.Response) -> None:
    """A reply, or an error of the client's in OpenAI's form."""
    told = response.json()
    if response.status_code == 200:
        assert told["choices"]
    else:
        assert 400 <= response.status_code < 500, told
        assert set(told["error"]) == {"message", "type", "param", "code"}
        assert told["error"]["message"]


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=2))
def test_any_value_of_any_field(client: TestClient, given_fields: dict[str, Any]) -> None:
    """A field with a value of any kind is used, or refused."""
    check(client.post("/v1/chat/completions", json={**VALID, **given_fields}))


@settings(max_examples=100)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "role": st.sampled_from(["user", "assistant", "system", "tool", "robot"]) | JSON,
                "content": JSON,
                "tool_calls": JSON,
                "tool_call_id": JSON,
                "name": JSON,
                "reasoning_content": JSON,
            },
        )
        | JSON,
        max_size=3,
    )
    | JSON
)
def test_any_messages(client: TestClient, messages: Any) -> None:
    """So are messages."""
    check(client.post("/v1/chat/completions", json={**VALID, "messages": messages}))


@settings(max_examples=80)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body(client: TestClient, body: bytes) -> None:
    """So is a body that is no JSON, or no object."""
    response = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500
    check(response)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"[" * 4000, 400, "no JSON"),
        (b'{"model": NaN}', 400, "NaN is no JSON number"),
        (b'{"a": "' + b"x" * 6000 + b'"}', 413, "larger than 5000 bytes"),
        (b"", 400, "no JSON"),
    ],
    ids=["deep", "nan", "large", "empty"],
)
def test_bodies_at_the_edge(client: TestClient, body: bytes, status: int, said: str) -> None:
    """Nested without an end, not quite JSON, too large, or nothing at all."""
    response = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, said in response.json()["error"]["message"]) == (status, True)


def test_a_form_is_no_request(client: TestClient) -> None:
    """Only JSON is read: a web page cannot send it to another origin without being asked first."""
    response = client.post("/v1/chat/completions", content=json.dumps(VALID), headers={"content-type": "text/plain"})
    assert response.status_code == 415


@pytest.mark.parametrize("field", sorted(NEUTRAL))
def test_what_cannot_be_carried_out_is_refused_by_name(client: TestClient, field: str) -> None:
    """A value that asks for something is an error which names the field; one that asks for nothing passes."""
    response = client.post("/v1/chat/completions", json={**VALID, field: "something"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    for value in (None, *NEUTRAL[field]):
        assert client.post("/v1/chat/completions", json={**VALID, field: value}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temprature": 0}, "did you mean 'temperature'"),
        ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, "unknown option in chat_template_kwargs"),
        ({"chat_template_kwargs": {"enable_thinking": ["x"]}}, "a boolean, a number or a short text"),
        ({"stream_options": {"include_usge": True}}, "did you mean 'include_usage'"),
        ({"threshold": True}, "an entropy in nats"),
        ({"threshold": -1}, "0 or more"),
        ({"threshold": 1, "policy": "always_large"}, "give one of them"),
        ({"reasoning_effort": "most"}, "unknown reasoning_effort 'most'"),
        ({"messages": "Hi"}, "must be a list of messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "text only"),
        ({"tool_choice": "required"}, "tools is empty"),
        ({"max_completion_tokens": 0}, "max_completion_tokens=0 cannot work"),
    ],
)
def test_errors_say_what_to_do(client: TestClient, fields: dict[str, Any], said: str) -> None:
    """What is wrong, in words that name it."""
    response = client.post("/v1/chat/completions", json={**VALID, **fields})
    assert (response.status_code, said in response.json()["error"]["message"]) == (400, True), response.text
