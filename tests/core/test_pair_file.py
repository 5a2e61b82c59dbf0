"""pair.toml: what is written arrives, what is misspelt is named, what is given beside it wins."""

import json
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pair_schema
from glimp_core import (
    AlwaysLarge,
    ConfigError,
    EntropyThreshold,
    GlimpRouter,
    MaxConsecutive,
    ModelPrice,
    Policy,
    Prices,
    RouterConfig,
    SamplingParams,
    TargetRate,
)
from glimp_core.pair_file import read_pair, read_pairs
from glimp_core.pair_tables import tables_at
from glimp_core.policy.named import NAMED_POLICIES, policy_named

NAMES = {"small": "glimp-tiny-small", "large": "glimp-tiny-large"}
SCHEMA = json.loads(pair_schema.text())
SERVED = {"model": "m", "url": "http://127.0.0.1:1/v1", "tokenizer": "glimp-tiny-large"}

ROUTER = {
    "reasoning": "inline", "answer_by": "routed", "entropy": "top20", "intervene_on_tie": True, "speculate": False,
    "prewarm": True, "on_large_failure": "small", "lenient_tool_calls": False, "max_step_tokens": 7,
    "max_reasoning_tokens": 8, "max_answer_tokens": 9, "reasoning_effort": "low",
}  # fmt: skip
SAMPLING = {"temperature": 0.5, "top_p": 0.4, "top_k": 3, "max_tokens": 4, "stop": ["a", "b"], "seed": 5}
WHOLE: dict[str, Any] = {
    **NAMES,
    "large": SERVED | {"api_key_env": "KEY", "window": 100, "timeout": 3, "extra_body": {"a": 1}},
    "policy": {"name": "max_consecutive", "large": 2, "policy": {"name": "target_rate", "rate": 0.25}},
    "load": {"dtype": "float32", "max_batch": 2},
    "router": ROUTER,
    "sampling": SAMPLING,
    "prices": {"small": {"prompt": 0.1, "completion": 0.2}, "currency": "EUR"},
}


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def written(folder: Path, document: dict[str, Any], name: str = "pair.toml") -> str:
    path = folder / name
    path.write_text("".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in document.items()))
    assert tomllib.loads(path.read_text()) == document
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


def tables(document: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The places of a document that have keys of their own; what `extra_body` holds is the server's matter."""
    inner = [tables(value, (*path, key)) for key, value in document.items() if isinstance(value, dict)]
    return [path, *(place for places in inner for place in places if "extra_body" not in place)]


def test_every_setting_arrives(folder: Path) -> None:
    """What the tables hold is what the router is made with, field by field."""
    read = read_pair(written(folder, WHOLE))
    prices = Prices(ModelPrice(0.1, 0.2), None, "EUR")
    assert (read.config, read.sampling) == (RouterConfig(**ROUTER, prices=prices), SamplingParams(**SAMPLING))
    assert {*ROUTER, "prices"} == {field.name for field in fields(RouterConfig)}, "every field is tried"
    assert all(getattr(read.config, field.name) != field.default for field in fields(RouterConfig))
    assert read.policy == MaxConsecutive(TargetRate(0.25, entropy="top20"), large=2)
    assert read.options == {"dtype": "float32", "max_batch": 2}
    assert read.pair.names == ("glimp-tiny-small", "m")


def drawn_table(data: st.DataObject) -> tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]:
    """Draw a table of a whole file: its place, a copy of the file, and the table in that copy."""
    place = data.draw(st.sampled_from(tables(WHOLE)))
    document = json.loads(json.dumps(WHOLE))
    table = document
    for key in place:
        table = table[key]
    return place, document, table


@given(data=st.data())
def test_a_misspelt_key_is_named_with_the_nearest_one(folder: Path, data: st.DataObject) -> None:
    """In every table, a key with a letter too many is an error that names file and key, and the schema refuses it."""
    place, document, table = drawn_table(data)
    known = {name for kind in tables_at(place, WHOLE) for name in kind.model_fields}
    meant = data.draw(st.sampled_from(sorted(known)))
    at = data.draw(st.integers(1, len(meant)))
    misspelt = meant[:at] + "q" + meant[at:]
    table[misspelt] = 1
    with pytest.raises(ConfigError) as caught:
        read_pair(written(folder, document))
    said = str(caught.value)
    assert "pair.toml" in said
    assert repr(misspelt) in said
    assert f"did you mean {meant!r}?" in said
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


