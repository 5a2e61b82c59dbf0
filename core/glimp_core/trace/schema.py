"""The lines of a trace, schema 1. Each says which request (`run`) it belongs to, so that requests may interleave.

A request is one `start` line, then for every step a `routed` and a `step` line (the answer has no `routed`, and
`tool_call` lines where it calls), and last a `finish` line, or `broken` where it did not get there. Fields that a later
version adds are passed over, fields that are left out have their defaults, and a line of a later schema is refused.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from glimp_core.events import Finish, Routed, Start
from glimp_core.types import Entropy, InvalidToolCall, Step, ToolCall

SCHEMA: Literal[1] = 1


class Line(BaseModel):
    """What all lines have."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    glimp: Literal[1] = SCHEMA
    run: str
    kind: str

    def document(self) -> dict[str, Any]:
        """Return the line as JSON; what has its default is left out."""
        told = self.model_dump(mode="json", exclude_defaults=True)
        return {"glimp": SCHEMA, "run": self.run, "kind": self.kind, **told}


class Head(Line):
    """A request begins: when, on which pair, by which rules. `question` is None if the text was not recorded."""

    kind: Literal["start"] = "start"
    time: datetime
    small: str
    large: str
    policy: str
    entropy: Entropy
    on_tie: bool
    question: str | None
    start: Start


class Glimpsed(Line):
    """The small model glimpsed at a step, and the policy chose its writer."""

    kind: Literal["routed"] = "routed"
    routed: Routed


class Written(Line):
    """A step is finished; its text is all of its deltas."""

    kind: Literal["step"] = "step"
    step: Step


class Called(Line):
    """Tool call number `index` of the reply is finished."""

    kind: Literal["tool_call"] = "tool_call"
    index: int
    call: ToolCall | InvalidToolCall


class Finished(Line):
    """The request is done."""

    kind: Literal["finish"] = "finish"
    finish: Finish


class Broken(Line):
    """The request did not come to its end: its reader left ("closed"), or an `error` ended it."""

    kind: Literal["broken"] = "broken"
    error: str
    message: str = ""


TraceLine = Annotated[Head | Glimpsed | Written | Called | Finished | Broken, Field(discriminator="kind")]
line_adapter: TypeAdapter[TraceLine] = TypeAdapter(TraceLine)
