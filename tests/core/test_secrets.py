"""A token or a key that was given stays where it is: in no repr and no pickle; copies work on with it."""

import ast
import copy
import pickle
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

import glimp_core
from glimp_core.model_description import ModelDescription
from glimp_core.options import SECRETS, SecretText
from glimp_core.pair import Pair
from glimp_core.pair_file import PairSettings
from glimp_core.serve import ServiceSettings
from glimp_core.source import ModelSource, option_keys

SECRET = "hf_secret"
PAIR = {"small": "glimp-tiny-small", "large": "glimp-tiny-large", "options": {"token": SECRET}}
HOLDERS: dict[type, Any] = {
    ModelSource: ModelSource.of("m", token=SECRET),
    ModelDescription: ModelDescription.of("small", "m", {"token": SECRET}),
    Pair: Pair(**PAIR),
    PairSettings: PairSettings(**PAIR),
    ServiceSettings: ServiceSettings(api_key=SECRET),
}
NO_HOLDERS = {"ChatRequest", "_Asker", "Call", "Demands"}
"""Their options are those of a request."""


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=lambda holder: type(holder).__name__)
def test_no_text_of_it_shows_a_secret(holder: Any) -> None:
    """Law: whatever is printed or pickled of an object that holds a token, the token is not in it."""
    for shown in (
        repr(holder),
        str(holder),
        f"{asdict(holder)}",
        repr([getattr(holder, f.name) for f in fields(holder)]),
    ):
        assert SECRET not in shown
    if isinstance(holder, ServiceSettings):  # without its key an endpoint would be open to all
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder)
        assert pickle.loads(pickle.dumps(ServiceSettings(max_running=3))) == ServiceSettings(max_running=3)
        return
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(holder, protocol)
        assert SECRET.encode() not in pickled
        assert pickle.loads(pickled).options["token"] is None
    for copied in (copy.copy(holder), copy.deepcopy(holder)):
        assert copied == holder
        assert copied.options["token"] == SECRET


def test_a_secret_is_sent_as_it_was_given() -> None:
    """What sends a token formats it, or takes it as the text that it is."""
    token = ModelSource.of("m", token=SECRET).where()[1]["token"]
    assert (f"Bearer {token}", "Bearer " + token) == (f"Bearer {SECRET}",) * 2
    assert isinstance(token, SecretText)
    keys = [option_keys(ModelSource.of("m", token=given).options) for given in (SECRET, SECRET, "hf_other")]
    assert keys[0] == keys[1] != keys[2]


def test_whatever_may_hold_a_secret_is_here() -> None:
    """Every dataclass of the packages with a field for options or a key is held to the law, or has no secret in it."""
    folder = Path(glimp_core.__file__).parent
    files = [*folder.rglob("*.py"), *folder.parents[1].glob("glimp_*/*.py")]
    found = {node.name for file in files for node in ast.walk(ast.parse(file.read_text())) if _may_hold(node)}
    assert found == {kind.__name__ for kind in HOLDERS} | NO_HOLDERS


def _may_hold(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef) or not any("dataclass" in ast.unparse(one) for one in node.decorator_list):
        return False
    names = {ast.unparse(line.target) for line in node.body if isinstance(line, ast.AnnAssign)}
    return bool(names & {"options", *SECRETS})
