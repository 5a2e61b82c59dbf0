"""Facts from a text as an object: the pair thinks freely, a grammar holds its answer to the class.

python examples/llamaindex_structured.py [SMALL LARGE]
"""

import sys
from enum import StrEnum

from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel, Field

from glimp_llamaindex import GlimpLLM

TEXT = "On 3 May, Ms Ortiz of Leeds wrote that two of the six lamps she had ordered were broken. Money back, please!"


class Mood(StrEnum):
    """How a customer feels."""

    CALM = "calm"
    ANGRY = "angry"


class Item(BaseModel):
    """What was ordered."""

    name: str
    ordered: int = Field(ge=0)
    broken: int = Field(ge=0)


class Complaint(BaseModel):
    """A customer's complaint."""

    customer: str
    town: str | None = None
    items: list[Item]
    wants: str = Field(description="what should be done, in a few words")
    mood: Mood


def main(llm: GlimpLLM) -> None:
    prompt = PromptTemplate("Read this letter and fill in the complaint.\n\n{text}")
    for partial in llm.stream_structured_predict(Complaint, prompt, text=TEXT):
        print(partial.model_dump(exclude_unset=True, mode="json"))
    complaint = partial  # the last one is whole
    assert isinstance(complaint, Complaint)
    print(f"{complaint.customer}: {complaint.items[0].broken} of {complaint.items[0].ordered} broken")


if __name__ == "__main__":
    small, large = sys.argv[1:3] or ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
    main(GlimpLLM(small, large, temperature=0))
