"""Facts about what is left of prompts without what most of them share."""

import random
from collections.abc import Callable

import pytest

from core.prompts import Chat, Prompt, Text
from feedback.templates import Templates

WORDS = [f"{a}{b}{c}" for a in "bdfglmnprstv" for b in ("a", "e", "i", "o") for c in ("k", "lt", "n", "rs")]
QUESTION = "Is this review positive, neutral or negative? Answer with one word."


def document(number: int, words: int = 30) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=words)).capitalize() + "."


def chat(*texts: str) -> Chat:
    """Messages from the user, the assistant and so on."""
    return Chat(tuple((("user", "assistant")[n % 2], text) for n, text in enumerate(texts)))


FORMS: dict[str, Callable[[str], Prompt]] = {
    "instruction first": lambda text: Chat((("system", QUESTION), ("user", text))),
    "question last": lambda text: chat(text, "I have read it.", QUESTION),
    "document in the system message": lambda text: Chat((("system", f"Use this:\n{text}"), ("user", QUESTION))),
    "ends in yes": lambda text: chat(text, "Shall I send it back and book the parcel?", "yes"),
    "completion": lambda text: Text(f"Classify the review.\nReview: {text}\nSentiment:"),
    "plain": chat,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_part_that_differs_is_left(form: str):
    prompts = [FORMS[form](document(n)) for n in range(40)]
    found = Templates(prompts)
    assert found.without(prompts) == found.subjects(prompts) == [document(n) for n in range(40)]


def test_chats_and_completions_of_one_model_each_lose_their_own_template():
    prompts = [list(FORMS.values())[4 * (n % 2)](document(n)) for n in range(60)]
    assert Templates(prompts).without(prompts) == [document(n) for n in range(60)]


def test_a_question_of_its_own_is_shown_without_the_rest_of_the_chat():
    prompts = [Chat((("system", document(-n)), ("user", document(n)))) for n in range(1, 40)]
    assert Templates(prompts).subjects(prompts) == [document(n) for n in range(1, 40)]


def test_what_a_quarter_shares_stays():
    prompts = [chat(f"customer {n} asks {n % 4}") for n in range(80)]
    assert Templates(prompts).without(prompts) == [f"customer {n} asks {n % 4}" for n in range(80)]


def test_a_short_shared_part_within_a_text_stays():
    prompts = [chat(f"{document(n, 9)}\nShipped with the blue van.\n{document(-n, 9)}") for n in range(1, 50)]
    assert all("Shipped with the blue van." in text for text in Templates(prompts).without(prompts))


def test_few_prompts_and_prompts_that_are_all_the_same_keep_their_text():
    few = [FORMS["instruction first"](document(n)) for n in range(5)]
    assert Templates(few).without(few)[0] == f"{QUESTION}\n{document(0)}"
    same = [chat(QUESTION)] * 50
    assert Templates(same).without(same)[0] == QUESTION
    assert Templates([]).without([chat("x")]) == ["x"]


def test_words_of_the_template_are_named_and_those_of_texts_are_not():
    prompts = [FORMS["instruction first"](document(n)) for n in range(40)]
    assert {"review", "neutral", "answer"} <= set(Templates(prompts).words)
    assert not set(Templates(prompts).words) & set(WORDS)
    assert Templates([chat(document(n)) for n in range(40)]).words == ()
