"""Render rows as token ids, once, as the engine renders them: through the tokenizer's own template.

Ids and not text go to the model, so that a template that writes BOS does not get a second one.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from core.answers import calls_in
from core.prompt_fields import template_arguments
from core.prompts import (
    Chat,
    Prompt,
    answer_text,
    messages_for_template,
    messages_with_answer,
    options_of,
    tools_of,
)

EMPTY = "its answer is empty"
TOO_LONG = "longer than retrain.max_length"
REFUSED = "refused by the base model's chat template"
NO_CALLS = "the base model's chat template has no form for calls of tools"
PROBE = "answer"


@dataclass(frozen=True, slots=True)
class Left:
    """Why a row cannot be trained on."""

    reason: str


class Renderer:
    """Render prompts and answers for one tokenizer. Rows may have at most `max_length` tokens."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._known: dict[Prompt, tuple[int, ...] | None] = {}
        self._turn_end = turn_end(tokenizer)

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer: the one of the template, and the tokenizer's end of text."""
        found = dict.fromkeys((self._turn_end, self._tokenizer.eos_token_id))
        return tuple(end for end in found if end is not None)

    def render(self, prompt: Prompt, answer: str) -> tuple[tuple[int, ...], tuple[int, ...]] | Left:
        """Return the tokens of the prompt and of the answer with its end, or why there are none."""
        if not answer.strip():
            return Left(EMPTY)
        asked = self.prompt(prompt)
        if asked is None:
            return Left(REFUSED)
        said = self._answer(prompt, asked, answer)
        if isinstance(said, Left):
            return said
        if not said or not asked:
            return Left(EMPTY)
        if len(asked) + len(said) > self._max_length:
            return Left(TOO_LONG)
        return asked, said

    def _answer(self, prompt: Prompt, asked: tuple[int, ...], answer: str) -> tuple[int, ...] | Left:
        """Return the tokens of an answer with its end."""
        calls = calls_in(answer) if tools_of(prompt) else None
        if calls and isinstance(prompt, Chat):
            return self._calls(prompt, asked, answer, [call["name"] for call in calls])
        end = self._turn_end if isinstance(prompt, Chat) else self._tokenizer.eos_token_id
        said = self._ids(answer_text(prompt, answer), special=False)
        return said if not said or end is None or said[-1] == end else (*said, end)

    def _calls(self, prompt: Chat, asked: tuple[int, ...], answer: str, names: list[str]) -> tuple[int, ...] | Left:
        """Return the tokens of calls of tools, as the template writes them behind the prompt."""
        closed = template_arguments(options_of(prompt)) | {
            "add_generation_prompt": False,
            "continue_final_message": False,
        }
        whole = chat_ids(self._tokenizer, messages_with_answer(prompt, answer), **closed)
        if whole is None or whole[: len(asked)] != asked:
            return Left(NO_CALLS)
        said = whole[len(asked) :]
        text = self._tokenizer.decode(said)
        if not all(name in text for name in names):
            return Left(NO_CALLS)
        ends = [place for place, token in enumerate(said) if token == self._turn_end]
        return said[: ends[-1] + 1] if ends else said

    def prompt(self, prompt: Prompt) -> tuple[int, ...] | None:
        """Return a prompt's tokens, None where the template refuses it."""
        if prompt not in self._known:
            if isinstance(prompt, Chat):
                self._known[prompt] = chat_ids(
                    self._tokenizer, messages_for_template(prompt), **template_arguments(options_of(prompt))
                )
            else:
                self._known[prompt] = self._ids(prompt.text, special=True)
        return self._known[prompt]

    def _ids(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=special)["input_ids"])


def chat_ids(tokenizer: Any, messages: list[dict[str, Any]], **arguments: Any) -> tuple[int, ...] | None:
    """Return the tokens of messages with the beginning of an answer. None where the template refuses them.

    `arguments` are those of the template, such as its tools and switches.
    """
    given = {"add_generation_prompt": True} | arguments
    try:
        found = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **given)
    except (TemplateError, ValueError):
        return None
    return tuple(found)


def turn_end(tokenizer: Any) -> int | None:
    """Return the token that ends an answer in the tokenizer's template: a special one, else its end of text.

    Gemma's template ends a turn with another token than its end of text.
    """
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "question"}, {"role": "assistant", "content": PROBE}], tokenize=False
        )
    except (TemplateError, ValueError):
        return tokenizer.eos_token_id
    behind = tokenizer(text.rpartition(PROBE)[2], add_special_tokens=False)["input_ids"]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return behind[0] if behind and behind[0] in special else tokenizer.eos_token_id


def count_reasons(left: Iterable[Left]) -> dict[str, int]:
    """Return how many rows were left out for each reason."""
    return dict(Counter(one.reason for one in left))
