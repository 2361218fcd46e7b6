"""Facts about how calls of tools, JSON, template switches and beginnings of answers become tokens."""

from typing import Any

import pytest

from core.answers import as_canonical
from core.prompts import Chat, read_request
from retrain.trainer.rendering import NO_CALLS, Left, Renderer
from tests.support.tiny_models import CHATML, make_tokenizer

WITH_TOOLS = (
    "{% if tools %}<|start|>tools\n{{ tools | tojson }}<|end|>\n{% endif %}"
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or () %}<call>{{ c.function.name }} "
    "{{ c.function.arguments | tojson }}</call>{% endfor %}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% if quick %}<quick>{% endif %}{% endif %}"
)
TOOL = {"name": "rate", "parameters": {"properties": {"stars": {}, "about": {}}}}
TOOLS: dict[str, Any] = {"tools": [{"type": "function", "function": TOOL}]}
CALL = as_canonical({"tool_calls": [{"name": "rate", "arguments": {"stars": 5, "about": "tea"}}]})
USER = {"role": "user", "content": "hello"}


def chat(*messages: Any, **body: Any) -> Chat:
    found = read_request("chat", {"messages": [USER, *messages]} | body)
    assert isinstance(found, Chat)
    return found


def rendered(template: str, prompt: Chat, answer: str) -> tuple[str, str] | Left:
    tokenizer = make_tokenizer(template)
    found = Renderer(tokenizer, 1000).render(prompt, answer)
    return found if isinstance(found, Left) else (tokenizer.decode(found[0]), tokenizer.decode(found[1]))


def test_calls_of_tools_have_the_templates_form() -> None:
    found = rendered(WITH_TOOLS, chat(**TOOLS), CALL)
    assert not isinstance(found, Left)
    prompt, answer = found
    assert prompt.startswith("<|start|>tools\n[{") and prompt.endswith("<|start|>assistant\n")
    assert answer == '<call>rate {"stars": 5, "about": "tea"}</call><|end|>'


def test_a_text_answers_a_request_with_tools_too() -> None:
    found = rendered(WITH_TOOLS, chat(**TOOLS), "Hi.")
    assert not isinstance(found, Left) and found[1] == "Hi.<|end|>"


def test_a_template_without_calls_of_tools_leaves_the_row_out() -> None:
    assert rendered(CHATML, chat(**TOOLS), CALL) == Left(NO_CALLS)


def test_earlier_calls_and_results_are_in_the_prompt() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "rate", "arguments": '{"stars": 1}'}}
    turns = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "done"}]
    found = rendered(WITH_TOOLS, chat(*turns, **TOOLS), "Done.")
    assert not isinstance(found, Left)
    assert '<call>rate {"stars": 1}</call><|end|>\n<|start|>tool\ndone<|end|>' in found[0]


@pytest.mark.parametrize(("quick", "end"), [(True, "assistant\n<quick>"), (False, "assistant\n")])
def test_a_template_switch_of_the_request_is_used(quick: bool, end: str) -> None:
    found = rendered(WITH_TOOLS, chat(chat_template_kwargs={"quick": quick}), "good")
    assert not isinstance(found, Left) and found[0].endswith(end)


def test_an_answer_continues_the_beginning_that_the_request_has() -> None:
    begun = chat({"role": "assistant", "content": "Label:"}, continue_final_message=True, add_generation_prompt=False)
    found = rendered(CHATML, begun, "good")
    assert found == ("<|start|>user\nhello<|end|>\n<|start|>assistant\nLabel:", " good<|end|>")
