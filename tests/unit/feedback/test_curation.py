"""Facts about curation: whose word counts, what is learnt from, and a reason for every other vote."""

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.settings import ModelSettings
from feedback.split import bucket_of, split_key
from tests.support.curation import NOW, SPLIT, curated, kept, thumb, user_in, vote

MODEL = ModelSettings(labels=["good", "Bad"])
GENERATE = ModelSettings(task="generate")


def trusting(task: ModelSettings = MODEL, **trust: Any) -> ModelSettings:
    return task.model_copy(update={"trust": task.trust.model_copy(update=trust)})


def buckets(votes: list[dict[str, Any]], model: ModelSettings = MODEL) -> list[tuple[str, str, str]]:
    return [(row["feedback_id"], row["bucket"], row["user"]) for row in curated(votes, model).rows.to_pylist()]


# Whose word counts.


def test_a_row_judges_only_if_voter_and_asker_are_both_in_that_bucket() -> None:
    asker, same, other = user_in("h1"), user_in("h1", 1), user_in("train")
    votes = [vote(1, asker=asker, voter=same), vote(2, asker=asker, voter=other), vote(3, asker=other, voter=same)]
    assert buckets(votes) == [("f0001", "h1", f"user:{same}")]
    assert kept(votes, MODEL)[1] == {"voter and asker are in different buckets": 2}


def test_one_voter_with_labels_on_everybodys_answers_is_in_one_bucket() -> None:
    votes = [vote(n, asker=f"asker{n}", voter="brigade") for n in range(300)]
    (only,) = {bucket for _, bucket, _ in buckets(votes, trusting(rows_per_voter=None))}
    assert only == bucket_of(split_key("brigade"), train=SPLIT.train, dev=SPLIT.dev)


def test_an_unknown_side_is_the_other_one() -> None:
    name = user_in("h2")
    votes = [vote(1, asker=None, voter=name), vote(2, asker=name, voter=None), vote(3, asker="", voter=name)]
    assert buckets(votes) == [(f"f000{n}", "h2", f"user:{name}") for n in (1, 2, 3)]


def test_rows_of_nobody_train_under_a_limit_and_never_judge() -> None:
    votes = [vote(n, asker=None, voter=None) for n in range(40)]
    found = buckets(votes, trusting(rows_of_nobody=30))
    assert found == [(f"f{n:04}", "train", "") for n in range(10, 40)]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t), min_size=1, max_size=20, unique=True))
def test_sql_has_the_buckets_of_bucket_of(names: list[str]) -> None:
    found = curated([vote(n, asker=name) for n, name in enumerate(names)], MODEL).rows.to_pylist()
    expected = {split_key(name): bucket_of(split_key(name), train=SPLIT.train, dev=SPLIT.dev) for name in names}
    assert {row["user"]: row["bucket"] for row in found} == expected


def test_a_later_label_of_the_same_voter_replaces_the_earlier() -> None:
    ada, bob = user_in("train"), user_in("train", 1)
    same = {"interaction_id": "i1", "asker": ada}
    votes = [vote(1, **same), vote(2, said="bad", voter=ada, **same), vote(3, voter=bob, **same)]
    assert kept(votes, MODEL) == (
        [("f0002", "Bad"), ("f0003", "good")],
        {"replaced by the voter's later label": 1},
    )


def test_another_key_does_not_replace_nobodys_label() -> None:
    same = {"interaction_id": "i1", "asker": None}
    votes = [vote(1, key_id="shop", **same), vote(2, said="bad", key_id="other", **same)]
    assert [said for said, _ in kept(votes, MODEL)[0]] == ["f0001", "f0002"]


def test_taking_the_last_word_back_does_not_bring_an_earlier_one_back() -> None:
    same = {"interaction_id": "i1", "asker": user_in("train")}
    votes = [vote(1, **same), vote(2, said="bad", revoked=True, **same)]
    assert kept(votes, MODEL) == ([], {"the voter took a later label back": 1})
    assert kept([*votes, vote(3, **same)], MODEL)[0] == [("f0003", "good")]


