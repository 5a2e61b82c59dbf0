"""Pair: described for nothing, shared by whoever names it the same way."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glimp_core import ConfigError, EntropyThreshold
from glimp_core.pair import Pair, Reference
from glimp_core.testing import ScriptedEngine


def folder(path: Path, **config: Any) -> str:
    """A model folder that has a config and no weights."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


def test_a_missing_model_is_an_error_that_says_which() -> None:
    """A pair has two models."""
    with pytest.raises(ConfigError, match="large=None names no model"):
        Pair("a", None)


def test_describing_a_pair_imports_no_torch() -> None:
    """Name, identity and window of a pair cost no heavy import."""
    code = (
        "import sys; from glimp_core.pair import Pair; p = Pair('a/b', 'c/d'); p.name, p.identity, p.window;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_window_is_the_smaller_of_the_two(tmp_path: Path) -> None:
    """A window is read from config.json, nested or not; where one is unknown the pair's is too."""
    small = folder(tmp_path / "small", max_position_embeddings=4096)
    large = folder(tmp_path / "large", text_config={"max_position_embeddings": 2048})
    assert Pair(small, large).window == 2048
    assert Pair(small, ScriptedEngine(window=1000)).window == 1000
    assert Pair(small, "no-such-model").window is None


def test_identity_holds_what_changes_the_text_and_no_secret() -> None:
    """Models and loading options are in the identity, the access token is not."""
    identity = Pair("a", "b", {"dtype": "float32", "token": "hf_secret"}).identity
    assert identity == {"small": "a", "large": "b", "dtype": "'float32'"}
    assert Pair("a", "b").identity != identity != Pair("b", "a", {"dtype": "float32"}).identity


def test_engines_of_one_name_are_still_two_engines() -> None:
    """An engine object is known by itself: equal names do not make two of them one."""
    one, other = ScriptedEngine(), ScriptedEngine()
    assert Pair(one, one).identity == Pair(one, one).identity != Pair(one, other).identity


def test_a_router_of_engines_uses_them() -> None:
    """Engines are used as they are."""
    small, large = ScriptedEngine(), ScriptedEngine()
    router = Pair(small, large).router(EntropyThreshold(2.0))
    assert (router.small, router.large, router.policy) == (small, large, EntropyThreshold(2.0))


def test_a_reference_resolves_while_its_object_lives() -> None:
    """A reference gives back the very object, and says so when that is gone."""
    engine = ScriptedEngine()
    reference = Reference.to(engine)
    assert reference.resolve() is engine
    assert reference == Reference.to(engine) != Reference.to(ScriptedEngine())
    del engine
    with pytest.raises(ConfigError, match="this ScriptedEngine is gone"):
        reference.resolve()
