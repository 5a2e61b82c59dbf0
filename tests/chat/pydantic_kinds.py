"""Fields of every kind that pydantic has, each as a class with that field."""

import dataclasses
import datetime as dt
import enum
import ipaddress
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar

import pydantic
from pydantic import AnyUrl, BaseModel, ConfigDict, Discriminator, Field, Json, RootModel, SecretStr, Tag, create_model
from pydantic.dataclasses import dataclass
from typing_extensions import TypeAliasType, TypedDict

T = TypeVar("T")


class Color(enum.StrEnum):
    """Texts to choose from."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """Numbers to choose from."""

    LOW = 1
    HIGH = 9


class Cat(BaseModel):
    """One of a union."""

    kind: Literal["cat"]
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    """The other one."""

    kind: Literal["dog"]
    barks: bool = True


class Node(BaseModel):
    """It refers to itself."""

    value: int
    next: Optional["Node"] = None
    children: list["Node"] = Field(default=[], max_length=2)


class Box(BaseModel, Generic[T]):
    """A class of any content."""

    content: T


class Strict(BaseModel):
    """No other fields, and no other types."""

    model_config = ConfigDict(extra="forbid", strict=True)
    a: int


class Extra(BaseModel):
    """Other fields, too."""

    model_config = ConfigDict(extra="allow")
    a: int


class Aliased(BaseModel):
    """A field by another name."""

    model_config = ConfigDict(populate_by_name=True)
    given_name: str = Field(alias="givenName", max_length=9)


class Computed(BaseModel):
    """A field that is made of another one."""

    side: int = Field(ge=0, le=99)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        """The square."""
        return self.side**2


class Tags(RootModel[list[str]]):
    """A list, by a name of its own."""


@dataclass
class Point:
    """Pydantic's dataclass."""

    x: float
    y: float = 0.0


@dataclasses.dataclass
class Plain:
    """The standard library's."""

    x: int
    label: str | None = None


class Movie(TypedDict, total=False):
    """A dict of named values."""

    title: str
    year: int


class Pair(NamedTuple):
    """A tuple of named values."""

    first: int
    second: str


Tree = TypeAliasType("Tree", "dict[str, Tree] | int")
ByTag = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator("kind")]

KINDS: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "none": None, "any": Any, "json value": pydantic.JsonValue,
    "optional": int | None, "union": int | str | None, "literal": Literal["a", 1, True, None],
    "enum": Color, "int enum": Level, "list": list[int], "list of lists": list[list[int]], "bare list": list,
    "tuple": tuple[int, str, bool], "tuple of any length": tuple[int, ...], "empty tuple": tuple[()],
    "named tuple": Pair, "set": set[int], "frozenset": frozenset[Literal["a", "b"]], "dict": dict[str, int],
    "bare dict": dict, "dict of any": dict[str, Any], "dict of literals": dict[Literal["a", "b"], int],
    "dict of enums": dict[Color, bool], "dict of dicts": dict[str, dict[str, list[float]]],
    "dict by pattern": dict[Annotated[str, Field(pattern="^k[0-9]$")], int],
    "dict by length": Annotated[dict[str, int], Field(min_length=1, max_length=2)],
    "date": dt.date, "datetime": dt.datetime, "aware datetime": pydantic.AwareDatetime, "time": dt.time,
    "timedelta": dt.timedelta, "decimal": Decimal, "decimal bounds": Annotated[Decimal, Field(ge=0, le=1000)],
    "bytes": bytes, "base64": pydantic.Base64Str, "base64 bytes": pydantic.Base64Bytes, "uuid": uuid.UUID,
    "uuid4": pydantic.UUID4, "ipv4": ipaddress.IPv4Address, "ipv6": ipaddress.IPv6Address,
    "any ip": pydantic.IPvAnyAddress, "network": ipaddress.IPv4Network, "interface": ipaddress.IPv4Interface,
    "url": AnyUrl, "path": Path, "secret": SecretStr, "pattern": re.Pattern,
    "min length": Annotated[str, Field(min_length=3, max_length=5)],
    "regex": Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{3}$")],
    "regex and length": Annotated[str, Field(pattern="^[a-z]+$", max_length=3)],
    "look-around": Annotated[str, Field(json_schema_extra={"pattern": "^(?!a)[a-c]$"})],
    "bounds": Annotated[int, Field(gt=0, lt=10)], "float bounds": Annotated[float, Field(ge=-1, le=1)],
    "multiple": Annotated[int, Field(multiple_of=5, ge=0, le=100)], "positive": pydantic.PositiveInt,
    "strict": pydantic.StrictInt, "finite": pydantic.FiniteFloat, "byte size": pydantic.ByteSize,
    "items": Annotated[list[int], Field(min_length=2, max_length=3)], "class": Cat, "classes": list[Cat],
    "union of classes": Cat | Dog, "discriminated": Annotated[Cat | Dog, Field(discriminator="kind")],
    "discriminated list": list[Annotated[Cat | Dog, Field(discriminator="kind")]], "tagged": ByTag,
    "recursive": Node, "generic": Box[int], "generic of class": Box[list[Cat]], "extra forbidden": Strict,
    "extra allowed": Extra, "alias": Aliased, "computed": Computed, "root model": Tags, "dataclass": Point,
    "plain dataclass": Plain, "typed dict": Movie, "json": Json[list[int]], "recursive alias": Tree,
    "default": Annotated[int, Field(default=3)], "described": Annotated[int, Field(description="D", examples=[1])],
    "deprecated": Annotated[int, Field(deprecated=True)],
}  # fmt: skip
"""The types by what they are called here."""

EXAMPLES = {
    "look-around": '{"field": "b"}', "base64": '{"field": "YWJj"}', "pattern": '{"field": "^a"}',
    "json": '{"field": "[1, 2]"}', "network": '{"field": "10.0.0.0/8"}',
}  # fmt: skip
"""Kinds of which the schema does not say all, or nothing that a grammar could hold, with an example of each."""


def model_of(kind: str) -> type[BaseModel]:
    """Return a class with a required field of a kind."""
    made: type[BaseModel] = create_model("Kind", field=(KINDS[kind], ...))
    return made
