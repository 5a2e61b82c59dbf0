"""Profiles: the result of a calibration as a small JSON file."""

import json
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from glimp_core.errors import ConfigError
from glimp_core.policy import CalibratedThreshold, Policy
from glimp_core.types import Entropy

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The estimated figures of one threshold, from the glimpses of the calibration; None if unknown."""

    threshold: float
    rate: float
    large_token_share: float
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A threshold in nats with its 95 % `interval`, and its calibration.

    `target` is the goal ("rate", "share" or "seconds") with its `target_value`. The `measured_*` values are from a
    routed run at this threshold over `checked` prompts that were not used to find it; `measured_interval` is the 95 %
    interval of the target. The other ones of the `n` prompts gave `steps` glimpses. `pair` has the identities of the
    small and the large model.
    """

    threshold: float
    interval: tuple[float, float]
    target: str
    target_value: float
    measured_rate: float
    measured_share: float
    measured_seconds: float
    measured_interval: tuple[float, float]
    entropy: Entropy
    on_tie: bool
    pair: tuple[str, str]
    n: int
    checked: int
    steps: int
    date: str
    curve: tuple[CurvePoint, ...] = ()
    schema: int = SCHEMA

    @property
    def target_rate(self) -> float | None:
        """The intervention rate that was the goal, None for another goal."""
        return self.target_value if self.target == "rate" else None

    def policy(self) -> CalibratedThreshold:
        """Return the policy. A router with another pair or another kind of entropy refuses it."""
        return CalibratedThreshold(self.threshold, self.entropy, self.on_tie, self.pair)

    def document(self) -> dict[str, Any]:
        """Return the profile as a JSON document."""
        return {**asdict(self), "target_rate": self.target_rate}

    def save(self, path: str | PathLike[str]) -> None:
        """Write the profile to a file. Raises `ConfigError` if this fails."""
        try:
            Path(path).write_text(json.dumps(self.document(), indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"the profile cannot be written to {str(path)!r}: {error.strerror}") from error


def read_profile(path: str | PathLike[str]) -> Profile:
    """Read a profile. Raises `ConfigError` for an invalid file, or one of a newer schema."""
    try:
        document = json.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"the profile {str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{str(path)!r} is no profile of `glimp calibrate`: it is not JSON") from error
    return _checked(path, document)


def load_profile(path: str | PathLike[str]) -> Policy:
    """Return the policy of a profile from `glimp calibrate`.

    A router with another pair of models or another kind of entropy refuses it with a `ConfigError`. Raises
    `ConfigError` for a file that is not a profile.
    """
    return read_profile(path).policy()


def _two(values: Any) -> tuple[Any, Any]:
    one, other = values
    return one, other


def _checked(path: str | PathLike[str], document: Any) -> Profile:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        schema = document.get("schema") if isinstance(document, dict) else None
        raise ConfigError(
            f"{str(path)!r} is no profile that this version of Glimp reads (schema {schema!r}, not {SCHEMA}): "
            "make one with `glimp calibrate`"
        )
    try:
        values = {field.name: document[field.name] for field in fields(Profile)}
        curve = tuple(CurvePoint(**point) for point in values["curve"])
        pairs = {name: _two(values[name]) for name in ("interval", "measured_interval", "pair")}
        profile = Profile(**{**values, **pairs, "curve": curve})
        profile.policy()
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} is no whole profile of `glimp calibrate`: {error!r}") from error
    if profile.entropy not in get_args(Entropy):
        raise ConfigError(f"{str(path)!r} is a profile for entropy {profile.entropy!r}, which is unknown")
    return profile
