"""Small chat templates in the manner of the families, and tokenizers that have them; made in memory."""
# ruff: noqa: RUF001

from typing import Any

import tiny
from glimp_core.chat.prompt.renderer import Renderer
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context
from glimp_core.types import Request

TURN = "{{ '<|im_start|>' + m.role + '\\n' + (m.content or '') }}"
TOOLS = "{% if tools %}{{ '# Tools\\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{{ '\\n' }}{% endif %}"
END = "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
CALLS = "{% for c in m.tool_calls or [] %}{% set f = c.function %}"

HERMES = (
    TOOLS + "{% for m in messages %}" + TURN + CALLS
    + "{{ '\\n<tool_call>\\n{\"name\": \"' + f.name + '\", \"arguments\": ' }}{{ f.arguments | tojson }}"
    + "{{ '}\\n</tool_call>' }}{% endfor %}" + END
)  # fmt: skip
XML = (
    TOOLS + "{% for m in messages %}" + TURN + CALLS
    + "{{ '<tool_call>\\n<function=' + f.name + '>\\n' }}{% for k, v in f.arguments.items() %}"
    + "{{ '<parameter=' + k + '>\\n' + (v | string) + '\\n</parameter>\\n' }}{% endfor %}"
    + "{{ '</function>\\n</tool_call>' }}{% endfor %}" + END
)  # fmt: skip
LLAMA = (
    TOOLS + "{% for m in messages %}{% if m.tool_calls and m.tool_calls | length > 1 %}"
    + "{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}" + TURN + CALLS
    + "{{ '{\"name\": \"' + f.name + '\", \"parameters\": ' }}{{ f.arguments | tojson }}{{ '}' }}{% endfor %}" + END
)  # fmt: skip
SHORT = "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
MISTRAL_START = (
    "{% for m in messages %}{% if m.role == 'tool' and m.tool_call_id | length != 9 %}" + SHORT
    + "{% if loop.last and tools %}{{ '[AVAILABLE_TOOLS]' }}{{ tools | tojson }}{% endif %}"
    + TURN + CALLS + "{% if c.id | length != 9 %}" + SHORT
)  # fmt: skip
MISTRAL = (
    MISTRAL_START + '{{ \'[TOOL_CALLS][{"name": "\' + f.name + \'", "arguments": \' }}{{ f.arguments | tojson }}'
    "{{ ', \"id\": \"' + c.id + '\"}]' }}{% endfor %}" + END
)
MISTRAL_NEW = MISTRAL_START + "{{ '[TOOL_CALLS]' + f.name + '[ARGS]' }}{{ f.arguments | tojson }}{% endfor %}" + END
DEEPSEEK = (
    TOOLS + "{% for m in messages %}" + TURN + CALLS
    + "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>' + f.name + '\\n```json\\n' + f.arguments "
    "+ '\\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>' }}{% endfor %}" + END
)  # fmt: skip
STRICT = (
    "{% for m in messages %}"
    "{% if m.role not in ['user', 'assistant'] or (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}" + TURN + END
)  # fmt: skip
PLAIN = "{% for m in messages %}" + TURN + END
TEMPLATES = {
    "hermes": HERMES, "xml": XML, "llama": LLAMA, "mistral list": MISTRAL, "mistral named": MISTRAL_NEW,
    "deepseek": DEEPSEEK, "generic": PLAIN,
}  # fmt: skip


def renderer(template: str) -> Renderer:
    """A renderer of the tiny tokenizer with one of the templates."""
    tokens = tiny.tokenizer(template)
    return Renderer(tokens, Vocabulary(tokens), "tiny")


def rendered(template: str, messages: Any, **requirements: Any) -> str:
    """The prompt that a template makes, control tokens included."""
    tokens = tiny.tokenizer(template)
    context = Context(Request(tuple(messages), **requirements), "inline")
    ids = Renderer(tokens, Vocabulary(tokens), "tiny").prompt(context).token_ids
    return str(tokens.decode(ids))
