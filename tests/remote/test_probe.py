"""What the probe finds out about servers, and which ones it refuses for which role."""

import json
import logging
import re
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import tiny
from glimp_core import AlwaysLarge, ConfigError, ModelLoadError, RemoteEngineError
from glimp_core.context import Context
from glimp_core.remote import ServerCapabilities
from glimp_core.types import GenerationParams, Request
from remote.kit import STEPS, TOKENS, engine, glimpser, pair, run, script
from remote.scripts import Trouble
from remote.served import ScriptedServer


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("vllm", ServerCapabilities(True, True, False, "raw", True, True)),
        ("old vllm", ServerCapabilities(True, True, False, "raw", True, True)),
        ("sglang", ServerCapabilities(True, True, False, "raw", False, None)),
        ("llamacpp", ServerCapabilities(True, False, False, "raw", True, None)),
    ],
)
def test_what_each_kind_of_server_does(kind: str, expected: ServerCapabilities) -> None:
    """Ids, stop strings, log-probabilities and aborting are found out by asking."""
    with ScriptedServer(script(), kind) as served:
        assert glimpser(served).findings == expected


def test_a_server_is_asked_once() -> None:
    """The questions are put at first use, and their number is small."""
    with ScriptedServer(script()) as served:
        large = engine(served)
        large.load()
        asked = served.probes
        assert asked <= 5
        large.load()
        assert large.findings.keeps_stop
        assert served.probes == asked
        assert not served.asked


def test_tempered_log_probabilities() -> None:
    """A server whose log-probabilities depend on the temperature is told from one whose do not."""
    with ScriptedServer(script(), tempered=True) as served:
        assert glimpser(served).findings.scale == "tempered"


def test_a_server_that_goes_on_after_a_close() -> None:
    """A server that does not stop when its stream is closed is found out by its own gauge."""
    with ScriptedServer(script(), aborts=False, pace=0.15) as served:
        assert glimpser(served).findings.aborts is False


def test_a_server_that_sends_replies_in_one_piece() -> None:
    """A reply that was held back until it was whole is noticed; one look may miss it on a busy machine."""
    with ScriptedServer(script(), buffered=True, pace=0.05) as served:
        assert any(engine(served).findings.in_one_piece for _ in range(5))
    with ScriptedServer(script(), pace=0.01) as served:
        assert not engine(served).findings.in_one_piece


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ({"aborts": False, "pace": 0.15}, "continues to write after its stream is closed.*proxy_ignore_client_abort"),
        ({"buffered": True, "pace": 0.05}, "only when it is complete.*proxy_buffering off"),
    ],
)
def test_what_makes_a_server_slow_is_said(
    caplog: pytest.LogCaptureFixture, behaviour: dict[str, Any], says: str
) -> None:
    """It is a warning in the log once, and in each summary, with what to set against it.

    A busy machine may hide how replies come; then the server is asked again.
    """
    with (
        ScriptedServer(script(STEPS[:1], "Yes."), **behaviour) as small,
        ScriptedServer(script(STEPS[:1], "Yes.")) as large,
    ):
        for _ in range(5):
            router = pair(small, large, AlwaysLarge())
            if notes := [note for _ in range(2) for note in run(router)[0].summary().notes]:
                break
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [len(warnings), len(notes)] == [1, 2]
    assert all(re.search(says, text) for text in (*warnings, *notes))


def test_the_findings_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """What was found is logged in words."""
    with caplog.at_level(logging.INFO, "glimp.remote"), ScriptedServer(script()) as served:
        glimpser(served).load()
    says = "uses token ids, keeps stop strings, streams, raw log-probabilities by id, aborts closed streams"
    assert any(says in record.message for record in caplog.records)


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llamacpp"])
def test_the_window_is_the_servers(kind: str) -> None:
    """The context window is what the server says it serves, unless it is given."""
    with ScriptedServer(script(), kind, window=777) as served:
        assert engine(served).window == 777
        assert engine(served, window=300).window == 300


def test_a_window_that_nobody_knows() -> None:
    """A server that does not tell its window is refused with what to pass."""
    with ScriptedServer(script(), window=None) as served:
        with pytest.raises(ModelLoadError, match="pass window="):
            engine(served).load()
        engine(served, window=1000).load()


def test_a_model_that_is_not_served() -> None:
    """The nearest name is suggested."""
    with (
        ScriptedServer(script(), model="scripted-large") as served,
        pytest.raises(ConfigError, match="'scripted-large'"),
    ):
        engine(served).load()


def test_another_models_tokenizer() -> None:
    """A tokenizer that reads the server's ids otherwise than the server does is refused."""
    spec = json.loads(TOKENS.backend_tokenizer.to_str())
    table = spec["model"]["vocab"]
    table["8"], table["9"] = table["9"], table["8"]
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)), eos_token="<|im_end|>", chat_template=tiny.THINKING
    )
    with ScriptedServer(script()) as served, pytest.raises(ModelLoadError, match="as tokenizer="):
        engine(served, tokenizer=other).load()


def test_too_few_log_probabilities_for_a_glimpse() -> None:
    """A server that shows fewer than 20 can have the large model only, and the error names the flag."""
    with ScriptedServer(script(), max_logprobs=5) as served:
        engine(served).load()
        with pytest.raises(ModelLoadError, match="--max-logprobs 20"):
            glimpser(served).load()


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ({"shows": 5}, "shows 5 log-probabilities where 20 were asked for"),
        ({"tempered": True, "cuts": True}, "cut by top-p and top-k .*--logprobs-mode raw_logprobs"),
    ],
)
def test_log_probabilities_that_would_measure_something_else(behaviour: dict[str, Any], says: str) -> None:
    """An entropy of fewer tokens than asked for, or of those that may be drawn, is not the one that is named."""
    with ScriptedServer(script(), **behaviour) as served, pytest.raises(ModelLoadError, match=says):
        glimpser(served).load()


def test_no_token_ids_for_a_glimpse() -> None:
    """A server without ids cannot have the small model."""
    with ScriptedServer(script(), "text") as served, pytest.raises(ModelLoadError, match="no token ids"):
        glimpser(served).load()


def test_a_wrong_path() -> None:
    """An address that is not the API's is refused with what it mostly looks like."""
    with ScriptedServer(script()) as served:
        served.url = served.url.replace("/v1", "/v2")
        with pytest.raises(RemoteEngineError, match=r"404.*mostly ends in /v1"):
            engine(served).load()


def test_a_page_instead_of_a_stream() -> None:
    """An answer that is no stream of events is named by its type."""
    with ScriptedServer(script()) as served:
        large = engine(served)
        large.load()
        served.troubles = [Trouble("html")]
        with (
            Context(Request(({"role": "user", "content": "?"},))) as context,
            pytest.raises(RemoteEngineError, match="text/html"),
        ):
            list(large.generate(context, GenerationParams("thinking", 10)))
