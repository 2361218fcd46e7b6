"""Facts about retrieval: what is found, how a prompt is rewritten by it, and what is never touched."""

from pathlib import Path
from typing import Any

import pytest

from core.errors import IntegrityFailed
from core.prompts import Chat, Text
from core.records import Version
from serve.retrieval.retriever import FILE, Entry, Retrieval, Retriever, read_retrieval, rewrite_prompt, sha256_of

EXAMPLES = (
    Entry("chat", "the hinge broke", "bad", 10),
    Entry("chat", "the lamp is lovely", "good", 10),
    Entry("text", "Review: the hinge squeaks", "bad", 10),
)
PASSAGES = (Entry("passage", "A hinge is oiled once a year.", "", 10), Entry("passage", "Lamps want bulbs.", "", 10))
ASKED = Chat((("system", "rate"), ("user", "my hinge broke")))


def retriever(*entries: Entry, k: int = 2, budget: int = 200, context: int | None = None) -> Retriever:
    return Retriever(Retrieval(entries or EXAMPLES, k, budget, context))


def test_examples_stand_as_turns_before_the_question_the_nearest_last():
    assert retriever().rewrite(ASKED) == Chat(
        (
            ("system", "rate"),
            ("user", "the lamp is lovely"),
            ("assistant", "good"),
            ("user", "the hinge broke"),
            ("assistant", "bad"),
            ("user", "my hinge broke"),
        )
    )


def test_a_withheld_example_is_never_shown_and_the_next_nearest_takes_its_place():
    made = retriever(k=1)
    assert "the hinge broke" in str(made.rewrite(ASKED))
    made.withhold([0])
    shown = made.rewrite(ASKED)
    assert "the hinge broke" not in str(shown) and "the lamp is lovely" in str(shown)
    assert "squeaks" in str(made.rewrite(Text("Review: the hinge broke")))
    made.withhold([0, 1, 2])
    assert made.rewrite(ASKED) is not None and made.rewrite(ASKED).as_openai() == ASKED.as_openai()  # type: ignore[union-attr]
    made.withhold([])
    assert "the hinge broke" in str(made.rewrite(ASKED))


def test_plain_text_is_shown_plain_text_alone():
    found = retriever().rewrite(Text("Review: the hinge broke"))
    assert found == Text("Review: the hinge squeaks bad\n\nReview: the hinge broke")
    assert retriever(*EXAMPLES[:2]).rewrite(Text("x")) == Text("x")


def test_passages_go_into_the_system_message_or_the_texts_head_and_only_those_that_share_a_word():
    made = retriever(*PASSAGES)
    (role, said), question = made.rewrite(ASKED).messages  # type: ignore[union-attr]
    assert role == "system" and said.startswith("rate\n\n") and "oiled" in said and "bulbs" not in said
    assert question == ("user", "my hinge broke")
    alone = made.rewrite(Chat((("user", "a hinge?"),)))
    assert isinstance(alone, Chat) and alone.messages[0][0] == "system" and len(alone.messages) == 2
    found = made.rewrite(Text("a hinge?"))
    assert isinstance(found, Text) and found.text.endswith("oiled once a year.\n\na hinge?")
    assert made.rewrite(Text("nothing alike")) == Text("nothing alike")


def test_the_budget_counts_the_whole_prompt_and_skips_what_does_not_fit():
    long, short = Entry("chat", "the hinge broke", "bad", 150), Entry("chat", "a lamp", "good", 10)
    found = retriever(long, short, budget=120).rewrite(ASKED)
    assert isinstance(found, Chat) and [text for _, text in found.messages][1:3] == ["a lamp", "good"]
    history = Chat((("system", "x" * 400), ("user", "my hinge broke")))
    assert retriever(budget=110).rewrite(history) is history


def test_a_rewritten_prompt_leaves_space_for_the_answer_even_if_each_byte_is_a_token():
    made = retriever(context=100)
    assert made.rewrite(ASKED, 1) != ASKED
    assert made.rewrite(ASKED, 90) is ASKED  # the engine would refuse it
    assert made.rewrite(Chat((("user", "€" * 20),)), 1) == Chat((("user", "€" * 20),))  # 60 bytes: up to 60 tokens
    assert retriever(context=110).rewrite(ASKED) is ASKED  # an answer of unknown length gets half of it


def test_a_chat_that_does_not_end_in_a_question_is_left_alone():
    begun = Chat((("user", "my hinge broke"), ("assistant", "It is")))
    assert retriever().rewrite(begun) is begun
    assert retriever(*PASSAGES).rewrite(begun) != begun


def test_texts_without_a_single_word_can_still_be_shown():
    assert retriever(Entry("chat", "👍", "good", 5)).rewrite(Chat((("user", "👎"),))) != Chat((("user", "👎"),))


@pytest.mark.parametrize(
    "more",
    [
        {"echo": True},
        {"prompt_logprobs": 1},
        {"return_token_ids": True},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": 3},
        {"max_tokens": 10**9},
    ],
)
def test_what_is_more_than_text_or_would_show_the_prompt_goes_as_it_is(more: dict[str, Any]):
    asked = {"messages": [{"role": "user", "content": "my hinge broke"}]}
    assert rewrite_prompt(retriever(context=2048), "chat", asked)
    assert rewrite_prompt(retriever(context=2048), "chat", asked | more) == {}


def test_only_the_prompt_of_a_body_is_replaced():
    assert set(rewrite_prompt(retriever(), "chat", {"messages": [{"role": "user", "content": "x"}], "n": 2})) == {
        "messages"
    }
    assert set(rewrite_prompt(retriever(), "completion", {"prompt": "x", "max_tokens": "many"})) == {"prompt"}
    assert rewrite_prompt(retriever(), "completion", {"prompt": [1, 2]}) == {}


def test_a_retrieval_is_read_back_from_its_bytes_and_a_changed_file_is_refused(tmp_path: Path):
    made = Retrieval(EXAMPLES, 2, 200, 2048)
    content = made.to_bytes()
    assert Retrieval.from_bytes(content) == made and made.to_bytes() == content
    version = Version("m", 3, "base", str(tmp_path), sha256_of(content), 0, None, "retrieval")
    with pytest.raises(IntegrityFailed, match="is gone"):
        read_retrieval(version)
    (tmp_path / FILE).write_bytes(content)
    assert read_retrieval(version) == made
    (tmp_path / FILE).write_bytes(content.replace(b"lovely", b"lousy!"))
    with pytest.raises(IntegrityFailed, match="was changed"):
        read_retrieval(version)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 2, "retrieval": {}}', b'{"format": 1}'])
def test_other_bytes_are_no_retrieval(content: bytes):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Retrieval.from_bytes(content)
