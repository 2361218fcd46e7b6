"""Facts about how rows become tokens."""

import pytest

from core.prompts import Chat, Text
from retrain.trainer.rendering import EMPTY, REFUSED, TOO_LONG, Left, Renderer, count_reasons, turn_end
from tests.support.tiny_models import CHATML, NO_SYSTEM, WITH_BOS, make_tokenizer

ASKED = Chat((("user", "hello"),))
TOLD = Chat((("system", "be kind"), ("user", "hello")))


def tokens(renderer: Renderer, prompt: Chat | Text, answer: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    found = renderer.render(prompt, answer)
    assert not isinstance(found, Left), found
    return found


@pytest.mark.parametrize("adds_bos", [True, False])
def test_a_template_that_writes_bos_gets_one_bos(adds_bos: bool):
    tokenizer = make_tokenizer(WITH_BOS, adds_bos=adds_bos)
    prompt, answer = tokens(Renderer(tokenizer, 100), ASKED, "good")
    assert prompt.count(tokenizer.bos_token_id) == 1 and prompt[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in answer
    assert tokenizer.decode(prompt) == "<s><|start|>user\nhello<|end|>\n<|start|>assistant\n"


def test_plain_text_gets_the_bos_that_the_tokenizer_adds():
    for adds_bos in (True, False):
        tokenizer = make_tokenizer(adds_bos=adds_bos)
        prompt, answer = tokens(Renderer(tokenizer, 100), Text("question:"), "good")
        assert tokenizer.decode(prompt) == ("<s>" if adds_bos else "") + "question:"
        assert tokenizer.decode(answer) == " good</s>"


def test_an_answer_ends_as_the_template_ends_a_turn():
    tokenizer = make_tokenizer()
    assert tokenizer.convert_ids_to_tokens(turn_end(tokenizer)) == "<|end|>"
    _, answer = tokens(Renderer(tokenizer, 100), ASKED, "good")
    assert tokenizer.decode(answer) == "good<|end|>"


def test_without_an_end_in_the_template_an_answer_ends_with_the_end_of_text():
    tokenizer = make_tokenizer("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    _, answer = tokens(Renderer(tokenizer, 100), ASKED, "good")
    assert tokenizer.decode(answer) == "good</s>"


def test_a_pad_token_that_is_the_end_of_text_is_learnt_as_the_end():
    tokenizer = make_tokenizer(CHATML.replace("<|end|>", "</s>"))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    _, answer = tokens(Renderer(tokenizer, 100), ASKED, "good")
    assert answer[-1] == tokenizer.eos_token_id


def test_rows_that_cannot_be_trained_on_are_counted_by_reason():
    renderer = Renderer(make_tokenizer(NO_SYSTEM), 60)
    found = [
        renderer.render(TOLD, "good"),
        renderer.render(TOLD, "bad"),
        renderer.render(ASKED, " "),
        renderer.render(Text("a" * 60), "good"),
        renderer.render(ASKED, "good"),
    ]
    left = [one for one in found if isinstance(one, Left)]
    assert count_reasons(left) == {REFUSED: 2, EMPTY: 1, TOO_LONG: 1}


def test_a_row_of_exactly_the_largest_length_is_kept():
    tokenizer = make_tokenizer()
    length = sum(len(part) for part in tokens(Renderer(tokenizer, 1000), ASKED, "good"))
    assert not isinstance(Renderer(tokenizer, length).render(ASKED, "good"), Left)
    assert Renderer(tokenizer, length - 1).render(ASKED, "good") == Left(TOO_LONG)