def test_a_reviewers_label_overrules_other_labels_on_the_answer() -> None:
    same = {"interaction_id": "i1", "asker": user_in("train")}
    votes = [vote(1, **same), vote(2, said="bad", voter="reviewer:k1", **same), vote(3, said="bad", **same | NEXT)]
    assert kept(votes, MODEL) == ([("f0002", "Bad"), ("f0003", "Bad")], {"a reviewer's label overrules it": 1})


NEXT = {"voter": user_in("train", 1)}


def test_reviewers_train_and_judge_only_where_the_settings_say_so() -> None:
    votes = [vote(1, voter="reviewer:k1", asker=user_in("h1")), vote(2, voter="reviewer:k1", asker=user_in("train"))]
    assert kept(votes, MODEL) == ([("f0002", "good")], {"a reviewer's label outside the train bucket": 1})
    assert buckets(votes, trusting(reviewers_judge=True))[0] == ("f0001", "h1", "user:reviewer:k1")


# What is learnt from.


def test_what_cannot_be_used_is_counted_by_its_reason() -> None:
    picture = json.dumps({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})
    votes = [
        vote(1),
        vote(2, said="ugly"),
        vote(3, request=None),
        vote(4, said=" GOOD "),
        vote(5, request=picture),
        vote(6, said="3"),
        vote(7, request='{"messages": [{"role": "user", "content": "\\ud800"}]}'),
    ]
    assert kept(votes, MODEL) == (
        [("f0001", "good"), ("f0004", "good")],
        {
            "not one of the model's labels": 2,
            "the prompt is not kept": 1,
            "the prompt has a picture": 1,
            "the prompt is not valid Unicode": 1,
        },
    )


@pytest.mark.parametrize("flag", ["unsafe", "private"])
def test_a_flagged_answer_is_never_learnt_from(flag: str) -> None:
    flagged = vote(9, type="flag", said=flag, interaction_id="i1", voter=user_in("h1"))
    reasons = {"a flag": 1, "the answer is flagged unsafe or private": 1}
    assert kept([vote(1), flagged], MODEL) == ([], reasons)
    assert kept([vote(1), flagged | {"revoked": True}], MODEL) == ([("f0001", "good")], {})
    assert kept([vote(1), flagged | {"said": "hallucination"}], MODEL)[0] == [("f0001", "good")]


def test_the_asker_flags_alone_and_others_need_the_number_of_the_settings() -> None:
    strict, asker = trusting(flag_voters=2), vote(1)["asker"]
    flag = {"type": "flag", "said": "unsafe", "interaction_id": "i1", "asker": asker}
    flags = [vote(9 + n, voter=f"v{n}", **flag) for n in range(2)]
    assert kept([vote(1), flags[0], flags[0] | {"id": "again"}], strict)[0] == [("f0001", "good")]
    assert kept([vote(1), *flags], strict)[0] == []
    assert kept([vote(1), flags[0] | {"voter": asker}], strict)[0] == []


@pytest.mark.parametrize("broken", [{"finish_reason": "length"}, {"finish_reason": None}, {"status": 499}])
def test_a_thumbs_up_on_half_an_answer_confirms_nothing(broken: dict[str, Any]) -> None:
    assert kept([thumb(1)], MODEL)[0] == [("f0001", "good")]
    reason = "a thumbs-up on an answer that failed or was cut off"
    # "good" may be the beginning of "goodness".
    prefix = ModelSettings(labels=["good", "goodness"])
    assert kept([thumb(1, **broken)], prefix) == ([], {reason: 1})


def test_a_thumbs_up_on_a_whole_label_counts_though_no_more_tokens_were_allowed() -> None:
    assert kept([thumb(1, finish_reason="length")], MODEL)[0] == [("f0001", "good")]


