"""How a model that holds engines is copied and pickled: copies share them, pickles refer to them."""

from typing import Any, Self

from pydantic import BaseModel

from glimp_core.pair import Reference

LIVE = ("small", "large", "router")
"""Fields that may hold an engine or a router."""


class LiveCopies(BaseModel):
    """A model whose fields in `LIVE` stand for objects of this process."""

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        memo = {} if memo is None else memo
        memo |= {id(living): living for living in self._living().values()}
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        references = {name: Reference.to(living) for name, living in self._living().items()}
        return {**state, "__dict__": {**state["__dict__"], **references}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        fields = {n: v.resolve() if isinstance(v, Reference) else v for n, v in state["__dict__"].items()}
        super().__setstate__({**state, "__dict__": fields})

    def _living(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in LIVE}
        return {name: value for name, value in values.items() if not isinstance(value, str | dict | None)}