@given(data=st.data())
def test_a_value_of_another_type_is_named(folder: Path, data: st.DataObject) -> None:
    """A list of lists fits nowhere: the error names the key and shows the value."""
    _, document, table = drawn_table(data)
    key = data.draw(st.sampled_from(sorted(set(table) - {"name"})))
    table[key] = [[1]]
    with pytest.raises(ConfigError, match=rf"pair\.toml.* {key} = \[\[1\]\] cannot work|pair\.toml.*{key}"):
        read_pair(written(folder, document))
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_the_published_schema_is_current() -> None:
    """docs/pair.schema.json is what the code reads: `python tools/pair_schema.py` writes it."""
    assert pair_schema.PATH.read_text() == pair_schema.text()
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for document in (WHOLE, NAMES, {"pairs": {"a": NAMES, "b": WHOLE}}):
        jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"small": "a"}, "lacks 'large'"),
        ({**NAMES, "reasoning": "off"}, r"'reasoning': it belongs into \[router\]"),
        ({**NAMES, "temperature": 1}, r"'temperature': it belongs into \[sampling\]"),
        ({**NAMES, "threshold": -1}, "threshold=-1"),
        ({**NAMES, "threshold": 1, "policy": "always_large"}, "threshold and policy all say who decides"),
        ({**NAMES, "policy": "always_larg"}, "unknown policy 'always_larg': did you mean 'always_large'"),
        ({**NAMES, "policy": {"name": "margins"}}, "unknown policy 'margins': did you mean 'margin'"),
        ({**NAMES, "policy": {"name": "random_rate"}}, r"in \[policy\] lacks 'rate'"),
        ({**NAMES, "policy": {"name": "random_rate", "rate": 2}}, "rate=2"),
        ({**NAMES, "profile": "none.json"}, "none.json"),
        ({**NAMES, "router": {"reasoning": "of"}}, r"\[router\]: reasoning = 'of' cannot work"),
        ({**NAMES, "router": {"max_step_tokens": 0}}, "max_step_tokens=0"),
        ({**NAMES, "large": "http://host/v1"}, "names no model there"),
        ({**NAMES, "large": SERVED | {"dtype": "float32"}}, "dtype of the large model 'm' cannot work"),
        ({**NAMES, "large": {"model": "m", "timeout": 3}}, "timeout of the large model 'm' cannot work"),
        ({"small": SERVED, "large": SERVED, "load": {"dtype": "float32"}}, "dtype cannot work"),
        ({"pairs": {}}, "names no pair"),
        ({"pairs": {"a": {**NAMES, "treshold": 1}}}, r"\[pairs\.a\]: unknown key 'treshold'"),
        ({"pairs": {"a": 3}}, r"\[pairs\.a\] is no table"),
        ({"pairs": {"a": NAMES}, **NAMES}, r"has \[pairs\.NAME\] and 'small', 'large'"),
    ],
)
def test_what_cannot_work_is_refused(folder: Path, document: dict[str, Any], says: str) -> None:
    """The one line of the error names the file and the value, and says what to do."""
    with pytest.raises(ConfigError, match=says) as caught:
        read_pairs(written(folder, document))
    assert "pair.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"small = ", b"small = '\xff'", b"\xef\xbb\xbfsmall = 1", None])
def test_a_file_that_cannot_be_read_is_named(folder: Path, content: bytes | None) -> None:
    """No file, no TOML, no UTF-8; a byte order mark is passed over."""
    path = folder / "other.toml"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"other\.toml"):
        read_pair(path)


@pytest.mark.parametrize("key", ["api_key", "token", "key"])
def test_secrets_have_no_place(folder: Path, key: str) -> None:
    """A key in the file is refused, and not shown; so is one that stands where the name of a variable should."""
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        read_pair(written(folder, {**NAMES, "large": SERVED | {key: "sk-hidden"}}))
    assert "hidden" not in str(caught.value)
    pair = read_pair(written(folder, {**NAMES, "large": SERVED | {"api_key_env": "sk-hidden"}})).pair
    with pytest.raises(ConfigError, match="names no environment variable") as caught:
        pair.engines()
    assert "hidden" not in str(caught.value)


