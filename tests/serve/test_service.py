"""What an endpoint does around its replies: limits, keys, health, counters, its log, and how it ends."""

import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.good_model import Endless, good_router
from glimp_core import ConfigError, EngineError, GlimpRouter, ModelLoadError
from glimp_core.serve import ServedPair, ServiceSettings, application
from glimp_core.serve.listening import hosts_for, listen, run_endpoint
from glimp_core.testing import ScriptedEngine
from pairs import scripted_router
from serve.conftest import Served, Serving

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ASKED: dict[str, Any] = {"model": "glimp", "messages": HELLO, "stream": True}


def counted(served: Served) -> dict[tuple[str, ...], float]:
    """The samples of /metrics, by name and the values of their labels."""
    families = text_string_to_metric_families(httpx.get(f"{served.url}/metrics").text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def access_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the access log said so far."""
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "glimp.serve.access"]


def waited_for(condition: Any, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(condition())


def test_a_full_queue_sends_away(serving: Serving) -> None:
    """One runs, one waits, the third is told when to come back; the one that waited is served."""
    engine = Endless()
    settings = ServiceSettings(max_running=1, max_waiting=1)
    with serving(GlimpRouter(engine, engine), settings=settings) as endpoint, ThreadPoolExecutor() as pool:
        with httpx.stream("POST", f"{endpoint.v1}/chat/completions", json=ASKED) as running:
            assert running.status_code == 200
            waiting = pool.submit(endpoint.post, max_completion_tokens=20)
            assert waited_for(lambda: endpoint.endpoint.queue.waiting == 1)
            refused = endpoint.post()
            health = httpx.get(f"{endpoint.url}/health").json()
        assert waiting.result().status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (health["running"], health["waiting"]) == (1, 1)


def test_those_who_wait_may_leave(serving: Serving) -> None:
    """A client that leaves the queue is forgotten, and no model sees its request."""
    engine = Endless()
    with serving(GlimpRouter(engine, engine), settings=ServiceSettings(max_running=1)) as endpoint:
        queue = endpoint.endpoint.queue
        with httpx.stream("POST", f"{endpoint.v1}/chat/completions", json=ASKED):
            with pytest.raises(httpx.ReadTimeout):
                endpoint.post(timeout=0.2)
            assert waited_for(lambda: queue.waiting == 0)
            assert engine.running == 1
        assert waited_for(lambda: queue.running == 0)


def test_a_reply_may_take_so_long(serving: Serving) -> None:
    """A whole reply becomes a 504 that is not to be tried again; a stream ends with the same error."""
    engine = Endless()
    with serving(GlimpRouter(engine, engine), settings=ServiceSettings(timeout=0.2)) as endpoint:
        whole, streamed = endpoint.post(), endpoint.post(stream=True)
    assert (whole.status_code, whole.json()["error"]["code"]) == (504, "timeout")
    assert whole.headers["x-should-retry"] == "false"
    *_, last, done = streamed.text.strip().split("\n\n")
    assert (json.loads(last.removeprefix("data: "))["error"]["code"], done) == ("timeout", "data: [DONE]")


def test_a_body_may_take_so_long(serving: Serving) -> None:
    """A client that sends its request in drops is not waited for."""
    settings = ServiceSettings(body_seconds=0.1)
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    with serving(good_router(), settings=settings) as endpoint:
        address = ("127.0.0.1", int(endpoint.url.rpartition(":")[2]))
        with socket.create_connection(address) as connection:
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic secret-ü"}, 401),
        ({"authorization": "bearer secret"}, 200),
    ],
)
def test_a_key_is_demanded(serving: Serving, header: dict[str, str], status: int) -> None:
    """Everything but the page and the health needs it, and it is in no answer."""
    raw = {name: value.encode() for name, value in header.items()}
    with serving(good_router(), settings=ServiceSettings(api_key="secret")) as endpoint:
        for path in ("/v1/models", "/metrics"):
            response = httpx.get(endpoint.url + path, headers=raw)  # type: ignore[arg-type]
            assert (response.status_code, "secret" in response.text) == (status, False)
        assert all(httpx.get(endpoint.url + path).status_code == 200 for path in ("/", "/health", "/page/main.js"))
    assert "secret" not in repr(ServiceSettings(api_key="secret"))


def test_health_tells_warming_loaded_and_failing(serving: Serving) -> None:
    """503 until the weights are there, and again after failures in a row, until a reply succeeds."""
    loading, failing = threading.Event(), [EngineError("the device is gone")] * 3

    class Slow(ScriptedEngine):
        def load(self) -> None:
            loading.wait(10)

        def generate(self, *args: Any) -> Any:
            if failing:
                raise failing.pop()
            return super().generate(*args)

    with serving(GlimpRouter(Slow(), Slow())) as endpoint:

        def health() -> tuple[int, str]:
            response, pages = (httpx.get(endpoint.url + path) for path in ("/health", "/page/health"))
            assert (pages.status_code, pages.json().keys()) == (200, response.json().keys())
            return response.status_code, response.json()["status"]

        assert health() == (503, "warming")
        loading.set()
        assert waited_for(lambda: health() == (200, "loaded"))
        assert [endpoint.post().status_code for _ in range(3)] == [500] * 3
        assert health() == (503, "failing")
        assert endpoint.post().status_code == 200
        assert health() == (200, "loaded")


def test_several_pairs_are_told_apart(serving: Serving) -> None:
    """By the names of their models; a pair that does not load leaves the other one alone."""

    class Missing(ScriptedEngine):
        def load(self) -> None:
            raise ModelLoadError("no such weights")

    other = scripted_router(answer="It is 5.")
    with serving(one=scripted_router(), other=other, missing=GlimpRouter(Missing(), Missing())) as endpoint:
        assert len(httpx.get(f"{endpoint.v1}/models").json()["data"]) == 9
        answers = [endpoint.post(model=name).json() for name in ("one", "other", "other:small")]
        assert [answer["choices"][0]["message"]["content"] for answer in answers] == [
            "It is 4.",
            "It is 5.",
            "It is 5.",
        ]
        refused = endpoint.post(model="missing")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_loaded")
        assert httpx.get(f"{endpoint.url}/health").json()["pairs"]["missing"]["error"] == "no such weights"


def test_counters_count_what_usage_says(serving: Serving) -> None:
    """Tokens, steps and requests of /metrics are those of the replies, a model alone and a broken reply among them."""
    with serving(good_router()) as endpoint:
        usage = [endpoint.post(**options).json()["usage"] for options in ({}, {"model": "glimp:small"}, {})]
        endpoint.post(n=2)
        counters = counted(endpoint)
    tokens = {key[1:]: value for key, value in counters.items() if key[0] == "glimp_tokens_total"}
    assert sum(tokens.values()) == sum(each["completion_tokens"] for each in usage)
    thinking = sum(value for labels, value in tokens.items() if "thinking" in labels)
    assert thinking == sum(each["completion_tokens_details"]["reasoning_tokens"] for each in usage)
    assert counters["glimp_requests_total", "glimp", "stop"] == 2
    assert counters["glimp_requests_total", "glimp:small", "stop"] == 1
    assert counters["glimp_prompt_tokens_total", "glimp"] == sum(each["prompt_tokens"] for each in usage)
    assert counters["glimp_routed_steps_total", "glimp"] == 6
    assert counters["glimp_interventions_total", "glimp"] == 2
    assert counters["glimp_reply_seconds_count", "glimp"] == 3
    assert counters["glimp_requests_running",] == 0


def test_the_log_has_no_word_of_what_is_said(good: Served, caplog: pytest.LogCaptureFixture) -> None:
    """One JSON line a request, with figures; neither question nor answer, nor a key."""
    with caplog.at_level(logging.INFO, "glimp.serve.access"):
        asked = [{"role": "user", "content": "the secret is 1234"}]
        done = good.post(messages=asked).json()
        httpx.get(f"{good.url}/v1/models/unknown", headers={"authorization": "Bearer 1234"})
        assert waited_for(lambda: len(access_lines(caplog)) == 2)  # each is logged after its response was sent
    lines = access_lines(caplog)
    assert [(line["status"], line["outcome"]) for line in lines] == [(200, "stop"), (404, "model_not_found")]
    assert lines[0]["small_tokens"] + lines[0]["large_tokens"] == done["usage"]["completion_tokens"]
    assert "1234" not in caplog.text
    assert "You said" not in caplog.text


@pytest.mark.parametrize(("drain", "ended"), [(10.0, "stop"), (0.1, "shutting_down")])
def test_an_endpoint_ends_its_streams(serving: Serving, drain: float, ended: str) -> None:
    """Told to end, it lets a stream come to its end; after a while it ends the stream itself, and says so."""

    class Slow(ScriptedEngine):
        def generate(self, *args: Any) -> Any:
            for chunk in super().generate(*args):
                time.sleep(0.02)
                yield chunk

    router = GlimpRouter(*[Slow(answer="It takes a while to say this.", thinking="none") for _ in "ab"])
    with (
        serving(router, settings=ServiceSettings(drain_seconds=drain)) as endpoint,
        httpx.stream("POST", f"{endpoint.v1}/chat/completions", json=ASKED) as response,
    ):
        events = response.iter_lines()
        next(events)
        endpoint.server.should_exit = True
        *_, last, done = [line.removeprefix("data: ") for line in events if line]
    told = json.loads(last)
    assert (told["error"]["code"] if "error" in told else told["choices"][0]["finish_reason"], done) == (
        ended,
        "[DONE]",
    )


def test_an_endpoint_without_a_pair_that_loads_ends() -> None:
    """It does not wait for requests that it could only refuse."""

    class Missing(ScriptedEngine):
        def load(self) -> None:
            raise ModelLoadError("no such weights")

    pair = ServedPair("glimp", GlimpRouter(Missing(), Missing()))
    with listen("127.0.0.1", 0) as sock, pytest.raises(ModelLoadError, match="no such weights"):
        run_endpoint([pair], ServiceSettings(), sock)


def test_pages_of_the_web_are_kept_out(serving: Serving) -> None:
    """On loopback only its own names are answered, and no page of another origin may ask, unless it is let in."""
    asks = {"origin": "http://page.example", "access-control-request-method": "POST"}
    settings = ServiceSettings(allowed_hosts=hosts_for("127.0.0.1", ["proxy.example"]))
    with serving(good_router(), settings=settings) as endpoint:
        hosts = ("evil.example", "proxy.example", "localhost:8000", "[::1]:8000")
        statuses = [httpx.get(f"{endpoint.url}/health", headers={"host": host}).status_code for host in hosts]
        refused = httpx.options(f"{endpoint.v1}/chat/completions", headers=asks)
    assert statuses == [400, 200, 200, 200]
    assert "access-control-allow-origin" not in refused.headers
    with serving(good_router(), settings=ServiceSettings(cors_origins=("http://page.example",))) as endpoint:
        allowed = httpx.options(f"{endpoint.v1}/chat/completions", headers=asks)
    assert allowed.headers["access-control-allow-origin"] == "http://page.example"
    assert hosts_for("0.0.0.0", ()) == ()


def test_what_cannot_be_served_is_refused_at_once() -> None:
    """Names that clash, no pair at all, limits that cannot work, a port that is taken."""
    router = scripted_router()
    with pytest.raises(ConfigError, match="without a colon"):
        ServedPair("a:b", router)
    for pairs in ([], [ServedPair("a", router), ServedPair("a", router)]):
        with pytest.raises(ConfigError, match="cannot be served"):
            application(pairs)
    for wrong in ({"max_running": 0}, {"timeout": 0.0}, {"api_key": " "}, {"max_body_bytes": 0}):
        with pytest.raises(ConfigError):
            ServiceSettings(**wrong)  # type: ignore[arg-type]
    with listen("127.0.0.1", 0) as sock, pytest.raises(ConfigError, match="cannot listen on"):
        listen("127.0.0.1", sock.getsockname()[1])