def test_a_thumbs_up_on_a_generated_text_makes_no_row() -> None:
    votes = [
        vote(1, said=" Better so.\n", type="correction"),
        thumb(2, answer="As it was."),
        vote(3, type="label"),
        vote(4, said="  ", type="correction"),
    ]
    assert kept(votes, GENERATE) == (
        [("f0001", "Better so.")],
        {
            "a label, which a model that generates does not use": 1,
            "a thumbs-up on a generated text": 1,
            "an empty text": 1,
        },
    )


def test_a_correction_needs_as_many_voters_as_the_settings_say_or_a_reviewer() -> None:
    votes = [vote(n, "the same question", f"Answer{' ' * n}", type="correction") for n in range(2)]
    alone = vote(5, "another", "Answer", type="correction")
    again = vote(6, "another", "answer", type="correction", asker=alone["asker"])
    found, left_out = kept([*votes, alone, again], trusting(GENERATE, correction_voters=2))
    assert [said for said, _ in found] == ["f0000", "f0001"]
    assert left_out == {"a correction of fewer voters than trust.correction_voters": 2}
    reviewed = vote(7, "another", "Answer", type="correction", voter="reviewer:k")
    assert len(kept([reviewed], trusting(GENERATE, correction_voters=2))[0]) == 1


# The same text.


def test_a_text_that_is_kept_to_judge_by_never_trains() -> None:
    trainer, judge, chooser = user_in("train"), user_in("h2"), user_in("dev")
    votes = [
        vote(1, "Great  Film", asker=trainer),
        vote(2, "great film ", asker=judge),
        vote(3, "fine", asker=trainer),
        vote(4, "FINE", asker=chooser),
        vote(5, "only here", asker=trainer),
    ]
    found, left_out = kept(votes, MODEL)
    assert [said for said, _ in found] == ["f0002", "f0004", "f0005"]
    assert left_out == {"same text as one kept to judge by": 2}


def test_a_question_after_a_long_document_is_not_the_text() -> None:
    def asked(document: str, role: str) -> str:
        question = {"role": "user", "content": "Positive or negative?"}
        return json.dumps({"messages": [{"role": role, "content": document}, question]})

    for role in ("user", "system"):
        users = [user_in("train" if n % 2 else "h1", n) for n in range(40)]
        votes = [vote(n, asker=user, request=asked(f"document {n}", role)) for n, user in enumerate(users)]
        assert len(kept(votes, MODEL)[0]) == 40


def test_no_text_is_in_two_buckets_to_judge_by() -> None:
    votes = [vote(1, "a", asker=user_in("h1")), vote(2, "A", asker=user_in("h3")), vote(3, "a", asker=user_in("dev"))]
    assert kept(votes, MODEL) == ([("f0001", "good")], {"same text as one in another bucket to judge by": 2})


def test_clusters_say_which_texts_are_the_same() -> None:
    votes = [vote(1, "a text", asker=user_in("train")), vote(2, "some words", asker=user_in("h1"))]
    assert len(curated(votes, MODEL).rows) == 2
    found = curated(votes, MODEL, lambda _, prompts: np.zeros(len(prompts), np.int64))
    assert found.rows["feedback_id"].to_pylist() == ["f0002"]


def test_a_bucket_that_loses_much_has_a_warning_with_the_reason() -> None:
    votes = [vote(n, f"text {n}") for n in range(20)] + [
        vote(n, "text 1", asker=user_in("h1", n)) for n in range(30, 31)
    ]
    assert curated(votes, MODEL).warnings() == []
    votes.append(vote(31, "text 2", asker=user_in("h1", 31)))
    reason = "same text as one kept to judge by"
    assert curated(votes, MODEL).warnings() == [f"10% of the votes in train make no row: {reason} (2 of 20)."]


# Limits. The newest rows stay.


def test_no_voter_makes_more_rows_than_the_limit() -> None:
    one = {"asker": user_in("train")}
    votes = [vote(n, **one) for n in range(12)] + [vote(20)]
    found, left_out = kept(votes, trusting(rows_per_voter=5))
    assert [said for said, _ in found] == [f"f{n:04}" for n in (7, 8, 9, 10, 11, 20)]
    assert left_out == {"over trust.rows_per_voter": 7}
    reviews = [one | {"voter": "reviewer:k"} for one in votes]
    assert len(kept(reviews, trusting(rows_per_voter=5))[0]) == 13


