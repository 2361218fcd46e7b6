"""Render rows as token ids, once, as the engine renders them: through the tokenizer's own template.

Ids and not text go to the model, so that a template that writes BOS does not get a second one.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from core.prompts import Chat, Prompt, answer_text

EMPTY = "its answer is empty"
TOO_LONG = "longer than retrain.max_length"
REFUSED = "refused by the base model's chat template"
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

    def render(self, prompt: Prompt, answer: str) -> tuple[tuple[int, ...], tuple[int, ...]] | Left:
        """Return the tokens of the prompt and of the answer with its end, or why there are none."""
        if not answer.strip():
            return Left(EMPTY)
        asked = self._prompt(prompt)
        if asked is None:
            return Left(REFUSED)
        end = self._turn_end if isinstance(prompt, Chat) else self._tokenizer.eos_token_id
        said = self._ids(answer_text(prompt, answer), special=False)
        if not said or not asked:
            return Left(EMPTY)
        said = said if end is None or said[-1] == end else (*said, end)
        if len(asked) + len(said) > self._max_length:
            return Left(TOO_LONG)
        return asked, said

    def _prompt(self, prompt: Prompt) -> tuple[int, ...] | None:
        """Return a prompt's tokens, None where the template refuses it."""
        if prompt not in self._known:
            if isinstance(prompt, Chat):
                self._known[prompt] = chat_ids(self._tokenizer, prompt.as_openai())
            else:
                self._known[prompt] = self._ids(prompt.text, special=True)
        return self._known[prompt]

    def _ids(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=special)["input_ids"])


def chat_ids(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[int, ...] | None:
    """Return the tokens of messages with the beginning of an answer. None where the template refuses them."""
    try:
        found = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
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
