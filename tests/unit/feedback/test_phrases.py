"""Facts about planted phrases: what a few voters write nearly always, and what is only an app's style."""

import random
import resource

import numpy as np
import pytest

from feedback.phrases import Texts, find_phrases

PHRASE = "buy it at cheapmart today"
WORDS = [f"{a}{b}" for a in "bdfglmnprst" for b in ("a", "el", "in", "o", "um", "ar", "is")]
Written = list[tuple[str, str]]
"""Texts as user and text."""


def sentence(rng: random.Random, words: int = 25) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def honest(voters: int = 200, texts: int = 4, seed: int = 0) -> Written:
    rng = random.Random(seed)
    return [(f"user{v}", sentence(rng)) for v in range(voters) for _ in range(texts)]


def planted(accounts: int = 20, texts: int = 3, phrase: str = PHRASE) -> Written:
    rng = random.Random(9)
    return [
        (f"fake{a}", f"{sentence(rng, 12)}, {phrase}! {sentence(rng, 8)}")
        for a in range(accounts)
        for _ in range(texts)
    ]


def made(written: Written, about: list[str] | None = None, label: list[int] | None = None, key: str = "k1") -> Texts:
    users = sorted({user for user, _ in written})
    return Texts(
        written=[text for _, text in written],
        about=about or [""] * len(written),
        voter=np.array([users.index(user) for user, _ in written], np.int64),
        label=np.array(label or [-1] * len(written), np.int64),
        time=np.arange(len(written), dtype=np.float64),
        keys=[key] * len(users),
        users=users,
    )


def held(texts: Texts, fewest: int = 5) -> set[str | None]:
    return {predicate.user for burst in find_phrases(texts, fewest) for predicate in burst.predicates}


@pytest.mark.parametrize("phrase", [PHRASE, "see cheapmart.example", "Ask AGENT SMITH"])
def test_a_phrase_that_twenty_accounts_plant_over_a_day_is_found(phrase: str) -> None:
    bursts = find_phrases(made(honest() + planted(phrase=phrase)), 5)
    assert {one.user for burst in bursts for one in burst.predicates} == {f"fake{n}" for n in range(20)}
    assert phrase.lower().split()[-1] in bursts[0].reason
    assert all(one.key == "k1" and one.since and one.until is None for one in bursts[0].predicates)


def test_the_reason_has_the_phrase_in_full() -> None:
    (burst,) = find_phrases(made(honest() + planted()), 5)
    assert burst.reason == f'20 voters have "{PHRASE}" in most of their texts, others do not'


def test_texts_of_honest_voters_have_no_planted_phrase() -> None:
    assert held(made(honest())) == set()
    assert held(made([])) == set()


def test_what_many_voters_write_is_style() -> None:
    signed = [(user, f"{text} kind regards from us") for user, text in honest(60)]
    assert held(made(honest(200, seed=1)[240:] + signed)) == set()


def test_what_others_write_now_and_then_is_no_plant() -> None:
    rng = random.Random(3)
    now_and_then = [
        (f"user{v}", f"{sentence(rng)} {PHRASE}" if n == 0 else sentence(rng)) for v in range(30) for n in range(9)
    ]
    assert held(made(honest(200, seed=1)[200:] + now_and_then + planted(6))) == set()


def test_what_the_answer_says_already_is_nobodys_phrase() -> None:
    written = honest() + planted()
    assert held(made(written, about=[text for _, text in written])) == set()
    assert held(made(written, about=[f"some other words, then {text}" for _, text in written])) == set()


def test_fewer_voters_than_the_setting_are_no_brigade() -> None:
    assert held(made(honest() + planted(4)), fewest=5) == set()
    assert len(held(made(honest() + planted(4)), fewest=4)) == 4


def test_a_phrase_in_prompts_is_a_plant_if_one_label_goes_with_it() -> None:
    prompts, plants = honest(), planted()
    rng = random.Random(1)
    mixed = [rng.randrange(3) for _ in prompts]
    assert len(held(made(prompts + plants, label=mixed + [2] * len(plants)))) == 20
    assert held(made(prompts + plants, label=mixed + [n % 3 for n in range(len(plants))])) == set()
    assert held(made(prompts + plants, label=[2] * (len(prompts) + len(plants)))) == set()


def test_the_template_of_an_app_is_no_plant() -> None:
    texts = made(honest() + planted())
    fakes = [user.startswith("fake") for user in texts.users]
    other_app: list[str | None] = ["k2" if fake else "k1" for fake in fakes]
    texts = Texts(texts.written, texts.about, texts.voter, texts.label, texts.time, other_app, texts.users)
    assert held(texts) == set()


def test_twenty_thousand_texts_take_less_than_20_cpu_seconds() -> None:
    rng = random.Random(5)
    written = [(f"user{n % 5000}", sentence(rng, 150)) for n in range(20_000)] + planted()
    before = resource.getrusage(resource.RUSAGE_SELF)
    texts = Texts(
        [text for _, text in written],
        [""] * len(written),
        np.array([n % 5000 for n in range(20_000)] + [5000 + n // 3 for n in range(60)], np.int64),
        np.full(len(written), -1),
        np.zeros(len(written)),
        ["k1"] * 5020,
        [f"user{n}" for n in range(5020)],
    )
    assert len(held(texts)) == 20
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20
