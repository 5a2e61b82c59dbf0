"""What a model is told in words: of tools that its template does not show, and of the JSON it is to write."""

import json

from glimp_core.chat.request.requirements import OutputRequirements


def instructions(requirements: OutputRequirements, in_words: bool, example: str = "") -> str:
    """Return what to tell a model of the tools, where its template does not, and of the JSON it is to write.

    `example` is a call in the model's own markup, "" if it is to write Hermes'.
    """
    return "\n\n".join(
        filter(None, [_tools_in_words(requirements, example) if in_words else "", _format_in_words(requirements)])
    )


def _tools_in_words(requirements: OutputRequirements, example: str) -> str:
    if not requirements.shown:
        return ""
    tools = "\n".join(json.dumps(tool.document()["function"], ensure_ascii=False) for tool in requirements.shown)
    if example:
        how = "To call one, write its name and arguments in exactly this markup:\n" + example
    else:
        how = (
            "To call one, write its name and arguments as a JSON object inside <tool_call></tool_call> tags:\n"
            '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        )
    return (
        "# Tools\n\nYou may call these functions, given with the JSON schemas of their parameters:\n"
        f"<tools>\n{tools}\n</tools>\n\n"
        f"{how}"
    )


def _format_in_words(requirements: OutputRequirements) -> str:
    if requirements.schema is None:
        return ""
    unless = "Unless you call a function, answer" if requirements.tools else "Answer"
    if not requirements.schema:
        return f"{unless} with one JSON object and nothing else."
    schema = json.dumps(requirements.schema, ensure_ascii=False)
    return f"{unless} with one JSON value and nothing else. It must follow this JSON schema:\n{schema}"
