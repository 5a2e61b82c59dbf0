"""`glimp serve`, up to the moment when it listens; tests/serve has what comes then."""

from pathlib import Path

import pytest

from cli.conftest import Glimp
from glimp_core.serve import ServedPair, ServiceSettings, listening

Ran = list[tuple[list[ServedPair], ServiceSettings]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What would have been served."""
    found: Ran = []
    # it listens until the process is ended
    monkeypatch.setattr(listening, "run_endpoint", lambda pairs, settings, sock: found.append((pairs, settings)))
    return found


def test_the_options_become_settings(glimp: Glimp, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair by its name, the limits, and a key that is shown nowhere."""
    monkeypatch.setenv("CLIENT_KEY", "secret")
    done = glimp(
        *("serve", "--port", "0", "--name", "mine", "--api-key-env", "CLIENT_KEY", "--max-running", "3"),
        *("--template-option", "style", "--threshold", "0.7"),
    )
    ((pair,), settings) = ran[0]
    assert (done.code, pair.name, settings.api_key, settings.max_running) == (0, "mine", "secret", 3)
    assert getattr(pair.router.policy, "threshold", None) == 0.7
    assert {"style", "enable_thinking"} <= set(settings.template_options)
    assert "localhost" in settings.allowed_hosts
    assert "secret" not in done.out + done.err
    assert "serving mine (glimp-tiny-small + glimp-tiny-large) at http://127.0.0.1:" in done.err
    assert "clients must send the key that CLIENT_KEY holds" in done.err
    assert "warning" not in done.err


def test_the_key_of_model_servers_is_another(glimp: Glimp, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--model-key-env` goes to the servers of the models, and asks nothing of clients; an empty key opens nothing."""
    pair = ("serve", "--port", "0", "--small", "glimp-tiny-small", "--large", "http://127.0.0.1:1/v1#big")
    monkeypatch.setenv("CLIENT_KEY", "for-clients")
    done = glimp(*pair, "--model-key-env", "MODEL_KEY")
    assert (done.code, glimp.made[0][1]["api_key_env"], ran[0][1].api_key) == (0, "MODEL_KEY", None), done.err
    glimp(*pair, "--model-key-env", "MODEL_KEY", "--api-key-env", "CLIENT_KEY")
    assert (glimp.made[1][1]["api_key_env"], ran[1][1].api_key) == ("MODEL_KEY", "for-clients")
    glimp(*pair, "--api-key-env", "CLIENT_KEY")
    assert "api_key_env" not in glimp.made[2][1]
    for empty in ("", "  "):
        monkeypatch.setenv("CLIENT_KEY", empty)
        assert glimp(*pair, "--api-key-env", "CLIENT_KEY").code == 2
    assert len(ran) == 3


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost")])
def test_the_page_is_opened_on_request(
    glimp: Glimp, ran: Ran, monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    """Its address is said; a browser is opened with --open alone, and where one has a window."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    done = glimp("serve", "--host", host, "--port", "0")
    assert (f"the page is http://{host}:" in done.err, opened) == (True, [])
    glimp("serve", "--host", host, "--port", "0", "--open")
    assert [address.rpartition(":")[0] for address in opened] == [f"http://{shown}"]
    monkeypatch.delenv("DISPLAY")
    glimp("serve", "--host", host, "--port", "0", "--open")
    assert len(opened) == 1
    assert len(ran) == 3


def test_an_open_door_is_warned_of(glimp: Glimp, ran: Ran) -> None:
    """Without a key, on an address that others reach."""
    done = glimp("serve", "--host", "0.0.0.0", "--port", "0")
    assert "warning: everyone who reaches 0.0.0.0:" in done.err
    assert ran[0][1].allowed_hosts == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--api-key-env", "NO_SUCH_KEY"], "--api-key-env NO_SUCH_KEY: this environment variable is not set"),
        (["--model-key-env", "SOME"], "--api-key-env names the key that clients must send"),
        (["--client-key-env", "SOME"], "No such option"),
        (["--json"], "has no --json"),
        (["--name", "a:b"], "without a colon"),
        (["--port", "99999"], "cannot listen on"),
        (["--max-running", "0"], "max_running=0 cannot work"),
    ],
)
def test_what_cannot_work_is_bad_input(glimp: Glimp, ran: Ran, arguments: list[str], said: str) -> None:
    """One clear line, exit code 2, and nothing is served."""
    done = glimp("serve", "--port", "0", *arguments)
    assert (done.code, said in done.err, ran) == (2, True, []), done.err


def test_all_pairs_of_a_file_are_served(glimp: Glimp, ran: Ran, tmp_path: Path) -> None:
    """By their names, each with its own threshold, and with what is given beside the file on top."""
    file = tmp_path / "pair.toml"
    models = 'small = "glimp-tiny-small"\nlarge = "glimp-tiny-large"\n'
    file.write_text(f"[pairs.fast]\n{models}threshold = 2.0\n[pairs.careful]\n{models}threshold = 0.3\n")
    done = glimp("serve", "--port", "0", "--config", str(file), "--max-reasoning-tokens", "99")
    assert done.code == 0, done.err
    found = {pair.name: pair.router for pair in ran[0][0]}
    assert {name: getattr(router.policy, "threshold", None) for name, router in found.items()} == {
        "fast": 2.0,
        "careful": 0.3,
    }
    assert {router.config.max_reasoning_tokens for router in found.values()} == {99}
    done = glimp("serve", "--port", "0", "--config", f"{file}#fast", "--name", "mine")
    assert [pair.name for pair in ran[1][0]] == ["mine"]
    done = glimp("serve", "--port", "0", "--config", str(file), "--name", "mine")
    assert (done.code, "has 2 pairs" in done.err) == (2, True)
