"""A key is sent to its server, and is nowhere to be seen."""

import io
import logging
import pickle
import traceback
from contextlib import suppress
from pathlib import Path

import pytest

from glimp_core import AlwaysLarge, ConfigError, RemoteEngineError
from glimp_core.pair import Pair
from glimp_core.remote import RemoteEngine
from glimp_core.trace import TraceFile
from remote.kit import TOP20, engine, glimpser, pair, run, script
from remote.scripts import Trouble
from remote.served import ScriptedServer

KEY = "sk-very-secret-7241"


def test_the_key_reaches_the_server() -> None:
    """Every request carries it, and nothing that variables mean for OpenAI's own servers."""
    with pytest.MonkeyPatch.context() as patch, ScriptedServer(script()) as served:
        for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
            patch.setenv(name, "for-openai-alone")
        patch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: for-openai-alone\nAuthorization: Bearer for-openai-alone")
        run(pair(served, served, api_key=KEY))
        assert {headers["authorization"] for headers in served.headers} == {f"Bearer {KEY}"}
        assert "for-openai-alone" not in str(served.headers)
        served.headers.clear()
        run(pair(served, served))
        assert not any("authorization" in headers for headers in served.headers)
        assert "for-openai-alone" not in str(served.headers)


def test_the_key_is_in_no_text(tmp_path: Path) -> None:
    """Not in a repr, a log at its lowest level, an error with its traceback, a trace, or a cache key."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.root.addHandler(handler)
    level = logging.root.level
    logging.root.setLevel(1)
    errors = []
    try:
        with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
            router = pair(small, large, AlwaysLarge(), TOP20, api_key=KEY)
            router.taps.append(TraceFile(tmp_path / "trace.jsonl"))
            done, _ = run(router)
            large.troubles = [Trouble("status", status=401)]
            with pytest.raises(RemoteEngineError) as caught:
                run(router)
            errors.append("".join(traceback.format_exception(caught.value)))
            texts = [repr(router), repr(router.small), str(Pair(router.small, router.large).identity), str(done)]
            texts += [str(vars(router.small)), str(router.large.__dict__)]
    finally:
        logging.root.removeHandler(handler)
        logging.root.setLevel(level)
    with suppress(FileNotFoundError):
        texts += [path.read_text() for path in tmp_path.iterdir()]
    assert len(texts) > 6, "a trace was written"
    for text in [*texts, *errors, log.getvalue()]:
        assert KEY not in text
    assert "HTTP 401" in errors[0]


@pytest.mark.parametrize("status", [401, 500])
def test_a_server_that_repeats_the_key(status: int) -> None:
    """What a server says about the key is told without it, in the error and in everything that led to it."""
    with ScriptedServer(script(), says=f"wrong key {KEY}") as served:
        large = engine(served, api_key=KEY)
        large.load()
        served.troubles = [Trouble("status", status=status)] * 6
        with pytest.raises(RemoteEngineError, match=r"wrong key \*\*\*") as caught:
            run(pair(served, served, AlwaysLarge(), api_key=KEY, retries=1))
        assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("end", ["\n", " ", "\t", "\u00e9", "\u20ac"])
def test_a_key_that_cannot_be_sent(end: str) -> None:
    """A line break at the end of a key, as files have it, is told when the engine is made, and without the key."""
    with pytest.raises(ConfigError, match="line break") as caught:
        RemoteEngine("http://127.0.0.1:1/v1", "m", api_key=KEY + end)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_a_page_in_place_of_an_error() -> None:
    """What a proxy says at length is told in part."""
    with ScriptedServer(script(), says="<html>" + "sorry " * 1000) as served:
        large = engine(served, retries=0)
        large.load()
        served.troubles = [Trouble("status", status=502)] * 2
        with pytest.raises(RemoteEngineError, match=r"HTTP 502: .*sorry") as caught:
            run(pair(served, served, AlwaysLarge(), retries=0))
        assert len(str(caught.value)) < 800


def test_an_engine_is_not_pickled() -> None:
    """A connection and its key stay in their process."""
    with ScriptedServer(script()) as served, pytest.raises(TypeError):
        pickle.dumps(glimpser(served, api_key=KEY))