def test_the_key_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is read when the engine is made; a new key is a new engine, and the name of the pair stays."""
    settings = read_pair(written(folder, {**NAMES, "large": SERVED | {"api_key_env": "GLIMP_TEST_KEY"}}))
    with pytest.raises(ConfigError, match="api_key_env='GLIMP_TEST_KEY' names no environment variable"):
        settings.router()
    monkeypatch.setenv("GLIMP_TEST_KEY", "sk-hidden")
    router = settings.router()
    assert settings.router().large is router.large
    monkeypatch.setenv("GLIMP_TEST_KEY", "sk-other")
    assert settings.router().large is not router.large
    assert "hidden" not in repr(router) + repr(settings) + str(settings.pair.identity)


def test_one_of_several_is_chosen_by_name(folder: Path) -> None:
    """`file#name` chooses; no name is enough where there is one pair, and an unknown one suggests."""
    path = written(folder, {"pairs": {"fast": {**NAMES, "threshold": 2}, "careful": NAMES}})
    assert set(read_pairs(path)) == {"fast", "careful"}
    assert read_pair(f"{path}#fast").policy == EntropyThreshold(2)
    with pytest.raises(ConfigError, match=r"several pairs: choose one, as in '.*#fast'"):
        read_pair(path)
    with pytest.raises(ConfigError, match="'fats': did you mean 'fast'"):
        read_pair(f"{path}#fats")
    assert read_pair(written(folder, {"pairs": {"only": NAMES}})).name == "only"
    assert read_pair(written(folder, NAMES, "with#hash.toml")).pair.names == tuple(NAMES.values())


def test_paths_are_looked_up_beside_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder beside the file is found from everywhere; a hub id stays one."""
    (folder / "models" / "tiny").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir("/")
    document = {"small": "models/tiny", "large": {"model": "./missing"}}
    read = read_pair(written(folder, document))
    assert (read.small, read.large) == (str(folder / "models/tiny"), {"model": str(folder / "missing")})
    assert read_pair(written(folder, {"small": "Qwen/Qwen3-0.6B", "large": "~/x"})).small == "Qwen/Qwen3-0.6B"
    (folder / "m").mkdir(exist_ok=True)
    assert read_pair(written(folder, {**NAMES, "large": SERVED})).pair.names[1] == "m", "a name at a server is no path"


def test_a_router_of_a_file_is_the_router_of_its_words(folder: Path) -> None:
    """The models are those of `from_pretrained`, shared; what is given beside the file wins."""
    path = written(folder, {**NAMES, "threshold": 0.3, "sampling": {"temperature": 0, "seed": 1}})
    router, plain = GlimpRouter.from_file(path), GlimpRouter.from_pretrained(**NAMES)
    assert (router.small, router.large) == (plain.small, plain.large)
    assert (router.policy, router.sampling) == (EntropyThreshold(0.3), SamplingParams(temperature=0, seed=1))
    other = GlimpRouter.from_file(path, AlwaysLarge(), RouterConfig(reasoning="off"), SamplingParams(seed=2))
    assert (other.policy, other.config.reasoning) == (AlwaysLarge(), "off")
    assert other.sampling == SamplingParams(temperature=0, seed=2)


@pytest.mark.parametrize("name", NAMED_POLICIES)
def test_every_policy_has_a_name(name: str) -> None:
    """The shortest description of each policy makes it, on the quantity that the router measures."""
    config = RouterConfig.paper_code()
    options = {"random_rate": {"rate": 0.5}, "target_rate": {"rate": 0.5}, "max_consecutive": {"small": 2}}.get(
        name, {}
    )
    policy = policy_named({"name": name, **options}, config)
    assert isinstance(policy, Policy)
    assert type(policy) is NAMED_POLICIES[name]
    assert getattr(policy, "entropy", "top20") == "top20"
    if name not in ("random_rate", "target_rate", "max_consecutive"):
        assert policy_named(name, config) == policy
    with pytest.raises(ConfigError, match=f"unknown parameter of {name} 'nope'"):
        policy_named({"name": name, "nope": 1}, config)
