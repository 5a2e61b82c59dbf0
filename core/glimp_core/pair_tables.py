"""The tables of a pair file as strict Pydantic models: the allowed keys and their types."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, Union, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from glimp_core.config import RouterConfig
from glimp_core.model_description import SERVER_TABLE, load_types
from glimp_core.options import LOAD_OPTIONS, ROUTING_TEXTS, SAMPLING_TEXTS
from glimp_core.policy.named import INNER, NAMED_POLICIES, parameters
from glimp_core.types import SamplingParams

STRICT = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

SERVER_TEXTS = {
    "tokenizer": "Folder or hub id of the served model's tokenizer. The name of the model if not set.",
    "api_key_env": "Environment variable that holds the server's key.",
    "window": "Context window in tokens. As the server says if not set.",
    "timeout": "The longest wait for a first token, in seconds.",
    "token_timeout": "The longest wait for each further token, in seconds.",
    "connect_timeout": "The longest wait for a connection, in seconds.",
    "retries": "How often in a row a request is sent again.",
    "extra_body": "What goes into each request to the server beside what Glimp writes.",
}


def _table(name: str, doc: str, members: Mapping[str, Any]) -> Any:
    """Make a table of which every key may be left out; `members` are types with descriptions."""
    keys: dict[str, Any] = {key: (kind | None, Field(None, description=text)) for key, (kind, text) in members.items()}
    return create_model(name, __config__=STRICT, __doc__=doc, **keys)


def _plain(hint: Any) -> Any:
    """The type of a dataclass's field as TOML has it: a list for a tuple."""
    return list[str] | str if hint == tuple[str, ...] else hint


def _of_dataclass(name: str, kind: type, texts: Mapping[str, str], doc: str) -> Any:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.name != "prices"]  # which are a table of their own
    return _table(name, doc, {name: (_plain(hints[name]), texts[name]) for name in names})


def _policy_table(name: str, kind: type) -> Any:
    """The table of one policy: its name, and its parameters with their defaults."""
    hints = get_type_hints(kind)
    members: dict[str, Any] = {"name": (Literal[name], ...)}
    for key, field in parameters(kind).items():
        required = field.default is MISSING and field.default_factory is MISSING and key not in INNER
        members[key] = ("PolicyTable | None" if key in INNER else hints[key], ... if required else None)
    return create_model(f"{kind.__name__}Table", __config__=STRICT, __doc__=_sentence(kind), **members)


def _sentence(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


LoadTable: Any = _table(
    "LoadTable",
    "How models in this process load and serve.",
    {name: (kind, LOAD_OPTIONS[name]) for name, kind in load_types().items()},
)
_SERVER: dict[str, Any] = {
    name: (kind | None, Field(None, description=SERVER_TEXTS[name])) for name, kind in SERVER_TABLE.items()
}
ModelTable: Any = create_model(
    "ModelTable",
    __base__=LoadTable,
    __doc__="One model: in this process, or at the server `url`.",
    model=(str, Field(description="Hub id, folder, .gguf file, bundled model, or the name at its server.")),
    url=(str | None, Field(None, description="Address of a server, such as http://127.0.0.1:8001/v1.")),
    **_SERVER,
)
RouterTable: Any = _of_dataclass(
    "RouterTable", RouterConfig, ROUTING_TEXTS, "Settings of the router, as in `RouterConfig`."
)
SamplingTable: Any = _of_dataclass(
    "SamplingTable", SamplingParams, SAMPLING_TEXTS, "How tokens are drawn if a request does not say."
)
_policies = {name: _policy_table(name, kind) for name, kind in NAMED_POLICIES.items()}
PolicyTable: Any = Annotated[Union[tuple(_policies.values())], Field(discriminator="name")]  # noqa: UP007
for _policy in _policies.values():
    _policy.model_rebuild(_types_namespace={"PolicyTable": PolicyTable})


PolicyName = Annotated[str, Field(json_schema_extra={"enum": list(NAMED_POLICIES)})]


class PriceTable(BaseModel):
    """What one million tokens of a model cost; `cached` are prompt tokens that the model had kept."""

    model_config = STRICT

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)


class PricesTable(BaseModel):
    """Prices of the models, in one currency."""

    model_config = STRICT

    small: PriceTable | None = None
    large: PriceTable | None = None
    currency: str = "USD"


class PairTable(BaseModel):
    """A pair of models: who they are, who decides, how they write."""

    model_config = STRICT

    small: str | ModelTable = Field(description="The small model: a hub id, folder, .gguf file, URL#name, or a table.")
    large: str | ModelTable = Field(description="The large model, likewise.")
    threshold: float | None = Field(None, description=ROUTING_TEXTS["threshold"])
    profile: str | None = Field(None, description="File of `glimp calibrate` with the threshold.")
    policy: PolicyName | PolicyTable | None = Field(None, description="Who decides: a name, or a table with one.")
    load: LoadTable | None = Field(None, description="How both models load, if they run in this process.")
    router: RouterTable | None = Field(None, description="The finer settings of the router.")
    sampling: SamplingTable | None = Field(None, description="How tokens are drawn if a request does not say.")
    prices: PricesTable | None = Field(None, description="What the tokens of each model cost.")


class PairsTable(BaseModel):
    """Several pairs, by name."""

    model_config = STRICT

    pairs: dict[str, PairTable] = Field(min_length=1, description="Pairs by name, as in [pairs.fast].")


def pair_schema() -> dict[str, Any]:
    """Return the JSON schema of a pair file, for editors."""
    schema: dict[str, Any] = _without_null(TypeAdapter(PairTable | PairsTable).json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A pair of models for Glimp", **schema
    }  # fmt: skip


def tables_at(path: Sequence[str], document: Mapping[str, Any]) -> list[Any]:
    """Return the tables that may stand at a path of a pair's table."""
    tables: list[Any] = [PairTable]
    at: Any = document
    for key in path:
        at = at.get(key) if isinstance(at, Mapping) else None
        tables = [inner for table in tables if key in table.model_fields
                  for inner in _tables_in(table.model_fields[key].annotation)]  # fmt: skip
        if isinstance(at, Mapping) and at.get("name") in _policies and _policies[at["name"]] in tables:
            tables = [_policies[at["name"]]]
    return tables


def _tables_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables_in(part)]


def _without_null(schema: Any) -> Any:
    """Drop null, which TOML does not have, from a schema."""
    if isinstance(schema, list):
        return [_without_null(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _without_null(part) for key, part in schema.items() if not (key == "default" and part is None)}
    options = kept.get("anyOf", ())
    if len(options) == 1:
        del kept["anyOf"]
        kept = {**options[0], **kept}
    return kept