@pytest.mark.parametrize(("limit", "rows"), [(3, [7, 8, 9]), (0.5, [5, 6, 7, 8, 9]), (None, range(10))])
def test_no_key_makes_more_rows_than_its_number_or_share(limit: float | None, rows: Any) -> None:
    votes = [vote(n, key_id="k1") for n in range(10)]
    found, _ = kept(votes, trusting(rows_per_key=limit))
    assert [said for said, _ in found] == [f"f{n:04}" for n in rows]


def test_a_thousand_invented_users_on_one_text_make_few_rows() -> None:
    votes = [vote(n, "the same") for n in range(60)]
    found, left_out = kept(votes, MODEL)
    assert [said for said, _ in found] == [f"f{n:04}" for n in range(40, 60)]
    assert left_out == {"over trust.rows_per_duplicate_cluster": 40}


# Every vote has a row or a reason.

kinds = st.sampled_from(["label", "correction", "thumbs", "rating", "comment", "flag", "preference"])
entries = st.lists(
    st.fixed_dictionaries(
        {
            "type": kinds,
            "said": st.sampled_from(["good", "bad", "x", "", "unsafe", None]),
            "up": st.booleans(),
            "key_id": st.sampled_from([None, "k1", "k2"]),
            "voter": st.sampled_from([None, "", "reviewer:k1", *(user_in(b) for b in ("train", "dev", "h1", "h2"))]),
            "asker": st.sampled_from([None, *(user_in(b) for b in ("train", "dev", "h1", "h2"))]),
            "interaction_id": st.sampled_from(["i1", "i2", "i3"]),
            "finish_reason": st.sampled_from(["stop", "length", None]),
            "revoked": st.booleans(),
            "quarantined": st.booleans(),
            "time": st.integers(0, 5).map(lambda n: NOW + timedelta(seconds=n)),
        }
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=80)
@given(entries, st.sampled_from([MODEL, GENERATE, trusting(rows_per_voter=1, rows_of_nobody=1, rows_per_key=0.5)]))
def test_every_vote_that_stands_makes_a_row_or_has_a_reason(said: list[dict[str, Any]], model: ModelSettings) -> None:
    texts = {"i1": "a", "i2": "A ", "i3": "b"}
    votes = [vote(n, texts[one["interaction_id"]], **one) for n, one in enumerate(said)]
    found = curated(votes, model)
    rows = found.rows.to_pylist()
    standing = [one["id"] for one in votes if not one["revoked"]]
    assert len(rows) + sum(found.reasons().values()) == len(standing)
    assert len({row["feedback_id"] for row in rows}) == len(rows) and {row["feedback_id"] for row in rows} <= set(
        standing
    )
    by_user: dict[str, set[str]] = {}
    for row in rows:
        for user in filter(None, (row["user"], row["asker"])):
            if not user.startswith("user:reviewer:"):
                by_user.setdefault(user, set()).add(row["bucket"])
    assert all(len(buckets) == 1 for buckets in by_user.values())
    by_text: dict[str, set[str]] = {}
    for row in rows:
        by_text.setdefault(row["prompt"].lower().replace(" ", ""), set()).add(row["bucket"])
    assert all(len(buckets) == 1 for buckets in by_text.values())


@settings(deadline=None, max_examples=30)
@given(entries, st.randoms(use_true_random=False))
def test_the_order_in_which_votes_come_changes_nothing(said: list[dict[str, Any]], random: Any) -> None:
    votes = [vote(n, **one) for n, one in enumerate(said)]
    mixed = random.sample(votes, len(votes))
    assert curated(votes, MODEL).rows.drop_columns(["cluster"]) == curated(mixed, MODEL).rows.drop_columns(["cluster"])
