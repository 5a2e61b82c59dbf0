"""pair.toml: a file with one pair of models or several named pairs, and their settings.

`docs/pair-file.md` shows every table, `pair_tables` has their types. Explicit arguments override the file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from glimp_core.config import RouterConfig
from glimp_core.errors import ConfigError, GlimpError, unknown_name
from glimp_core.model_description import located
from glimp_core.options import concealed
from glimp_core.pair import Pair
from glimp_core.pair_tables import PairTable, tables_at
from glimp_core.policy import EntropyThreshold, Policy
from glimp_core.policy.named import NAMED_POLICIES, policy_named
from glimp_core.prices import ModelPrice, Prices
from glimp_core.profile import load_profile
from glimp_core.router import GlimpRouter
from glimp_core.types import SamplingParams


@dataclass(frozen=True, slots=True)
class PairSettings:
    """A checked pair from a file. `name` is its name in the file, "" for the only pair of a file.

    `policy` is None if the file has none; `options` are the loading options of both models.
    """

    small: str | Mapping[str, Any]
    large: str | Mapping[str, Any]
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    policy: Policy | None = None
    config: RouterConfig = field(default_factory=RouterConfig)
    sampling: SamplingParams = field(default_factory=SamplingParams)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", concealed(self.options))

    @property
    def pair(self) -> Pair:
        """The two models, and what they load with."""
        return Pair(self.small, self.large, self.options)

    def router(self) -> GlimpRouter:
        """Make the router; its weights load at the first request. Routers of equal models share them."""
        return self.pair.router(self.policy, self.config, self.sampling)

    def adapter_options(self) -> dict[str, Any]:
        """Return the pair as the options of `ChatGlimp` and `GlimpLLM`; what is not in the file is left out."""
        options = {
            "small": self.small, "large": self.large, **self.options, **asdict(self.sampling),
            "stop": list(self.sampling.stop) or None, "config": self.config, **self._deciding(),
        }  # fmt: skip
        return {name: value for name, value in options.items() if value is not None}

    def _deciding(self) -> dict[str, Any]:
        """Return the policy as an option: a plain threshold as one."""
        policy = self.policy
        if isinstance(policy, EntropyThreshold) and policy == EntropyThreshold.of(policy.threshold, self.config):
            return {"threshold": policy.threshold}
        return {"policy": policy}


def read_pairs(path: str | PathLike[str]) -> dict[str, PairSettings]:
    """Return the pairs of a file by name; "" is the name of a pair that is alone in its file.

    Raises `ConfigError` for a file that cannot be read, an unknown key, or a value that cannot work: it names the
    file, the key and the value.
    """
    file = Path(path).expanduser()
    document = _toml(file)
    if "pairs" not in document:
        return {"": _settings(file, "", _checked(file, document, ()))}
    if len(document) > 1 or not isinstance(document["pairs"], dict):
        others = [f"{name!r}" for name in document if name != "pairs"]
        raise ConfigError(
            f"{str(file)!r} has [pairs.NAME] and {', '.join(others) or 'no table there'}: write one pair without "
            "[pairs], or each into a table [pairs.NAME] of its own"
        )
    if not document["pairs"]:
        raise ConfigError(f"{str(file)!r} names no pair: write small = '...' and large = '...'")
    return {
        name: _settings(file, name, _checked(file, table, ("pairs", name))) for name, table in document["pairs"].items()
    }


def read_pair(path: str | PathLike[str]) -> PairSettings:
    """Return one pair of a file: "pair.toml" for the only one, "pair.toml#NAME" for one of several.

    Raises `ConfigError`, as `read_pairs` does, and if it is not clear which pair is meant.
    """
    given = str(path)
    file, _, name = (given, "", "") if Path(given).expanduser().exists() else given.rpartition("#")
    pairs = read_pairs(file or given)
    if name in pairs:
        return pairs[name]
    if name:
        raise unknown_name(f"pair in {file!r}", name, pairs)
    if len(pairs) > 1:
        raise ConfigError(f"{given!r} has several pairs: choose one, as in {f'{given}#{next(iter(pairs))}'!r}"
                          f" (there are {', '.join(pairs)})")  # fmt: skip
    return next(iter(pairs.values()))


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"the pair file {str(file)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{str(file)!r} is no TOML file in UTF-8: {error}") from error


def _checked(file: Path, table: Any, place: tuple[str, ...]) -> BaseModel:
    try:
        return PairTable.model_validate(table)
    except ValidationError as error:
        raise _wrong(file, table, place, error) from error


def _settings(file: Path, name: str, table: Any) -> PairSettings:
    """Make the objects that a checked table describes."""
    folder = file.parent.absolute()
    given = table.model_dump(exclude_none=True)
    try:
        models = _model(folder, given["small"]), _model(folder, given["large"])
        usual = Pair(*models, given.get("load", {})).default_config()  # refuses what does not go together
        config = replace(usual, **given.get("router", {}), prices=_prices(given.get("prices")))
        policy = _policy(folder, given, config)
        sampling = SamplingParams(**given.get("sampling", {}))
        settings = PairSettings(*models, name, given.get("load", {}), policy, config, sampling)
    except GlimpError as error:
        raise type(error)(f"{_where(file, ('pairs', name) if name else ())}: {error}") from error
    return settings


def _policy(folder: Path, given: Mapping[str, Any], config: RouterConfig) -> Policy | None:
    named = [key for key in ("threshold", "profile", "policy") if key in given]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} all say who decides: keep one of them")
    if "threshold" in given:
        return EntropyThreshold.of(given["threshold"], config)
    if "profile" in given:
        return load_profile(folder / Path(given["profile"]).expanduser())
    return policy_named(given["policy"], config) if named else None


def _model(folder: Path, given: Any) -> str | dict[str, Any]:
    if isinstance(given, str):
        return located(folder, given)
    key = "tokenizer" if "url" in given else "model"  # the name that a model has at its server is no path
    return {**given, key: located(folder, given[key])} if key in given else dict(given)


def _prices(given: Mapping[str, Any] | None) -> Prices | None:
    if given is None:
        return None
    values: dict[str, Any] = {key: value if key == "currency" else ModelPrice(**value) for key, value in given.items()}
    return Prices(**values)


def _where(file: Path, place: tuple[str, ...]) -> str:
    return f"{str(file)!r}" + (f" in [{'.'.join(place)}]" if place else "")


def _wrong(file: Path, table: Any, place: tuple[str, ...], error: ValidationError) -> ConfigError:
    """Return the most useful of Pydantic's errors: for a union it lists the errors of each alternative."""
    if not isinstance(table, dict):
        return ConfigError(f"{_where(file, place)} is no table: write small = '...' and large = '...' into it")
    found = [(_path(table, told["loc"]), told) for told in error.errors(include_url=False, include_context=False)]
    path, told = max(found, key=lambda one: (len(one[0]), not one[1]["type"].endswith("_type")))
    where, key = _where(file, place + path[:-1]), path[-1] if path else ""
    if told["type"] == "extra_forbidden":
        return _unknown_key(where, key, table, path[:-1])
    if told["type"] == "missing":
        return ConfigError(f"{_where(file, place + path)} lacks {str(told['loc'][-1])!r}: write it")
    if told["type"] == "union_tag_invalid":
        return ConfigError(f"{where}: {unknown_name('policy', str(told['input'].get('name')), NAMED_POLICIES)}")
    return ConfigError(f"{where}: {key} = {told['input']!r} cannot work: {told['msg'][:1].lower()}{told['msg'][1:]}")


def _path(table: Any, loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys of an error's place that are in the file; others name alternatives of a union."""
    path: list[str] = []
    for key in loc:
        if isinstance(table, dict) and key in table:
            table = table[key]
            path.append(str(key))
    return tuple(path)


def _unknown_key(where: str, key: str, table: Any, path: tuple[str, ...]) -> ConfigError:
    known = {name for kind in tables_at(path, table) for name in kind.model_fields}
    homes = [home for home in ("router", "sampling", "load") if home not in path
             and any(key in kind.model_fields for kind in tables_at((home,), table))]  # fmt: skip
    if homes:
        return ConfigError(f"{where}: unknown key {key!r}: it belongs into [{homes[0]}]")
    if key in ("api_key", "key", "token", "hf_token"):
        return ConfigError(
            f"{where}: {key!r} has no place in this file, which holds no secrets: put the key into an environment "
            "variable, and the name of that into api_key_env (the hub's token is found in HF_TOKEN)"
        )
    return ConfigError(f"{where}: {unknown_name('key', key, known)}")
