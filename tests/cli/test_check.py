"""`glimp check`: what fits, what does not and why, before anything large is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from cli.conftest import Ran
from glimp_core.cli import main
from glimp_core.pair_check import Pace
from remote.kit import TOKENS, script
from remote.served import ScriptedServer


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Any:
    """`glimp check`, with real models."""

    def run(*arguments: object) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(["check", *map(str, arguments)])
        out, err = capsys.readouterr()
        return Ran(int(left.value.code or 0), out, err)

    return run


def folder(path: Path, template: str = tiny.THINKING, **changes: Any) -> Path:
    """A model's folder with a config and a tokenizer, and without weights."""
    path.mkdir()
    tiny.tokenizer(template).save_pretrained(path)
    config = {**tiny.CONFIGS["qwen3"].to_dict(), "architectures": ["Qwen3ForCausalLM"], **changes}
    config.pop("layer_types")
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_the_bundled_pair_fits(check: Any) -> None:
    """Exit code 0; the document has the facts of both, their paths, their pace and what routing can win."""
    ran = check("--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out.splitlines()[-1])
    assert document["fits"]
    assert (document["mode"], document["tokenizers"]) == ("thinking", {"equal": True, "shared": 1.0})
    for role in ("small", "large"):
        assert document[role]["calls"] == "hermes"
        assert document[role]["path"].startswith("crop: ")
        assert document[role]["footprint"]["bytes_per_token"] > 0
    assert document["pace"]["ratio"] > 0
    assert [gain["rate"] for gain in document["ideal"]] == [0.1, 0.25, 0.5]


def test_a_pair_of_which_one_thinks_does_not_fit(check: Any, tmp_path: Path) -> None:
    """Exit code 3, with the router's own reason, and no weights looked for."""
    ran = check(folder(tmp_path / "plain", tiny.PLAIN), folder(tmp_path / "thinks"))
    assert ran.code == 3
    assert "only the large model thinks" in " ".join(ran.out.split())
    assert "This pair does not fit." in ran.out


def test_routing_the_visible_reply_makes_it_fit(check: Any, tmp_path: Path) -> None:
    """The options of the router are checked, not only the models."""
    pair = [folder(tmp_path / "plain", tiny.PLAIN), folder(tmp_path / "thinks")]
    document = json.loads(check(*pair, "--reasoning", "inline", "--no-load", "--json").out)
    assert (document["fits"], document["mode"]) == (True, "inline")


def test_a_model_that_is_too_large_does_not_fit(check: Any, tmp_path: Path) -> None:
    """A config of a hundred billion parameters: exit code 3 before any weights are looked for, with sizes and a way."""
    huge = {"hidden_size": 32768, "intermediate_size": 300_000, "num_hidden_layers": 4, "head_dim": 128}
    ran = check(folder(tmp_path / "small"), folder(tmp_path / "huge", **huge), "--dtype", "float32", "--json")
    assert ran.code == 3
    document = json.loads(ran.out)
    (problem,) = document["problems"]
    assert document["large"]["footprint"]["parameters"] > 1e11
    assert problem.startswith("not enough memory: weights of ")
    assert "--dtype bfloat16" in problem
    assert f"does not fit: {problem}" in ran.err


def test_other_tokenizers_are_told(check: Any, tmp_path: Path) -> None:
    """Two vocabularies that differ go together as text."""
    document = json.loads(check("glimp-tiny-small", folder(tmp_path / "other"), "--no-load", "--json").out)
    assert not document["tokenizers"]["equal"]
    assert any("the tokenizers differ" in line for line in document["advice"])


def test_models_at_servers_are_asked(check: Any, tmp_path: Path) -> None:
    """What a server does is told; one that shows twenty tokens cannot be glimpsed in full."""
    TOKENS.save_pretrained(tmp_path)
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        pair = f"{small.url}#scripted", f"{large.url}#scripted"
        named = "--small-tokenizer", tmp_path, "--large-tokenizer", tmp_path, "--json"
        ran = check(*pair, *named, "--entropy", "top20")
        assert ran.code == 0, ran.out + ran.err
        document = json.loads(ran.out)
        assert "token ids" in document["small"]["server"]
        assert document["large"]["footprint"] is None
        assert document["pace"]["large_seconds"] > 0
        ran = check(*pair, *named, "--entropy", "full")
        assert ran.code == 3
        assert "the small model cannot be glimpsed" in ran.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("no/such/folder/here glimp-tiny-large", "no/such"),
        ("glimp-tiny-small", None),
        ("glimp-tiny-small b --small c", "both name the small model"),
    ],
)
def test_bad_input_has_its_own_code(check: Any, line: str, told: str | None) -> None:
    """Exit code 2 is for what is no pair at all."""
    ran = check(*line.split(), "--no-load")
    assert ran.code == 2
    assert told is None or told in ran.err


@given(
    small=st.floats(1e-4, 1),
    large=st.floats(1e-4, 10),
    drafted=st.floats(1e-4, 10),
    rates=st.tuples(*[st.floats(0, 1)] * 2),
)
def test_the_ideal_is_between_the_models(
    small: float, large: float, drafted: float, rates: tuple[float, float]
) -> None:
    """All tokens by the large model win nothing, none win the ratio, between them it goes one way."""
    pace = Pace(small, large, drafted)
    assert pace.ideal(0).speedup == pytest.approx(pace.ratio) == pytest.approx(large / small)
    assert pace.ideal(1).speedup == pytest.approx(1)
    assert pace.ideal(1).with_drafts == pytest.approx(large / drafted)
    low, high = (pace.ideal(rate).speedup for rate in sorted(rates))
    assert (low >= high * (1 - 1e-9)) if pace.ratio >= 1 else (low <= high * (1 + 1e-9))
    rate = rates[0]
    assert pace.ideal(rate).speedup == pytest.approx(1 / (rate + (1 - rate) / pace.ratio))
