"""JSON schemas prepared for a grammar: the part that it can enforce, with bounds, and the keywords that it cannot."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from glimp_core.chat.grammar.alternatives import discriminated, exclude_each_other
from glimp_core.chat.grammar.object_parts import has_parts, names_of, stands_for, tells_of_properties
from glimp_core.chat.grammar.schema_drafts import (
    CHECKED,
    HELD,
    VALUES,
    looked_up,
    place,
    pointed_at,
    read_schema,
    resolved,
)
from glimp_core.chat.grammar.string_formats import CHECKED_FORMATS, HELD_FORMATS, PATTERNS
from glimp_core.chat.grammar.value_bounds import MAX_STRING, bound, fill_required, keep_typed, shortest_length, units
from glimp_core.errors import UnsupportedSchemaError

ANY_DEPTH = 24

MAX_COUNT = 256
"""A grammar does not hold a larger `minItems` or `minProperties`."""
MAX_SHORTEST = 4_096
"""A grammar does not hold a larger `minLength`, nor a schema of which no shorter value is valid."""
MAX_MULTIPLE = 1_000
"""A grammar does not hold a `multipleOf` of more than this many units of its last decimal."""
MAX_PATTERNS = 3
"""A grammar holds no text to more patterns than this at once: the automaton of all is their product."""
MAX_PARTS = 2_000
"""A grammar does not hold a schema of more parts than this."""

_SILENT = {"minContains", "maxContains", "then", "else"}
"""Said by the keyword they belong to."""


class Unenforced(NamedTuple):
    """A keyword that a grammar does not enforce, and its place in the schema."""

    keyword: str
    path: str

    def __str__(self) -> str:
        return f"{self.keyword!r} at {self.path}"


class PreparedSchema(NamedTuple):
    """The part of a schema that a grammar enforces, as JSON text, and the keywords that it does not.

    `parts` counts its schemas, `shortest` about the characters of the shortest value that follows it.
    """

    text: str
    unenforced: tuple[Unenforced, ...]
    parts: int
    shortest: float

    def schema(self, at: str = "#") -> Any:
        """Return what a grammar holds, its references moved to where it will stand: `at`."""
        ready = json.loads(self.text)
        return ready if at == "#" or '"$ref"' not in self.text else _moved(ready, at)


def prepare_schema(schema: Mapping[str, Any] | bool) -> PreparedSchema:
    """Return the part of a schema that a grammar enforces, and the keywords that it does not enforce.

    It adds bounds to strings and integers, makes required free strings non-empty, and closes objects that name their
    properties. Raises `UnsupportedSchemaError` for an invalid schema, for a misspelt keyword, and for a schema without
    a valid value that is short enough.
    """
    if not schema and schema is not False:
        return PreparedSchema(json.dumps(any_object()), (), 1, len("{}"))
    return _prepare(json.dumps(read_schema(schema), ensure_ascii=False))


def any_object() -> dict[str, Any]:
    """Return the schema of any JSON object, nested at most `ANY_DEPTH` deep."""
    scalars: list[dict[str, Any]] = [
        {"type": ["number", "boolean", "null"]},
        {"type": "string", "maxLength": MAX_STRING},
    ]
    depths: dict[str, Any] = {"v0": {"anyOf": scalars}}
    for depth in range(1, ANY_DEPTH):
        below = {"$ref": f"#/$defs/v{depth - 1}"}
        containers = [{"type": "object", "additionalProperties": below}, {"type": "array", "items": below}]
        depths[f"v{depth}"] = {"anyOf": [*scalars, *containers]}
    top = {"$ref": f"#/$defs/v{ANY_DEPTH - 1}"}
    return {"type": "object", "additionalProperties": top, "$defs": depths}


@lru_cache(maxsize=1024)
def _prepare(text: str) -> PreparedSchema:
    root = json.loads(text)
    discriminated(root)
    preparation = _Preparation(root)
    ready = preparation.root_schema()
    if "Properties" in text and "maxProperties" in refusal(ready):  # of properties of which some may be left out
        preparation = _Preparation(root, counts_properties=False)
        ready = preparation.root_schema()
    shortest = shortest_length(ready)
    if shortest > MAX_SHORTEST:
        endless = "no finite value follows the schema, for a part of it allows none or requires itself"
        long = f"the shortest value that follows the schema has more than {MAX_SHORTEST:,} characters"
        raise UnsupportedSchemaError(f"{long if shortest < math.inf else endless}: {text[:200]}")
    unenforced = tuple(dict.fromkeys(preparation.unenforced))
    return PreparedSchema(json.dumps(ready, ensure_ascii=False), unenforced, preparation.parts, shortest)


def _moved(schema: Any, at: str) -> Any:
    if isinstance(schema, list):
        return [_moved(part, at) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: part if key in ("const", "enum") else at + part[1:] if key == "$ref" and isinstance(part, str)
        else {name: _moved(inner, at) for name, inner in part.items()} if key in ("properties", "$defs")
        else _moved(part, at)
        for key, part in schema.items()
    }  # fmt: skip


class _Preparation:
    """Makes one schema ready, part by part. Parts that are referred to come under `$defs`, each once."""

    def __init__(self, root: Any, counts_properties: bool = True):
        self._counts_properties = counts_properties
        self.unenforced: list[Unenforced] = []
        self.parts = 0
        self._root = root
        self._names: dict[tuple[str, bool], str] = {}
        self._defs: dict[str, Any] = {}

    def root_schema(self) -> Any:
        """Return the whole schema, ready."""
        schema, seen = self._root, set[str]()
        while isinstance(schema, dict) and isinstance(alone := stands_for(schema), dict) and str(alone) not in seen:
            seen.add(str(alone))
            schema = pointed_at(alone["$ref"], self._root) if "$ref" in alone else alone
        ready = self._part(schema, "#", closed=True)
        if not isinstance(ready, dict):
            return ready
        if ready.get("type") == "object":
            ready.setdefault("properties", {})
        return {**ready, "$defs": self._defs} if self._defs else ready

    def _part(self, schema: Any, path: str, closed: bool) -> Any:
        """Return one part, ready; `closed` objects have no property without a name."""
        if isinstance(schema, bool) or schema.get("not") in (True, {}):
            return schema is True
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise UnsupportedSchemaError(
                f"the schema has more than {MAX_PARTS:,} parts (at {path[:80]}): make it smaller"
            )
        for keyword in schema:
            _check_word(keyword, path)
        ready = {key: schema[key] for key in schema if key in VALUES}
        self._leave_checked(schema, path)
        parts = has_parts(schema)
        self._objects(schema, ready, path, closed, parts)
        self._arrays(schema, ready, path)
        self._alternatives(schema, ready, path, closed and not parts)
        if "properties" in schema and not {"type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"} & set(schema):
            ready["type"] = "object"  # what is meant, though the standard lets anything else pass as well
        keep_typed(ready)
        self._within_bounds(ready, path)
        bound(ready)
        fill_required(ready)
        return ready

    def _leave(self, keyword: str, path: str) -> None:
        self.unenforced.append(Unenforced(keyword, path))

    def _leave_checked(self, schema: Mapping[str, Any], path: str) -> None:
        """Note the keywords that only a whole value can be checked for, save those that say nothing here."""
        for keyword in schema:
            value = schema[keyword]
            if keyword == "contentMediaType" and value == "application/json":
                self._leave(keyword, path)
            if keyword not in CHECKED or keyword in _SILENT or keyword in ("propertyNames", "unevaluatedProperties"):
                continue
            if keyword == "if" and not {"then", "else"} & set(schema):
                continue
            if value in (False, {}) and keyword in ("uniqueItems", "dependentRequired", "dependentSchemas", "not"):
                continue
            if keyword == "unevaluatedItems" and (
                value in (True, {}) or not {"allOf", "anyOf", "oneOf", "$ref"} & set(schema)
            ):
                continue
            self._leave(keyword, path)

    def _objects(self, schema: Mapping[str, Any], ready: dict[str, Any], path: str, closed: bool, parts: bool) -> None:
        own = {
            name: self._part(part, place(path, "properties", name), closed=True)
            for name, part in schema.get("properties", {}).items()
        }
        rest: Any = schema.get("additionalProperties")
        where = "additionalProperties"
        if rest is None and not parts and "unevaluatedProperties" in schema:
            rest, where = schema["unevaluatedProperties"], "unevaluatedProperties"
        elif schema.get("unevaluatedProperties", True) not in (True, {}) and rest is None:
            self._leave("unevaluatedProperties", path)
        ready_rest = None if rest is None else self._part(rest, place(path, where), closed=True)
        patterns = self._patterns(schema, path)
        if patterns is None:
            patterns, ready_rest = {}, None
            closed = False
        if "propertyNames" in schema:
            ready_rest = self._names_limited(schema, own, patterns, ready_rest, path)
        if ready_rest is None and closed and patterns and not (parts or own or schema.get("required")):
            ready_rest = False  # what pydantic means by a pattern of names
        closes = ready_rest is None and closed and (parts or "properties" in schema)
        if closes and (names := self._names_to_close(schema)) is not None:
            own |= {name: self._conditional(schema, name, path) for name in names if name not in own}
            ready_rest = False
        if "properties" in schema or own:
            ready["properties"] = own
        if patterns:
            ready["patternProperties"] = patterns
        if ready_rest is not None:
            ready["additionalProperties"] = ready_rest

    def _patterns(self, schema: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        """Return the properties that are named by patterns; None where a grammar cannot hold a pattern."""
        patterns = schema.get("patternProperties", {})
        if any(refusal({"type": "string", "pattern": pattern}) for pattern in patterns):
            self._leave("patternProperties", path)
            return None
        return {name: self._part(part, place(path, "patternProperties", name), True) for name, part in patterns.items()}

    def _names_limited(
        self, schema: Mapping[str, Any], own: dict[str, Any], patterns: dict[str, Any], rest: Any, path: str
    ) -> Any:
        """Hold what `propertyNames` allows as far as it can be; returns what other properties have to be."""
        limit = resolved(schema["propertyNames"], self._root)
        says = {key for key in limit if key in HELD | CHECKED} - {"type"} if isinstance(limit, dict) else set[str]()
        if limit is not False and not says:
            return rest
        values = [limit["const"]] if says == {"const"} else limit["enum"] if says == {"enum"} else None
        if values is not None and not patterns:
            for name in [name for name in own if name not in values]:
                del own[name]
            if rest is not False:
                own.update({name: True if rest is None else rest for name in values if name not in own})
            return False
        if (
            says == {"pattern"}
            and not own
            and not patterns
            and not refusal({"type": "string", "pattern": limit["pattern"]})
        ):
            patterns[limit["pattern"]] = True if rest is None else rest
            return False
        self._leave("propertyNames", path)
        return rest

    def _names_to_close(self, schema: Mapping[str, Any]) -> set[str] | None:
        """Return all names that an object may have; None where others are wanted, or none are told of."""
        if "patternProperties" in schema or not tells_of_properties(schema, self._root, frozenset()):
            return None
        names = names_of(schema, self._root, frozenset())
        if names is None or not names >= set(schema.get("required", ())) or len(names) < schema.get("minProperties", 0):
            return None
        return names

    def _conditional(self, schema: Mapping[str, Any], name: str, path: str) -> Any:
        """Return what a property has to be that another part of the schema names: anything, if that part holds it."""
        conditions = [(key, schema[key]) for key in ("then", "else") if key in schema]
        conditions += [(f"dependentSchemas/{key}", part) for key, part in schema.get("dependentSchemas", {}).items()]
        found = [
            self._part(part["properties"][name], f"{path}/{key}/properties/{name}", closed=True)
            for key, part in conditions
            if isinstance(part, dict) and name in part.get("properties", {})
        ]
        return True if not found else found[0] if len(found) == 1 else {"anyOf": found}

    def _arrays(self, schema: Mapping[str, Any], ready: dict[str, Any], path: str) -> None:
        if "prefixItems" in schema:
            items = enumerate(schema["prefixItems"])
            ready["prefixItems"] = [self._part(part, place(path, "prefixItems", n), True) for n, part in items]
        for keyword in ("items", "unevaluatedItems"):
            if keyword in schema and "items" not in ready and not (keyword != "items" and has_parts(schema)):
                ready["items"] = self._part(schema[keyword], place(path, keyword), closed=True)

    def _alternatives(self, schema: Mapping[str, Any], ready: dict[str, Any], path: str, closed: bool) -> None:
        """Take over references, and parts of which all, any or one has to be followed."""
        if "$ref" in schema:
            ready["$ref"] = self._ref(schema["$ref"], path, closed)
        unions = [
            [self._part(part, place(path, keyword, n), closed) for n, part in enumerate(schema[keyword])]
            for keyword in ("anyOf", "oneOf") if keyword in schema
        ]  # fmt: skip
        if "oneOf" in schema and not exclude_each_other(schema["oneOf"], self._root):
            self._leave("oneOf", path)
        held = self._few_patterns(schema.get("allOf", ()), path)
        all_of = [self._part(part, place(path, "allOf", n), closed) for n, part in held]
        if unions:
            ready["anyOf"] = unions[0]
        all_of += [{"anyOf": union} for union in unions[1:]]
        if all_of:
            ready["allOf"] = all_of

    def _few_patterns(self, parts: Sequence[Any], path: str) -> Iterator[tuple[int, Any]]:
        """Yield the parts that all have to be followed, without those whose patterns are too many for one text."""
        patterns = 0
        for n, part in enumerate(parts):
            said = resolved(part, self._root)
            found = [keyword for keyword in ("pattern", "format") if isinstance(said, Mapping) and keyword in said]
            patterns += len(found)
            if found and patterns > MAX_PATTERNS:
                self._leave(found[0], place(path, "allOf", n))
            else:
                yield n, part

    def _ref(self, ref: str, path: str, closed: bool) -> str:
        """Return a reference to a part under `$defs`, which is made ready when it is first referred to."""
        target = looked_up(ref, self._root)
        if not ref.startswith("#") or target is None:
            raise UnsupportedSchemaError(
                f"'$ref' at {path} of the schema leads to {ref!r:.100}, which is not there: put it under $defs"
            )
        if ref == "#" and closed and not (isinstance(self._root, dict) and stands_for(self._root)):
            return "#"
        if (ref, closed) not in self._names:
            last = ref.rpartition("/")[2] if ref != "#" else "root"
            taken = set(self._names.values())
            name = next(name for n in range(len(taken) + 1) if (name := last + f"_{n}" * bool(n)) not in taken)
            self._names[ref, closed] = name
            key = name.replace("~1", "/").replace("~0", "~")
            self._defs[key] = None
            self._defs[key] = self._part(target, ref, closed)
        return f"#/$defs/{self._names[ref, closed]}"

    def _within_bounds(self, ready: dict[str, Any], path: str) -> None:
        """Leave what would take a grammar too long to hold, or what none can be made for."""
        too_much = {
            "minItems": ready.get("minItems", 0) > MAX_COUNT,
            "minProperties": ready.get("minProperties", 0) > (MAX_COUNT if self._counts_properties else -1),
            "maxProperties": not self._counts_properties,
            "minLength": ready.get("minLength", 0) > MAX_SHORTEST,
            "multipleOf": units(ready.get("multipleOf", 1)) > MAX_MULTIPLE,
            "format": ready.get("format") in CHECKED_FORMATS,
        }
        for keyword in (keyword for keyword, exceeds in too_much.items() if exceeds and keyword in ready):
            del ready[keyword]
            self._leave(keyword, path)
        name = ready.pop("format", None)
        for keyword in ("pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if keyword in ready and refusal(_leaf(ready)):
                del ready[keyword]
                self._leave(keyword, path)
        if name in HELD_FORMATS and not {"enum", "const"} & set(ready):
            self._hold_format(ready, name, path)

    def _hold_format(self, ready: dict[str, Any], name: str, path: str) -> None:
        """Hold a format as the pattern that it is, beside a pattern that the schema says itself."""
        held = {"pattern": f"^(?:{PATTERNS[name]})$"} if name in PATTERNS else {"format": name}
        if refusal({**_leaf(ready), **held}):
            self._leave("format", path)
        elif held.keys() & ready.keys():
            ready["allOf"] = [*ready.get("allOf", ()), held]
        else:
            ready |= held


def _leaf(ready: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a part says of single values."""
    return {key: ready[key] for key in ready if key in VALUES and key not in ("enum", "const", "required")}


@lru_cache(maxsize=4096)
def _refusal(text: str) -> str:
    from llguidance import LLMatcher  # loaded by the first schema, not by whoever imports Glimp

    grammar = LLMatcher.grammar_from_json_schema(text)
    said = LLMatcher.validate_grammar(grammar)
    return "" if "nsatisfiable" in said else said


def refusal(leaf: Mapping[str, Any]) -> str:
    """Return why no grammar can be made for a part without parts of its own, "" where one can."""
    return _refusal(json.dumps(leaf))


def _check_word(keyword: str, path: str) -> None:
    """Refuse what is nearly a keyword: passed over as a remark, it would change what the schema means."""
    if keyword in HELD or keyword in CHECKED or keyword in _REMARKS or keyword[:2].lower() == "x-":
        return
    if close := difflib.get_close_matches(keyword, HELD | CHECKED, n=1, cutoff=0.85):
        raise UnsupportedSchemaError(f"{keyword!r} at {path} of the schema is no keyword: did you mean {close[0]!r}?")


_REMARKS = frozenset({"$id", "id", "$schema", "$anchor", "contentSchema", "requires", "definition", "items_"})
